"""Registries: docs.digitalocean.com/reference/api/reference/container-registries and, for the paths
below `/registry`, which support one registry only, .../container-registry"""

import base64
import re
from datetime import timedelta

from starlette.responses import JSONResponse, Response

from sandbox.digitalocean.catalogue import REGISTRY_HOST, REGISTRY_REGIONS, TIERS, Tier
from sandbox.digitalocean.errors import ApiError, invalid, not_found
from sandbox.digitalocean.models import AccountData, Registry, Subscription
from sandbox.digitalocean.operations import Body, Call, Operation
from sandbox.digitalocean.views import (
    registry_view,
    repository_tags_view,
    repository_view,
    subscription_view,
    tier_view,
)
from sandbox.emulator import no_content

_NAME = re.compile(r"[a-z0-9-]{1,63}")


class RegistryCreate(Body):
    name: str
    subscription_tier_slug: str | None = None
    region: str = REGISTRY_REGIONS[0]


class RegistryName(Body):
    name: str


class SubscriptionUpdate(Body):
    tier_slug: str


def only_registry(data: AccountData) -> Registry:
    """The account's only registry. Ends the request with 404 if it has none, 412 if several."""
    if not data.registries:
        raise not_found("registry does not exist")
    if len(data.registries) > 1:
        raise ApiError(
            412,
            "This API is not supported if you have created multiple registries."
            " Please use '/v2/registries/{registry_name}' instead.",
        )
    return next(iter(data.registries.values()))


def named_registry(data: AccountData, name: str) -> Registry:
    if name not in data.registries:
        raise not_found("registry does not exist")
    return data.registries[name]


def _registry(call: Call) -> Registry:
    """The registry that the path names, or the only one if it names none."""
    name = call.path.get("registry_name")
    data = call.account.data
    return only_registry(data) if name is None else named_registry(data, name)


def _check_name(name: str, data: AccountData) -> None:
    if not _NAME.fullmatch(name):
        raise invalid("invalid name: must be 1 to 63 lowercase letters, numbers and '-'")
    if name in data.registries or name in data.registry_names_elsewhere:
        raise ApiError(409, "name already exists")


def _reasons_against(tier: Tier, data: AccountData) -> list[str]:
    """The reasons why the account can't have the tier."""
    repositories = sum(len(registry.repositories) for registry in data.registries.values())
    reasons = []
    if len(data.registries) > tier.registries:
        reasons.append("OverRegistryLimit")
    if 0 < tier.included_repositories < repositories:
        reasons.append("OverRepositoryLimit")
    return reasons


def _tier(slug: str, data: AccountData) -> Tier:
    if slug not in TIERS:
        raise invalid(f"invalid subscription tier slug, must be one of {', '.join(TIERS)}")
    if reasons := _reasons_against(TIERS[slug], data):
        raise ApiError(412, f"registry is not eligible for tier because: [{', '.join(reasons)}]")
    return TIERS[slug]


def _subscribe(call: Call, tier: Tier) -> Subscription:
    now = call.account.clock.now()
    with call.account.changing() as data:
        created_at = data.subscription.created_at if data.subscription else now
        data.subscription = Subscription(tier_slug=tier.slug, created_at=created_at, updated_at=now)
    return data.subscription


async def get_registry(call: Call) -> Response:
    view = registry_view(_registry(call))
    if "registry_name" not in call.path and (subscription := call.account.data.subscription):
        view["subscription"] = subscription_view(subscription)
    return JSONResponse({"registry": view})


async def list_registries(call: Call) -> Response:
    registries = call.account.data.registries.values()
    return JSONResponse(
        {
            "registries": [registry_view(registry) for registry in registries],
            "total_storage_usage_bytes": sum(
                registry_view(registry)["storage_usage_bytes"] for registry in registries
            ),
        }
    )


async def create_registry(call: Call) -> Response:
    body = await call.body(RegistryCreate)
    data = call.account.data
    slug = body.subscription_tier_slug or (data.subscription and data.subscription.tier_slug)
    if not slug:
        raise invalid("subscription_tier_slug is required")
    tier = _tier(slug, data)
    if body.region not in REGISTRY_REGIONS:
        raise invalid(f"invalid region, must be one of {', '.join(REGISTRY_REGIONS)}")
    if len(data.registries) >= tier.registries:
        raise invalid("user already has a registry")
    _check_name(body.name, data)
    _subscribe(call, tier)
    registry = Registry(name=body.name, region=body.region, created_at=call.account.clock.now())
    with call.account.changing():
        data.registries[registry.name] = registry
    return JSONResponse({"registry": registry_view(registry)}, 201)


async def delete_registry(call: Call) -> Response:
    registry = _registry(call)
    with call.account.changing() as data:
        del data.registries[registry.name]
        data.credentials = [c for c in data.credentials if c.registry != registry.name]
        for cluster in data.clusters.values():
            cluster.registries = [name for name in cluster.registries if name != registry.name]
        if not data.registries:
            data.subscription = None
    return no_content()


async def get_options(call: Call) -> Response:
    tiers = []
    for tier in TIERS.values():
        view = tier_view(tier)
        reasons = _reasons_against(tier, call.account.data)
        view["eligible"] = not reasons
        if reasons:
            view["eligibility_reasons"] = reasons
        tiers.append(view)
    return JSONResponse(
        {"options": {"available_regions": list(REGISTRY_REGIONS), "subscription_tiers": tiers}}
    )


async def get_subscription(call: Call) -> Response:
    subscription = call.account.data.subscription
    if subscription is None:
        raise not_found("subscription does not exist")
    return JSONResponse({"subscription": subscription_view(subscription)})


async def update_subscription(call: Call) -> Response:
    body = await call.body(SubscriptionUpdate)
    subscription = _subscribe(call, _tier(body.tier_slug, call.account.data))
    return JSONResponse({"subscription": subscription_view(subscription)})


async def get_docker_credentials(call: Call) -> Response:
    registry = _registry(call)
    seconds = call.seconds("expiry_seconds")
    token = call.account.mint_registry_credential(
        registry.name,
        read_write=call.flag("read_write"),
        lifetime=timedelta(seconds=seconds) if seconds else None,
    )
    auth = base64.b64encode(f"{token}:{token}".encode()).decode()
    return JSONResponse({"auths": {REGISTRY_HOST: {"auth": auth}}})


async def validate_name(call: Call) -> Response:
    _check_name((await call.body(RegistryName)).name, call.account.data)
    return no_content()


async def list_repositories(call: Call) -> Response:
    registry = _registry(call)
    return call.page(
        "repositories",
        [repository_view(registry, repository) for repository in registry.repositories],
    )


async def list_repository_tags(call: Call) -> Response:
    registry = _registry(call)
    for repository in registry.repositories:
        if repository.name == call.path["repository_name"]:
            return call.page("tags", repository_tags_view(registry, repository))
    raise not_found("repository not found")


_NAMED = "/{registry_name}"
_TAGS = "/repositories/{repository_name:path}/tags"
_READ = ("registry:read",)
_CREATE = ("registry:create",)
_UPDATE = ("registry:update",)

OPERATIONS = (
    Operation("GET", "/registries", list_registries, _READ),
    *(
        Operation(method, f"{base}{path}", handler, scopes)
        for base in ("/registry", "/registries")
        for method, path, handler, scopes in (
            ("POST", "", create_registry, _CREATE),
            ("GET", "/options", get_options, _READ),
            ("GET", "/subscription", get_subscription, _READ),
            ("POST", "/subscription", update_subscription, _UPDATE),
            ("POST", "/validate-name", validate_name, _CREATE),
            ("GET", f"{_NAMED}/repositoriesV2", list_repositories, _READ),
            ("GET", f"{_NAMED}{_TAGS}", list_repository_tags, _READ),
        )
    ),
    # Last, because these paths match the ones above too.
    *(
        Operation(method, f"{registry}{path}", handler, scopes)
        for registry in ("/registry", f"/registries{_NAMED}")
        for method, path, handler, scopes in (
            ("GET", "", get_registry, _READ),
            ("DELETE", "", delete_registry, ("registry:delete",)),
            ("GET", "/docker-credentials", get_docker_credentials, (*_READ, *_UPDATE)),
        )
    ),
)
