"""Drills: each one breaks or removes something and restores it with the documented command."""
