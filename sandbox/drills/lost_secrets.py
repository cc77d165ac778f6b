"""The state, and then the cluster with the keys of its sealed secrets, are gone after two renewals
of the keys."""

import base64
import json
import secrets
import tempfile
from pathlib import Path

from sandbox.drills import lost_cluster, lost_state
from sandbox.drills.drill import DEV, Context, Drill

KEY_PAIRS = 3
"""The first one, and two renewals."""
SCOPES = ("strict", "namespace-wide")
KEYS_NAMESPACE = "sealed-secrets"
OVERLAY = Path("kustomize") / DEV


def run(context: Context) -> None:
    context.bring_up()
    stack_file = context.pulumi.project / f"Pulumi.{DEV}.yaml"
    before = stack_file.read_bytes()
    with context.clone() as clone:
        kustomization = clone / OVERLAY / "kustomization.yaml"
        without = kustomization.read_text()
        values = _seal(context, clone / OVERLAY)
        # With the controller, which is built at the first time.
        context.sandbox("pulumi", "up", "--stack", DEV, "--yes", "--skip-preview")
        files = "".join(f"  - {name}.yaml\n" for name in values)
        kustomization.write_text(without.replace("resources:\n", f"resources:\n{files}", 1))
        context.push(clone, "Add sealed secrets")
        context.until("every secret is readable", lambda: read(context) == values)

        _lose_state(context)
        _lose_cluster(context)
        context.until("every secret is readable", lambda: read(context) == values)
        context.seconds = context.elapsed
        context.say(f"{len(values)} of {len(values)} secrets are readable")
        context.check(len(_key_names(context)) == KEY_PAIRS, "the controller has made a key")
        context.unchanged()

        # The next drill finds the stack as this one did.
        kustomization.write_text(without)
        context.push(clone, "Remove sealed secrets")
    context.until("the secrets are removed", lambda: not read(context))
    stack_file.write_bytes(before)
    context.command("pulumi", "up", "--stack", DEV, "--yes", "--skip-preview")


def _seal(context: Context, overlay: Path) -> dict[str, str]:
    """Makes the key pairs, and with each one a sealed secret of each scope in the overlay. Returns
    the secrets by their names."""
    values: dict[str, str] = {}
    for number in range(KEY_PAIRS):
        context.command(
            "bin/platform", "sealing-keys", "renew" if number else "new", "--stack", DEV
        )
        for scope in SCOPES:
            name = f"secret-{number}-{scope}"
            values[name] = seal(context, overlay, name, scope)
    return values


def seal(context: Context, overlay: Path, name: str, scope: str = "strict") -> str:
    """Add a sealed secret to the folder, in a file of its name, and return its random value."""
    value = secrets.token_urlsafe(24)
    # The value is in no clone and on no command line.
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(value)
        file.flush()
        context.command(
            "bin/platform", "seal", "--stack", context.stack, "--name", name, "--scope", scope,
            "--namespace", context.namespace, "--from-file", f"value={file.name}",
            "--output", str(overlay / f"{name}.yaml"),
        )  # fmt: skip
    return value


def _lose_state(context: Context) -> None:
    pods, keys = _all_pods(context), _key_names(context)
    lost_state.lose(context)
    context.platform_recover("--new-state")
    context.check(_all_pods(context) == pods, "workloads were restarted")
    context.check(_key_names(context) == keys, "the keys in the cluster are other ones")


def _lose_cluster(context: Context) -> None:
    lost_cluster.lose(context)
    context.recover()


def read(context: Context) -> dict[str, str]:
    """The secrets that the controller has unsealed."""
    output = context.kubectl("-n", context.namespace, "get", "secrets", "-o", "json")
    return {
        secret["metadata"]["name"]: base64.b64decode(secret["data"]["value"]).decode()
        for secret in json.loads(output)["items"]
        if secret["metadata"]["name"].startswith("secret-")
    }


def _key_names(context: Context) -> list[str]:
    label = "sealedsecrets.bitnami.com/sealed-secrets-key=active"
    names = context.kubectl("-n", KEYS_NAMESPACE, "get", "secrets", "-l", label, "-o", "name")
    return sorted(names.split())


def _all_pods(context: Context) -> set[str]:
    controller = context.kubectl("-n", KEYS_NAMESPACE, "get", "pods", "-o", "name")
    return {*context.pods(), *controller.split()}


DRILL = Drill(
    "lost-secrets",
    "Every sealed secret is readable again after the loss of the state and of the cluster.",
    run,
    limit=50,
)
