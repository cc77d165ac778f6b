"""When a drill passes, and the picture that it draws."""

import subprocess
from typing import Any
from xml.etree import ElementTree

import pytest

from sandbox.drills import cli
from sandbox.drills.drill import Drill, Failed, Phase, healthy
from sandbox.drills.timeline import svg
from sandbox.paths import REPOSITORY

WELL = {"sync": "Synced", "health": "Healthy", "revision": "new"}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    "other", [{"sync": "OutOfSync"}, {"health": "Progressing"}, {"revision": "old"}]
)
def test_applications_are_well_only_at_the_commit_that_git_is_at(other: dict[str, Any]) -> None:
    assert healthy({"applications": [WELL, WELL]}, "new")
    assert not healthy({"applications": [WELL, {**WELL, **other}]}, "new")


def test_a_cluster_that_is_gone_or_deploys_nothing_is_not_well() -> None:
    assert not healthy(None, "new")
    assert not healthy({"applications": []}, "new")


def test_the_timeline_has_a_bar_for_each_phase_as_long_as_it_took() -> None:
    phases = [Phase("cluster", 0, 10), Phase("Argo CD", 10, 30), Phase("applications", 30, 30)]
    drawn = ElementTree.fromstring(svg({"lost-cluster": phases, "lost-argocd": phases[:1]}))
    bars = [each for each in drawn.iter(f"{SVG}rect") if each.find(f"{SVG}title") is not None]
    told = [bar.findtext(f"{SVG}title") for bar in bars]
    assert told == ["cluster: 10.0 s", "Argo CD: 20.0 s", "cluster: 10.0 s"]
    assert float(bars[1].attrib["width"]) == pytest.approx(2 * float(bars[0].attrib["width"]), 0.01)
    shown = {text.text for text in drawn.iter(f"{SVG}text")}
    assert {"lost-cluster", "lost-argocd", "30.0 s", "10.0 s"} <= shown


def test_drill_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = subprocess.run(
        [REPOSITORY / "bin" / "sandbox", "drill", "lost-keys"],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "lost-cluster" in done.stderr


def test_limit_is_exceeded_only_by_a_longer_recovery() -> None:
    drill = Drill("lost-argocd", "It comes back.", run=lambda context: None, limit=15)
    cli.check_limit(drill, 15)
    cli.check_limit(drill, None)
    with pytest.raises(Failed, match=r"took 15\.1 s, more than 15 s"):
        cli.check_limit(drill, 15.1)
