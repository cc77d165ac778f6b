"""The Python that a project runs with, and the packages installed for it."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_VERSION = "import platform; print(platform.python_version())"
_LIST_DISTRIBUTIONS = """
import importlib.metadata as m, json
print(json.dumps([
    [d.metadata["Name"], d.version, [
        str(d.locate_file(f)) for f in d.files if f.name == "pulumi-plugin.json"
    ] if "pulumi-plugin.json" in (d.read_text("RECORD") or "") else []]
    for d in m.distributions()
]))
"""


class NoInterpreter(Exception):
    """The project names a virtual environment that does not exist or can't be used."""


@dataclass(frozen=True)
class Distribution:
    """A package installed for the program."""

    name: str
    version: str
    plugin: Mapping[str, Any] | None
    """The content of its `pulumi-plugin.json`, if it is the SDK of a resource plugin."""


def interpreter(root: Path, options: Mapping[str, Any]) -> Path:
    """The Python that the runtime options of `Pulumi.yaml` ask for.

    `options["virtualenv"]` is a folder, relative to the project's `root`; without it, the program
    runs with the Python that runs this host. Raises NoInterpreter.
    https://www.pulumi.com/docs/iac/languages-sdks/python/#virtual-environments
    """
    virtualenv = options.get("virtualenv")
    if not virtualenv:
        return Path(sys.executable)
    folder = root / str(virtualenv)
    python = folder / "bin" / "python"
    if not python.exists():
        raise NoInterpreter(
            f"the virtual environment {folder} of Pulumi.yaml has no bin/python; make it with"
            f" `python3 -m venv {folder}` and install the program's requirements into it"
        )
    return python


async def python_version(python: Path) -> str:
    """The version of `python`, such as `3.11.7`. Raises NoInterpreter if it can't be run."""
    return (await _ask(python, _VERSION, "its version")).strip()


async def installed(python: Path) -> tuple[Distribution, ...]:
    """The packages installed for `python`. Raises NoInterpreter if it can't be run."""
    distributions = json.loads(await _ask(python, _LIST_DISTRIBUTIONS, "its packages"))
    return tuple(
        Distribution(name, version, _plugin(files)) for name, version, files in distributions
    )


async def _ask(python: Path, script: str, subject: str) -> str:
    process = await asyncio.create_subprocess_exec(
        python, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise NoInterpreter(f"{python} can't tell {subject}: exit code {process.returncode}")
    return output.decode()


def _plugin(files: list[str]) -> Mapping[str, Any] | None:
    for file in files:
        plugin = json.loads(Path(file).read_text())
        if isinstance(plugin, dict) and plugin.get("resource"):
            return plugin
    return None
