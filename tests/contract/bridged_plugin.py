"""A bridged plugin, called as the engine calls it."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # so does protobuf
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from sandbox.plugins.bridge.provider import BridgedProvider
from sandbox.plugins.common import Failure, Secret, encode
from sandbox.plugins.common import decode as decode_all

Properties = dict[str, Any]


def decode(struct: Any) -> Properties:
    """The values of the message without secret ones that are null, which no plugin accepts."""
    return {key: value for key, value in decode_all(struct).items() if value != Secret(None)}


@dataclass
class Created:
    """A resource as in the state."""

    type: str
    id: str
    inputs: Properties
    outputs: Properties


class Plugin:
    """The provider `name`. Values are plain Python values, secrets are `Secret`.

    `call(method, request)` returns the response. Raises Failure.
    """

    def __init__(self, name: str, call: Callable[[str, Any], Any]) -> None:
        self._name = name
        self._call = call

    @classmethod
    def stand_in(cls, runner: asyncio.Runner, provider: BridgedProvider[Any]) -> "Plugin":
        """A stand-in of the sandbox, in this process."""
        return cls(
            provider.name,
            lambda method, request: runner.run(getattr(provider, method)(request, None)),
        )

    @classmethod
    @contextmanager
    def running(cls, name: str, file: Path, env: Mapping[str, str]) -> Iterator["Plugin"]:
        """A plugin in a process of its own."""
        with subprocess.Popen(
            [file, "127.0.0.1:1"], env=env, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            address = f"127.0.0.1:{int(process.stdout.readline())}"
            try:
                with grpc.insecure_channel(address, options=_GRPC_CHANNEL_OPTIONS) as channel:
                    stub = provider_pb2_grpc.ResourceProviderStub(channel)

                    def call(method: str, request: Any) -> Any:
                        try:
                            return getattr(stub, method)(request)
                        except grpc.RpcError as error:
                            raise Failure(error.details()) from None

                    yield cls(name, call)
            finally:
                process.kill()

    def version(self) -> str:
        version: str = self._call("GetPluginInfo", empty_pb2.Empty()).version
        return version

    def schema(self) -> str:
        schema: str = self._call("GetSchema", provider_pb2.GetSchemaRequest()).schema
        return schema

    def configure(self, **config: object) -> None:
        request = provider_pb2.ConfigureRequest(args=encode(config), acceptSecrets=True)
        self._call("Configure", request)

    def check_config(self, name: str = "explicit", **config: object) -> list[str]:
        request = provider_pb2.CheckRequest(
            urn=f"urn:pulumi:dev::tests::pulumi:providers:{self._name}::{name}",
            news=encode(config),
        )
        response = self._call("CheckConfig", request)
        return [failure.reason for failure in response.failures]

    def check(
        self, type: str, inputs: Mapping[str, Any], olds: Mapping[str, Any] | None = None
    ) -> tuple[Properties, list[str]]:
        request = provider_pb2.CheckRequest(
            urn=urn(type), news=encode(inputs), olds=encode(olds or {}), randomSeed=b"seed"
        )
        response = self._call("Check", request)
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
        response: provider_pb2.DiffResponse = self._call("Diff", request)
        return response

    def preview(self, type: str, inputs: Mapping[str, Any]) -> Properties:
        request = provider_pb2.CreateRequest(
            urn=urn(type), properties=encode(self.checked(type, inputs)), preview=True
        )
        return decode(self._call("Create", request).properties)

    def create(self, type: str, inputs: Mapping[str, Any], *, seconds: float = 0) -> Created:
        complete = self.checked(type, inputs)
        request = provider_pb2.CreateRequest(
            urn=urn(type), properties=encode(complete), timeout=seconds
        )
        response = self._call("Create", request)
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
        response = self._call("Read", request)
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
        response = self._call("Update", request)
        return Created(resource.type, resource.id, complete, decode(response.properties))

    def delete(self, resource: Created, *, seconds: float = 0) -> None:
        request = provider_pb2.DeleteRequest(
            id=resource.id,
            urn=urn(resource.type),
            properties=encode(resource.outputs),
            timeout=seconds,
        )
        self._call("Delete", request)

    def invoke(self, function: str, **args: object) -> tuple[Properties, list[str]]:
        request = provider_pb2.InvokeRequest(
            tok=f"{self._name}:index/{function}:{function}", args=encode(args)
        )
        response = self._call("Invoke", request)
        outputs = decode(getattr(response, "return"))
        return outputs, [failure.reason for failure in response.failures]


def urn(type: str) -> str:
    return f"urn:pulumi:dev::tests::{type}::thing"
