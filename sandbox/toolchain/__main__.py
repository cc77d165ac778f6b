"""Finds, downloads or builds all tools, and prints them: `python -m sandbox.toolchain`."""

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
    parser.add_argument("--build", action="store_true", help="download no releases")
    options = parser.parse_args()
    console = Console(stderr=True)
    start = time.monotonic()
    try:
        recipes = RECIPES + (FOR_TESTS if options.for_tests else ())
        tools = toolchain.ensure(console, recipes, from_source=options.build)
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
