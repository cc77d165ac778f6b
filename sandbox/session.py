"""Starts a sandbox and gives access to its daemon and its Pulumi engine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from sandbox import client, engine, toolchain
from sandbox.chart import package_chart
from sandbox.client import Daemon
from sandbox.errors import SandboxError
from sandbox.paths import Home, remove_tree
from sandbox.plugins import install
from sandbox.plugins.install import GITHUB
from sandbox.toolchain.recipes import PULUMI_GITHUB, RECIPES, RESTIC, SEALED_SECRETS
from sandbox.toolchain.tools import MACHINE, RELEASED, sealed_secrets_chart


def start(
    home: Home,
    repo: str | None,
    console: Console,
    *,
    webhooks: bool | None = None,
    real_providers: bool | None = None,
    from_source: bool = False,
) -> tuple[Daemon, engine.Engine]:
    """Start the sandbox of that folder and create its monorepo and stacks; deploys nothing.

    `repo`: where a new monorepo is imported from; None: the example. `webhooks`: whether Argo CD is
    notified of commits by webhook; `real_providers`: whether real plugins are used instead of the
    stand-ins; None for either: unchanged, initially off. `from_source`: whether missing tools are
    built instead of downloaded.
    """
    source = _source(repo)
    if real_providers:
        install.real_plugins(home, console, real=True)
    tools = toolchain.ensure(console, from_source=from_source)
    with _alone(home, console):
        daemon = client.start(home)
        if webhooks is not None:
            daemon.post("/sandbox/webhooks", {"on": webhooks})
        daemon.post("/sandbox/repository", {"source": source}, seconds=300)
    return daemon, engine_of(
        home, daemon, tools, console, real_providers=real_providers, from_source=from_source
    )


@contextmanager
def _alone(home: Home, console: Console) -> Iterator[None]:
    """Wait until no other command starts or prepares this sandbox, and keep others waiting."""
    with (home.folder() / "start.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("Another command is starting this sandbox; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _source(repo: str | None) -> str | None:
    if repo is None or "://" in repo or ":" in repo.split("/", 1)[0]:
        return repo
    path = Path(repo).resolve()
    if not path.exists():
        raise SandboxError(f"--repo: there is no folder {path}.")
    return str(path)


def engine_of(
    home: Home,
    daemon: Daemon,
    tools: toolchain.Tools,
    console: Console,
    *,
    real_providers: bool | None = None,
    from_source: bool = False,
) -> engine.Engine:
    """The Pulumi engine of a running sandbox.

    `real_providers` and `from_source` as for `start`. Gets what only some stacks need: the provider
    of GitHub, the controller of Sealed Secrets, and restic for copies of volumes.
    """
    pulumi = engine.Engine(home, environment(home, daemon, tools), daemon.get("/sandbox/config"))
    with _alone(home, console):
        pulumi.prepare()
        real = install.real_plugins(home, console, real=real_providers)
        needs_github = pulumi.has_github and GITHUB.name not in real
        needed = (
            (PULUMI_GITHUB, needs_github),
            (SEALED_SECRETS, pulumi.has_sealed_secrets),
            (RESTIC, pulumi.has_copies),
        )
        if further := [recipe for recipe, is_needed in needed if is_needed]:
            toolchain.ensure(console, (*RECIPES, *further), from_source=from_source)
        install.install(home, real, github=tools.path(GITHUB.program) if needs_github else None)
        if pulumi.has_sealed_secrets:
            package_chart(sealed_secrets_chart(), home.folder("charts"))
    for origin in (MACHINE, RELEASED) if real_providers else ():
        if files := [str(plugin.file) for plugin in real.values() if plugin.origin == origin]:
            console.print(f"Real plugins {origin}: {', '.join(files)}", soft_wrap=True)
    return pulumi


def environment(home: Home, daemon: Daemon, tools: toolchain.Tools) -> dict[str, str]:
    """The environment variables for a shell that uses the running sandbox."""
    return engine.environment(
        home,
        bin_dir=tools.bin_dir,
        api_url=daemon.url,
        token=daemon.token,
        github=daemon.github,
        spaces=daemon.spaces,
    )


def remove(home: Home) -> None:
    """Stop the sandbox and remove its folder, if there is one.

    Raises SandboxError if the folder is no sandbox's.
    """
    if home.root.exists() and not home.is_sandbox:
        raise SandboxError(f"{home.root} is no sandbox, so nothing is removed.")
    client.stop(home)
    remove_tree(home.root)
