"""Deploy keys (https://docs.github.com/en/rest/deploy-keys)."""

import re
from typing import ClassVar

from sandbox.plugins.bridge.schema import Fields, Properties, boolean, string
from sandbox.plugins.github.api import Api, Unchanged
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

    async def create(self, api: Api, wanted: Properties, seconds: float | None) -> str:
        body = {
            "key": wanted["key"],
            "title": wanted["title"],
            "read_only": wanted.get("readOnly", False),
        }
        path = f"{api.repository(wanted['repository'])}/keys"
        return join(wanted["repository"], str((await api.send("POST", path, body))["id"]))

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        repository, number = split(id, 2)
        path = f"{api.repository(repository)}/keys/{number}"
        try:
            found = await api.find(path, state.get("etag", ""))
        except Unchanged:
            return state
        if found is None:
            return None
        key, etag = found
        return {
            "key": key["key"],
            "readOnly": key["read_only"],
            "repository": repository,
            "title": key["title"],
            "etag": etag,
        }

    async def adopt(self, api: Api, id: str) -> Properties:
        return {}

    async def update(
        self, api: Api, id: str, old: Properties, wanted: Properties, changed: set[str]
    ) -> None:
        """There is nothing that can be changed."""

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        repository, number = split(id, 2)
        await api.delete(f"{api.repository(repository)}/keys/{number}")
