"""The sandbox's tools for tests, from the machine, or downloaded or built before.

Nothing is prepared here: a test whose tools are missing is skipped.
"""

from pathlib import Path

import pytest
from rich.console import Console

from sandbox import paths
from sandbox.toolchain import Tools, ensure, machine
from sandbox.toolchain.artifacts import Artifacts
from sandbox.toolchain.recipes import RECIPES, Recipe
from sandbox.toolchain.store import Store


def artifacts(recipe: Recipe) -> Artifacts:
    return Artifacts.of(recipe, Store(paths.cache_dir() / "tools"))


def binary(recipe: Recipe, name: str) -> Path:
    """The recipe's program of that name."""
    if installed := machine.find(recipe):
        return installed[name].path
    programs = artifacts(recipe).programs()
    if not programs:
        pytest.skip(f"{name} is not here; python -m sandbox.toolchain prepares it")
    return programs / name


def files(recipe: Recipe) -> Path:
    """The folder with the files of the recipe's module."""
    if not artifacts(recipe).has_files:
        pytest.skip(f"{recipe.name}'s files are not here; python -m sandbox.toolchain loads them")
    return artifacts(recipe).files


def tools() -> Tools:
    """All tools of the sandbox."""
    for recipe in RECIPES:
        binary(recipe, recipe.binaries[0].name)
        files(recipe)
    return ensure(Console(quiet=True))
