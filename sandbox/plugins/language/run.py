"""Runs one Pulumi program, started by the language host with the Python of the program's project.

The sandbox need not be installed for that Python, so this imports only the standard library and
`pulumi`. The settings are the first argument, the configuration is in the environment.
"""

import asyncio
import dataclasses
import json
import logging
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ERROR_SHOWN = 32
"""Exit code of a program whose error is shown already: the engine is to add none."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to run a program, without its configuration."""

    monitor: str
    engine: str
    project: str
    stack: str
    organization: str
    dry_run: bool
    parallel: int
    root_directory: str
    program: str
    """A folder with a `__main__.py`, or a file."""
    arguments: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def _traceback(program: Path) -> str:
    """The current exception's traceback without the frames of this script."""
    main = program / "__main__.py" if program.is_dir() else program
    frames = traceback.extract_tb(sys.exc_info()[2])
    for index, frame in enumerate(frames):
        if Path(frame.filename).resolve() == main.resolve():
            return traceback.format_exc(limit=index - len(frames))
    return traceback.format_exc()


def _run_main(program: str) -> None:
    runpy.run_path(program, run_name="__main__")


def _run(settings: Settings) -> int:
    try:
        import pulumi
        import pulumi.runtime
    except ImportError:
        traceback.print_exc()
        print(
            f"{sys.executable} has no Pulumi SDK; install the program's requirements into it",
            file=sys.stderr,
        )
        return 1

    pulumi.runtime.set_all_config(
        pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env()
    )
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            monitor=settings.monitor,
            engine=settings.engine,
            project=settings.project,
            stack=settings.stack,
            organization=settings.organization,
            parallel=settings.parallel,
            dry_run=settings.dry_run,
            root_directory=settings.root_directory,
        )
    )
    program = Path(settings.program)
    if program.is_dir() and not (program / "__main__.py").exists():
        pulumi.log.error(f"unable to find main python program `__main__.py` in `{program}`")
        return ERROR_SHOWN
    sys.argv = [settings.program, *settings.arguments]
    # A failed program leaves tasks unfinished; asyncio would report each of them.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(max_workers=max(settings.parallel, 1) * 4)
    loop.set_default_executor(executor)
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(lambda: _run_main(settings.program)))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except Exception:
        shown = _traceback(program)
        pulumi.log.error(f"Program failed with an unhandled exception:\n{shown}")
        return ERROR_SHOWN
    finally:
        executor.shutdown(wait=True)
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    fields = json.loads(sys.argv[1])
    # Python put this file's folder first: the program's modules would be looked for there.
    sys.path.pop(0)
    sys.exit(_run(Settings(**{**fields, "arguments": tuple(fields["arguments"])})))
