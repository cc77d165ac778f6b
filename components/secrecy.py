"""Keeps secrets out of what Pulumi's SDK tells of its own work."""

import pulumi


def silence_debug_messages() -> None:
    """Let the SDK tell the engine nothing of its own work; call it before anything is made.

    It tells of all outputs that a component or the stack registers, secrets in clear, as messages
    that nobody sees on a terminal but that `pulumi up --json`, `--event-log` and `--debug` hand on.
    And it waits for the engine to take each of the five messages of each resource: with 500
    applications a third of a preview.
    https://www.pulumi.com/docs/iac/concepts/secrets/
    """
    pulumi.log.debug = _ignore


def _ignore(
    msg: str,
    resource: pulumi.Resource | None = None,
    stream_id: int | None = None,
    ephemeral: bool | None = None,
) -> None:
    """As `pulumi.log.debug`, which this takes the place of."""
