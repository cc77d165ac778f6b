"""The image tags of a Kustomize overlay.

https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from doks_gitops.errors import PlatformError
from doks_gitops.images import ImageReference, is_tag

FILE = "kustomization.yaml"
_ALWAYS_TEXT = re.compile(r"[A-Za-z_][\w.-]*\d[\w.-]*", re.ASCII)
"""Tags that no YAML parser takes for a number, a date or a boolean."""


class OverlayError(PlatformError):
    """An overlay can't be read or edited."""


@dataclass(frozen=True)
class _NewTag:
    """The value of one `newTag`, where it stands in the text."""

    image: ImageReference
    start: int
    end: int
    quote: str


@dataclass(frozen=True)
class Overlay:
    """A `kustomization.yaml`. Everything that reads its images raises `OverlayError`."""

    path: Path
    text: str

    @property
    def images(self) -> dict[str, ImageReference]:
        """The images that have a `newTag`, by the name that the manifests use."""
        return {name: new_tag.image for name, new_tag in self._new_tags.items()}

    @property
    def tags(self) -> dict[str, str]:
        """The tags of these images, by the same names."""
        return {name: image.version for name, image in self.images.items()}

    @cached_property
    def pinned(self) -> frozenset[str]:
        """Names of the images that have a digest, and so run whatever tag they have."""
        return frozenset(fields["name"].value for fields in self._entries() if "digest" in fields)

    def with_tags(self, tags: Mapping[str, str]) -> str:
        """The text with these tags, by the images' names. Comments and order are kept.

        Raises `OverlayError` for an image without a `newTag`.
        """
        if missing := sorted(tags.keys() - self._new_tags.keys()):
            raise self._error(f"has no newTag for the image {', '.join(missing)}")
        text = self.text
        # From the end, so that the positions before it stay right.
        for name in sorted(tags, key=lambda name: self._new_tags[name].start, reverse=True):
            new_tag, tag = self._new_tags[name], tags[name]
            self._check_tag(name, tag)
            quote = new_tag.quote or ("" if _ALWAYS_TEXT.fullmatch(tag) else '"')
            text = f"{text[: new_tag.start]}{quote}{tag}{quote}{text[new_tag.end :]}"
        return text

    @cached_property
    def _new_tags(self) -> dict[str, _NewTag]:
        return dict(self._read_new_tags())

    def _read_new_tags(self) -> Iterator[tuple[str, _NewTag]]:
        for fields in self._entries():
            if "newTag" not in fields:
                continue
            name, value = fields["name"].value, fields["newTag"]
            start, end = value.start_mark.index, value.end_mark.index
            quote = value.style or ""
            # An anchor, an alias, an escape or a block can't be replaced where it stands.
            if (shown := self.text[start:end]) != f"{quote}{value.value}{quote}":
                raise self._error(f"has a newTag of {name} that is not written plainly: {shown}")
            self._check_tag(name, value.value)
            new_name = fields["newName"].value if "newName" in fields else name
            try:
                image = ImageReference.parse(f"{new_name}:{value.value}")
            except ValueError as error:
                raise self._error(f"has a wrong image {name}: {error}") from None
            yield name, _NewTag(image, start, end, quote)

    def _entries(self) -> Iterator[dict[str, yaml.ScalarNode]]:
        """The scalar fields of each entry of `images`."""
        try:
            root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise self._error(f"is not valid YAML: {error}") from None
        if not isinstance(root, yaml.MappingNode):
            raise self._error("is not a Kustomization")
        lists = [value for key, value in root.value if key.value == "images"]
        for entry in lists[0].value if lists and isinstance(lists[0], yaml.SequenceNode) else ():
            if not isinstance(entry, yaml.MappingNode):
                raise self._error("has an entry of images that is not a mapping")
            scalars = (field for field in entry.value if isinstance(field[1], yaml.ScalarNode))
            fields = {key.value: value for key, value in scalars}
            if "name" not in fields:
                raise self._error("has an entry of images without a name")
            yield fields

    def _check_tag(self, name: str, tag: str) -> None:
        if not is_tag(tag):
            raise self._error(f"has, or would get, a wrong tag of {name}: {tag!r}")

    def _error(self, problem: str) -> OverlayError:
        return OverlayError(
            f"The overlay {self.path} {problem}.",
            f"Correct {self.path} by a commit, then run the command again.",
        )
