"""Image tags that are edited in place, and promotions that are refused."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from doks_gitops.images import ImageReference
from doks_gitops.promotion import checks, promote
from doks_gitops.promotion.checks import PromotionError, check_deployed, check_pushed
from doks_gitops.promotion.cluster import Application
from doks_gitops.promotion.overlay import Overlay, OverlayError
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.promotion.scaffold import read_project
from tests.unit.fake_api import serve

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
PROMOTE = ("promote", "shop", "--from", "dev", "--to", "staging")
REVERT = ("revert-images", "shop", "--stack", "dev")

BinPlatform = Callable[..., tuple[int, str, str]]


def overlay(text: str) -> Overlay:
    return Overlay(Path("kustomize/dev/kustomization.yaml"), text)


def image(text: str) -> ImageReference:
    return ImageReference.parse(text)


def test_images_are_read_with_their_tags_as_they_are_written() -> None:
    assert overlay(OVERLAY).images == {
        "cart": image("registry.digitalocean.com/team/cart:v1.0.0"),
        "web": image("web:1.10"),
        "job": image("job:v2"),
    }


def test_a_tag_is_changed_and_nothing_else() -> None:
    new = overlay(OVERLAY).with_tags({"cart": "v1.1.0", "web": "1.20", "job": "v3"})
    assert new == (
        OVERLAY.replace("v1.0.0", "v1.1.0").replace('"1.10"', '"1.20"').replace("'v2'", "'v3'")
    )


def test_a_tag_that_looks_like_a_number_is_quoted() -> None:
    text = "images:\n  - name: a\n    newTag: v1\n"
    for tag in ("1.20", "12345e6", "0x12", "2026-01-31", "yes", "null"):
        changed = overlay(text).with_tags({"a": tag})
        assert changed == text.replace("v1", f'"{tag}"')
        assert overlay(changed).tags == {"a": tag}


def test_an_image_without_a_tag_is_named() -> None:
    with pytest.raises(OverlayError, match="no newTag for the image pinned"):
        overlay(OVERLAY).with_tags({"pinned": "v1"})


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with dev and staging, whose account has every image."""
    monkeypatch.setattr(promote, "check_pushed", lambda images: None)
    monkeypatch.setattr(promote, "check_deployed", lambda *_: None)
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


def pushed(folder: Path, environment: str) -> str:
    return git(folder, "show", f"origin/main:kustomize/{environment}/kustomization.yaml")


def test_promotion_pushes_the_tags_of_one_environment_to_the_other(
    clone: Path, bin_platform: BinPlatform
) -> None:
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(clone, "new in dev")
    code, shown, _ = bin_platform(*PROMOTE, "--repo", str(clone))
    assert code == 0
    assert pushed(clone, "staging") == OVERLAY.replace("v1.0.0", "v1.1.0")
    assert "-    newTag: v1.0.0   # since spring" in shown
    assert "+    newTag: v1.1.0   # since spring" in shown
    assert "Promote shop from dev to staging" in git(clone, "log", "-1", "--format=%s")
    code, shown, _ = bin_platform(*PROMOTE, "--repo", str(clone))
    assert code == 0
    assert "has these image tags already" in shown


def test_a_stack_may_have_another_name_than_its_environment_and_its_project(
    clone: Path, tmp_path: Path, bin_platform: BinPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(stack: str, application: str, *_: object) -> None:
        assert (stack, application) == ("eu", "europe-shop")

    monkeypatch.setattr(promote, "check_deployed", check)
    for stack, environment in (("eu", "dev"), ("us", "staging")):
        config = {"doks-gitops:environment": environment, "doks-gitops:project": {"name": "europe"}}
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": config}))
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(clone, "new in dev")
    words = ("promote", "shop", "--from", "eu", "--to", "us", "--cwd", str(tmp_path))
    code, _, error = bin_platform(*words, "--repo", str(clone))
    assert (code, error) == (0, "")
    assert pushed(clone, "staging") == OVERLAY.replace("v1.0.0", "v1.1.0")


def test_project_of_a_stack_whose_applications_are_in_git_is_named_after_its_environment() -> None:
    assert read_project({"environment": "dev", "appOfApps": {}}, "eu") == "dev"


@pytest.mark.parametrize("environment", ["dev", "staging"])
def test_image_that_an_overlay_pins_by_digest_is_not_promoted(
    clone: Path, environment: str, bin_platform: BinPlatform
) -> None:
    pinned = OVERLAY.replace("newTag: v1.0.0", "newTag: v1.1.0\n    digest: sha256:0123")
    write(clone, environment, pinned)
    commit(clone, "pinned")
    code, _, error = bin_platform(*PROMOTE, "--repo", str(clone))
    assert code == 1
    assert "cart: " in error
    assert "has a digest" in error


def test_overlay_outside_the_clone_is_not_read(clone: Path, bin_platform: BinPlatform) -> None:
    code, _, error = bin_platform(*PROMOTE, "--overlay", "../{env}", "--repo", str(clone))
    assert code == 1
    assert "leads outside the clone" in error


def test_reverting_images_keeps_what_else_was_committed(
    clone: Path, bin_platform: BinPlatform
) -> None:
    bad = OVERLAY.replace("v1.0.0", "v9").replace("spring", "today")
    write(clone, "dev", bad)
    commit(clone, "bad, and a comment")
    assert bin_platform(*REVERT, "--repo", str(clone))[0] == 0
    assert pushed(clone, "dev") == OVERLAY.replace("spring", "today")


def test_dirty_tree_is_refused(clone: Path, bin_platform: BinPlatform) -> None:
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v9"))
    code, _, error = bin_platform(*REVERT, "--repo", str(clone))
    assert code == 1
    assert "not committed" in error
    assert pushed(clone, "dev") == OVERLAY


def test_clone_that_lacks_commits_is_refused(clone: Path, bin_platform: BinPlatform) -> None:
    other = clone.parent / "other"
    git(clone.parent, "clone", "--quiet", str(clone.parent / "origin.git"), str(other))
    git(other, "config", "user.name", "t")
    git(other, "config", "user.email", "t@localhost")
    write(other, "staging", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(other, "new in staging")
    words = ("promote", "shop", "--from", "staging", "--to", "dev", "--repo", str(clone))
    code, _, error = bin_platform(*words)
    assert code == 1
    assert f"lacks 1 commit of origin/main.\nnext:  git -C {clone} pull" in error


def test_what_can_t_be_pushed_is_not_kept_and_so_is_proposed_again(
    clone: Path, bin_platform: BinPlatform
) -> None:
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(clone, "new in dev")
    hook = clone.parent / "origin.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    words = (*PROMOTE, "--repo", str(clone))
    assert bin_platform(*words)[0] == 1
    assert git(clone, "status", "--porcelain", "--branch") == "## main...origin/main\n"
    hook.unlink()
    code, shown, _ = bin_platform(*words)
    assert code == 0
    assert "v1.1.0" in pushed(clone, "staging")
    assert "has these image tags already" not in shown


@pytest.mark.parametrize("branch", [None, "images/dev-shop"])
def test_a_command_that_is_killed_before_the_push_leaves_nothing_and_is_repeated(
    clone: Path, branch: str | None
) -> None:
    hook, reached = clone / ".git" / "hooks" / "pre-push", clone.parent / "reached"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{reached}'\nexec sleep 600\n")
    hook.chmod(0o755)
    program = (
        "from pathlib import Path; from doks_gitops.promotion.repository import WorkingTree;"
        f"WorkingTree(Path({str(clone)!r})).commit_and_push("
        f"{{Path('kustomize/dev/kustomization.yaml'): 'new'}}, 'Revert', branch={branch!r})"
    )
    command = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    while not reached.exists():
        assert command.poll() is None
        time.sleep(0.05)
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    assert git(clone, "status", "--porcelain", "--branch") == "## main...origin/main\n"
    assert pushed(clone, "dev") == OVERLAY

    hook.unlink()
    subprocess.run([sys.executable, "-c", program], check=True)
    target = branch or "main"
    shown = git(clone, "show", f"origin/{target}:kustomize/dev/kustomization.yaml")
    assert shown == "new"
    assert git(clone, "rev-list", "--count", f"main..origin/{target}") == f"{int(bool(branch))}\n"
    assert git(clone, "status", "--porcelain", "--branch") == "## main...origin/main\n"


def test_branch_of_a_pull_request_is_never_its_own_base(
    clone: Path, bin_platform: BinPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "team/demo")
    monkeypatch.setenv("GITHUB_TOKEN", "token")
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(clone, "new in dev")
    git(clone, "switch", "--quiet", "--create", "images/staging-shop")
    git(clone, "push", "--quiet", "origin", "images/staging-shop")
    code, _, error = bin_platform(*PROMOTE, "--pull-request", "--repo", str(clone))
    assert code == 1
    assert "own branch images/staging-shop checked out" in error


def test_a_folder_inside_a_clone_is_enough(clone: Path) -> None:
    tree = WorkingTree(clone / "kustomize")
    tree.commit_and_push({Path("dev/kustomization.yaml"): "new"}, "Revert", branch=None)
    assert pushed(clone, "dev") == "new"
    assert (clone / "kustomize" / "dev" / "kustomization.yaml").read_text() == "new"


def test_image_that_is_not_in_the_registry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "dop_v1_token")
    with serve() as api:
        monkeypatch.setenv("DIGITALOCEAN_API_URL", api.url)
        path = "/v2/registries/team/repositories/cart/tags"
        api.answer(path, (200, {"tags": [{"tag": "v1"}]}))
        with pytest.raises(
            PromotionError, match=r"has no registry.digitalocean.com/team/cart:v1.0.0"
        ):
            check_pushed(overlay(OVERLAY).images.values())
        api.answer(path, (200, {"tags": [{"tag": "v1.0.0"}]}))
        check_pushed(overlay(OVERLAY).images.values())
    assert {sent for _, sent in api.requests} == {"Bearer dop_v1_token"}


APPLICATION = Application("dev-shop", "argocd", "dev", "0123", (), "Synced", "Healthy")


@pytest.mark.parametrize(
    ("sync", "health"),
    [("OutOfSync", "Healthy"), ("Synced", "Degraded"), ("Synced", "Progressing")],
)
def test_application_that_is_not_synced_and_healthy_is_not_promoted(
    sync: str, health: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unhealthy = replace(APPLICATION, sync=sync, health=health)
    monkeypatch.setattr(checks, "applications", lambda stack, folder: [unhealthy])
    with pytest.raises(PromotionError, match=f"dev-shop is {sync}, {health}; only what is"):
        check_deployed("dev", "dev-shop", [], Path())
    monkeypatch.setattr(checks, "applications", lambda stack, folder: [APPLICATION])
    check_deployed("dev", "dev-shop", [], Path())
    with pytest.raises(
        PromotionError, match=r"no application dev-sop to promote from\. Its applications: dev-shop"
    ):
        check_deployed("dev", "dev-sop", [], Path())


def test_image_that_does_not_run_yet_is_not_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = replace(APPLICATION, images=("localhost:5000/cart:v1", "redis"))
    monkeypatch.setattr(checks, "applications", lambda stack, folder: [runs])
    cart = image("localhost:5000/cart:v2")
    with pytest.raises(PromotionError, match="runs localhost:5000/cart:v1, not yet v2"):
        check_deployed("dev", "dev-shop", [cart], Path())
    check_deployed("dev", "dev-shop", [replace(cart, tag="v1")], Path())


def test_image_that_no_pod_runs_is_not_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = replace(APPLICATION, images=("localhost:5000/cart:v1", "redis"))
    monkeypatch.setattr(checks, "applications", lambda stack, folder: [runs])
    with pytest.raises(PromotionError, match="No Pod of dev-shop runs localhost:5000/web"):
        check_deployed("dev", "dev-shop", [image("localhost:5000/web:v2")], Path())


@pytest.mark.parametrize("tag", ["", ":v2"])
def test_image_that_runs_by_digest_is_not_promoted(
    tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = f"registry.digitalocean.com/team/a{tag}@sha256:{'0' * 64}"
    runs = replace(APPLICATION, images=(running,))
    monkeypatch.setattr(checks, "applications", lambda stack, folder: [runs])
    with pytest.raises(PromotionError, match=f"dev-shop runs {running}: a digest"):
        check_deployed("dev", "dev-shop", [image("registry.digitalocean.com/team/a:v2")], Path())


def test_tags_on_one_line_are_changed_each_in_its_place() -> None:
    text = "images: [{name: a, newTag: v1}, {name: b, newTag: v2}]\n"
    changed = text.replace("v1", "v1.10.0").replace("v2", "v2.20.0")
    assert overlay(text).with_tags({"a": "v1.10.0", "b": "v2.20.0"}) == changed


def test_tag_that_can_t_be_edited_in_its_place_is_refused() -> None:
    with pytest.raises(OverlayError, match="newTag of a that is not written plainly"):
        _ = overlay("tag: &tag v1\nimages:\n  - name: a\n    newTag: *tag\n").images


@pytest.mark.parametrize(
    "written",
    [
        '"v1\\"\\n    newName: evil/image"',
        "'v1\n\n    evil'",
        '"v1 evil"',
        "|\n      v1",
        '"-v1"',
        '""',
    ],
)
def test_text_that_is_no_tag_never_reaches_another_overlay(written: str) -> None:
    with pytest.raises(OverlayError, match=r"newTag of a|wrong tag of a"):
        _ = overlay(f"images:\n  - name: a\n    newTag: {written}\n").tags
    with pytest.raises(OverlayError, match="wrong tag of a"):
        overlay("images: [{name: a, newTag: v1}]\n").with_tags({"a": 'v1"\nresources: []'})


def test_dry_run_shows_and_changes_nothing(clone: Path, bin_platform: BinPlatform) -> None:
    write(clone, "dev", OVERLAY.replace("v1.0.0", "v1.1.0"))
    commit(clone, "new in dev")
    code, shown, _ = bin_platform(*PROMOTE, "--dry-run", "--repo", str(clone))
    assert code == 0
    assert "+    newTag: v1.1.0" in shown
    assert pushed(clone, "staging") == OVERLAY


def test_a_folder_that_is_no_clone_is_refused_with_the_option_that_names_one(
    bin_platform: BinPlatform, tmp_path: Path
) -> None:
    code, _, errors = bin_platform(*PROMOTE, "--repo", str(tmp_path))
    assert code == 1
    assert "not a git repository" in errors
    assert "next:  Name a clone of the monorepo, or its URL, with --repo." in errors
