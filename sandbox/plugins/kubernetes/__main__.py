"""`pulumi-resource-kubernetes`: started by the engine, which reads the port from its output."""

from typing import Any

from pulumi.runtime.proto import provider_pb2_grpc

from sandbox.plugins import common
from sandbox.plugins.kubernetes.provider import KubernetesProvider


def _register(server: Any, engine: str) -> None:
    provider = KubernetesProvider(common.Engine(engine))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)


def main() -> None:
    common.main(_register)


if __name__ == "__main__":
    main()
