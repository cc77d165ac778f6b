"""The error of the toolchain."""


class ToolchainError(Exception):
    """A tool is not available; the message says which, why, and what to do about it."""
