"""The GitOps folder of an environment: what is laid out, and what is left alone."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from unittest.mock import ANY

import pytest
import yaml

from doks_gitops import arguments
from doks_gitops.policy.rules import PROJECT, Resource, project_stays_out_of_the_platform
from doks_gitops.promotion.layout import App, EnvironmentLayout, LayoutError, Source, files
from doks_gitops.promotion.scaffold import read_apps, read_argocd
from doks_gitops.settings.model import Argocd

BinPlatform = Callable[..., tuple[int, str, str]]
URL = "https://git.example.com/team/demo.git"
ARGOCD = Argocd.model_validate({"chart": {"version": "1.2.3"}})
SHOP = App("shop", "kustomize/dev", "shop-dev")
LAYOUT = EnvironmentLayout("dev", URL, "main", ARGOCD, [SHOP])
BOOTSTRAP = PurePosixPath("argocd/dev/bootstrap")
CONFIG = {
    "userGivenName": "shop",
    "srcRepoURL": URL,
    "srcTargetRevision": "main",
    "srcPath": "kustomize/dev",
    "destServer": "https://kubernetes.default.svc",
    "destNamespace": "shop-dev",
}
STACK = """\
config:
  doks-gitops:argocd: {chart: {version: 1.2.3}, admin: {password: {secure: v1:x}}}
  doks-gitops:repositories: {monorepo: {url: https://git.example.com/team/demo.git}}
  doks-gitops:applications: {shop: {path: kustomize/dev, namespace: shop-dev}}
"""


def documents(path: str, layout: EnvironmentLayout = LAYOUT) -> list[dict[str, object]]:
    return list(yaml.safe_load_all(files(layout)[PurePosixPath(path)]))


def test_layout_is_that_of_argocd_autopilot() -> None:
    assert {str(path) for path in files(LAYOUT)} >= {
        "argocd/dev/apps/shop/base/kustomization.yaml",
        "argocd/dev/apps/shop/overlays/dev/config.json",
        "argocd/dev/apps/shop/overlays/dev/kustomization.yaml",
        "argocd/dev/bootstrap/argo-cd.yaml",
        "argocd/dev/bootstrap/cluster-resources.yaml",
        "argocd/dev/bootstrap/cluster-resources/in-cluster.json",
        "argocd/dev/bootstrap/root.yaml",
        "argocd/dev/projects/dev.yaml",
    }


def test_every_file_is_valid_yaml_or_json() -> None:
    for path, text in files(LAYOUT).items():
        if path.suffix == ".yaml":
            assert path.name == "values.yaml" or all(
                document["kind"] for document in yaml.safe_load_all(text)
            )
        elif path.suffix == ".json":
            json.loads(text)


def test_bootstrap_holds_nothing_that_its_project_forbids() -> None:
    """`platform` allows three kinds, in Argo CD's namespace."""
    for path in files(LAYOUT):
        if path.parent == BOOTSTRAP and path.suffix == ".yaml":
            for document in documents(str(path)):
                assert document["kind"] in ("AppProject", "Application", "ApplicationSet")
                metadata = document["metadata"]
                assert isinstance(metadata, dict)
                assert metadata["namespace"] == "argocd"


def test_root_is_in_the_project_that_the_stack_makes() -> None:
    [root] = documents("argocd/dev/bootstrap/root.yaml")
    spec = root["spec"]
    assert isinstance(spec, dict)
    assert spec["project"] == arguments.PLATFORM


def test_no_project_allows_everything() -> None:
    for text in files(LAYOUT).values():
        for document in yaml.safe_load_all(text) if "kind: AppProject" in text else ():
            if document["kind"] == "AppProject":
                assert "*" not in json.dumps(document["spec"])


def test_project_allows_the_applications_namespaces() -> None:
    other = App("blog", "kustomize/blog", "blog-dev")
    layout = replace(LAYOUT, apps=[SHOP, other, App("b2", "x", "blog-dev")])
    project = documents("argocd/dev/projects/dev.yaml", layout)[0]["spec"]
    assert isinstance(project, dict)
    assert [entry["namespace"] for entry in project["destinations"]] == ["blog-dev", "shop-dev"]
    assert project["clusterResourceWhitelist"] == [
        {"group": "", "kind": "Namespace", "name": name} for name in ("blog-dev", "shop-dev")
    ]
    empty = documents("argocd/dev/projects/dev.yaml", replace(LAYOUT, apps=[]))
    assert isinstance(empty[0]["spec"], dict)
    assert empty[0]["spec"]["destinations"] == []
    assert empty[0]["spec"]["clusterResourceWhitelist"] == []


def test_only_the_platform_makes_projects_and_applications() -> None:
    project = documents("argocd/dev/projects/dev.yaml")[0]["spec"]
    assert isinstance(project, dict)
    assert {entry["kind"] for entry in project["namespaceResourceBlacklist"]} == {
        "AppProject", "Application", "ApplicationSet",
    }  # fmt: skip


def test_no_project_may_delete_the_namespaces_of_the_platform() -> None:
    for path, text in files(LAYOUT).items():
        for document in yaml.safe_load_all(text) if "kind: AppProject" in text else ():
            if document["kind"] == "AppProject":
                resource = Resource("urn:pulumi:dev::p::t::n", PROJECT, document)
                violations = project_stays_out_of_the_platform(resource)
                assert not [text for text in violations if "may delete" in text], path


def test_base_is_the_monorepo_s_folder_or_the_other_repository_s() -> None:
    path = "argocd/dev/apps/shop/base/kustomization.yaml"
    assert documents(path)[0]["resources"] == ["../../../../../kustomize/dev"]
    split = replace(LAYOUT, source=Source("https://git.example.com/a.git", "v1"))
    assert documents(path, split)[0]["resources"] == [
        "https://git.example.com/a.git//kustomize/dev?ref=v1"
    ]


def test_argo_cd_s_values_in_git_have_no_secret() -> None:
    argocd = read_argocd(
        {
            "chart": {"version": "1.2.3"},
            "values": {"server": {"replicas": 3}},
            "admin": {"password": {"secure": "v1:x"}, "passwordSetAt": "2026-01-31T12:00:00Z"},
            "webhookSecret": {"secure": "v1:x"},
        }
    )
    text = files(replace(LAYOUT, argocd=argocd))[BOOTSTRAP / "argo-cd" / "values.yaml"]
    values = yaml.safe_load(text)
    assert values["configs"]["secret"] == {"createSecret": False}
    assert values["server"]["replicas"] == 3


def test_value_that_is_encrypted_in_the_stack_file_is_never_written_into_git() -> None:
    values = {"configs": {"secret": {"extra": {"token": {"secure": "v1:x"}}}}}
    with pytest.raises(
        LayoutError, match=r":argocd\.values\.configs\.secret\.extra\.token is encrypted"
    ):
        read_argocd({"chart": {"version": "1.2.3"}, "values": values})


def test_chart_that_argo_cd_can_t_read_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"path \./chart on this machine"):
        read_argocd({"chart": {"path": "./chart"}})


def test_application_that_is_no_overlay_is_refused() -> None:
    with pytest.raises(LayoutError, match="shop is not a Kustomize overlay"):
        read_apps({"shop": {"path": "chart", "namespace": "shop", "helm": {"releaseName": "shop"}}})


def test_template_of_the_team_takes_the_place_of_the_default(tmp_path: Path) -> None:
    (tmp_path / "clusters" / "ENV").mkdir(parents=True)
    (tmp_path / "clusters" / "ENV" / "APP.yaml").write_text("app: ${app} # costs $$5\n")
    assert files(LAYOUT, tmp_path) == {
        PurePosixPath("clusters/dev/shop.yaml"): "app: shop # costs $5\n"
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [("${app}", r"the placeholder 'app'.*\n.*environment"), ("$5", r"\n.*dollar sign as \$\$")],
)
def test_error_in_a_template_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(LayoutError, match=rf"README\.md.*{message}"):
        files(LAYOUT, tmp_path)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of an empty repository, beside the stack file of dev."""
    origin, folder = tmp_path / "origin.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "-b", "main", str(origin))
    git(tmp_path, "clone", "--quiet", str(origin), str(folder))
    git(folder, "config", "user.name", "t")
    git(folder, "config", "user.email", "t@localhost")
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK)
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], check=True, text=True, capture_output=True
    ).stdout


@pytest.fixture
def lay_out(clone: Path, bin_platform: BinPlatform) -> BinPlatform:
    """Runs `bin/platform layout` in the clone for dev, with further words."""
    place = ("--repo", str(clone), "-C", str(clone.parent))

    def run(*words: str) -> tuple[int, str, str]:
        url = () if "--check" in words or "--limits" in words else ("--url", URL)
        return bin_platform("layout", "--stack", "dev", *place, *url, *words)

    return run


def test_layout_is_one_commit_in_an_empty_repository(clone: Path, lay_out: BinPlatform) -> None:
    assert lay_out()[0] == 0
    assert git(clone, "log", "--format=%s", "origin/main").splitlines() == [
        "Lay out the GitOps folder of dev"
    ]
    shown = git(clone, "show", "origin/main:argocd/dev/bootstrap/root.yaml")
    assert shown == files(LAYOUT)[BOOTSTRAP / "root.yaml"]


def test_pull_request_in_an_empty_repository_is_refused(clone: Path, lay_out: BinPlatform) -> None:
    code, _, error = lay_out("--pull-request")
    assert code == 1
    assert "no commit yet" in error
    assert not (clone / "argocd").exists()


def test_what_people_changed_is_never_overwritten(clone: Path, lay_out: BinPlatform) -> None:
    lay_out()
    root = clone / BOOTSTRAP / "root.yaml"
    root.write_text("mine\n")
    git(clone, "rm", "--quiet", "argocd/dev/projects/dev.yaml")
    git(clone, "commit", "--quiet", "--all", "-m", "mine")
    assert lay_out()[0] == 0
    assert root.read_text() == "mine\n"
    assert git(clone, "show", "--format=", "--name-only", "HEAD").split() == [
        "argocd/dev/projects/dev.yaml"
    ]
    assert lay_out()[:2] == (0, "dev is laid out already.\n")


def test_dry_run_and_dirty_tree_change_nothing(clone: Path, lay_out: BinPlatform) -> None:
    code, shown, _ = lay_out("--dry-run")
    assert code == 0
    assert "+ argocd/dev/bootstrap/root.yaml" in shown
    assert not (clone / "argocd").exists()
    (clone / "mine").write_text("")
    code, _, error = lay_out()
    assert code == 1
    assert "not committed" in error


def test_repository_that_the_stack_does_not_know_is_noted(lay_out: BinPlatform) -> None:
    _, _, note = lay_out("--dry-run", "--url", "https://git.example.com/team/demo")
    assert "only after the stack file has exactly this URL" in note
    assert lay_out("--dry-run", "--owners", "@team/platform")[2] == ""


def test_platform_folders_get_owners_whom_github_asks(clone: Path, lay_out: BinPlatform) -> None:
    assert lay_out("--owners", "nobody")[0] == 1
    assert "--owners @ORGANIZATION/TEAM" in lay_out("--dry-run")[2]
    assert lay_out("--owners", "@team/platform") == (0, ANY, "")
    owners = clone / ".github" / "CODEOWNERS"
    assert [line.split() for line in owners.read_text().splitlines()[1:]] == [
        [folder, "@team/platform"]
        for folder in ("/.github/", "/argocd/*/bootstrap/", "/argocd/*/projects/")
    ]
    # An existing file stays as it is; what it lacks is told.
    owners.write_text("* @team/shop\n/argocd/*/projects/ # nobody\n/.github/ @team/platform\n")
    git(clone, "commit", "--quiet", "--all", "-m", "other owners")
    git(clone, "push", "--quiet", "origin", "HEAD:main")
    code, _, note = lay_out("--owners", "@team/admins")
    assert code == 0
    assert note.splitlines()[1:] == [
        "/argocd/*/bootstrap/ @team/admins",
        "/argocd/*/projects/ @team/admins",
    ]
    assert "@team/shop" in owners.read_text()


def test_what_is_laid_out_is_in_order(clone: Path, lay_out: BinPlatform) -> None:
    lay_out("--owners", "@team/platform")
    assert lay_out("--check") == (0, "The GitOps folder of dev is in order.\n", "")
    assert git(clone, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("apps/blog/overlays/dev/config.json", "{", "is not JSON"),
        ("apps/blog/overlays/dev/config.json", "[]", "is not a JSON object"),
        ("apps/blog/overlays/dev/config.json", '{"userGivenName": 1}', "lacks userGivenName"),
        ("apps/store/overlays/dev/config.json", json.dumps(CONFIG), "the name shop of"),
        ("apps/blog/overlays/dev/config.json", "[" * 100_000, "is not JSON"),
        ("projects/blog.yaml", "a: [", "is not YAML"),
        ("projects/blog.yaml", "a: 2026-99-99", "is not YAML"),
        ("projects/blog.yaml", "[" * 5_000, "is not YAML"),
        (
            "projects/blog.yaml",
            "{kind: AppProject, spec: {destinations: [{namespace: argocd}]}}",
            "project-stays-out-of-the-platform: Its applications may deploy to argocd",
        ),
        (
            "projects/blog.yaml",
            "{kind: AppProject, spec: {clusterResourceWhitelist: "
            "[{group: rbac.authorization.k8s.io, kind: ClusterRoleBinding}]}}",
            "project-makes-no-cluster-roles: ",
        ),
        (
            "projects/blog.yaml",
            "{kind: AppProject, spec: {destinations: text}}",
            "project-stays-out-of-the-platform: It could not be checked",
        ),
    ],
)
def test_what_is_wrong_in_git_is_told(
    clone: Path, lay_out: BinPlatform, file: str, text: str, problem: str
) -> None:
    lay_out("--owners", "@team/platform")
    path = clone / "argocd" / "dev" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    code, output, _ = lay_out("--check")
    assert code == 1
    [line] = output.splitlines()
    assert line.startswith(f"argocd/dev/{file} " if ":" not in problem else f"argocd/dev/{file}: ")
    assert problem in line


@pytest.mark.parametrize(
    "section",
    [
        "argocd: text",
        "argocd: {chart: {version: 1.2.3}, admin: [1]}",
        "repositories: [1]",
        "repositories: {monorepo: text}",
        "applications: [shop]",
        "applications: {shop: text}",
        "applications: {shop: {}}",
        "applications: {1: {}}",
        "appOfApps: text",
    ],
)
def test_section_of_a_wrong_type_is_an_error_that_names_it(
    clone: Path, lay_out: BinPlatform, section: str
) -> None:
    name = section.partition(":")[0]
    sections = "".join(
        line + "\n" for line in STACK.splitlines() if f"doks-gitops:{name}:" not in line
    )
    (clone.parent / "Pulumi.dev.yaml").write_text(f"{sections}  doks-gitops:{section}\n")
    code, _, error = lay_out("--check" if name == "appOfApps" else "--dry-run")
    assert code == 1
    assert error.startswith(f"error: {name}")


@pytest.mark.parametrize(
    ("words", "ignored"),
    [
        ("--check --limits", "--limits"),
        ("--check --pull-request", "--pull-request"),
        ("--check --app a b c", "--app"),
        ("--limits --owners @team/ops --revision main", "--revision and --owners"),
        (
            "--limits --url https://git.test/a.git --template x --source u r",
            "--url and --source and --template",
        ),
    ],
)
def test_option_that_would_have_no_effect_is_refused(
    clone: Path, lay_out: BinPlatform, words: str, ignored: str
) -> None:
    code, _, error = lay_out(*words.split())
    assert (code, f"{ignored} would have no effect" in error) == (1, True), error
    assert git(clone, "status", "--porcelain", "--branch").startswith("## No commits yet")


def test_missing_stack_file_is_named(clone: Path, bin_platform: BinPlatform) -> None:
    words = ("layout", "--stack", "prod", "--repo", str(clone), "-C", str(clone.parent))
    code, _, error = bin_platform(*words)
    assert code == 1
    assert "Pulumi.prod.yaml: No such file" in error


def test_repository_is_cloned_from_its_url(
    clone: Path, bin_platform: BinPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@localhost")
    origin = clone.parent / "origin.git"
    words = ("layout", "--stack", "dev", "--repo", origin.as_uri(), "-C", str(clone.parent))
    assert bin_platform(*words)[0] == 0
    assert origin.as_uri() in git(origin, "show", "main:argocd/dev/bootstrap/root.yaml")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ("--app", "../x", "kustomize/dev", "shop"),
            "--app ../x kustomize/dev shop has a wrong name",
        ),
        (("--app", "x", "../../etc", "shop"), "has a wrong path"),
        (("--app", "x", "kustomize/dev", "a\nb: c"), "has a wrong namespace"),
        (("--source", "https://u:secret@git.example.com/a", "v1"), "--source has a wrong url"),
    ],
)
def test_wrong_application_is_refused(
    clone: Path, words: tuple[str, ...], error: str, lay_out: BinPlatform
) -> None:
    code, _, shown = lay_out(*words)
    assert code == 1
    assert error in shown
    assert "secret" not in shown
    assert git(clone, "status", "--porcelain") == ""
    assert not (clone.parent / "x").exists()


def test_link_in_the_repository_is_not_followed_outside_of_it(
    clone: Path, lay_out: BinPlatform
) -> None:
    outside = clone.parent / "outside"
    outside.mkdir()
    (clone / "argocd").symlink_to(outside)
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", "a link")
    git(clone, "push", "--quiet", "origin", "HEAD:main")
    code, _, error = lay_out()
    assert code == 1
    assert "leads outside the clone" in error
    assert list(outside.iterdir()) == []


def test_template_never_writes_into_the_folder_of_git(clone: Path, lay_out: BinPlatform) -> None:
    template = clone.parent / "template"
    (template / ".git" / "hooks").mkdir(parents=True)
    (template / ".git" / "hooks" / "post-checkout").write_text("")
    code, _, error = lay_out("--template", str(template))
    assert code == 1
    assert "inside Git's own folder" in error
    assert not (clone / ".git" / "hooks" / "post-checkout").exists()


def test_link_in_a_template_never_publishes_a_file_outside_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    template = tmp_path / "template"
    template.mkdir()
    (template / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(LayoutError, match=r"README\.md is a link that leads outside"):
        files(LAYOUT, template)


@pytest.mark.parametrize("begun", [False, True])
def test_files_of_a_commit_that_fails_are_removed_again(
    clone: Path,
    begun: bool,
    lay_out: BinPlatform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "team/demo")
    monkeypatch.setenv("GITHUB_TOKEN", "token")
    if begun:
        (clone / "argocd" / "dev").mkdir(parents=True)
        (clone / "argocd" / "dev" / "README.md").write_text("existing\n")
        git(clone, "add", ".")
        git(clone, "commit", "--quiet", "-m", "begun")
        git(clone, "push", "--quiet", "origin", "HEAD:main")
    hook = clone / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    for words in ([], ["--pull-request"] if begun else []):
        code, _, error = lay_out(*words)
        assert code == 1
        assert "failed in" in error
        assert git(clone, "status", "--porcelain") == ""
        files_left = [str(path.relative_to(clone)) for path in (clone / "argocd").rglob("*.*")]
        assert files_left == (["argocd/dev/README.md"] if begun else [])
    hook.unlink()
    assert lay_out()[0] == 0


def test_environment_that_has_no_defaults_is_refused(
    clone: Path, bin_platform: BinPlatform
) -> None:
    (clone.parent / "Pulumi.qa.yaml").write_text(STACK)
    words = ("layout", "--stack", "qa", "--repo", str(clone), "-C", str(clone.parent))
    code, _, error = bin_platform(*words)
    assert code == 1
    assert "pulumi config set doks-gitops:environment" in error
