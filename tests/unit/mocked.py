"""Runs programs against Pulumi's mocks and keeps what they asked of the engine."""

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

PROJECT = "doks-gitops"
NUMBERS = {"ada": 11, "bot": 12, "ops": 21}
"""By which GitHub knows these people and teams."""


@dataclass(frozen=True)
class Asked:
    """One resource as the program asked for it."""

    urn: str
    type: str
    name: str
    inputs: dict[str, Any]
    """Plain values, secret or not."""
    secret: frozenset[str]
    """Names of the inputs that hold a secret somewhere."""
    dependencies: frozenset[str]
    """URNs of what must exist before it, and be deleted after it."""
    parent: str
    provider: str
    ignore_changes: tuple[str, ...]
    protect: bool
    delete_before_replace: bool
    delete_timeout: str
    raw: Struct
    """The inputs as they came."""


@dataclass(frozen=True)
class Found:
    """One output of a program."""

    value: Any
    known: bool
    secret: bool


class _Provider(mocks.Mocks):
    """What DigitalOcean and Kubernetes would add to what was asked for."""

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        package = args.token.partition(":")[0]
        assert f"pulumi:providers:{package}::" in args.provider, "stacks have no default provider"
        match args.token:
            case "digitalocean:index/getContainerRegistry:getContainerRegistry":
                name = args.args["name"]
                return {"name": name, "endpoint": f"registry.digitalocean.com/{name}"}, []
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
        if args.typ == "digitalocean:index/containerRegistry:ContainerRegistry":
            state["endpoint"] = f"registry.digitalocean.com/{state['name']}"
        return f"{args.name}-id", state


class _Monitor(mocks.MockMonitor):
    """Pulumi's mock engine, which also notes options and keeps the inputs that a program ignores
    changes of, as the real engine does."""

    def __init__(self, previous: Mapping[str, Asked]) -> None:
        super().__init__(_Provider())
        self.previous = previous
        self.asked: dict[str, Asked] = {}

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
        self.asked[urn] = Asked(
            urn=urn,
            type=request.type,
            name=request.name,
            inputs=plain,
            secret=frozenset(key for key, value in inputs.items() if rpc.is_rpc_secret(value)),
            dependencies=frozenset(request.dependencies),
            parent=request.parent,
            provider=request.provider,
            ignore_changes=tuple(request.ignoreChanges),
            protect=request.protect,
            delete_before_replace=request.deleteBeforeReplace,
            delete_timeout=request.customTimeouts.delete,
            raw=request.object,
        )
        return response


class Run:
    """What a program asked for, and what it gave out."""

    def __init__(self, asked: Mapping[str, Asked], outputs: Mapping[str, Found]) -> None:
        self.asked = dict(asked)
        self.outputs = dict(outputs)

    def all(self, kind: str) -> list[Asked]:
        """The resources whose type ends in that."""
        return [each for each in self.asked.values() if f":{each.type}".endswith(f":{kind}")]

    def one(self, kind: str, name: str | None = None) -> Asked:
        """The one resource of that type (and logical name)."""
        found = [each for each in self.all(kind) if name is None or each.name == name]
        assert len(found) == 1, f"{len(found)} of {kind} {name or ''}: {list(self.asked)}"
        return found[0]

    def before(self, later: Asked) -> set[str]:
        """URNs of everything that exists before `later` is made, and until it is deleted."""
        reached: set[str] = set()
        ahead = [*later.dependencies, later.provider.rpartition("::")[0]]
        while ahead:
            urn = ahead.pop()
            if urn in self.asked and urn not in reached:
                reached.add(urn)
                each = self.asked[urn]
                ahead += [*each.dependencies, each.provider.rpartition("::")[0]]
        return reached


Program = Callable[[], Mapping[str, Any] | None]


def run(
    program: Program, *, preview: bool = False, stack: str = "dev", previous: Run | None = None
) -> Run:
    """Runs `program` to its end; its outputs are those that it returns or exports.

    `previous` is the run before this one, whose state the engine still has.
    """
    monitor = _Monitor(previous.asked if previous is not None else {})
    mocks.set_mocks(monitor.mocks, project=PROJECT, stack=stack, preview=preview, monitor=monitor)
    found: dict[str, Found] = {}

    async def look(outputs: Mapping[str, Any]) -> None:
        for name, value in outputs.items():
            output = pulumi.Output.from_input(value)
            found[name] = Found(
                value=await output.future(with_unknowns=False),
                known=await output.is_known(),
                secret=await output.is_secret(),
            )

    def whole() -> pulumi.Output[None]:
        root = get_root_resource()
        assert isinstance(root, Stack)
        # The root outlives the run before this one, which may have called `pulumi.run`.
        root.outputs.clear()
        root._async_program, root._async_program_registration_closed = None, False
        outputs = program() or root.outputs
        return pulumi.Output.from_input(look(dict(outputs)))

    mocks.test(whole)()  # type: ignore[no-untyped-call]
    return Run(monitor.asked, found)


def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Types of all that programs ask for from now on, but for the stack itself: that is the
    engine's own, and there before a program begins. Also of programs that fail."""
    types: list[str] = []
    register = mocks.MockMonitor.RegisterResource

    def noted(self: mocks.MockMonitor, request: Any) -> Any:
        if request.type != "pulumi:pulumi:Stack":
            types.append(request.type)
        return register(self, request)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(mocks.MockMonitor, "RegisterResource", noted)
    return types


def refused(*words: str) -> AbstractContextManager[object]:
    """What is inside must raise a ValueError that has all these words."""
    return pytest.raises(ValueError, match="".join(f"(?=.*{re.escape(word)})" for word in words))


def kubernetes_provider() -> pulumi.ProviderResource:
    """A Kubernetes provider to hand to a component."""
    import pulumi_kubernetes

    return pulumi_kubernetes.Provider("kubernetes", kubeconfig="{}")


def digitalocean_provider() -> pulumi.ProviderResource:
    """A DigitalOcean provider to hand to a component."""
    import pulumi_digitalocean

    return pulumi_digitalocean.Provider("digitalocean", token="token")
