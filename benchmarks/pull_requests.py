"""The time until a pull request has its environment and is told so, and until it is gone; the same
of many at once, and what they take."""

import re
import statistics
import time
from pathlib import Path

from benchmarks.bench import DEV, Bench, Result
from sandbox import session
from sandbox.client import github
from sandbox.cluster.roles import Role
from sandbox.ingress import webhook_url

LABEL, APPLICATION = "preview", "microservices-demo"
ONE_BY_ONE, AT_ONCE = 5, 20
NODES = 8
"""Enough for all of them, and for 110 pods each."""
GOAL, GONE = 30.0, 60.0
QUOTA = {"cpu": "1000m", "memory": "1Gi", "pods": "10"}


def measure(bench: Bench) -> list[Result]:
    """Last of all: it leaves the stack with environments of pull requests."""
    _set_up(bench)
    opened, closed = [], []
    with bench.context.clone() as clone:
        for number in range(ONE_BY_ONE):
            begin = time.monotonic()
            pull_request = _open(bench, clone, f"one-{number}")
            _label(bench, pull_request)
            _review(bench, pull_request)
            opened.append(time.monotonic() - begin)
            begin = time.monotonic()
            github(bench.daemon.github, "PATCH", f"/pulls/{pull_request}", {"state": "closed"})
            _review(bench, pull_request)
            closed.append(time.monotonic() - begin)
            bench.say(f"opened {opened[-1]:.1f} s, closed {closed[-1]:.1f} s")
        many = _at_once(bench, clone)
    return [
        Result(
            f"a pull request opened until its environment is Healthy and it is told so (median of"
            f" {ONE_BY_ONE})",
            f"{statistics.median(opened):.1f} s",
            f"{GOAL:g} s",
            statistics.median(opened) <= GOAL,
        ),
        Result(
            f"a pull request closed until its environment is gone and it is told so (longest of"
            f" {ONE_BY_ONE})",
            f"{max(closed):.1f} s",
            f"{GONE:g} s",
            max(closed) <= GONE,
        ),
        *many,
    ]


def _at_once(bench: Bench, clone: Path) -> list[Result]:
    """As many pull requests as there may be environments, all labelled at the same moment."""
    pull_requests = [_open(bench, clone, f"many-{number}") for number in range(AT_ONCE)]
    errors, memory = _errors(bench), _memory(bench)
    begin = time.monotonic()
    for pull_request in pull_requests:
        _label(bench, pull_request)
    _review(bench)
    seconds = time.monotonic() - begin
    failed = _errors(bench) - errors
    return [
        Result(
            f"{AT_ONCE} pull requests labelled at once until the last environment is Healthy and it"
            " is told so",
            f"{seconds:.1f} s",
        ),
        Result(
            f"memory of {AT_ONCE} environments, on top of that of dev",
            f"{(_memory(bench) - memory) / 2**20:.0f} MiB",
        ),
        Result(
            "errors of the Kubernetes API meanwhile: overload (429), and its own (5xx)",
            f"{failed}",
            "0",
            failed == 0,
        ),
    ]


def _memory(bench: Bench) -> int:
    """Bytes that the whole sandbox uses."""
    return int(bench.daemon.get("/sandbox/status")["memory"])


def _errors(bench: Bench) -> int:
    """How many requests the API server has failed to answer since it started."""
    metrics = bench.context.kubectl("get", "--raw", "/metrics")
    counts = re.findall(
        r'^apiserver_request_total{.*code="(?:429|5\d\d)".*} (\S+)$', metrics, re.MULTILINE
    )
    return int(sum(map(float, counts)))


def _set_up(bench: Bench) -> None:
    session.start(bench.home, None, bench.console, webhooks=True)
    cluster = bench.pulumi.cluster_name(DEV)
    reader = {"login": "argocd", "role": "read", "permissions": {"pull_requests": "read"}}
    token = bench.daemon.post("/sandbox/github/tokens", reader)["token"]
    settings = {
        "cluster.nodePools[0].count": str(NODES),
        "pullRequests.atOnce": str(AT_ONCE),
        "pullRequests.application": APPLICATION,
        "pullRequests.webhookUrl": webhook_url(
            bench.daemon.url, cluster, Role.APPLICATIONSET_CONTROLLER
        ),
        **{f"pullRequests.quota.{name}": value for name, value in QUOTA.items()},
    }
    for key, value in settings.items():
        path = f"doks-gitops:{key}"
        bench.run("pulumi", "config", "set", "--stack", DEV, "--path", path, value)
    bench.pulumi.run(
        *("config", "set", "--stack", DEV, "--secret", "--path"),
        "doks-gitops:pullRequests.token",
        stdin=token,
    )
    with bench.context.clone() as clone:
        bench.run(
            *("bin/platform", "layout", "--stack", DEV, "--limits", "--repo", str(clone)),
        )
    bench.run("pulumi", "up", "--yes", "--skip-preview", "--stack", DEV)


def _open(bench: Bench, clone: Path, branch: str) -> int:
    """Push a branch and open a pull request for it; returns its number."""
    context = bench.context
    context.git(clone, "switch", "--quiet", "--create", branch, "origin/main")
    file = clone / "kustomize" / DEV / "change.yaml"
    file.write_text(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {branch}}}\n")
    kustomization = file.with_name("kustomization.yaml")
    kustomization.write_text(
        kustomization.read_text().replace("resources:\n", "resources:\n  - change.yaml\n", 1)
    )
    context.git(clone, "add", "--all")
    context.git(clone, "commit", "--quiet", "--message", branch)
    context.git(clone, "push", "--quiet", "origin", branch)
    body = {"title": branch, "head": branch, "base": "main"}
    return int(github(bench.daemon.github, "POST", "/pulls", body)["number"])


def _label(bench: Bench, number: int) -> None:
    github(bench.daemon.github, "POST", f"/issues/{number}/labels", {"labels": [LABEL]})


def _review(bench: Bench, number: int | None = None) -> None:
    """What the workflow runs for an event of a pull request, or for all of them."""
    words = ("bin/platform", "pull-requests", "--stack", DEV, "--wait", "600")
    bench.run(*words, *(("--number", str(number)) if number is not None else ()))
