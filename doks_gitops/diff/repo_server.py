"""Argo CD's own repo-server, run without a cluster, to render what Argo CD would apply.

https://argo-cd.readthedocs.io/en/stable/operator-manual/server-commands/argocd-repo-server/
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from doks_gitops.diff import messages
from doks_gitops.diff.no_cache import LOOPBACK, NoCache
from doks_gitops.errors import PlatformError
from doks_gitops.variables import no_proxy

START_TIMEOUT = 30
"""Seconds until the repo-server must answer."""
RENDER_TIMEOUT = 120
"""Seconds that the rendering of one source may take."""
LARGEST_ADDRESS_SPACE = 6 << 30
"""Bytes that the repo-server and each of its children may map: a bomb of aliases in YAML ends in an
error of the child instead of taking the machine's memory."""
_METHOD = "/repository.RepoServerService/GenerateManifest"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAMES = ("HEAD", "refs/heads/*", "refs/tags/*")
_DISCARD = f"http://{LOOPBACK}:9"
"""A proxy that refuses every connection."""


class RenderError(PlatformError):
    """A source can't be rendered, or the repo-server can't be run."""


@dataclass(frozen=True)
class Options:
    """What Argo CD's settings and the cluster contribute to a rendering."""

    kube_version: str
    """Version of the cluster, as 1.34.0."""
    api_versions: tuple[str, ...] = ()
    """What `.Capabilities.APIVersions` of a chart has besides Kubernetes' own APIs."""
    tracking_method: str = "annotation"
    """`application.resourceTrackingMethod` of argocd-cm."""
    label_key: str = "app.kubernetes.io/instance"
    """`application.instanceLabelKey` of argocd-cm."""
    build_options: str = ""
    """`kustomize.buildOptions` of argocd-cm."""


@dataclass
class RepoServer:
    """A repo-server on loopback, with a folder and an environment of its own.

    Nothing of the caller's environment reaches it but the search path, the certificates, the known
    SSH hosts and, unless `offline`, the proxy. Plugins are off, for they would run code of the
    repository.
    """

    offline: bool = False
    """Whether sources outside the clone (charts, remote bases) fail instead of being fetched."""
    local: Mapping[str, str] = field(default_factory=dict)
    """URLs of repositories, and where Git fetches them from instead."""
    objects: Path | None = None
    """Folder with Git objects that need not be fetched: those of the clone, however many."""
    _references: dict[str, dict[str, str] | RenderError] = field(default_factory=dict, init=False)
    """What was looked up, by URL: commits by branch and tag, or why there are none."""
    _folder: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _channel: grpc.Channel | None = field(default=None, init=False)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)

    def __enter__(self) -> RepoServer:
        self._folder = tempfile.TemporaryDirectory(prefix="doks-gitops-diff-")
        try:
            self._start(Path(self._folder.name))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            # With the programs that it has called.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        self._stack.close()
        if self._folder is not None:
            self._folder.cleanup()

    def render(self, content: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The objects of one `ManifestRequest`. Raises `RenderError`."""
        assert self._channel is not None
        try:
            call = self._channel.unary_unary(
                _METHOD,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=partial(messages.parsed, "ManifestResponse"),
            )
            answer = call(messages.request(content), timeout=RENDER_TIMEOUT)
        except ValueError as error:
            raise RenderError(f"Argo CD's repo-server takes no such source: {error}") from None
        except grpc.RpcError as error:
            raise RenderError(self._reason(error)) from None
        return [json.loads(manifest) for manifest in answer.manifests]

    def commit(self, url: str, revision: str) -> str:
        """The commit that a branch or tag of another Git repository is at. The repo-server would
        look it up in its cache only. Raises `RenderError`."""
        if _COMMIT.fullmatch(revision):
            return revision
        if url not in self._references:
            try:
                self._references[url] = self._look_up(url)
            except RenderError as error:
                self._references[url] = error
        references = self._references[url]
        if isinstance(references, RenderError):
            raise references
        # Best first: `^{}` is the commit of an annotated tag.
        tag = f"refs/tags/{revision}"
        for name in (revision or "HEAD", f"refs/heads/{revision}", f"{tag}^{{}}", tag):
            if name in references:
                return references[name]
        raise RenderError(f"The revision {revision} of {url} can't be read: it does not exist")

    def _look_up(self, url: str) -> dict[str, str]:
        """The commits of all branches and tags."""
        try:
            done = subprocess.run(
                [str(Path(self._home, "bin", "git")), "ls-remote", "--", url, *_NAMES],
                check=False, text=True, capture_output=True, timeout=RENDER_TIMEOUT,
                env=self._env, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RenderError(f"{url} did not answer for {RENDER_TIMEOUT} seconds.") from None
        if done.returncode:
            raise RenderError(f"{url} can't be read: {done.stderr.strip()}")
        listed = (line.split("\t") for line in done.stdout.splitlines())
        return {name: commit for commit, name in listed}

    def _reason(self, error: Any) -> str:
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"The rendering took more than {RENDER_TIMEOUT} seconds."
        text = " ".join(str(error.details()).split())
        for folder in (self._home, tempfile.gettempdir()):
            text = text.replace(f"{folder}/", "")
        return text

    @property
    def _home(self) -> str:
        return self._folder.name if self._folder is not None else ""

    def _start(self, home: Path) -> None:
        programs = home / "bin"
        programs.mkdir()
        # The binary runs as the process that it is named after.
        # Git asks `argocd` for credentials.
        for name in ("argocd-repo-server", "argocd"):
            (programs / name).symlink_to(program("argocd"))
        for name in ("helm", "kustomize"):
            (programs / name).symlink_to(program(name))
        _script(programs / "git", self._git())
        # Argo CD's image has this script. Signatures are not checked here.
        _script(programs / "git-verify-wrapper.sh", "exit 0\n")
        self._env = self._environment(home, programs)
        port, metrics = _free_ports(2)
        arguments = [
            "--address", LOOPBACK, "--port", str(port), "--disable-tls", "--client-ca-path", "",
            "--metrics-address", LOOPBACK, "--metrics-port", str(metrics), "--loglevel", "warn",
            "--redis", self._stack.enter_context(NoCache()),
        ]  # fmt: skip
        self._log = home / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*limited(), str(programs / "argocd-repo-server"), *arguments],
                cwd=home,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A signal to the terminal ends this program first, which then ends the repo-server.
                start_new_session=True,
            )
        self._channel = grpc.insecure_channel(
            f"{LOOPBACK}:{port}",
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.enable_http_proxy", 0),
                # By default, a second passes after the first refused connection.
                *((f"grpc.{name}_reconnect_backoff_ms", 50) for name in ("initial", "min", "max")),
            ],
        )
        ready = grpc.channel_ready_future(self._channel)
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                ready.result(timeout=0.2)
                return
            except grpc.FutureTimeoutError:
                if self._process.poll() is None and time.monotonic() < deadline:
                    continue
                lines = self._log.read_text(errors="replace").strip().splitlines()
                raise RenderError(
                    f"Argo CD's repo-server did not start: {lines[-1] if lines else 'no message'}",
                    "argocd version --client",
                ) from None

    def _git(self) -> str:
        """A Git that takes the clone for the monorepo. Its own setting `insteadOf` would match
        every URL that begins alike."""
        cases = "".join(
            f"    {shlex.quote(url)}) word={shlex.quote(path)} ;;\n"
            for url, path in self.local.items()
        )
        return _GIT.format(cases=cases, git=shlex.quote(program("git")))

    def _environment(self, home: Path, programs: Path) -> dict[str, str]:
        environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(home),
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_EXEC_TIMEOUT": f"{RENDER_TIMEOUT}s",
            # By default it is the same for all repo-servers of the machine.
            "ARGOCD_ASK_PASS_SOCK": str(home / "ask-pass.sock"),
            # Failures are counted in the cache, and without one they would hide the error.
            "ARGOCD_PAUSE_GEN_AFTER_FAILED_ATTEMPTS": "0",
            **({"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self.objects)} if self.objects else {}),
            # No file of the user or the machine changes what Git does.
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }
        for name in ("TLS_DATA_PATH", "SSH_DATA_PATH", "GNUPGHOME", "PLUGINSOCKFILEPATH"):
            folder = home / name.lower()
            folder.mkdir()
            environment[f"ARGOCD_{name}"] = str(folder)
        known_hosts = Path("~/.ssh/known_hosts").expanduser()
        if known_hosts.is_file():
            shutil.copy(known_hosts, home / "ssh_data_path" / "ssh_known_hosts")
        if self.offline:
            proxies = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
            environment |= dict.fromkeys(proxies, _DISCARD)
            environment |= {"GIT_ALLOW_PROTOCOL": "file", "ARGOCD_GIT_MODULES_ENABLED": "false"}
        else:
            kept = (
                "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "SSL_CERT_FILE",
                "SSL_CERT_DIR",
            )  # fmt: skip
            environment |= {name: os.environ[name] for name in kept if name in os.environ}
            environment |= no_proxy(os.environ)
        return environment


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o700)


_GIT = """\
count=$#
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    case $word in
{cases}    esac
    set -- "$@" "$word"
    count=$((count - 1))
done
exec {git} "$@"
"""


def program(name: str) -> str:
    """Path of a program. Raises `RenderError` if it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise RenderError(
            f"{name} is not installed; Argo CD's repo-server and the programs that it calls render"
            " the manifests, within the memory that prlimit allows.",
            "Install argocd, helm, kustomize, git and prlimit (util-linux) in PATH; or use those of"
            " the sandbox: bin/sandbox run bin/platform diff",
        )
    return str(Path(path).resolve())


def limited() -> list[str]:
    """The words in front of a command that limit its memory, and that of its children. Raises
    `RenderError`."""
    return [program("prlimit"), f"--as={LARGEST_ADDRESS_SPACE}"]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for listener in sockets:
            listener.bind((LOOPBACK, 0))
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()
