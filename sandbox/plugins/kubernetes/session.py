"""One configured provider: its cluster, if that is reachable, and its options."""

import secrets
from dataclasses import dataclass
from typing import Final

from sandbox.plugins.common import Engine, Failure
from sandbox.plugins.kubernetes.await_ import Waiter
from sandbox.plugins.kubernetes.client import ApiError, Cluster, NoMatch, Unreachable
from sandbox.plugins.kubernetes.config import Config
from sandbox.plugins.kubernetes.kubeconfig import KubeconfigError
from sandbox.plugins.kubernetes.objects import Gvk

FORGET_HINT: Final = (
    "you can remove this resource from Pulumi state by rerunning the operation with the"
    ' PULUMI_K8S_DELETE_UNREACHABLE environment variable set to "true"'
)

_CLUSTER_SCOPED: Final = frozenset(
    {
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    }
)


@dataclass
class Session:
    """What every operation needs. If the cluster is unreachable, `cluster` and `waiter` are None,
    and `unreachable` is the reason."""

    engine: Engine
    config: Config
    cluster: Cluster | None
    waiter: Waiter | None
    unreachable: str
    namespace: str
    """The namespace of objects that name none."""

    @classmethod
    async def open(cls, engine: Engine, config: Config) -> "Session":
        """Connect once: a cluster that is unreachable now is so for all operations of the run."""
        namespace = config.namespace or "default"
        try:
            access = config.access()
        except KubeconfigError as error:
            reason = (
                "failed to parse kubeconfig data in `kubernetes:config:kubeconfig`- "
                if config.kubeconfig
                else "unable to load Kubernetes client configuration from kubeconfig file: "
            )
            return cls(engine, config, None, None, f"{reason}{error}", namespace)
        namespace = config.namespace or access.namespace
        try:
            cluster = await Cluster.connect(access)
        except Unreachable as error:
            return cls(engine, config, None, None, str(error), namespace)
        return cls(engine, config, cluster, Waiter(cluster), "", namespace)

    def reached(self) -> tuple[Cluster, Waiter]:
        """The cluster and its waiter. Raises Failure if the cluster is unreachable."""
        if self.cluster is None or self.waiter is None:
            raise Failure(f"configured Kubernetes cluster is unreachable: {self.unreachable}")
        return self.cluster, self.waiter

    async def warn_unreachable(self, urn: str) -> None:
        await self.engine.warning(
            urn, f"configured Kubernetes cluster is unreachable: {self.unreachable}"
        )

    async def forgets(self, urn: str) -> bool:
        """True, and logged, if the option deleteUnreachable removes resources from the state."""
        if self.config.delete_unreachable:
            await self.engine.info(
                urn,
                "configured Kubernetes cluster is unreachable and the `deleteUnreachable` option is"
                " enabled. Deleting the unreachable resource from Pulumi state",
            )
        return self.config.delete_unreachable

    async def namespaced(self, gvk: Gvk) -> bool:
        """True if objects of that kind are in a namespace; assumed for unknown kinds."""
        if gvk.built_in and gvk.kind in _CLUSTER_SCOPED:
            return False
        if self.cluster is None:
            return True
        try:
            return (await self.cluster.kind(gvk)).namespaced
        except NoMatch:
            return True

    async def knows(self, gvk: Gvk) -> bool:
        """True if the cluster is reachable and has that kind."""
        if self.cluster is None:
            return False
        try:
            await self.cluster.kind(gvk)
        except (NoMatch, ApiError):
            return False
        return True

    @staticmethod
    def unique(prefix: str) -> str:
        """`prefix` with eight random hexadecimal digits."""
        return f"{prefix}{secrets.token_hex(4)}"

    def stop(self) -> None:
        """Cancel all waits."""
        if self.waiter is not None:
            self.waiter.stop()

    async def close(self) -> None:
        if self.cluster is not None:
            await self.cluster.close()
