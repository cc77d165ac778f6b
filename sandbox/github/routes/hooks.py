"""Webhooks and their deliveries (https://docs.github.com/en/rest/repos/webhooks)."""

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from starlette.responses import Response

from sandbox.emulator import Body, no_content
from sandbox.github.errors import invalid
from sandbox.github.models import Delivery, Hook, HookConfig
from sandbox.github.operations import Call, Operation, first, iso
from sandbox.github.routes import REPOSITORY
from sandbox.github.state import now

_HOOKS = f"{REPOSITORY}/hooks"
_HOOK = f"{_HOOKS}/{{id:int}}"
_DELIVERIES = f"{_HOOK}/deliveries"
_DELIVERY = f"{_DELIVERIES}/{{delivery:int}}"

_HIDDEN = "********"
"""Shown instead of a secret."""


class _Config(Body):
    url: str
    content_type: Literal["json", "form"] = "form"
    secret: str | None = None
    insecure_ssl: str | int = "0"


class _CreateBody(Body):
    config: _Config
    events: Sequence[str] = ("push",)
    active: bool = True


class _UpdateBody(Body):
    config: _Config | None = None
    events: Sequence[str] | None = None
    active: bool | None = None


def _describe(call: Call, hook: Hook) -> dict[str, Any]:
    config: dict[str, Any] = {
        "url": hook.config.url,
        "content_type": hook.config.content_type,
        "insecure_ssl": hook.config.insecure_ssl,
    }
    if hook.config.secret:
        config["secret"] = _HIDDEN
    last = hook.deliveries[0] if hook.deliveries else None
    return {
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": hook.active,
        "events": hook.events,
        "config": config,
        "url": str(call.request.url_for("hook", **{**call.path, "id": hook.id})),
        "created_at": iso(hook.created_at),
        "updated_at": iso(hook.updated_at),
        "last_response": {
            "code": last.status_code if last else None,
            "status": last.status if last else "unused",
            "message": None,
        },
    }


def _config(body: _Config) -> HookConfig:
    url = urlsplit(body.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise invalid("Hook", "url is not a valid URL", "url")
    return HookConfig(
        url=body.url,
        content_type=body.content_type,
        secret=body.secret or None,
        insecure_ssl="1" if str(body.insecure_ssl) == "1" else "0",
    )


async def _list(call: Call) -> Response:
    return call.page([_describe(call, hook) for hook in call.repository.hooks])


async def _create(call: Call) -> Response:
    body, repository = await call.body(_CreateBody), call.repository
    config = _config(body.config)
    if any(hook.config.url == config.url for hook in repository.hooks):
        raise invalid("Hook", "Hook already exists on this repository")
    with call.state.changing():
        hook = Hook(
            id=call.state.new_id(),
            events=sorted(set(body.events)),
            active=body.active,
            config=config,
            created_at=now(),
            updated_at=now(),
        )
        repository.hooks.append(hook)
    call.github.webhooks.ping(repository, hook)
    return call.response(_describe(call, hook), 201)


async def _get(call: Call) -> Response:
    return call.response(_describe(call, call.hook))


async def _change(call: Call) -> Response:
    """Change a webhook. A config in the body replaces the whole config, including the secret."""
    body, hook = await call.body(_UpdateBody), call.hook
    config = _config(body.config) if body.config is not None else hook.config
    with call.state.changing():
        hook.config = config
        hook.events = sorted(set(body.events)) if body.events is not None else hook.events
        hook.active = body.active if body.active is not None else hook.active
        hook.updated_at = now()
    return call.response(_describe(call, hook))


async def _delete(call: Call) -> Response:
    hook = call.hook
    with call.state.changing():
        call.repository.hooks.remove(hook)
    return no_content()


async def _ping(call: Call) -> Response:
    call.github.webhooks.ping(call.repository, call.hook)
    return no_content()


def _describe_delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": iso(delivery.delivered_at),
        "redelivery": delivery.redelivery,
        "duration": delivery.duration,
        "status": delivery.status,
        "status_code": delivery.status_code,
        "event": delivery.event,
        "action": None,
    }


def _delivery(call: Call) -> Delivery:
    delivery_id = call.path["delivery"]
    return first(delivery for delivery in call.hook.deliveries if delivery.id == delivery_id)


async def _deliveries(call: Call) -> Response:
    return call.page([_describe_delivery(delivery) for delivery in call.hook.deliveries])


async def _get_delivery(call: Call) -> Response:
    delivery = _delivery(call)
    details = {
        "request": {"headers": delivery.request_headers, "payload": delivery.payload},
        "response": {"headers": delivery.response_headers, "payload": delivery.response},
    }
    return call.response(_describe_delivery(delivery) | details)


async def _redeliver(call: Call) -> Response:
    call.github.webhooks.redeliver(call.hook, _delivery(call))
    return Response("{}", 202, media_type="application/json")


OPERATIONS = (
    Operation("GET", _HOOKS, _list, ("repository_hooks:read",)),
    Operation("POST", _HOOKS, _create, ("repository_hooks:write",)),
    Operation("GET", _HOOK, _get, ("repository_hooks:read",), name="hook"),
    Operation("PATCH", _HOOK, _change, ("repository_hooks:write",)),
    Operation("DELETE", _HOOK, _delete, ("repository_hooks:write",)),
    Operation("POST", f"{_HOOK}/pings", _ping, ("repository_hooks:write",)),
    Operation("GET", _DELIVERIES, _deliveries, ("repository_hooks:read",)),
    Operation("GET", _DELIVERY, _get_delivery, ("repository_hooks:read",)),
    Operation("POST", f"{_DELIVERY}/attempts", _redeliver, ("repository_hooks:write",)),
)
