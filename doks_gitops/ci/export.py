"""A stack's state without its secrets, for previews that may know none.

The last deployment writes it. A preview that starts from it needs neither the stack's backend nor
its passphrase, and a token that may only read the account: it holds nothing that can change an
environment or decrypt the state of one.
"""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from doks_gitops.environments import short_name
from doks_gitops.errors import PlatformError
from doks_gitops.github import Repository
from doks_gitops.settings import stackfile
from doks_gitops.settings.base import Path as SettingPath
from doks_gitops.settings.errors import key_of
from doks_gitops.settings.load import ENVIRONMENT_VARIABLES, GITHUB, github_variables
from doks_gitops.settings.model import NAMESPACE
from doks_gitops.settings.report import ACCOUNT
from doks_gitops.settings.ssh_key import KEY_WITHOUT_PRIVATE_PART
from doks_gitops.stack import Stack, link_project
from doks_gitops.variables import first_set

PLACEHOLDER = base64.b64encode(b"not exported").decode()
"""Takes the place of each secret text. It may be the data of a Secret, and it is as long as the
secret of a webhook must be."""
_FORMS = {"kubeconfig": "{}", "clusterCaCertificate": ""}
"""What takes the place of secrets of which the Kubernetes provider takes no other text: a
kubeconfig that names no cluster, and no certificate. With one that can't be parsed the provider
ends; without one, it trusts no cluster and goes on (`makeClient` in `provider/pkg/provider`)."""
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 (no secret itself)
"""Marks of a secret in a state: `sdk/go/common/resource/sig` of github.com/pulumi/pulumi."""
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""A value in a plan that only the deployment will know."""
_SHORTEST = 8
"""Characters of the shortest secret that is looked for in an export. A shorter one, such as "true",
is in other places too."""
_CLUSTER_TOKEN = f"{ACCOUNT}:clusterToken"


@dataclass(frozen=True)
class Export:
    """The state of a stack, and the encrypted values of its stack file, without any secret."""

    stack: str
    commit: str | None
    """The commit that was deployed; None if the project's folder is in no Git repository."""
    encrypted: Mapping[str, str]
    """Ciphertexts in the stack file by key. They tell whether a secret has changed."""
    state: Mapping[str, Any] | None
    """For `pulumi stack import`; None if the stack was never deployed."""
    deployed: str | None = None
    """The commit of the last deployment on GitHub, which may have failed; None if unknown."""
    github_token: bool = False
    """Whether the environment of the deployment had a token for `github`. Without one, a stack that
    needs it is refused in a preview as in a deployment."""

    @classmethod
    def read(cls, file: Path) -> Export:
        """Raises `PlatformError`."""
        try:
            return cls(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise PlatformError(
                f"{file} is no export of a stack: {error}",
                "bin/platform deploy --stack STACK --export FOLDER writes one",
            ) from None

    def write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self)))

    def changed_secrets(self, stack_file: str) -> tuple[str, ...]:
        """Keys of `stack_file`, a text, whose encrypted values differ from the deployed ones."""
        now = ciphertexts(stack_file)
        keys = sorted({*self.encrypted, *now})
        return tuple(key for key in keys if self.encrypted.get(key) != now.get(key))


def export(stack: Stack, commit: str | None) -> Export:
    """Returns the export of a stack that has just been deployed.

    The program runs once more, in a preview that has no secret either. What it then makes of the
    placeholders is what a later preview of the same commit makes of them: so this preview shows no
    differences. Raises `PlatformError`.
    """
    text = stack.text()
    config = stack.config()
    state = redacted(stack.export(secrets=True))
    result = Export(
        stack.name,
        commit,
        ciphertexts(text),
        state,
        github_token=first_set(github_variables(os.environ)["token"]) is not None,
    )
    tokens = {
        variable: value
        for variable, value in _tokens(config).items()
        if value is not None and value != PLACEHOLDER
    }
    with isolated(stack, result, env=tokens) as copy:
        plan = json.dumps(copy.plan())
    for token in tokens.values():
        for form in _forms(token):
            plan = plan.replace(form, PLACEHOLDER)
    result = replace(result, state=completed(state, json.loads(plan)))
    _refuse_secrets(result, [*tokens.values(), *_decrypted(config, text)])
    return result


def file_name(stack: str) -> str:
    """The name of the file with the export of a stack, and of its artifact without the suffix."""
    return f"export-{short_name(stack)}.json"


def download(repository: Repository, stack: str, branch: str, folder: Path) -> None:
    """Write the export that the last deployment of a stack from `branch` has left as an artifact of
    its workflow; an empty one for a stack that was never deployed. Raises `PlatformError`."""
    name = file_name(stack)
    deployed = repository.deployed_commit(short_name(stack))
    archive = repository.artifact(name.removesuffix(".json"), branch)
    if archive is None:
        if deployed is not None:
            raise PlatformError(
                f"The repository has no artifact {name.removesuffix('.json')} of the branch"
                f" {branch}, but {stack} was deployed: the artifact is too old, or the deployment"
                " failed.",
                "run the workflow deploy again",
            )
        Export(stack, None, {}, None).write(folder / name)
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            (folder / name).write_bytes(files.read(name))
    except (zipfile.BadZipFile, KeyError) as error:
        raise PlatformError(f"The artifact of {stack} is no export: {error}") from None
    replace(Export.read(folder / name), deployed=deployed).write(folder / name)


@contextmanager
def isolated(
    stack: Stack, export: Export, *, env: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """A copy of the stack in a backend of its own, with the state of `export`.

    Its stack file is that of `stack` with placeholders for the encrypted values. All else in its
    folder are links to the folder of `stack`. The tokens of the account and of GitHub are those of
    the environment and of `env`, and no token reaches the cluster. Raises `PlatformError`.
    """
    name = short_name(stack.name)
    with tempfile.TemporaryDirectory() as temporary:
        project, backend = Path(temporary, "project"), Path(temporary, "state")
        backend.mkdir()
        link_project(stack.folder, project, without=lambda file: file == stack.file.name)
        variables = {
            **(env or {}),
            "PULUMI_BACKEND_URL": backend.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": secrets.token_urlsafe(24),
            "PULUMI_CONFIG_PASSPHRASE_FILE": "",
            "PULUMI_ACCESS_TOKEN": "",
        }
        copy = Stack(name, project, variables)
        environ = {**os.environ, **variables}
        document, placeholders = without_secrets(
            stack.text(), environ, github_token=export.github_token
        )
        copy.file.write_text(yaml.safe_dump(document, sort_keys=False))
        copy.init_with_passphrase()
        if placeholders:
            copy.set_secrets(placeholders)
        if export.state is not None:
            provider = copy.export()["deployment"]["secrets_providers"]
            deployment = {**export.state["deployment"], "secrets_providers": provider}
            copy.import_state({**export.state, "deployment": deployment}, live=False)
        yield copy


def redacted(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state, exported with its secrets in clear, without them. A pure function.

    Objects and lists in secrets keep their form, which the providers expect.
    """
    deployment = {
        key: value
        for key, value in state["deployment"].items()
        # Interrupted operations are not those of a stack that was deployed.
        if key not in ("secrets_providers", "pending_operations")
    }
    return {**state, "deployment": _redacted(deployment)}


def completed(state: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """`state` with the inputs that the program makes of placeholders. A pure function.

    `plan`: see `Stack.plan`. Where an output repeats an input, it follows.
    """
    changes = {
        urn: resource.get("goal", {}).get("inputDiff") or {}
        for urn, resource in (plan.get("resourcePlans") or {}).items()
    }
    resources = [
        _with_inputs(resource, changes.get(resource["urn"], {}))
        for resource in state["deployment"].get("resources") or []
    ]
    return {**state, "deployment": {**state["deployment"], "resources": resources}}


def _with_inputs(resource: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    old, outputs = resource.get("inputs") or {}, resource.get("outputs") or {}
    new = {key: value for key, value in old.items() if key not in (change.get("deletes") or ())} | {
        key: value
        for kind in ("adds", "updates")
        for key, value in (change.get(kind) or {}).items()
        if _UNKNOWN not in json.dumps(value)
    }
    if new == old:
        return dict(resource)

    def follow(key: str, value: Any) -> Any:
        if key == "__inputs" and value == old:
            return new
        return new[key] if key in new and old.get(key) == value else value

    return {
        **resource,
        "inputs": new,
        "outputs": {key: follow(key, value) for key, value in outputs.items()},
    }


def ciphertexts(stack_file: str) -> dict[str, str]:
    """The encrypted values in the text of a stack file, by key. Raises `PlatformError`."""
    return {
        _key(path): str(stackfile.at(values, path)["secure"])
        for values in [_values(stack_file)]
        for path in stackfile.encrypted(values)
    }


def without_secrets(
    stack_file: str, environ: Mapping[str, str], *, github_token: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """The document of a stack file with placeholders in place of encrypted values, and these
    placeholders by key. A pure function.

    A token that `environ` has is left out, so that the program takes that one. `github_token`:
    whether the deployment has one for `github` in its environment, which gets a placeholder.
    """
    values = _values(stack_file)
    placeholders: dict[str, str] = {}
    for path in list(stackfile.encrypted(values)):
        *parents, last = path
        parent = stackfile.at(values, tuple(parents))
        if _is_in_environment(path, environ):
            del parent[last]
            continue
        placeholders[_key(path)] = parent[last] = (
            KEY_WITHOUT_PRIVATE_PART if str(last).lower().endswith("privatekey") else PLACEHOLDER
        )
    # Otherwise the kubeconfig has the account's token.
    placeholders[_CLUSTER_TOKEN] = values[_CLUSTER_TOKEN] = PLACEHOLDER
    github = values.get(f"{NAMESPACE}:{GITHUB}")
    token = (f"{NAMESPACE}:{GITHUB}", "token")
    if (
        github_token
        and isinstance(github, dict)
        and "token" not in github
        and not _is_in_environment(token, environ)
    ):
        github["token"] = placeholders[_key(token)] = PLACEHOLDER
    return {"config": values}, placeholders


def _values(stack_file: str) -> dict[str, Any]:
    try:
        return stackfile.values(stack_file)
    except ValueError as error:
        raise PlatformError(f"The stack file can't be read: {error}") from None


def _key(path: SettingPath) -> str:
    """The key in a stack file as `pulumi config set --path` takes it."""
    namespace, _, first = str(path[0]).partition(":")
    return key_of(namespace, (first, *path[1:]))


def _is_in_environment(path: SettingPath, environ: Mapping[str, str]) -> bool:
    variables: dict[SettingPath, tuple[str, ...]] = {
        (f"{ACCOUNT}:token",): ENVIRONMENT_VARIABLES["token"],
        (f"{NAMESPACE}:{GITHUB}", "token"): github_variables(environ)["token"],
    }
    return any(environ.get(name) for name in variables.get(path, ()))


def _tokens(config: Mapping[str, str]) -> dict[str, str | None]:
    """The tokens of the account and of GitHub by environment variable."""
    github = json.loads(config.get(f"{NAMESPACE}:{GITHUB}") or "{}")
    return {
        "DIGITALOCEAN_TOKEN": config.get(f"{ACCOUNT}:token")
        or first_set(ENVIRONMENT_VARIABLES["token"]),
        "PULUMI_GITHUB_TOKEN": github.get("token")
        or first_set(github_variables(os.environ)["token"]),
    }


def _decrypted(config: Mapping[str, str], stack_file: str) -> Iterator[str]:
    """The values in clear that are encrypted in the stack file."""
    for path in stackfile.encrypted(_values(stack_file)):
        key, *rest = path
        text = config[str(key)]
        yield str(stackfile.at(json.loads(text), tuple(rest)) if rest else text)


def _refuse_secrets(result: Export, known: list[str]) -> None:
    """Raises `PlatformError` if an export contains one of the `known` secrets."""
    text = json.dumps(asdict(result))
    for secret in known:
        if len(secret) >= _SHORTEST and any(form in text for form in _forms(secret)):
            raise PlatformError(
                f"The export of {result.stack} would contain a secret of the stack file or a"
                " token. It was not written.",
                "Encrypt every value that contains it: pulumi config set --secret --path KEY",
            )


def _forms(secret: str) -> tuple[str, ...]:
    """What a secret is in JSON, in JSON inside of JSON, and in base64."""
    once = json.dumps(secret)[1:-1]
    return json.dumps(once)[1:-1], once, base64.b64encode(secret.encode()).decode()


def _is_secret(value: object) -> bool:
    return isinstance(value, Mapping) and value.get(_SIGNATURE) == _SECRET


def _secret(value: object) -> dict[str, str]:
    return {_SIGNATURE: _SECRET, "plaintext": json.dumps(value)}


def _redacted(value: Any, key: str = "") -> Any:
    """`value` of a state with each secret in it replaced by placeholders."""
    if _is_secret(value):
        return _replaced(value, key)
    if isinstance(value, Mapping):
        return {name: _redacted(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return value


def _replaced(value: Any, key: str = "") -> Any:
    """A secret, or what is in one, with each text and number replaced."""
    if _is_secret(value):
        # A value that could not be decrypted has no plaintext.
        return _secret(_replaced(json.loads(value.get("plaintext", '""')), key))
    if isinstance(value, Mapping):
        return {name: _replaced(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    return _FORMS.get(key, PLACEHOLDER)
