"""The image tags of a Kustomize overlay, edited where they stand.

https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

FILE = "kustomization.yaml"
_PLAIN = re.compile(r"[\w.-]+")
"""A tag without quotes."""


class OverlayError(Exception):
    """An overlay that can't be read or edited; says which, and why."""


@dataclass(frozen=True)
class Image:
    """An entry of `images:`."""

    name: str
    """What the manifests call it."""
    reference: str
    """What is pulled in its place, without the tag."""
    tag: str


@dataclass(frozen=True)
class _Spot:
    image: Image
    line: int
    column: int


def images(text: str) -> dict[str, Image]:
    """The images with a tag, by name. Raises `OverlayError`."""
    return {spot.image.name: spot.image for spot in _spots(text)}


def with_tags(text: str, tags: Mapping[str, str]) -> str:
    """The text with these tags, by name; nothing else in it changes, comments and order included.

    Raises `OverlayError` for a name that has no tag in it.
    """
    lines = text.splitlines(keepends=True)
    spots = {spot.image.name: spot for spot in _spots(text)}
    if missing := sorted(tags.keys() - spots.keys()):
        raise OverlayError(f"it has no newTag for the image {', '.join(missing)}")
    # From the end, so that what is before in a line stays where it is.
    for name in sorted(tags, key=lambda each: (spots[each].line, spots[each].column), reverse=True):
        spot, tag = spots[name], tags[name]
        line = lines[spot.line]
        old = line[spot.column :]
        quote = old[0] if old[0] in "\"'" else ""
        end = old.index(quote, 1) + 1 if quote else len(spot.image.tag)
        # A tag such as 1.10 is a number to YAML unless it is quoted.
        new = f"{quote}{tag}{quote}" if quote else _scalar(tag)
        lines[spot.line] = line[: spot.column] + new + old[end:]
    return "".join(lines)


def _scalar(tag: str) -> str:
    return tag if isinstance(YAML(typ="safe").load(tag), str) else f'"{tag}"'


def _spots(text: str) -> Iterator[_Spot]:
    try:
        content = YAML().load(text)
    except YAMLError as error:
        raise OverlayError(f"it is no YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise OverlayError("it is no Kustomization")
    for entry in content.get("images") or []:
        if "newTag" not in entry:
            continue
        line, column = entry.lc.value("newTag")
        name = str(entry["name"])
        shown = text.splitlines()[line][column:]
        if shown[:1] in ('"', "'"):
            tag = str(entry["newTag"])
        elif plain := _PLAIN.match(shown):
            # As it is written: YAML would make 1.10 a number.
            tag = plain[0]
        else:
            raise OverlayError(f"the newTag of {name} is not written plainly: {shown}")
        yield _Spot(Image(name, str(entry.get("newName", name)), tag), line, column)
