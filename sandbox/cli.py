"""The sandbox's command line."""

import base64
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from sandbox import client, engine, session, toolchain
from sandbox.arguments import RealProviders
from sandbox.client import Daemon
from sandbox.drills.cli import drill
from sandbox.errors import SandboxError
from sandbox.faults import cli as faults
from sandbox.kubeconfig import write_kubeconfig
from sandbox.paths import REPOSITORY, Home, write_private
from sandbox.processes import with_parent_death_signal
from sandbox.view import render, wait_until_healthy

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run the platform on one machine: DigitalOcean and GitHub are emulated, the rest is real.",
)
app.add_typer(faults.app, name="fault")
app.command()(drill)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
_LEAST_FREE = 64
"""MiB. With less, the processes of a sandbox can't write their files."""

Repo = Annotated[
    str | None,
    typer.Option(help="Git repository (folder or URL) to sync from instead of the example."),
]
Build = Annotated[
    bool, typer.Option("--build", help="Build the tools from source instead of downloading them.")
]
Stacks = Annotated[list[str] | None, typer.Argument(help="Stacks to deploy.", metavar="[STACK]...")]


@app.command()
def up(
    stacks: Stacks = None,
    repo: Repo = None,
    webhooks: Annotated[
        bool | None,
        typer.Option(help="Notify Argo CD of commits by webhook, as GitHub does; off: it polls."),
    ] = None,
    real_providers: RealProviders = False,
    wait: Annotated[
        int, typer.Option(help="Seconds to wait until Synced and Healthy; 0: do not wait.")
    ] = 180,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before recovering from a killed run.")
    ] = False,
    build: Build = False,
) -> None:
    """Start the sandbox and deploy stacks in it (default: dev)."""
    stacks = stacks or ["dev"]
    for stack in stacks:
        if stack not in engine.STACKS:
            raise SandboxError(
                f"There is no stack {stack!r}; choose from {', '.join(engine.STACKS)}."
            )
    home = Home.default()
    daemon, pulumi = session.start(
        home,
        repo,
        console,
        webhooks=webhooks,
        real_providers=real_providers,
        from_source=build,
    )
    for stack in stacks:
        command = ["pulumi", "up", "--stack", stack, "--yes"]
        released = _release_stale_lock(pulumi, stack)
        unfinished = pulumi.unfinished(stack)
        if released or unfinished:
            _ask_to_recover(stack, unfinished, yes=yes)
            command = _recover_command(stack)
        console.rule(shlex.join(command), align="left")
        code = _run(command, pulumi)
        if code:
            raise SandboxError(
                f"`{shlex.join(command)}` failed (exit code {code}); its message is above."
                f" After fixing the cause, continue with: bin/sandbox up {stack}; if a run was"
                f" killed or something was lost: bin/sandbox recover {stack}"
            )
    if wait:
        wait_until_healthy(
            daemon, [pulumi.cluster_name(stack) for stack in stacks], console, seconds=wait
        )
    status = daemon.get("/sandbox/status")
    render(status, console)
    _print_next_steps(home, daemon, status, stacks[0])


@app.command()
def start(repo: Repo = None, build: Build = False, real_providers: RealProviders = False) -> None:
    """Start the sandbox without deploying: an account, a monorepo and three stacks to preview."""
    session.start(Home.default(), repo, console, real_providers=real_providers, from_source=build)
    console.print(
        "The sandbox is running. Deploy: bin/sandbox up. Run a command: bin/sandbox run COMMAND"
    )


def _ask_to_recover(stack: str, unfinished: list[str], *, yes: bool) -> None:
    """Raises typer.Abort if the user does not want it. Does not ask without a terminal."""
    changed = f" while it changed {', '.join(unfinished)}" if unfinished else ""
    console.print(
        f"An earlier run on stack {stack} was killed{changed}. `pulumi up` fails over what it has"
        " left; `bin/platform recover` completes it."
    )
    if sys.stdin.isatty() and not yes:
        typer.confirm(f"Recover the stack {stack}?", default=True, abort=True)


def _release_stale_lock(pulumi: engine.Engine, stack: str) -> bool:
    released = pulumi.release_stale_lock(stack)
    if released:
        console.print(f"Removed the lock that a killed pulumi left on stack {stack}.")
    return released


def _recover_command(stack: str) -> list[str]:
    return [str(REPOSITORY / "bin" / "platform"), "recover", "--stack", stack, "--yes"]


def _run(command: list[str], pulumi: engine.Engine) -> int:
    """Run a command in the foreground and return its exit code. It gets SIGINT, as by Ctrl-C, if
    this process dies."""
    return subprocess.run(
        with_parent_death_signal(command, "INT"), cwd=pulumi.project, env=pulumi.env, check=False
    ).returncode


@app.command()
def down() -> None:
    """Stop everything. What is deployed is kept, and `up` starts it again."""
    console.print("Stopped." if client.stop(Home.default()) else "The sandbox was not running.")


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Stop everything and remove it: account, clusters, repositories, Pulumi state."""
    home = Home.default()
    if not home.root.exists():
        console.print("There is no sandbox.")
        return
    if not yes:
        typer.confirm(f"Remove {home.root} and everything that is deployed there?", abort=True)
    session.remove(home)
    console.print("The sandbox is removed; the tools stay in the cache.")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show clusters, Argo CD, applications and memory."""
    current = _daemon().get("/sandbox/status")
    if as_json:
        console.print_json(data=current)
    else:
        render(current, console)


@app.command()
def logs(
    name: Annotated[
        str | None, typer.Argument(help="Part of the log's name; without: list the logs.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Print new lines too.")] = False,
    lines: Annotated[int, typer.Option("-n", help="Number of lines from the end.")] = 40,
) -> None:
    """Show the end of the log of a process."""
    home = Home.default()
    paths = sorted(
        path
        for path in home.root.rglob("*.log")
        if name is None or name in str(path.relative_to(home.root))
    )
    if name is None:
        for path in paths:
            console.print(str(path.relative_to(home.root)))
        return
    if not paths:
        raise SandboxError(f"No log has {name!r} in its name. All logs: bin/sandbox logs")
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, paths)])


@app.command()
def env() -> None:
    """Print the environment for pulumi and kubectl in a shell: eval "$(bin/sandbox env)"."""
    home = Home.default()
    daemon = _daemon()
    tools = toolchain.ensure(errors)
    write_kubeconfig(home, daemon.get("/sandbox/clusters"), daemon.token)
    for key, value in session.environment(home, daemon, tools).items():
        print(f"export {key}={shlex.quote(value)}")


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def pulumi(context: typer.Context) -> None:
    """Run a pulumi command in the sandbox, such as `pulumi preview --stack staging`."""
    _exec(["pulumi", *context.args], _daemon())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(context: typer.Context) -> None:
    """Run a command in the sandbox's project folder, such as `bin/platform preview`."""
    daemon = _daemon()
    if not context.args:
        raise SandboxError("The command is missing. Example: bin/sandbox run bin/platform preview")
    _exec(context.args, daemon)


def _exec(command: list[str], daemon: Daemon) -> NoReturn:
    """Replace this process by the command, run in the sandbox's project folder."""
    pulumi = session.engine_of(Home.default(), daemon, toolchain.ensure(errors), errors)
    os.chdir(pulumi.project)
    try:
        os.execvpe(command[0], command, pulumi.env)
    except OSError as error:
        raise SandboxError(f"{command[0]} can't be run: {error.strerror}.") from error


@app.command()
def recover(stack: Annotated[str, typer.Argument(help="The stack.")]) -> None:
    """Restore a stack after a loss (bin/platform recover)."""
    home, daemon = Home.default(), _daemon()
    pulumi = session.engine_of(home, daemon, toolchain.ensure(errors), errors)
    if stack in engine.STACKS:
        _release_stale_lock(pulumi, stack)
    code = _run(_recover_command(stack), pulumi)
    write_kubeconfig(home, daemon.get("/sandbox/clusters"), daemon.token)
    raise typer.Exit(code)


@app.command()
def clone(
    folder: Annotated[Path, typer.Argument(help="The new folder.")] = Path("monorepo"),
) -> None:
    """Clone the monorepo that Argo CD syncs from, ready to commit and push."""
    home = Home.default()
    git = _daemon().get("/sandbox/repository")
    store = home.root / "git-credentials"
    scheme, rest = git["url"].split("://", 1)
    write_private(store, f"{scheme}://{git['username']}:{git['password']}@{rest}\n".encode())
    # Without a proxy, which would read the password.
    settings = [f"credential.helper=store --file={shlex.quote(str(store))}", "http.proxy="]
    identity = subprocess.run(["git", "config", "user.email"], check=False, capture_output=True)
    if identity.returncode:
        # Git refuses to commit without a name and an address.
        settings += ["user.name=sandbox", "user.email=sandbox@localhost"]
    options = [word for setting in settings for word in ("--config", setting)]
    raise typer.Exit(
        subprocess.run(["git", "clone", *options, git["url"], str(folder)], check=False).returncode
    )


@app.command("push-image")
def push_image(
    image: Annotated[str, typer.Argument(help="REPOSITORY:TAG in the team's registry.")],
) -> None:
    """Push an image into the team's registry. Pods wait until the image of their tag is pushed."""
    repository, _, tag = image.partition(":")
    if not repository or not tag:
        raise SandboxError(f"{image!r} is not REPOSITORY:TAG, such as shop/cart:1.4.2")
    pushed = _daemon().post("/sandbox/images", {"repository": repository, "tag": tag})
    console.print(f"Pushed {pushed['image']}.")


@app.command("push-chart")
def push_chart(
    package: Annotated[Path, typer.Argument(help="A chart, as `helm package` makes it.")],
) -> None:
    """Push a chart into the team's private Helm repository and registry, and print their URLs."""
    if not package.is_file():
        raise SandboxError(f"There is no file {package}. Make it: helm package FOLDER")
    content = base64.b64encode(package.read_bytes()).decode()
    charts = _daemon().post("/sandbox/charts", {"package": content})
    console.print(
        f"Pushed {charts['chart']}. In a stack file, of type helm:\n"
        f"Helm repository:  {charts['helm']}\n"
        f"Registry:         {charts['registry']}, with plainHttp: true\n"
        f"Their user is {charts['username']}, the password is in"
        f" {Home.default().root / 'private-charts' / 'password'}",
        soft_wrap=True,
    )


@app.command()
def clock(
    days: Annotated[float, typer.Option(help="Days to set the clock forward.", min=0)] = 0,
) -> None:
    """Show the account's clock or set it forward, so that tokens expire and snapshots get older."""
    time = _daemon().post("/sandbox/clock", {"seconds": days * 86400})
    console.print(f"The account's clock shows {time['now']}.")


@app.command()
def token(
    scopes: Annotated[
        list[str], typer.Argument(help="Scopes, such as kubernetes:read.", metavar="SCOPE...")
    ],
) -> None:
    """Create an API token of the account that has only these scopes, and print it."""
    print(_daemon().post("/sandbox/tokens", {"scopes": scopes})["token"])


def _daemon() -> Daemon:
    return client.required(Home.default())


def _print_next_steps(home: Home, daemon: Daemon, status: dict[str, Any], stack: str) -> None:
    """Write the kubeconfig, and print the commands that can be run next, with a stack that is
    deployed."""
    write_kubeconfig(home, status["clusters"], daemon.token)
    console.print(
        f"Argo CD password: bin/sandbox pulumi stack output --stack {stack} argocdAdminPassword"
        " --show-secrets\n"
        'Plain commands:   eval "$(bin/sandbox env)"; kubectl config get-contexts\n'
        "The monorepo:     bin/sandbox clone   (commit and push: Argo CD syncs it)\n"
        "Stop, come back:  bin/sandbox down, bin/sandbox up",
        # A wrapped command could not be copied in one piece.
        soft_wrap=True,
    )


@contextmanager
def _errors_as_messages() -> Iterator[None]:
    try:
        yield
    except (SandboxError, toolchain.ToolchainError) as error:
        errors.print(f"[red]error:[/] {error}")
    except subprocess.CalledProcessError as error:
        errors.print(
            f"[red]error:[/] {shlex.join(map(str, error.cmd))} failed:\n{error.stderr}",
            error.stdout,
        )
    except OSError as error:
        errors.print(f"[red]error:[/] {error}. The sandbox's folder: {Home.default().root}")
    else:
        return
    _warn_of_a_full_disk(Home.default().root)
    sys.exit(1)


def _warn_of_a_full_disk(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 2**20
    if free < _LEAST_FREE:
        errors.print(
            f"The disk of {existing} is full ({free:.0f} MiB are free), which may be the cause."
            " Make room, then: bin/sandbox up"
        )


def main() -> None:
    with _errors_as_messages():
        app(prog_name="bin/sandbox")
