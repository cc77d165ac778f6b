"""Keeps secrets out of what Pulumi's SDK tells of its own work."""

import pulumi

_VALUES = ", props="
"""Where a message of the SDK goes on with values."""


def hide_values_from_debug_messages() -> None:
    """Cut the SDK's debug messages off where values begin; call it before anything is made.

    The SDK tells the engine of all outputs that a component or the stack registers, secrets in
    clear, as messages that nobody sees on a terminal but that `pulumi up --json`, `--event-log` and
    `--debug` hand on.
    https://www.pulumi.com/docs/iac/concepts/secrets/
    """
    tell = pulumi.log.debug

    def debug(
        msg: str,
        resource: pulumi.Resource | None = None,
        stream_id: int | None = None,
        ephemeral: bool | None = None,
    ) -> None:
        tell(msg.partition(_VALUES)[0], resource, stream_id, ephemeral)

    pulumi.log.debug = debug
