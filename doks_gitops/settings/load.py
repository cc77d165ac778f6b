"""From a stack's configuration to `Settings`, or to one error that lists all that is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import TypeVar, cast

import pulumi
import pulumi.runtime.config as pulumi_config
import yaml
from pydantic import ValidationError

from doks_gitops.settings import rules
from doks_gitops.settings.base import Model, Path
from doks_gitops.settings.defaults import complete
from doks_gitops.settings.errors import Fault, SettingsError, closest, remove_command, stack_file
from doks_gitops.settings.github import GitHub
from doks_gitops.settings.model import (
    NAMESPACE,
    Application,
    AppOfApps,
    Argocd,
    Cluster,
    Project,
    Registry,
    Repository,
    Settings,
)
from doks_gitops.settings.report import ACCOUNT, RESERVED, Report
from doks_gitops.settings.scalars import ENVIRONMENTS
from doks_gitops.settings.stackfile import StackFile

ENVIRONMENT_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "token": ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"),
        "apiEndpoint": ("DIGITALOCEAN_API_URL",),
    }
)
"""Where the account's keys come from if the stack has none, as in DigitalOcean's own provider
(https://www.pulumi.com/registry/packages/digitalocean/installation-configuration/)."""

GITHUB = "github"
GITHUB_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"token": ("GITHUB_TOKEN",), "baseUrl": ("GITHUB_BASE_URL",)}
)
"""The same for the keys of `github`, in a stack that has that section
(https://www.pulumi.com/registry/packages/github/installation-configuration/)."""

ADOPT = "DOKS_GITOPS_ADOPT"
"""Environment variable with `settings.model.Adopt` as JSON, for the one run of `bin/platform recover` that
takes over what exists."""

_Shape = TypeVar("_Shape", bound=Model)

NAMESPACES = (NAMESPACE, ACCOUNT, "pulumi")
"""Namespaces of configuration that mean something to this project."""


def load() -> Settings:
    """The settings of the stack that is running. Raises `SettingsError`.

    Reads the configuration that Pulumi hands to the program, the stack files beside it (working
    directory) and the environment variables of `ENVIRONMENT_VARIABLES`.
    """
    given = {**pulumi_config.get_config_env(), **pulumi_config.CONFIG.get()}
    return parse(
        pulumi.get_stack(),
        {key: decoded(key, value) for key, value in given.items()},
        {path.name: path.read_text() for path in FilePath.cwd().glob("Pulumi.*.yaml")},
        environ=os.environ,
        secret_keys=[key for key in given if pulumi_config.is_config_secret(key)],
    )


def decoded(key: str, value: str) -> object:
    """The value of a configuration key. Pulumi hands over text, and objects and lists as JSON."""
    namespace, _, name = key.partition(":")
    if namespace != NAMESPACE or name == "environment":
        return value
    try:
        return cast(object, json.loads(value))
    except ValueError:
        return value


def parse(
    stack: str,
    config: Mapping[str, object],
    files: Mapping[str, str],
    *,
    environ: Mapping[str, str] = MappingProxyType({}),
    secret_keys: Collection[str] | None = None,
) -> Settings:
    """The settings in `config`. Pure. Raises `SettingsError` with everything that is wrong.

    - `config`: decrypted values by full key (`doks-gitops:cluster`); objects as mappings and lists
    - `files`: texts of the project's stack files by file name, this stack's own among them: they
      tell which values are encrypted, and what the other stacks own
    - `environ`: environment variables
    - `secret_keys`: keys of `config` that hold a secret somewhere; None if that isn't known
    """
    faults: list[Fault] = []
    stack_files: dict[str, StackFile] = {}
    for name, text in sorted(files.items()):
        try:
            stack_files[name] = StackFile(text)
        except ValueError as broken:
            faults.append(Fault(name, "the whole file", f"broken YAML: {broken}", "YAML"))
    faults += _unknown_namespaces(stack, config)

    raw: dict[str, object] = dict(_namespace(config, NAMESPACE))
    reserved = [key for key in RESERVED if key in raw]
    if stack in ENVIRONMENTS:
        raw.setdefault("environment", stack)
    raw = complete(raw, str(raw["environment"]) if "environment" in raw else None)
    account = dict(_namespace(config, ACCOUNT))
    origins = _from_environment((ACCOUNT,), account, ENVIRONMENT_VARIABLES, environ)
    if isinstance(raw.get(GITHUB), Mapping):
        github = dict(cast(Mapping[str, object], raw[GITHUB]))
        origins |= _from_environment((GITHUB,), github, GITHUB_VARIABLES, environ)
        raw[GITHUB] = github
    raw.update({"stack": stack, ACCOUNT: account})
    if environ.get(ADOPT):
        raw["adopt"] = json.loads(environ[ADOPT])

    report = Report(stack, raw, stack_files.get(stack_file(stack)), origins, secret_keys)
    faults += [report.unknown((key,)) for key in reserved]
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            faults += report.of_error(error)
    faults += report.plain_secrets()
    draft = _draft(raw)
    faults += map(report.of_wrong, rules.between_sections(draft))
    faults += map(report.of_wrong, rules.between_stacks(stack, draft, stack_files))
    if faults or settings is None:
        raise SettingsError(faults)
    return settings


def paid_for(stack: str, text: str) -> tuple[Cluster, Registry]:
    """What a stack asks of the account, from its stack file alone: nothing is decrypted, and no
    other section has to be right yet. Pure. Raises `SettingsError`."""
    try:
        file = StackFile(text)
    except ValueError as broken:
        raise SettingsError(
            [Fault(stack_file(stack), "the whole file", f"broken YAML: {broken}", "YAML")]
        ) from None
    config = (yaml.safe_load(text) or {}).get("config") or {}
    raw = dict(_namespace(config, NAMESPACE))
    raw = complete(raw, str(raw.get("environment", stack)))
    report = Report(stack, raw, file, {}, None)
    faults: list[Fault] = []

    def section(key: str, model: type[_Shape]) -> _Shape | None:
        try:
            return model.model_validate(raw.get(key))
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False):
                error["loc"] = (key, *error["loc"])
                faults.extend(report.of_error(error))
            return None

    cluster, registry = section("cluster", Cluster), section("registry", Registry)
    if cluster is None or registry is None:
        raise SettingsError(faults)
    return cluster, registry


def _namespace(config: Mapping[str, object], namespace: str) -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if key.startswith(f"{namespace}:"):
            yield key.partition(":")[2], value


def _unknown_namespaces(stack: str, config: Mapping[str, object]) -> Iterator[Fault]:
    for key in sorted(config):
        namespace = key.partition(":")[0]
        if namespace in NAMESPACES:
            continue
        close = closest(namespace, NAMESPACES)
        yield Fault(
            source=stack_file(stack),
            key=key,
            found=f'the unknown namespace "{namespace}"',
            right=f"did you mean {close}?" if close else f"one of {', '.join(NAMESPACES)}",
            command=None if close else remove_command(stack, key),
        )


def _from_environment(
    at: Path,
    section: dict[str, object],
    known: Mapping[str, tuple[str, ...]],
    environ: Mapping[str, str],
) -> dict[Path, str]:
    """Fills gaps in `section` from the environment; says which variable filled which."""
    origins: dict[Path, str] = {}
    for key, variables in known.items():
        for variable in variables:
            if key not in section and environ.get(variable):
                section[key] = environ[variable]
                origins[(*at, key)] = f"environment variable {variable}"
    return origins


def _draft(raw: Mapping[str, object]) -> rules.Draft:
    """What in `raw` has the right shape."""
    repositories = raw.get("repositories")
    return rules.Draft(
        cluster=_if_valid(Cluster, raw.get("cluster")),
        registry=_if_valid(Registry, raw.get("registry")),
        argocd=_if_valid(Argocd, raw.get("argocd")),
        project=_if_valid(Project, raw.get("project")),
        app_of_apps=_if_valid(AppOfApps, raw.get("appOfApps")),
        github=_if_valid(GitHub, raw.get(GITHUB)),
        repositories=_valid_entries(Repository, repositories),
        applications=_valid_entries(Application, raw.get("applications")),
        repository_names=tuple(repositories) if isinstance(repositories, Mapping) else (),
    )


def _if_valid(model: type[_Shape], value: object) -> _Shape | None:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _valid_entries(model: type[_Shape], entries: object) -> dict[str, _Shape]:
    if not isinstance(entries, Mapping):
        return {}
    valid = {str(name): _if_valid(model, value) for name, value in entries.items()}
    return {name: value for name, value in valid.items() if value is not None}
