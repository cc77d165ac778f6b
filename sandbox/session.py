"""Starts a sandbox and gives access to its daemon and its Pulumi engine."""

from pathlib import Path

from rich.console import Console

from sandbox import client, engine, toolchain
from sandbox.client import Daemon, SandboxError
from sandbox.paths import Home, remove_tree


def start(
    home: Home,
    repo: str | None,
    console: Console,
    *,
    webhooks: bool | None = None,
    from_source: bool = False,
) -> tuple[Daemon, engine.Engine]:
    """Start the sandbox of that folder and create its monorepo and stacks; deploys nothing.

    `repo`: where a new monorepo is imported from; None: the example. `webhooks`: whether Argo CD is
    notified of commits by webhook; None: unchanged, initially off. `from_source`: whether missing
    tools are built instead of downloaded.
    """
    tools = toolchain.ensure(console, from_source=from_source)
    daemon = client.start(home)
    if webhooks is not None:
        daemon.post("/sandbox/webhooks", {"on": webhooks})
    daemon.post("/sandbox/repository", {"source": _source(repo)}, seconds=300)
    return daemon, engine_of(home, daemon, tools)


def _source(repo: str | None) -> str | None:
    if repo is None or "://" in repo or ":" in repo.split("/", 1)[0]:
        return repo
    path = Path(repo).resolve()
    if not path.exists():
        raise SandboxError(f"--repo: there is no folder {path}.")
    return str(path)


def engine_of(home: Home, daemon: Daemon, tools: toolchain.Tools) -> engine.Engine:
    """The Pulumi engine of a running sandbox."""
    engine.install_plugins(home)
    pulumi = engine.Engine(home, environment(home, daemon, tools), daemon.get("/sandbox/config"))
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
    """Stop the sandbox and remove its folder."""
    client.stop(home)
    remove_tree(home.root)
