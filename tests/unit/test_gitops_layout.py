"""The GitOps folder of an environment: what is laid out, and what is left alone."""

import json
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml

from doks_gitops import arguments
from doks_gitops.promotion import __main__ as cli
from doks_gitops.promotion.layout import App, LayoutError, Source, Wish, apps, argocd, files
from doks_gitops.settings.model import Argocd

URL = "https://git.example.com/team/demo.git"
ARGOCD = Argocd.model_validate({"chart": {"version": "1.2.3"}})
SHOP = App("shop", "kustomize/dev", "shop-dev")
WISH = Wish("dev", URL, "main", ARGOCD, [SHOP])
BOOTSTRAP = PurePosixPath("argocd/dev/bootstrap")
STACK = """\
config:
  doks-gitops:argocd: {chart: {version: 1.2.3}, admin: {password: {secure: v1:x}}}
  doks-gitops:repositories: {monorepo: {url: https://git.example.com/team/demo.git}}
  doks-gitops:applications: {shop: {path: kustomize/dev, namespace: shop-dev}}
"""


def documents(path: str, wish: Wish = WISH) -> list[dict[str, object]]:
    return list(yaml.safe_load_all(files(wish)[PurePosixPath(path)]))


def test_layout_is_that_of_argocd_autopilot() -> None:
    assert {str(path) for path in files(WISH)} >= {
        "argocd/dev/apps/shop/base/kustomization.yaml",
        "argocd/dev/apps/shop/overlays/dev/config.json",
        "argocd/dev/apps/shop/overlays/dev/kustomization.yaml",
        "argocd/dev/bootstrap/argo-cd.yaml",
        "argocd/dev/bootstrap/cluster-resources.yaml",
        "argocd/dev/bootstrap/cluster-resources/in-cluster.json",
        "argocd/dev/bootstrap/root.yaml",
        "argocd/dev/projects/dev.yaml",
    }


def test_every_file_can_be_read_as_what_it_is() -> None:
    for path, text in files(WISH).items():
        if path.suffix == ".yaml":
            assert path.name == "values.yaml" or all(
                each["kind"] for each in yaml.safe_load_all(text)
            )
        elif path.suffix == ".json":
            json.loads(text)


def test_bootstrap_holds_nothing_that_its_project_forbids() -> None:
    """`platform` allows three kinds, in Argo CD's namespace."""
    for path in files(WISH):
        if path.parent == BOOTSTRAP and path.suffix == ".yaml":
            for each in documents(str(path)):
                assert each["kind"] in ("AppProject", "Application", "ApplicationSet")
                metadata = each["metadata"]
                assert isinstance(metadata, dict)
                assert metadata["namespace"] == "argocd"


def test_root_is_in_the_project_that_the_stack_makes() -> None:
    [root] = documents("argocd/dev/bootstrap/root.yaml")
    spec = root["spec"]
    assert isinstance(spec, dict)
    assert spec["project"] == arguments.PLATFORM


def test_no_project_allows_everything() -> None:
    for text in files(WISH).values():
        for each in yaml.safe_load_all(text) if "kind: AppProject" in text else ():
            if each["kind"] == "AppProject":
                assert "*" not in json.dumps(each["spec"])


def test_project_allows_the_applications_namespaces() -> None:
    other = App("blog", "kustomize/blog", "blog-dev")
    wish = Wish("dev", URL, "main", ARGOCD, [SHOP, other, App("b2", "x", "blog-dev")])
    project = documents("argocd/dev/projects/dev.yaml", wish)[0]["spec"]
    assert isinstance(project, dict)
    assert [each["namespace"] for each in project["destinations"]] == ["blog-dev", "shop-dev"]
    empty = documents("argocd/dev/projects/dev.yaml", Wish("dev", URL, "main", ARGOCD, []))
    assert isinstance(empty[0]["spec"], dict)
    assert empty[0]["spec"]["destinations"] == []


def test_base_is_the_monorepo_s_folder_or_the_other_repository_s() -> None:
    path = "argocd/dev/apps/shop/base/kustomization.yaml"
    assert documents(path)[0]["resources"] == ["../../../../../kustomize/dev"]
    split = Wish("dev", URL, "main", ARGOCD, [SHOP], Source("https://git.example.com/a.git", "v1"))
    assert documents(path, split)[0]["resources"] == [
        "https://git.example.com/a.git//kustomize/dev?ref=v1"
    ]


def test_argo_cd_s_values_in_git_have_no_secret() -> None:
    given = argocd(
        {
            "chart": {"version": "1.2.3"},
            "values": {"server": {"replicas": 3}},
            "admin": {"password": {"secure": "v1:x"}, "passwordSetAt": "2026-01-31T12:00:00Z"},
            "webhookSecret": {"secure": "v1:x"},
        }
    )
    text = files(Wish("dev", URL, "main", given, []))[BOOTSTRAP / "argo-cd" / "values.yaml"]
    values = yaml.safe_load(text)
    assert values["configs"]["secret"] == {"createSecret": False}
    assert values["server"]["replicas"] == 3


def test_chart_that_argo_cd_can_t_read_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"path \./chart on this machine"):
        argocd({"chart": {"path": "./chart"}})


def test_application_that_is_no_overlay_is_refused() -> None:
    with pytest.raises(LayoutError, match="shop is no Kustomize overlay"):
        apps({"shop": {"path": "chart", "namespace": "shop", "helm": {"releaseName": "shop"}}})


def test_template_of_the_team_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "clusters" / "ENV").mkdir(parents=True)
    (tmp_path / "clusters" / "ENV" / "APP.yaml").write_text("app: ${app} # costs $$5\n")
    assert files(WISH, tmp_path) == {
        PurePosixPath("clusters/dev/shop.yaml"): "app: shop # costs $5\n"
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [("${app}", r"asks for 'app'; there are .*environment"), ("$5", r"written as \$\$")],
)
def test_template_that_can_t_be_filled_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(LayoutError, match=rf"README\.md.*{said}"):
        files(WISH, tmp_path)


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


def lay_out(clone: Path, *words: str) -> int:
    return cli.main(
        ["layout", "dev", "--repo", str(clone), "--stacks", str(clone.parent), "--url", URL, *words]
    )


def test_layout_is_one_commit_in_an_empty_repository(clone: Path) -> None:
    assert lay_out(clone) == 0
    assert git(clone, "log", "--format=%s", "origin/main").splitlines() == [
        "Lay out the GitOps folder of dev"
    ]
    shown = git(clone, "show", "origin/main:argocd/dev/bootstrap/root.yaml")
    assert shown == files(WISH)[BOOTSTRAP / "root.yaml"]


def test_pull_request_in_an_empty_repository_is_refused(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lay_out(clone, "--pull-request") == 1
    assert "no commit yet" in capsys.readouterr().err
    assert not (clone / "argocd").exists()


def test_what_people_changed_is_never_overwritten(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(clone)
    root = clone / BOOTSTRAP / "root.yaml"
    root.write_text("mine\n")
    git(clone, "rm", "--quiet", "argocd/dev/projects/dev.yaml")
    git(clone, "commit", "--quiet", "--all", "-m", "mine")
    assert lay_out(clone) == 0
    assert root.read_text() == "mine\n"
    assert git(clone, "show", "--format=", "--name-only", "HEAD").split() == [
        "argocd/dev/projects/dev.yaml"
    ]
    capsys.readouterr()
    assert lay_out(clone) == 0
    assert capsys.readouterr().out == "dev is laid out already.\n"


def test_dry_run_and_dirty_tree_change_nothing(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lay_out(clone, "--dry-run") == 0
    assert "+ argocd/dev/bootstrap/root.yaml" in capsys.readouterr().out
    assert not (clone / "argocd").exists()
    (clone / "mine").write_text("")
    assert lay_out(clone) == 1
    assert "not committed" in capsys.readouterr().err


def test_repository_that_the_stack_does_not_know_is_noted(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(clone, "--dry-run", "--url", "https://git.example.com/team/demo")
    assert "only once the stack file has it" in capsys.readouterr().err
    lay_out(clone, "--dry-run")
    assert capsys.readouterr().err == ""


def test_missing_stack_file_is_named(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["layout", "prod", "--repo", str(clone), "--stacks", str(clone.parent)]
    assert cli.main(words) == 1
    assert "Pulumi.prod.yaml: No such file" in capsys.readouterr().err


def test_repository_is_cloned_from_its_url(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@localhost")
    origin = clone.parent / "origin.git"
    words = ["layout", "dev", "--repo", origin.as_uri(), "--stacks", str(clone.parent)]
    assert cli.main(words) == 0
    assert origin.as_uri() in git(origin, "show", "main:argocd/dev/bootstrap/root.yaml")
