"""Runs a cluster's control plane in a folder until the process is killed."""

import asyncio
import sys
from pathlib import Path

from sandbox.cluster.controlplane import ControlPlane
from tests.contract.built_tools import tools


async def main(folder: Path) -> None:
    plane = ControlPlane(folder, tools(), authenticate_url="http://127.0.0.1:9/")
    await plane.start()
    print(plane.server, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
