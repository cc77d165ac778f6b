"""Runs the real helm. Whatever is secret reaches it in files that only this user can read, or on
its standard input, never in its arguments.

https://helm.sh/docs/helm/helm/
"""

import asyncio
import base64
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from sandbox.plugins.common import Failure
from sandbox.plugins.kubernetes.kubeconfig import Access
from sandbox.processes import dying_with_me

_REPOSITORY: Final = "repository"


class HelmFailed(Exception):
    """helm ended with an error; the message is helm's own."""


@dataclass(frozen=True, repr=False)
class ChartSource:
    """Where a chart comes from.

    `chart` is a folder, an archive, an oci:// address, a name in `repository` (an http(s) address)
    or `REPOSITORY/NAME` of the user's own `helm repo list`.
    """

    chart: str
    version: str = ""
    devel: bool = False
    repository: str = ""
    username: str = ""
    password: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    @property
    def local(self) -> Path | None:
        """The chart's folder or archive, if it is one on this machine."""
        if self.repository or self.chart.startswith("oci://"):
            return None
        path = Path(self.chart)
        if path.is_file() or (path / "Chart.yaml").is_file():
            return path.resolve()
        if path.is_absolute() or self.chart.startswith("."):
            raise HelmFailed(f'path "{self.chart}" not found')
        return None


class Helm:
    """helm on one cluster, or on none: then it can fetch and show charts only."""

    def __init__(self, access: Access | None, environment: Mapping[str, str]) -> None:
        # The folder is this user's alone (0700) and goes with this object.
        self._folder = tempfile.TemporaryDirectory(prefix="pulumi-helm-")
        self._environment = environment
        self._cluster_arguments: list[str] = []
        self._charts: dict[ChartSource, Path] = {}
        self._fetching = asyncio.Lock()
        self._running: set[asyncio.subprocess.Process] = set()
        if access is not None:
            path = Path(self._folder.name, "kubeconfig")
            _write_private(path, json.dumps(_only(access)))
            self._cluster_arguments = ["--kubeconfig", str(path)]

    def stop(self) -> None:
        """Ask every helm that runs to end (SIGTERM)."""
        for process in self._running:
            process.terminate()

    def close(self) -> None:
        """Remove what it wrote to disk."""
        self._folder.cleanup()

    async def chart(self, source: ChartSource) -> Path:
        """The chart as a local folder or archive, fetched once in this object's life.

        Raises HelmFailed if it can't be found or fetched.
        """
        if local := source.local:
            return local
        async with self._fetching:
            if source not in self._charts:
                target = Path(tempfile.mkdtemp(dir=self._folder.name))
                await self._fetch(source, target)
                self._charts[source] = next(target.glob("*.tgz"))
        return self._charts[source]

    async def _fetch(self, source: ChartSource, target: Path) -> None:
        arguments = ["pull", "--destination", str(target)]
        arguments += _flag("--version", source.version) + (["--devel"] if source.devel else [])
        secrets = Path(tempfile.mkdtemp(dir=self._folder.name))
        try:
            if source.chart.startswith("oci://"):
                arguments += [source.chart, *_tls(source)]
                if source.username:
                    pair = f"{source.username}:{source.password}".encode()
                    registry = urlsplit(source.chart).netloc
                    auths = {registry: {"auth": base64.b64encode(pair).decode()}}
                    _write_private(secrets / "registry.json", json.dumps({"auths": auths}))
                    arguments += ["--registry-config", str(secrets / "registry.json")]
            elif source.repository and source.username:
                entry = {
                    "name": _REPOSITORY,
                    "url": source.repository,
                    "username": source.username,
                    "password": source.password,
                    "caFile": source.ca_file,
                    "certFile": source.cert_file,
                    "keyFile": source.key_file,
                }
                config = {"apiVersion": "", "repositories": [entry]}
                _write_private(secrets / "repositories.yaml", yaml.safe_dump(config))
                private = [
                    "--repository-config",
                    str(secrets / "repositories.yaml"),
                    "--repository-cache",
                    str(secrets),
                ]
                await self.run(["repo", "update", "--fail-on-repo-update-fail", *private])
                arguments += [f"{_REPOSITORY}/{source.chart}", *private]
            elif source.repository:
                arguments += [source.chart, "--repo", source.repository, *_tls(source)]
            else:
                arguments += [source.chart]
            await self.run(arguments)
        finally:
            shutil.rmtree(secrets)

    async def metadata(self, chart: Path) -> Mapping[str, Any]:
        """The Chart.yaml of a local chart. Raises HelmFailed if it is not a chart."""
        found = yaml.safe_load(await self.run(["show", "chart", str(chart)]))
        return found if isinstance(found, dict) else {}

    async def on_cluster(
        self, arguments: Sequence[str], *, values: Mapping[str, Any] | None = None
    ) -> str:
        """Run helm against the cluster; `values` go to its standard input (use `--values -`)."""
        if not self._cluster_arguments:
            raise HelmFailed("helm has no cluster to work on")
        text = None if values is None else json.dumps(values)
        return await self.run([*arguments, *self._cluster_arguments], text)

    async def run(self, arguments: Sequence[str], text: str | None = None) -> str:
        """What helm prints. Raises HelmFailed if it ends with an error, Failure if there is none.

        helm dies with this process: what it leaves half done the next run takes up.
        """
        program = shutil.which("helm")
        if program is None:
            raise Failure("helm is not on PATH; the resource helm.sh/v3:Release needs it")
        process = await asyncio.create_subprocess_exec(
            *dying_with_me([program, *arguments]),
            env=self._env(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._running.add(process)
        try:
            output, errors = await process.communicate((text or "").encode())
        finally:
            self._running.discard(process)
        if process.returncode != 0:
            said = errors.decode(errors="replace").strip().removeprefix("Error: ")
            # `helm repo update` says why on its standard output, and on the other one that.
            why = re.findall(r"^\s*\.*(Unable to .*(?:\n\t.*)*)", output.decode(), re.MULTILINE)
            raise HelmFailed("\n".join([said or f"exit code {process.returncode}", *why]))
        return output.decode()

    def _env(self) -> dict[str, str]:
        # Variables such as HELM_KUBECONTEXT would lead helm away from this object's own cluster.
        own = {key: value for key, value in os.environ.items() if not key.startswith("HELM_KUBE")}
        return own | dict(self._environment) | {"HELM_DRIVER": "secret"}


def _only(access: Access) -> dict[str, Any]:
    """A kubeconfig with nothing but this access, whatever else the user's own holds."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "helm",
        "clusters": [{"name": "helm", "cluster": dict(access.cluster)}],
        "users": [{"name": "helm", "user": dict(access.user)}],
        "contexts": [
            {
                "name": "helm",
                "context": {"cluster": "helm", "user": "helm", "namespace": access.namespace},
            }
        ],
    }


def _flag(name: str, value: str) -> list[str]:
    return [name, value] if value else []


def _tls(source: ChartSource) -> list[str]:
    return [
        *_flag("--ca-file", source.ca_file),
        *_flag("--cert-file", source.cert_file),
        *_flag("--key-file", source.key_file),
    ]


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
