"""Losses rehearsed: each drill loses something and gets it back by the documented command."""
