"""What faults of the outside world do to a platform: it waits until they have passed, or names the
problem and the next command; afterwards a rerun completes. The state never loses anything.

The tests build on each other: nothing is deployed at first."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.box import IMAGE, PATIENCE, REPOSITORY, Sandbox, until

APPLICATION = "dev-microservices-demo"
CLUSTERS = "/v2/kubernetes/clusters"
UP = ("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview")
REFRESH = ("pulumi", "refresh", "--stack", "dev", "--yes", "--skip-preview")


@pytest.fixture(scope="module", autouse=True)
def _running(sandbox: Sandbox) -> None:
    sandbox("start")


@pytest.fixture(autouse=True)
def _no_fault_is_left(sandbox: Sandbox) -> Iterator[None]:
    yield
    sandbox("fault", "clear")


def url(sandbox: Sandbox) -> str:
    """The address at which the sandbox serves the account, Git and charts."""
    return str(sandbox.daemon["url"])


def clusters(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The clusters as the account's API shows them."""
    with sandbox.api() as api:
        answer: dict[str, list[dict[str, Any]]] = api.get(CLUSTERS).json()
    return answer["kubernetes_clusters"]


def delete(sandbox: Sandbox, cluster_id: str) -> None:
    with sandbox.api() as api:
        api.delete(f"{CLUSTERS}/{cluster_id}").raise_for_status()
    until("the cluster's name is free", lambda: not clusters(sandbox))


def resources(sandbox: Sandbox) -> set[tuple[str, str]]:
    """The resources of the stack's state: their URNs and ids."""
    deployment = json.loads(sandbox.shell("pulumi stack export --stack dev"))["deployment"]
    return {
        (resource["urn"], resource.get("id", "")) for resource in deployment.get("resources", [])
    }


def is_explained(output: str, message: str) -> bool:
    """Whether the message is in the output, and in the page that says what to do about it."""
    document = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
    general = message.replace("microservices-demo-dev", "NAME")
    return message in " ".join(output.split()) and f"| `{general}` |" in document


def refresh(sandbox: Sandbox, how: str) -> None:
    """Does what the refresh button of Argo CD's web page does."""
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
    ("fault", "message"),
    [
        ("token-read-only", "You do not have access for the attempted action."),
        ("quota", "additional nodes but not enough available droplet limit"),
    ],
)
def test_a_first_deployment_that_is_refused_says_why_and_makes_no_cluster(
    sandbox: Sandbox, fault: str, message: str
) -> None:
    sandbox("fault", "add", fault)
    output = sandbox(*UP, fails=True)
    assert is_explained(output, message)
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
    rerun = sandbox(*UP, fails=True)
    [failed] = clusters(sandbox)
    assert is_explained(rerun, "which DigitalOcean could not make")
    assert f"doctl kubernetes cluster delete {failed['id']}" in rerun
    delete(sandbox, failed["id"])


def test_a_cluster_of_which_the_answer_was_lost_is_not_made_twice(sandbox: Sandbox) -> None:
    sandbox("fault", "add", "lost-answer", "--times", "1", "--method", "POST", "--path", CLUSTERS)
    output = sandbox(*UP, fails=True)
    assert is_explained(output, "a cluster with name microservices-demo-dev already exists")
    [cluster] = clusters(sandbox)
    delete(sandbox, cluster["id"])


def test_what_passes_is_waited_out_and_a_chart_repository_that_is_down_is_named(
    sandbox: Sandbox,
) -> None:
    sandbox("fault", "add", "rate-limit", "--times", "2")
    sandbox("fault", "add", "server-error", "--times", "1", "--method", "POST")
    sandbox("fault", "add", "timeout", "--times", "1", "--seconds", "1")
    sandbox("fault", "add", "reset", "--times", "2", "--path", f"{CLUSTERS}/*")
    sandbox("fault", "add", "charts-down")
    output = sandbox(*UP, fails=True)
    assert is_explained(output, "is not a valid chart repository or cannot be reached")
    assert f"{url(sandbox)}/charts" in output
    active = re.findall(r"fault \d+: ([a-z-]+)", sandbox("fault", "list"))
    assert active == ["charts-down"], "all others have struck as often as they could"
    [cluster] = clusters(sandbox)
    assert cluster["status"]["state"] == "running"


def test_helm_that_fails_half_way_names_what_was_refused(sandbox: Sandbox) -> None:
    sandbox("fault", "add", "helm-fails")
    output = sandbox(*UP, fails=True)
    assert is_explained(output, "was created, but failed to initialize completely")
    assert 'statefulsets.apps "argocd-application-controller" is forbidden' in output


def test_the_rerun_completes_while_the_cluster_is_degraded(sandbox: Sandbox) -> None:
    sandbox("fault", "add", "cluster-degraded")
    sandbox(*UP)
    sandbox.wait_for(APPLICATION)
    assert [cluster["status"]["state"] for cluster in clusters(sandbox)] == ["degraded"]


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
        until("a node is asked for", lambda: nodes() == ["running", "provisioning"])
        assert up.poll() is None, log.read_text()
        sandbox("fault", "clear")
        assert up.wait(PATIENCE) == 0, log.read_text()
    finally:
        up.kill()
        up.wait()
    assert nodes() == ["running", "running"]


@pytest.mark.weekly
def test_an_upgrade_that_failed_half_way_and_was_taken_back_is_recovered(
    sandbox: Sandbox,
) -> None:
    """After a refresh the failed release looks complete, and Helm's last good record has the values
    that the stack file has again: neither shows that anything is left to do."""

    def setting() -> str:
        kubectl = "kubectl --context do-nyc1-microservices-demo-dev --namespace argocd"
        config_map = json.loads(sandbox.shell(f"{kubectl} get configmap argocd-cm -o json"))
        return str(config_map["data"]["timeout.hard.reconciliation"])

    sandbox(*UP)
    stack = sandbox.home / "project" / "Pulumi.dev.yaml"
    before, original = stack.read_text(), setting()
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
    assert setting() == original != "1h"
    # Now nothing is lost: the recovery only deploys, and that changes nothing.
    output = sandbox("recover", "dev")
    assert output.count("1/1 Deploy.") == 1
    assert re.search(r"Resources:\s+\d+ unchanged", output)


def test_an_unreachable_cluster_is_not_forgotten(sandbox: Sandbox) -> None:
    before = resources(sandbox)
    [cluster] = clusters(sandbox)
    sandbox("fault", "add", "cluster-unreachable")
    output = sandbox(*UP, "--refresh", fails=True)
    assert is_explained(output, "unreachable cluster")
    assert is_explained(sandbox(*REFRESH, fails=True), "unreachable cluster")
    assert cluster["id"] in sandbox("recover", "dev", fails=True)
    assert resources(sandbox) == before
    sandbox("fault", "clear")
    assert sandbox.is_healthy(APPLICATION), "nothing in the cluster has noticed"


def test_nothing_is_forgotten_for_a_token_that_has_become_invalid(sandbox: Sandbox) -> None:
    before = resources(sandbox)
    sandbox("fault", "add", "token-invalid")
    assert is_explained(sandbox(*UP, fails=True), "refused the API token")
    assert is_explained(sandbox(*REFRESH, fails=True), "Unable to authenticate you")
    assert "refused the API token" in sandbox("recover", "dev", fails=True)
    assert resources(sandbox) == before
    sandbox("fault", "clear")
    sandbox(*UP, "--refresh", "--expect-no-changes")


def test_recovery_touches_nothing_while_another_run_holds_the_lock(sandbox: Sandbox) -> None:
    """To Helm, a release that another run installs looks like one that was interrupted."""
    kubectl = "kubectl --namespace argocd"
    record = "sh.helm.release.v1.argocd.v99"
    sandbox.shell(
        f"{kubectl} create secret generic {record}\n"
        f"{kubectl} label secret {record} owner=helm name=argocd version=99 status=pending-upgrade"
    )
    locks = sandbox.home / "state" / ".pulumi" / "locks" / "organization" / "doks-gitops" / "dev"
    locks.mkdir(parents=True, exist_ok=True)
    lock = locks / "another-run.json"
    holder = {"username": "mia", "hostname": "box", "timestamp": "2026-11-24T03:00:00Z"}
    lock.write_text(json.dumps({**holder, "pid": os.getpid()}))

    output = " ".join(sandbox("recover", "dev", fails=True).split())
    assert f"created by mia@box (pid {os.getpid()}) at 2026-11-24T03:00:00Z" in output
    assert "bin/platform recover --stack dev --cancel" in output
    assert record in sandbox.shell(f"{kubectl} get secrets --output name")

    lock.unlink()
    assert f"Remove Helm's records {record} (pending-upgrade)" in sandbox("recover", "dev")
    assert record not in sandbox.shell(f"{kubectl} get secrets --output name")


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

    def message() -> str:
        application = sandbox.application(APPLICATION)
        assert application is not None
        return str(application["message"])

    sandbox("fault", "add", "git-down")
    # By itself, Argo CD reports only a Git server that is down for more than three minutes.
    refresh(sandbox, "hard")
    until("the application reports it", lambda: is_explained(message(), "failed to list refs"))
    assert f"{url(sandbox)}/git/monorepo.git" in message()
    sandbox("fault", "clear")
    subprocess.run([*git, "push", "--quiet"], check=True)
    sandbox("fault", "add", "git-slow", "--seconds", "2")
    refresh(sandbox, "normal")
    sandbox.wait_for(APPLICATION, image=":v9.9.9")
