"""Access to a cluster by a kubeconfig: address, certificate authority and credentials.

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

import asyncio
import base64
import contextlib
import datetime
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class KubeconfigError(Exception):
    """The kubeconfig gives no access to a cluster. The message never contains a credential."""


Kubeconfig = Mapping[str, Any]


def load(text_or_path: str) -> Kubeconfig:
    """A kubeconfig from its contents (YAML or JSON) or the path of a file with them.

    Raises KubeconfigError if it is neither.
    """
    with contextlib.suppress(OSError, ValueError):
        path = Path(text_or_path).expanduser()
        if path.is_file():
            text_or_path = path.read_text()
    try:
        config = yaml.safe_load(text_or_path)
    except yaml.YAMLError:
        # The parser's message quotes the text, which contains credentials.
        raise KubeconfigError("it is neither a file nor valid YAML") from None
    if not isinstance(config, dict):
        raise KubeconfigError("it is neither a file nor the contents of a kubeconfig")
    return config


def ambient() -> Kubeconfig:
    """The kubeconfig that kubectl uses: `$KUBECONFIG` or `~/.kube/config`.

    Raises KubeconfigError if there is none.
    """
    path = Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    if not path.is_file():
        raise KubeconfigError(f"no configuration has been provided, and {path} does not exist")
    return load(str(path))


def entry(config: Kubeconfig, section: str, name: str) -> Mapping[str, Any] | None:
    """The entry called `name` in a section (clusters, contexts, users), or None."""
    for item in config.get(section) or ():
        if isinstance(item, Mapping) and item.get("name") == name:
            content = item.get(section[:-1])
            return content if isinstance(content, Mapping) else {}
    return None


def active_cluster(
    config: Kubeconfig, *, context: str = "", cluster: str = ""
) -> Mapping[str, Any] | None:
    """The entry of `cluster`, or that of the current context (or of `context`)."""
    current = entry(config, "contexts", context or str(config.get("current-context") or ""))
    if current is None:
        return None
    return entry(config, "clusters", cluster or str(current.get("cluster") or ""))


@dataclass(frozen=True)
class Access:
    """The entries of a kubeconfig that give access to one cluster."""

    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    namespace: str
    """The context's namespace, or `default`."""

    @classmethod
    def of(cls, config: Kubeconfig, *, context: str = "", cluster: str = "") -> "Access":
        """Raises KubeconfigError if context, cluster or user do not exist."""
        context = context or str(config.get("current-context") or "")
        current = entry(config, "contexts", context)
        if current is None:
            raise KubeconfigError(f'context "{context}" does not exist')
        cluster_entry = active_cluster(config, context=context, cluster=cluster)
        if cluster_entry is None or not cluster_entry.get("server"):
            raise KubeconfigError(
                f'cluster "{cluster or current.get("cluster")}" does not exist or has no server'
            )
        user = entry(config, "users", str(current.get("user") or ""))
        if user is None:
            raise KubeconfigError(f'user "{current.get("user")}" does not exist')
        if "auth-provider" in user:
            raise KubeconfigError("auth-provider entries are not supported; use exec or a token")
        return cls(cluster_entry, user, str(current.get("namespace") or "default"))

    @property
    def server(self) -> str:
        return str(self.cluster["server"]).rstrip("/")

    def ssl_context(self, credentials: "Credentials") -> ssl.SSLContext:
        """The TLS settings, with the client certificate if there is one.

        Raises KubeconfigError for certificates that can't be read.
        """
        try:
            authority = _data(self.cluster, "certificate-authority")
            context = ssl.create_default_context(cadata=authority.decode() if authority else None)
            if self.cluster.get("insecure-skip-tls-verify"):
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            certificate = credentials.certificate or _data(self.user, "client-certificate")
            key = credentials.key or _data(self.user, "client-key")
            if certificate and key:
                # The ssl module loads a client certificate only from a file.
                with tempfile.NamedTemporaryFile() as file:
                    file.write(certificate + b"\n" + key)
                    file.flush()
                    context.load_cert_chain(file.name)
        except (OSError, ValueError) as error:
            raise KubeconfigError(f"its certificates can't be used: {error}") from None
        return context

    async def credentials(self) -> "Credentials":
        """The token or password in the kubeconfig, or the credentials that its exec entry prints.

        Raises KubeconfigError if that command fails.
        """
        if "exec" in self.user:
            return await _run_exec(self.user["exec"], self.cluster)
        if path := self.user.get("tokenFile"):
            try:
                return Credentials(f"Bearer {Path(path).read_text().strip()}")
            except OSError as error:
                raise KubeconfigError(f"its tokenFile can't be read: {error}") from None
        if token := self.user.get("token"):
            return Credentials(f"Bearer {token}")
        if username := self.user.get("username"):
            pair = f"{username}:{self.user.get('password', '')}".encode()
            return Credentials(f"Basic {base64.b64encode(pair).decode()}")
        return Credentials("")


@dataclass(frozen=True, repr=False)
class Credentials:
    """Proof of the user's identity. `authorization` is the header's value, or empty."""

    authorization: str
    certificate: bytes = b""
    key: bytes = b""
    expires: datetime.datetime | None = None

    @property
    def expired(self) -> bool:
        return self.expires is not None and self.expires <= datetime.datetime.now(datetime.UTC)


def _data(section: Mapping[str, Any], name: str) -> bytes:
    if inline := section.get(f"{name}-data"):
        return base64.b64decode(str(inline))
    if path := section.get(name):
        return Path(str(path)).read_bytes()
    return b""


async def _run_exec(exec_entry: Mapping[str, Any], cluster: Mapping[str, Any]) -> Credentials:
    """https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins"""
    command = str(exec_entry.get("command", ""))
    spec: dict[str, Any] = {"interactive": False}
    if exec_entry.get("provideClusterInfo"):
        spec["cluster"] = {
            key: cluster[key] for key in ("server", "certificate-authority-data") if key in cluster
        }
    info = {
        "apiVersion": exec_entry.get("apiVersion"),
        "kind": "ExecCredential",
        "spec": spec,
    }
    env = os.environ | {item["name"]: item["value"] for item in exec_entry.get("env") or ()}
    try:
        process = await asyncio.create_subprocess_exec(
            command,
            *map(str, exec_entry.get("args") or ()),
            env=env | {"KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
    except OSError as error:
        raise KubeconfigError(f"its exec command {command} can't be run: {error}") from None
    if process.returncode != 0:
        raise KubeconfigError(
            f"its exec command {command} failed with exit code {process.returncode}:"
            f" {errors.decode(errors='replace').strip()}"
        )
    try:
        status = json.loads(output)["status"]
        expires = status.get("expirationTimestamp")
        return Credentials(
            f"Bearer {status['token']}" if status.get("token") else "",
            str(status.get("clientCertificateData") or "").encode(),
            str(status.get("clientKeyData") or "").encode(),
            datetime.datetime.fromisoformat(expires) if expires else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # The output is not shown: it may contain a credential.
        raise KubeconfigError(f"its exec command {command} printed no ExecCredential") from None
