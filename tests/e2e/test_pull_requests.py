"""A pull request with the label has an environment of its own, within its limits, and no other has.

Argo CD is told by webhook: by itself it would look for pull requests every ten minutes.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.box import Sandbox, until
from tests.e2e.team import APP, Team

LABEL = "preview"
HARD = {"pods": "12", "requests.cpu": "1500m"}
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "extra"},
    "spec": {"containers": [{"name": "extra", "image": "busybox"}]},
}


@pytest.fixture(scope="module")
def team(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory, monorepo: Path) -> Team:
    """A team whose stack dev has environments of pull requests."""
    team = Team.start(sandbox, tmp_path_factory.mktemp("team") / "clone", monorepo)
    reader = {"login": "argocd", "role": "read", "permissions": {"pull_requests": "read"}}
    with sandbox.api() as api:
        token = api.post("/sandbox/github/tokens", json=reader).raise_for_status().json()["token"]
    daemon = sandbox.daemon["url"]
    webhook = f"{daemon}/argocd/microservices-demo-dev/applicationsets/api/webhook"
    settings = {
        "cluster.nodePools[0].count": "2",
        "pullRequests.application": APP,
        "pullRequests.webhookUrl": webhook,
        "pullRequests.service": "frontend",
        "pullRequests.quota.cpu": HARD["requests.cpu"],
        "pullRequests.quota.pods": HARD["pods"],
        "pullRequests.images[0]": "frontend",
    }
    config = "pulumi config set --stack dev --path"
    lines = [f"{config} 'doks-gitops:{key}' '{value}'" for key, value in settings.items()]
    lines.append(f'{config} --secret doks-gitops:pullRequests.token <<<"$TOKEN"')
    sandbox.shell("\n".join(lines), TOKEN=token)
    team.platform("layout", "--stack", "dev", "--limits")
    sandbox("up", "dev")
    sandbox("pulumi", "preview", "--stack", "dev", "--expect-no-changes")
    return team


def propose(team: Team, branch: str, **files: Any) -> int:
    """Open a pull request with those objects in the overlay of dev; returns its number."""
    team.git("switch", "--quiet", "--create", branch, "origin/main")
    overlay = team.clone / "kustomize" / "dev"
    objects = {"change": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "change"}}}
    for name, content in (objects | files).items():
        (overlay / f"{name}.yaml").write_text(json.dumps(content))
        kustomization = overlay / "kustomization.yaml"
        text = kustomization.read_text()
        kustomization.write_text(text.replace("resources:\n", f"resources:\n  - {name}.yaml\n", 1))
    team.commit(branch)
    team.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    pull = team.github("POST", "/pulls", {"title": branch, "head": branch, "base": "main"})
    return int(pull["number"])


def label(team: Team, number: int) -> None:
    team.github("POST", f"/issues/{number}/labels", {"labels": [LABEL]})


def review(team: Team, number: int | None = None, *, wait: int = 120, fails: bool = False) -> str:
    """What the workflow runs for an event of a pull request, or for all of them."""
    words = ("pull-requests", "--stack", "dev", "--wait", str(wait))
    selected = ("--number", str(number)) if number is not None else ()
    return team.sandbox("run", "bin/platform", *words, *selected, fails=fails)


def close_all(team: Team) -> None:
    """Close all pull requests, and wait until their environments are gone."""
    for pull in team.github("GET", "/pulls"):
        team.github("PATCH", f"/pulls/{pull['number']}", {"state": "closed"})
    review(team)


def comments(team: Team, number: int) -> list[str]:
    return [comment["body"] for comment in team.github("GET", f"/issues/{number}/comments")]


def kubectl(team: Team, script: str) -> str:
    context = "kubectl --context do-nyc1-microservices-demo-dev"
    return team.sandbox.shell(script.replace("kubectl", context))


def exists(team: Team, namespace: str) -> bool:
    return namespace in kubectl(team, "kubectl get namespaces --output name")


def test_a_labelled_pull_request_has_an_environment_until_it_is_closed(team: Team) -> None:
    opened = time.monotonic()
    number = propose(team, "change")
    label(team, number)
    review(team, number)
    print(f"opened -> Healthy and told: {time.monotonic() - opened:.1f} s")
    [comment] = comments(team, number)
    assert f"`pr-{number}` is **Healthy**" in comment
    assert f"--namespace pr-{number} port-forward service/frontend" in comment
    assert "configmap/change" in kubectl(
        team, f"kubectl get configmaps --namespace pr-{number} --output name"
    )
    commit = team.github("GET", f"/pulls/{number}")["head"]["sha"]
    with team.sandbox.api() as api:
        image = {"repository": "frontend", "tag": commit}
        api.post("/sandbox/images", json=image).raise_for_status()
    team.github("POST", f"/issues/{number}/labels", {"labels": [f"{LABEL}-images"]})
    team.sandbox.wait_for(f"pr-{number}", image=f"frontend:{commit}")
    team.github("PATCH", f"/pulls/{number}", {"state": "closed"})
    closed = time.monotonic()
    review(team, number)
    print(f"closed -> gone and told: {time.monotonic() - closed:.1f} s")
    assert not exists(team, f"pr-{number}")
    [comment] = comments(team, number)
    assert f"`pr-{number}` is gone" in comment


@pytest.mark.weekly
def test_the_limits_of_an_environment_hold_whatever_its_pull_request_has(team: Team) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "pull-request"},
        "spec": {"hard": {"pods": "100"}},
    }
    number = propose(team, "greedy", quota=quota, pod={**POD, "metadata": {"name": "own"}})
    label(team, number)
    name = f"pr-{number}"
    until("its namespace is there", lambda: exists(team, name))

    def errors() -> str:
        return kubectl(
            team, f"kubectl get application {name} --namespace argocd --output json || true"
        )

    until("Argo CD refuses the quota", lambda: "ResourceQuota is not permitted" in errors())
    hard = json.loads(
        kubectl(team, f"kubectl get resourcequota pull-request --namespace {name} --output json")
    )["spec"]["hard"]
    assert HARD.items() <= hard.items()
    team.github("DELETE", f"/issues/{number}/labels/{LABEL}")
    # Also while Argo CD tries again and again.
    review(team, number)
    assert not exists(team, name)


@pytest.mark.weekly
def test_a_namespace_takes_no_object_of_another_pull_request(team: Team) -> None:
    """A commit names the namespace of an object: Kustomize sets it before its transformers run."""
    kubectl(team, "kubectl create namespace pr-0")
    kubectl(team, "kubectl label namespace pr-0 doks-gitops/pull-request=true")
    tracking = {"argocd.argoproj.io/tracking-id": "pr-999:/ConfigMap:pr-0/stray"}
    metadata = {"name": "stray", "annotations": tracking}
    stray = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    create = "kubectl --namespace pr-0 apply --filename - <<<'{}' 2>&1 || true"
    until(
        "it is refused",
        lambda: "another pull request has this namespace" in kubectl(team, create.format(stray)),
    )
    for owner in ("pr-0", "pr-0-limits"):
        own = stray.replace("pr-999", owner).replace('"stray"', f'"{owner}"')
        assert "created" in kubectl(team, create.format(own))
    slots = "doks-gitops-pull-requests"

    def applied_slot(kind: str, name: str) -> str:
        owner = {"argocd.argoproj.io/tracking-id": f"pr-0-limits:/{kind}:{slots}/{name}"}
        spec = (
            {"limits": [{"type": "Container"}]} if kind == "LimitRange" else {"hard": {"pods": "1"}}
        )
        slot = {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {"name": name, "annotations": owner},
            "spec": spec,
        }
        script = create.replace("pr-0 apply", f"{slots} apply --dry-run=server")
        return kubectl(team, script.format(json.dumps(slot)))

    assert "created" in applied_slot("LimitRange", "pr-0")
    for kind, name in (
        ("LimitRange", "pr-1"),
        ("ResourceQuota", "pr-0"),
        ("ResourceQuota", slots),
    ):
        assert "another pull request" in applied_slot(kind, name)
    kubectl(team, "kubectl delete namespace pr-0")


@pytest.mark.weekly
def test_a_commit_sets_no_finalizer_that_would_keep_its_namespace(team: Team) -> None:
    kubectl(team, "kubectl create namespace pr-0")
    kubectl(team, "kubectl label namespace pr-0 doks-gitops/pull-request=true")

    def identity(user: str) -> str:
        groups = ("system:masters", f"system:serviceaccounts:{user.partition(':')[0]}")
        return " ".join(
            (f"--as=system:serviceaccount:{user}", *(f"--as-group={group}" for group in groups))
        )

    def applied(kind: str, name: str, *finalizers: str, user: str = "operators:operator") -> str:
        """What Kubernetes answers a service account that applies an object of the pull request."""
        annotations = {"argocd.argoproj.io/tracking-id": f"pr-0:/{kind}:pr-0/{name}"}
        metadata = {"name": name, "annotations": annotations, "finalizers": finalizers}
        storage = {"requests": {"storage": "1Gi"}}
        claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": storage}}
        manifest = {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": metadata,
            **(claim if kind == "PersistentVolumeClaim" else {}),
        }
        return kubectl(
            team,
            f"kubectl --namespace pr-0 apply {identity(user)} --filename -"
            f" <<<'{json.dumps(manifest)}' 2>&1 || true",
        )

    own = "example.com/own"
    until("it is refused", lambda: "set no finalizers" in applied("ConfigMap", "held", own))
    assert "created" in applied("ConfigMap", "free")
    controller = "argocd:argocd-application-controller"
    assert "set no finalizers" in applied("ConfigMap", "free", own, user=controller)
    assert "configured" in applied("ConfigMap", "free", own)
    annotate = f"kubectl --namespace pr-0 annotate {identity(controller)} configmap free"
    assert "annotated" in kubectl(team, f"{annotate} changed=true")
    assert "configured" in applied("ConfigMap", "free", user=controller)
    protection = "kubernetes.io/pvc-protection"
    assert "set no finalizers" in applied("ConfigMap", "protected", protection)
    # Kubernetes adds it before the policies are asked. The claim then lacks a quota.
    assert "no params found" in applied("PersistentVolumeClaim", "data")
    kubectl(team, "kubectl delete namespace pr-0")


@pytest.mark.weekly
def test_no_pod_runs_without_its_limits_whoever_creates_it(team: Team) -> None:
    pod = json.dumps(POD)

    def refusal() -> str:
        return kubectl(team, f"kubectl --namespace pr-0 apply --filename - <<<'{pod}' 2>&1 || true")

    kubectl(team, "kubectl create namespace pr-0")
    until("a namespace without labels takes no pod", lambda: "needs the label" in refusal())
    labels = "doks-gitops/pull-request=true pod-security.kubernetes.io/enforce=baseline"
    kubectl(team, f"kubectl label namespace pr-0 {labels}")
    until("a namespace without a quota takes no pod", lambda: "no params found" in refusal())
    kubectl(team, "kubectl --namespace pr-0 create quota pull-request --hard=pods=100")
    until("a higher quota takes no pod", lambda: "allows more than the stack" in refusal())
    hard = {
        **HARD,
        "limits.memory": "4Gi",
        "requests.storage": "0",
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }
    quota = json.dumps({"spec": {"hard": hard}})
    kubectl(team, f"kubectl --namespace pr-0 patch quota pull-request --patch '{quota}'")
    pod = json.dumps({**POD, "spec": {**POD["spec"], "terminationGracePeriodSeconds": 601}})
    until("a pod that takes long to stop is refused", lambda: "of at most 600" in refusal())
    kubectl(team, "kubectl delete namespace pr-0 --wait=false")


@pytest.mark.weekly
def test_a_fork_s_commit_is_deployed_only_once_it_is_a_branch_of_the_repository(
    team: Team,
) -> None:
    team.git("switch", "--quiet", "--create", "from-fork", "origin/main")
    secret = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "from-a-fork"}}
    (team.clone / "kustomize" / "dev" / "own.yaml").write_text(json.dumps(secret))
    kustomization = team.clone / "kustomize" / "dev" / "kustomization.yaml"
    text = kustomization.read_text().replace("resources:\n", "resources:\n  - own.yaml\n", 1)
    kustomization.write_text(text)
    commit = team.commit("a fork's change")
    fork = {
        "repository": "monorepo",
        "login": "stranger",
        "branch": "from-fork",
        "base": "main",
        "source": str(team.clone),
    }
    with team.sandbox.api() as api:
        number = api.post("/sandbox/github/forks", json=fork).raise_for_status().json()["number"]
    assert comments(team, number) == []
    label(team, number)
    name = f"pr-{number}"

    def application() -> str:
        return kubectl(
            team, f"kubectl get application {name} --namespace argocd --output json || true"
        )

    until("Argo CD has no such branch", lambda: "unable to resolve" in application())
    review(team, number)
    [comment] = comments(team, number)
    assert f"git push origin {commit}:refs/heads/from-fork" in comment
    assert team.github("GET", f"/pulls/{number}")["labels"] == []
    until("nothing is left", lambda: not exists(team, name))
    team.git("push", "--quiet", "origin", f"{commit}:refs/heads/from-fork")
    label(team, number)
    review(team, number)
    assert f"`{name}` is **Healthy** at {commit[:7]}" in comments(team, number)[0]


@pytest.mark.weekly
def test_a_forged_webhook_is_refused(team: Team) -> None:
    [hook] = [hook for hook in team.github("GET", "/hooks") if hook["events"] == ["pull_request"]]
    [delivery, *_] = team.github("GET", f"/hooks/{hook['id']}/deliveries")
    details = team.github("GET", f"/hooks/{hook['id']}/deliveries/{delivery['id']}")
    for signature in ({}, {"X-Hub-Signature-256": "sha256=" + "0" * 64}):
        response = httpx.post(
            hook["config"]["url"],
            json=details["request"]["payload"],
            headers={"X-GitHub-Event": "pull_request", **signature},
        )
        assert response.status_code == 400
    assert delivery["status_code"] == 200


@pytest.mark.weekly
def test_an_overlay_that_asks_for_more_than_the_quota_is_told_so(team: Team) -> None:
    label_of_pods = {"app": "hungry"}
    template = {"metadata": {"labels": label_of_pods}, "spec": POD["spec"]}
    workload = {"selector": {"matchLabels": label_of_pods}, "template": template, "replicas": 9}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "hungry"},
        "spec": workload,
    }
    number = propose(team, "hungry", deployment=deployment)
    label(team, number)

    def comment() -> str:
        review(team, number, wait=1, fails=True)
        return comments(team, number)[0]

    until("it is told", lambda: "asks for more than the quota of an environment" in comment())
    assert "- `pods`: 1 more than the 12 that are in use, of 12" in comment()
    team.github("PATCH", f"/pulls/{number}", {"state": "closed"})
    review(team, number)


@pytest.mark.weekly
def test_of_twenty_at_once_as_many_come_up_as_there_are_slots_and_within_their_quota(
    team: Team,
) -> None:
    slots, nodes = 18, 16
    team.sandbox.shell(
        f"pulumi config set --stack dev --path doks-gitops:pullRequests.atOnce {slots}\n"
        f"pulumi config set --stack dev --path 'doks-gitops:cluster.nodePools[0].count' {nodes}"
    )
    team.sandbox("up", "dev")
    close_all(team)
    numbers = [propose(team, f"many-{number}") for number in range(20)]

    def namespaces() -> int:
        names = kubectl(team, "kubectl get namespaces --output name").split()
        return sum(name.startswith("namespace/pr-") for name in names)

    begin = time.monotonic()
    for number in numbers:
        label(team, number)
    with ThreadPoolExecutor() as threads:
        reviewed = threads.submit(review, team, wait=300)
        counts = [namespaces()]
        while not reviewed.done():
            counts.append(namespaces())
        told = reviewed.result()
    print(f"20 labelled -> {slots} Healthy, and all are told: {time.monotonic() - begin:.1f} s")
    print(f"memory of the sandbox: {team.sandbox.status()['memory'] / 2**20:.0f} MiB")
    # Kubernetes refuses the others: at no moment are there more.
    assert max(counts) == namespaces() == slots
    refused = len(numbers) - slots
    assert told.count("is **Healthy**") == slots
    assert told.count(f"there are {slots} environments already") == refused
    labels = [team.github("GET", f"/pulls/{number}")["labels"] for number in numbers]
    assert labels.count([]) == refused
    quotas = json.loads(kubectl(team, "kubectl get resourcequotas -A --output json"))["items"]
    used = {quota["metadata"]["namespace"]: quota["status"]["used"] for quota in quotas}
    assert used.pop("doks-gitops-pull-requests") == {"count/limitranges": str(slots)}
    assert {amounts["pods"] for amounts in used.values()} == {"10"}
    close_all(team)
    assert namespaces() == 0
