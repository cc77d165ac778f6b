"""Only what a change can affect is rendered."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from doks_gitops.diff.sources import Tree

BASE = "https://git.test/team/monorepo"


@pytest.fixture
def affected(tmp_path: Path) -> Callable[..., bool]:
    def is_affected(changed: str, path: str = "apps/dev", **source: Any) -> bool:
        tree = Tree(tmp_path, frozenset({PurePosixPath(changed)}), lambda text: BASE in text)
        return tree.is_affected({"path": path, **source})

    return is_affected


def kustomization(tmp_path: Path, folder: str, text: str) -> None:
    path = tmp_path / folder / "kustomization.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_file_in_the_folder_affects_it(affected: Callable[..., bool]) -> None:
    assert affected("apps/dev/web.yaml")
    assert not affected("apps/prod/web.yaml")
    assert not affected("apps/develop/web.yaml")


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("resources: [../base]", "apps/base/web.yaml"),
        ("resources: [../base]", "common/labels.yaml"),
        ("components: [../../components/monitoring]", "components/monitoring/a.yaml"),
        ("configMapGenerator: [{name: a, files: [a=../shared/a.txt]}]", "apps/shared/a.txt"),
        ("configMapGenerator: [{name: a, envs: [../shared/a.env]}]", "apps/shared/a.env"),
        ("patches: [{path: ../patches/a.yaml}]", "apps/patches/a.yaml"),
        ("replacements: [{path: ../replacements/a.yaml}]", "apps/replacements/a.yaml"),
        ("helmGlobals: {chartHome: ../../charts}\nhelmCharts: [{name: a}]", "charts/a/b.yaml"),
    ],
)
def test_what_a_kustomization_refers_to_affects_it(
    tmp_path: Path, affected: Callable[..., bool], text: str, changed: str
) -> None:
    kustomization(tmp_path, "apps/base", "resources: [../../common/labels.yaml]")
    kustomization(tmp_path, "components/monitoring", "kind: Component")
    kustomization(tmp_path, "charts/a", "resources: []")
    kustomization(tmp_path, "apps/dev", text)
    assert affected(changed)
    assert not affected("docs/README.md")


def test_value_files_and_local_charts_affect_a_chart(
    tmp_path: Path, affected: Callable[..., bool]
) -> None:
    (tmp_path / "charts/web").mkdir(parents=True)
    (tmp_path / "charts/web/Chart.yaml").write_text(
        "dependencies: [{name: lib, repository: 'file://../lib'}]"
    )
    (tmp_path / "charts/lib").mkdir()
    (tmp_path / "charts/lib/Chart.yaml").write_text("name: lib")
    source = {"path": "charts/web", "helm": {"valueFiles": ["../../values/dev.yaml", "/all.yaml"]}}
    assert affected("values/dev.yaml", **source)
    assert affected("all.yaml", **source)
    assert affected("charts/lib/templates/a.yaml", **source)
    assert not affected("values/prod.yaml", **source)


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "a: [", "resources: ['https://git.test/team/monorepo//apps/base?ref=main']"],
    ids=["a list", "broken", "a remote base in the same repository"],
)
def test_what_can_not_be_told_counts_as_affected(
    tmp_path: Path, affected: Callable[..., bool], text: str
) -> None:
    kustomization(tmp_path, "apps/dev", text)
    assert affected("docs/README.md")


@pytest.mark.parametrize(
    "name",
    ["../values/$ARGOCD_APP_NAME.yaml", "$ARGOCD_APP_NAME/a.yaml", "${ARGOCD_APP_NAME}.yaml",
     "../values/*.yaml", "../values/dev?.yaml", "../values/[ab].yaml"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["valueFiles", "fileParameters"])
def test_value_file_with_a_variable_or_a_pattern_counts_as_affected(
    affected: Callable[..., bool], name: str, key: str
) -> None:
    names: list[Any] = [name] if key == "valueFiles" else [{"name": "a", "path": name}]
    assert affected("values/dev.yaml", "charts/web", helm={key: names})
    assert not affected("values/dev.yaml", "charts/web", helm={"valueFiles": ["$values/a*.yaml"]})
    outside = {"valueFiles": ["https://git.test/a.yaml?ref=$a"]}
    assert not affected("values/dev.yaml", "charts/web", helm=outside)


@pytest.mark.parametrize("name", [".argocd-source.yaml", ".argocd-source-dev-web.yaml"])
def test_source_that_a_file_of_argo_cd_changes_counts_as_affected(
    tmp_path: Path, affected: Callable[..., bool], name: str
) -> None:
    (tmp_path / "apps/dev").mkdir(parents=True)
    (tmp_path / "apps/dev" / name).write_text("helm: {valueFiles: [../../values.yaml]}")
    assert affected("values.yaml")


def test_link_in_the_folder_counts_as_affected(
    tmp_path: Path, affected: Callable[..., bool]
) -> None:
    (tmp_path / "apps/dev").mkdir(parents=True)
    (tmp_path / "apps/dev/link.yaml").symlink_to("../../other.yaml")
    assert affected("docs/README.md")


def test_aliases_that_contain_each_other_end(tmp_path: Path, affected: Callable[..., bool]) -> None:
    levels = ["a0: &a0 [x, x]"] + [
        f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, 40)
    ]
    kustomization(tmp_path, "apps/dev", "\n".join([*levels, "resources: *a39"]))
    assert affected("docs/README.md")


def test_source_for_other_sources_is_affected_by_every_file(affected: Callable[..., bool]) -> None:
    assert affected("envs/prod.yaml", path="charts/x", ref="values")


def test_jsonnet_may_import_from_anywhere(tmp_path: Path, affected: Callable[..., bool]) -> None:
    (tmp_path / "apps/dev").mkdir(parents=True)
    (tmp_path / "apps/dev/a.jsonnet").write_text("import '../lib/a.libsonnet'")
    assert affected("lib/a.libsonnet")


def test_folder_with_argo_cd_s_objects_may_declare_applications(tmp_path: Path) -> None:
    def may_declare() -> bool:
        return Tree(tmp_path, frozenset(), lambda _: False).may_declare({"path": "apps/dev"})

    kustomization(tmp_path, "apps/dev", "resources: [../base]")
    kustomization(tmp_path, "apps/base", "resources: [app.yaml]")
    assert not may_declare()
    (tmp_path / "apps/base/app.yaml").write_text("apiVersion: argoproj.io/v1alpha1")
    assert may_declare()


def test_folder_that_many_applications_share_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def read_bytes(path: Path) -> bytes:
        reads.append(path.name)
        return path.read_text().encode()

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps/web.yaml").write_text("kind: ConfigMap")
    tree = Tree(tmp_path, frozenset(), lambda _: False)
    for name in ("a", "b"):
        assert not tree.may_declare({"path": "apps", "kustomize": {"namePrefix": name}})
    assert reads == ["web.yaml"]
