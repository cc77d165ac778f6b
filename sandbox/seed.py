"""Finds the images that a new account's registry must have for the monorepo to run."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from sandbox.digitalocean.catalogue import REGISTRY_HOST

_IMAGE = re.compile(rf"image:\s*[\"']?{re.escape(REGISTRY_HOST)}/([\w.-]+)/([\w./-]+):([\w.-]+)")


def images_in(repository: Path) -> set[tuple[str, str, str]]:
    """Registry, repository and tag of every image in DigitalOcean's registry that manifests at HEAD
    of the bare repository use, in `image:` lines or in a Kustomization's `images`."""
    images: set[tuple[str, str, str]] = set()
    for path, text in _manifests(repository):
        images.update(match.groups() for match in _IMAGE.finditer(text))  # type: ignore[misc]
        if path.endswith("kustomization.yaml"):
            images.update(_of_kustomization(text))
    return images


def _manifests(repository: Path) -> Iterator[tuple[str, str]]:
    git = ["git", "-C", str(repository)]
    # -z: Git quotes other names that are not ASCII.
    listed = subprocess.run(
        [*git, "grep", "-l", "-z", "-F", REGISTRY_HOST, "HEAD", "--", "*.yaml", "*.yml"],
        capture_output=True, check=False,
    ).stdout  # fmt: skip
    for name in map(os.fsdecode, listed.split(b"\0")[:-1]):
        shown = subprocess.run([*git, "show", name], capture_output=True, check=True)
        yield name, shown.stdout.decode(errors="replace")


def _of_kustomization(text: str) -> Iterator[tuple[str, str, str]]:
    try:
        content = yaml.safe_load(text)
    # RecursionError: nested very deep.
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    listed = content.get("images") if isinstance(content, dict) else None
    for image in listed if isinstance(listed, list) else []:
        if not isinstance(image, dict):
            continue
        host, _, rest = str(image.get("newName") or image.get("name", "")).partition("/")
        registry, _, repository = rest.partition("/")
        if host == REGISTRY_HOST and repository and image.get("newTag"):
            yield registry, repository, str(image["newTag"])
