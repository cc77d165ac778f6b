"""When a drill passes, and the timeline that it draws."""

import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from xml.etree import ElementTree

import pytest

from sandbox.drills import cli, killed_up
from sandbox.drills.drill import Drill, Failed, Phase, healthy
from sandbox.drills.moments import Run
from sandbox.drills.timeline import svg
from sandbox.paths import REPOSITORY
from tests.unit.stackfiles import own_files

HEALTHY = {"sync": "Synced", "health": "Healthy", "revision": "new"}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    "other", [{"sync": "OutOfSync"}, {"health": "Progressing"}, {"revision": "old"}]
)
def test_applications_are_healthy_only_at_the_latest_commit(other: dict[str, Any]) -> None:
    assert healthy({"applications": [HEALTHY, HEALTHY]}, "new")
    assert not healthy({"applications": [HEALTHY, {**HEALTHY, **other}]}, "new")


def test_a_missing_cluster_or_one_without_applications_is_not_healthy() -> None:
    assert not healthy(None, "new")
    assert not healthy({"applications": []}, "new")


def test_the_timeline_has_a_bar_for_each_phase_with_its_duration() -> None:
    phases = [Phase("cluster", 0, 10), Phase("Argo CD", 10, 30), Phase("applications", 30, 30)]
    picture = ElementTree.fromstring(svg({"lost-cluster": phases, "lost-argocd": phases[:1]}))
    bars = [rect for rect in picture.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    titles = [bar.findtext(f"{SVG}title") for bar in bars]
    assert titles == ["cluster: 10.0 s", "Argo CD: 20.0 s", "cluster: 10.0 s"]
    assert float(bars[1].attrib["width"]) == pytest.approx(2 * float(bars[0].attrib["width"]), 0.01)
    texts = {text.text for text in picture.iter(f"{SVG}text")}
    assert {"lost-cluster", "lost-argocd", "30.0 s", "10.0 s"} <= texts


def test_drill_that_does_not_exist_is_refused_with_those_that_do() -> None:
    result = subprocess.run(
        [REPOSITORY / "bin" / "sandbox", "drill", "lost-keys"],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "lost-cluster" in result.stderr


def test_limit_is_exceeded_only_by_a_longer_recovery() -> None:
    drill = Drill("lost-argocd", "It comes back.", run=lambda context: None, limit=15)
    cli.check_limit(drill, 15)
    cli.check_limit(drill, None)
    with pytest.raises(Failed, match=r"took 15\.1 s, more than 15 s"):
        cli.check_limit(drill, 15.1)
    cli.check_limit(drill, 25, slack=10)
    with pytest.raises(Failed, match="more than 25 s"):
        cli.check_limit(drill, 25.1, slack=10)


NAME = "microservices-demo-dev"
AS_CONFIGURED: killed_up.Holdings = {
    "clusters": [f"{NAME} in nyc1"],
    "nodes": ["default: 1 of s-2vcpu-4gb", "extra: 1 of s-2vcpu-4gb"],
    "VPCs": ["10.99.0.0/20 in nyc1"],
    "load balancers": [NAME],
    "volumes": [NAME],
    "lost by others": [],
}


def test_cluster_is_replaced_for_its_region_its_first_pool_and_its_vpc_in_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each run changes one of them; the killed ones are spread over the run, its ends left out."""
    (tmp_path / "Pulumi.dev.yaml").write_text(own_files()["Pulumi.dev.yaml"])
    rehearsal = killed_up._Rehearsal
    for method in ("prepare", "clear", "state"):
        monkeypatch.setattr(rehearsal, method, lambda _: None)
    deployed: list[killed_up.Holdings] = []
    killed_at: list[str] = []

    def undisturbed(_: object, config: dict[str, Any]) -> Run:
        deployed.append(killed_up.expected_holdings(config))
        return Run(tuple("abcdefgh"), killed=False, exit_code=0, errors="")

    def kill(_: object, config: dict[str, Any], moment: str, __: object) -> bool:
        killed_at.append(moment)
        deployed.append(killed_up.expected_holdings(config))
        return True

    monkeypatch.setattr(rehearsal, "undisturbed", undisturbed)
    monkeypatch.setattr(rehearsal, "kill", kill)
    context = MagicMock(
        options={"moments": 0, "replacements": 4},
        **{"pulumi.project": tmp_path, "clone.return_value.__enter__.return_value": tmp_path},
    )
    overlay = tmp_path / "kustomize" / "dev"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").write_text("resources:\n")
    killed_up.run(context)
    region = {"clusters": [f"{NAME} in fra1"], "VPCs": ["10.99.0.0/20 in fra1"]}
    size = {"nodes": ["default: 1 of s-4vcpu-8gb", "extra: 1 of s-2vcpu-4gb"]}
    vpc = {"VPCs": ["10.98.0.0/20 in fra1"]}
    back = {"clusters": [f"{NAME} in nyc1"], "VPCs": ["10.98.0.0/20 in nyc1"]}
    assert deployed == [
        AS_CONFIGURED,
        AS_CONFIGURED | region,
        AS_CONFIGURED | region | size,
        AS_CONFIGURED | region | size | vpc,
        AS_CONFIGURED | size | back,
        AS_CONFIGURED | back,
        AS_CONFIGURED,
        AS_CONFIGURED | region,
    ]
    assert killed_at == ["b", "d", "f", "h"]


def resource(id: str, **values: object) -> dict[str, Any]:
    return {"id": id, **values}


def test_what_a_run_has_orphaned_or_taken_from_another_stack_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(own_files()["Pulumi.dev.yaml"])
    pools: list[dict[str, Any]] = [
        {"name": name, "size": "s-2vcpu-4gb", "nodes": [{}]} for name in ("default", "extra")
    ]
    account: dict[str, list[dict[str, Any]]] = {
        "kubernetes_clusters": [resource("new", name=NAME, region="nyc1", node_pools=pools)],
        "load_balancers": [resource("balancer", tag="k8s:new"), resource("others", tag="k8s:x")],
        "volumes": [resource("volume", tags=["k8s:new"])],
        "vpcs": [resource("vpc", ip_range="10.99.0.0/20", region="nyc1", default=False)],
    }
    context = MagicMock(**{"pulumi.project": tmp_path})
    context.api.return_value.json.return_value = account
    rehearsal = killed_up._Rehearsal(context)
    rehearsal._others = {"others"}
    assert rehearsal.holdings() == AS_CONFIGURED
    account["load_balancers"] = [resource("balancer", tag="k8s:new")]
    account["volumes"] += [resource("orphan", tags=["k8s:former"])]
    account["vpcs"] += [resource("former", ip_range="10.98.0.0/20", region="fra1", default=False)]
    pools[0]["nodes"] = [{}, {}]
    assert rehearsal.holdings() == AS_CONFIGURED | {
        "nodes": ["default: 2 of s-2vcpu-4gb", "extra: 1 of s-2vcpu-4gb"],
        "VPCs": ["10.98.0.0/20 in fra1", "10.99.0.0/20 in nyc1"],
        "volumes": ["a cluster that is gone", NAME],
        "lost by others": ["others"],
    }
