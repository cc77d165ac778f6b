"""The images that the monorepo's manifests use."""

import subprocess
from pathlib import Path

from sandbox.seed import images_in

KUSTOMIZATION = """\
images:
  - {name: cart, newName: registry.digitalocean.com/team/shop/cart, newTag: "1.10"}
  - {name: nginx, newTag: "1.27"}
  - {name: registry.digitalocean.com/team/web, newTag: v2}
"""
POD = """\
spec: {containers: [{name: a, image: "registry.digitalocean.com/team/job:v3"}]}
---
spec:
  containers:
    - image: docker.io/library/redis:8
    - image: registry.digitalocean.com/team/untagged
"""


def test_images_of_the_registry_are_found_in_manifests_and_kustomizations(
    tmp_path: Path,
) -> None:
    (tmp_path / "kustomization.yaml").write_text(KUSTOMIZATION)
    (tmp_path / "pod.yaml").write_text(POD)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "a"]):
        subprocess.run([*git, *words], check=True)
    assert images_in(tmp_path) == {
        ("team", "shop/cart", "1.10"),
        ("team", "web", "v2"),
        ("team", "job", "v3"),
    }


def test_a_repository_without_a_commit_has_no_images(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path)], check=True)
    assert images_in(tmp_path) == set()
