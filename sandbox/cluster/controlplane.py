"""The control plane of one cluster: etcd, API server, controller manager, scheduler, and kwok."""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from sandbox.cluster.api import Api, write_kubeconfig
from sandbox.cluster.certificates import Certificates
from sandbox.cluster.ports import Ports
from sandbox.cluster.stages import Forward, kwok_config
from sandbox.cluster.supervise import Supervised
from sandbox.cluster.tools import ClusterTools
from sandbox.paths import write_private
from sandbox.processes import Process, ProcessFailed

_ADMISSION = Path(__file__).parent / "admission"
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
)
"""The controllers that are useful without machines. Left out: those that attach and expand volumes
(see `volumes.VolumeDriver`), autoscaling by metrics (see `stages.AUTOSCALER`), certificate
requests, and cloud resources."""


def _admission() -> dict[str, Any]:
    """The API server's configuration of admission policies. They are files, which nobody in the
    cluster can change, and in effect from the first request on
    (https://kubernetes.io/docs/reference/access-authn-authz/manifest-admission-control/)."""
    version = "apiserver.config.k8s.io/v1"
    return {
        "apiVersion": version,
        "kind": "AdmissionConfiguration",
        "plugins": [
            {
                "name": f"{stage}AdmissionPolicy",
                "configuration": {
                    "apiVersion": version,
                    "kind": f"{stage}AdmissionPolicyConfiguration",
                    "staticManifestsDir": str(_ADMISSION / stage.lower()),
                },
            }
            for stage in ("Mutating", "Validating")
        ],
    }


def go_environment() -> dict[str, str]:
    """The environment of a Go program. Of this process's environment it has only PATH: the user's
    proxy or cloud credentials must not reach it.

    The garbage collector has its default settings (https://go.dev/doc/gc-guide): GOGC=40 saves a
    tenth of the memory and makes everything that waits for the API server a tenth slower, and near
    GOMEMLIMIT a program only collects garbage.
    """
    return {
        "PATH": os.environ["PATH"],
        "GOMAXPROCS": str(min(4, os.cpu_count() or 1)),
    }


class ControlPlane:
    """One cluster in `folder`, which has all its data.

    `authenticate_url` answers TokenReviews of bearer tokens that are not a service account's
    (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication).
    The cluster accepts a revoked token for up to 10 s more.
    """

    def __init__(
        self,
        folder: Path,
        tools: ClusterTools,
        *,
        authenticate_url: str,
        service_subnet: str = "10.245.0.0/16",
    ) -> None:
        self.folder = folder
        self._tools = tools
        self._authenticate_url = authenticate_url
        self._service_subnet = service_subnet
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.certificates = Certificates(folder / "certificates")
        self.ports = Ports(folder / "ports.json")
        self._port: int | None = None
        self._forwards_file = folder / "forwards.json"
        self._forwards: list[Forward] = []
        if self._forwards_file.exists():
            self._forwards = [
                Forward(**forward) for forward in json.loads(self._forwards_file.read_text())
            ]
        self._running: list[Supervised] = []
        self._api: Api | None = None

    @property
    def server(self) -> str:
        """URL of the API. The cluster must have been started."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The API's port. The cluster must have been started."""
        assert self._port is not None, "not started"
        return self._port

    @property
    def api(self) -> Api:
        """The API as administrator. The cluster must have been started."""
        assert self._api is not None, "not started"
        return self._api

    @property
    def processes(self) -> Sequence[Supervised]:
        """The processes that have been started."""
        return tuple(self._running)

    async def start(self) -> None:
        """Start the cluster, with the data that it had when it was stopped; returns when it is
        ready.

        Raises ProcessFailed and stops everything if it is not ready within 60 s.
        """
        if self._running:
            return
        for name in ("etcd", "logs"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        self._port = await asyncio.to_thread(self.ports.choose, "kube-apiserver")
        self._kwok_port = await asyncio.to_thread(self.ports.choose, "kwok")
        self._write_files()
        self._api = Api(self.server, self.certificates.ssl_context("admin"))
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.stop)
            await self._run("etcd", self._etcd(), cwd=self.folder / "etcd")
            apiserver = await self._run(
                "kube-apiserver", self._apiserver(), cwd=self.folder / "etcd"
            )
            await apiserver.until_ready(self._api.is_ready, seconds=60)
            await self._run("kube-controller-manager", self._controller_manager())
            await self._run("kube-scheduler", self._scheduler())
            await self._run("kwok", self._kwok())
            await self._until_pods_can_be_created()
            undo.pop_all()

    async def _until_pods_can_be_created(self) -> None:
        deadline = time.monotonic() + 30
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        while await self.api.get(path) is None:
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    "kube-controller-manager created no service account within 30 s; see"
                    f" {self.log('kube-controller-manager')}"
                )
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stop the processes; the data is kept."""
        if self._api is not None:
            await self._api.close()
            self._api = None
        # Clients first, then the API server, which waits for its clients, and etcd last.
        clients = [
            process for process in self._running if process.name not in ("etcd", "kube-apiserver")
        ]
        await asyncio.gather(*(client.stop(seconds=3) for client in clients))
        for name, seconds in (("kube-apiserver", 5), ("etcd", 5)):
            for process in self._running:
                if process.name == name:
                    await process.stop(seconds=seconds)
        self._running = []

    async def forward(self, forward: Forward) -> None:
        """Make `kubectl port-forward` reach that port, also after a restart."""
        if forward in self._forwards:
            return
        self._forwards = [
            *(
                known
                for known in self._forwards
                if (known.namespace, known.port) != (forward.namespace, forward.port)
            ),
            forward,
        ]
        write_private(
            self._forwards_file, json.dumps([known.as_json() for known in self._forwards]).encode()
        )
        self._write_kwok_config()
        for process in self._running:
            if process.name == "kwok":
                await process.restart()

    def log(self, name: str) -> Path:
        """The log of the process with that name."""
        return self.folder / "logs" / f"{name}.log"

    def kubeconfig(self, client: str) -> Path:
        """The kubeconfig of one of `certificates.CLIENTS`."""
        return self.folder / f"{client}.kubeconfig"

    async def _run(
        self, name: str, argv: Sequence[str | Path], *, cwd: Path | None = None
    ) -> Process:
        supervised = Supervised(
            name,
            partial(
                Process.start,
                name,
                argv,
                log=self.log(name),
                env=go_environment(),
                cwd=cwd or self.folder,
            ),
        )
        self._running.append(supervised)
        return await supervised.start()

    def _write_files(self) -> None:
        for client in ("admin", "controller-manager", "scheduler", "kwok"):
            certificate, key = self.certificates.client(client)
            write_kubeconfig(
                self.kubeconfig(client),
                server=self.server,
                ca_file=self.certificates.ca_file,
                user={"client-certificate": str(certificate), "client-key": str(key)},
            )
        webhook = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "account", "cluster": {"server": self._authenticate_url}}],
            "users": [{"name": "apiserver"}],
            "contexts": [
                {"name": "webhook", "context": {"cluster": "account", "user": "apiserver"}}
            ],
            "current-context": "webhook",
        }
        write_private(self.folder / "webhook.kubeconfig", yaml.safe_dump(webhook).encode())
        write_private(self.folder / "admission.yaml", yaml.safe_dump(_admission()).encode())
        self._write_kwok_config()

    def _write_kwok_config(self) -> None:
        config = kwok_config(self._tools.kwok_stages, self._forwards)
        write_private(self.folder / "kwok.yaml", config.encode())

    def _etcd(self) -> Sequence[str | Path]:
        # Sockets in a folder that only the owner can enter: through a port every user of the
        # machine could read the cluster's secrets. etcd requires the form HOST:PORT for them.
        peer = "unix://peer:0"
        return [
            self._tools.path("etcd"),
            f"--data-dir={self.folder / 'etcd' / 'data'}",
            "--name=sandbox",
            "--listen-client-urls=unix://client:0",
            "--advertise-client-urls=unix://client:0",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=sandbox={peer}",
            "--enable-grpc-gateway=false",
            # Data is lost only when the machine loses power, not when a process is killed.
            "--unsafe-no-fsync",
            "--snapshot-count=2000",
            "--auto-compaction-retention=5m",
            "--log-level=warn",
        ]

    def _apiserver(self) -> Sequence[str | Path]:
        pki = self.certificates
        certificate, key = pki.serving(
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        )
        return [
            self._tools.path("kube-apiserver"),
            "--etcd-servers=unix:client:0",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            # Kubernetes forbids endpoints on loopback, and no pod could reach them.
            "--endpoint-reconciler-type=none",
            "--external-hostname=127.0.0.1",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={pki.ca_file}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki.service_account_public_key}",
            f"--service-account-signing-key-file={pki.service_account_key}",
            f"--service-cluster-ip-range={self._service_subnet}",
            "--authorization-mode=RBAC",
            f"--authentication-token-webhook-config-file={self.folder / 'webhook.kubeconfig'}",
            "--authentication-token-webhook-version=v1",
            # The API server caches an accepted token for 10 s all the same; that is not adjustable.
            "--authentication-token-webhook-cache-ttl=0s",
            # kwok serves as the kubelet of every node at its external address.
            "--kubelet-preferred-address-types=ExternalIP",
            "--feature-gates=ManifestBasedAdmissionControlConfig=true",
            f"--admission-control-config-file={self.folder / 'admission.yaml'}",
            "--enable-priority-and-fairness=false",
            "--profiling=false",
        ]

    def _controller_manager(self) -> Sequence[str | Path]:
        return [
            self._tools.path("kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig('controller-manager')}",
            f"--controllers={','.join(_CONTROLLERS)}",
            f"--service-account-private-key-file={self.certificates.service_account_key}",
            f"--root-ca-file={self.certificates.ca_file}",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
            # Without leases, kwok reports a node's status every 10 minutes.
            "--node-monitor-grace-period=30m",
        ]

    def _scheduler(self) -> Sequence[str | Path]:
        return [
            self._tools.path("kube-scheduler"),
            f"--kubeconfig={self.kubeconfig('scheduler')}",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
        ]

    def _kwok(self) -> Sequence[str | Path]:
        return [
            self._tools.path("kwok"),
            f"--kubeconfig={self.kubeconfig('kwok')}",
            f"--config={self.folder / 'kwok.yaml'}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            # No leases: those of a killed kwok would keep the next one from managing the nodes.
            "--node-lease-duration-seconds=0",
            f"--node-port={self._kwok_port}",
            f"--server-address=127.0.0.1:{self._kwok_port}",
        ]
