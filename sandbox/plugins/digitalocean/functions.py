"""The lookups, without `getContainerRegistry`, which returns no values:
https://github.com/digitalocean/terraform-provider-digitalocean/issues/1535"""

import time
from collections.abc import Mapping

from sandbox.plugins.bridge.resource import Function
from sandbox.plugins.bridge.schema import (
    Properties,
    at_least,
    integer,
    not_empty,
    string,
)
from sandbox.plugins.common import Failure
from sandbox.plugins.digitalocean.api import Api, failing
from sandbox.plugins.digitalocean.cluster import SWITCHES, KubernetesCluster, describe_cluster
from sandbox.plugins.digitalocean.node_pool import CLUSTERS
from sandbox.plugins.digitalocean.vpc import PATH as VPCS
from sandbox.plugins.digitalocean.vpc import describe as describe_vpc


async def _kubernetes_cluster(api: Api, args: Properties) -> Properties:
    name = args["name"]
    with failing("Error listing Kubernetes clusters"):
        clusters = (await api.get(CLUSTERS)).get("kubernetes_clusters") or []
    for cluster in clusters:
        if cluster["name"] == name:
            outputs = await describe_cluster(api, cluster, args)
            for single, plural in (
                ("nodePool", "nodePools"),
                ("maintenancePolicy", "maintenancePolicies"),
                ("controlPlaneFirewall", "controlPlaneFirewalls"),
            ):
                part = outputs.pop(single, None)
                outputs[plural] = [] if part is None else [part]
            outputs["urn"] = outputs.pop("clusterUrn")
            return {"id": cluster["id"], **outputs}
    raise Failure(f"Unable to find cluster with name: {name}")


async def _kubernetes_versions(api: Api, args: Properties) -> Properties:
    with failing("Error retrieving Kubernetes options"):
        options = (await api.get("/v2/kubernetes/options"))["options"]
    prefix = args.get("versionPrefix", "")
    valid = [
        version["slug"] for version in options["versions"] if version["slug"].startswith(prefix)
    ]
    return {
        "id": f"terraform-{time.time_ns()}",
        "validVersions": valid,
        **({"latestVersion": valid[0]} if valid else {}),
        **args,
    }


async def _vpc(api: Api, args: Properties) -> Properties:
    if len(args) != 1:
        raise Failure("exactly one of `id`, `name` and `region` must be given")
    with failing("Error retrieving VPC"):
        if "id" in args:
            vpcs = [(await api.get(f"{VPCS}/{args['id']}"))["vpc"]]
        else:
            vpcs = await api.pages(VPCS, "vpcs", per_page=200)
    if "region" in args:
        vpcs = [vpc for vpc in vpcs if vpc["region"] == args["region"] and vpc["default"]]
        missing = f"unable to find default VPC in {args['region']} region"
    else:
        vpcs = [vpc for vpc in vpcs if args.get("name", vpc["name"]) == vpc["name"]]
        missing = f"no VPCs found with name {args.get('name')}"
    if not vpcs:
        raise Failure(f"Error retrieving VPC: {missing}")
    if len(vpcs) > 1:
        raise Failure(
            f"Error retrieving VPC: too many VPCs found with name {args['name']}"
            f" (found {len(vpcs)}, expected 1)"
        )
    return {"id": vpcs[0]["id"], **describe_vpc(vpcs[0])}


def _token(name: str) -> str:
    return f"digitalocean:index/{name}:{name}"


FUNCTIONS: Mapping[str, Function[Api]] = {
    _token("getKubernetesCluster"): Function(
        {
            "name": string(required=True, rule=not_empty),
            "kubeconfigExpireSeconds": integer(rule=at_least(0)),
            # The real plugin accepts these, too, and ignores them.
            **{
                name: KubernetesCluster.fields[name]
                for name in ("tags", "ssos", "clusterAutoscalerConfigurations", *SWITCHES)
            },
        },
        _kubernetes_cluster,
    ),
    _token("getKubernetesVersions"): Function({"versionPrefix": string()}, _kubernetes_versions),
    _token("getVpc"): Function(
        {name: string(rule=not_empty) for name in ("id", "name", "region")}, _vpc
    ),
}
"""Lookups by the token that programs invoke."""
