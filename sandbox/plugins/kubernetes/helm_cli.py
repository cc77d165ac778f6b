"""Runs the real helm. Secrets reach it in files that exist only in memory or on its standard input,
never in its arguments.

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
from sandbox.processes import with_parent_death_signal

_REPOSITORY: Final = "repository"


class HelmFailed(Exception):
    """helm failed; the message is helm's own."""


@dataclass(frozen=True, repr=False)
class ChartSource:
    """The source of a chart.

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
    """helm on one cluster, or on none: then it can only fetch and show charts.

    Files for helm exist only in memory and end with this process. The engine kills its plugins, so
    that files on disk would remain.
    """

    def __init__(self, access: Access | None, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._files: list[int] = []
        self._charts: dict[ChartSource, str] = {}
        self._fetching = asyncio.Lock()
        self._running: set[asyncio.subprocess.Process] = set()
        self._cluster_arguments: list[str] = []
        if access is not None:
            self._cluster_arguments = ["--kubeconfig", self._file(json.dumps(_kubeconfig(access)))]

    def stop(self) -> None:
        """Send SIGTERM to every helm that runs."""
        for process in self._running:
            process.terminate()

    def close(self) -> None:
        """Remove the files in memory."""
        for file in self._files:
            os.close(file)
        self._files.clear()

    def _file(self, content: str | bytes) -> str:
        """The path of a file with that content, valid in every helm that this object starts."""
        file = os.memfd_create("helm")
        self._files.append(file)
        with open(file, "wb", closefd=False) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
        return f"/proc/self/fd/{file}"

    async def chart(self, source: ChartSource) -> str:
        """The path of the chart's folder or archive. A remote chart is fetched only once.

        Raises HelmFailed if it can't be found or fetched.
        """
        if local := source.local:
            return str(local)
        async with self._fetching:
            if source not in self._charts:
                with tempfile.TemporaryDirectory() as folder:
                    await self._fetch(source, Path(folder))
                    archive = next(Path(folder).glob("*.tgz"))
                    self._charts[source] = self._file(archive.read_bytes())
        return self._charts[source]

    async def _fetch(self, source: ChartSource, folder: Path) -> None:
        arguments = ["pull", "--destination", str(folder)]
        arguments += _flag("--version", source.version) + (["--devel"] if source.devel else [])
        if source.chart.startswith("oci://"):
            arguments += [source.chart, *_tls(source)]
            if source.username:
                pair = f"{source.username}:{source.password}".encode()
                registry = urlsplit(source.chart).netloc
                auths = {registry: {"auth": base64.b64encode(pair).decode()}}
                arguments += ["--registry-config", self._file(json.dumps({"auths": auths}))]
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
            config = self._file(yaml.safe_dump({"apiVersion": "", "repositories": [entry]}))
            private = ["--repository-config", config, "--repository-cache", str(folder / "index")]
            await self.run(["repo", "update", "--fail-on-repo-update-fail", *private])
            arguments += [f"{_REPOSITORY}/{source.chart}", *private]
        elif source.repository:
            arguments += [source.chart, "--repo", source.repository, *_tls(source)]
        else:
            arguments += [source.chart]
        await self.run(arguments)

    async def metadata(self, chart: str) -> Mapping[str, Any]:
        """The Chart.yaml of a local chart. Raises HelmFailed if it is not a chart."""
        content = yaml.safe_load(await self.run(["show", "chart", chart]))
        return content if isinstance(content, dict) else {}

    async def on_cluster(
        self, arguments: Sequence[str], *, values: Mapping[str, Any] | None = None
    ) -> str:
        """Run helm against the cluster; `values` go to its standard input (use `--values -`)."""
        if not self._cluster_arguments:
            raise HelmFailed("helm has no cluster to work on")
        text = None if values is None else json.dumps(values)
        return await self.run([*arguments, *self._cluster_arguments], text)

    async def run(self, arguments: Sequence[str], text: str | None = None) -> str:
        """The standard output of helm. Raises HelmFailed if it fails, Failure if it is missing.

        helm is killed when this process ends.
        """
        program = shutil.which("helm")
        if program is None:
            raise Failure("helm is not on PATH; the resource helm.sh/v3:Release needs it")
        process = await asyncio.create_subprocess_exec(
            *with_parent_death_signal([program, *arguments]),
            env=self._env(),
            pass_fds=self._files,
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
            message = errors.decode(errors="replace").strip().removeprefix("Error: ")
            # `helm repo update` prints the cause of its failure on standard output.
            causes = re.findall(r"^\s*\.*(Unable to .*(?:\n\t.*)*)", output.decode(), re.MULTILINE)
            raise HelmFailed("\n".join([message or f"exit code {process.returncode}", *causes]))
        return output.decode()

    def _env(self) -> dict[str, str]:
        # Variables such as HELM_KUBECONTEXT would direct helm to another cluster.
        own = {key: value for key, value in os.environ.items() if not key.startswith("HELM_KUBE")}
        return own | dict(self._environment) | {"HELM_DRIVER": "secret"}


def _kubeconfig(access: Access) -> dict[str, Any]:
    """A kubeconfig with this access only."""
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
