"""Which plugins the engine gets in the sandbox."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from sandbox.errors import SandboxError
from sandbox.paths import REPOSITORY, Home
from sandbox.plugins import install as plugins
from sandbox.plugins.install import DIGITALOCEAN, GITHUB, KUBERNETES, Plugin, Provider
from sandbox.toolchain.recipes import Release
from sandbox.toolchain.tools import MACHINE, RELEASED
from tests.unit import publisher as fake
from tests.unit.publisher import Publisher

LAUNCHER = "sandbox/plugins/launch.py"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A sandbox of a user without plugins, whose machine reaches no publisher."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.delenv("PULUMI_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return Home(tmp_path / "sandbox")


@pytest.fixture
def publisher(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """The publisher of both plugins, which the machine reaches."""
    with fake.serve(tmp_path) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.authority))
        monkeypatch.delenv("HTTPS_PROXY")
        release = Release(server.url + "/{program}", "{file}.sha256", folder=".")
        for name, provider in {"DIGITALOCEAN": DIGITALOCEAN, "KUBERNETES": KUBERNETES}.items():
            recipe = replace(provider.recipe, release=release)
            monkeypatch.setattr(plugins, name, replace(provider, recipe=recipe))
            content = {provider.program: b"# released", "README.md": b""}
            server.publish(f"/{provider.program}", fake.archive(content))
        yield server


def install(
    home: Home,
    *,
    real: bool | None = None,
    github: Path | None = None,
    output: StringIO | None = None,
) -> dict[str, Plugin]:
    """Installs the plugins, and returns the real ones among them."""
    console = Console(file=output or StringIO(), width=1000)
    used = plugins.real_plugins(home, console, real=real)
    plugins.install(home, used, github=github)
    return used


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def downloaded(user: Path, provider: Provider, version: object) -> Path:
    """A plugin as `pulumi plugin install` leaves it."""
    folder = user / "plugins" / f"resource-{provider.name}-v{version}"
    return script(folder / provider.program, f"# {provider.name} {version}")


def on_path(tmp_path: Path, provider: Provider) -> Path:
    """A plugin on PATH that reports the version of the SDK."""
    plugin = f"cd {REPOSITORY} && exec {sys.executable} -P -m sandbox.plugins.{provider.name} $@"
    return script(tmp_path / "bin" / provider.program, plugin)


def installed(home: Home, provider: Provider) -> str:
    """The only file of the folder in which the engine looks."""
    folder = home.root / "pulumi" / "plugins" / f"resource-{provider.name}-v{provider.sdk}"
    assert not folder.is_symlink()
    [file] = folder.iterdir()
    assert file.name == provider.program
    assert not file.is_symlink()
    assert file.stat().st_mode & 0o100
    return file.read_text()


def test_the_users_own_plugins_are_passed_over_unless_they_are_asked_for(
    home: Home, tmp_path: Path
) -> None:
    for provider in (DIGITALOCEAN, KUBERNETES, GITHUB):
        downloaded(tmp_path / "user" / ".pulumi", provider, provider.sdk)
        on_path(tmp_path, provider)
    script(tmp_path / "bin" / "pulumi-language-python", "")
    assert install(home) == {}
    assert LAUNCHER in installed(home, DIGITALOCEAN)
    assert LAUNCHER in installed(home, KUBERNETES)
    [language] = home.root.glob("pulumi/plugins/language-python-v*/pulumi-language-python")
    assert "sandbox.plugins.language" in language.read_text()


def test_real_plugins_are_copied_and_the_stand_ins_come_back_without_the_option(
    home: Home, tmp_path: Path
) -> None:
    originals = [
        downloaded(tmp_path / "user" / ".pulumi", provider, provider.sdk)
        for provider in (DIGITALOCEAN, KUBERNETES)
    ]
    script(tmp_path / "bin" / "pulumi-language-python", "# the host")
    script(tmp_path / "bin" / "pulumi-language-python-exec", "# its script")
    used = install(home, real=True)
    assert {*used} == {"digitalocean", "kubernetes", "pulumi-language-python"}
    assert [installed(home, provider) for provider in (DIGITALOCEAN, KUBERNETES)] == [
        original.read_text() for original in originals
    ]
    [language] = home.root.glob("pulumi/plugins/language-python-v*")
    assert {file.name: file.read_text().split("\n")[1] for file in language.iterdir()} == {
        "pulumi-language-python": "# the host",
        "pulumi-language-python-exec": "# its script",
    }
    assert install(home) == used

    assert install(home, real=False) == {}
    assert install(home) == {}
    assert LAUNCHER in installed(home, KUBERNETES)
    assert [file.name for file in language.iterdir()] == ["pulumi-language-python"]
    assert all("# " in original.read_text() for original in originals)


def test_the_version_of_the_sdk_is_preferred_and_then_the_newest(
    home: Home, tmp_path: Path
) -> None:
    user = tmp_path / "user" / ".pulumi"
    for version in ("4.76.0", "4.76.10", "4.76.9"):
        downloaded(user, DIGITALOCEAN, version)
    downloaded(user, KUBERNETES, KUBERNETES.sdk)
    downloaded(user, KUBERNETES, KUBERNETES.sdk.bump_minor())
    install(home, real=True)
    assert "digitalocean 4.76.10" in installed(home, DIGITALOCEAN)
    assert f"kubernetes {KUBERNETES.sdk}\n" in installed(home, KUBERNETES)


def test_a_plugin_that_the_machine_lacks_is_downloaded_once(
    home: Home, tmp_path: Path, publisher: Publisher
) -> None:
    downloaded(tmp_path / "user" / ".pulumi", KUBERNETES, "4.30.0")
    install(home)
    assert publisher.requests == [], "the stand-ins need nothing"
    used = install(home, real=True)
    assert installed(home, DIGITALOCEAN) == "# released"
    assert "# kubernetes 4.30.0" in installed(home, KUBERNETES)
    assert {used[provider.name].origin for provider in (DIGITALOCEAN, KUBERNETES)} == {
        RELEASED,
        MACHINE,
    }
    path = f"/{DIGITALOCEAN.program}"
    assert publisher.requests == [f"{path}.sha256", path]
    assert install(home) == used
    assert len(publisher.requests) == 2


def test_a_download_of_a_plugin_that_is_cut_off_is_tried_once_more(
    home: Home, publisher: Publisher
) -> None:
    publisher.cut_off[f"/{KUBERNETES.program}"] = 1
    install(home, real=True)
    assert installed(home, KUBERNETES) == "# released"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("absent", "responds 404"),
        ("another checksum", "does not have the checksum"),
        ("cut off", "cut the transfer off"),
    ],
)
def test_without_a_plugin_and_its_release_the_error_says_how_to_install_it(
    fault: str, reason: str, home: Home, publisher: Publisher
) -> None:
    path = f"/{KUBERNETES.program}"
    if fault == "absent":
        publisher.files[path] = 404
    elif fault == "cut off":
        publisher.cut_off[path] = 2
    else:
        publisher.files[f"{path}.sha256"] = b"0" * 64
    output = StringIO()
    with pytest.raises(SandboxError) as refused:
        install(home, real=True, output=output)
    assert f"pulumi plugin install resource kubernetes {KUBERNETES.sdk}" in str(refused.value)
    assert "digitalocean" not in str(refused.value)
    assert "pulumi-kubernetes" in output.getvalue()
    assert reason in output.getvalue()
    assert not (home.root / "pulumi" / "plugins").exists()


def test_all_unsuitable_plugins_are_reported_with_the_command_that_installs_others(
    home: Home, tmp_path: Path
) -> None:
    user = tmp_path / "user" / ".pulumi"
    old = downloaded(user, KUBERNETES, "4.25.0")
    next_major = downloaded(user, KUBERNETES, KUBERNETES.sdk.bump_major())
    unfinished = downloaded(user, DIGITALOCEAN, DIGITALOCEAN.sdk)
    unfinished.parent.with_name(f"{unfinished.parent.name}.partial").touch()
    with pytest.raises(SandboxError) as refused:
        install(home, real=True)
    message = str(refused.value)
    assert f"pulumi plugin install resource digitalocean {DIGITALOCEAN.sdk}" in message
    assert f"pulumi plugin install resource kubernetes {KUBERNETES.sdk}" in message
    assert f"{old} is 4.25.0" in message
    assert f"{next_major} is {KUBERNETES.sdk.bump_major()}" in message
    assert not (home.root / "pulumi" / "plugins").exists()


def test_a_plugin_on_path_is_asked_for_its_version(home: Home, tmp_path: Path) -> None:
    original = on_path(tmp_path, DIGITALOCEAN)
    silent = script(tmp_path / "bin" / KUBERNETES.program, "exit 1")
    with pytest.raises(SandboxError, match=f"{silent} does not tell its version"):
        install(home, real=True)
    on_path(tmp_path, KUBERNETES)
    assert install(home, real=True)["digitalocean"] == plugins.Plugin(original, DIGITALOCEAN.sdk)
    assert installed(home, DIGITALOCEAN) == original.read_text()


def test_the_sandboxs_own_plugins_are_no_real_ones(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(home)
    monkeypatch.setenv("PULUMI_HOME", str(home.folder("pulumi")))
    with pytest.raises(SandboxError, match="There is no pulumi-resource-digitalocean"):
        install(home, real=True)


def test_a_shell_of_the_sandbox_takes_the_plugins_from_the_users_own_pulumi_folder(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for provider in (DIGITALOCEAN, KUBERNETES):
        downloaded(tmp_path / "own", provider, provider.sdk)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "own"))
    install(home, real=True)
    monkeypatch.setenv("PULUMI_HOME", str(home.folder("pulumi")))
    assert install(home).keys() == {"digitalocean", "kubernetes"}


def test_a_link_to_a_folder_is_replaced(home: Home, tmp_path: Path) -> None:
    other = downloaded(tmp_path, KUBERNETES, KUBERNETES.sdk)
    folder = home.folder("pulumi", "plugins") / other.parent.name
    folder.symlink_to(other.parent)
    install(home)
    assert LAUNCHER in installed(home, KUBERNETES)
    assert "# kubernetes" in other.read_text()


def test_the_provider_of_github_is_the_sandboxs_or_the_users(home: Home, tmp_path: Path) -> None:
    install(home)
    placeholder = script(tmp_path / "placeholder", installed(home, GITHUB))
    run = subprocess.run([placeholder], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "bin/sandbox pulumi preview" in run.stderr

    provider = tmp_path / "provider"
    install(home, github=provider)
    assert f'exec {provider} "$@"' in installed(home, GITHUB)

    user = tmp_path / "user" / ".pulumi"
    for plugin in (DIGITALOCEAN, KUBERNETES, GITHUB):
        downloaded(user, plugin, plugin.sdk)
    assert GITHUB.name in install(home, real=True, github=provider)
    assert "# github" in installed(home, GITHUB)
