"""The plugin's gRPC service: dispatches the engine's calls."""

import contextlib
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Final

import httpx
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # protobuf ships no types
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from sandbox.plugins.common import (
    Engine,
    Failure,
    decode,
    diff_kind,
    encode,
    plain,
    schema,
    type_of_urn,
)
from sandbox.plugins.kubernetes import config, resources
from sandbox.plugins.kubernetes.client import ApiError
from sandbox.plugins.kubernetes.helm import TYPE as RELEASE
from sandbox.plugins.kubernetes.helm import Releases
from sandbox.plugins.kubernetes.helm_cli import Helm
from sandbox.plugins.kubernetes.kubeconfig import KubeconfigError
from sandbox.plugins.kubernetes.session import Session

VERSION: Final = version("pulumi-kubernetes")
"""The SDK's version, which is also that of Pulumi's own plugin."""


@contextlib.contextmanager
def _cluster_errors() -> Iterator[None]:
    """Report errors of the cluster as Failure, not as internal errors of the plugin."""
    try:
        yield
    except (ApiError, KubeconfigError) as error:
        raise Failure(str(error)) from None
    except httpx.HTTPError as error:
        raise Failure(
            f"the Kubernetes API server did not answer: {error or type(error).__name__}"
        ) from None


class KubernetesProvider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider of a program, with the behaviour of `pulumi-resource-kubernetes`.

    The server turns Failure and InitFailed into the engine's errors.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._opened: Session | None = None
        self._helm: Helm | None = None

    async def close(self) -> None:
        """Stop running operations, and remove the files in memory."""
        if self._helm is not None:
            self._helm.stop()
            self._helm.close()
        if self._opened is not None:
            self._opened.stop()
            await self._opened.close()

    @property
    def _session(self) -> Session:
        if self._opened is None:
            raise Failure("the provider is not configured")
        return self._opened

    @property
    def _releases(self) -> Releases:
        session = self._session
        if self._helm is None:
            access = session.cluster.access if session.cluster else None
            self._helm = Helm(access, session.config.helm_environment)
        return Releases(session, self._helm)

    async def GetPluginInfo(self, request: Any, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=VERSION)

    async def GetSchema(
        self, request: provider_pb2.GetSchemaRequest, context: Any
    ) -> provider_pb2.GetSchemaResponse:
        return provider_pb2.GetSchemaResponse(schema=schema("kubernetes"))

    async def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: Any
    ) -> provider_pb2.ProviderHandshakeResponse:
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True, supports_autonaming_configuration=True
        )

    async def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: Any
    ) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(
            inputs=request.news, failures=_failures(config.check(plain(decode(request.news))))
        )

    async def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: Any
    ) -> provider_pb2.DiffResponse:
        changed, replaces = config.diff(plain(decode(request.olds)), plain(decode(request.news)))
        return provider_pb2.DiffResponse(
            changes=diff_kind(changed),
            diffs=changed,
            replaces=replaces,
        )

    async def Configure(
        self, request: provider_pb2.ConfigureRequest, context: Any
    ) -> provider_pb2.ConfigureResponse:
        settings = config.Config.parse(dict(request.variables))
        self._opened = await Session.open(self._engine, settings)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    async def Check(
        self, request: provider_pb2.CheckRequest, context: Any
    ) -> provider_pb2.CheckResponse:
        olds, news = decode(request.olds), decode(request.news)
        with _cluster_errors():
            if type_of_urn(request.urn) == RELEASE:
                checked = await self._releases.check(request.urn, olds, news)
            else:
                checked = await resources.check(
                    self._session,
                    request.urn,
                    olds,
                    news,
                    proposed_name=request.autonaming.proposed_name,
                )
        return provider_pb2.CheckResponse(
            inputs=encode(checked.inputs), failures=_failures(checked.failures)
        )

    async def Diff(
        self, request: provider_pb2.DiffRequest, context: Any
    ) -> provider_pb2.DiffResponse:
        olds, news = decode(request.olds), decode(request.news)
        ignored = list(request.ignoreChanges)
        with _cluster_errors():
            if type_of_urn(request.urn) == RELEASE:
                return await self._releases.diff(olds, news, ignored)
            return await resources.diff(self._session, olds, news, ignored)

    async def Create(
        self, request: provider_pb2.CreateRequest, context: Any
    ) -> provider_pb2.CreateResponse:
        news = decode(request.properties)
        with _cluster_errors():
            if type_of_urn(request.urn) == RELEASE:
                id, state = await self._releases.create(request.urn, news, preview=request.preview)
            else:
                id, state = await resources.create(
                    self._session,
                    request.urn,
                    news,
                    seconds=request.timeout,
                    preview=request.preview,
                )
        return provider_pb2.CreateResponse(id=id, properties=encode(state))

    async def Read(
        self, request: provider_pb2.ReadRequest, context: Any
    ) -> provider_pb2.ReadResponse:
        state, inputs = decode(request.properties), decode(request.inputs)
        with _cluster_errors():
            if type_of_urn(request.urn) == RELEASE:
                current = await self._releases.read(request.urn, request.id, state, inputs)
            else:
                current = await resources.read(
                    self._session, request.urn, request.id, state, inputs
                )
        return provider_pb2.ReadResponse(
            id=current.id, properties=encode(current.state), inputs=encode(current.inputs)
        )

    async def Update(
        self, request: provider_pb2.UpdateRequest, context: Any
    ) -> provider_pb2.UpdateResponse:
        olds, news = decode(request.olds), decode(request.news)
        with _cluster_errors():
            if type_of_urn(request.urn) == RELEASE:
                state = await self._releases.update(request.urn, news, preview=request.preview)
            else:
                state = await resources.update(
                    self._session,
                    request.urn,
                    olds,
                    news,
                    ignored=list(request.ignoreChanges),
                    seconds=request.timeout,
                    preview=request.preview,
                )
        return provider_pb2.UpdateResponse(properties=encode(state))

    async def Delete(self, request: provider_pb2.DeleteRequest, context: Any) -> empty_pb2.Empty:
        state = decode(request.properties)
        with _cluster_errors():
            if type_of_urn(request.urn) == RELEASE:
                await self._releases.delete(request.id, state)
            else:
                await resources.delete(
                    self._session, request.urn, request.id, state, seconds=request.timeout
                )
        return empty_pb2.Empty()

    async def Cancel(self, request: Any, context: Any) -> empty_pb2.Empty:
        if self._opened is not None:
            self._opened.stop()
        if self._helm is not None:
            self._helm.stop()
        return empty_pb2.Empty()

    async def Invoke(
        self, request: provider_pb2.InvokeRequest, context: Any
    ) -> provider_pb2.InvokeResponse:
        raise Failure(f"the stand-in plugin has no function {request.tok}")

    async def Construct(
        self, request: provider_pb2.ConstructRequest, context: Any
    ) -> provider_pb2.ConstructResponse:
        raise Failure(
            f"the stand-in plugin does not offer {request.type}; it knows helm.sh/v3:Release and"
            " the objects of the Kubernetes API, custom resources included"
        )


def _failures(failures: list[tuple[str, str]]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in failures]
