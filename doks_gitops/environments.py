"""The environments that have defaults of their own. Imports nothing heavy: the command line shows
them in its help."""

from typing import Literal, get_args

Environment = Literal["dev", "staging", "prod"]
ENVIRONMENTS: tuple[str, ...] = get_args(Environment)
"""In the order of promotion."""


def short_name(stack: str) -> str:
    """A stack's own name, without the organization and the project that may come before it.

    https://www.pulumi.com/docs/iac/concepts/stacks/#stack-naming
    """
    return stack.rpartition("/")[2]


def is_production(environment: str) -> bool:
    """Whether an environment is production. One that can't be told is."""
    return environment not in set(ENVIRONMENTS) - {"prod"}
