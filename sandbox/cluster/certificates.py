"""A cluster's certificates: created once, kept in its folder, readable by their owner only."""

import os
import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sandbox.paths import write_private

_ORGANIZATION = "doks-gitops-sandbox"
_MASTERS = "system:masters"

CLIENTS = {
    "admin": ("sandbox-admin", _MASTERS),
    "controller-manager": ("system:kube-controller-manager", _MASTERS),
    "scheduler": ("system:kube-scheduler", None),
    "kwok": ("sandbox-kwok", _MASTERS),
}
"""The Kubernetes user and group of each client certificate, by its name here.

The controller manager is in system:masters because all its controllers use this one identity
(https://kubernetes.io/docs/reference/access-authn-authz/rbac/#controller-roles).
"""


class Certificates:
    """The certificate authority of one cluster in `folder`, and the certificates it has signed.

    Missing files are created and existing ones are reused, so that a kubeconfig stays valid for the
    cluster's whole life.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.ca_file = folder / "ca.crt"
        self.service_account_key = folder / "service-account.key"
        self.service_account_public_key = folder / "service-account.pub"
        self._ca = self._authority()
        if not self.service_account_key.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            write_private(self.service_account_public_key, public)
            write_private(self.service_account_key, pem)

    def _authority(self) -> trustme.CA:
        key = self._folder / "ca.key"
        if key.exists() and self.ca_file.exists():
            return trustme.CA.from_pem(self.ca_file.read_bytes(), key.read_bytes())
        authority = trustme.CA(organization_name=_ORGANIZATION)
        write_private(key, authority.private_key_pem.bytes())
        write_private(self.ca_file, authority.cert_pem.bytes())
        return authority

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate: `certificate-authority-data` of a kubeconfig."""
        return self._ca.cert_pem.bytes()

    def serving(self, *names: str) -> tuple[Path, Path]:
        """Certificate and key of the API server for `names` (DNS names and addresses)."""
        return self._issued("apiserver", names, "kube-apiserver", None)

    def client(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of one of `CLIENTS`."""
        user, group = CLIENTS[name]
        # Go rejects a certificate without a subject alternative name.
        return self._issued(name, (f"{name}.sandbox.internal",), user, group)

    def _issued(
        self, name: str, names: tuple[str, ...], user: str, group: str | None
    ) -> tuple[Path, Path]:
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        if not (certificate.exists() and key.exists()):
            leaf = self._ca.issue_cert(
                *names,
                common_name=user,
                organization_name=group or _ORGANIZATION,
                organization_unit_name=_ORGANIZATION,
            )
            write_private(key, leaf.private_key_pem.bytes())
            write_private(certificate, leaf.cert_chain_pems[0].bytes())
        return certificate, key

    def ssl_context(self, client: str) -> ssl.SSLContext:
        """The TLS context for connections to the API server as that client."""
        context = ssl.create_default_context(cafile=os.fspath(self.ca_file))
        context.load_cert_chain(*self.client(client))
        return context
