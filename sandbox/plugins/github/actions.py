"""Secrets and variables of Actions, of a repository or of one of its environments
(https://docs.github.com/en/rest/actions/secrets, .../actions/variables)."""

import base64
import re
from typing import ClassVar

from nacl.public import PublicKey, SealedBox

from sandbox.plugins.bridge.resource import go_time
from sandbox.plugins.bridge.schema import Field, Fields, Properties, integer, string
from sandbox.plugins.github.api import Api
from sandbox.plugins.github.environment import repository_id
from sandbox.plugins.github.ids import join, split


def _name(value: str) -> str | None:
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
    """A secret can't be read, but when it was written can."""
    remote = state.get("remoteUpdatedAt")
    return bool(remote) and state.get("updatedAt") != remote


class _Kept:
    """What secrets and variables have in common."""

    type: str
    fields: ClassVar[Fields]
    name: ClassVar[str]
    """The field that its name is in."""
    kind: ClassVar[str]
    """As the API's paths call it."""

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
        """One that is gone already is an error, as with the real plugin."""
        await api.delete(f"{self.path(api, state)}/{state[self.name]}")

    async def find(self, api: Api, state: Properties) -> tuple[Properties, Properties] | None:
        """What the API has of it, and the outputs that both kinds have."""
        found = await api.find(f"{self.path(api, state)}/{state[self.name]}")
        if found is None:
            return None
        outputs = {name: state[name] for name in self._parts}
        outputs["repositoryId"] = state.get("repositoryId") or await repository_id(api, state)
        return found[0], outputs


class ActionsSecret(_Kept):
    type = "github:index/actionsSecret:ActionsSecret"
    name = "secretName"
    kind = "secrets"
    fields: ClassVar[Fields] = {
        **_COMMON,
        "secretName": string(required=True, replaces=True, rule=_name),
        "value": string(required=True, secret=True),
        "keyId": string(output=True),
        "updatedAt": Field(kind=string().kind, output=True, stale=_changed_by_others),
        "remoteUpdatedAt": string(output=True),
    }

    async def create(self, api: Api, wanted: Properties, seconds: float | None) -> str:
        wanted["repositoryId"] = await repository_id(api, wanted)
        await self._put(api, wanted)
        return self.id(wanted)

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        found = await self.find(api, state)
        if found is None:
            return None
        secret, outputs = found
        updated = go_time(secret["updated_at"])
        outputs |= {
            "createdAt": state.get("createdAt") or go_time(secret["created_at"]),
            "updatedAt": state.get("updatedAt") or updated,
            "remoteUpdatedAt": updated,
        }
        return outputs | {name: state[name] for name in ("value", "keyId") if name in state}

    async def update(
        self, api: Api, id: str, old: Properties, wanted: Properties, changed: set[str]
    ) -> None:
        await self._put(api, wanted)
        # Found anew when it is read: it is when this wrote it.
        wanted.pop("updatedAt", None)

    async def _put(self, api: Api, wanted: Properties) -> None:
        path = self.path(api, wanted)
        key = await api.get(f"{path}/public-key")
        box = SealedBox(PublicKey(base64.b64decode(key["key"])))
        sealed = base64.b64encode(box.encrypt(wanted["value"].encode())).decode()
        body = {"key_id": key["key_id"], "encrypted_value": sealed}
        await api.send("PUT", f"{path}/{wanted['secretName']}", body)
        wanted["keyId"] = key["key_id"]


class ActionsEnvironmentSecret(ActionsSecret):
    type = "github:index/actionsEnvironmentSecret:ActionsEnvironmentSecret"
    fields: ClassVar[Fields] = {**ActionsSecret.fields, **_ENVIRONMENT}


class ActionsVariable(_Kept):
    type = "github:index/actionsVariable:ActionsVariable"
    name = "variableName"
    kind = "variables"
    fields: ClassVar[Fields] = {
        **_COMMON,
        "variableName": string(required=True, replaces=True, rule=_name),
        "value": string(required=True),
        "updatedAt": string(output=True),
    }

    async def create(self, api: Api, wanted: Properties, seconds: float | None) -> str:
        body = {"name": wanted["variableName"], "value": wanted["value"]}
        await api.send("POST", self.path(api, wanted), body)
        return self.id(wanted)

    async def read(self, api: Api, id: str, state: Properties) -> Properties | None:
        found = await self.find(api, state)
        if found is None:
            return None
        variable, outputs = found
        return outputs | {
            "value": variable["value"],
            "createdAt": go_time(variable["created_at"]),
            "updatedAt": go_time(variable["updated_at"]),
        }

    async def update(
        self, api: Api, id: str, old: Properties, wanted: Properties, changed: set[str]
    ) -> None:
        body = {"name": wanted["variableName"], "value": wanted["value"]}
        await api.send("PATCH", f"{self.path(api, wanted)}/{wanted['variableName']}", body)


class ActionsEnvironmentVariable(ActionsVariable):
    type = "github:index/actionsEnvironmentVariable:ActionsEnvironmentVariable"
    fields: ClassVar[Fields] = {**ActionsVariable.fields, **_ENVIRONMENT}
