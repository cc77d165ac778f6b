"""Prepares Pulumi's Python SDK for this program. Import it before the providers' SDKs.

Importing the SDKs creates a million objects that are never deleted. Without the garbage collector,
which would scan them again and again, every run is half a second faster: it is off during the
import, and ignores these objects afterwards.
"""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable

gc.disable()

import pulumi
import pulumi_digitalocean
import pulumi_kubernetes

gc.freeze()
gc.enable()


def disable_debug_messages() -> None:
    """Disable the SDK's debug messages: they contain secret outputs in clear.

    `pulumi up --json`, `--event-log` and `--debug` print them. They also take a third of the time
    of a preview with 500 applications. Call it before the first resource is declared.
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


def end_when_interrupted() -> None:
    """Let SIGINT end this process without a traceback.

    When a deployment has failed, the engine cancels the program and its language host sends SIGINT.
    Without this, two tracebacks of `KeyboardInterrupt` would follow the error.
    https://github.com/pulumi/pulumi/blob/master/sdk/python/cmd/pulumi-language-python/main.go
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(program: Callable[[], Awaitable[None]]) -> None:
    """Run the program, which may await outputs, and send the requests of its resources.

    When a program ends, the SDK scans all unsent requests whenever one is answered, which takes
    quadratic time: a third of the time of a preview with 500 applications.
    """

    async def run_and_send() -> None:
        await program()
        await asyncio.sleep(0)

    pulumi.run(run_and_send)


__all__ = [
    "disable_debug_messages",
    "end_when_interrupted",
    "pulumi_digitalocean",
    "pulumi_kubernetes",
    "run",
]
