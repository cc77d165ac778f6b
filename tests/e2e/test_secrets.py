"""No secret is in clear where others look: in the arguments of processes, the output of commands,
events, logs, the state, stack files, and the history of repositories."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.box import Sandbox, until
from tests.e2e.leaks import leaks, plain_texts

EVENTS = {"PULUMI_DEBUG_COMMANDS": "true"}
"""Lets Pulumi accept `--event-log`."""
WEBHOOK_SECRET = "a-webhook-secret-of-this-test"
SEALED = "a-value-that-was-sealed-by-this-test"
SEAL = "bin/platform seal --stack dev --name db --namespace shop --from-file password=-"


@contextmanager
def arguments() -> Iterator[set[bytes]]:
    """The command lines of all processes that the machine runs meanwhile."""
    lines: set[bytes] = set()
    done = threading.Event()

    def look() -> None:
        # As often as possible: some processes live for milliseconds only.
        while not done.wait(0.01):
            for process in Path("/proc").iterdir():
                if process.name.isdecimal():
                    try:
                        lines.add((process / "cmdline").read_bytes())
                    except OSError:
                        continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield lines
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def run(sandbox: Sandbox) -> tuple[dict[str, str], dict[str, bytes]]:
    """The life of a stack: its secrets by name, and the contents of all places that others see."""
    sandbox("start")
    places: dict[str, bytes] = {}
    stack = "--non-interactive --stack dev"
    set_secret = "pulumi config set --stack dev --secret --path doks-gitops:argocd.webhookSecret"
    sandbox.shell(f'printf %s "$SECRET" | {set_secret}', SECRET=WEBHOOK_SECRET)
    with arguments() as lines:
        # What imports and exports keys writes them where it is told to, and nowhere else.
        for keys in ("new", "export --file keys.pem", "renew", "import --file keys.pem"):
            command = f"bin/platform sealing-keys {keys} --stack dev"
            places[command] = sandbox.shell(f"{command} 2>&1").encode()
        places["seal"] = sandbox.shell(f'printf %s "$SECRET" | {SEAL} 2>&1', SECRET=SEALED).encode()
        # Builds the controller.
        places["start"] = sandbox("run", "true").encode()
        for name, command in {
            "up": f"pulumi up {stack} --yes --diff --event-log events-up.json",
            "preview": f"pulumi preview {stack} --diff --event-log events-preview.json",
            "preview --json": f"pulumi preview {stack} --json",
            "up --json": f"pulumi up {stack} --yes --skip-preview --json",
            "outputs": f"pulumi stack output {stack} --json",
            "export": f"pulumi stack export {stack}",
            "refresh": f"pulumi refresh {stack} --yes --diff --event-log events-refresh.json",
            "policies": "bin/platform policy --stack dev",
        }.items():
            places[name] = sandbox.shell(f"{command} 2>&1", **EVENTS).encode()
        secrets = known_secrets(sandbox)
        places["destroy"] = sandbox.shell(
            f"pulumi destroy {stack} --yes --diff --event-log events-destroy.json 2>&1", **EVENTS
        ).encode()
    places |= {f"argv {line[:200]!r}": line for line in lines}
    files = [
        *(sandbox.home / "state").rglob("*"),
        *(sandbox.home / "project").glob("events-*.json"),
        *(sandbox.home / "project").glob("Pulumi.*.yaml"),
        *sandbox.home.rglob("*.log"),
        sandbox.home / "account.json",
    ]
    places |= {
        str(file.relative_to(sandbox.home)): file.read_bytes() for file in files if file.is_file()
    }
    for repository in (sandbox.home / "git").glob("*.git"):
        places[f"history of {repository.name}"] = subprocess.run(
            ["git", "-C", str(repository), "log", "--patch", "--all"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
    return secrets, places


def known_secrets(sandbox: Sandbox) -> dict[str, str]:
    state: Any = json.loads(sandbox.shell("pulumi stack export --stack dev --show-secrets"))
    secrets = {
        "account token": (sandbox.home / "token").read_text(),
        "passphrase": (sandbox.home / "passphrase").read_text(),
        "webhook secret": WEBHOOK_SECRET,
        "Git token": json.loads((sandbox.home / "git" / "monorepo.access.json").read_text())[
            "token"
        ],
        "sealed value": SEALED,
        # A line in the middle, which every form of the key has.
        **{
            f"sealing key {number}": key.splitlines()[5]
            for number, key in enumerate(sealing_keys(sandbox))
        },
        "admin password": sandbox.shell(
            "pulumi stack output --stack dev --show-secrets argocdAdminPassword"
        ).strip(),
    }
    for number, (key, value) in enumerate(plain_texts(state)):
        if value not in secrets.values():
            secrets[f"{key} of the state ({number})"] = value
    return secrets


def sealing_keys(sandbox: Sandbox) -> list[str]:
    section = sandbox.shell("pulumi config get --stack dev doks-gitops:sealedSecrets")
    return [key["privateKey"] for key in json.loads(section)["keys"]]


def test_no_secret_is_in_clear_anywhere(run: tuple[dict[str, str], dict[str, bytes]]) -> None:
    secrets, places = run
    assert not leaks(secrets, places), "\n".join(leaks(secrets, places))


def test_all_kinds_of_secrets_were_looked_for(
    run: tuple[dict[str, str], dict[str, bytes]],
) -> None:
    secrets, _ = run
    kinds = {name.partition(" of the state")[0] for name in secrets}
    assert kinds >= {"token", "rawConfig", "argocdServerAdminPassword", "webhook secret"}
    assert kinds >= {"sealed value", "sealing key 0", "sealing key 1"}
    assert all(len(secret) > 12 for secret in secrets.values())


def test_the_places_are_those_where_a_secret_would_show(
    run: tuple[dict[str, str], dict[str, bytes]],
) -> None:
    _, places = run
    # Kubernetes' real plugin contains Helm; the stand-in starts it.
    helm = "resource-kubernetes" if os.environ.get("SANDBOX_REAL_PROVIDERS") else "helm"
    assert any(name.startswith("argv") and helm in name for name in places)
    assert any(name.startswith("argv") and "pulumi" in name for name in places)
    assert b"kind: SealedSecret" in places["seal"]
    assert any(name.startswith("argv") and "sealed-secrets-controller" in name for name in places)
    assert b"dev-microservices-demo" in places["preview --json"] + places["outputs"]
    assert any(name.startswith("history of monorepo") for name in places)
    assert {"up", "preview", "refresh", "destroy"} <= {
        name.removeprefix("project/events-").removesuffix(".json") for name in places
    }
    assert any(name.startswith("state/.pulumi/history") for name in places)


def test_a_secret_in_a_command_line_or_inside_base64_would_be_found() -> None:
    planted = "planted-secret-of-this-test"
    with arguments() as lines:
        process = subprocess.Popen(
            [sys.executable, "-c", "input()", planted], stdin=subprocess.PIPE
        )
        until("the argument is seen", lambda: any(planted.encode() in line for line in set(lines)))
        process.communicate(b"\n")
    assert leaks({"planted": planted}, {"argv": b"\n".join(lines)})
    for before in ("", "a", "ab", "abc"):
        inside = base64.b64encode(f"{before}{planted}{before}".encode())
        assert leaks({"planted": planted}, {"base64": inside})


def test_nobody_else_can_look_into_a_sandbox(sandbox: Sandbox) -> None:
    assert sandbox.home.stat().st_mode & 0o077 == 0
