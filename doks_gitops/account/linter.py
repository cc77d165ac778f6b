"""What DigitalOcean's cluster linter says of a cluster before its upgrade.

https://docs.digitalocean.com/reference/api/reference/kubernetes/
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pulumi
from semver import Version

from doks_gitops.account import messages
from doks_gitops.account.check import resolve_version
from doks_gitops.account.client import AccountError, DigitalOceanClient
from doks_gitops.account.model import Account, RunningCluster
from doks_gitops.account.replacement import replacement, running_cluster
from doks_gitops.account.responses import Diagnostic
from doks_gitops.settings import Settings
from doks_gitops.settings.errors import key_of, set_command
from doks_gitops.settings.model import NAMESPACE
from doks_gitops.settings.scalars import ALL_CHECKS

ATTEMPTS = 60
"""How often the results are read until the linter is done."""
PAUSE_SECONDS = 2
CHECKS = "https://github.com/digitalocean/clusterlint/blob/master/checks.md"


def lint(settings: Settings, account: Account) -> None:
    """Shows the linter's findings if this update upgrades the running cluster.

    A preview shows those of the last run of the linter, and changes nothing (scope
    `kubernetes:read`). An update runs the linter (scope `kubernetes:update`), and raises
    `AccountError` for each finding that is an error, unless `cluster.ignoredChecks` has its check.
    """
    cluster = running_cluster(settings, account)
    if cluster is None or replacement(settings, account) is not None:
        return
    version = Version.parse(resolve_version(settings, account))
    ignored = settings.cluster.ignored_checks
    if version <= cluster.version or ALL_CHECKS in ignored:
        return
    with DigitalOceanClient.from_settings(settings.digitalocean) as client:
        is_preview = pulumi.runtime.is_dry_run()
        findings = (
            client.lint_results(cluster.id) if is_preview else _run(settings, client, cluster)
        )
    text = f"the upgrade of {cluster.name} ({cluster.id}) from {cluster.version} to {version}"
    errors = [x for x in findings or () if x.severity == "error" and x.check_name not in ignored]
    others = [x for x in findings or () if x not in errors]
    if is_preview and findings is None:
        messages.info(f"`pulumi up` runs the cluster linter before {text}.")
    elif is_preview and errors:
        messages.warn(f"The last run of the cluster linter stops {text}:\n{_lines(errors)}")
    if others:
        messages.warn(f"The cluster linter says before {text}:\n{_lines(others)}")
    if errors and not is_preview:
        raise _refusal(settings, f"{text}:\n{_lines(errors)}", errors[0].check_name)


def _run(
    settings: Settings, client: DigitalOceanClient, cluster: RunningCluster
) -> Sequence[Diagnostic]:
    run = client.run_lint(cluster.id)
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        if (results := client.lint_results(cluster.id, run)) is not None:
            return results
    problem = f"an upgrade of {cluster.name} ({cluster.id}): it has not ended yet (run {run})"
    raise _refusal(settings, problem, ALL_CHECKS)


def _refusal(settings: Settings, problem: str, check: str) -> AccountError:
    index = len(settings.cluster.ignored_checks)
    key = key_of(NAMESPACE, ("cluster", "ignoredChecks", index))
    return AccountError(
        f"DigitalOcean's cluster linter stops {problem}\nNothing was changed.",
        f"Mend what it names ({CHECKS}), then run the command again. To upgrade despite it: "
        + set_command(settings.stack, key, check),
    )


def _lines(findings: Sequence[Diagnostic]) -> str:
    return "\n".join(f"  {finding}" for finding in findings)
