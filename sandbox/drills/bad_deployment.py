"""A commit deploys an image that does not exist."""

from pathlib import Path

from sandbox.drills.drill import DEV, NAMESPACE, Context, Drill

_REPOSITORY = "registry.digitalocean.com/microservices-demo/drill"
_GOOD, _BAD = "v1", "v2-not-there"
_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: drill}
spec:
  replicas: 1
  selector: {matchLabels: {app: drill}}
  template:
    metadata: {labels: {app: drill}}
    spec: {containers: [{name: drill, image: drill}]}
"""
_SELECTOR = ("-l", "app=drill")
_OVERLAY = Path("kustomize") / DEV / "kustomization.yaml"


def run(context: Context) -> None:
    context.bring_up()
    context.sandbox("push-image", f"drill:{_GOOD}")
    with context.clone() as clone:
        before = context.git(clone, "rev-parse", "HEAD").strip()
        try:
            _rehearse(context, clone)
        finally:
            context.git(clone, "checkout", "--quiet", before, "--", "kustomize")
            added = f"kustomize/{DEV}/drill.yaml"
            context.git(clone, "rm", "--quiet", "--force", "--ignore-unmatch", added)
            context.push(clone, "The drill is over")
            # Later drills compare the pods.
            context.until("its workload is gone", lambda: not context.pods(*_SELECTOR))


def _rehearse(context: Context, clone: Path) -> None:
    _add(context, clone)
    overlay = clone / _OVERLAY
    good = overlay.read_text()
    bad = good.replace(_tag(_GOOD), _tag(_BAD))

    _deploy(context, clone, bad, "A tag that there is not")
    context.lose("the application dev-microservices-demo, by a commit")
    context.git(clone, "revert", "--no-edit", "HEAD")
    context.recover_by("git", "-C", str(clone), "push", "--quiet", "origin", "HEAD:main")
    context.check(_runs(context, _GOOD), "the tag from before does not run")

    # This commit changes something else too, which revert-images must keep.
    _deploy(context, clone, bad + "# kept\n", "A tag that there is not, and more")
    context.command(
        "bin/platform", "revert-images", "microservices-demo", "--stack", DEV, "--repo", str(clone)
    )
    context.check(overlay.read_text() == good + "# kept\n", "more than the tags was reverted")
    context.until(
        "every application is Healthy again",
        lambda: context.is_well() and not _fails(context),
    )
    context.check(_runs(context, _GOOD), "the tag from before does not run")


def _tag(tag: str) -> str:
    """The line of the overlay with the drill's tag; no other image has a tag of this form."""
    return f"newTag: {tag}\n"


def _add(context: Context, clone: Path) -> None:
    """Deploy a workload whose image is in the team's registry."""
    (clone / "kustomize" / DEV / "drill.yaml").write_text(_DEPLOYMENT)
    overlay = clone / _OVERLAY
    text = overlay.read_text().replace("resources:\n", "resources:\n  - drill.yaml\n", 1)
    image = f"  - name: drill\n    newName: {_REPOSITORY}\n    newTag: {_GOOD}\n"
    text = (
        text.replace("images:\n", f"images:\n{image}", 1)
        if "images:\n" in text
        else f"{text.rstrip()}\nimages:\n{image}"
    )
    overlay.write_text(text)
    context.push(clone, "A workload of the drill's")
    context.until("the workload runs", lambda: _runs(context, _GOOD) and context.is_well())


def _deploy(context: Context, clone: Path, overlay: str, message: str) -> None:
    (clone / _OVERLAY).write_text(overlay)
    context.push(clone, message)
    context.until("the image pull fails", lambda: not context.is_well() and _fails(context))


def _images(context: Context) -> list[str]:
    [application] = context.the_cluster()["applications"]
    images: list[str] = application["images"]
    return images


def _runs(context: Context, tag: str) -> bool:
    return f"{_REPOSITORY}:{tag}" in _images(context)


def _fails(context: Context) -> bool:
    reason = "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}"
    pods = context.kubectl("-n", NAMESPACE, "get", "pods", *_SELECTOR, "-o", reason)
    return "ImagePullBackOff" in pods


DRILL = Drill(
    "bad-deployment",
    "A bad commit is undone by reverting it, or by reverting only its image tags.",
    run,
)
