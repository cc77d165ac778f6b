"""The conditions for proposing an image tag."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from doks_gitops.account import DigitalOceanClient
from doks_gitops.errors import PlatformError
from doks_gitops.images import DOCR, ImageReference, is_missing
from doks_gitops.promotion.cluster import applications


class PromotionError(PlatformError):
    """Image tags must not be proposed."""


def check_pushed(images: Iterable[ImageReference]) -> None:
    """Raises `PromotionError` for an image of a DigitalOcean registry that the registry lacks, and
    `AccountError` if the registry can't be read.

    Only images in DigitalOcean's registry are looked up, with the token in DIGITALOCEAN_TOKEN.
    """
    in_docr = [image for image in images if image.host == DOCR]
    if not in_docr:
        return
    with DigitalOceanClient.from_environment() as client:
        missing = [str(image) for image in in_docr if is_missing(image, client.tags)]
    if missing:
        raise PromotionError(
            f"The registry has no {', '.join(missing)}.",
            "\n".join(f"docker push {image}" for image in missing),
        )


def check_deployed(
    stack: str, application: str, images: Iterable[ImageReference], folder: Path
) -> None:
    """Raises `PromotionError` unless the Application in the stack's cluster is Synced and Healthy
    and runs every one of the images by its tag. Just after a commit, an Application is still
    Healthy with the images from before.

    `folder`: see `applications`, whose errors are raised too.
    """
    by_name = {deployed.name: deployed for deployed in applications(stack, folder)}
    if application not in by_name:
        raise PromotionError(
            f"{stack} has no application {application} to promote from. Its applications:"
            f" {', '.join(by_name) or 'none'}.",
            f"bin/platform status --stack {stack}",
        )
    deployed = by_name[application]
    if not deployed.is_synced_and_healthy:
        raise PromotionError(
            f"{application} is {deployed.sync}, {deployed.health}; only what is Synced and Healthy"
            " is promoted.",
            f"kubectl --namespace {deployed.namespace} describe application {application}",
        )
    running = list(_parsed(deployed.images))
    for image in images:
        same_name = [reference for reference in running if reference.name == image.name]
        if not same_name:
            raise PromotionError(
                f"No Pod of {application} runs {image.name}, so {image.tag} is not verified in"
                f" {stack}.",
                "Wait until a Pod runs it; or change this tag by a commit of your own.",
            )
        if pinned := [reference for reference in same_name if reference.digest]:
            raise PromotionError(
                f"{application} runs {pinned[0]}: a digest, so the tag {image.tag} of its overlay"
                " may be another image.",
                "Deploy the image by its tag, then promote it.",
            )
        if image.tag not in {reference.version for reference in same_name}:
            raise PromotionError(
                f"{application} runs {same_name[0]}, not yet {image.tag} as its overlay says.",
                f"Promote it as soon as it does: bin/platform status --stack {stack}",
            )


def _parsed(images: Iterable[str]) -> Iterable[ImageReference]:
    """The references; what Kubernetes itself can't read runs nowhere and is left out."""
    for image in images:
        try:
            yield ImageReference.parse(image)
        except ValueError:
            continue
