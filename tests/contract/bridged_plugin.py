"""A bridged plugin in this process, called as the engine calls it."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.bridge.provider import BridgedProvider
from sandbox.plugins.common import decode, encode

T = TypeVar("T")
Properties = dict[str, Any]


@dataclass
class Created:
    """A resource as in the state."""

    type: str
    id: str
    inputs: Properties
    outputs: Properties


class Plugin:
    """One provider. Values are plain Python values, secrets are `Secret`."""

    def __init__(self, runner: asyncio.Runner, provider: BridgedProvider[Any]) -> None:
        self._runner = runner
        self._provider = provider

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def configure(self, **config: object) -> None:
        request = provider_pb2.ConfigureRequest(args=encode(config), acceptSecrets=True)
        self.run(self._provider.Configure(request, None))

    def check_config(self, name: str = "explicit", **config: object) -> list[str]:
        request = provider_pb2.CheckRequest(
            urn=f"urn:pulumi:dev::tests::pulumi:providers:{self._provider.name}::{name}",
            news=encode(config),
        )
        response = self.run(self._provider.CheckConfig(request, None))
        return [failure.reason for failure in response.failures]

    def check(
        self, type: str, inputs: Mapping[str, Any], olds: Mapping[str, Any] | None = None
    ) -> tuple[Properties, list[str]]:
        request = provider_pb2.CheckRequest(
            urn=urn(type), news=encode(inputs), olds=encode(olds or {}), randomSeed=b"seed"
        )
        response = self.run(self._provider.Check(request, None))
        return decode(response.inputs), [failure.reason for failure in response.failures]

    def checked(self, type: str, inputs: Mapping[str, Any]) -> Properties:
        complete, failures = self.check(type, inputs)
        assert not failures
        return complete

    def diff(
        self,
        type: str,
        outputs: Mapping[str, Any],
        inputs: Mapping[str, Any],
        ignore: Sequence[str] = (),
    ) -> provider_pb2.DiffResponse:
        request = provider_pb2.DiffRequest(
            id="id",
            urn=urn(type),
            olds=encode(outputs),
            news=encode(inputs),
            ignoreChanges=ignore,
        )
        return self.run(self._provider.Diff(request, None))

    def preview(self, type: str, inputs: Mapping[str, Any]) -> Properties:
        request = provider_pb2.CreateRequest(
            urn=urn(type), properties=encode(self.checked(type, inputs)), preview=True
        )
        return decode(self.run(self._provider.Create(request, None)).properties)

    def create(self, type: str, inputs: Mapping[str, Any], *, seconds: float = 0) -> Created:
        complete = self.checked(type, inputs)
        request = provider_pb2.CreateRequest(
            urn=urn(type), properties=encode(complete), timeout=seconds
        )
        response = self.run(self._provider.Create(request, None))
        return Created(type, response.id, complete, decode(response.properties))

    def read(self, resource: Created) -> Created | None:
        """The refreshed resource, None if it is gone."""
        request = provider_pb2.ReadRequest(
            id=resource.id,
            urn=urn(resource.type),
            properties=encode(resource.outputs),
            inputs=encode(resource.inputs),
        )
        return self._read(resource.type, request)

    def refresh(self, resource: Created) -> Created:
        """The refreshed resource, which must exist."""
        refreshed = self.read(resource)
        assert refreshed is not None, resource
        return refreshed

    def import_(self, type: str, id: str) -> Created:
        """The imported resource, which must exist."""
        imported = self._read(type, provider_pb2.ReadRequest(id=id, urn=urn(type)))
        assert imported is not None, id
        return imported

    def _read(self, type: str, request: provider_pb2.ReadRequest) -> Created | None:
        response = self.run(self._provider.Read(request, None))
        if not response.id:
            return None
        return Created(type, response.id, decode(response.inputs), decode(response.properties))

    def update(
        self, resource: Created, inputs: Mapping[str, Any], *, preview: bool = False
    ) -> Created:
        complete = self.checked(resource.type, inputs)
        request = provider_pb2.UpdateRequest(
            id=resource.id,
            urn=urn(resource.type),
            olds=encode(resource.outputs),
            news=encode(complete),
            preview=preview,
        )
        response = self.run(self._provider.Update(request, None))
        return Created(resource.type, resource.id, complete, decode(response.properties))

    def delete(self, resource: Created, *, seconds: float = 0) -> None:
        request = provider_pb2.DeleteRequest(
            id=resource.id,
            urn=urn(resource.type),
            properties=encode(resource.outputs),
            timeout=seconds,
        )
        self.run(self._provider.Delete(request, None))

    def invoke(self, function: str, **args: object) -> tuple[Properties, list[str]]:
        request = provider_pb2.InvokeRequest(
            tok=f"{self._provider.name}:index/{function}:{function}", args=encode(args)
        )
        response = self.run(self._provider.Invoke(request, None))
        outputs = decode(getattr(response, "return"))
        return outputs, [failure.reason for failure in response.failures]


def urn(type: str) -> str:
    return f"urn:pulumi:dev::tests::{type}::thing"
