"""`pulumi-language-python`: started by the engine, which reads the port from its output."""

from pulumi.runtime.proto import add_LanguageRuntimeServicer_to_server

from sandbox.plugins import common
from sandbox.plugins.language.host import LanguageHost


def main() -> None:
    common.main(
        lambda server, engine: add_LanguageRuntimeServicer_to_server(LanguageHost(engine), server)
    )


if __name__ == "__main__":
    main()
