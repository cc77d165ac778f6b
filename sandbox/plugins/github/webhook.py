"""Webhooks of a repository (https://docs.github.com/en/rest/repos/webhooks)."""

from typing import Any, ClassVar

from sandbox.plugins.bridge.schema import Fields, Properties, boolean, object_of, set_of, string
from sandbox.plugins.common import Failure
from sandbox.plugins.github.api import Api


class Webhook:
    type = "github:index/repositoryWebhook:RepositoryWebhook"
    fields: ClassVar[Fields] = {
        "repository": string(required=True, replaces=True),
        "events": set_of(string(), required=True),
        "configuration": object_of(
            {
                "url": string(required=True, secret=True),
                "contentType": string(),
                "secret": string(secret=True),
                "insecureSsl": boolean(),
            }
        ),
        "active": boolean(default=True),
        "url": string(output=True),
        "etag": string(output=True),
    }

    async def create(self, api: Api, wanted: Properties, seconds: float | None) -> str:
        hook = await api.send("POST", _path(api, wanted), _body(wanted) | {"name": "web"})
        return str(hook["id"])

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        """The secret is never shown: the state's is taken for it, whatever it is now."""
        found = await api.find(f"{_path(api, state)}/{id}")
        if found is None:
            return None
        hook, _ = found
        config = hook["config"]
        configuration: Properties = {
            "url": config["url"],
            "contentType": config.get("content_type", ""),
            "insecureSsl": str(config.get("insecure_ssl", "0")) == "1",
        }
        known = state.get("configuration") or {}
        if "secret" in config and known.get("secret"):
            configuration["secret"] = known["secret"]
        return {
            "repository": state["repository"],
            "events": hook["events"],
            "configuration": configuration,
            "active": hook["active"],
            "url": hook["url"],
        }

    async def adopt(self, api: Api, id: str) -> Properties:
        raise Failure(f"the sandbox's github plugin can't import the webhook {id}")

    async def update(
        self, api: Api, id: str, old: Properties, wanted: Properties, changed: set[str]
    ) -> None:
        await api.send("PATCH", f"{_path(api, wanted)}/{id}", _body(wanted))

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        await api.delete(f"{_path(api, state)}/{id}")


def _path(api: Api, properties: Properties) -> str:
    return f"{api.repository(properties['repository'])}/hooks"


def _body(wanted: Properties) -> dict[str, Any]:
    given = wanted.get("configuration") or {}
    config = {
        "url": given.get("url"),
        "content_type": given.get("contentType"),
        "secret": given.get("secret"),
        "insecure_ssl": "1" if given.get("insecureSsl") else "0",
    }
    return {
        "events": wanted["events"],
        "active": wanted.get("active", False),
        "config": {name: value for name, value in config.items() if value},
    }
