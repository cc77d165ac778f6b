"""The example monorepo, rendered by Kustomize as Argo CD does it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLE = Path(__file__).resolve().parents[2] / "sandbox" / "example" / "kustomize"
SERVICES = {"storefront", "catalog", "cart", "checkout"}


def render(environment: str) -> list[dict[str, Any]]:
    if kustomize := shutil.which("kustomize"):
        command = [kustomize, "build"]
    elif kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize"]
    else:
        pytest.skip("neither kustomize nor kubectl is on PATH")
    result = subprocess.run(
        [*command, EXAMPLE / environment], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    # Kustomize prints warnings about deprecated fields on standard error.
    assert result.stderr == ""
    return list(yaml.safe_load_all(result.stdout))


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_an_overlay_has_only_its_namespace_and_objects_in_it(environment: str) -> None:
    namespace = f"microservices-demo-{environment}"
    objects = render(environment)
    assert [o["metadata"]["name"] for o in objects if o["kind"] == "Namespace"] == [namespace]
    assert {o["metadata"].get("namespace") for o in objects if o["kind"] != "Namespace"} == {
        namespace
    }
    for kind in ("Deployment", "Service"):
        assert {o["metadata"]["name"] for o in objects if o["kind"] == kind} == SERVICES


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_image_is_in_the_teams_registry_and_has_a_version(environment: str) -> None:
    images = {
        container["image"]
        for o in render(environment)
        if o["kind"] == "Deployment"
        for container in o["spec"]["template"]["spec"]["containers"]
    }
    registry = "registry.digitalocean.com/microservices-demo"
    assert {image.rpartition(":")[0] for image in images} == {f"{registry}/{s}" for s in SERVICES}
    assert all(image.rpartition(":")[2].startswith("v1.") for image in images)


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_service_selects_its_deployments_pods(environment: str) -> None:
    objects = render(environment)
    pods = {
        o["metadata"]["name"]: o["spec"]["template"]["metadata"]["labels"]
        for o in objects
        if o["kind"] == "Deployment"
    }
    for service in (o for o in objects if o["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= pods[service["metadata"]["name"]].items()


def test_prod_runs_more_than_one_replica_of_each() -> None:
    replicas = {
        o["metadata"]["name"]: o["spec"]["replicas"]
        for o in render("prod")
        if o["kind"] == "Deployment"
    }
    assert replicas == {"storefront": 3, "catalog": 2, "cart": 2, "checkout": 2}
