"""A bridged plugin, called as the engine calls it, but in this process."""

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
    """A resource in the state: what the engine keeps of it."""

    type: str
    id: str
    inputs: Properties
    outputs: Properties


class Plugin:
    """One plugin process's worth of provider; values are plain, secrets are `Secret`."""

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
        answer = self.run(self._provider.CheckConfig(request, None))
        return [failure.reason for failure in answer.failures]

    def check(
        self, type: str, inputs: Mapping[str, Any], olds: Mapping[str, Any] | None = None
    ) -> tuple[Properties, list[str]]:
        request = provider_pb2.CheckRequest(
            urn=urn(type), news=encode(inputs), olds=encode(olds or {}), randomSeed=b"seed"
        )
        answer = self.run(self._provider.Check(request, None))
        return decode(answer.inputs), [failure.reason for failure in answer.failures]

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
        answer = self.run(self._provider.Create(request, None))
        return Created(type, answer.id, complete, decode(answer.properties))

    def read(self, resource: Created) -> Created | None:
        """Refresh it; None if it is gone."""
        request = provider_pb2.ReadRequest(
            id=resource.id,
            urn=urn(resource.type),
            properties=encode(resource.outputs),
            inputs=encode(resource.inputs),
        )
        return self._found(resource.type, request)

    def import_(self, type: str, id: str) -> Created | None:
        return self._found(type, provider_pb2.ReadRequest(id=id, urn=urn(type)))

    def _found(self, type: str, request: provider_pb2.ReadRequest) -> Created | None:
        answer = self.run(self._provider.Read(request, None))
        if not answer.id:
            return None
        return Created(type, answer.id, decode(answer.inputs), decode(answer.properties))

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
        answer = self.run(self._provider.Update(request, None))
        return Created(resource.type, resource.id, complete, decode(answer.properties))

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
        answer = self.run(self._provider.Invoke(request, None))
        outputs = decode(getattr(answer, "return"))
        return outputs, [failure.reason for failure in answer.failures]


def urn(type: str) -> str:
    return f"urn:pulumi:dev::tests::{type}::thing"
