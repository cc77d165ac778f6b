"""Estimates of what stacks cost: exact sums of the stack files and an account's prices."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from doks_gitops import account
from doks_gitops.account import Prices, Volume, VolumeSnapshot
from doks_gitops.costs import bill
from doks_gitops.costs.stacks import bills
from doks_gitops.settings import SettingsError
from doks_gitops.settings.offline import billable_sections
from sandbox.digitalocean.catalogue import SIZES, TIERS
from tests.unit.stackfiles import CLUSTER, ROOT, STACKS

BinPlatform = Callable[..., tuple[int, str, str]]
PRICES = Prices(
    sizes={slug: Decimal(size.price_monthly) for slug, size in SIZES.items()},
    tiers={slug: Decimal(tier.monthly_price_in_cents) / 100 for slug, tier in TIERS.items()},
    tier="basic",
)
ARGOCD = {"values": {"server": {"service": {"type": "LoadBalancer"}}}}


@pytest.fixture(autouse=True)
def accounts_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Token and API address of every account whose prices were read."""
    accounts: list[tuple[str, str]] = []

    def read_prices(token: str, api_url: str) -> Prices:
        accounts.append((token, api_url))
        return PRICES

    monkeypatch.setattr(account, "read_prices", read_prices)
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "dop_v1_environment")
    for name in ("DIGITALOCEAN_ACCESS_TOKEN", "DIGITALOCEAN_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return accounts


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stack files of this project, which is the working directory."""
    for stack in STACKS:
        file = f"Pulumi.{stack}.yaml"
        (tmp_path / file).write_text((ROOT / file).read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(project: Path, stack: str, **sections: object) -> None:
    """Put these sections into a stack file in place of its own."""
    file = project / f"Pulumi.{stack}.yaml"
    content = yaml.safe_load(file.read_text())
    content["config"] |= {
        key if ":" in key else f"doks-gitops:{key}": value for key, value in sections.items()
    }
    file.write_text(yaml.safe_dump(content))


def span(costs: bill.Line | bill.Bill) -> tuple[float, float]:
    return float(costs.least), float(costs.most)


def amounts(*stacks: str) -> list[tuple[float, float]]:
    return [span(estimate) for estimate in bills(stacks, Path())]


def test_the_projects_own_stacks_cost_what_their_files_ask_for(project: Path) -> None:
    del project
    dev, staging, prod, shared = amounts(*STACKS)
    assert dev == (24, 24)
    assert staging == (2 * 24, 2 * 24)
    assert prod == (3 * 48 + 40, 6 * 48 + 40)
    assert shared == (5, 5)


def test_pools_add_up_and_autoscaled_pools_have_a_range(project: Path) -> None:
    pools = [
        {"name": "default", "size": "s-2vcpu-4gb", "count": 3},
        {"name": "burst", "size": "c-4", "autoscale": {"min": 1, "max": 5}},
    ]
    write(project, "dev", cluster={**CLUSTER, "nodePools": pools})
    [dev, _] = bills(["dev"], Path())
    assert [span(line) for line in dev.lines] == [(72, 72), (84, 420), (0, 0)]
    assert span(dev) == (156, 492)


def test_a_highly_available_control_plane_is_prods_default_and_can_be_chosen(project: Path) -> None:
    write(project, "prod", cluster=CLUSTER)
    write(project, "dev", cluster={**CLUSTER, "highAvailability": True})
    write(project, "staging", cluster=CLUSTER)
    assert amounts(*STACKS)[:3] == [(112, 112), (72, 72), (112, 112)]


def test_the_registry_is_paid_once_by_the_tier_of_the_stack_that_creates_it(project: Path) -> None:
    name = "microservices-demo"
    write(project, "prod", registry={"name": name, "create": True, "tier": "professional"})
    [dev, staging, shared] = bills(["dev", "staging"], Path())
    [line] = shared.lines
    assert (line.what, span(line)) == (f"registry {name}", (20, 20))
    assert line.details == "professional, created by prod"
    assert span(bill.total([dev, staging, shared])) == (92, 92)


def test_an_account_without_a_registry_pays_for_none() -> None:
    nothing = bill.of_account("team", None, Prices(PRICES.sizes, PRICES.tiers, None))
    assert span(nothing) == (0, 0)


def test_a_load_balancer_that_the_stack_file_gives_argocd_is_included(project: Path) -> None:
    write(project, "dev", argocd=ARGOCD)
    assert amounts("dev")[0] == (36, 36)


def test_a_size_that_the_account_does_not_have_is_an_error_with_its_key(project: Path) -> None:
    pool = {"name": "default", "size": "s-2vcpu-5gb", "count": 1}
    write(project, "dev", cluster={**CLUSTER, "nodePools": [pool]})
    with pytest.raises(SettingsError) as error:
        bills(["dev"], Path())
    assert "Pulumi.dev.yaml: doks-gitops:cluster.nodePools[0].size" in str(error.value)
    assert '"s-2vcpu-5gb", which is no size for this account' in str(error.value)
    assert "did you mean s-2vcpu-4gb?" in str(error.value)


def test_all_findings_in_the_billable_sections_are_reported(
    project: Path, bin_platform: BinPlatform
) -> None:
    pool = {"name": "default", "size": "s-2vcpu-4gb", "count": 0}
    write(project, "dev", cluster={**CLUSTER, "nodePools": [pool]}, registry={"nmae": "x"})
    code, _, error = bin_platform("costs", "--stack", "dev")
    assert code == 1
    assert "doks-gitops:cluster.nodePools[0].count" in error
    assert "doks-gitops:registry.nmae" in error
    assert "doks-gitops:registry.name" in error


def test_secrets_and_sections_that_are_not_set_yet_are_not_needed() -> None:
    text = (ROOT / "Pulumi.dev.yaml").read_text()
    assert "monorepo: {}" in text
    cluster, registry = billable_sections("dev", text)
    assert (cluster.name, registry.name) == ("microservices-demo-dev", "microservices-demo")


def test_error_for_broken_yaml_names_the_file() -> None:
    with pytest.raises(SettingsError, match=r"Pulumi\.dev\.yaml: the whole file"):
        billable_sections("dev", "config: [")


def test_each_account_is_read_once_and_a_stacks_own_token_comes_before_the_environments(
    project: Path, accounts_read: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, "prod", **{"digitalocean:token": {"secure": "v1:encrypted"}})
    pulumi = project / "pulumi"
    pulumi.write_text('#!/bin/sh\necho \'{"secret": true, "value": "dop_v1_of_\'$7\'"}\'\n')
    pulumi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{project}{os.pathsep}{os.environ['PATH']}")
    assert len(bills(STACKS, Path())) == len(STACKS) + 2, "each account has its registry"
    address = "https://api.digitalocean.com"
    assert accounts_read == [("dop_v1_environment", address), ("dop_v1_of_prod", address)]


def test_error_for_a_missing_token_names_both_sources_of_prices(
    project: Path, bin_platform: BinPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    del project
    monkeypatch.delenv("DIGITALOCEAN_TOKEN")
    code, _, error = bin_platform("costs")
    assert code == 1
    assert "export DIGITALOCEAN_TOKEN" in error
    assert "bin/sandbox run bin/platform costs" in error


def test_a_stack_without_a_file_is_an_error(project: Path, bin_platform: BinPlatform) -> None:
    del project
    code, _, error = bin_platform("costs", "--stack", "qa")
    assert code == 1
    assert "Pulumi.qa.yaml can't be read: No such file" in error


def test_table_and_json_have_the_same_content(project: Path, bin_platform: BinPlatform) -> None:
    del project
    code, table_text, _ = bin_platform("costs")
    json_code, json_text, _ = bin_platform("costs", "--json")
    assert (code, json_code) == (0, 0)
    table, estimate = table_text.splitlines(), json.loads(json_text)
    assert (estimate["least"], estimate["most"]) == (261, 405)
    [last] = [line for line in table if line.startswith("all together")]
    assert last.endswith(" 261.00 to 405.00")
    assert estimate["notIncluded"][0] in table[-1]
    assert max(map(len, table[:-1])) <= 80


def test_volumes_and_their_snapshots_cost_what_the_account_has_and_what_may_become_of_it() -> None:
    tags = frozenset({"doks-gitops-owner:doks-gitops:dev:a"})
    volumes = [Volume(str(size), "pvc", "nyc1", size, tags=tags) for size in (5, 20)]
    taken = datetime(2026, 1, 31, tzinfo=UTC)
    snapshots = [VolumeSnapshot("s", "s", "5", ("nyc1",), taken, size=Decimal("1.5"), tags=tags)]
    volume_line, snapshot_line = bill.of_volumes(volumes, snapshots, keep=7)
    assert volume_line.least == volume_line.most == Decimal("2.50")
    assert (snapshot_line.least, snapshot_line.most) == (Decimal("0.09"), Decimal("10.50"))
    assert bill.of_volumes([], [], None) == []


def test_only_the_volumes_of_the_stack_are_on_its_bill(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def volume(id: str, stack: str) -> Volume:
        mark = f"doks-gitops-owner:doks-gitops:{stack}:a"
        return Volume(id, "pvc", "nyc1", 10, tags=frozenset({mark}))

    volumes = (volume("1", "dev"), volume("2", "prod"))
    monkeypatch.setattr(account.DigitalOceanClient, "volumes", lambda _: volumes)
    monkeypatch.setattr(account.DigitalOceanClient, "snapshots", lambda _: ())
    write(project, "dev", volumes={})
    dev, staging, _ = bills(["dev", "staging"], project)
    [line] = [line for line in dev.lines if line.what == "volumes"]
    assert (line.details, line.least) == ("1, 10 GiB at 0.10 for a GiB", Decimal("1.00"))
    assert "volumes" not in {line.what for line in staging.lines}
