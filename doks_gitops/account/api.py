"""Reads the account over DigitalOcean's HTTP API (https://docs.digitalocean.com/reference/api/)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import pulumi
import requests
from pydantic import BaseModel, BeforeValidator, ValidationError
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util.retry import Retry

from doks_gitops.account.model import Account, Prices, RunningCluster
from doks_gitops.account.version import Version
from doks_gitops.settings.scalars import is_api_endpoint

TIMEOUT = (5.0, 20.0)
"""Seconds to connect, and to wait for an answer."""
RETRIES = Retry(
    total=4,
    connect=2,
    # An API that never answers is given up within about a minute.
    read=2,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    # The one POST may be sent again: it asks for what is to be, whatever is.
    allowed_methods=("GET", "POST"),
    # The account's hourly limit may ask for most of an hour; a person is waiting.
    retry_after_max=30,
    raise_on_status=False,
)
PER_PAGE = 200
"""The most that the API gives at once."""

DEFAULT_POOL_TAG = "terraform:default-node-pool"
"""How the provider marks the pool that it made a cluster with.
https://www.pulumi.com/registry/packages/digitalocean/api-docs/kubernetescluster/"""
TOKENS_PAGE = "https://cloud.digitalocean.com/account/api/tokens"
GONE = ("deleting", "deleted")


class AccountError(pulumi.RunError):
    """The account can't be read. Pulumi shows the text alone, without a traceback."""


def read(token: str, api_url: str) -> Account:
    """The account of `token`, read in some three requests at once.

    Needs the scopes `kubernetes:read` and `registry:read`. Raises `AccountError` if the token is
    refused, lacks a scope, would travel unprotected, or the API can't be reached.
    """
    _require_protected(api_url)
    with _Api(token, api_url) as api, ThreadPoolExecutor(max_workers=3) as threads:
        options = threads.submit(api.options)
        clusters = threads.submit(lambda: tuple(api.clusters()))
        registries = threads.submit(api.registries)
        failed = [
            str(failure)
            for reading in (options, clusters, registries)
            if isinstance(failure := reading.exception(), AccountError)
        ]
        if failed:
            raise AccountError("\n\n".join(dict.fromkeys(failed)))
        offered = options.result()
        return Account(
            regions=tuple(region.slug for region in offered.regions),
            sizes=tuple(size.slug for size in offered.sizes),
            versions=tuple(sorted((each.slug for each in offered.versions), reverse=True)),
            clusters=clusters.result(),
            registries=registries.result(),
        )


def read_prices(token: str, api_url: str) -> Prices:
    """What sizes and registries cost the account of `token`.

    Needs the scopes `sizes:read` and `registry:read`. Raises `AccountError` as `read` does.
    https://docs.digitalocean.com/reference/api/reference/droplets/ (sizes),
    https://docs.digitalocean.com/reference/api/reference/container-registries/ (options)
    """
    _require_protected(api_url)
    with _Api(token, api_url) as api:
        return Prices(
            sizes={size.slug: size.price_monthly for size in api.sizes()},
            tiers={tier.slug: tier.price for tier in api.tiers()},
            tier=api.subscribed(),
        )


def _require_protected(api_url: str) -> None:
    if not is_api_endpoint(api_url):
        raise AccountError(
            f"The API address {api_url} is neither https:// nor http:// on loopback: the account's "
            "token would travel where others can read it.\n"
            "Set another: pulumi config set digitalocean:apiEndpoint https://api.digitalocean.com"
        )


def allow_pulls(token: str, api_url: str, cluster: str, registry: str) -> None:
    """Let the cluster pull from the registry. Raises `AccountError` if that is refused."""
    with _Api(token, api_url) as api:
        api.integrate(cluster, registry)


def pages(page_of: Callable[[str], Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Every page of a collection; `page_of` gets one by its query.

    Counted instead of followed: the link to the next one could lead the token to another host.
    """
    page = 1
    while True:
        said = page_of(f"page={page}&per_page={PER_PAGE}")
        yield said
        if not (said.get("links") or {}).get("pages", {}).get("next"):
            return
        page += 1


_Version = Annotated[Version, BeforeValidator(Version.of)]


class _Slug(BaseModel):
    slug: str


class _VersionSlug(BaseModel):
    slug: _Version


class _Options(BaseModel):
    regions: list[_Slug]
    sizes: list[_Slug]
    versions: list[_VersionSlug]


class _OptionsAnswer(BaseModel):
    options: _Options


class _Status(BaseModel):
    state: str
    message: str = ""


class _Pool(BaseModel):
    id: str
    name: str
    size: str
    tags: list[str] = []


class _Cluster(BaseModel):
    id: str
    name: str
    region: str
    version: _Version
    ha: bool = False
    status: _Status
    registry_enabled: bool = False
    endpoint: str = ""
    vpc_uuid: str | None = None
    node_pools: list[_Pool] = []


class _Pages(BaseModel):
    next: str | None = None


class _Links(BaseModel):
    pages: _Pages | None = None


class _Page(BaseModel):
    links: _Links | None = None


class _ClustersAnswer(_Page):
    kubernetes_clusters: list[_Cluster]


class _Registry(BaseModel):
    name: str


class _RegistryAnswer(BaseModel):
    registry: _Registry


class _RegistriesAnswer(BaseModel):
    registries: list[_Registry]


class _Size(BaseModel):
    slug: str
    price_monthly: Decimal


class _SizesAnswer(_Page):
    sizes: list[_Size]


class _Tier(BaseModel):
    slug: str
    monthly_price_in_cents: int

    @property
    def price(self) -> Decimal:
        return Decimal(self.monthly_price_in_cents) / 100


class _Tiers(BaseModel):
    subscription_tiers: list[_Tier]


class _TiersAnswer(BaseModel):
    options: _Tiers


class _Subscription(BaseModel):
    tier: _Slug


class _SubscriptionAnswer(BaseModel):
    subscription: _Subscription


_Answer = TypeVar("_Answer", bound=BaseModel)
_Paged = TypeVar("_Paged", bound=_Page)


class _Bearer(AuthBase):
    """Sends the token; as an auth object, so that no .netrc entry takes its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Api:
    """The calls, and what their failures mean."""

    def __init__(self, token: str, url: str) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = _Bearer(token)
        self._session.headers["User-Agent"] = "doks-gitops"
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=RETRIES))

    def __enter__(self) -> _Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def options(self) -> _Options:
        return self._get("/v2/kubernetes/options", "kubernetes:read", _OptionsAnswer).options

    def sizes(self) -> Iterator[_Size]:
        for answer in self._pages("/v2/sizes", "sizes:read", _SizesAnswer):
            yield from answer.sizes

    def tiers(self) -> list[_Tier]:
        answer = self._get("/v2/registries/options", "registry:read", _TiersAnswer)
        return answer.options.subscription_tiers

    def subscribed(self) -> str | None:
        """The tier of the account's registry subscription, if it has one."""
        path = "/v2/registries/subscription"
        response = self._response("GET", path)
        if response.status_code == 404:
            return None
        answer = self._checked(response, path, "registry:read", _SubscriptionAnswer)
        return answer.subscription.tier.slug

    def clusters(self) -> Iterator[RunningCluster]:
        path, scope = "/v2/kubernetes/clusters", "kubernetes:read"
        for answer in self._pages(path, scope, _ClustersAnswer):
            for cluster in answer.kubernetes_clusters:
                if cluster.status.state not in GONE:
                    yield RunningCluster(
                        id=cluster.id,
                        name=cluster.name,
                        region=cluster.region,
                        version=cluster.version,
                        ha=cluster.ha,
                        state=cluster.status.state,
                        registry_enabled=cluster.registry_enabled,
                        endpoint=cluster.endpoint,
                        message=cluster.status.message,
                        vpc=cluster.vpc_uuid,
                        node_pools={pool.name: pool.id for pool in cluster.node_pools},
                        default_pool_size=next(
                            (
                                pool.size
                                for pool in cluster.node_pools
                                if DEFAULT_POOL_TAG in pool.tags
                            ),
                            None,
                        ),
                    )

    def registries(self) -> tuple[str, ...]:
        path, scope = "/v2/registry", "registry:read"
        response = self._response("GET", path)
        if response.status_code == 404:
            return ()
        if response.status_code == 412:
            # The account has several registries, which this call knows nothing of.
            answer = self._get("/v2/registries", scope, _RegistriesAnswer)
            return tuple(registry.name for registry in answer.registries)
        return (self._checked(response, path, scope, _RegistryAnswer).registry.name,)

    def integrate(self, cluster: str, registry: str) -> None:
        path = "/v2/kubernetes/registries"
        body = {"cluster_uuids": [cluster], "registries": [registry]}
        response = self._response("POST", path, body)
        self._check(response, "kubernetes:create or kubernetes:update")
        if response.status_code >= 300:
            raise AccountError(
                f"DigitalOcean does not let the cluster {cluster} pull from the registry {registry}"
                f" ({response.status_code} at {self._url}{path}).\n"
                "Look at both in the control panel (Container Registry, Settings), then run the"
                " command again."
            )

    def _pages(self, path: str, scope: str, kind: type[_Paged]) -> Iterator[_Paged]:
        page = 1
        while True:
            answer = self._get(f"{path}?page={page}&per_page={PER_PAGE}", scope, kind)
            yield answer
            # Counted instead of followed: the link could lead the token to another host.
            if not (answer.links and answer.links.pages and answer.links.pages.next):
                return
            page += 1

    def _get(self, path: str, scope: str, answer: type[_Answer]) -> _Answer:
        return self._checked(self._response("GET", path), path, scope, answer)

    def _response(self, method: str, path: str, body: object = None) -> requests.Response:
        try:
            return self._session.request(
                method, self._url + path, json=body, timeout=TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as error:
            raise AccountError(
                f"DigitalOcean's API can't be reached at {self._url}: {_reason(error)}\n"
                "Check the network and the address (digitalocean:apiEndpoint, or "
                "DIGITALOCEAN_API_URL), then run the command again."
            ) from None

    def _check(self, response: requests.Response, scope: str) -> None:
        """Raises for what may be wrong with the token or with the API itself."""
        status = response.status_code
        if status == 401:
            raise AccountError(
                f"DigitalOcean refused the API token (401 at {self._url}): it is wrong, expired or "
                f"revoked.\nMake one at {TOKENS_PAGE}, then: pulumi config set --secret "
                "digitalocean:token (or export DIGITALOCEAN_TOKEN)"
            )
        if status == 403:
            raise AccountError(
                f"The API token lacks the scope {scope} (403 at {self._url}).\n"
                f"Make one with that scope at {TOKENS_PAGE}, then: pulumi config set --secret "
                "digitalocean:token (or export DIGITALOCEAN_TOKEN)"
            )
        if status == 429:
            raise AccountError(
                f"DigitalOcean's request limit for the account is used up (429 at {self._url}).\n"
                f"Run the command again {_when_lifted(response)}."
            )
        if status >= 500:
            raise AccountError(
                f"DigitalOcean's API at {self._url} answers {status}, also when asked again.\n"
                "See https://status.digitalocean.com, then run the command again."
            )

    def _checked(
        self, response: requests.Response, path: str, scope: str, answer: type[_Answer]
    ) -> _Answer:
        self._check(response, scope)
        try:
            if response.status_code == 200:
                return answer.model_validate_json(response.content)
            why = f"status {response.status_code}"
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            why = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise AccountError(
            f"What answers at {self._url} is not DigitalOcean's API ({path}: {why}).\n"
            "Check digitalocean:apiEndpoint and DIGITALOCEAN_API_URL."
        )


def _when_lifted(response: requests.Response) -> str:
    """https://docs.digitalocean.com/reference/api/reference/ (Rate Limit)"""
    seconds = response.headers.get("Retry-After", "")
    if not seconds.isdecimal():
        return "later; the limit is by the hour"
    minutes, rest = divmod(int(seconds), 60)
    return f"in {minutes + bool(rest)} min" if minutes else f"in {rest} s"


def _reason(error: requests.RequestException) -> str:
    """The cause without the layers of objects around it."""
    cause: object = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    *_, innermost = getattr(cause, "args", ()) or (cause,)
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    return str(cause).partition("): ")[2] or str(cause) or type(error).__name__
