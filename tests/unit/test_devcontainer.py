"""The dev container: its file is valid JSON, and its commands and extensions exist."""

import json
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONTAINER = json.loads((REPOSITORY / ".devcontainer" / "devcontainer.json").read_text())


def test_the_command_that_sets_up_the_container_exists() -> None:
    assert os.access(REPOSITORY / CONTAINER["postCreateCommand"], os.X_OK)


def test_the_image_has_a_python_that_fits() -> None:
    name, _, tag = CONTAINER["image"].partition(":")
    major, minor = tag.partition("-")[0].split(".")
    assert name == "python"
    assert (int(major), int(minor)) >= (3, 11)


def test_the_editor_checks_stack_files_against_their_schema() -> None:
    assert "redhat.vscode-yaml" in CONTAINER["customizations"]["vscode"]["extensions"]
