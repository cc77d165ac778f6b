"""The rehearsal of a loss on a real account: a stack of its own is deployed, changed, lost,
recovered and destroyed, and nothing is left of it."""
