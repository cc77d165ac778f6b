"""Stack files for tests, and their configuration as Pulumi hands it to a program."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from doks_gitops import settings

ROOT = Path(__file__).resolve().parents[2]
STACKS = ("dev", "staging", "prod")
CLUSTER = {
    "name": "demo",
    "region": "nyc1",
    "version": "1.34",
    "nodePools": [{"name": "default", "size": "s-2vcpu-4gb", "count": 3}],
}
"""The section of a small cluster."""


class TextTimes(yaml.SafeLoader):
    """Loads times as text, as Pulumi does."""


TextTimes.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def configuration(text: str) -> tuple[dict[str, Any], list[str]]:
    """The values in a stack file by key, and the keys that hold a secret.

    The text under `secure` is taken for the secret itself.
    """
    config: dict[str, Any] = yaml.load(text, Loader=TextTimes)["config"]
    decrypted = {key: _decrypted(value) for key, value in config.items()}
    return decrypted, [key for key, value in config.items() if decrypted[key] != value]


def as_text(config: Mapping[str, Any]) -> dict[str, str]:
    """The texts that Pulumi hands to a program: values other than text as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()
    }


def parsed(**sections: Any) -> settings.Settings:
    """The settings of a small stack `dev` with changed `sections`; None removes a section."""
    config = {
        "cluster": CLUSTER,
        "registry": {"name": "team"},
        "argocd": {"chart": {"version": "1.2.3"}},
        "repositories": {"monorepo": {"url": "https://git.example.com/team/monorepo"}},
        "project": {"namespaces": ["shop-dev"]},
        **sections,
    }
    keys = {f"doks-gitops:{name}": section for name, section in config.items() if section}
    return settings.parse("dev", {**keys, "digitalocean:token": "dop_v1_token"}, {})


def own_files() -> dict[str, str]:
    """The repository's stack files."""
    return {path.name: path.read_text() for path in ROOT.glob("Pulumi.*.yaml")}


def _decrypted(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"secure"}:
            return value["secure"]
        return {key: _decrypted(item) for key, item in value.items()}
    return [_decrypted(item) for item in value] if isinstance(value, list) else value
