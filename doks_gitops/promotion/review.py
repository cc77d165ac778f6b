"""What is wrong with the GitOps folder of an environment that is in Git already.

Who may commit to the platform's folders, `bootstrap` and `projects`, administers the cluster: Argo
CD creates the projects and applications that are there. The applications' folders are the teams'.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from doks_gitops.policy.preview import CONFIG
from doks_gitops.policy.rules import PROJECT, RULES, Resource
from doks_gitops.promotion.repository import WorkingTree

CODEOWNERS = (Path(".github/CODEOWNERS"), Path("CODEOWNERS"), Path("docs/CODEOWNERS"))
"""Where GitHub looks for owners; the first file counts.

https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
"""
PLATFORM_FOLDERS = ("/.github/", "/argocd/*/bootstrap/", "/argocd/*/projects/")
APP_KEYS = (
    "userGivenName",
    "srcRepoURL",
    "srcTargetRevision",
    "srcPath",
    "destServer",
    "destNamespace",
)
"""What the ApplicationSet of `projects` takes from a `config.json`."""


def code_owners(tree: WorkingTree, owners: str | None) -> tuple[dict[Path, str], str | None]:
    """Returns the CODEOWNERS file that gives the platform's folders to `owners`, and a note if
    there is none or if the existing one lacks a folder. An existing file stays as it is."""
    lines = "".join(f"{folder} {owners or '@ORGANIZATION/TEAM'}\n" for folder in PLATFORM_FOLDERS)
    existing = next((path for path in CODEOWNERS if tree.path(path).exists()), None)
    if existing is not None:
        owned = {
            words[0]
            for line in tree.read(existing).splitlines()
            if len(words := line.partition("#")[0].split()) > 1
        }
        missing = [line for line in lines.splitlines() if line.split()[0] not in owned]
        if not missing:
            return {}, None
        return {}, "\n".join(
            (f"{existing} gives the platform's folders to nobody; add at its end:", *missing)
        )
    if owners is None:
        return {}, (
            "Who may commit to argocd/*/bootstrap and argocd/*/projects administers the cluster."
            f" --owners @ORGANIZATION/TEAM writes {CODEOWNERS[0]}, which names who must approve it."
        )
    comment = "# Who may commit here administers the clusters.\n"
    return {CODEOWNERS[0]: comment + lines}, None


def review(tree: WorkingTree, path: Path, environment: str) -> list[str]:
    """Returns what is wrong with the folder `path` of an environment: an application that Argo CD
    can't read, which keeps every new one from being created, and projects that reach further than
    the policies allow. Raises `GitError` if a file can't be read."""
    tree.path(path)  # Refuses a folder outside the clone.
    return [*_applications(tree, path, environment), *_projects(tree, path, environment)]


def _applications(tree: WorkingTree, path: Path, environment: str) -> Iterator[str]:
    named: dict[str, Path] = {}
    pattern = f"apps/**/overlays/{environment}/config.json"
    for file in sorted((tree.folder / path).glob(pattern)):
        relative = file.relative_to(tree.folder)
        try:
            config = json.loads(tree.read(relative))
        except (ValueError, RecursionError) as error:
            yield f"{relative} is not JSON: {error}. Argo CD creates no new application meanwhile."
            continue
        if not isinstance(config, dict):
            yield f"{relative} is not a JSON object. Argo CD creates no new application meanwhile."
            continue
        if missing := [key for key in APP_KEYS if not isinstance(config.get(key), str)]:
            yield (
                f"{relative} lacks {', '.join(missing)}, each a text. Argo CD creates no new"
                " application meanwhile."
            )
            continue
        name = config["userGivenName"]
        if (first := named.setdefault(name, relative)) != relative:
            yield f"{relative} has the name {name} of {first}: Argo CD creates neither."


def _projects(tree: WorkingTree, path: Path, environment: str) -> Iterator[str]:
    config: Mapping[str, Any] = json.loads(CONFIG.read_text())
    rules = [rule for rule in RULES if PROJECT in rule.types]
    for file in sorted((tree.folder / path / "projects").glob("*.yaml")):
        relative = file.relative_to(tree.folder)
        try:
            manifests = list(yaml.safe_load_all(tree.read(relative)))
        # A date that does not exist is a ValueError.
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            yield f"{relative} is not YAML: {' '.join(str(error).split())}"
            continue
        for manifest in manifests:
            if not isinstance(manifest, dict) or manifest.get("kind") != "AppProject":
                continue
            urn = f"urn:pulumi:{environment}::git::{PROJECT}::{relative}"
            for rule in rules:
                resource = Resource(
                    urn, PROJECT, manifest, config=config.get(rule.name, {}),
                    environment=environment,
                )  # fmt: skip
                try:
                    violations = list(rule.violations(resource))
                except (AttributeError, TypeError):
                    violations = ["It could not be checked, because it is no valid AppProject."]
                for violation in violations:
                    yield f"{relative}: {rule.name}: {violation}"
