"""What DigitalOcean's provider never sends is set by the commands that the program shows."""

import os
import subprocess
from dataclasses import replace

from pydantic import SecretStr

from doks_gitops import settings
from doks_gitops.account import DigitalOceanClient, RunningCluster
from doks_gitops.account.responses import DEFAULT_POOL_TAG
from doks_gitops.account.verification import Difference, differences
from tests.contract.digitalocean_api import Emulator, pool_request
from tests.unit.stackfiles import CLUSTER, parsed


def test_last_tag_and_label_and_the_surge_upgrade_are_taken_away_by_the_commands(
    do: Emulator,
) -> None:
    extra = pool_request(name="extra", count=1, labels={"tier": "web"}, tags=["web"])
    created = do.running_cluster(
        name="demo",
        surge_upgrade=True,
        node_pools=[pool_request(labels={"tier": "web"}, tags=[DEFAULT_POOL_TAG]), extra],
    )
    pools = [
        {"name": name, "size": "s-2vcpu-4gb", "count": count}
        for name, count in (("default", 2), ("extra", 1))
    ]
    stack = parsed(cluster={**CLUSTER, "nodePools": pools, "surgeUpgrade": False})
    endpoint = settings.DigitalOcean(token=SecretStr(do.token), api_endpoint=do.url)
    stack = stack.model_copy(update={"digitalocean": endpoint})

    def lacking() -> tuple[Difference, ...]:
        [cluster] = read()
        return differences(stack, cluster.version, cluster)

    def read() -> tuple[RunningCluster, ...]:
        with DigitalOceanClient(do.token, do.url) as client:
            return client.clusters()

    [before] = read()
    missing = lacking()
    assert {difference.path[-1] for difference in missing} == {"surgeUpgrade", "labels", "tags"}
    for command in {difference.command for difference in missing}:
        assert command is not None
        subprocess.run(
            ["sh", "-c", command], check=True, env={**os.environ, "DIGITALOCEAN_TOKEN": do.token}
        )
    assert lacking() == ()
    [after] = read()
    assert (after.id, after.default_pool) == (created["id"], "default")
    assert replace(after, pools={}, surge_upgrade=True) == replace(before, pools={})
    for name, pool in before.pools.items():
        emptied = replace(pool, labels={}, tags=frozenset())
        assert after.pools[name] == emptied
