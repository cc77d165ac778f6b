"""The time until a pull request has its environment and is told so, and until it is gone."""

import statistics
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench import DEV, Bench, Result
from sandbox import session
from sandbox.cluster.roles import Role
from sandbox.ingress import webhook_url

LABEL, APPLICATION = "preview", "microservices-demo"
ONE_BY_ONE = 5
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
            _review(bench, pull_request)
            opened.append(time.monotonic() - begin)
            begin = time.monotonic()
            _github(bench, "PATCH", f"/pulls/{pull_request}", {"state": "closed"})
            _review(bench, pull_request)
            closed.append(time.monotonic() - begin)
            bench.say(f"opened {opened[-1]:.1f} s, closed {closed[-1]:.1f} s")
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
    ]


def _set_up(bench: Bench) -> None:
    session.start(bench.home, None, bench.console, webhooks=True)
    cluster = bench.pulumi.cluster_name(DEV)
    reader = {"login": "argocd", "role": "read", "permissions": {"pull_requests": "read"}}
    token = bench.daemon.post("/sandbox/github/tokens", reader)["token"]
    settings = {
        "cluster.nodePools[0].count": "2",
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
    """Push a branch, open a pull request for it and set the label; returns its number."""
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
    number = int(_github(bench, "POST", "/pulls", body)["number"])
    _github(bench, "POST", f"/issues/{number}/labels", {"labels": [LABEL]})
    return number


def _review(bench: Bench, number: int) -> None:
    """What the workflow runs for an event of a pull request."""
    words = ("bin/platform", "pull-requests", "--stack", DEV, "--number", str(number))
    bench.run(*words, "--wait", "600")


def _github(bench: Bench, method: str, path: str, body: object) -> Any:
    github = bench.daemon.github
    response = httpx.request(
        method,
        f"{github['api']}/repos/{github['repository']}{path}",
        json=body,
        headers={"Authorization": f"Bearer {github['token']}"},
        timeout=60,
        trust_env=False,
    )
    response.raise_for_status()
    return response.json()
