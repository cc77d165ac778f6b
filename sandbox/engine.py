"""The Pulumi engine in the sandbox: its project folder, its environment.

The program runs in a project folder of the sandbox, in which everything but the stack files is a
link to the checkout. A stack file there is the checkout's without the team's secrets (the sandbox
does not have their passphrase) and with the sandbox's addresses.
"""

import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from doks_gitops import variables
from sandbox.paths import REPOSITORY, Home, write_private

PROJECT = "doks-gitops"
MONOREPO = "monorepo"
"""The name of the repository that the stacks sync from, here and in their stack files."""
STACKS = ("dev", "staging", "prod")
SEALED_SECRETS = "sealedSecrets"
"""The section of the stack files with the keys of Sealed Secrets."""
_LINKED = (
    "Pulumi.yaml",
    "__main__.py",
    "components",
    "doks_gitops",
    "bin",
    ".venv",
)


def environment(
    home: Home,
    *,
    bin_dir: Path,
    api_url: str,
    token: str,
    github: Mapping[str, str] | None = None,
    spaces: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Environment variables with which `pulumi`, `kubectl`, `helm` and `argocd` use the sandbox.

    `bin_dir` holds the tools; `github` is the `api`, `repository` and `token` of a workflow, and
    `spaces` the `id`, `secret` and `password` of a key. The caller adds the result to its own
    environment.
    """
    passphrase = home.root / "passphrase"
    if not passphrase.exists():
        write_private(passphrase, secrets.token_urlsafe(24).encode())
    return {
        "PATH": os.pathsep.join([str(bin_dir), os.environ["PATH"]]),
        "PULUMI_HOME": str(home.folder("pulumi")),
        # A plugin on PATH would take precedence over the sandbox's.
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
        # By default the backend keeps an .attrs file beside each file and does not write it
        # atomically: a run that is killed meanwhile leaves a state that can't be read.
        "PULUMI_BACKEND_URL": f"{home.folder('state').as_uri()}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "DIGITALOCEAN_TOKEN": token,
        "DIGITALOCEAN_API_URL": api_url,
        "KUBECONFIG": str(home.root / "kubeconfig"),
        **variables.no_proxy(os.environ),
        **(
            {
                "GITHUB_API_URL": github["api"],
                "GITHUB_REPOSITORY": github["repository"],
                "GITHUB_TOKEN": github["token"],
            }
            if github
            else {}
        ),
        **(
            {
                "SPACES_ENDPOINT_URL": api_url,
                "SPACES_ACCESS_KEY_ID": spaces["id"],
                "SPACES_SECRET_ACCESS_KEY": spaces["secret"],
                "RESTIC_PASSWORD": spaces["password"],
            }
            if spaces
            else {}
        ),
    }


def cluster_of(stack: str) -> str:
    """The name of the stack's cluster in the stack file of the checkout."""
    content = yaml.safe_load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())
    name: str = content["config"][f"{PROJECT}:cluster"]["name"]
    return name


def _derive(source: Path, sandbox_values: Mapping[str, object]) -> dict[str, object]:
    config = _without_secrets(yaml.safe_load(source.read_text())["config"])
    assert isinstance(config, dict)
    for key, value in sandbox_values.items():
        qualified = f"{PROJECT}:{key}"
        config[qualified] = _merge(config.get(qualified), value)
    return config


def _without_secrets(value: object) -> object:
    # The import takes time, which only a new stack needs.
    from doks_gitops.settings.stackfile import is_encrypted

    if isinstance(value, dict):
        return {k: _without_secrets(v) for k, v in value.items() if not is_encrypted(v)}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value if not is_encrypted(item)]
    return value


def _merge(under: object, over: object) -> object:
    if isinstance(under, dict) and isinstance(over, Mapping):
        return under | {key: _merge(under.get(key), value) for key, value in over.items()}
    return over


class Engine:
    """The `pulumi` command, run in the sandbox's project folder.

    `config` is added to the stack files, by stack: `values` (config of the program's namespace,
    without the prefix), and `secrets` by the path of their key. `env` is added to what child
    processes need of this process's environment.
    """

    def __init__(
        self,
        home: Home,
        env: Mapping[str, str],
        config: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.project = home.folder("project")
        self._state = home.folder("state")
        self.env = {**variables.restricted(os.environ, deployment=False), **env}
        self._config = config

    def prepare(self) -> None:
        """Create the project folder and the stacks.

        A stack that was created from the same stack file and values is left as it is.
        """
        for name in _LINKED:
            link = self.project / name
            link.unlink(missing_ok=True)
            link.symlink_to(REPOSITORY / name)
        for stack in STACKS:
            source = REPOSITORY / f"Pulumi.{stack}.yaml"
            inputs = json.dumps([source.read_text(), self._config[stack]])
            digest = hashlib.sha256(inputs.encode()).hexdigest()
            digest_file = self.project / f".{stack}.sha256"
            if not digest_file.exists() or digest_file.read_text() != digest:
                digest_file.unlink(missing_ok=True)
                self._create_stack(stack, source)
                write_private(digest_file, digest.encode())

    def _create_stack(self, stack: str, source: Path) -> None:
        target = self.project / source.name
        old = yaml.safe_load(target.read_text()) if target.exists() else {}
        config = _derive(source, self._config[stack]["values"])
        # The sandbox can't decrypt the team's keys.
        has_keys = config.pop(f"{PROJECT}:{SEALED_SECRETS}", None) is not None
        if isinstance(volumes := config.get(f"{PROJECT}:volumes"), dict) and "copies" in volumes:
            # Those of the environment are the sandbox's.
            for key in ("credentials", "endpoint"):
                volumes["copies"].pop(key, None)
        content: dict[str, object] = {"config": config}
        if salt := old.get("encryptionsalt"):
            content["encryptionsalt"] = salt
        write_private(target, yaml.safe_dump(content, sort_keys=False).encode())
        self.run("stack", "select", "--create", stack)
        for key, value in self._config[stack]["secrets"].items():
            self.run(
                "config", "set", "--stack", stack, "--secret", "--path", f"{PROJECT}:{key}",
                stdin=value,
            )  # fmt: skip
        if has_keys:
            # The imports take time, which only a stack with sealed secrets needs.
            from doks_gitops.sealing import keys
            from doks_gitops.stack import Stack

            keys.add(Stack(stack, self.project, self.env), [keys.generate(stack, keys.now())])

    def run(self, *args: str, stdin: str | None = None) -> str:
        """Run `pulumi ARGS` and return its standard output.

        Raises subprocess.CalledProcessError, with the output, if it fails.
        """
        return subprocess.run(
            ["pulumi", "--non-interactive", "-C", str(self.project), *args],
            env=self.env,
            input=stdin,
            check=True,
            text=True,
            capture_output=True,
        ).stdout

    @property
    def has_github(self) -> bool:
        """Whether a stack has parts of a repository on GitHub."""
        return self._has("github", '"github:index/')

    @property
    def has_sealed_secrets(self) -> bool:
        """Whether a stack has Sealed Secrets."""
        return self._has(SEALED_SECRETS, f'"{PROJECT}:index:SealedSecrets"')

    @property
    def has_copies(self) -> bool:
        """Whether a stack has copies of volumes."""
        sections = (self._stack_config(stack).get(f"{PROJECT}:volumes") for stack in STACKS)
        return any("copies" in section for section in sections if isinstance(section, dict))

    def _has(self, section: str, resource: str) -> bool:
        """Whether a stack has a section in its stack file in the project folder, or still has the
        resources of it in its state."""
        states = (self._state / ".pulumi" / "stacks" / PROJECT).glob("*.json")
        return any(f"{PROJECT}:{section}" in self._stack_config(stack) for stack in STACKS) or any(
            resource in state.read_text() for state in states
        )

    def cluster_name(self, stack: str) -> str:
        """The name of the stack's cluster in the stack file of the project folder."""
        name: str = self._stack_config(stack)[f"{PROJECT}:cluster"]["name"]
        return name

    def unfinished(self, stack: str) -> list[str]:
        """The names of the resources that a killed `pulumi` was changing. `pulumi up` fails then:
        the state does not say whether they exist."""
        state = self._state / ".pulumi" / "stacks" / PROJECT / f"{stack}.json"
        if not state.exists():
            return []
        latest = json.loads(state.read_text())["checkpoint"].get("latest") or {}
        return [
            operation["resource"]["urn"].rpartition("::")[2]
            for operation in latest.get("pending_operations") or []
        ]

    def _stack_config(self, stack: str) -> dict[str, Any]:
        content = yaml.safe_load((self.project / f"Pulumi.{stack}.yaml").read_text())
        config: dict[str, Any] = content["config"]
        return config

    def release_stale_lock(self, stack: str) -> bool:
        """Remove the lock that a killed `pulumi` left on the stack; true if there was one.

        A lock whose process still runs on this machine is kept.
        """
        files = sorted(self._state.glob(f".pulumi/locks/organization/{PROJECT}/{stack}/*"))
        locks = [file for file in files if file.suffix == ".json"]
        if not files or any(map(_is_held, locks)):
            return False
        # Written before they get their names. Pulumi reads them as locks, and fails.
        for unfinished in set(files) - set(locks):
            unfinished.unlink(missing_ok=True)
        if locks:
            self.run("cancel", "--stack", stack, "--yes")
        return True


def _is_held(lock: Path) -> bool:
    """Whether the process that made the lock still runs. One that was killed while it wrote the
    lock, or that found no room on the disk, left it empty."""
    try:
        return Path(f"/proc/{json.loads(lock.read_text())['pid']}").exists()
    except (FileNotFoundError, ValueError):
        return False
