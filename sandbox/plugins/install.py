"""Gives the engine its plugins: the sandbox's own, or real ones.

The engine runs `plugins/KIND-NAME-vVERSION/pulumi-KIND-NAME` in its PULUMI_HOME. It passes over
links to folders, and tries to download a plugin that it does not see in the version of the SDK.
Only a language host beside the engine itself comes before the one in that folder.
"""

import os
import re
import shlex
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # so does protobuf
from pulumi.runtime.proto import provider_pb2_grpc
from rich.console import Console
from semver import Version

from sandbox import toolchain
from sandbox.errors import SandboxError
from sandbox.paths import REPOSITORY, Home
from sandbox.plugins import launch as launcher
from sandbox.toolchain import versions
from sandbox.toolchain.recipes import PULUMI_DIGITALOCEAN, PULUMI_GITHUB, PULUMI_KUBERNETES, Recipe
from sandbox.toolchain.tools import MACHINE, RELEASED

_LANGUAGE = "pulumi-language-python"
_ANSWER_SECONDS = 30
_NO_ENGINE = "127.0.0.1:1"
"""The engine's address, which a plugin needs to start, but not to tell its version."""

_NO_PROVIDER = """\
#!/bin/sh
echo "No stack had github: when this began. Get the provider: bin/sandbox pulumi preview" >&2
exit 1
"""


@dataclass(frozen=True)
class Provider:
    """A package whose resources the program uses."""

    name: str
    recipe: Recipe
    oldest: Version
    """Of its real plugins: the oldest that was tried, or the first with all that is used."""

    @property
    def sdk(self) -> Version:
        """The version of its Python package, in which the engine looks for the plugin."""
        return Version.parse(metadata.version(f"pulumi_{self.name}"))

    @property
    def program(self) -> str:
        """The name of the plugin's file."""
        return f"pulumi-resource-{self.name}"

    def accepts(self, version: Version | None) -> bool:
        return version is not None and self.oldest <= version < self.sdk.bump_major()


DIGITALOCEAN = Provider("digitalocean", PULUMI_DIGITALOCEAN, Version(4, 76))
GITHUB = Provider("github", PULUMI_GITHUB, Version(6, 15))
KUBERNETES = Provider("kubernetes", PULUMI_KUBERNETES, Version(4, 29))
"""Older ones know neither `enablePatchForce` nor `upsertExistingObjects`."""


@dataclass(frozen=True)
class Plugin:
    """A real plugin."""

    file: Path
    version: Version | None
    """None if it does not tell its version."""
    origin: str = MACHINE

    @property
    def description(self) -> str:
        told = f"is {self.version}" if self.version else "does not tell its version"
        return f"{self.file} {told}"


def install(
    home: Home,
    real: Mapping[str, Plugin] = MappingProxyType({}),
    *,
    github: Path | None = None,
) -> None:
    """Give the engine a plugin for every package that the program uses.

    `real`: the plugins, by name, of which copies are used instead of the stand-ins. `github`: the
    sandbox's provider of GitHub, for which there is no stand-in; None if no stack has one.
    """
    plugins = home.folder("pulumi", "plugins")
    for provider in (DIGITALOCEAN, KUBERNETES, GITHUB):
        folder = plugins / f"resource-{provider.name}-v{provider.sdk}"
        if plugin := real.get(provider.name):
            _put(folder, {provider.program: plugin.file})
        elif provider is not GITHUB:
            _put(folder, {provider.program: _launcher(home, f"sandbox.plugins.{provider.name}")})
        else:
            _put(folder, {provider.program: _runs(github) if github else _NO_PROVIDER})
    language = plugins / f"language-python-v{metadata.version('pulumi')}"
    if plugin := real.get(_LANGUAGE):
        # Beside the host is the script with which it runs a program.
        _put(language, {file.name: file for file in plugin.file.parent.glob(f"{_LANGUAGE}*")})
    else:
        _put(language, {_LANGUAGE: _launcher(home, "sandbox.plugins.language")})
    if real:
        _remembered(home).write_text(str(_users_pulumi(home)))
    else:
        _remembered(home).unlink(missing_ok=True)


def real_plugins(home: Home, console: Console, *, real: bool | None = None) -> dict[str, Plugin]:
    """The real plugins to use, by name.

    `real`: whether any are; None: as at the last `install`, at first none. The machine's come
    first. Those that it lacks are downloaded, except for GitHub's, and `console` shows how. Raises
    SandboxError if one can't be had.
    """
    if not (_remembered(home).exists() if real is None else real):
        return {}
    usable, lacking = {}, []
    for provider in (DIGITALOCEAN, KUBERNETES, GITHUB):
        candidates = list(_candidates(home, provider))
        accepted = [plugin for plugin in candidates if provider.accepts(plugin.version)]
        if accepted:
            usable[provider.name] = max(accepted, key=lambda plugin: _rank(plugin, provider))
        elif provider is not GITHUB:
            lacking.append((provider, candidates))
    downloaded = toolchain.download(console, [provider.recipe for provider, _ in lacking])
    problems = []
    for provider, candidates in lacking:
        if file := downloaded.get(provider.program):
            usable[provider.name] = Plugin(file, provider.sdk, RELEASED)
            continue
        seen = "".join(f"; {plugin.description}" for plugin in candidates)
        problems.append(
            f"There is no {provider.program} {provider.oldest} or newer in Pulumi's plugin"
            f" folder or on PATH{seen}.\nInstall it outside the sandbox:"
            f" pulumi plugin install resource {provider.name} {provider.sdk}"
        )
    if problems:
        raise SandboxError("\n".join(problems))
    if host := shutil.which(_LANGUAGE):
        usable[_LANGUAGE] = Plugin(Path(host).resolve(), None)
    return usable


def _remembered(home: Home) -> Path:
    """The file that tells that real plugins are used, and the user's PULUMI_HOME."""
    return home.folder("pulumi") / "real-providers"


def _rank(plugin: Plugin, provider: Provider) -> tuple[bool, Version]:
    """The SDK's own version comes first, then the newest."""
    assert plugin.version is not None
    return plugin.version == provider.sdk, plugin.version


def _candidates(home: Home, provider: Provider) -> Iterator[Plugin]:
    for folder in (_users_pulumi(home) / "plugins").glob(f"resource-{provider.name}-v*"):
        file, partial = folder / provider.program, folder.with_name(f"{folder.name}.partial")
        version = re.fullmatch(rf"resource-{provider.name}-v(.+)", folder.name)
        if version and os.access(file, os.X_OK) and not partial.exists():
            yield Plugin(file, versions.find(version[1]))
    if path := shutil.which(provider.program):
        yield Plugin(Path(path), _version_of(path))


def _users_pulumi(home: Home) -> Path:
    """The user's PULUMI_HOME. In a shell with the sandbox's environment, in which PULUMI_HOME is
    the sandbox's, it is the one of the last call outside."""
    own = home.folder("pulumi")
    pulumi_home = Path(os.environ.get("PULUMI_HOME") or own)
    if pulumi_home != own:
        return pulumi_home
    remembered = _remembered(home)
    folder = remembered.read_text() if remembered.exists() else ""
    return Path(folder) if folder else Path.home() / ".pulumi"


def _version_of(file: str) -> Version | None:
    """The version that a plugin reports; None if it does not start or reports none."""
    with subprocess.Popen(
        [file, _NO_ENGINE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        watchdog = threading.Timer(_ANSWER_SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                info = stub.GetPluginInfo(empty_pb2.Empty(), timeout=_ANSWER_SECONDS)
            return versions.find(info.version)
        except (ValueError, grpc.RpcError):
            return None
        finally:
            watchdog.cancel()
            process.kill()


def _put(folder: Path, files: Mapping[str, Path | str]) -> None:
    """Make `folder` contain copies of these files, or scripts of these texts, and nothing else."""
    if folder.is_dir() and not folder.is_symlink():
        present = {path.name: path for path in folder.iterdir()}
        if present.keys() == files.keys() and all(
            _is_equal(present[name], content) for name, content in files.items()
        ):
            return
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.mkdir()
    for name, content in files.items():
        if isinstance(content, Path):
            shutil.copy2(content, draft / name)
        else:
            (draft / name).write_text(content)
            (draft / name).chmod(stat.S_IRWXU)
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def _is_equal(file: Path, content: Path | str) -> bool:
    if isinstance(content, str):
        return (
            file.stat().st_size == len(content.encode()) and file.read_bytes() == content.encode()
        )
    status, source = file.stat(), content.stat()
    return (status.st_size, status.st_mtime_ns) == (source.st_size, source.st_mtime_ns)


def _launcher(home: Home, module: str) -> str:
    python = REPOSITORY / ".venv" / "bin" / "python"
    return _runs(python, "-IS", Path(launcher.__file__), home.root, module)


def _runs(*command: Path | str) -> str:
    """A script that becomes that command."""
    return f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n'
