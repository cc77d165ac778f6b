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

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        hook = await api.send("POST", _path(api, desired), _body(desired) | {"name": "web"})
        return str(hook["id"])

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        """The API does not show the secret, so the outputs keep that of the state."""
        hook = await api.find(f"{_path(api, state)}/{id}")
        if hook is None:
            return None
        config = hook["config"]
        configuration: Properties = {
            "url": config["url"],
            "contentType": config.get("content_type", ""),
            "insecureSsl": str(config.get("insecure_ssl", "0")) == "1",
        }
        old_configuration = state.get("configuration") or {}
        if "secret" in config and old_configuration.get("secret"):
            configuration["secret"] = old_configuration["secret"]
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
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        await api.send("PATCH", f"{_path(api, desired)}/{id}", _body(desired))

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        await api.delete(f"{_path(api, state)}/{id}")


def _path(api: Api, properties: Properties) -> str:
    return f"{api.repository(properties['repository'])}/hooks"


def _body(desired: Properties) -> dict[str, Any]:
    configuration = desired.get("configuration") or {}
    config = {
        "url": configuration.get("url"),
        "content_type": configuration.get("contentType"),
        "secret": configuration.get("secret"),
        "insecure_ssl": "1" if configuration.get("insecureSsl") else "0",
    }
    return {
        "events": desired["events"],
        "active": desired.get("active", False),
        "config": {name: value for name, value in config.items() if value},
    }
