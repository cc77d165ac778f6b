"""The stack of a rehearsal: small, with a name, a backend and a passphrase of its own."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from doks_gitops.errors import PlatformError
from doks_gitops.settings import stackfile
from doks_gitops.settings.errors import key_of, stack_file
from doks_gitops.settings.model import NAMESPACE, Cluster
from doks_gitops.settings.offline import billable_sections
from doks_gitops.stack import Stack, link_project

GIT_PASSWORD = "DOKS_GITOPS_GIT_PASSWORD"  # noqa: S105 (no password itself)
"""Environment variable with the password or token with which Argo CD reads the repository."""


POLLING = {"timeout.reconciliation": "30s", "timeout.reconciliation.jitter": "0s"}
"""How often Argo CD looks for commits, as no webhook reaches it."""
_STACK_FILE = re.compile(r"Pulumi\..+\.yaml")


@dataclass(frozen=True)
class Plan:
    """The stack file of a rehearsal, made from that of another stack."""

    name: str
    config: Mapping[str, Any]
    cluster: Cluster
    revision: str
    """Revision of the applications in the other stack, from which the rehearsal's branch begins."""
    passwords: tuple[str, ...]
    """Keys whose value is `GIT_PASSWORD`."""

    @classmethod
    def like(cls, stack: str, name: str, text: str) -> Plan:
        """A plan with the applications and the chart of a stack, and the fewest nodes of its first
        pool. `text`: the stack file. A pure function. Raises `PlatformError`.

        The chart's values are left out: a second Argo CD may not claim the first one's
        address.
        """
        cluster, registry = billable_sections(stack, text)
        values = stackfile.values(text)
        sections: dict[str, Any] = {
            key: values.get(f"{NAMESPACE}:{key}")
            for key in ("argocd", "repositories", "project", "applications")
        }
        repositories = sections["repositories"] or {}
        applications: Mapping[str, Any] = sections["applications"] or {}
        if not applications or len(repositories) != 1:
            raise PlatformError(
                f"{stack_file(stack)} has no applications, or several repositories: a rehearsal"
                " needs applications of one repository.",
                "bin/platform rehearse --like STACK",
            )
        if f"{NAMESPACE}:sealedSecrets" in values:
            raise PlatformError(
                f"{stack_file(stack)} has sealed secrets, whose keys a rehearsal can't take without"
                " the stack's passphrase.",
                "use a stack without sealedSecrets",
            )
        [(key, repository)] = repositories.items()
        passwords = []
        if credentials := repository.get("credentials"):
            if {*credentials} != {"username", "password"}:
                raise PlatformError(
                    f"{stack_file(stack)} has other credentials for {key} than username and"
                    " password, which a rehearsal can't take without the stack's passphrase.",
                    "use a stack whose repository is public, or has username and password",
                )
            passwords.append(key_of(NAMESPACE, ("repositories", key, "credentials", "password")))
        pool = cluster.node_pools[0]
        revisions = {
            source.get("revision", "HEAD")
            for application in applications.values()
            for source in application.get("sources") or [application]
        }
        config = {
            "pulumi:disable-default-providers": ["*"],
            f"{NAMESPACE}:environment": "dev",
            f"{NAMESPACE}:cluster": {
                "name": name,
                "region": cluster.region,
                "version": cluster.version,
                "tags": ["environment:dev"],
                # The defaults of dev are those of the cluster that runs.
                "network": {"pods": "172.28.0.0/16", "services": "172.29.0.0/20"},
                "destroyAssociatedResources": True,
                "nodePools": [{"name": "default", "size": pool.size, "count": pool.fewest}],
            },
            f"{NAMESPACE}:registry": {"name": registry.name, "create": False},
            f"{NAMESPACE}:argocd": {
                "chart": (sections["argocd"] or {}).get("chart"),
                "values": {"configs": {"cm": POLLING}},
            },
            f"{NAMESPACE}:repositories": {
                key: {
                    "url": repository.get("url"),
                    **({"credentials": {**credentials, "password": ""}} if credentials else {}),
                }
            },
            f"{NAMESPACE}:project": sections["project"],
            f"{NAMESPACE}:applications": {
                application: _following(settings, name)
                for application, settings in applications.items()
            },
        }
        if next(stackfile.encrypted(config), None) is not None:
            raise PlatformError(
                f"{stack_file(stack)} has encrypted values in its applications, which a rehearsal"
                " can't decrypt.",
                "use a stack without encrypted values in project and applications",
            )
        rehearsed, _ = billable_sections(name, yaml.safe_dump({"config": config}))
        return cls(name, config, rehearsed, sorted(revisions)[0], tuple(passwords))

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables of the stack's backend in `folder`, and of its random passphrase."""
        backend = folder / "state"
        backend.mkdir(exist_ok=True)
        return {
            "PULUMI_BACKEND_URL": backend.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": secrets.token_urlsafe(24),
            "PULUMI_CONFIG_PASSPHRASE_FILE": "",
            "PULUMI_ACCESS_TOKEN": "",
        }

    def create(self, project: Path, folder: Path) -> Stack:
        """Create the stack in the backend that the environment names, with links to the program in
        `project`. Raises `PlatformError`."""
        if self.passwords and not os.environ.get(GIT_PASSWORD):
            raise PlatformError(
                "The repository needs a password.",
                f"export {GIT_PASSWORD}=..., one that may only read",
            )
        copy = folder / "project"
        link_project(project, copy, without=_STACK_FILE.fullmatch)
        stack = Stack(self.name, copy)
        stack.file.write_text(yaml.safe_dump({"config": dict(self.config)}, sort_keys=False))
        stack.init_with_passphrase()
        for key in self.passwords:
            stack.set_secret(key, os.environ[GIT_PASSWORD])
        return stack


def _following(application: Mapping[str, Any], branch: str) -> dict[str, Any]:
    """The application with `branch` as the revision of its sources."""
    sources = [{**source, "revision": branch} for source in application.get("sources") or ()]
    return {**application, **({"sources": sources} if sources else {"revision": branch})}
