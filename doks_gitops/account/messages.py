"""Messages of the program in the output of Pulumi."""

import pulumi
from pulumi.runtime.settings import get_root_resource


def warn(text: str) -> None:
    """Warn of something in the stack.

    The message names the stack's own resource: in `pulumi preview --json`, only warnings of the
    engine about the machine name no resource.
    """
    pulumi.warn(text, get_root_resource())


def info(text: str) -> None:
    """Tell something about the stack."""
    pulumi.info(text, get_root_resource())
