"""Finds or builds every tool, and prints which they are: `python -m sandbox.toolchain`."""

import argparse
import sys
import time

from rich.console import Console
from rich.table import Table

from sandbox import toolchain
from sandbox.toolchain.recipes import FOR_TESTS, RECIPES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.toolchain", description=__doc__)
    parser.add_argument("--for-tests", action="store_true", help="also what only tests need")
    for_tests = parser.parse_args().for_tests
    console = Console(stderr=True)
    start = time.monotonic()
    try:
        tools = toolchain.ensure(console, RECIPES + (FOR_TESTS if for_tests else ()))
    except toolchain.ToolchainError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    table = Table("tool", "version", "from")
    for tool in tools.all:
        table.add_row(tool.name, tool.version, tool.origin)
    out = Console(soft_wrap=True)
    out.print(table)
    out.print(f"{tools.bin_dir}: ready in {time.monotonic() - start:.1f} s", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
