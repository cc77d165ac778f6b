"""Secrets and variables of Actions, of a repository or of one of its environments
(https://docs.github.com/en/rest/actions/secrets, .../actions/variables)."""

import base64
import re
from abc import ABC, abstractmethod
from typing import ClassVar

from nacl.public import PublicKey, SealedBox

from sandbox.plugins.bridge.resource import go_time
from sandbox.plugins.bridge.schema import Field, Fields, Properties, integer, string
from sandbox.plugins.github.api import Api
from sandbox.plugins.github.environment import repository_id
from sandbox.plugins.github.ids import join, split


def _name_rule(value: str) -> str | None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        return "letters, digits and underscores, not starting with a digit"
    return "no name that starts with GITHUB_" if value.upper().startswith("GITHUB_") else None


_COMMON: Fields = {
    "repository": string(required=True, replaces=True),
    "repositoryId": integer(output=True),
    "createdAt": string(output=True),
}
_ENVIRONMENT: Fields = {"environment": string(required=True, replaces=True)}


def _changed_by_others(state: Properties) -> bool:
    """The API does not show a secret's value, but it shows when the secret was written."""
    remote = state.get("remoteUpdatedAt")
    return bool(remote) and state.get("updatedAt") != remote


class _Entry(ABC):
    """What secrets and variables have in common."""

    type: str
    fields: ClassVar[Fields]
    name: ClassVar[str]
    """The property that contains its name."""
    kind: ClassVar[str]
    """`secrets` or `variables`, as in the API's paths."""

    @abstractmethod
    def describe(self, record: Properties, state: Properties) -> Properties:
        """The outputs of the API's `record`, without those that identify it."""

    def path(self, api: Api, properties: Properties) -> str:
        repository = api.repository(properties["repository"])
        if "environment" in self.fields:
            return f"{repository}/environments/{properties['environment']}/{self.kind}"
        return f"{repository}/actions/{self.kind}"

    def id(self, properties: Properties) -> str:
        return join(*(properties[name] for name in self._parts))

    @property
    def _parts(self) -> list[str]:
        scope = ["environment"] if "environment" in self.fields else []
        return ["repository", *scope, self.name]

    async def adopt(self, api: Api, id: str) -> Properties:
        return dict(zip(self._parts, split(id, len(self._parts)), strict=True))

    async def delete(self, api: Api, id: str, state: Properties, seconds: float | None) -> None:
        """Raises Failure if it is gone already, as the real plugin does."""
        await api.delete(f"{self.path(api, state)}/{state[self.name]}")

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        record = await api.find(f"{self.path(api, state)}/{state[self.name]}")
        if record is None:
            return None
        return {
            **{name: state[name] for name in self._parts},
            "repositoryId": state.get("repositoryId") or await repository_id(api, state),
            **self.describe(record, state),
        }


class ActionsSecret(_Entry):
    type = "github:index/actionsSecret:ActionsSecret"
    name = "secretName"
    kind = "secrets"
    fields: ClassVar[Fields] = {
        **_COMMON,
        "secretName": string(required=True, replaces=True, rule=_name_rule),
        "value": string(required=True, secret=True),
        "keyId": string(output=True),
        "updatedAt": Field(kind=string().kind, output=True, stale=_changed_by_others),
        "remoteUpdatedAt": string(output=True),
    }

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        desired["repositoryId"] = await repository_id(api, desired)
        await self._put(api, desired)
        return self.id(desired)

    def describe(self, record: Properties, state: Properties) -> Properties:
        updated = go_time(record["updated_at"])
        return {
            "createdAt": state.get("createdAt") or go_time(record["created_at"]),
            "updatedAt": state.get("updatedAt") or updated,
            "remoteUpdatedAt": updated,
            **{name: state[name] for name in ("value", "keyId") if name in state},
        }

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        await self._put(api, desired)
        # The next read sets it to the time of this update.
        desired.pop("updatedAt", None)

    async def _put(self, api: Api, desired: Properties) -> None:
        path = self.path(api, desired)
        key = await api.get(f"{path}/public-key")
        box = SealedBox(PublicKey(base64.b64decode(key["key"])))
        sealed = base64.b64encode(box.encrypt(desired["value"].encode())).decode()
        body = {"key_id": key["key_id"], "encrypted_value": sealed}
        await api.send("PUT", f"{path}/{desired['secretName']}", body)
        desired["keyId"] = key["key_id"]


class ActionsEnvironmentSecret(ActionsSecret):
    type = "github:index/actionsEnvironmentSecret:ActionsEnvironmentSecret"
    fields: ClassVar[Fields] = {**ActionsSecret.fields, **_ENVIRONMENT}


class ActionsVariable(_Entry):
    type = "github:index/actionsVariable:ActionsVariable"
    name = "variableName"
    kind = "variables"
    fields: ClassVar[Fields] = {
        **_COMMON,
        "variableName": string(required=True, replaces=True, rule=_name_rule),
        "value": string(required=True),
        "updatedAt": string(output=True),
    }

    async def create(self, api: Api, desired: Properties, seconds: float | None) -> str:
        await api.send("POST", self.path(api, desired), self._body(desired))
        return self.id(desired)

    def describe(self, record: Properties, state: Properties) -> Properties:
        return {
            "value": record["value"],
            "createdAt": go_time(record["created_at"]),
            "updatedAt": go_time(record["updated_at"]),
        }

    async def update(
        self, api: Api, id: str, old: Properties, desired: Properties, changed: set[str]
    ) -> None:
        path = f"{self.path(api, desired)}/{desired['variableName']}"
        await api.send("PATCH", path, self._body(desired))

    def _body(self, desired: Properties) -> Properties:
        return {"name": desired["variableName"], "value": desired["value"]}


class ActionsEnvironmentVariable(ActionsVariable):
    type = "github:index/actionsEnvironmentVariable:ActionsEnvironmentVariable"
    fields: ClassVar[Fields] = {**ActionsVariable.fields, **_ENVIRONMENT}
