"""The plugins that the sandbox installs for the engine."""

import shutil
from pathlib import Path

import pytest

from sandbox.engine import install_plugins
from sandbox.paths import Home


def test_stand_in_plugins_are_kept_in_a_shell_with_the_sandboxs_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "users"))
    home = Home(tmp_path / "sandbox")
    stand_ins = install_plugins(home)
    monkeypatch.setenv("PULUMI_HOME", str(home.folder("pulumi")))

    assert install_plugins(home) == stand_ins
    plugins = home.folder("pulumi", "plugins")
    assert len([*plugins.glob("*/pulumi-resource-*")]) == len([*plugins.iterdir()]) > 1
