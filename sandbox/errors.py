"""The error that the sandbox's commands show to the user."""


class SandboxError(Exception):
    """A failure that is shown to the user without a traceback; the text names the next command."""
