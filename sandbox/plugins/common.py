"""What the stand-in plugins share: Pulumi's values on the wire, errors, and the gRPC server.

https://www.pulumi.com/docs/iac/guides/building-extending/packages/ and the SDK's own protocol files
(`pulumi.runtime.proto`) describe the protocol.
"""

import asyncio
import contextlib
import importlib
import importlib.metadata
import json
import math
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
import grpc.aio  # type: ignore[import-untyped]
from google.protobuf import struct_pb2  # type: ignore[import-untyped]  # so does protobuf
from pulumi._types import input_type_types
from pulumi.runtime import rpc
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, status_pb2

from sandbox.lifetime import die_with_parent


@dataclass(frozen=True)
class Unknown:
    """A value that is known only after the deployment, as many are in a preview."""

    def __deepcopy__(self, memo: object) -> "Unknown":
        return self


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that the engine must store encrypted and never print."""

    value: Any


def decode(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A property map from the engine as plain Python values.

    Numbers without a fraction become int, unknowns `UNKNOWN`, secrets `Secret(value)`. Assets and
    archives keep the protocol's own form, a dict.
    """
    return {key: _decode(item) for key, item in struct.fields.items()}


def _decode(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            return int(number) if math.isfinite(number) and number == int(number) else number
        case "string_value":
            return UNKNOWN if value.string_value == rpc.UNKNOWN else value.string_value
        case "list_value":
            return [_decode(item) for item in value.list_value.values]
        case "struct_value":
            fields = value.struct_value.fields
            signature = (
                fields[rpc._special_sig_key].string_value
                if (rpc._special_sig_key in fields)
                else None
            )
            if signature == rpc._special_secret_sig:
                return Secret(_decode(fields["value"]))
            if signature == rpc._special_output_value_sig:
                inner = _decode(fields["value"]) if "value" in fields else UNKNOWN
                secret = "secret" in fields and fields["secret"].bool_value
                return Secret(inner) if secret else inner
            return decode(value.struct_value)
        case _:
            return None


def encode(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """The inverse of `decode`. Raises TypeError for a value that the protocol can't carry."""
    return struct_pb2.Struct(fields={key: _encode(value) for key, value in values.items()})


def _encode(value: Any) -> struct_pb2.Value:
    match value:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=value)
        case int() | float():
            return struct_pb2.Value(number_value=value)
        case str():
            return struct_pb2.Value(string_value=value)
        case Unknown():
            return struct_pb2.Value(string_value=rpc.UNKNOWN)
        case Secret():
            fields = {
                rpc._special_sig_key: struct_pb2.Value(string_value=rpc._special_secret_sig),
                "value": _encode(value.value),
            }
            return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
        case Mapping():
            return struct_pb2.Value(struct_value=encode(value))
        case list() | tuple():
            items = [_encode(item) for item in value]
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
        case _:
            raise TypeError(f"Pulumi's protocol has no form for a {type(value).__name__}")


def plain(value: Any) -> Any:
    """`value` with every secret unwrapped, however deep; unknowns stay."""
    match value:
        case Secret():
            return plain(value.value)
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def has_unknown(value: Any) -> bool:
    """True if `value` is or contains an unknown, at any depth."""
    return _contains(value, Unknown)


def has_secret(value: Any) -> bool:
    """True if `value` is or contains a secret, at any depth."""
    return _contains(value, Secret)


def _contains(value: Any, kind: type) -> bool:
    match value:
        case _ if isinstance(value, kind):
            return True
        case Secret():
            return _contains(value.value, kind)
        case Mapping():
            return any(_contains(item, kind) for item in value.values())
        case list() | tuple():
            return any(_contains(item, kind) for item in value)
        case _:
            return False


def type_of_urn(urn: str) -> str:
    """The resource type in `urn`, without the types of its parents."""
    return urn.split("::")[2].rpartition("$")[2]


def name_of_urn(urn: str) -> str:
    """The resource name in `urn`, which may contain `::`."""
    return urn.split("::", 3)[3]


def diff_kind(changes: Collection[object]) -> provider_pb2.DiffResponse.DiffChanges.ValueType:
    """DIFF_SOME if there are changes, otherwise DIFF_NONE."""
    return provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE


_ANY: Final = "pulumi.json#/Any"
_SCHEMA_TYPES: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}


def schema(name: str) -> str:
    """The schema of the package `name`, with nothing but the settings of its provider.

    Programs in a language without a generated SDK need those to use components
    (https://www.pulumi.com/docs/iac/extending-pulumi/schema/).
    """
    settings = importlib.import_module(f"pulumi_{name}").ProviderArgs
    properties = {
        key: {"type": _SCHEMA_TYPES[kind]} if kind in _SCHEMA_TYPES else {"$ref": _ANY}
        for key, kind in input_type_types(settings).items()
    }
    version = importlib.metadata.version(f"pulumi_{name}")
    return json.dumps(
        {"name": name, "version": version, "provider": {"inputProperties": properties}}
    )


class Failure(Exception):
    """A failed operation. The user sees the message unchanged."""


class InitFailed(Failure):
    """The resource exists but did not become ready. The engine keeps it in the state, marked so
    that the next `up` updates it instead of creating it again.

    `reasons` are shown as the resource's errors. `properties` and `inputs` may contain secrets.
    """

    def __init__(
        self,
        message: str,
        *,
        id: str,
        properties: Mapping[str, Any],
        inputs: Mapping[str, Any],
        reasons: list[str],
    ) -> None:
        super().__init__(message)
        self.id = id
        self.properties = properties
        self.inputs = inputs
        self.reasons = reasons

    def status_details(self) -> bytes:
        """This error as the serialized `google.rpc.Status` that the engine reads."""
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(self))
        status.details.add().Pack(
            provider_pb2.ErrorResourceInitFailed(
                id=self.id,
                properties=encode(self.properties),
                inputs=encode(self.inputs),
                reasons=self.reasons,
            )
        )
        return bytes(status.SerializeToString())


class Engine:
    """The engine's gRPC service, through which a plugin shows messages during a run."""

    def __init__(self, address: str) -> None:
        channel = grpc.aio.insecure_channel(address, options=_GRPC_CHANNEL_OPTIONS)
        self._stub = engine_pb2_grpc.EngineStub(channel)

    async def info(self, urn: str, message: str) -> None:
        """Print a line about the resource `urn`; it stays in the run's output."""
        await self._log(engine_pb2.INFO, urn, message)

    async def status(self, urn: str, message: str) -> None:
        """Show the current status of `urn`, until the next one replaces it."""
        await self._log(engine_pb2.INFO, urn, message, ephemeral=True)

    async def warning(self, urn: str, message: str) -> None:
        await self._log(engine_pb2.WARNING, urn, message)

    async def _log(
        self,
        severity: engine_pb2.LogSeverity.ValueType,
        urn: str,
        message: str,
        *,
        ephemeral: bool = False,
    ) -> None:
        request = engine_pb2.LogRequest(
            severity=severity, urn=urn, message=message, ephemeral=ephemeral
        )
        # A run must not fail because a message about it can't be shown.
        with contextlib.suppress(grpc.RpcError):
            await cast(Awaitable[object], self._stub.Log(request))


class _Errors(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpcio ships no types
    """Turns the exceptions of a servicer into the gRPC status that the engine understands."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler.unary_unary

        async def guarded(request: Any, context: Any) -> Any:
            try:
                return await method(request, context)
            except grpc.aio.AbortError:
                raise
            except NotImplementedError:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"no {details.method} here")
            except InitFailed as error:
                await context.abort(
                    grpc.StatusCode.UNKNOWN,
                    str(error),
                    (("grpc-status-details-bin", error.status_details()),),
                )
            except Failure as error:
                await context.abort(grpc.StatusCode.UNKNOWN, str(error))
            except Exception as error:
                traceback.print_exc()
                await context.abort(
                    grpc.StatusCode.INTERNAL,
                    f"the stand-in plugin failed at {details.method}: {error!r}",
                )

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def start_server(register: Callable[[Any], None]) -> tuple[Any, int]:
    """Start a gRPC server on a free port of loopback. Returns the `grpc.aio` server and its port.

    `register` adds the servicers. A Failure or InitFailed that they raise reaches the engine with
    its message, any other exception as an internal error.
    """
    server = grpc.aio.server(interceptors=[_Errors()], options=_GRPC_CHANNEL_OPTIONS)
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def main(register: Callable[[Any, str], None]) -> None:
    """Run this process as a plugin: serve until the engine that started it has ended.

    `register(server, engine)` adds the servicers; `engine` is the address of the engine's service,
    the plugin's last argument. The engine reads the port from the first line on standard output.
    """
    die_with_parent()
    engine = sys.argv[-1] if len(sys.argv) > 1 else ""

    async def serve() -> None:
        server, port = await start_server(lambda server: register(server, engine))
        print(port, flush=True)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: loop.create_task(server.stop(grace=None)))
        await server.wait_for_termination()
        # The engine sends the signal twice; during Python's shutdown it would print an exception.
        os._exit(0)

    asyncio.run(serve())
