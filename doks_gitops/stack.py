"""Runs Pulumi: the only module that does, by the Automation API.

https://www.pulumi.com/docs/iac/automation-api/

What differs from the API's own `Stack`, and why:

- No stack becomes the project's current one. After a command about prod, a plain `pulumi up` still
  means the stack that it meant before.
- A preview is read from `pulumi preview --json`. The API's parser of engine events drops an event
  that it does not know and only warns: a policy would never see that resource.
- Deployments run one command. The API's methods read outputs and history afterwards, in three more.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import MappingProxyType
from typing import Any, TextIO

import pulumi
import yaml
from pulumi.automation import (
    CommandError,
    CommandResult,
    ConcurrentUpdateError,
    ConfigValue,
    LocalWorkspace,
    OnOutput,
    PulumiCommand,
    StackNotFoundError,
)

from doks_gitops import condition
from doks_gitops.environments import short_name
from doks_gitops.errors import PlatformError
from doks_gitops.settings import Settings, parse, stackfile
from doks_gitops.settings.errors import stack_file
from doks_gitops.settings.load import decoded, read_all
from doks_gitops.settings.model import NAMESPACE

INSTALL = "https://www.pulumi.com/docs/iac/download-install/"
REFRESH = ("--refresh", "--run-program")
"""Options that read every resource anew, with the credentials that the program has now. Without the
second one, those in the state are used, which may have been revoked since the last deployment.

https://www.pulumi.com/docs/iac/cli/commands/pulumi_up/
"""
_URL_PASSWORD = re.compile(r'(?<=://)[^\s"]*:[^\s"]*(?=@)')
_QUERY_PASSWORD = re.compile(r'([?&]\w*password=)[^\s"&]+', re.IGNORECASE)
"""Passwords in a URL, as a backend's may have them (postgres://user:password@host/database): the
engine repeats it in its messages. A password may have `@`, `/` and quotes in it."""
_BACKEND_ERROR = re.compile(
    r"unable to open|\.pulumi/meta\.yaml|could not list bucket|PULUMI_ACCESS_TOKEN must be set"
    r"|No credentials provided or are invalid|requires logging in"
)
"""The engine's messages about a backend that can't be read."""
_EXIT_CODE = re.compile(r"code: (-?\d+)")
_TAIL = 20
"""Lines of standard output that an error repeats when standard error is empty."""


_OPERATIONS = 100
"""Operations of a stack's history that are read."""


class PulumiError(PlatformError, pulumi.RunError):
    """A pulumi command failed. A program that raises it ends without a traceback."""

    def __init__(
        self, problem: str, fix: str | None, *, message: str = "", output: str = ""
    ) -> None:
        super().__init__(without_passwords(problem), fix)
        self.message = without_passwords(message) or self.problem
        """The engine's message alone."""
        self.output = output
        """What the command printed on standard output."""


class StackNotFound(PulumiError):
    """The backend has no such stack."""


class StackLocked(PulumiError):
    """Another run holds the stack's lock, or a killed one has left it."""


class Stack:
    """A stack of the project in a folder.

    The environment of this process (backend, passphrase, PATH) is that of pulumi too. Every method
    raises `PulumiError` if pulumi can't be run or does not end with exit code 0.
    """

    def __init__(
        self, name: str, folder: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        """`folder`: where Pulumi.yaml is; default: the working directory. `env`: variables that
        pulumi has in place of those of this process."""
        self.name = name
        self.folder = folder or Path.cwd()
        self._pulumi = _Pulumi(name)
        self._env = dict(env or {})
        self._workspace = LocalWorkspace(
            work_dir=str(self.folder), env_vars=self._env, pulumi_command=self._pulumi
        )

    def config(self) -> dict[str, str]:
        """Returns the stack's configuration by full key, secrets in clear; objects are JSON."""
        values = self._workspace.get_all_config(self.name)
        return {key: value.value for key, value in values.items()}

    def settings(self) -> Settings:
        """Returns the settings that the program would have now. Raises `SettingsError`."""
        return parse(
            short_name(self.name),
            {key: decoded(key, value) for key, value in self.config().items()},
            read_all(self.folder),
            environ=os.environ,
        )

    def config_value(self, key: str) -> str:
        """Returns one value of the stack's configuration, a secret in clear."""
        return self._workspace.get_config(self.name, key).value

    def outputs(self) -> dict[str, Any]:
        """Returns the stack's outputs, secrets in clear."""
        outputs: dict[str, Any] = json.loads(
            self._run("stack", "output", "--json", "--show-secrets")
        )
        return outputs

    def export(self, *, secrets: bool = False) -> dict[str, Any]:
        """Returns the stack's state, its secrets encrypted, or with `secrets` in clear.

        https://www.pulumi.com/docs/iac/cli/commands/pulumi_stack_export/
        """
        options = ["--show-secrets"] if secrets else []
        state: dict[str, Any] = json.loads(self._run("stack", "export", *options))
        return state

    def preview(self, *, refresh: bool = False) -> dict[str, Any]:
        """Returns what `pulumi up` would do: the JSON of `pulumi preview --json --show-sames`.

        It lists unchanged resources too. Pulumi has replaced each secret by `[secret]`. With
        `refresh`, changes made outside of Pulumi are part of it (see `REFRESH`).
        https://www.pulumi.com/docs/iac/cli/commands/pulumi_preview/

        Raises `PulumiError` with the engine's messages. A command that fails gives no preview,
        whatever it has printed.
        """
        return self._preview(*(REFRESH if refresh else ()))

    def plan(self) -> dict[str, Any]:
        """Returns the update plan of a preview, its secrets in clear: the changed inputs of each
        resource, as the state has them. Raises `PulumiError` as `preview` does.

        https://www.pulumi.com/docs/iac/concepts/update-plans/
        """
        with NamedTemporaryFile("r", suffix=".json") as file:
            self._preview("--show-secrets", "--save-plan", file.name)
            plan: dict[str, Any] = json.load(file)
            return plan

    def _preview(self, *options: str) -> dict[str, Any]:
        command = shlex.join(["pulumi", "preview", "--stack", self.name])
        try:
            output = self._run("preview", "--json", "--show-sames", *options)
        except PulumiError as error:
            messages = _error_messages(_json_object(error.output))
            if not messages:
                raise
            raise PulumiError("\n".join(messages), command, output=error.output) from None
        preview = _json_object(output)
        if preview is None:
            raise PulumiError(f"`{command} --json` printed no JSON:\n{_tail(output)}", command)
        if messages := _error_messages(preview):
            raise PulumiError("\n".join(messages), command, output=output)
        return preview

    def history(self, size: int = _OPERATIONS) -> list[dict[str, Any]]:
        """Returns the last `size` operations on the stack, newest first.

        https://www.pulumi.com/docs/iac/cli/commands/pulumi_stack_history/
        """
        history: list[dict[str, Any]] = json.loads(
            self._run("stack", "history", "--json", "--page-size", str(size))
        )
        return history

    def last_run(self) -> dict[str, Any] | None:
        """Returns the last run of the engine that has ended; None if there was none. An import of a
        state is no run."""
        ended = (
            run
            for run in self.history(10)
            if run["kind"] != "import" and run["result"] != "in-progress"
        )
        return next(ended, None)

    @property
    def file(self) -> Path:
        """The stack file."""
        return self.folder / stack_file(self.name)

    def text(self) -> str:
        """Returns the text of the stack file. Raises `PlatformError`."""
        try:
            return stackfile.read(self.file)
        except ValueError as error:
            reason = error if self.file.exists() else "No such file"
            raise PlatformError(
                f"{self.file} can't be read: {reason}.",
                "Run this in the project's folder, or with -C FOLDER, for a stack that has a file"
                " in it.",
            ) from None

    def create(self) -> bool:
        """Create the stack in the backend, empty, with the secrets provider of its stack file.

        The stack file keeps its content: with another provider or key, its encrypted values could
        not be decrypted any more. Returns whether Pulumi had changed it.
        https://www.pulumi.com/docs/iac/concepts/secrets/
        """
        content = self.file.read_bytes() if self.file.exists() else None
        keys = (yaml.safe_load(content) or {}) if content else {}
        provider = keys.get("secretsprovider") or ("passphrase" if "encryptionsalt" in keys else "")
        options = ["--secrets-provider", provider] if provider else []
        try:
            self._run("stack", "init", "--no-select", *options, live=True)
        finally:
            changed = content is not None and self.file.read_bytes() != content
            if content is not None and changed:
                self.file.write_bytes(content)
        return changed

    def init_with_passphrase(self) -> None:
        """Create the stack in the backend, empty, with PULUMI_CONFIG_PASSPHRASE, and add the key
        that is made of it to the stack file."""
        self._run("stack", "init", "--no-select", "--secrets-provider", "passphrase")

    def set_secrets(self, values: Mapping[str, str]) -> None:
        """Encrypt `values` in the stack file, by keys with paths. The command line has them, where
        other users of the machine see them: no real secret may be among them."""
        self._workspace.set_all_config(
            self.name, {key: ConfigValue(value, secret=True) for key, value in values.items()},
            path=True,
        )  # fmt: skip

    def set_secret(self, key: str, value: str) -> None:
        """As `set_values`, for one secret."""
        self.set_values({key: value}, secrets=(key,))

    def set_values(self, values: Mapping[str, str], *, secrets: Collection[str]) -> None:
        """Write texts into the stack file, by keys with paths: all of them, or none if it fails.
        Those of `secrets` are encrypted. No command line has any of them."""
        with NamedTemporaryFile(dir=self.folder, prefix=".", suffix=".yaml") as draft:
            draft.write(self.file.read_bytes() if self.file.exists() else b"")
            draft.flush()
            for key, value in values.items():
                kind = "--secret" if key in secrets else "--plaintext"
                words = [self._pulumi.command, "config", "set", kind, "--path", key]
                words += ["--stack", self.name]
                command = shlex.join(words)
                with self._pulumi.os_errors(command):
                    done = subprocess.run(
                        [*words, "--config-file", draft.name, "--non-interactive"],
                        cwd=self.folder, env={**os.environ, **self._env}, input=value, text=True,
                        capture_output=True, check=False,
                    )  # fmt: skip
                if done.returncode:
                    raise PulumiError(f"`{command}` failed:\n{_tail(done.stderr)}", None)
            # Pulumi may have replaced the file.
            self.file.write_bytes(Path(draft.name).read_bytes())

    def cancel(self) -> None:
        """Release the lock of the stack. A run that still holds it is cancelled."""
        self._run("cancel", "--yes", live=True)

    def clear_pending_creates(self, target: str | None) -> None:
        """Remove interrupted creations from the state, and refresh the one resource `target`.

        Raises `StackLocked` if another run is active. `target` is a URN; None: refresh everything.
        """
        targets = ["--target", target] if target else []
        self._run(
            # The program may refuse a state that has not been repaired yet.
            "refresh", "--run-program=false", "--yes", "--skip-preview", "--suppress-outputs",
            "--clear-pending-creates", *targets, live=True,
        )  # fmt: skip

    def import_state(self, export: Mapping[str, Any], *, live: bool = True) -> None:
        """Replace the stack's state by one that `export` returned, changed. `live`: show it.

        https://www.pulumi.com/docs/iac/cli/commands/pulumi_stack_import/
        """
        with NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(export, file)
            file.flush()
            self._run("stack", "import", "--file", file.name, live=live)

    def up(
        self,
        *,
        policy_pack: Path,
        preview: bool = False,
        refresh: bool = False,
        env: Mapping[str, str] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Deploy the stack, unless it breaks a mandatory policy.

        - `policy_pack`: folder of the policies and of their `config.json`. They check each resource
          before it is created or updated
        - `preview`: preview first, so that a broken policy stops the deployment before it begins
        - `refresh`: see `REFRESH`
        - `env`: further environment variables of the program
        - `check`: called while Pulumi holds the stack's lock, before anything is changed. What it
          raises, a `PlatformError`, is raised

        https://www.pulumi.com/docs/iac/cli/commands/pulumi_up/
        """
        config = policy_pack / "config.json"
        with ExitStack() as stack:
            checked = stack.enter_context(condition.answering(check)) if check else None
            hidden = {**self._for_policies(), **(checked.env if checked else {})}
            try:
                self._run(
                    "up", *(REFRESH if refresh else ()), "--yes",
                    *(() if preview else ["--skip-preview"]),
                    "--policy-pack", str(policy_pack), "--policy-pack-config", str(config),
                    live=True, env=env, hidden=hidden,
                )  # fmt: skip
            except PulumiError as error:
                raise (checked and checked.refusal) or error from None

    def _for_policies(self) -> dict[str, str]:
        """The stack's `environment` for the policies. The engine gives a policy pack no
        configuration, but Pulumi's SDK reads this variable:
        https://www.pulumi.com/docs/iac/concepts/config/"""
        try:
            file = stackfile.StackFile(stackfile.read(self.file))
        except ValueError:
            return {}
        environment = file.text(f"{NAMESPACE}:environment")
        return {"PULUMI_CONFIG_DOKS_GITOPS_ENVIRONMENT": environment} if environment else {}

    def destroy(self) -> None:
        """Destroy all resources of the stack, with the credentials that the program has now."""
        self._run("destroy", "--yes", "--skip-preview", *REFRESH, live=True)

    def _run(
        self,
        *words: str,
        live: bool = False,
        env: Mapping[str, str] | None = None,
        hidden: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Run `pulumi WORDS --stack STACK`; returns its standard output.

        `live`: show the command with the variables `env`, and its output while it runs. `hidden`:
        further variables.
        """
        arguments = [*words, "--stack", self.name]
        on_output: OnOutput | None = None
        on_error: OnOutput | None = None
        if live:
            variables = [f"{key}={shlex.quote(value)}" for key, value in (env or {}).items()]
            command = shlex.join(["pulumi", *arguments])
            print("    $", *variables, command, file=sys.stderr, flush=True)
            on_output, on_error = _printer(sys.stdout), _printer(sys.stderr)
            if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
                arguments += ["--color", "always"]
        env = {**self._env, **hidden, **(env or {})}
        return self._pulumi.run(arguments, str(self.folder), env, on_output, on_error).stdout


def running_stack() -> Stack:
    """Returns the stack whose program this process is, by the name that means no other one.

    A backend of one's own has no organization but that one, and an old one takes no name with it.
    https://www.pulumi.com/docs/iac/concepts/stacks/#stack-naming
    """
    organization, name = pulumi.get_organization(), pulumi.get_stack()
    is_own_backend = organization in (None, "", "organization")
    return Stack(name if is_own_backend else f"{organization}/{pulumi.get_project()}/{name}")


def link_project(source: Path, target: Path, *, without: Callable[[str], object]) -> None:
    """Make the folder `target` with links to what is in `source`, apart from Git's own folder and
    from the names that `without` is true for."""
    target.mkdir()
    for file in source.absolute().iterdir():
        if file.name != ".git" and not without(file.name):
            (target / file.name).symlink_to(file)


class _Pulumi(PulumiCommand):
    """The `pulumi` on PATH, run for one stack. Its failures are `PulumiError`."""

    def __init__(self, stack: str) -> None:
        # The API's own constructor runs `pulumi version` first, each time.
        self.command = "pulumi"
        self.version = None
        self._stack = stack

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: OnOutput | None = None,
        on_error: OnOutput | None = None,
    ) -> CommandResult:
        command = shlex.join([self.command, *args])
        stdout: list[str] = []
        stderr: list[str] = []
        try:
            with self.os_errors(command), _interrupts_deferred():
                return super().run(
                    args, cwd, additional_env,
                    _both(stdout.append, on_output), _both(stderr.append, on_error),
                )  # fmt: skip
        except CommandError as error:
            raise self._failure(error, command, "\n".join(stdout), "\n".join(stderr)) from None

    @contextmanager
    def os_errors(self, command: str) -> Iterator[None]:
        """Tells what the operating system lacks to run `command`: pulumi, or its folder."""
        try:
            yield
        except OSError as error:
            raise PulumiError(
                f"`{command}` can't be run: {error.filename}: {error.strerror}",
                f"install Pulumi: {INSTALL}" if error.filename == self.command else None,
            ) from None

    def _failure(self, error: CommandError, command: str, stdout: str, stderr: str) -> PulumiError:
        code = _EXIT_CODE.search(str(error))
        printed = "" if _json_object(stdout) else _tail(stdout)
        message = (stderr.strip() or printed or "it gave no reason").removeprefix("error: ")
        problem = f"`{command}` failed (exit code {code[1] if code else 'unknown'}):\n{message}"
        kind, fix = PulumiError, f"pulumi preview --stack {self._stack}"
        if isinstance(error, StackNotFoundError):
            kind, fix = StackNotFound, f"pulumi stack init {self._stack}"
        elif isinstance(error, ConcurrentUpdateError):
            kind = StackLocked
            fix = (
                "wait until that run has ended; if it does not exist any more:"
                f" bin/platform recover --stack {self._stack} --cancel"
            )
        elif _BACKEND_ERROR.search(message):
            fix = (
                "look whether this is the right backend (pulumi whoami --verbose, and the variable"
                " PULUMI_BACKEND_URL), and at its credentials, which may have expired:"
                ' docs/real-account.md, "State"'
            )
        return kind(problem, fix, message=message, output=stdout)


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Let pulumi end by itself on Ctrl-C, and raise KeyboardInterrupt after that.

    The terminal sends the signal to pulumi too, which then cancels its run and releases the lock.
    If this process ended before, pulumi would lose its output and be killed in the middle.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def defer(number: int, _: object) -> None:
        received.append(number)

    previous = {number: signal.signal(number, defer) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if received:
            raise KeyboardInterrupt


def _both(first: OnOutput, second: OnOutput | None) -> OnOutput:
    def call(line: str) -> None:
        first(line)
        if second is not None:
            second(line)

    return call


def _printer(stream: TextIO) -> OnOutput:
    def show(line: str) -> None:
        # An error here would end the thread that reads, and pulumi would wait for it for ever.
        with suppress(OSError):
            print(without_passwords(line), file=stream, flush=True)

    return show


def without_passwords(text: str) -> str:
    """`text` with stars in place of the user and the password of each URL."""
    if backend := os.environ.get("PULUMI_BACKEND_URL"):
        # Where it ends is known, whatever characters it has. Messages may have it quoted.
        hidden = re.sub(r"(?<=://).*:.*(?=@)", "****", backend)
        for url in (backend, json.dumps(backend)[1:-1]):
            text = text.replace(url, hidden)
    return _URL_PASSWORD.sub("****", _QUERY_PASSWORD.sub(r"\1****", text))


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_TAIL:])


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _error_messages(preview: Mapping[str, Any] | None) -> list[str]:
    """Returns the messages of a preview's diagnostics that are errors, each once."""
    messages = {
        diagnostic["message"].strip().removeprefix("error: "): None
        for diagnostic in (preview or {}).get("diagnostics") or []
        if diagnostic["severity"] == "error"
    }
    return list(messages)
