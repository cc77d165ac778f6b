"""Applications whose manifests are charts: from private repositories, with values from Git."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.box import REPOSITORY, Sandbox, until

VERSION = "1.2.3"
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec: {containers: [{name: shop, image: "nginx:1.29"}]}
"""
OTHER_PASSWORD = "a-password-that-is-wrong"
REPLICAS = {"helm": 1, "registry": 2, "artifact": 1, "values": 3}
"""The replicas that each application gets by its own values, by its name."""


@pytest.fixture(scope="module")
def charts(
    sandbox: Sandbox, monorepo: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The sandbox's private charts, one of them pushed, with values in Git: URLs and password.

    The stack dev reads them as four applications; its password for the registry is wrong.
    """
    sandbox("start", "--repo", str(monorepo))
    chart = tmp_path_factory.mktemp("chart") / "shop"
    (chart / "templates").mkdir(parents=True)
    (chart / "templates" / "deployment.yaml").write_text(DEPLOYMENT)
    (chart / "values.yaml").write_text("replicas: 1\n")
    described = {"apiVersion": "v2", "name": "shop", "version": VERSION}
    (chart / "Chart.yaml").write_text(json.dumps(described))
    sandbox.shell(f"helm package {chart} --destination {chart.parent}")
    output = sandbox("push-chart", str(chart.parent / f"shop-{VERSION}.tgz"))
    clone = chart.parent / "clone"
    sandbox("clone", str(clone))
    (clone / "values").mkdir()
    (clone / "values" / "shop.yaml").write_text("replicas: 3\n")
    sandbox.shell(
        f"cd {clone} && git add . && git -c user.name=test -c user.email=test@localhost"
        " commit --quiet --message Values && git push --quiet"
    )
    with sandbox.api() as api:
        private: dict[str, str] = api.post("/sandbox/charts", json={"package": None}).json()
    assert private["helm"] in output
    assert private["registry"] in output
    assert private["password"] not in output
    write_stack(sandbox, private)
    set_password(sandbox, "credentialTemplates.team", private["password"])
    set_password(sandbox, "repositories.registry", OTHER_PASSWORD)
    set_password(sandbox, "repositories.artifact", private["password"])
    return private


def write_stack(sandbox: Sandbox, private: dict[str, str]) -> None:
    """Let the stack dev deploy the chart from the Helm repository, from the registry, as an
    artifact of the registry, and with values from Git."""
    file = sandbox.home / "project" / "Pulumi.dev.yaml"
    content = yaml.safe_load(file.read_text())
    config: dict[str, Any] = content["config"]
    user = {"credentials": {"username": private["username"]}}
    server = private["helm"].removesuffix("helm")
    config["doks-gitops:repositories"] |= {
        "helm": {"url": private["helm"], "type": "helm"},
        "registry": {"url": private["registry"], "type": "helm", "plainHttp": True, **user},
        "artifact": {
            "url": f"oci://{private['registry']}/shop",
            "type": "oci",
            "plainHttp": True,
            **user,
        },
    }
    config["doks-gitops:credentialTemplates"] = {"team": {"url": server, "type": "helm", **user}}
    config["doks-gitops:project"]["namespaces"] = ["shop"]
    chart = {"chart": "shop", "version": VERSION}
    values = {"helm": {"valueFiles": ["$values/values/shop.yaml"]}}
    applications: dict[str, dict[str, Any]] = {
        "helm": {"repository": "helm", **chart},
        "registry": {"repository": "registry", **chart, "helm": {"valuesObject": {"replicas": 2}}},
        "artifact": {"repository": "artifact", "version": VERSION},
        "values": {
            "sources": [
                {"repository": "helm", **chart, **values},
                {"repository": "monorepo", "revision": "main", "ref": "values"},
            ]
        },
    }
    config["doks-gitops:applications"] = {
        name: {"namespace": "shop", **application} for name, application in applications.items()
    }
    file.write_text(yaml.safe_dump(content))


def set_password(sandbox: Sandbox, section: str, password: str) -> None:
    path = f"doks-gitops:{section}.credentials.password"
    command = f"pulumi config set --stack dev --secret --path '{path}'"
    sandbox.shell(f'printf %s "$PASSWORD" | {command}', PASSWORD=password)


def replicas(sandbox: Sandbox, name: str) -> str:
    kubectl = "kubectl --context do-nyc1-microservices-demo-dev --namespace shop"
    return sandbox.shell(f"{kubectl} get deployment {name} --output jsonpath={{.spec.replicas}}")


def test_wrong_password_is_told_in_words_and_keeps_no_other_application_from_being_deployed(
    sandbox: Sandbox, charts: dict[str, str]
) -> None:
    sandbox("up", "dev", "--wait", "0")
    for name in REPLICAS.keys() - {"registry"}:
        sandbox.wait_for(f"dev-{name}")
    status = ("run", "bin/platform", "status", "--stack", "dev")
    refusal = "registry in dev: the repository refuses Argo CD's user or password"
    until("the refusal is told", lambda: refusal in sandbox(*status))
    assert not sandbox.is_healthy("dev-registry")
    assert OTHER_PASSWORD not in sandbox(*status)


def test_charts_of_private_repositories_are_synced_with_values_from_git(
    sandbox: Sandbox, charts: dict[str, str]
) -> None:
    set_password(sandbox, "repositories.registry", charts["password"])
    sandbox("up", "dev", "--wait", "0")
    for name, count in REPLICAS.items():
        sandbox.wait_for(f"dev-{name}")
        assert replicas(sandbox, f"dev-{name}") == str(count)


RENDER = """\
import json
import sys
from pathlib import Path
from doks_gitops.diff import access, environment
from doks_gitops.diff.render import Renderer
from doks_gitops.diff.revisions import checked_out
folder, results = Path.cwd(), []
env = environment.read("dev", folder)
for credentials in {}, {"dev": access.read("dev", folder, env.urls)}:
    with (
        checked_out(Path(sys.argv[1]), "origin/main", "HEAD") as revisions,
        Renderer(revisions, [sys.argv[2]], credentials=credentials) as renderer,
    ):
        applications = renderer.both(None, env)[1].applications
        results.append({name: application.error or application.objects[0]["spec"]["replicas"]
                        for name, application in applications.items()})
print(json.dumps(results))
"""


def test_diff_renders_private_charts_with_the_stacks_credentials_alone(
    sandbox: Sandbox, charts: dict[str, str], tmp_path: Path
) -> None:
    sandbox("clone", str(tmp_path / "clone"))
    (tmp_path / "render.py").write_text(RENDER)
    content = yaml.safe_load((sandbox.home / "project" / "Pulumi.dev.yaml").read_text())
    url = content["config"]["doks-gitops:repositories"]["monorepo"]["url"]
    python = f"PYTHONPATH={REPOSITORY} {REPOSITORY}/.venv/bin/python {tmp_path}/render.py"
    output = sandbox.shell(f"{python} {tmp_path}/clone {url}")
    without, with_credentials = json.loads(output)
    assert with_credentials == {f"dev-{name}": count for name, count in REPLICAS.items()}
    assert without.keys() == with_credentials.keys()
    for error in without.values():
        assert "pass --credentials" in error
        assert charts["password"] not in error


def test_passwords_are_in_no_state_and_no_stack_file(
    sandbox: Sandbox, charts: dict[str, str]
) -> None:
    files = [*(sandbox.home / "state").rglob("*"), *(sandbox.home / "project").glob("Pulumi.*")]
    texts = [file.read_bytes() for file in files if file.is_file()]
    assert any(b"credentials-team" in text for text in texts)
    for password in (charts["password"], OTHER_PASSWORD):
        assert not any(password.encode() in text for text in texts)
