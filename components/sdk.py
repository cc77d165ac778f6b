"""Prepares Pulumi's Python SDK for this program. Import it before the SDKs of the providers.

The SDKs make a million objects while they are imported, none of them garbage: Python's garbage
collector looks at them again and again in vain, which takes half a second of each run. So it is
off while they are imported, and never looks at them afterwards.
"""

import asyncio
import gc

gc.disable()

import pulumi
import pulumi_digitalocean
import pulumi_kubernetes

gc.freeze()
gc.enable()


def disable_debug_messages() -> None:
    """Disable the SDK's debug messages: they contain secret outputs in clear.

    `pulumi up --json`, `--event-log` and `--debug` write them down. Sending them takes a third of a
    preview with 500 applications, too. Call it before the first resource is declared.
    https://www.pulumi.com/docs/iac/concepts/secrets/
    """
    pulumi.log.debug = _ignore


def _ignore(
    msg: str,
    resource: pulumi.Resource | None = None,
    stream_id: int | None = None,
    ephemeral: bool | None = None,
) -> None:
    """Has the signature of `pulumi.log.debug`, which it replaces."""


def send_requests() -> None:
    """Send the requests of all declared resources; the last call of a program.

    When a program ends, the SDK waits for requests that were sent one by one, but for those that
    were not sent yet by looking at all of them whenever one is answered. That is quadratic: a third
    of a preview with 500 applications.
    """
    pulumi.run(_yield)


async def _yield() -> None:
    await asyncio.sleep(0)


__all__ = ["disable_debug_messages", "pulumi_digitalocean", "pulumi_kubernetes", "send_requests"]
