"""Runs programs against Pulumi's mocks, and keeps the resources that they register."""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pulumi
import pytest
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from pulumi.runtime import mocks, rpc
from pulumi.runtime.settings import get_root_resource
from pulumi.runtime.stack import Stack

from doks_gitops.account import RunningCluster, Vpc

PROJECT = "doks-gitops"
NUMBERS = {"ada": 11, "bot": 12, "ops": 21}
"""GitHub's ids of users and teams."""


@dataclass(frozen=True)
class Resource:
    """A resource as the program registered it."""

    urn: str
    type: str
    name: str
    inputs: dict[str, Any]
    """Plain values, secret or not."""
    secret: frozenset[str]
    """Names of the inputs that hold a secret somewhere."""
    dependencies: frozenset[str]
    """URNs of the resources that are created before it and deleted after it."""
    input_dependencies: Mapping[str, frozenset[str]]
    """URNs of the resources that an input depends on, by the name of the input."""
    parent: str
    provider: str
    ignore_changes: tuple[str, ...]
    protect: bool
    delete_before_replace: bool
    delete_timeout: str
    retain_on_delete: bool
    secret_outputs: frozenset[str]
    raw: Struct
    """The inputs in the form of the engine's protocol."""


@dataclass(frozen=True)
class OutputValue:
    """An output of a program."""

    value: Any
    known: bool
    secret: bool


class _Provider(mocks.Mocks):
    """Adds the outputs that DigitalOcean and GitHub would add."""

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        package = args.token.partition(":")[0]
        assert f"pulumi:providers:{package}::" in args.provider, "stacks have no default provider"
        match args.token:
            case "github:index/getUser:getUser":
                return {"id": str(NUMBERS[args.args["username"]])}, []
            case "github:index/getTeam:getTeam":
                return {"id": str(NUMBERS[args.args["slug"]])}, []
        raise AssertionError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        state = dict(args.inputs)
        if args.typ == "digitalocean:index/kubernetesCluster:KubernetesCluster":
            state |= {
                "endpoint": "https://cluster.test",
                "clusterUrn": "do:kubernetes:cluster-id",
                "vpcUuid": state.get("vpcUuid", "default-vpc"),
                "kubeConfigs": [
                    {"clusterCaCertificate": "Q0E=", "token": "expires-in-7-days", "rawConfig": "x"}
                ],
            }
        if args.typ == "pulumi:index:Stash":
            state["output"] = state["input"]
        if args.typ == "digitalocean:index/containerRegistry:ContainerRegistry":
            state["endpoint"] = f"registry.digitalocean.com/{state['name']}"
        return f"{args.name}-id", state


class _Monitor(mocks.MockMonitor):
    """Pulumi's mock engine, which also keeps options and applies `ignore_changes`."""

    def __init__(self, previous: Mapping[str, Resource]) -> None:
        super().__init__(_Provider())
        self.previous = previous
        self.registered: dict[str, Resource] = {}

    def RegisterResource(self, request: Any) -> Any:
        urn = self.make_urn(request.parent, request.type, request.name)
        for key in request.ignoreChanges:
            if urn in self.previous:
                request.object.fields.pop(key, None)
                if key in self.previous[urn].raw.fields:
                    request.object.fields[key].CopyFrom(self.previous[urn].raw.fields[key])
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        inputs = rpc.deserialize_properties(request.object)
        plain, _ = rpc.deserialize_properties_unwrap_secrets(request.object)
        self.registered[urn] = Resource(
            urn=urn,
            type=request.type,
            name=request.name,
            inputs=plain,
            secret=frozenset(key for key, value in inputs.items() if rpc.is_rpc_secret(value)),
            dependencies=frozenset(request.dependencies),
            input_dependencies={
                name: frozenset(dependencies.urns)
                for name, dependencies in request.propertyDependencies.items()
            },
            parent=request.parent,
            provider=request.provider,
            ignore_changes=tuple(request.ignoreChanges),
            protect=request.protect,
            delete_before_replace=request.deleteBeforeReplace,
            delete_timeout=request.customTimeouts.delete,
            retain_on_delete=request.retainOnDelete,
            secret_outputs=frozenset(request.additionalSecretOutputs),
            raw=request.object,
        )
        return response


class Run:
    """The resources (by URN) and the outputs of a program."""

    def __init__(
        self, resources: Mapping[str, Resource], outputs: Mapping[str, OutputValue]
    ) -> None:
        self.resources = dict(resources)
        self.outputs = dict(outputs)

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """The inputs of all resources by their URNs."""
        return {urn: resource.inputs for urn, resource in self.resources.items()}

    def all(self, kind: str) -> list[Resource]:
        """The resources whose type is, or ends with, `kind`."""
        return [x for x in self.resources.values() if f":{x.type}".endswith(f":{kind}")]

    def of_packages(self, *packages: str) -> list[Resource]:
        """The resources of these packages, such as `kubernetes`."""
        return [x for x in self.resources.values() if x.type.partition(":")[0] in packages]

    def one(self, kind: str, name: str | None = None) -> Resource:
        """The only resource of this type (and logical name)."""
        matching = [resource for resource in self.all(kind) if name in (None, resource.name)]
        assert len(matching) == 1, f"{len(matching)} of {kind} {name or ''}: {[*self.resources]}"
        return matching[0]

    def dependencies(self, resource: Resource) -> set[str]:
        """URNs of all resources that are created before `resource` and deleted after it."""
        urns: set[str] = set()
        pending = [resource]
        while pending:
            current = pending.pop()
            for urn in (*current.dependencies, current.provider.rpartition("::")[0]):
                if urn in self.resources and urn not in urns:
                    urns.add(urn)
                    pending.append(self.resources[urn])
        return urns


Program = Callable[[], Mapping[str, Any] | None]


def run(
    program: Program, *, preview: bool = False, stack: str = "dev", previous: Run | None = None
) -> Run:
    """Runs `program`. Its outputs are those that it returns or exports.

    `previous`: the previous run, whose resources are in the stack's state.
    """
    monitor = _Monitor(previous.resources if previous is not None else {})
    mocks.set_mocks(monitor.mocks, project=PROJECT, stack=stack, preview=preview, monitor=monitor)
    values: dict[str, OutputValue] = {}

    async def read(outputs: Mapping[str, Any]) -> None:
        for name, value in outputs.items():
            output = pulumi.Output.from_input(value)
            values[name] = OutputValue(
                value=await output.future(with_unknowns=False),
                known=await output.is_known(),
                secret=await output.is_secret(),
            )

    def with_outputs() -> pulumi.Output[None]:
        root = get_root_resource()
        assert isinstance(root, Stack)
        # The root is that of the previous run, which may have called `pulumi.run`.
        root.outputs.clear()
        root._async_program, root._async_program_registration_closed = None, False
        return pulumi.Output.from_input(run_and_read(root, program()))

    async def run_and_read(root: Stack, outputs: Mapping[str, Any] | None) -> None:
        if (async_program := root._take_async_program()) is not None:
            await async_program()
        await read(dict(outputs or root.outputs))

    mocks.test(with_outputs)()  # type: ignore[no-untyped-call]
    return Run(monitor.registered, values)


def exported(
    cluster: RunningCluster | None = None, vpc: Vpc | None = None, version: str | None = None
) -> dict[str, Any]:
    """What `pulumi stack export` prints of a state with this cluster and this VPC of the stack's
    own. `version`: that of the cluster in the state; default: the one that it runs."""
    resources: list[dict[str, Any]] = []
    if vpc is not None:
        outputs: dict[str, Any] = {"ipRange": vpc.ip_range}
        kind = "digitalocean:index/vpc:Vpc"
        resources.append({"type": kind, "urn": "vpc", "id": vpc.id, "outputs": outputs})
    if cluster is not None:
        first = cluster.pools.get(cluster.default_pool or "")
        outputs = {
            "version": version or str(cluster.version),
            "nodePool": {"id": first.id if first is not None else "unknown"},
        }
        kind = "digitalocean:index/kubernetesCluster:KubernetesCluster"
        resources.append({"type": kind, "urn": "cluster", "id": cluster.id, "outputs": outputs})
    return {"version": 3, "deployment": {"resources": resources}}


def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets the types of all resources that programs register from now on, even of
    programs that fail. The stack itself is not in it."""
    types: list[str] = []
    register = mocks.MockMonitor.RegisterResource

    def register_and_note(self: mocks.MockMonitor, request: Any) -> Any:
        if request.type != "pulumi:pulumi:Stack":
            types.append(request.type)
        return register(self, request)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(mocks.MockMonitor, "RegisterResource", register_and_note)
    return types


def refused(*words: str) -> AbstractContextManager[object]:
    """A context that must raise a ValueError with all these `words`."""
    return pytest.raises(ValueError, match="".join(f"(?=.*{re.escape(word)})" for word in words))


def kubernetes_provider() -> pulumi.ProviderResource:
    """A Kubernetes provider for a component."""
    import pulumi_kubernetes

    return pulumi_kubernetes.Provider("kubernetes", kubeconfig="{}")


def digitalocean_provider() -> pulumi.ProviderResource:
    """A DigitalOcean provider for a component."""
    import pulumi_digitalocean

    return pulumi_digitalocean.Provider("digitalocean", token="token")
