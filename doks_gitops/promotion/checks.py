"""What has to hold before an image tag is proposed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from doks_gitops.account.api import pages
from doks_gitops.promotion.cluster import applications
from doks_gitops.promotion.overlay import Image
from doks_gitops.settings.model import DigitalOcean

HOST = "registry.digitalocean.com"


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
        path = f"/v2/registries/{registry}/repositories/{quote(repository, '')}/tags"
        return {
            each["tag"]
            for said in pages(lambda query: self._get(f"{path}?{query}"))
            for each in said.get("tags") or []
        }

    def _get(self, path: str) -> Any:
        session = requests.Session()
        session.trust_env = False
        try:
            answer = session.get(
                self.url.rstrip("/") + path,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=20,
            )
        except requests.RequestException as error:
            raise Refused(f"The registry could not be asked: {error}") from None
        if answer.status_code == 404:
            return {}
        if not answer.ok:
            raise Refused(
                f"The registry could not be asked ({answer.status_code} at {self.url}{path})."
                " It takes DIGITALOCEAN_TOKEN with the scope registry:read."
            )
        return answer.json()


def check_deployed(stack: str, application: str, wanted: Iterable[Image], folder: Path) -> None:
    """Raises `Refused` unless the Application is Synced and Healthy in the stack's cluster, with
    these images: just after a commit it is still well with those from before.

    `folder`: see `gitops.cluster.applications`, which may raise `Unseen`.
    """
    all_of_them = {each.name: each for each in applications(stack, folder)}
    if application not in all_of_them:
        raise Refused(
            f"There is no {application} to promote from; {stack} has"
            f" {', '.join(all_of_them) or 'no application'}."
        )
    found = all_of_them[application]
    if not found.is_well:
        raise Refused(
            f"{application} is {found.sync}, {found.health}; only what is Synced and Healthy is"
            f" promoted.\nWhy: kubectl --namespace {found.namespace} describe application"
            f" {application}"
        )
    running = [image.rpartition(":")[::2] for image in found.images]
    for image in wanted:
        tags = [tag for reference, tag in running if reference == image.reference]
        if tags and image.tag not in tags:
            raise Refused(
                f"{application} runs {image.reference}:{tags[0]}, not yet {image.tag} as its"
                " overlay says. Promote it when it does: bin/platform status"
            )
