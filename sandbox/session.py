"""Starts a sandbox and gives access to its daemon and its Pulumi engine."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from sandbox import client, engine, toolchain
from sandbox.client import Daemon
from sandbox.errors import SandboxError
from sandbox.paths import Home, remove_tree


def start(
    home: Home, repo: str | None, console: Console, *, webhooks: bool | None = None
) -> tuple[Daemon, engine.Engine]:
    """Start the sandbox of that folder and create its monorepo and stacks; deploys nothing.

    `repo`: where a new monorepo is imported from; None: the example. `webhooks`: whether Argo CD is
    notified of commits by webhook; None: unchanged, initially off.
    """
    source = _source(repo)
    tools = toolchain.ensure(console)
    with _alone(home):
        daemon = client.start(home)
        if webhooks is not None:
            daemon.post("/sandbox/webhooks", {"on": webhooks})
        daemon.post("/sandbox/repository", {"source": source}, seconds=300)
    return daemon, engine_of(home, daemon, tools)


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Wait until no other command starts or prepares this sandbox, and keep others waiting."""
    with (home.folder() / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _source(repo: str | None) -> str | None:
    if repo is None or "://" in repo or ":" in repo.split("/", 1)[0]:
        return repo
    path = Path(repo).resolve()
    if not path.exists():
        raise SandboxError(f"--repo: there is no folder {path}.")
    return str(path)


def engine_of(home: Home, daemon: Daemon, tools: toolchain.Tools) -> engine.Engine:
    """The Pulumi engine of a running sandbox."""
    with _alone(home):
        engine.install_plugins(home)
        env = environment(home, daemon, tools)
        pulumi = engine.Engine(home, env, daemon.get("/sandbox/config"))
        pulumi.prepare()
    return pulumi


def environment(home: Home, daemon: Daemon, tools: toolchain.Tools) -> dict[str, str]:
    """The environment variables for a shell that uses the running sandbox."""
    return engine.environment(
        home,
        bin_dir=tools.bin_dir,
        api_url=daemon.url,
        token=daemon.token,
        github=daemon.github,
    )


def remove(home: Home) -> None:
    """Stop the sandbox and remove its folder, if there is one.

    Raises SandboxError if the folder is no sandbox's.
    """
    if home.root.exists() and not home.is_sandbox:
        raise SandboxError(f"{home.root} is no sandbox, so nothing is removed.")
    client.stop(home)
    remove_tree(home.root)
