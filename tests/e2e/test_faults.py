"""What faults of the world do to a platform: it gets over them by itself, or says what is wrong and
what to do; afterwards a rerun completes. Nothing is ever forgotten because of one."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.box import IMAGE, REPOSITORY, Sandbox, until

APPLICATION = "dev-microservices-demo"
CLUSTERS = "/v2/kubernetes/clusters"
UP = ("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview")
REFRESH = ("pulumi", "refresh", "--stack", "dev", "--yes", "--skip-preview")


@pytest.fixture(scope="module")
def sandbox(box: Sandbox) -> Sandbox:
    """One in which nothing is deployed at first; these tests build on each other."""
    return box


@pytest.fixture(autouse=True)
def _no_fault_is_left(sandbox: Sandbox) -> Iterator[None]:
    yield
    sandbox("fault", "clear")


def daemon(sandbox: Sandbox) -> dict[str, str]:
    said: dict[str, str] = json.loads((sandbox.home / "daemon.json").read_text())
    return said


def url(sandbox: Sandbox) -> str:
    """Where the sandbox serves the account, Git and charts."""
    return daemon(sandbox)["url"]


def api(sandbox: Sandbox) -> httpx.Client:
    """The account's API."""
    headers = {"Authorization": f"Bearer {daemon(sandbox)['token']}"}
    return httpx.Client(base_url=url(sandbox), headers=headers)


def clusters(sandbox: Sandbox) -> list[dict[str, Any]]:
    with api(sandbox) as account:
        found: list[dict[str, Any]] = account.get(CLUSTERS).json()["kubernetes_clusters"]
        return found


def delete(sandbox: Sandbox, cluster_id: str) -> None:
    with api(sandbox) as account:
        account.delete(f"{CLUSTERS}/{cluster_id}").raise_for_status()
    until(30, "its name is free", lambda: not clusters(sandbox))


def known(sandbox: Sandbox) -> set[tuple[str, str]]:
    """What the stack's state holds, and which it is."""
    deployment = json.loads(sandbox.shell("pulumi stack export --stack dev"))["deployment"]
    return {(each["urn"], each.get("id", "")) for each in deployment.get("resources", [])}


def healthy(sandbox: Sandbox) -> bool:
    return any(
        (each["name"], each["sync"], each["health"]) == (APPLICATION, "Synced", "Healthy")
        for cluster in sandbox.status()["clusters"]
        for each in cluster["applications"]
    )


def explained(output: str, message: str) -> bool:
    """Whether that message is in the output, and in the document that says what to do."""
    document = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    general = message.replace("microservices-demo-dev", "NAME")
    return message in " ".join(output.split()) and f"| `{general}` |" in document


def refresh(sandbox: Sandbox, how: str) -> None:
    """What the button of Argo CD's web page does."""
    sandbox.shell(
        f"""
        umask 077
        export KUBECONFIG=$SANDBOX_HOME/kubeconfig-of-dev
        pulumi stack output kubeconfig --stack dev --show-secrets > $KUBECONFIG
        kubectl --namespace argocd annotate application {APPLICATION} \
            argocd.argoproj.io/refresh={how}
        """
    )


# Before anything is deployed


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("token-read-only", "You do not have access for the attempted action."),
        ("quota", "additional nodes but not enough available droplet limit"),
    ],
)
def test_a_first_deployment_that_is_refused_says_why_and_makes_no_cluster(
    sandbox: Sandbox, fault: str, said: str
) -> None:
    sandbox("fault", "add", fault)
    output = sandbox(*UP, fails=True)
    assert explained(output, said)
    assert f"POST {url(sandbox)}{CLUSTERS}: 4" in output
    assert "Traceback" not in output
    assert not clusters(sandbox)


def test_a_cluster_that_could_not_be_made_is_named_with_the_command_that_goes_on(
    sandbox: Sandbox,
) -> None:
    sandbox("fault", "add", "cluster-error")
    output = sandbox(*UP, fails=True)
    assert "Error creating Kubernetes cluster: the control plane could not be provisioned" in output
    sandbox("fault", "clear")
    again = sandbox(*UP, fails=True)
    [failed] = clusters(sandbox)
    assert explained(again, "which DigitalOcean could not make")
    assert f"doctl kubernetes cluster delete {failed['id']}" in again
    delete(sandbox, failed["id"])


def test_a_cluster_of_which_the_answer_was_lost_is_not_made_twice(sandbox: Sandbox) -> None:
    sandbox("fault", "add", "lost-answer", "--times", "1", "--method", "POST", "--path", CLUSTERS)
    output = sandbox(*UP, fails=True)
    assert explained(output, "a cluster with name microservices-demo-dev already exists")
    [made] = clusters(sandbox)
    delete(sandbox, made["id"])


def test_what_passes_is_waited_out_and_a_chart_repository_that_is_down_is_named(
    sandbox: Sandbox,
) -> None:
    sandbox("fault", "add", "rate-limit", "--times", "2")
    sandbox("fault", "add", "server-error", "--times", "1", "--method", "POST")
    sandbox("fault", "add", "timeout", "--times", "1", "--seconds", "1")
    sandbox("fault", "add", "reset", "--times", "2", "--path", f"{CLUSTERS}/*")
    sandbox("fault", "add", "charts-down")
    output = sandbox(*UP, fails=True)
    assert explained(output, "is not a valid chart repository or cannot be reached")
    assert f"{url(sandbox)}/charts" in output
    left = re.findall(r"fault \d+: ([a-z-]+)", sandbox("fault", "list"))
    assert left == ["charts-down"], "all others have struck as often as they could"
    [made] = clusters(sandbox)
    assert made["status"]["state"] == "running"


def test_helm_that_fails_half_way_names_what_was_refused(sandbox: Sandbox) -> None:
    sandbox("fault", "add", "helm-fails")
    output = sandbox(*UP, fails=True)
    assert explained(output, "was created, but failed to initialize completely")
    assert 'statefulsets.apps "argocd-application-controller" is forbidden' in output


def test_the_rerun_completes_while_the_cluster_is_degraded(sandbox: Sandbox) -> None:
    sandbox("fault", "add", "cluster-degraded")
    sandbox(*UP)
    until(120, "the application is healthy", lambda: healthy(sandbox))
    assert [each["status"]["state"] for each in clusters(sandbox)] == ["degraded"]


# Once all is deployed


def test_nodes_are_waited_for_as_long_as_there_is_no_capacity(sandbox: Sandbox) -> None:
    sandbox("fault", "add", "no-capacity")
    count = "doks-gitops:cluster.nodePools[0].count"
    sandbox("pulumi", "config", "set", "--stack", "dev", "--path", count, "2")

    def nodes() -> list[str]:
        [cluster] = clusters(sandbox)
        return [node["status"]["state"] for pool in cluster["node_pools"] for node in pool["nodes"]]

    log = sandbox.home / "scaling.txt"
    with log.open("wb") as output:
        up = subprocess.Popen(
            [REPOSITORY / "bin" / "sandbox", *UP], env=sandbox.env, stdout=output, stderr=output
        )
    try:
        until(60, "a node is asked for", lambda: nodes() == ["running", "provisioning"])
        assert up.poll() is None, log.read_text()
        sandbox("fault", "clear")
        assert up.wait(60) == 0, log.read_text()
    finally:
        up.kill()
        up.wait()
    assert nodes() == ["running", "running"]


def test_an_upgrade_that_failed_half_way_and_was_taken_back_is_recovered(
    sandbox: Sandbox,
) -> None:
    """A refresh takes the failed release for done, and Helm's last good record is of the very
    values that the stack file is back at: neither says that anything is left to do."""

    def setting() -> str:
        inside = "kubectl --context do-nyc1-microservices-demo-dev --namespace argocd"
        found = json.loads(sandbox.shell(f"{inside} get configmap argocd-cm -o json"))
        return str(found["data"]["timeout.hard.reconciliation"])

    stack = sandbox.home / "project" / "Pulumi.dev.yaml"
    before, usual = stack.read_text(), setting()
    config = yaml.safe_load(before)
    values = config["config"]["doks-gitops:argocd"].setdefault("values", {})
    cm = values.setdefault("configs", {}).setdefault("cm", {})
    cm["timeout.hard.reconciliation"] = "1h"
    values["controller"] = {"resources": {"requests": {"cpu": "1m"}}}
    stack.write_text(yaml.safe_dump(config))
    sandbox("fault", "add", "helm-fails")
    sandbox(*UP, fails=True)
    stack.write_text(before)
    sandbox("fault", "clear")
    assert setting() == "1h"
    assert "so that it upgrades from sh.helm.release.v1.argocd.v" in sandbox("recover", "dev")
    assert setting() == usual != "1h"
    assert sandbox("recover", "dev").count("1/1 Deploy.") == 1


def test_a_cluster_that_nobody_gets_to_is_not_forgotten(sandbox: Sandbox) -> None:
    before = known(sandbox)
    [cluster] = clusters(sandbox)
    sandbox("fault", "add", "cluster-unreachable")
    output = sandbox(*UP, "--refresh", fails=True)
    assert explained(output, "unreachable cluster")
    assert explained(sandbox(*REFRESH, fails=True), "unreachable cluster")
    assert cluster["id"] in sandbox("recover", "dev", fails=True)
    assert known(sandbox) == before
    sandbox("fault", "clear")
    assert healthy(sandbox), "nothing in it has noticed"


def test_nothing_is_forgotten_for_a_token_that_has_become_invalid(sandbox: Sandbox) -> None:
    before = known(sandbox)
    sandbox("fault", "add", "token-invalid")
    assert explained(sandbox(*UP, fails=True), "refused the API token")
    assert explained(sandbox(*REFRESH, fails=True), "Unable to authenticate you")
    assert "refused the API token" in sandbox("recover", "dev", fails=True)
    assert known(sandbox) == before
    sandbox("fault", "clear")
    sandbox(*UP, "--refresh", "--expect-no-changes")


def test_recovery_touches_nothing_while_another_run_is_at_it(sandbox: Sandbox) -> None:
    """To Helm, a release that another run is working on looks like one that was cut off."""
    inside = "kubectl --namespace argocd"
    record = "sh.helm.release.v1.argocd.v99"
    sandbox.shell(
        f"{inside} create secret generic {record}\n"
        f"{inside} label secret {record} owner=helm name=argocd version=99 status=pending-upgrade"
    )
    locks = sandbox.home / "state" / ".pulumi" / "locks" / "organization" / "doks-gitops" / "dev"
    locks.mkdir(parents=True, exist_ok=True)
    lock = locks / "another-run.json"
    holder = {"username": "mia", "hostname": "box", "timestamp": "2026-11-24T03:00:00Z"}
    lock.write_text(json.dumps({**holder, "pid": os.getpid()}))

    output = " ".join(sandbox("recover", "dev", fails=True).split())
    assert f"created by mia@box (pid {os.getpid()}) at 2026-11-24T03:00:00Z" in output
    assert "bin/platform recover --stack dev --cancel" in output
    assert record in sandbox.shell(f"{inside} get secrets --output name")

    lock.unlink()
    assert f"Remove Helm's records {record} (pending-upgrade)" in sandbox("recover", "dev")
    assert record not in sandbox.shell(f"{inside} get secrets --output name")


def test_git_that_is_down_is_named_and_slow_git_is_waited_for(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    sandbox("clone", str(clone))
    overlay = clone / "kustomize" / "dev" / "kustomization.yaml"
    image, tag = IMAGE.findall(overlay.read_text())[0]
    sandbox("push-image", f"{image}:v9.9.9")
    overlay.write_text(overlay.read_text().replace(f"newTag: {tag}", "newTag: v9.9.9", 1))
    git = ["git", "-C", str(clone), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "commit", "--quiet", "--all", "-m", "a new tag"], check=True)

    def said() -> str:
        return str(sandbox.application(APPLICATION)["message"])

    sandbox("fault", "add", "git-down")
    # By itself, Argo CD says nothing of a Git that is down for less than three minutes.
    refresh(sandbox, "hard")
    until(60, "the application says so", lambda: explained(said(), "failed to list refs"))
    assert f"{url(sandbox)}/git/monorepo.git" in said()
    sandbox("fault", "clear")
    subprocess.run([*git, "push", "--quiet"], check=True)
    sandbox("fault", "add", "git-slow", "--seconds", "2")
    refresh(sandbox, "normal")
    until(
        90,
        "the commit is deployed",
        lambda: "v9.9.9" in str(sandbox.application(APPLICATION)["images"]) and healthy(sandbox),
    )
