"""Image tags edited where they stand, and proposals that are refused."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from doks_gitops.promotion import __main__ as cli
from doks_gitops.promotion import checks
from doks_gitops.promotion.checks import Account, Refused, check_deployed
from doks_gitops.promotion.cluster import Application
from doks_gitops.promotion.overlay import Image, OverlayError, images, with_tags

OVERLAY = """\
# The environment's own.
images:
  - name: cart   # the cart
    newName: registry.digitalocean.com/team/cart
    newTag: v1.0.0   # since spring
  - {name: web, newTag: "1.10"}
  - newTag: 'v2'
    name: job
  - name: pinned
    digest: sha256:0123
resources: [../base]
"""


def test_images_are_read_with_their_tags_as_they_are_written() -> None:
    assert images(OVERLAY) == {
        "cart": Image("cart", "registry.digitalocean.com/team/cart", "v1.0.0"),
        "web": Image("web", "web", "1.10"),
        "job": Image("job", "job", "v2"),
    }


def test_a_tag_is_changed_and_nothing_else() -> None:
    new = with_tags(OVERLAY, {"cart": "v1.1.0", "web": "1.20", "job": "v3"})
    assert new == (
        OVERLAY.replace("v1.0.0", "v1.1.0").replace('"1.10"', '"1.20"').replace("'v2'", "'v3'")
    )


def test_a_tag_that_looks_like_a_number_is_quoted() -> None:
    text = "images:\n  - name: a\n    newTag: v1\n"
    assert with_tags(text, {"a": "1.20"}) == text.replace("v1", '"1.20"')
    assert images(with_tags(text, {"a": "1.20"}))["a"].tag == "1.20"


def test_an_image_without_a_tag_is_named() -> None:
    with pytest.raises(OverlayError, match="no newTag for the image pinned"):
        with_tags(OVERLAY, {"pinned": "v1"})


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with dev and staging, whose account has every image."""
    monkeypatch.setattr(Account, "check_images", lambda self, images: None)
    monkeypatch.setattr(cli, "check_deployed", lambda *_: None)
    origin, folder = tmp_path / "origin.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "-b", "main", str(origin))
    git(tmp_path, "clone", "--quiet", str(origin), str(folder))
    git(folder, "config", "user.name", "t")
    git(folder, "config", "user.email", "t@localhost")
    for environment in ("dev", "staging"):
        write(folder, environment, OVERLAY)
    commit(folder, "a")
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], check=True, text=True, capture_output=True
    ).stdout


def write(folder: Path, environment: str, text: str) -> None:
    path = folder / "kustomize" / environment
    path.mkdir(parents=True, exist_ok=True)
    (path / "kustomization.yaml").write_text(text)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", message)
    git(folder, "push", "--quiet", "origin", "HEAD:main")


def overlay(folder: Path, environment: str) -> str:
    return git(folder, "show", f"origin/main:kustomize/{environment}/kustomization.yaml")


def test_promotion_pushes_the_tags_of_one_environment_to_the_other(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(clone, "new in dev")
    assert cli.main(["promote", "shop", "dev", "staging", "--repo", str(clone)]) == 0
    assert overlay(clone, "staging") == OVERLAY.replace("v1.0.0", "v1.1.0")
    shown = capsys.readouterr().out
    assert "-    newTag: v1.0.0   # since spring" in shown
    assert "+    newTag: v1.1.0   # since spring" in shown
    assert "Promote shop from dev to staging" in git(clone, "log", "-1", "--format=%s")
    assert cli.main(["promote", "shop", "dev", "staging", "--repo", str(clone)]) == 0
    assert "has these image tags already" in capsys.readouterr().out


def test_reverting_images_keeps_what_else_was_committed(clone: Path) -> None:
    bad = OVERLAY.replace("v1.0.0", "v9").replace("spring", "today")
    write(clone, "dev", bad)
    commit(clone, "bad, and a comment")
    assert cli.main(["revert-images", "shop", "dev", "--repo", str(clone)]) == 0
    assert overlay(clone, "dev") == OVERLAY.replace("spring", "today")


def test_dirty_tree_is_refused(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v9"))
    assert cli.main(["revert-images", "shop", "dev", "--repo", str(clone)]) == 1
    assert "not committed" in capsys.readouterr().err
    assert overlay(clone, "dev") == OVERLAY


def test_clone_that_lacks_commits_is_refused(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = clone.parent / "other"
    git(clone.parent, "clone", "--quiet", str(clone.parent / "origin.git"), str(other))
    git(other, "config", "user.name", "t")
    git(other, "config", "user.email", "t@localhost")
    write(other, "staging", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(other, "new in staging")
    assert cli.main(["promote", "shop", "staging", "dev", "--repo", str(clone)]) == 1
    assert "lacks 1 commit of origin/main: git pull" in capsys.readouterr().err


def test_what_can_t_be_pushed_is_not_kept_and_so_is_proposed_again(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(clone, "new in dev")
    hook = clone.parent / "origin.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    promote = ["promote", "shop", "dev", "staging", "--repo", str(clone)]
    assert cli.main(promote) == 1
    assert git(clone, "status", "--porcelain", "--branch") == "## main...origin/main\n"
    hook.unlink()
    assert cli.main(promote) == 0
    assert "v1.1.0" in overlay(clone, "staging")
    assert "has these image tags already" not in capsys.readouterr().out


def test_image_that_is_not_in_the_registry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Account, "_tags", lambda self, reference: {"v1"})
    with pytest.raises(Refused, match=r"has no registry.digitalocean.com/team/cart:v1.0.0"):
        Account().check_images(images(OVERLAY).values())


APPLICATION = Application("dev-shop", "argocd", "dev", "0123", (), "Synced", "Healthy")


@pytest.mark.parametrize(
    ("sync", "health"),
    [("OutOfSync", "Healthy"), ("Synced", "Degraded"), ("Synced", "Progressing")],
)
def test_application_that_is_not_well_is_not_promoted_from(
    sync: str, health: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ill = replace(APPLICATION, sync=sync, health=health)
    monkeypatch.setattr(checks, "applications", lambda stack, folder: [ill])
    with pytest.raises(Refused, match=f"dev-shop is {sync}, {health}; only what is"):
        check_deployed("dev", "dev-shop", [], Path())
    monkeypatch.setattr(checks, "applications", lambda stack, folder: [APPLICATION])
    check_deployed("dev", "dev-shop", [], Path())
    with pytest.raises(Refused, match="no dev-sop to promote from; dev has dev-shop"):
        check_deployed("dev", "dev-sop", [], Path())


def test_image_that_does_not_run_yet_is_not_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = replace(APPLICATION, images=("localhost:5000/cart:v1", "redis"))
    monkeypatch.setattr(checks, "applications", lambda stack, folder: [runs])
    cart = Image("cart", "localhost:5000/cart", "v2")
    with pytest.raises(Refused, match="runs localhost:5000/cart:v1, not yet v2"):
        check_deployed("dev", "dev-shop", [cart], Path())
    unused = Image("web", "localhost:5000/web", "v2")
    check_deployed("dev", "dev-shop", [replace(cart, tag="v1"), unused], Path())


def test_tags_on_one_line_are_changed_each_in_its_place() -> None:
    text = "images: [{name: a, newTag: v1}, {name: b, newTag: v2}]\n"
    changed = text.replace("v1", "v1.10.0").replace("v2", "v2.20.0")
    assert with_tags(text, {"a": "v1.10.0", "b": "v2.20.0"}) == changed


def test_tag_that_can_t_be_edited_in_its_place_is_refused() -> None:
    with pytest.raises(OverlayError, match="newTag of a is not written plainly"):
        images("tag: &tag v1\nimages:\n  - name: a\n    newTag: *tag\n")


def test_dry_run_shows_and_changes_nothing(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(clone, "new in dev")
    words = ["promote", "shop", "dev", "staging", "--dry-run", "--repo", str(clone)]
    assert cli.main(words) == 0
    assert "+    newTag: v1.1.0" in capsys.readouterr().out
    assert overlay(clone, "staging") == OVERLAY
