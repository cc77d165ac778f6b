"""Keeps Pulumi's SDK from slowing down as a stack grows."""

import asyncio

import pulumi


def send_before_waiting() -> None:
    """Let all that the program declares be on its way before the SDK waits for it; call it last.

    The SDK waits for requests that it has begun one by one, but for outputs by looking at all of
    them each time that one comes, which is quadratic: with 500 applications a third of a preview.
    At the end of a program that never gave way, no request has begun.
    """
    pulumi.run(_give_way)


async def _give_way() -> None:
    await asyncio.sleep(0)
