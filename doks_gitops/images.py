"""References of container images, such as `localhost:5000/team/cart:v1@sha256:...`.

Grammar: https://pkg.go.dev/github.com/distribution/reference; of a tag:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

DOCR = "registry.digitalocean.com"
"""Host of DigitalOcean's registries."""
Tags = Callable[[str, str], Collection[str]]
"""The tags of a repository, by the names of registry and repository."""
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9A-Fa-f]{32,}")


def is_tag(text: str) -> bool:
    """Whether `text` may be the tag of an image."""
    return _TAG.fullmatch(text) is not None


@dataclass(frozen=True)
class ImageReference:
    """A reference by its parts."""

    host: str | None
    """Registry, with its port; None: the default of whoever pulls the image."""
    repository: str
    tag: str | None = None
    """None: `latest`, unless there is a digest."""
    digest: str | None = None
    """Algorithm and hash. With a digest, the tag decides nothing."""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Raises ValueError if `text` is not an image reference."""
        rest, at, digest = text.partition("@")
        host, slash, path = rest.partition("/")
        # The first part is a registry only if it can't be the first part of a repository.
        if not slash or not (host == "localhost" or re.search(r"[.:A-Z]", host)):
            host, path = "", rest
        repository, colon, tag = path.partition(":")
        if not (
            (not host or _HOST.fullmatch(host))
            and _REPOSITORY.fullmatch(repository)
            and (not colon or is_tag(tag))
            and (not at or _DIGEST.fullmatch(digest))
        ):
            raise ValueError(f"{text!r} is not an image reference")
        return cls(host or None, repository, tag or None, digest or None)

    @property
    def name(self) -> str:
        """The reference without tag and digest."""
        return f"{self.host}/{self.repository}" if self.host else self.repository

    @property
    def short_name(self) -> str:
        """The last part of the repository."""
        return self.repository.rpartition("/")[2]

    @property
    def version(self) -> str:
        """What selects the image in its repository: the digest, the tag, or `latest`."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag, digest = self.tag and f":{self.tag}", self.digest and f"@{self.digest}"
        return f"{self.name}{tag or ''}{digest or ''}"


def is_missing(image: ImageReference, tags: Tags) -> bool:
    """Whether an image is of a DigitalOcean registry that does not have its tag."""
    registry, _, repository = image.repository.partition("/")
    return image.host == DOCR and image.tag not in tags(registry, repository)
