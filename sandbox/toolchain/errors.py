"""The one error of the toolchain."""


class ToolchainError(Exception):
    """A tool can't be had; the message says which, why, and what to do about it."""
