"""Deploy keys (https://docs.github.com/en/rest/deploy-keys)."""

import re
from typing import ClassVar

from sandbox.plugins.bridge.schema import Fields, Properties, boolean, string
from sandbox.plugins.github.api import Api
from sandbox.plugins.github.ids import join, split


def _without_comment(key: str) -> str:
    return re.sub(r"^([a-z0-9-]+ \S+)( \S+)?$", r"\1", key.strip())


class DeployKey:
    type = "github:index/repositoryDeployKey:RepositoryDeployKey"
    fields: ClassVar[Fields] = {
        "key": string(required=True, replaces=True, normal=_without_comment),
        "readOnly": boolean(default=True, replaces=True),
        "repository": string(required=True, replaces=True),
        "title": string(required=True, replaces=True),
        "etag": string(output=True),
    }

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        body = {
            "key": desired["key"],
            "title": desired["title"],
            "read_only": desired.get("readOnly", False),
        }
        path = f"{api.repository(desired['repository'])}/keys"
        return join(desired["repository"], str((await api.send("POST", path, body))["id"]))

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        repository, number = split(id, 2)

        def describe(key: Properties) -> Properties:
            return {
                "key": key["key"],
                "readOnly": key["read_only"],
                "repository": repository,
                "title": key["title"],
            }

        return await api.refresh(f"{api.repository(repository)}/keys/{number}", state, describe)

    async def adopt(self, api: Api, id: str) -> Properties:
        return {}

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        """Never called: a change of any input replaces the key."""

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        repository, number = split(id, 2)
        await api.delete(f"{api.repository(repository)}/keys/{number}")
