"""Reads a stack's configuration into `Settings`, or raises one error with all findings."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import TypeVar, cast

import pulumi
import pulumi.runtime.config as pulumi_config
from pydantic import ValidationError

from doks_gitops.environments import ENVIRONMENTS
from doks_gitops.settings import rules, stackfile
from doks_gitops.settings.base import Model, Path
from doks_gitops.settings.defaults import complete
from doks_gitops.settings.errors import Finding, SettingsError, closest, remove_command, stack_file
from doks_gitops.settings.github import GitHub
from doks_gitops.settings.model import (
    NAMESPACE,
    Application,
    AppOfApps,
    Argocd,
    Cluster,
    Copies,
    CredentialTemplate,
    Project,
    Registry,
    Repository,
    SealedSecrets,
    Settings,
    Volumes,
)
from doks_gitops.settings.pull_requests import PullRequests
from doks_gitops.settings.report import ACCOUNT, RESERVED, Report
from doks_gitops.settings.stackfile import StackFile

ENVIRONMENT_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "token": ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"),
        "clusterToken": ("DIGITALOCEAN_CLUSTER_TOKEN",),
        "apiEndpoint": ("DIGITALOCEAN_API_URL",),
    }
)
"""Sources of the account's keys that the stack does not have, as in DigitalOcean's provider
(https://www.pulumi.com/registry/packages/digitalocean/installation-configuration/), and of the
token for the cluster."""

GITHUB = "github"
GITHUB_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "token": ("PULUMI_GITHUB_TOKEN", "GITHUB_TOKEN"),
        "baseUrl": ("GITHUB_BASE_URL",),
    }
)
"""Sources of the keys of `github`, in a stack that has that section
(https://www.pulumi.com/registry/packages/github/installation-configuration/)."""

FIREWALL: Path = ("cluster", "controlPlaneFirewall")
FIREWALL_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"ownAddress": ("DOKS_GITOPS_PUBLIC_IP",)}
)
"""Sources of the keys of `FIREWALL`, in a stack that has that section."""

VOLUME_COPIES: Path = ("volumes", "copies")
COPIES_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"endpoint": ("SPACES_ENDPOINT_URL",)}
)
"""Sources of the keys of `VOLUME_COPIES`, in a stack that has that section, as in DigitalOcean's
provider."""
CREDENTIALS: Path = (*VOLUME_COPIES, "credentials")
CREDENTIALS_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "accessKey": ("SPACES_ACCESS_KEY_ID",),
        "secretKey": ("SPACES_SECRET_ACCESS_KEY",),
        "password": ("RESTIC_PASSWORD",),
    }
)
"""Sources of the keys of `CREDENTIALS`, in a stack that has `VOLUME_COPIES`: all of them, or
none."""

ADOPT = "DOKS_GITOPS_ADOPT"
"""Environment variable with `settings.model.Adopt` as JSON. `bin/platform recover` sets it for the
run that adopts existing resources."""

_Model = TypeVar("_Model", bound=Model)

NAMESPACES = (NAMESPACE, ACCOUNT, "pulumi")
"""Namespaces of configuration keys that this project reads."""


def load() -> Settings:
    """The settings of the stack that Pulumi runs. Raises `SettingsError`.

    Reads the configuration that Pulumi hands to the program, the stack files in the working
    directory, and the environment variables of `ENVIRONMENT_VARIABLES`.
    """
    config = {**pulumi_config.get_config_env(), **pulumi_config.CONFIG.get()}
    settings = parse(
        pulumi.get_stack(),
        {key: decoded(key, value) for key, value in config.items()},
        read_all(FilePath.cwd()),
        environ=os.environ,
        secret_keys=[key for key in config if pulumi_config.is_config_secret(key)],
    )
    findings = [
        Finding(
            stack_file(settings.stack),
            f"{NAMESPACE}:{section}.chart.path",
            f'"{chart.path}", which does not exist',
            "a folder or .tgz file that exists, relative to the project",
        )
        for section, chart in settings.charts.items()
        if chart.path is not None and not FilePath(chart.path).exists()
    ]
    if findings:
        raise SettingsError(findings)
    return settings


def read_all(folder: FilePath) -> dict[str, str]:
    """The texts of the stack files in `folder` by name. Raises `SettingsError`."""
    files: dict[str, str] = {}
    findings = []
    for path in sorted(folder.glob("Pulumi.*.yaml")):
        try:
            files[path.name] = stackfile.read(path)
        except ValueError as error:
            findings.append(broken_file(path.name, error))
    if findings:
        raise SettingsError(findings)
    return files


def decoded(key: str, value: str) -> object:
    """The value of a configuration key. Pulumi hands over objects and lists as JSON texts."""
    namespace, _, name = key.partition(":")
    if namespace != NAMESPACE or name == "environment":
        return value
    try:
        content = cast(object, json.loads(value))
    except (ValueError, RecursionError):
        return value
    return value if is_deep(content) else content


def is_deep(content: object) -> bool:
    """Whether lists and objects are nested more than `stackfile.DEEPEST` deep."""
    level = [content]
    for _ in range(stackfile.DEEPEST + 1):
        inner: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        if not inner:
            return False
        level = inner
    return True


def parse(
    stack: str,
    config: Mapping[str, object],
    files: Mapping[str, str],
    *,
    environ: Mapping[str, str] = MappingProxyType({}),
    secret_keys: Collection[str] | None = None,
) -> Settings:
    """The settings in `config`. A pure function. Raises `SettingsError` with all findings.

    - `config`: decrypted values by full key (`doks-gitops:cluster`); objects as mappings and lists
    - `files`: texts of all stack files of the project by file name, which tell what values are
      encrypted and what the other stacks own
    - `environ`: environment variables
    - `secret_keys`: keys of `config` whose value is or contains a secret; None if that is unknown
    """
    findings: list[Finding] = []
    stack_files: dict[str, StackFile] = {}
    for name, text in sorted(files.items()):
        try:
            stack_files[name] = StackFile(text)
        except ValueError as broken:
            findings.append(broken_file(name, broken))
    if stack_file(stack) in files and stack_file(stack) not in stack_files:
        raise SettingsError(findings)
    findings += _unknown_namespaces(stack, config)

    raw: dict[str, object] = dict(namespace_values(config, NAMESPACE))
    reserved = [key for key in RESERVED if key in raw]
    if stack in ENVIRONMENTS:
        raw.setdefault("environment", stack)
    raw = complete(raw, str(raw["environment"]) if "environment" in raw else None)
    account = dict(namespace_values(config, ACCOUNT))
    origins = _from_environment((ACCOUNT,), account, ENVIRONMENT_VARIABLES, environ)
    origins |= _complete_inside(raw, FIREWALL, FIREWALL_VARIABLES, environ)
    origins |= _complete_inside(raw, VOLUME_COPIES, COPIES_VARIABLES, environ)
    origins |= _complete_credentials(raw, environ)
    if isinstance(raw.get(GITHUB), Mapping):
        github = dict(cast(Mapping[str, object], raw[GITHUB]))
        origins |= _from_environment((GITHUB,), github, github_variables(environ), environ)
        raw[GITHUB] = github
    raw.update({"stack": stack, ACCOUNT: account})
    if environ.get(ADOPT):
        raw["adopt"] = _json_of_variable(ADOPT, environ[ADOPT])

    report = Report(stack, raw, stack_files.get(stack_file(stack)), origins, secret_keys)
    findings += [report.unknown((key,)) for key in reserved]
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            findings += report.of_error(error)
    findings += report.plain_secrets()
    sections = _valid_sections(raw)
    findings += map(report.of_violation, rules.between_sections(sections))
    findings += map(report.of_violation, rules.between_stacks(stack, sections, stack_files))
    if findings or settings is None:
        raise SettingsError(findings)
    return settings.with_encrypted(frozenset(report.encrypted_values()))


def broken_file(name: str, error: ValueError) -> Finding:
    """The finding for a stack file that can't be read."""
    expected = "a file of YAML in UTF-8, without merge keys, aliases and tags"
    return Finding(name, "the whole file", str(error), expected)


def namespace_values(config: Mapping[str, object], namespace: str) -> Iterator[tuple[str, object]]:
    """The values of a namespace by the rest of their keys."""
    for key, value in config.items():
        if key.startswith(f"{namespace}:"):
            yield key.partition(":")[2], value


def _unknown_namespaces(stack: str, config: Mapping[str, object]) -> Iterator[Finding]:
    for key in sorted(config):
        namespace = key.partition(":")[0]
        if namespace in NAMESPACES:
            continue
        close = closest(namespace, NAMESPACES)
        yield Finding(
            source=stack_file(stack),
            key=key,
            got=f'the unknown namespace "{namespace}"',
            expected=f"did you mean {close}?" if close else f"one of {', '.join(NAMESPACES)}",
            fix=None if close else remove_command(stack, key),
        )


def github_variables(environ: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """`GITHUB_VARIABLES`, without GITHUB_TOKEN in a workflow of GitHub: there it is the job's own
    token. A job that opens an issue has it, and one that deploys has not."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return GITHUB_VARIABLES
    return {
        key: tuple(name for name in names if name != "GITHUB_TOKEN")
        for key, names in GITHUB_VARIABLES.items()
    }


def _complete_inside(
    raw: dict[str, object],
    path: Path,
    variables: Mapping[str, tuple[str, ...]],
    environ: Mapping[str, str],
) -> dict[Path, str]:
    """As `_from_environment`, for a section at `path` inside of others. Without it, for nothing."""
    section = raw
    for key in map(str, path):
        inner = section.get(key)
        if not isinstance(inner, Mapping):
            return {}
        section[key] = inner = dict(inner)
        section = inner
    return _from_environment(path, section, variables, environ)


def with_copies_of_environment(stack: str, copies: Copies, environ: Mapping[str, str]) -> Copies:
    """Settings of copies that were read without their secrets, with what `environ` has. Raises
    `SettingsError`."""
    values = copies.model_dump(by_alias=True, exclude_none=True)
    raw: dict[str, object] = {"volumes": {"copies": values}}
    origins = _complete_inside(raw, VOLUME_COPIES, COPIES_VARIABLES, environ)
    origins |= _complete_credentials(raw, environ)
    try:
        return Copies.model_validate(cast(dict[str, dict[str, object]], raw["volumes"])["copies"])
    except ValidationError as invalid:
        report, findings = Report(stack, raw, None, origins, None), list[Finding]()
        for error in invalid.errors(include_url=False):
            error["loc"] = (*VOLUME_COPIES, *error["loc"])
            findings += report.of_error(error)
        # Not from the error, which shows the values.
        raise SettingsError(findings) from None


def _complete_credentials(raw: dict[str, object], environ: Mapping[str, str]) -> dict[Path, str]:
    """Replaces the credentials of the copies by those of `environ` if it has all of them, as a
    workflow that can't decrypt the stack's."""
    volumes = raw.get("volumes")
    copies = volumes.get("copies") if isinstance(volumes, Mapping) else None
    values = {key: environ.get(name) for key, (name,) in CREDENTIALS_VARIABLES.items()}
    if not isinstance(copies, Mapping) or not all(values.values()):
        return {}
    assert isinstance(volumes, Mapping)
    raw["volumes"] = {**volumes, "copies": {**copies, "credentials": {}}}
    return _complete_inside(raw, CREDENTIALS, CREDENTIALS_VARIABLES, environ)


def _json_of_variable(name: str, text: str) -> object:
    try:
        content = cast(object, json.loads(text))
        if isinstance(content, Mapping) and not is_deep(content):
            return content
        reason = "another kind of value"
    except (ValueError, RecursionError):
        reason = "a text that is not JSON"
    expected = "the JSON object that `bin/platform recover` sets, or no such variable"
    raise SettingsError([Finding("environment", name, reason, expected)])


def _from_environment(
    path: Path,
    section: dict[str, object],
    variables: Mapping[str, tuple[str, ...]],
    environ: Mapping[str, str],
) -> dict[Path, str]:
    """Adds keys that `section`, at `path`, does not have from `environ`. Returns the source of each
    added key by its path."""
    origins: dict[Path, str] = {}
    for key, names in variables.items():
        for name in names:
            if key not in section and environ.get(name):
                section[key] = environ[name]
                origins[(*path, key)] = f"environment variable {name}"
    return origins


def _valid_sections(raw: Mapping[str, object]) -> rules.ValidSections:
    repositories = raw.get("repositories")
    return rules.ValidSections(
        environment=str(raw.get("environment", "")),
        cluster=_if_valid(Cluster, raw.get("cluster")),
        registry=_if_valid(Registry, raw.get("registry")),
        argocd=_if_valid(Argocd, raw.get("argocd")),
        project=_if_valid(Project, raw.get("project")),
        app_of_apps=_if_valid(AppOfApps, raw.get("appOfApps")),
        github=_if_valid(GitHub, raw.get(GITHUB)),
        pull_requests=_if_valid(PullRequests, raw.get("pullRequests")),
        sealed_secrets=_if_valid(SealedSecrets, raw.get("sealedSecrets")),
        volumes=_if_valid(Volumes, raw.get("volumes")),
        repositories=_valid_entries(Repository, repositories),
        applications=_valid_entries(Application, raw.get("applications")),
        credential_templates=_valid_entries(CredentialTemplate, raw.get("credentialTemplates")),
        repository_names=_names(repositories),
        application_names=_names(raw.get("applications")),
    )


def _names(entries: object) -> tuple[str, ...]:
    return tuple(map(str, entries)) if isinstance(entries, Mapping) else ()


def _if_valid(model: type[_Model], value: object) -> _Model | None:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _valid_entries(model: type[_Model], entries: object) -> dict[str, _Model]:
    if not isinstance(entries, Mapping):
        return {}
    valid = {str(name): _if_valid(model, value) for name, value in entries.items()}
    return {name: value for name, value in valid.items() if value is not None}
