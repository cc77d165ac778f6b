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


def test_runs_can_be_killed_in_replacements_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(own_files()["Pulumi.dev.yaml"])
    rehearsal = killed_up._Rehearsal
    for method in ("prepare", "clear", "holdings"):
        monkeypatch.setattr(rehearsal, method, lambda _: None)
    complete = Run(("a", "b", "c", "d"), killed=False, exit_code=0, errors="")
    monkeypatch.setattr(rehearsal, "undisturbed", lambda *_: complete)
    killed_at: list[str] = []

    def kill(_: object, config: object, moment: str, expected: object) -> bool:
        killed_at.append(moment)
        return True

    monkeypatch.setattr(rehearsal, "kill", kill)
    options = {"moments": 0, "replacements": 4}
    killed_up.run(MagicMock(options=options, **{"pulumi.project": tmp_path}))
    assert killed_at == ["a", "a", "d", "d"]
