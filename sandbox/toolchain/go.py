"""Runs the Go compiler and explains its failures."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.toolchain import guard, machine
from sandbox.toolchain.errors import ToolchainError

# The linker drops the debug information, so the compiler need not write it.
BUILD = ("build", "-trimpath", "-v", "-gcflags=all=-dwarf=false")

_DOWNLOADS_AT_ONCE = 8
_LINE_BYTES = 1 << 20

# With these, only go.mod and go.sum decide what is built, not the user's settings for Go.
_SETTINGS = {
    "CGO_ENABLED": "0",
    "GO111MODULE": "on",
    "GOAMD64": "v1",
    "GOARM64": "v8.0",
    "GOFLAGS": "-mod=readonly",
    "GOOS": "linux",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}
_USERS = (
    *("GOPROXY", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOSUMDB", "GONOSUMDB", "GOVCS", "GOAUTH"),
    *("GOENV", "GOPATH", "GOMODCACHE", "GOCACHE"),
)
"""The user decides where modules come from, how they are verified, and where they are kept."""
_SPEED = {"GOGC": "off", "GOMEMLIMIT": "2GiB"}
"""A compiler that collects no garbage takes a tenth less; each gets at most this memory."""

_ADVICE = (
    (r"no space left on device|disk quota exceeded", "The disk is full: free some space"),
    (r"signal: killed|cannot allocate memory", "The machine ran out of memory: close something"),
    (
        r"SECURITY ERROR|checksum mismatch",
        "A downloaded module is not the one that the lock names: empty Go's module cache"
        " (go clean -modcache) and look at the proxy that GOPROXY names",
    ),
)
_NETWORK = re.compile(
    r"dial tcp|no such host|connection re(?:set|fused)|i/o timeout|TLS handshake|unexpected EOF"
    r"|network is unreachable|proxyconnect|50[234] |429 "
)


class NetworkError(ToolchainError):
    """The module proxy could not be reached, or responded with an error."""


class Go:
    """The Go distribution of this Python environment.

    `logs` is the folder for the output of each tool's build, `scratch` that for temporary files.
    """

    def __init__(self, logs: Path, scratch: Path) -> None:
        self._root, _ = machine.go()
        self._logs = logs
        self._env = environment(self._root, scratch)

    def caches(self) -> tuple[Path, ...]:
        """The user's folders in which Go keeps modules and compiled packages."""
        process = subprocess.run(
            [self._root / "bin" / "go", "env", "GOMODCACHE", "GOCACHE"],
            env=self._env,
            capture_output=True,
            text=True,
            check=True,
        )
        return tuple(map(Path, process.stdout.splitlines()))

    async def run(
        self,
        tool: str,
        folder: Path,
        *arguments: str,
        wide: bool = False,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> str:
        """Run `go` in `folder` for `tool`, and return its standard output.

        Each line of its standard error goes to the tool's log and to `on_line`. `wide` allows more
        concurrent downloads than there are cores. If this call is cancelled or this process ends,
        the compiler and its child processes are killed.
        Raises NetworkError or ToolchainError if it fails.
        """
        env = {**self._env, "GOMAXPROCS": str(_DOWNLOADS_AT_ONCE)} if wide else self._env
        command = (os.fspath(self._root / "bin" / "go"), *arguments)
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{tool}.log"
        with log.open("a") as output:
            output.write(f"$ go {' '.join(arguments)}\n")
            start = output.tell()
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                guard.__file__,
                str(os.getpid()),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env=env,
                limit=_LINE_BYTES,
                start_new_session=True,
            )
            assert process.stdout
            assert process.stderr
            try:
                reading = asyncio.ensure_future(process.stdout.read())
                async for raw in process.stderr:
                    line = raw.decode(errors="replace")
                    output.write(line)
                    output.flush()
                    on_line(line.rstrip())
                text = (await reading).decode()
                status = await process.wait()
            finally:
                if process.returncode is None:
                    # The process may have ended although asyncio has not noticed yet.
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        if status:
            with log.open() as written:
                written.seek(start)
                raise failure(tool, written.read(), log)
        return text


def environment(root: Path, scratch: Path, user: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of the Go distribution at `root`, derived from the user's."""
    inherited = {
        name: value
        for name, value in user.items()
        if name in _USERS or not name.startswith(("GO", "CGO_"))
    }
    folders = {"GOROOT": os.fspath(root), "GOTMPDIR": os.fspath(scratch)}
    return {**inherited, **_SETTINGS, **_SPEED, "GOARCH": machine.architecture(), **folders}


def identity() -> tuple[str, ...]:
    """Everything that a binary depends on besides its module and its own flags."""
    _, version = machine.go()
    return (version, machine.architecture(), *BUILD, *(f"{k}={v}" for k, v in _SETTINGS.items()))


def executable_name(package: str) -> str:
    """The name of the executable of `package`: its last path element that is no version."""
    *parents, last = package.split("/")
    return parents[-1] if re.fullmatch(r"v[0-9]+", last) else last


def failure(tool: str, output: str, log: Path) -> ToolchainError:
    """The error that explains the `output` of a failed `go` command."""
    for pattern, advice in _ADVICE:
        if re.search(pattern, output):
            return ToolchainError(
                f"{tool} could not be built. {advice}, then run the same command again; what is"
                f" compiled already is kept. The compiler's output is in {log}"
            )
    if _NETWORK.search(output):
        return NetworkError(
            f"{tool} could not be built, for its Go modules could not be downloaded. Check the"
            f" network and GOPROXY, then run the same command again. Go's output is in {log}"
        )
    last = [line for line in output.splitlines() if line.strip()][-3:]
    return ToolchainError(
        "\n".join(
            (f"{tool} could not be built:", *last, f"All of the compiler's output is in {log}")
        )
    )
