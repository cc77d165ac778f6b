"""Sealed Secrets in a cluster: its namespace, its key pairs and its Helm release."""

import base64
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core.v1 import Namespace, Secret
from pulumi_kubernetes.helm.v3 import Release
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.argocd import ChartSource
from components.dependencies import with_dependencies
from components.names import SEALED_SECRETS_RELEASE
from components.options import child_options

KEY_LABEL = "sealedsecrets.bitnami.com/sealed-secrets-key"
"""Label of the Secrets with keys that the controller reads when it starts:
https://github.com/bitnami/sealed-secrets/blob/main/docs/bring-your-own-certificates.md"""


@dataclass(frozen=True)
class SealingKey:
    """An RSA key pair."""

    certificate: str
    """Certificate, PEM. The controller publishes the newest one."""
    private_key: pulumi.Input[str]
    """The certificate's private key, PEM."""

    @property
    def fingerprint(self) -> str:
        """The beginning of the certificate's SHA-256 digest: a part of the Secret's name."""
        certificate = ssl.PEM_cert_to_DER_cert(self.certificate.strip())
        return hashlib.sha256(certificate).hexdigest()[:10]


@dataclass(frozen=True)
class SealedSecretsArgs:
    """Sealed Secrets. https://github.com/bitnami/sealed-secrets"""

    chart: ChartSource
    """Source of the chart."""
    keys: Sequence[SealingKey]
    """Key pairs, at least one. Secrets that one of them has sealed can be read."""
    namespace: str = "sealed-secrets"
    """This component creates it, and deletes it with everything in it. Who can read its Secrets can
    read all that is sealed."""
    cluster_id: pulumi.Input[str] | None = None
    """ID of the cluster, as in `ArgoCdArgs`."""
    timeout: int = 600
    """Seconds until the controller must be ready."""

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("keys: without a key, the controller would make one of its own")


class SealedSecrets(pulumi.ComponentResource):
    """The controller of Sealed Secrets, with keys that Pulumi owns.

    The keys are in the cluster before the controller starts, and it never makes one of its own: so
    in a new cluster, it reads what was sealed for the old one. With another list of keys, it is
    started again, because it looks for keys only then. Destroying keeps the chart's CRD, and so all
    SealedSecrets in the cluster.

    Needs a `kubernetes` provider in `opts`.
    """

    namespace: pulumi.Output[str]

    def __init__(
        self, name: str, args: SealedSecretsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("doks-gitops:index:SealedSecrets", name, {}, opts)
        self.namespace = with_dependencies(args.namespace, args.cluster_id)
        namespace = Namespace(
            name, metadata=ObjectMetaArgs(name=self.namespace), opts=child_options(self, opts)
        )
        in_namespace = child_options(self, opts, pulumi.ResourceOptions(depends_on=[namespace]))
        keys = [
            Secret(
                f"{name}-key-{key.fingerprint}",
                metadata=ObjectMetaArgs(
                    name=f"sealing-key-{key.fingerprint}",
                    namespace=self.namespace,
                    labels={KEY_LABEL: "active"},
                ),
                type="kubernetes.io/tls",
                data={
                    "tls.crt": _encoded(key.certificate),
                    "tls.key": pulumi.Output.secret(key.private_key).apply(_encoded),
                },
                opts=in_namespace,
            )
            for key in args.keys
        ]
        fingerprints = " ".join(sorted(key.fingerprint for key in args.keys))
        Release(
            name,
            name=SEALED_SECRETS_RELEASE,
            namespace=self.namespace,
            create_namespace=False,
            chart=args.chart.chart("sealed-secrets"),
            version=args.chart.version,
            repository_opts=args.chart.repository_opts,
            values={
                # It renews no key.
                "keyrenewperiod": "0",
                "podAnnotations": {
                    "checksum/sealing-keys": hashlib.sha256(fingerprints.encode()).hexdigest()
                },
                # By default, everybody in the cluster reaches the controller.
                "rbac": {"serviceProxier": {"create": False}},
            },
            skip_await=False,
            atomic=False,
            timeout=args.timeout,
            max_history=3,
            opts=child_options(self, opts, pulumi.ResourceOptions(depends_on=[namespace, *keys])),
        )
        self.register_outputs({"namespace": self.namespace})


def _encoded(pem: str) -> str:
    return base64.b64encode(f"{pem.strip()}\n".encode()).decode()
