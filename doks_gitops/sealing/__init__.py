"""Secrets in Git, encrypted: sealing them, and the key pairs that the stacks own."""
