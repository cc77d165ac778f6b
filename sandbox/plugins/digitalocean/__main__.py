"""`pulumi-resource-digitalocean`: started by the engine, which reads the port from its output."""

from pulumi.runtime.proto import add_ResourceProviderServicer_to_server

from sandbox.plugins import common
from sandbox.plugins.digitalocean.provider import DigitalOceanProvider


def main() -> None:
    common.main(
        lambda server, engine: add_ResourceProviderServicer_to_server(
            DigitalOceanProvider(), server
        )
    )


if __name__ == "__main__":
    main()
