"""Reads versions from a `go.mod` and from the output of a tool."""

import re

from semver import Version

_REQUIREMENT = re.compile(r"^(?:require)?\s*(?P<module>\S+)\s+v(?P<version>\S+)(?:\s+//.*)?$")
_RELEASE = re.compile(r"(?<![\w.])v?(\d+)\.(\d+)\.(\d+)(?:\+[\w.]+)?(?![\w.+-])")


def find(text: str) -> Version | None:
    """The first released version in `text`, with or without a leading `v`.

    Pre-releases (`3.6.0-rc1`) and development builds are skipped: their behaviour is not defined.
    Build metadata (`+g1a2b3c`) is ignored, as it does not change the behaviour.
    """
    match = _RELEASE.search(text)
    return Version(*map(int, match.groups())) if match else None


def required(go_mod: str, module: str) -> Version:
    """The version of `module` that the text of a `go.mod` requires (go.dev/ref/mod#go-mod-file).

    Raises ValueError if it requires no released version.
    """
    inside = False
    for line in map(str.strip, go_mod.splitlines()):
        if line == "require (":
            inside = True
        elif line == ")":
            inside = False
        elif inside or line.startswith("require "):
            match = _REQUIREMENT.match(line)
            if match and match["module"] == module and (version := find(match["version"])):
                return version
    raise ValueError(f"go.mod requires no released version of {module}")
