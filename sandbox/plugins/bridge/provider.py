"""The resource provider's side of Pulumi's protocol (`pulumirpc.ResourceProvider`)."""

import hashlib
import importlib.metadata
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Generic

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import ResourceProviderServicer, plugin_pb2, provider_pb2

from sandbox.plugins.bridge.checking import DEFAULTS, check
from sandbox.plugins.bridge.configuration import ProviderConfiguration
from sandbox.plugins.bridge.diffing import Change, changed, diff
from sandbox.plugins.bridge.planning import imported_inputs, known, plan, refreshed_inputs
from sandbox.plugins.bridge.resource import ApiT, Incomplete, Resource
from sandbox.plugins.bridge.schema import Field, Fields, Kind, Properties
from sandbox.plugins.common import (
    Failure,
    InitFailed,
    Secret,
    decode,
    diff_kind,
    encode,
    name_of_urn,
    plain,
    schema,
    type_of_urn,
)

_LONGEST_NAME = 255
_RANDOM_DIGITS = 7


class BridgedProvider(ResourceProviderServicer, ABC, Generic[ApiT]):
    """One configured provider with its resources and lookups."""

    name: ClassVar[str]
    """Such as `digitalocean`; the SDK's package is `pulumi_<name>`."""
    configuration: ClassVar[type[ProviderConfiguration]]

    def __init__(self, resources: Sequence[Resource[ApiT]]) -> None:
        self._resources = {resource.type: resource for resource in resources}
        self._api: ApiT | None = None
        self._keeps_secrets = False

    @abstractmethod
    async def connect(self, settings: Properties) -> ApiT:
        """The API with the provider's `settings`. Raises ValueError or Failure."""

    async def GetPluginInfo(self, request: empty_pb2.Empty, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version(f"pulumi_{self.name}"))

    async def GetSchema(
        self, request: provider_pb2.GetSchemaRequest, context: Any
    ) -> provider_pb2.GetSchemaResponse:
        return provider_pb2.GetSchemaResponse(schema=schema(self.name))

    async def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: Any
    ) -> provider_pb2.CheckResponse:
        settings, name = decode(request.news), name_of_urn(request.urn)
        reasons = self.configuration.failures(settings, package=self.name, provider=name)
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(reasons))

    async def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: Any
    ) -> provider_pb2.DiffResponse:
        # A change of the configuration replaces nothing: the account is assumed to be the same.
        olds, news = plain(decode(request.old_inputs or request.olds)), plain(decode(request.news))
        changes = sorted(key for key in {*olds, *news} if olds.get(key) != news.get(key))
        return provider_pb2.DiffResponse(changes=diff_kind(changes), diffs=changes)

    async def Configure(
        self, request: provider_pb2.ConfigureRequest, context: Any
    ) -> provider_pb2.ConfigureResponse:
        self._keeps_secrets = request.acceptSecrets
        try:
            self._api = await self.connect(decode(request.args))
        except ValueError as error:
            raise Failure(f"could not configure {self.name}: {error}") from None
        return provider_pb2.ConfigureResponse(
            supportsPreview=True, supports_autonaming_configuration=True
        )

    async def Check(
        self, request: provider_pb2.CheckRequest, context: Any
    ) -> provider_pb2.CheckResponse:
        name = name_of_urn(request.urn)
        inputs, reasons = check(
            self._resource(request.urn).fields,
            decode(request.news),
            resource=name,
            olds=decode(request.olds),
            new_name=lambda: _new_name(name, request),
        )
        return provider_pb2.CheckResponse(inputs=encode(inputs), failures=_failures(reasons))

    async def Diff(
        self, request: provider_pb2.DiffRequest, context: Any
    ) -> provider_pb2.DiffResponse:
        resource = self._resource(request.urn)
        fields = resource.fields
        olds, news = plain(decode(request.olds)), plain(decode(request.news))
        changes = diff(fields, olds, news, request.ignoreChanges)
        replaces = sorted(changed(path for path, change in changes.items() if change.replaces))
        named = "name" in news and "name" not in news.get(DEFAULTS, ["name"])
        return provider_pb2.DiffResponse(
            changes=diff_kind(changes),
            diffs=sorted(changed(changes)),
            replaces=replaces,
            stables=sorted(
                name for name, field in fields.items() if field.replaces and name not in replaces
            ),
            # The old and the new resource can't both have the name in the program.
            deleteBeforeReplace=bool(replaces) and named,
            detailedDiff={path: _property_diff(change) for path, change in changes.items()},
            hasDetailedDiff=True,
        )

    async def Create(
        self, request: provider_pb2.CreateRequest, context: Any
    ) -> provider_pb2.CreateResponse:
        resource = self._resource(request.urn)
        inputs = plain(decode(request.properties))
        planned = plan(resource.fields, inputs, None)
        if request.preview:
            return provider_pb2.CreateResponse(properties=self._outputs(resource.fields, planned))
        desired = known(planned)
        api = self._connected
        try:
            id = await resource.create(api, desired, request.timeout or None)
        except Incomplete as error:
            raise self._unfinished("creating", request, error.id, inputs, desired, error) from None
        except Failure as error:
            raise Failure(_listed(error)) from None
        try:
            outputs = await resource.read(api, id, desired)
        except Failure as error:
            raise self._unfinished("creating", request, id, inputs, desired, error) from None
        if outputs is None:
            raise Failure(f"{request.urn} was gone as soon as it had been created (id {id})")
        return provider_pb2.CreateResponse(
            id=id, properties=self._outputs(resource.fields, outputs)
        )

    async def Read(
        self, request: provider_pb2.ReadRequest, context: Any
    ) -> provider_pb2.ReadResponse:
        resource = self._resource(request.urn)
        state = plain(decode(request.properties))
        with _failing_as("refreshing", request.urn):
            adopted = state or await resource.adopt(self._connected, request.id)
            outputs = await resource.read(self._connected, request.id, adopted)
        if outputs is None:
            return provider_pb2.ReadResponse()
        inputs = (
            refreshed_inputs(resource.fields, plain(decode(request.inputs)), outputs)
            if state
            else imported_inputs(resource.fields, outputs)
        )
        return provider_pb2.ReadResponse(
            id=request.id,
            properties=self._outputs(resource.fields, outputs),
            inputs=encode(inputs),
        )

    async def Update(
        self, request: provider_pb2.UpdateRequest, context: Any
    ) -> provider_pb2.UpdateResponse:
        resource = self._resource(request.urn)
        olds, news = plain(decode(request.olds)), plain(decode(request.news))
        changes = diff(resource.fields, olds, news, request.ignoreChanges)
        planned = plan(resource.fields, news, olds, request.ignoreChanges)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=self._outputs(resource.fields, planned))
        desired = known(planned)
        api = self._connected
        try:
            await resource.update(api, request.id, olds, desired, changed(changes))
            outputs = await resource.read(api, request.id, desired)
        except Failure as error:
            # As with the real plugin, the state gets the new values although the update failed;
            # the next refresh corrects it.
            raise self._unfinished("updating", request, request.id, news, desired, error) from None
        if outputs is None:
            raise Failure(
                "Resource provider reported that the resource did not exist while updating"
                f" {request.urn}.\n\nThis is usually a result of the resource having been deleted"
                " outside of Pulumi, and can often be fixed by running `pulumi refresh` before"
                " updating."
            )
        return provider_pb2.UpdateResponse(properties=self._outputs(resource.fields, outputs))

    async def Delete(self, request: provider_pb2.DeleteRequest, context: Any) -> empty_pb2.Empty:
        resource = self._resource(request.urn)
        state = plain(decode(request.properties))
        with _failing_as("deleting", request.urn):
            await resource.delete(self._connected, request.id, state, request.timeout or None)
        return empty_pb2.Empty()

    async def Invoke(
        self, request: provider_pb2.InvokeRequest, context: Any
    ) -> provider_pb2.InvokeResponse:
        raise Failure(
            f"unrecognized function: {request.tok}. The sandbox's {self.name} plugin has none, as"
            " the program calls none; the real plugin is needed for it"
        )

    async def Cancel(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:
        # As in the real plugin, running operations continue, so that the state records them.
        return empty_pb2.Empty()

    @property
    def _connected(self) -> ApiT:
        if self._api is None:
            raise Failure(f"the {self.name} provider is not configured yet")
        return self._api

    def _resource(self, urn: str) -> Resource[ApiT]:
        token = type_of_urn(urn)
        resource = self._resources.get(token)
        if resource is None:
            raise Failure(
                f"unrecognized resource type: {token}. The sandbox's {self.name} plugin has only"
                f" {', '.join(sorted(self._resources))}; the real plugin is needed for others"
            )
        return resource

    def _outputs(self, fields: Fields, properties: Properties) -> Any:
        return encode(self._sealed(fields, properties))

    def _sealed(self, fields: Fields, properties: Properties) -> Properties:
        if not self._keeps_secrets:
            return properties
        return {
            name: self._seal(fields[name], value) if name in fields else value
            for name, value in properties.items()
        }

    def _seal(self, field: Field, value: Any) -> Any:
        if field.secret:
            return Secret(value)
        if field.kind is Kind.OBJECT and isinstance(value, dict):
            return self._sealed(field.fields, value)
        return value

    def _unfinished(
        self,
        operation: str,
        request: Any,
        id: str,
        inputs: Properties,
        desired: Properties,
        error: Failure,
    ) -> InitFailed:
        reason = f"{operation} {request.urn}: {_listed(error)}"
        properties = self._sealed(self._resource(request.urn).fields, desired)
        return InitFailed(reason, id=id, properties=properties, inputs=inputs, reasons=[reason])


def _new_name(resource: str, request: provider_pb2.CheckRequest) -> str:
    """Generate a name for a resource that has none in the program; equal for equal seeds."""
    if request.HasField("autonaming"):
        options = provider_pb2.CheckRequest.AutonamingOptions
        match request.autonaming.mode:
            case options.DISABLE:
                raise ValueError("automatic naming is disabled but no explicit name was provided")
            case options.ENFORCE:
                return request.autonaming.proposed_name
            case _:
                name = request.autonaming.proposed_name
    else:
        seed = request.randomSeed or secrets.token_bytes(32)
        digits = hashlib.sha256(seed + resource.encode()).hexdigest()[:_RANDOM_DIGITS]
        name = f"{resource}-{digits}"
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"calculated name '{name}' exceeds maximum length of {_LONGEST_NAME}")
    return name


def _failures(reasons: list[str]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(reason=reason) for reason in reasons]


def _property_diff(change: Change) -> provider_pb2.PropertyDiff:
    suffix = "_REPLACE" if change.replaces else ""
    return provider_pb2.PropertyDiff(
        kind=provider_pb2.PropertyDiff.Kind.Value(change.how.name + suffix)
    )


def _listed(error: Failure) -> str:
    return f"1 error occurred:\n\t* {error}\n\n"


@contextmanager
def _failing_as(operation: str, subject: str) -> Iterator[None]:
    """Put the operation and its subject before the message of a Failure."""
    try:
        yield
    except Failure as error:
        raise Failure(f"{operation} {subject}: {_listed(error)}") from None
