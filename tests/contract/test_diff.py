"""`bin/platform diff` with Argo CD's own repo-server."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from doks_gitops.cli import app
from doks_gitops.diff.environment import Declared, Environment
from doks_gitops.diff.render import Renderer, Rendering
from doks_gitops.diff.repo_server import Options
from doks_gitops.diff.revisions import Revisions, checked_out
from doks_gitops.settings import Repository
from tests.contract.diff_fixtures import DATA, URL, Commit, Files, files_in, git, stack_file

pytest_plugins = ["tests.contract.diff_fixtures"]


def diff(clone: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    words = ["diff", "--repo", str(clone), "-C", str(clone), "--json", "--base", "main", *options]
    result = CliRunner().invoke(app, words)
    return int(result.exit_code), json.loads(result.stdout)


def test_change_of_the_base_is_shown_in_each_environment_that_uses_it(
    clone: Path, commit: Commit
) -> None:
    stacks: Files = {
        f"Pulumi.{name}.yaml": stack_file(
            name,
            f"  doks-gitops:project: {{namespaces: [microservices-demo-{name}]}}\n"
            f"  doks-gitops:applications: {{demo: {{revision: main, path: kustomize/{name},"
            f" namespace: microservices-demo-{name}}}}}\n",
        )
        for name in ("dev", "staging")
    }
    commit(files_in(DATA / "microservices-demo") | stacks)
    git(clone, "switch", "--quiet", "--create", "change")
    path = "kustomize/base/paymentservice.yaml"
    text = (clone / path).read_text()
    commit({path: text.replace("cpu: 100m", "cpu: 150m")})
    code, results = diff(clone, "--stack", "dev", "--stack", "staging")
    assert code == 0
    assert [result["stack"] for result in results] == ["dev", "staging"]
    for result in results:
        [application] = result["applications"]
        [changed] = application["changes"]
        assert (changed["operation"], changed["kind"]) == ("update", "Deployment")
        lines = [line.strip("+- ") for line in changed["diff"] if line[0] in "+-"]
        assert lines == ["cpu: 100m", "cpu: 150m"]
    # Nothing is rendered for a file that no application reads.
    commit({"docs/README.md": "text"})
    git(clone, "branch", "--quiet", "--force", "main", "change~")
    _, [result] = diff(clone, "--stack", "dev")
    assert (result["rendered"], result["declared"], result["applications"]) == (0, 1, [])


def test_app_of_apps_and_its_applicationsets_are_followed_to_the_remote_base(
    clone: Path, commit: Commit
) -> None:
    stack: Files = {"Pulumi.dev.yaml": stack_file("dev", "  doks-gitops:appOfApps: {}\n")}
    commit(files_in(DATA / "autopilot-repo") | files_in(DATA / "microservices-demo") | stack)
    git(clone, "switch", "--quiet", "--create", "change")
    overlay = "argocd/dev/apps/microservices-demo/overlays/dev/kustomization.yaml"
    commit({overlay: f"{(clone / overlay).read_text()}\nnameSuffix: -new\n"})
    code, [result] = diff(clone, "--stack", "dev")
    assert code == 0
    [application] = result["applications"]
    assert application["name"] == "dev-microservices-demo"
    # The overlay refers to kustomize/dev by the URL of the repository itself.
    assert {change["operation"] for change in application["changes"]} == {"rename"}


def test_project_that_changes_is_checked_against_what_did_not(clone: Path, commit: Commit) -> None:
    application = {
        "project": "shop",
        "source": {"repoURL": URL, "targetRevision": "main", "path": "app"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
    }
    project: dict[str, Any] = {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
    }

    def bootstrap() -> str:
        declared = [("AppProject", project), ("Application", application)]
        return yaml.safe_dump_all(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": kind,
                "metadata": {"name": "shop", "namespace": "argocd"},
                "spec": spec,
            }
            for kind, spec in declared
        )

    path = "argocd/dev/bootstrap/shop.yaml"
    stack = stack_file("dev", "  doks-gitops:appOfApps: {}\n")
    config_map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"
    commit({"Pulumi.dev.yaml": stack, path: bootstrap(), "app/a.yaml": config_map})
    git(clone, "switch", "--quiet", "--create", "change")
    project["namespaceResourceBlacklist"] = [{"group": "", "kind": "ConfigMap"}]
    commit({path: bootstrap()})
    code, [result] = diff(clone, "--stack", "dev")
    assert code == 1
    [finding] = [finding for finding in result["findings"] if finding["mandatory"]]
    assert (finding["application"], finding["mandatory"]) == ("shop", True)
    assert "ConfigMap shop/a: the project shop does not allow the kind" in finding["message"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"kustomization.yaml": "resources: [missing.yaml]"}, "missing.yaml"),
        ({"kustomization.yaml": "resources: [../app]"}, "cycle"),
        ({"b.yaml": "apiVersion: v1\nkind: A\nmetadata: ["}, "yaml"),
    ],
    ids=["a missing file", "a cycle", "broken YAML"],
)
def test_application_that_can_not_be_rendered_is_told_and_fails(
    clone: Path, commit: Commit, files: dict[str, str], message: str
) -> None:
    stack = stack_file(
        "dev",
        "  doks-gitops:project: {namespaces: [shop]}\n"
        "  doks-gitops:applications: {shop: {revision: main, path: app, namespace: shop}}\n",
    )
    commit({"Pulumi.dev.yaml": stack, "app/a.yaml": "{apiVersion: v1, kind: ConfigMap}"})
    git(clone, "switch", "--quiet", "--create", "change")
    commit({f"app/{name}": text for name, text in files.items()})
    code, [result] = diff(clone, "--stack", "dev")
    assert code == 1
    assert message in result["applications"][0]["error"]


def test_other_repository_that_can_not_be_read_is_told_and_fails_only_if_its_source_changed(
    clone: Path, commit: Commit
) -> None:
    def stack(revision: str) -> Files:
        return {
            "Pulumi.dev.yaml": stack_file(
                "dev", f"  doks-gitops:appOfApps: {{repository: platform, revision: {revision}}}\n"
            ).replace(
                "repositories: {", "repositories: {platform: {url: 'https://git.test/a.git'}, "
            )
        }

    commit(stack("main"))
    git(clone, "remote", "add", "origin", URL)
    git(clone, "switch", "--quiet", "--create", "change")
    commit({"README.md": "text"})
    code, [result] = diff(clone, "--stack", "dev", "--offline")
    assert (code, result["applications"]) == (0, [])
    [note] = result["notes"]
    assert note.startswith("platform-bootstrap was not rendered")
    assert "--credentials" in note
    commit(stack("next"))
    code, [result] = diff(clone, "--stack", "dev", "--offline")
    assert code == 1
    assert "can't be read" in result["applications"][0]["error"]


def test_private_repository_is_named_and_fails_nothing_without_its_credentials(
    clone: Path, commit: Commit
) -> None:
    platform = (
        "platform: {url: 'https://git.test/a.git',"
        " credentials: {username: a, password: {secure: 'v1:abc'}}}"
    )

    def stack(revision: str) -> Files:
        text = stack_file(
            "dev", f"  doks-gitops:appOfApps: {{repository: platform, revision: {revision}}}\n"
        )
        return {"Pulumi.dev.yaml": text.replace("repositories: {", f"repositories: {{{platform}, ")}

    commit(stack("main"))
    git(clone, "remote", "add", "origin", URL)
    git(clone, "switch", "--quiet", "--create", "change")
    commit(stack("next"))
    code, [result] = diff(clone, "--stack", "dev", "--offline")
    assert code == 0
    [finding] = result["findings"]
    assert (finding["application"], finding["mandatory"]) == ("platform-bootstrap", False)
    assert finding["message"].startswith("It was not rendered")


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("https://charts.test/team", "https://charts.test/team"),
        ("registry.test/team", "oci://registry.test/team"),
    ],
)
def test_chart_that_depends_on_a_private_one_is_named_and_fails_nothing_without_its_credentials(
    clone: Path, commit: Commit, url: str, repository: str
) -> None:
    private = (
        f"charts: {{url: '{url}', type: helm,"
        " credentials: {username: a, password: {secure: 'v1:abc'}}}"
    )
    sections = """\
  doks-gitops:applications: {shop: {repository: monorepo, path: shop, namespace: shop-dev}}
  doks-gitops:project: {namespaces: [shop-dev]}
"""
    text = stack_file("dev", sections).replace("repositories: {", f"repositories: {{{private}, ")
    chart = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"
    dependency = f"{{name: library, version: 1.0.0, repository: '{repository}'}}"
    files: Files = {
        "Pulumi.dev.yaml": text,
        "shop/Chart.yaml": f"{chart}dependencies: [{dependency}]\n",
    }
    commit(files)
    git(clone, "remote", "add", "origin", URL)
    git(clone, "switch", "--quiet", "--create", "change")
    commit({"shop/values.yaml": "a: 1"})
    code, [result] = diff(clone, "--stack", "dev", "--offline")
    assert code == 0
    [finding] = result["findings"]
    assert (finding["application"], finding["mandatory"]) == ("dev-shop", False)
    assert finding["message"].startswith("It was not rendered")


@pytest.fixture
def rendering(clone: Path, commit: Commit) -> Iterator[Callable[..., Rendering]]:
    stack: list[Any] = []

    def render(source: dict[str, Any], files: Files, options: Options | None = None) -> Rendering:
        commit({"README.md": "text"})
        git(clone, "switch", "--quiet", "--create", "change")
        commit(files)
        declared = Declared("dev-app", {"source": {"repoURL": URL, **source}}, "Pulumi.dev.yaml")
        env = Environment(
            "dev",
            "dev",
            options or Options("1.34.0"),
            (Repository(url=URL),),
            {"dev-app": declared},
            {},
        )
        context = checked_out(clone, "main", "HEAD")
        revisions: Revisions = context.__enter__()
        stack.append(context)
        with Renderer(revisions, [URL], offline=True) as renderer:
            return renderer.both(None, env)[1]

    yield render
    for context in stack:
        context.__exit__(None, None, None)


def test_every_option_of_a_source_reaches_the_repo_server(
    rendering: Callable[..., Rendering],
) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:v1"}]}}},
    }
    kustomize = {
        "namePrefix": "a-", "nameSuffix": "-z", "images": ["web=shop:v2"],
        "commonLabels": {"team": "shop"}, "replicas": [{"name": "web", "count": 4}],
        "patches": [{"patch": '[{"op":"add","path":"/spec/paused","value":true}]',
                     "target": {"kind": "Deployment", "name": "web"}}],
    }  # fmt: skip
    files: Files = {
        "app/kustomization.yaml": "resources: [web.yaml]",
        "app/web.yaml": yaml.safe_dump(deployment),
    }
    rendered = rendering({"path": "app", "kustomize": kustomize}, files).applications["dev-app"]
    assert rendered.error is None
    [item] = rendered.objects
    assert item["metadata"]["name"] == "a-web-z"
    assert item["metadata"]["labels"]["team"] == "shop"
    assert (item["spec"]["replicas"], item["spec"]["paused"]) == (4, True)
    assert item["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:v2"


def test_chart_gets_its_values_and_the_version_of_the_stacks_kubernetes(
    rendering: Callable[..., Rendering],
) -> None:
    template = (
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}'}, data: {"
        "file: '{{ .Values.file }}', nested: '{{ .Values.a.b }}', set: '{{ .Values.set }}',"
        " kubernetes: '{{ .Capabilities.KubeVersion.Version }}'}}"
    )
    files: Files = {
        "chart/Chart.yaml": "{apiVersion: v2, name: web, version: 0.1.0}",
        "chart/templates/a.yaml": template,
        "values/dev.yaml": "file: dev",
    }
    helm = {
        "releaseName": "shop",
        "valueFiles": ["../values/dev.yaml"],
        "valuesObject": {"a": {"b": "c"}},
        "parameters": [{"name": "set", "value": "1", "forceString": True}],
    }
    rendered = rendering({"path": "chart", "helm": helm}, files).applications["dev-app"]
    assert rendered.error is None
    [item] = rendered.objects
    assert item["metadata"]["name"] == "shop"
    assert item["data"] == {"file": "dev", "nested": "c", "set": "1", "kubernetes": "v1.34.0"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "app", "plugin": {"name": "run"}}, "plugins are off"),
        ({"path": "app", "invented": 1}, "invented"),
        ({"repoURL": "file:///etc", "path": "."}, "folder of this machine"),
        (
            {"repoURL": "https://git.test/other.git", "path": ".", "targetRevision": "main"},
            "can't be read",
        ),
    ],
    ids=["a plugin", "an unknown field", "a folder of the machine", "the network"],
)
def test_source_that_must_not_be_read_is_refused(
    rendering: Callable[..., Rendering],
    source: dict[str, Any],
    message: str,
) -> None:
    rendered = rendering(source, {"app/a.yaml": "{}"}).applications["dev-app"]
    assert rendered.error is not None
    assert message in rendered.error


@pytest.mark.parametrize("option", ["--enable-exec", "--load-restrictor=LoadRestrictionsNone"])
def test_build_options_that_reach_out_of_the_clone_are_refused(
    rendering: Callable[..., Rendering], option: str
) -> None:
    options = Options("1.34.0", build_options=f"--enable-helm {option}")
    files = {"app/kustomization.yaml": "resources: []"}
    error = rendering({"path": "app"}, files, options).applications["dev-app"].error
    assert error is not None
    assert option in error


def test_nothing_of_the_repo_server_is_left_behind(
    rendering: Callable[..., Rendering],
) -> None:
    rendering({"path": "app"}, {"app/a.yaml": "{apiVersion: v1, kind: ConfigMap}"})
    listed = subprocess.run(["pgrep", "--full", "doks-gitops-diff-"], check=False)
    assert listed.returncode == 1
