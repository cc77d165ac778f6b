"""What has to hold before an image tag is proposed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from gitops.overlay import Image
from settings.model import DigitalOcean

HOST = "registry.digitalocean.com"
PAGE = 200


class Refused(Exception):
    """A proposal that must not be made; says why."""


class Account:
    """The team's account, as DIGITALOCEAN_TOKEN and DIGITALOCEAN_API_URL name it."""

    def __init__(self) -> None:
        self.token = os.environ.get("DIGITALOCEAN_TOKEN", "")
        self.url = os.environ.get("DIGITALOCEAN_API_URL") or str(
            DigitalOcean.model_fields["api_endpoint"].default
        )

    def check_images(self, images: Iterable[Image]) -> None:
        """Raises `Refused` for an image of a DigitalOcean registry whose tag is not in it.

        https://docs.digitalocean.com/reference/api/reference/container-registries/
        """
        missing = [
            f"{each.reference}:{each.tag}"
            for each in images
            if each.reference.startswith(f"{HOST}/") and each.tag not in self._tags(each.reference)
        ]
        if missing:
            raise Refused(f"The registry has no {', '.join(missing)}. Push it first.")

    def _tags(self, reference: str) -> set[str]:
        registry, _, repository = reference.removeprefix(f"{HOST}/").partition("/")
        tags: set[str] = set()
        page = 1
        while True:
            said = self._get(
                f"/v2/registries/{registry}/repositories/{quote(repository, '')}"
                f"/tags?page={page}&per_page={PAGE}"
            )
            tags |= {each["tag"] for each in said.get("tags") or []}
            if not (said.get("links") or {}).get("pages", {}).get("next"):
                return tags
            page += 1

    def _get(self, path: str) -> Any:
        session = requests.Session()
        session.trust_env = False
        answer = session.get(
            self.url.rstrip("/") + path,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=20,
        )
        if answer.status_code == 404:
            return {}
        if not answer.ok:
            raise Refused(
                f"The registry could not be asked ({answer.status_code} at {self.url}{path})."
                " The token needs the scope registry:read."
            )
        return answer.json()


def check_healthy(stack: str, application: str, folder: Path) -> None:
    """Raises `Refused` unless the Application is Synced and Healthy in the stack's cluster.

    `folder`: where `pulumi stack output --stack STACK` works, which knows how to reach the cluster.
    """
    namespace = _output(stack, "argocdNamespace", folder)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as kubeconfig:
        kubeconfig.write(_output(stack, "kubeconfig", folder))
        kubeconfig.flush()
        command = ["kubectl", "--kubeconfig", kubeconfig.name, "--namespace", namespace]
        status = "jsonpath={.status.sync.status},{.status.health.status}"
        done = subprocess.run(
            [*command, "get", "applications.argoproj.io", application, "--output", status],
            check=False,
            text=True,
            capture_output=True,
        )
    if done.returncode:
        raise Refused(f"{application} could not be looked at: {done.stderr.strip()}")
    if done.stdout != "Synced,Healthy":
        raise Refused(
            f"{application} is {done.stdout.replace(',', ', ')}; only what is Synced and Healthy"
            f" is promoted.\nWhy: kubectl --namespace {namespace} describe application"
            f" {application}"
        )


def _output(stack: str, name: str, folder: Path) -> str:
    done = subprocess.run(
        ["pulumi", "stack", "output", "--stack", stack, "--show-secrets", name],
        cwd=folder,
        check=False,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise Refused(
            f"The stack {stack} has no output {name}, so there is nothing to promote from:"
            f" {done.stderr.strip()}"
        )
    return done.stdout.strip()
