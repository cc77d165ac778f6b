"""The tools that were downloaded or built have the pinned versions."""

import pytest

from sandbox.toolchain import machine
from sandbox.toolchain.recipes import ARGOCD, KWOK, RECIPES, VERIFY_WRAPPER, Binary, Recipe
from tests.contract.built_tools import artifacts, files


@pytest.mark.parametrize(
    ("recipe", "binary"),
    [(recipe, binary) for recipe in RECIPES for binary in recipe.binaries],
    ids=lambda value: value.name,
)
def test_a_prepared_tool_reports_its_pinned_version(recipe: Recipe, binary: Binary) -> None:
    programs = artifacts(recipe).programs()
    if not programs:
        pytest.skip(f"{binary.name} is not here; python -m sandbox.toolchain prepares it")
    assert machine.version_of(programs / binary.name, binary.question) == recipe.version


def test_modules_of_argo_cd_and_kwok_contain_the_files_that_the_sandbox_uses() -> None:
    argocd, kwok = files(ARGOCD), files(KWOK)
    for file in ("manifests/install.yaml", "manifests/crds/application-crd.yaml", VERIFY_WRAPPER):
        assert (argocd / file).is_file()
    stages = {path.parent.relative_to(kwok) for path in kwok.rglob("*.yaml")}
    assert {str(stage) for stage in stages} == {
        "kustomize/stage/node/fast",
        "kustomize/stage/node/heartbeat-with-lease",
        "kustomize/stage/pod/fast",
    }
