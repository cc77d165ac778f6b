"""Options of several commands."""

from typing import Annotated

import typer

RealProviders = Annotated[
    bool,
    typer.Option(
        "--real-providers",
        envvar="SANDBOX_REAL_PROVIDERS",
        help="Use the real digitalocean and kubernetes plugins, not the stand-ins.",
    ),
]
