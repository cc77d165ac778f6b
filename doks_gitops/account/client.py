"""DigitalOcean's HTTP API, as far as the platform uses it.

https://docs.digitalocean.com/reference/api/
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from typing import TypeVar
from urllib.parse import quote

import pulumi
import requests
from pydantic import BaseModel, ValidationError

from doks_gitops import http
from doks_gitops.account import responses
from doks_gitops.account.marks import mark_in
from doks_gitops.account.model import (
    RunningCluster,
    RunningPool,
    Volume,
    VolumeSnapshot,
    Vpc,
)
from doks_gitops.errors import PlatformError
from doks_gitops.settings import DigitalOcean
from doks_gitops.settings.load import ENVIRONMENT_VARIABLES
from doks_gitops.settings.scalars import is_api_endpoint
from doks_gitops.variables import first_set

PER_PAGE = 200
"""The largest page that the API sends."""
CREDENTIALS_SECONDS = 600
"""Lifetime of the cluster token that the API sends together with the certificate authority. The
token is not used."""
TOKENS_PAGE = "https://cloud.digitalocean.com/account/api/tokens"
DELETED = ("deleting", "deleted")

_Response = TypeVar("_Response", bound=BaseModel)
_Page = TypeVar("_Page", bound=responses.Page)


class AccountError(PlatformError, pulumi.RunError):
    """The account can't be read or changed. Pulumi shows the text alone, without a traceback."""


class _UnexpectedStatus(AccountError):
    """A response with another status than the documented one."""

    def __init__(self, status: int, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.status = status


class DigitalOceanClient:
    """The account of `token`, at the API address `api_url`.

    Every method raises `AccountError` if the API can't be reached, refuses the token, or answers
    something else than it documents. The constructor raises it if the token would travel
    unprotected. See `http.Session` for time-outs, retries and proxies.
    """

    def __init__(self, token: str, api_url: str) -> None:
        if not is_api_endpoint(api_url):
            raise AccountError(
                f"The API address {api_url} is neither https:// nor http:// on loopback: others"
                " could read the account's token on its way.",
                "pulumi config set digitalocean:apiEndpoint https://api.digitalocean.com",
            )
        self._url = api_url.rstrip("/")
        # Each POST may be repeated: most set a state, one starts the linter again, a second volume
        # of the same name is refused, and a second snapshot is deleted when it is too old.
        self._session = http.Session(token, methods=("POST",))

    @classmethod
    def from_settings(cls, account: DigitalOcean) -> DigitalOceanClient:
        """The account of a stack."""
        return cls(account.token.get_secret_value(), account.api_endpoint)

    @classmethod
    def from_environment(cls) -> DigitalOceanClient:
        """The account that the environment variables of DigitalOcean's own provider name."""
        token = first_set(ENVIRONMENT_VARIABLES["token"])
        api_url = first_set(ENVIRONMENT_VARIABLES["apiEndpoint"])
        if token is None:
            raise AccountError(
                "DIGITALOCEAN_TOKEN is not set: the account can't be read.",
                f"Make a token at {TOKENS_PAGE}, then: export DIGITALOCEAN_TOKEN=...",
            )
        return cls(token, api_url or str(DigitalOcean.model_fields["api_endpoint"].default))

    def __enter__(self) -> DigitalOceanClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def team(self) -> str:
        """UUID of the team that the token is of, or of the account if it is in no team.
        Scope: account:read.

        https://docs.digitalocean.com/reference/api/reference/account/
        """
        info = self._get("/v2/account", "account:read", responses.AccountResponse).account
        return info.team.uuid if info.team else info.uuid

    def options(self) -> responses.Options:
        """Regions, sizes and versions that are offered for clusters. Scope: kubernetes:read."""
        path = "/v2/kubernetes/options"
        return self._get(path, "kubernetes:read", responses.OptionsResponse).options

    def clusters(self) -> tuple[RunningCluster, ...]:
        """The account's clusters, without those that are being deleted. Scope: kubernetes:read."""
        path, scope = "/v2/kubernetes/clusters", "kubernetes:read"
        return tuple(
            RunningCluster(
                id=cluster.id,
                name=cluster.name,
                region=cluster.region,
                version=cluster.version,
                ha=cluster.ha,
                state=cluster.status.state,
                registry_enabled=cluster.registry_enabled,
                endpoint=cluster.endpoint,
                created=cluster.created_at,
                message=cluster.status.message,
                vpc=cluster.vpc_uuid,
                default_pool=cluster.default_pool,
                tags=cluster.own_tags,
                mark=mark_in(cluster.tags),
                pools={pool.name: _pool(pool) for pool in cluster.node_pools},
                auto_upgrade=cluster.auto_upgrade,
                surge_upgrade=cluster.surge_upgrade,
                cluster_subnet=cluster.cluster_subnet,
                service_subnet=cluster.service_subnet,
                worker_subnet=cluster.worker_subnet_uuid,
                isolated_workers=cluster.isolated_workers,
                options=cluster.options,
            )
            for page in self._pages(path, scope, responses.ClustersPage)
            for cluster in page.kubernetes_clusters
            if cluster.status.state not in DELETED
        )

    def cluster_state(self, cluster_id: str) -> str:
        """See `RunningCluster.state`. Scope: kubernetes:read."""
        path = f"/v2/kubernetes/clusters/{cluster_id}"
        response = self._get(path, "kubernetes:read", responses.ClusterResponse)
        return response.kubernetes_cluster.status.state

    def certificate_authority(self, cluster_id: str) -> bytes:
        """PEM of the certificate authority of the cluster's own API. Scope:
        kubernetes:access_cluster."""
        path = f"/v2/kubernetes/clusters/{cluster_id}/credentials"
        query = f"expiry_seconds={CREDENTIALS_SECONDS}"
        response = self._get(f"{path}?{query}", "kubernetes:access_cluster", responses.Credentials)
        return response.certificate_authority_data

    def delete_cluster(self, cluster_id: str) -> None:
        """Delete a cluster with the load balancers and volumes that it has made; one that is gone
        already is no error. Scope: kubernetes:delete.

        https://docs.digitalocean.com/reference/api/reference/kubernetes/
        """
        path = f"/v2/kubernetes/clusters/{cluster_id}/destroy_with_associated_resources/dangerous"
        fix = f"Look at the cluster: doctl kubernetes cluster get {cluster_id}"
        self._delete(path, "kubernetes:delete", f"the cluster {cluster_id}", fix)

    def made_by_clusters(self, cluster_ids: Collection[str]) -> tuple[str, ...]:
        """Names of the load balancers and volumes that these clusters have made, as a part of a
        sentence. Scopes: load_balancer:read, block_storage:read."""
        tags = {f"k8s:{cluster_id}" for cluster_id in cluster_ids}
        balancers = self._pages(
            "/v2/load_balancers", "load_balancer:read", responses.LoadBalancersPage
        )
        volumes = self._pages("/v2/volumes", "block_storage:read", responses.VolumesPage)
        return tuple(
            f"the {kind} {resource.name} ({resource.id})"
            for kind, pages in (("load balancer", balancers), ("volume", volumes))
            for page in pages
            for resource in page.resources
            if not tags.isdisjoint(resource.all_tags)
        )

    def volumes(self) -> tuple[Volume, ...]:
        """The account's block storage volumes. Scopes: block_storage:read, tag:read.

        Without tag:read, the API leaves the tags out. So it is refused if no volume of a cluster
        has any: each would seem to be nobody's.
        """
        volumes = tuple(
            _volume(volume)
            for page in self._pages("/v2/volumes", "block_storage:read", responses.VolumesPage)
            for volume in page.volumes
        )
        made_by_clusters = any(volume.name.startswith("pvc-") for volume in volumes)
        if made_by_clusters and not any(volume.tags for volume in volumes):
            raise AccountError(
                "None of the account's volumes has a tag, although DigitalOcean tags those of"
                " clusters: the token may lack the scope tag:read. Nothing was changed.",
                "add the scope tag:read to the token: docs/permissions.md",
            )
        return volumes

    def create_volume(
        self,
        name: str,
        region: str,
        snapshot: VolumeSnapshot | None,
        size: int,
        tags: Collection[str],
    ) -> Volume:
        """Create a volume of `size` GiB from a snapshot, or an empty one; returns the existing one
        if the region has a volume of that name. Scopes: block_storage:create, tag:create,
        block_storage:read."""
        path, scope = "/v2/volumes", "block_storage:create, tag:create"
        body = {
            "name": name,
            "region": region,
            "size_gigabytes": size,
            "tags": sorted(tags),
            **({"snapshot_id": snapshot.id} if snapshot else {}),
        }
        response = self._request("POST", path, scope, body)
        if response.status_code == 409:
            # A repeated request, if the answer to the first one was lost.
            for volume in self.volumes():
                if (volume.name, volume.region) == (name, region):
                    return volume
        fix = (
            "Look at the limits of the account: https://cloud.digitalocean.com/account/team/limits"
        )
        self._require_done(
            response,
            f"create a volume of {size} GiB"
            + (f" from the snapshot {snapshot.id}" if snapshot else f" in {region}"),
            f"Look at the snapshot: doctl compute snapshot get {snapshot.id}" if snapshot else fix,
        )
        return _volume(self._parsed(path, response, responses.VolumeResponse, 201).volume)

    def delete_volume(self, volume: str) -> None:
        """Delete a volume; one that is gone already is no error. Scope: block_storage:delete."""
        fix = f"Look at the volume: doctl compute volume get {volume}"
        path = f"/v2/volumes/{volume}"
        self._delete(path, "block_storage:delete", f"the volume {volume}", fix)

    def snapshots(self) -> tuple[VolumeSnapshot, ...]:
        """The snapshots of the account's volumes, also of those that are gone. Scopes:
        snapshot:read, tag:read."""
        path = "/v2/snapshots"
        return tuple(
            _snapshot(snapshot)
            for page in self._pages(
                path, "snapshot:read", responses.SnapshotsPage, "resource_type=volume&"
            )
            for snapshot in page.snapshots
        )

    def create_snapshot(self, volume: str, name: str, tags: Collection[str]) -> VolumeSnapshot:
        """Take a snapshot of the volume. Scopes: block_storage_snapshot:create, tag:create."""
        path, scope = f"/v2/volumes/{volume}/snapshots", "block_storage_snapshot:create, tag:create"
        response = self._request("POST", path, scope, {"name": name, "tags": sorted(tags)})
        self._require_done(
            response,
            f"take a snapshot of the volume {volume}",
            f"Look at the volume: doctl compute volume get {volume}",
        )
        return _snapshot(self._parsed(path, response, responses.SnapshotResponse, 201).snapshot)

    def delete_snapshot(self, snapshot: str) -> None:
        """Delete a snapshot of a volume; one that is gone already is no error. Scope:
        block_storage_snapshot:delete."""
        path = f"/v2/volumes/snapshots/{snapshot}"
        fix = f"Look at the snapshot: doctl compute snapshot get {snapshot}"
        self._delete(path, "block_storage_snapshot:delete", f"the snapshot {snapshot}", fix)

    def tag_volumes(self, tag: str, volumes: Collection[str]) -> None:
        """Give the volumes a tag, which is created if it does not exist. Scope: tag:create.

        https://docs.digitalocean.com/reference/api/reference/tags/
        """
        self._tag(tag, "volume", volumes)

    def tag_snapshot(self, tag: str, snapshot: str) -> None:
        """Give a snapshot of a volume a tag, as `tag_volumes` does."""
        self._tag(tag, "volume_snapshot", [snapshot])

    def _tag(self, tag: str, kind: str, ids: Collection[str]) -> None:
        path, body = f"/v2/tags/{tag}/resources", _resources(kind, ids)
        response = self._request("POST", path, "tag:create", body)
        if response.status_code == 404:
            # That it exists by now is no error.
            self._request("POST", "/v2/tags", "tag:create", {"name": tag})
            response = self._request("POST", path, "tag:create", body)
        self._require_tagged(response, f"{kind} {', '.join(ids)}")

    def untag_volumes(self, tag: str, volumes: Collection[str]) -> None:
        """Take a tag from the volumes. Scope: tag:delete."""
        self._untag(tag, "volume", volumes)

    def untag_snapshot(self, tag: str, snapshot: str) -> None:
        """Take a tag from a snapshot of a volume. Scope: tag:delete."""
        self._untag(tag, "volume_snapshot", [snapshot])

    def _untag(self, tag: str, kind: str, ids: Collection[str]) -> None:
        path = f"/v2/tags/{tag}/resources"
        response = self._request("DELETE", path, "tag:delete", _resources(kind, ids))
        if response.status_code != 404:
            self._require_tagged(response, f"{kind} {', '.join(ids)}")

    def _require_tagged(self, response: requests.Response, tagged: str) -> None:
        self._require_done(
            response,
            f"change the tags of the {tagged.replace('_', ' ')}",
            "Look at them: doctl compute volume list, or doctl compute snapshot list",
        )

    def _delete(self, path: str, scope: str, what: str, fix: str) -> None:
        """Delete a resource; one that is gone already is no error."""
        response = self._request("DELETE", path, scope)
        if response.status_code != 404:
            self._require_done(response, f"delete {what}", fix)

    @staticmethod
    def _require_done(response: requests.Response, action: str, fix: str) -> None:
        """Raises `AccountError` if the API refused the request."""
        status = response.status_code
        if status >= 300:
            raise AccountError(f"DigitalOcean does not {action} ({status} at {response.url}).", fix)

    def vpcs(self) -> tuple[Vpc, ...]:
        """The account's VPCs. Scope: vpc:read."""
        return tuple(
            Vpc(vpc.id, vpc.name, vpc.region, vpc.ip_range, vpc.default)
            for page in self._pages("/v2/vpcs", "vpc:read", responses.VpcsPage)
            for vpc in page.vpcs
        )

    def nat_gateways(self) -> frozenset[str]:
        """UUIDs of the VPCs with an active NAT gateway. Scope: nat_gateway:read.

        https://docs.digitalocean.com/reference/api/reference/vpc-nat-gateways/
        """
        path, scope = "/v2/vpc_nat_gateways", "nat_gateway:read"
        return frozenset(
            vpc.vpc_uuid
            for page in self._pages(path, scope, responses.NatGatewaysPage)
            for gateway in page.vpc_nat_gateways
            if gateway.state == "ACTIVE"
            for vpc in gateway.vpcs
        )

    def registries(self) -> tuple[str, ...]:
        """Names of the account's container registries. Scope: registry:read."""
        scope = "registry:read"
        try:
            response = self._get("/v2/registry", scope, responses.RegistryResponse)
        except _UnexpectedStatus as error:
            if error.status == 404:
                return ()
            if error.status != 412:
                raise
            # Accounts with several registries have them under another path only.
            several = self._get("/v2/registries", scope, responses.RegistriesResponse)
            return tuple(registry.name for registry in several.registries)
        return (response.registry.name,)

    def tags(self, registry: str, repository: str) -> frozenset[str]:
        """Tags of a repository; none if there is no such repository. Scope: registry:read."""
        path = f"/v2/registries/{registry}/repositories/{quote(repository, '')}/tags"
        try:
            pages = list(self._pages(path, "registry:read", responses.TagsPage))
        except _UnexpectedStatus as error:
            if error.status == 404:
                return frozenset()
            raise
        return frozenset(entry.tag for page in pages for entry in page.tags or ())

    def size_prices(self) -> dict[str, Decimal]:
        """US dollars per month for a Droplet, by size. Scope: sizes:read."""
        pages = self._pages("/v2/sizes", "sizes:read", responses.SizesPage)
        return {size.slug: size.price_monthly for page in pages for size in page.sizes}

    def tier_prices(self) -> dict[str, Decimal]:
        """US dollars per month for a registry subscription, by tier. Scope: registry:read."""
        path = "/v2/registries/options"
        options = self._get(path, "registry:read", responses.TierOptionsResponse).options
        return {tier.slug: tier.price for tier in options.subscription_tiers}

    def subscribed_tier(self) -> str | None:
        """Tier of the account's registry subscription; None without one. Scope: registry:read."""
        path = "/v2/registries/subscription"
        try:
            response = self._get(path, "registry:read", responses.SubscriptionResponse)
        except _UnexpectedStatus as error:
            if error.status == 404:
                return None
            raise
        return response.subscription.tier.slug

    def allow_pulls(self, cluster_id: str, registry: str) -> None:
        """Allow the cluster to pull from the registry. Scopes: kubernetes:create,
        kubernetes:update.

        https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/
        """
        path = "/v2/kubernetes/registries"
        body = {"cluster_uuids": [cluster_id], "registries": [registry]}
        response = self._request("POST", path, "kubernetes:create, kubernetes:update", body)
        self._require_done(
            response,
            f"let the cluster {cluster_id} pull from the registry {registry}",
            "Look at both in the control panel (Container Registry, Settings), then run the"
            " command again.",
        )

    def run_lint(self, cluster_id: str) -> str:
        """Start the cluster linter, and return the ID of its run. Scope: kubernetes:update."""
        path = f"/v2/kubernetes/clusters/{cluster_id}/clusterlint"
        response = self._request("POST", path, "kubernetes:update", {})
        return self._parsed(path, response, responses.LintRun, 202).run_id

    def lint_results(
        self, cluster_id: str, run_id: str | None = None
    ) -> tuple[responses.Diagnostic, ...] | None:
        """What the linter said in that run, or in its last one; None if it has not ended, or never
        begun. Scope: kubernetes:read."""
        path = f"/v2/kubernetes/clusters/{cluster_id}/clusterlint"
        query = f"?run_id={run_id}" if run_id else ""
        try:
            results = self._get(path + query, "kubernetes:read", responses.LintResults)
        except _UnexpectedStatus as error:
            if error.status == 404:
                return None
            raise
        return tuple(results.diagnostics or ()) if results.completed_at else None

    def tag_cluster(self, cluster: RunningCluster, tags: Iterable[str]) -> None:
        """Replace the cluster's own tags.

        Scopes: kubernetes:update, tag:read, tag:create; where a tag is removed, tag:delete.

        https://docs.digitalocean.com/reference/api/reference/kubernetes/
        """
        path, new_tags = f"/v2/kubernetes/clusters/{cluster.id}", [*tags]
        body = {"name": cluster.name, "tags": new_tags}
        scopes = "kubernetes:update, tag:read, tag:create"
        if not {*cluster.tags} <= {*new_tags}:
            scopes += ", tag:delete"
        response = self._request("PUT", path, scopes, body)
        self._require_done(
            response,
            f"change the tags of the cluster {cluster.id}",
            f"Look at the cluster: doctl kubernetes cluster get {cluster.id}",
        )

    def _pages(self, path: str, scope: str, model: type[_Page], query: str = "") -> Iterator[_Page]:
        # Page numbers are built here; following `links.next` could send the token to another host.
        number, last = 1, False
        while not last:
            page = self._get(f"{path}?{query}page={number}&per_page={PER_PAGE}", scope, model)
            yield page
            number, last = number + 1, page.is_last

    def _get(self, path: str, scope: str, model: type[_Response]) -> _Response:
        return self._parsed(path, self._request("GET", path, scope), model, 200)

    def _parsed(
        self, path: str, response: requests.Response, model: type[_Response], expected: int
    ) -> _Response:
        fix = "Check digitalocean:apiEndpoint and DIGITALOCEAN_API_URL."
        problem = f"The server at {self._url} does not answer as DigitalOcean's API does ({path}: "
        if response.status_code != expected:
            status = response.status_code
            raise _UnexpectedStatus(status, f"{problem}status {status}).", fix)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            reason = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
            raise AccountError(f"{problem}{reason}).", fix) from None

    def _request(
        self, method: str, path: str, scope: str, body: object = None
    ) -> requests.Response:
        """The response, unless it says that the token or the API itself has a problem."""
        try:
            response = self._session.request(method, self._url + path, json=body)
        except requests.RequestException as error:
            raise AccountError(
                f"DigitalOcean's API can't be reached at {self._url}: {http.reason(error)}",
                "Check the network and the address (digitalocean:apiEndpoint, or "
                "DIGITALOCEAN_API_URL), then run the command again.",
            ) from None
        status = response.status_code
        renew = (
            f"at {TOKENS_PAGE}, then: pulumi config set --secret digitalocean:token (or export"
            " DIGITALOCEAN_TOKEN)"
        )
        if status == 401:
            raise AccountError(
                f"DigitalOcean refused the API token (401 at {self._url}): it is wrong, expired or"
                " revoked.",
                f"Make a token {renew}",
            )
        if status == 403:
            raise AccountError(
                f"The API token lacks the scope {scope} (403 at {self._url}).",
                f"Make a token with every scope that is named here {renew}",
            )
        if status == 429:
            raise AccountError(
                f"DigitalOcean's request limit for the account is used up (429 at {self._url}).",
                f"Run the command again {_limit_end(response)}.",
            )
        if status >= 500:
            raise AccountError(
                f"DigitalOcean's API at {self._url} answers {status}, also to retries.",
                "See https://status.digitalocean.com, then run the command again.",
            )
        return response


def _pool(pool: responses.NodePool) -> RunningPool:
    return RunningPool(
        id=pool.id,
        size=pool.size,
        count=pool.count,
        autoscale=(pool.min_nodes or 0, pool.max_nodes or 0) if pool.auto_scale else None,
        labels=pool.labels or {},
        taints=frozenset(
            (taint.key, taint.value or "", taint.effect) for taint in pool.taints or ()
        ),
        options=pool.options,
        tags=responses.own_tags(pool.tags),
    )


def _volume(volume: responses.Volume) -> Volume:
    return Volume(
        id=volume.id,
        name=volume.name,
        region=volume.region.slug,
        size=volume.size_gigabytes,
        droplets=tuple(volume.droplet_ids),
        tags=frozenset(tag.lower() for tag in volume.tags),
    )


def _snapshot(snapshot: responses.Snapshot) -> VolumeSnapshot:
    return VolumeSnapshot(
        id=snapshot.id,
        name=snapshot.name,
        volume=snapshot.resource_id,
        regions=tuple(snapshot.regions),
        created=snapshot.created_at,
        disk=snapshot.min_disk_size,
        size=snapshot.size_gigabytes,
        tags=frozenset(tag.lower() for tag in snapshot.tags),
    )


def _resources(kind: str, ids: Collection[str]) -> dict[str, object]:
    return {"resources": [{"resource_id": id, "resource_type": kind} for id in ids]}


def _limit_end(response: requests.Response) -> str:
    """When the rate limit ends: https://docs.digitalocean.com/reference/api/reference/"""
    seconds = response.headers.get("Retry-After", "")
    if not seconds.isdecimal():
        return "later; the limit is by the hour"
    minutes, rest = divmod(int(seconds), 60)
    return f"in {minutes + bool(rest)} min" if minutes else f"in {rest} s"
