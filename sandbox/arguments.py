"""Options of several commands."""

from typing import Annotated

import typer

RealProviders = Annotated[
    bool,
    typer.Option(
        "--real-providers",
        envvar="SANDBOX_REAL_PROVIDERS",
        help="Use the digitalocean and kubernetes plugins of this machine, not the stand-ins.",
    ),
]
