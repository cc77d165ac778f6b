"""GitHubDelivery with the github plugin under the real engine, on an emulated GitHub."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.toolchain.recipes import PULUMI
from tests.contract.built_tools import binary
from tests.contract.github_api import OWNER, REPO, Emulator, emulator
from tests.contract.pulumi_stack import Stack
from tests.contract.test_github_api import KEY

PROGRAM = """
import pulumi
import pulumi_github
from components import github as parts

provider = pulumi_github.Provider(
    "github", owner="{owner}", token=pulumi.Output.secret("{token}"), base_url="{base_url}",
    write_delay_ms=0,
)
parts.GitHubDelivery(
    "github",
    parts.GitHubDeliveryArgs(
        "shop",
        deploy_key=parts.DeployKey("dev", "{key}"),
        webhook=parts.Webhook("{hook}", "a webhook secret"),
        ruleset=parts.Ruleset(
            "main", checks=("tests",), approvals={approvals},
            bypass=(parts.Bypass(team="ops"), parts.Bypass(organization_admins=True)),
        ),
        environments={{
            "dev": parts.Environment(
                users=("ada",), secrets={{"TOKEN": "hush hush"}}, variables={{"REGION": "nyc1"}}
            )
        }},
        secrets={{"TOKEN": "hush hush"}},
        variables={{"REGION": "nyc1"}},
    ),
    pulumi.ResourceOptions(providers=[provider]),
)
"""


@pytest.fixture
def gh(tmp_path: Path) -> Iterator[Emulator]:
    binary(PULUMI, "pulumi")
    with emulator(tmp_path) as served:
        served.token_of("ada")
        served.in_server(lambda: served.github.state.add_team("ops", ["ada"]))
        yield served


def test_a_stack_is_created_refreshed_updated_and_destroyed(tmp_path: Path, gh: Emulator) -> None:
    (tmp_path / "stack").mkdir()
    stack = Stack.new(tmp_path / "stack", has_github=True)

    def program(approvals: int) -> None:
        stack.program(
            PROGRAM.format(
                owner=OWNER, token=gh.token, base_url=gh.base_url, key=KEY, hook=gh.receiver.url,
                approvals=approvals,
            )
        )  # fmt: skip

    program(1)
    preview = stack.run("preview", "--diff")
    assert preview.code == 0, preview.output
    assert gh.call("GET", f"{REPO}/hooks", status=200) == []
    created = stack.up()
    assert created.code == 0, created.output
    repository = gh.github.state.repository("shop")
    assert [key.key for key in repository.keys] == [KEY]
    assert repository.hooks[0].config.secret == "a webhook secret"
    assert [actor.actor_type for actor in repository.rulesets[0].bypass_actors] == [
        "Team",
        "OrganizationAdmin",
    ]
    [environment] = repository.environments
    assert [reviewer.type for reviewer in environment.reviewers] == ["User"]
    for vault in (repository.vault, environment.vault):
        assert vault.secrets["TOKEN"].value == "hush hush"
        assert vault.variables["REGION"].value == "nyc1"
    exported = json.dumps(stack.resources())
    for secret in ("a webhook secret", "hush hush", gh.token):
        assert secret not in exported
        assert secret not in preview.output + created.output

    count = sum(created.changes.values())
    assert stack.up().changes == {"same": count}
    assert stack.refresh().changes == {"same": count}

    program(2)
    gh.call("DELETE", f"{REPO}/hooks/{repository.hooks[0].id}", status=204)
    repaired = stack.up("--refresh")
    assert repaired.code == 0, repaired.output
    assert repaired.changes["update"] == 1
    assert repaired.changes["create"] == 1
    rules = repository.rulesets[0].parameters("pull_request")
    assert rules is not None
    assert rules["required_approving_review_count"] == 2

    destroyed = stack.destroy()
    assert destroyed.code == 0, destroyed.output
    remaining = (repository.keys, repository.hooks, repository.rulesets, repository.environments)
    assert remaining == ([], [], [], [])
    assert not repository.vault.secrets
    assert not repository.vault.variables
