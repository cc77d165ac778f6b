"""An emulator of the DigitalOcean API: clusters, registries, VPCs and the account they are in."""
