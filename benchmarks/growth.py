"""How a preview grows with the applications of a stack, compared with as many plain resources."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import yaml

from benchmarks.bench import DEV, Bench, Result
from benchmarks.cost import plain_project
from benchmarks.picture import Line, chart
from sandbox.engine import PROJECT

SIZES = (1, 10, 100, 500)
GOAL = 2.0
LINEAR = 1.3
"""How much the time of a further application, divided by that of a further plain resource, may grow
from the small sizes to the large ones. The engine's own time per resource grows, too."""

_PLAIN = """
import os
from pathlib import Path

import pulumi
import pulumi_kubernetes
from pulumi_kubernetes.apiextensions import CustomResource

kubernetes = pulumi_kubernetes.Provider(
    "kubernetes",
    kubeconfig=Path(os.environ["KUBECONFIG"]).read_text(),
    enable_server_side_apply=True,
)
for number in range(int(os.environ["RESOURCES"])):
    CustomResource(
        f"app-{number:03}",
        api_version="argoproj.io/v1alpha1",
        kind="Application",
        metadata={"name": f"app-{number:03}", "namespace": "default"},
        spec={
            "project": "dev",
            "source": {"repoURL": "https://git.test/team/monorepo", "path": "kustomize/dev"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "demo"},
        },
        opts=pulumi.ResourceOptions(provider=kubernetes),
    )
"""


def measure(bench: Bench, picture: Path | None) -> list[Result]:
    """`picture`: the file to draw. None: none."""
    plain = plain_project(bench, "plain", _PLAIN)
    # The controller would sync up to 500 applications during the measurements.
    controller = ("scale", "statefulset", "argocd-application-controller", "--replicas")
    bench.context.kubectl("--namespace", "argocd", *controller, "0")
    applications: dict[int, float] = {}
    resources: dict[int, float] = {}
    up = ("pulumi", "up", "--yes", "--skip-preview", "--stack", DEV)
    preview = ("pulumi", "preview", "--expect-no-changes", "--stack", DEV)
    for size in SIZES:
        _declare(bench, size)
        number = {"RESOURCES": f"{size}"}
        bench.say(f"{size} applications deployed in {bench.run(*up):.1f} s")
        bench.run(*up, folder=plain, **number)
        seconds = bench.side_by_side(
            {
                f"{size} resources": partial(bench.run, *preview, folder=plain, **number),
                f"{size} applications": partial(bench.run, *preview),
            }
        )
        resources[size], applications[size] = seconds.values()
    if picture is not None:
        picture.write_text(
            chart(
                "seconds of a preview that changes nothing, by number of applications",
                (Line("applications", applications), Line("as many plain resources", resources)),
            )
        )
    middle, last = SIZES[-2:]
    ratio = applications[last] / resources[last]
    early, late = _shares(applications)
    resources_early, resources_late = _shares(resources)
    return [
        *(
            Result(
                f"`pulumi preview` that changes nothing, applications: {size}",
                f"{applications[size]:.1f} s; as many plain resources {resources[size]:.1f} s",
            )
            for size in SIZES[:-1]
        ),
        Result(
            f"`pulumi preview` that changes nothing, {last} applications",
            f"{applications[last]:.1f} s; {last} plain resources {resources[last]:.1f} s:"
            f" {ratio:.1f} times",
            f"{GOAL:g} times",
            ratio <= GOAL,
        ),
        Result(
            "each further application",
            f"{1000 * early:.0f} ms up to {middle}, {1000 * late:.0f} ms from there to {last};"
            f" a plain resource {1000 * resources_early:.0f} and {1000 * resources_late:.0f} ms",
            "linear, as far as those are",
            late / resources_late <= LINEAR * early / resources_early,
        ),
    ]


def _shares(seconds: Mapping[int, float]) -> tuple[float, float]:
    """Seconds of each further resource: up to the last but one size, and from there to the last."""
    first, middle, last = SIZES[0], SIZES[-2], SIZES[-1]
    early = (seconds[middle] - seconds[first]) / (middle - first)
    return early, (seconds[last] - seconds[middle]) / (last - middle)


def _declare(bench: Bench, size: int) -> None:
    file = bench.pulumi.project / f"Pulumi.{DEV}.yaml"
    content = yaml.safe_load(file.read_text())
    applications = content["config"][f"{PROJECT}:applications"]
    template = applications["microservices-demo"]
    for number in range(1, size):
        applications[f"app-{number:03}"] = {**template, "sync": {"automated": False}}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
