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


def commit(folder: Path) -> None:
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "a"]):
        subprocess.run([*git, *words], check=True)


def test_images_of_the_registry_are_found_in_manifests_and_kustomizations(
    tmp_path: Path,
) -> None:
    (tmp_path / "kustomization.yaml").write_text(KUSTOMIZATION)
    (tmp_path / "pod.yaml").write_text(POD)
    commit(tmp_path)
    assert images_in(tmp_path) == {
        ("team", "shop/cart", "1.10"),
        ("team", "web", "v2"),
        ("team", "job", "v3"),
    }


def test_files_of_any_name_and_content_are_read(tmp_path: Path) -> None:
    image = "registry.digitalocean.com/team/web:v1"
    for name, text in {
        "größe.yaml": f"image: {image}\n",
        'a "quoted"\nname.yaml': f"image: {image[:-1]}2\n",
        "list/kustomization.yaml": f"- image: {image[:-1]}3\n",
        "images/kustomization.yaml": f"images: [null, 1, [x], {{name: {image[:-3]}}}]\n",
        "map/kustomization.yaml": f"images: {{name: {image[:-3]}}}\n",
        "deep/kustomization.yaml": f"# {image[:-3]}\n" + "[" * 3000,
        "date/kustomization.yaml": f"# {image[:-3]}\nimages: 2020-99-99\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.yaml").write_bytes(f"image: {image[:-1]}4 # \xfc\n".encode("latin-1"))
    commit(tmp_path)
    assert images_in(tmp_path) == {("team", "web", f"v{number}") for number in range(1, 5)}


def test_a_repository_without_a_commit_has_no_images(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path)], check=True)
    assert images_in(tmp_path) == set()
