"""Plugins that are forked from the process that has them loaded behave like plugins that the engine
starts itself, and end with the process that requested them."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
import psutil
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]  # so does protobuf
from pulumi.runtime.proto import provider_pb2_grpc

from sandbox.paths import Home
from sandbox.plugins import loaded
from sandbox.plugins.install import install
from sandbox.plugins.launch import SOCKET
from tests.e2e.box import until


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    install(home)
    return home


@pytest.fixture
def process(home: Home) -> Iterator[psutil.Process]:
    """The process that has the plugins loaded."""
    with subprocess.Popen([sys.executable, "-m", loaded.MODULE, home.root]) as process:
        until("the plugins are loaded", (home.root / SOCKET).exists)
        yield psutil.Process(process.pid)
        process.kill()


def launch(home: Home) -> subprocess.Popen[str]:
    [launcher] = home.root.glob("pulumi/plugins/resource-digitalocean-*/pulumi-resource-*")
    return subprocess.Popen(
        [launcher, "127.0.0.1:9"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def plugin_version(plugin: subprocess.Popen[str]) -> str:
    """The version that a plugin serves at the port that it prints."""
    assert plugin.stdout
    with grpc.insecure_channel(f"127.0.0.1:{int(plugin.stdout.readline())}") as channel:
        info = provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty())
        return str(info.version)


def test_plugin_is_forked_and_ends_on_sigterm(home: Home, process: psutil.Process) -> None:
    with launch(home) as plugin:
        assert plugin_version(plugin)
        [fork] = process.children()
        plugin.send_signal(signal.SIGTERM)
        assert plugin.wait(10) == 0
        fork.wait(10)


def test_plugin_is_killed_with_the_process_that_requested_it(
    home: Home, process: psutil.Process
) -> None:
    with launch(home) as plugin:
        assert plugin_version(plugin)
        [fork] = process.children()
        plugin.kill()
        fork.wait(10)
    assert process.is_running()


def test_failure_of_a_plugin_is_shown_and_its_exit_code_passed_on(
    home: Home, process: psutil.Process
) -> None:
    del process
    [launcher] = home.root.glob("pulumi/plugins/language-python-*/pulumi-language-python")
    text = launcher.read_text().replace("sandbox.plugins.language", "sandbox.plugins.missing")
    launcher.write_text(text)
    done = subprocess.run([launcher], text=True, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "No module named 'sandbox.plugins.missing'" in done.stderr


def test_plugin_starts_without_the_process_that_loads_plugins(home: Home) -> None:
    with launch(home) as plugin:
        assert plugin_version(plugin)
        plugin.terminate()
        assert plugin.wait(10) == 0
