"""The tools that were built are the ones that are pinned."""

import pytest

from sandbox import paths
from sandbox.toolchain import build, machine
from sandbox.toolchain.recipes import ARGOCD, KWOK, RECIPES, VERIFY_WRAPPER, Binary, Recipe
from sandbox.toolchain.store import Store


def kept(recipe: Recipe) -> build.Artifacts:
    return build.Artifacts.of(recipe, Store(paths.cache_dir() / "tools"))


@pytest.mark.parametrize(
    ("recipe", "binary"),
    [(recipe, binary) for recipe in RECIPES for binary in recipe.binaries],
    ids=lambda value: value.name,
)
def test_a_built_tool_reports_its_pinned_version(recipe: Recipe, binary: Binary) -> None:
    path = kept(recipe).binary(binary.name)
    if not path.is_file():
        pytest.skip(f"{binary.name} is not built here; python -m sandbox.toolchain builds it")
    assert machine.version_of(path, binary.question) == recipe.version


def test_argo_cd_and_kwok_bring_the_files_that_the_sandbox_takes_from_them() -> None:
    argocd, kwok = kept(ARGOCD), kept(KWOK)
    if not (argocd.has_files and kwok.has_files):
        pytest.skip("the files are not here; python -m sandbox.toolchain brings them")
    for file in ("manifests/install.yaml", "manifests/crds/application-crd.yaml", VERIFY_WRAPPER):
        assert (argocd.files / file).is_file()
    stages = {path.parent.relative_to(kwok.files) for path in kwok.files.rglob("*.yaml")}
    assert {str(stage) for stage in stages} == {
        "kustomize/stage/node/fast",
        "kustomize/stage/node/heartbeat-with-lease",
        "kustomize/stage/pod/fast",
    }
