"""An emulator of the DigitalOcean API: an account with clusters, registries and VPCs."""
