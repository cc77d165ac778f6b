"""The kubernetes plugin's provider configuration: accepted settings, and changes that replace."""

import asyncio
import json
import sys
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any

import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # protobuf ships no types
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from sandbox.plugins.common import UNKNOWN, Engine, Failure, encode
from sandbox.plugins.kubernetes.provider import KubernetesProvider

TYPE = "urn:pulumi:dev::doks-gitops::pulumi:providers:kubernetes::kubernetes"


def provider() -> KubernetesProvider:
    return KubernetesProvider(Engine("127.0.0.1:1"))


def failures(**news: Any) -> dict[str, str]:
    async def ask() -> provider_pb2.CheckResponse:
        request = provider_pb2.CheckRequest(urn=TYPE, news=encode(news))
        return await provider().CheckConfig(request, None)

    return {failure.property: failure.reason for failure in asyncio.run(ask()).failures}


def replaces(olds: dict[str, Any], news: dict[str, Any]) -> tuple[bool, list[str]]:
    """Whether there are changes, and the settings that replace the provider."""

    async def ask() -> provider_pb2.DiffResponse:
        request = provider_pb2.DiffRequest(urn=TYPE, olds=encode(olds), news=encode(news))
        return await provider().DiffConfig(request, None)

    diff = asyncio.run(ask())
    return diff.changes == provider_pb2.DiffResponse.DIFF_SOME, list(diff.replaces)


def kubeconfig(server: str, *, token: str = "t") -> dict[str, Any]:
    return {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }


def test_the_settings_of_a_program_are_accepted() -> None:
    assert not failures(
        kubeconfig=UNKNOWN,
        context="c",
        cluster="k",
        namespace="n",
        clusterIdentifier=UNKNOWN,
        deleteUnreachable="true",
        skipUpdateUnreachable="false",
        enableServerSideApply="true",
        suppressDeprecationWarnings="true",
        helmReleaseSettings='{"driver": "secret", "repositoryCache": "/x"}',
        version="4.34.2",
    )


@pytest.mark.parametrize(
    ("news", "reason"),
    [
        ({"kubconfig": "x"}, "does not know the provider setting kubconfig"),
        ({"renderYamlToDirectory": "x"}, "does not know the provider setting renderYaml"),
        ({"enableServerSideApply": "false"}, "server-side apply only"),
        ({"helmReleaseSettings": '{"driver": "sql"}'}, "Secrets only"),
        ({"helmReleaseSettings": '{"plugins": "x"}'}, "helmReleaseSettings.plugins"),
        ({"kubeClientSettings": "{"}, "not valid JSON"),
    ],
)
def test_a_setting_that_would_have_no_effect_is_refused(news: dict[str, Any], reason: str) -> None:
    reasons = failures(**news)
    assert list(reasons) == list(news)
    assert reason in reasons[next(iter(news))]


def test_a_rotated_token_changes_the_provider_and_replaces_nothing() -> None:
    old = {"kubeconfig": kubeconfig("https://a", token="one")}
    new = {"kubeconfig": kubeconfig("https://a", token="two")}
    assert replaces(old, new) == (True, [])
    assert replaces(old, old) == (False, [])


def test_another_cluster_in_the_kubeconfig_replaces_the_provider() -> None:
    old = {"kubeconfig": kubeconfig("https://a")}
    assert replaces(old, {"kubeconfig": kubeconfig("https://b")}) == (True, ["kubeconfig"])
    assert replaces(old, {"kubeconfig": UNKNOWN}) == (True, ["kubeconfig"])


def test_with_a_cluster_identifier_only_its_change_replaces_the_provider() -> None:
    old = {"kubeconfig": kubeconfig("https://a"), "clusterIdentifier": "1"}
    same = {"kubeconfig": kubeconfig("https://b"), "clusterIdentifier": "1"}
    assert replaces(old, same) == (True, [])
    assert replaces(old, {**same, "kubeconfig": UNKNOWN}) == (True, [])
    assert replaces(old, {**old, "clusterIdentifier": "2"}) == (True, ["clusterIdentifier"])
    assert replaces(old, {**old, "clusterIdentifier": UNKNOWN}) == (True, ["clusterIdentifier"])


def test_a_cluster_identifier_that_is_added_replaces_nothing() -> None:
    old = {"kubeconfig": kubeconfig("https://a")}
    assert replaces(old, {**old, "clusterIdentifier": "1"}) == (True, [])


def test_the_process_prints_its_port_serves_its_version_and_ends_on_sigterm() -> None:
    import grpc  # type: ignore[import-untyped]  # grpcio ships no types

    async def run() -> tuple[str, int]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sandbox.plugins.kubernetes",
            "127.0.0.1:1",
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                info = await asyncio.to_thread(stub.GetPluginInfo, empty_pb2.Empty())
        finally:
            process.terminate()
        return info.version, await process.wait()

    assert asyncio.run(run()) == (version("pulumi-kubernetes"), 0)


@pytest.mark.parametrize("data", ["bm90IGV4cG9ydGVk", ""])
def test_only_a_certificate_that_cannot_be_parsed_ends_the_provider(data: str) -> None:
    """`makeClient` in `provider/pkg/provider/provider.go`, of version 4.32.0."""
    config = kubeconfig("https://127.0.0.1:1")
    config["clusters"][0]["cluster"]["certificate-authority-data"] = data

    async def configure() -> None:
        variables = {"kubernetes:config:kubeconfig": json.dumps(config)}
        await provider().Configure(provider_pb2.ConfigureRequest(variables=variables), None)

    with pytest.raises(Failure, match="initialize discovery") if data else nullcontext():
        asyncio.run(configure())
