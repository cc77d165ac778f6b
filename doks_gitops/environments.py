"""The environments that have defaults of their own. Imports nothing heavy: the command line shows
them in its help."""

from typing import Literal, get_args

Environment = Literal["dev", "staging", "prod"]
ENVIRONMENTS: tuple[str, ...] = get_args(Environment)
"""In the order of promotion."""


def is_production(environment: str) -> bool:
    """Whether an environment is production. One that can't be told is."""
    return environment not in set(ENVIRONMENTS) - {"prod"}
