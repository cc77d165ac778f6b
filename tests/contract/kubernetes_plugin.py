"""The stand-in for Pulumi's kubernetes plugin, driven over gRPC as the engine drives it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
import grpc.aio  # type: ignore[import-untyped]
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # nor does protobuf
from pulumi.runtime.proto import (
    engine_pb2_grpc,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)
from rich.console import Console

from sandbox import paths
from sandbox.plugins.common import Engine, decode, encode, start_server
from sandbox.plugins.kubernetes.provider import KubernetesProvider
from sandbox.toolchain import Tools, build, ensure, machine
from sandbox.toolchain.recipes import RECIPES
from sandbox.toolchain.store import Store


def tools() -> Tools:
    """The sandbox's tools if they are all here; skips the test otherwise, building nothing."""
    store = Store(paths.cache_dir() / "tools")
    for recipe in RECIPES:
        kept = build.Artifacts.of(recipe, store)
        if not kept.has_files or not (kept.has_binaries or machine.find(recipe)):
            pytest.skip(f"{recipe.name} is not built here; python -m sandbox.toolchain builds it")
    return ensure(Console(quiet=True))


@dataclass
class PluginError(Exception):
    """What the engine is told of a failed call."""

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
    """What the engine knows of a resource between two runs."""

    urn: str
    id: str
    inputs: dict[str, Any]
    state: dict[str, Any]


class _EngineService(engine_pb2_grpc.EngineServicer):
    def __init__(self, said: list[str]) -> None:
        self._said = said

    async def Log(self, request: Any, context: Any) -> empty_pb2.Empty:
        self._said.append(request.message)
        return empty_pb2.Empty()


def urn(token: str, name: str) -> str:
    return f"urn:pulumi:dev::doks-gitops::{token}::{name}"


@dataclass
class Plugin:
    """One plugin process's worth of it, and the run of an engine's operations on it."""

    stub: Any
    said: list[str] = field(default_factory=list)
    """All that it told the user while it worked."""

    @staticmethod
    @asynccontextmanager
    async def serving(**settings: Any) -> AsyncIterator["Plugin"]:
        """A plugin configured with those provider settings (kubeconfig as a mapping)."""
        said: list[str] = []
        engine = grpc.aio.server()
        engine_pb2_grpc.add_EngineServicer_to_server(_EngineService(said), engine)
        engine_port = engine.add_insecure_port("127.0.0.1:0")
        await engine.start()
        provider = KubernetesProvider(Engine(f"127.0.0.1:{engine_port}"))
        server, port = await start_server(
            lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(
                provider, server
            )
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            plugin = Plugin(provider_pb2_grpc.ResourceProviderStub(channel), said)
            await plugin.configure(**settings)
            try:
                yield plugin
            finally:
                await provider.close()
                await server.stop(grace=None)
                await engine.stop(grace=None)

    async def call(self, method: str, request: Any) -> Any:
        """Raises PluginError as the engine would see it."""
        try:
            return await getattr(self.stub, method)(request)
        except grpc.aio.AioRpcError as error:
            found = None
            for key, value in error.trailing_metadata() or ():
                if key == "grpc-status-details-bin":
                    status = status_pb2.Status.FromString(value)
                    found = provider_pb2.ErrorResourceInitFailed()
                    assert status.details[0].Unpack(found)
            raise PluginError(error.details() or "", found) from None

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
        answer = await self.call("Check", request)
        return decode(answer.inputs), [failure.reason for failure in answer.failures]

    async def create(
        self,
        token: str,
        name: str,
        inputs: Mapping[str, Any],
        *,
        preview: bool = False,
        seconds: float = 0,
    ) -> Resource:
        """Check and create, as the engine does for a resource that is new."""
        address = urn(token, name)
        checked, failures = await self.check(address, inputs)
        assert not failures, failures
        answer = await self.call(
            "Create",
            provider_pb2.CreateRequest(
                urn=address, properties=encode(checked), preview=preview, timeout=seconds
            ),
        )
        return Resource(address, answer.id, checked, decode(answer.properties))

    async def diff(
        self, resource: Resource, inputs: Mapping[str, Any], ignored: list[str] | None = None
    ) -> provider_pb2.DiffResponse:
        """Check and diff, as the engine does for a resource that it knows."""
        checked, failures = await self.check(resource.urn, inputs, resource.inputs)
        assert not failures, failures
        answer: provider_pb2.DiffResponse = await self.call(
            "Diff",
            provider_pb2.DiffRequest(
                id=resource.id,
                urn=resource.urn,
                olds=encode(resource.state),
                news=encode(checked),
                old_inputs=encode(resource.inputs),
                ignoreChanges=ignored or [],
            ),
        )
        return answer

    async def update(
        self,
        resource: Resource,
        inputs: Mapping[str, Any],
        *,
        ignored: list[str] | None = None,
        preview: bool = False,
        seconds: float = 0,
    ) -> Resource:
        checked, failures = await self.check(resource.urn, inputs, resource.inputs)
        assert not failures, failures
        answer = await self.call(
            "Update",
            provider_pb2.UpdateRequest(
                id=resource.id,
                urn=resource.urn,
                olds=encode(resource.state),
                news=encode(checked),
                old_inputs=encode(resource.inputs),
                ignoreChanges=ignored or [],
                preview=preview,
                timeout=seconds,
            ),
        )
        return Resource(resource.urn, resource.id, checked, decode(answer.properties))

    async def read(self, resource: Resource) -> Resource:
        """As in a refresh; the id is empty if the resource is gone."""
        answer = await self.call(
            "Read",
            provider_pb2.ReadRequest(
                id=resource.id,
                urn=resource.urn,
                properties=encode(resource.state),
                inputs=encode(resource.inputs),
            ),
        )
        return Resource(resource.urn, answer.id, decode(answer.inputs), decode(answer.properties))

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


def changed(diff: provider_pb2.DiffResponse) -> bool:
    return diff.changes != provider_pb2.DiffResponse.DIFF_NONE
