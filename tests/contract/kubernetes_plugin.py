"""The stand-in for Pulumi's kubernetes plugin, called over gRPC as the engine calls it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
import grpc.aio  # type: ignore[import-untyped]
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # nor does protobuf
from pulumi.runtime.proto import (
    engine_pb2_grpc,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from sandbox.plugins.common import Engine, decode, encode, start_server
from sandbox.plugins.kubernetes.provider import KubernetesProvider


@dataclass
class PluginError(Exception):
    """The error of a call, as the engine sees it."""

    message: str
    init_failed: provider_pb2.ErrorResourceInitFailed | None

    def __str__(self) -> str:
        return self.message

    @property
    def state(self) -> dict[str, Any]:
        """The state that the engine keeps of a resource that failed to become ready."""
        assert self.init_failed is not None, self.message
        return decode(self.init_failed.properties)


@dataclass
class Resource:
    """A resource as in the state between two runs."""

    urn: str
    id: str
    inputs: dict[str, Any]
    state: dict[str, Any]


class _EngineService(engine_pb2_grpc.EngineServicer):
    def __init__(self, messages: list[str]) -> None:
        self._messages = messages

    async def Log(self, request: Any, context: Any) -> empty_pb2.Empty:
        self._messages.append(request.message)
        return empty_pb2.Empty()


def urn(token: str, name: str) -> str:
    return f"urn:pulumi:dev::doks-gitops::{token}::{name}"


@dataclass
class Plugin:
    """One plugin, and the operations of an engine on it."""

    stub: Any
    messages: list[str] = field(default_factory=list)
    """The messages that it showed to the user."""

    @staticmethod
    @asynccontextmanager
    async def serving(**settings: Any) -> AsyncIterator["Plugin"]:
        """A plugin with those provider settings (kubeconfig as a mapping)."""
        messages: list[str] = []
        engine = grpc.aio.server()
        engine_pb2_grpc.add_EngineServicer_to_server(_EngineService(messages), engine)
        engine_port = engine.add_insecure_port("127.0.0.1:0")
        await engine.start()
        provider = KubernetesProvider(Engine(f"127.0.0.1:{engine_port}"))
        server, port = await start_server(
            lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(
                provider, server
            )
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            plugin = Plugin(provider_pb2_grpc.ResourceProviderStub(channel), messages)
            await plugin.configure(**settings)
            try:
                yield plugin
            finally:
                await provider.close()
                await server.stop(grace=None)
                await engine.stop(grace=None)

    async def call(self, method: str, request: Any) -> Any:
        """Raises PluginError."""
        try:
            return await getattr(self.stub, method)(request)
        except grpc.aio.AioRpcError as error:
            details = None
            for key, value in error.trailing_metadata() or ():
                if key == "grpc-status-details-bin":
                    status = status_pb2.Status.FromString(value)
                    details = provider_pb2.ErrorResourceInitFailed()
                    assert status.details[0].Unpack(details)
            raise PluginError(error.details() or "", details) from None

    async def configure(self, **settings: Any) -> None:
        variables = {
            f"kubernetes:config:{key}": value if isinstance(value, str) else json.dumps(value)
            for key, value in settings.items()
        }
        await self.call("Configure", provider_pb2.ConfigureRequest(variables=variables))

    async def check(
        self, address: str, inputs: Mapping[str, Any], old: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        """The completed inputs, and the failures' reasons."""
        request = provider_pb2.CheckRequest(
            urn=address, news=encode(inputs), olds=encode(old or {}), randomSeed=b"seed"
        )
        response = await self.call("Check", request)
        return decode(response.inputs), [failure.reason for failure in response.failures]

    async def create(
        self,
        token: str,
        name: str,
        inputs: Mapping[str, Any],
        *,
        preview: bool = False,
        seconds: float = 0,
    ) -> Resource:
        """Check and create, as the engine does for a new resource."""
        address = urn(token, name)
        checked, failures = await self.check(address, inputs)
        assert not failures, failures
        response = await self.call(
            "Create",
            provider_pb2.CreateRequest(
                urn=address, properties=encode(checked), preview=preview, timeout=seconds
            ),
        )
        return Resource(address, response.id, checked, decode(response.properties))

    async def diff(
        self, resource: Resource, inputs: Mapping[str, Any], ignored: list[str] | None = None
    ) -> provider_pb2.DiffResponse:
        """Check and diff, as the engine does for a resource in the state."""
        _, change = await self._change(resource, inputs, ignored)
        response: provider_pb2.DiffResponse = await self.call(
            "Diff", provider_pb2.DiffRequest(**change)
        )
        return response

    async def update(
        self,
        resource: Resource,
        inputs: Mapping[str, Any],
        *,
        ignored: list[str] | None = None,
        preview: bool = False,
        seconds: float = 0,
    ) -> Resource:
        checked, change = await self._change(resource, inputs, ignored)
        response = await self.call(
            "Update", provider_pb2.UpdateRequest(**change, preview=preview, timeout=seconds)
        )
        return Resource(resource.urn, resource.id, checked, decode(response.properties))

    async def _change(
        self, resource: Resource, inputs: Mapping[str, Any], ignored: list[str] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The checked inputs, and what Diff and Update requests have in common."""
        checked, failures = await self.check(resource.urn, inputs, resource.inputs)
        assert not failures, failures
        return checked, {
            "id": resource.id,
            "urn": resource.urn,
            "olds": encode(resource.state),
            "news": encode(checked),
            "old_inputs": encode(resource.inputs),
            "ignoreChanges": ignored or [],
        }

    async def read(self, resource: Resource) -> Resource:
        """Refresh; the id is empty if the resource is gone."""
        response = await self.call(
            "Read",
            provider_pb2.ReadRequest(
                id=resource.id,
                urn=resource.urn,
                properties=encode(resource.state),
                inputs=encode(resource.inputs),
            ),
        )
        return Resource(
            resource.urn, response.id, decode(response.inputs), decode(response.properties)
        )

    async def delete(self, resource: Resource, *, seconds: float = 0) -> None:
        await self.call(
            "Delete",
            provider_pb2.DeleteRequest(
                id=resource.id,
                urn=resource.urn,
                properties=encode(resource.state),
                timeout=seconds,
            ),
        )


def custom_resource_definition(
    plural: str,
    kind: str,
    *,
    group: str = "example.com",
    scope: str = "Namespaced",
    any_fields: str = "x-kubernetes-preserve-unknown-fields",
) -> dict[str, Any]:
    """The definition of a kind with any fields. The SDKs spell `any_fields` with underscores."""
    schema = {"type": "object", any_fields: True}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [version],
        },
    }


def changed(diff: provider_pb2.DiffResponse) -> bool:
    return diff.changes != provider_pb2.DiffResponse.DIFF_NONE
