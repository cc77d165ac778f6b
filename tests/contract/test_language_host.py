"""The language host: how programs run, and the output that users see."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from google.protobuf import empty_pb2, json_format  # type: ignore[import-untyped]
from pulumi.runtime.proto import language_pb2
from tenacity import Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from sandbox.paths import REPOSITORY
from sandbox.plugins.common import Failure
from sandbox.plugins.language.host import LanguageHost
from tests.contract.pulumi_stack import Stack


@pytest.fixture
def host() -> LanguageHost:
    return LanguageHost("127.0.0.1:1")


def project(folder: Path, **options: str) -> language_pb2.ProgramInfo:
    info = language_pb2.ProgramInfo(
        root_directory=str(folder), program_directory=str(folder), entry_point="."
    )
    json_format.ParseDict(options, info.options)
    return info


VIRTUALENV = {"virtualenv": str(REPOSITORY / ".venv")}


def test_required_packages_have_the_version_of_the_sdk(host: LanguageHost, tmp_path: Path) -> None:
    request = language_pb2.GetRequiredPackagesRequest(info=project(tmp_path, **VIRTUALENV))
    response = asyncio.run(host.GetRequiredPackages(request, None))
    packages = {package.name: (package.kind, package.version) for package in response.packages}
    assert packages == {
        name: ("resource", "v" + version(f"pulumi_{name}"))
        for name in ("digitalocean", "github", "kubernetes")
    }


def test_dependencies_are_those_of_the_projects_virtual_environment(
    host: LanguageHost, tmp_path: Path
) -> None:
    request = language_pb2.GetProgramDependenciesRequest(info=project(tmp_path, **VIRTUALENV))
    response = asyncio.run(host.GetProgramDependencies(request, None))
    assert ("pulumi", version("pulumi")) in {(d.name, d.version) for d in response.dependencies}


def test_programs_run_with_the_python_of_the_projects_virtual_environment(
    host: LanguageHost, tmp_path: Path
) -> None:
    (tmp_path / "env").symlink_to(REPOSITORY / ".venv")
    request = language_pb2.AboutRequest(info=project(tmp_path, virtualenv="env"))
    response = asyncio.run(host.About(request, None))
    assert response.executable == str(tmp_path / "env" / "bin" / "python")
    plugin = asyncio.run(host.GetPluginInfo(empty_pb2.Empty(), None))
    assert plugin.version == version("pulumi")


def test_a_missing_virtual_environment_is_reported_with_the_command_that_creates_it(
    host: LanguageHost, tmp_path: Path
) -> None:
    request = language_pb2.AboutRequest(info=project(tmp_path, virtualenv="nowhere"))
    with pytest.raises(Failure, match=f"python3 -m venv {tmp_path}/nowhere"):
        asyncio.run(host.About(request, None))


# With the real engine


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    stack = Stack.new(tmp_path_factory.mktemp("stack"))
    stack.run("config", "set", "plain", "seen")
    stack.run("config", "set", "--secret", "hidden", "hush")
    return stack


def test_a_program_runs_with_its_configuration_in_its_own_folder(stack: Stack) -> None:
    (stack.folder / "beside.py").write_text("VALUE = 'imported'")
    stack.program(
        "import beside, os, pulumi, sys\n"
        "print('said by the program')\n"
        "config = pulumi.Config()\n"
        "pulumi.export('plain', config.require('plain'))\n"
        "pulumi.export('hidden', config.require_secret('hidden'))\n"
        "pulumi.export('is_secret', config.require_secret('hidden').is_secret())\n"
        "pulumi.export('beside', beside.VALUE)\n"
        "pulumi.export('cwd', os.getcwd())\n"
        "pulumi.export('python', sys.executable)\n"
        "pulumi.export('names', [pulumi.get_project(), pulumi.get_stack(),\n"
        "                        pulumi.get_organization()])\n"
        "pulumi.export('preview', pulumi.runtime.is_dry_run())\n"
    )
    preview = stack.run("preview")
    assert preview.code == 0
    assert "preview  : true" in preview.output
    run = stack.up()
    assert run.code == 0
    assert "said by the program" in run.output
    assert "hush" not in run.output
    assert stack.outputs() == {
        "plain": "seen",
        "hidden": "hush",
        "is_secret": True,
        "beside": "imported",
        "cwd": str(stack.folder),
        "python": str(stack.folder / ".venv" / "bin" / "python"),
        "names": ["tests", "dev", "organization"],
        "preview": False,
    }


def test_an_exception_is_shown_as_a_traceback_of_the_program_alone(stack: Stack) -> None:
    stack.program("def fail():\n    raise ValueError('the reason')\n\nfail()\n")
    run = stack.up()
    assert run.code != 0
    assert "error: Program failed with an unhandled exception:" in run.output
    assert f'File "{stack.folder}/__main__.py", line 6, in <module>' in run.output
    assert "ValueError: the reason" in run.output
    assert "runpy" not in run.output
    assert "sandbox" not in run.output.replace(str(REPOSITORY), "")
    assert "exit code" not in run.output


def test_a_run_error_is_shown_without_a_traceback(stack: Stack) -> None:
    stack.program("import pulumi\nraise pulumi.RunError('what to do about it')\n")
    run = stack.up()
    assert run.code != 0
    assert "error: what to do about it" in run.output
    assert "Traceback" not in run.output


def test_the_exit_code_of_a_program_is_reported(stack: Stack) -> None:
    stack.program("import sys\nsys.exit(3)\n")
    run = stack.up()
    assert run.code != 0
    assert "Program exited with non-zero exit code: 3" in run.output


def test_a_project_without_a_program_is_reported(stack: Stack) -> None:
    (stack.folder / "__main__.py").unlink()
    run = stack.up()
    assert run.code != 0
    assert f"unable to find main python program `__main__.py` in `{stack.folder}`" in run.output


@pytest.fixture
def running_up(stack: Stack) -> Iterator["subprocess.Popen[str]"]:
    """An `up` whose program has begun and never ends by itself."""
    pid = stack.folder / "pid"
    pid.unlink(missing_ok=True)
    stack.program(
        "import os, pathlib, threading\n"
        "pathlib.Path('pid.new').write_text(str(os.getpid()))\n"
        "os.rename('pid.new', 'pid')\n"
        "threading.Event().wait()\n"
    )
    process = stack.start("up", "--yes", "--skip-preview")
    patient = Retrying(
        retry=retry_if_not_result(bool), wait=wait_fixed(0.05), stop=stop_after_delay(100)
    )
    try:
        patient(lambda: pid.exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        process.kill()
        process.communicate()
        # A killed engine leaves its lock on the stack.
        stack.run("cancel", "--yes", "dev")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_program_ends_with_the_engine_that_started_it(
    stack: Stack, running_up: "subprocess.Popen[str]", how: signal.Signals
) -> None:
    processes = psutil.Process(running_up.pid).children(recursive=True)
    assert int((stack.folder / "pid").read_text()) in {child.pid for child in processes}
    running_up.send_signal(how)
    running_up.communicate(timeout=100)
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive


def test_an_up_whose_language_host_is_killed_fails_and_its_program_ends(
    stack: Stack, running_up: "subprocess.Popen[str]"
) -> None:
    processes = psutil.Process(running_up.pid).children(recursive=True)
    program = psutil.Process(int((stack.folder / "pid").read_text()))
    host = program.parent()
    assert host in processes
    host.kill()
    running_up.communicate(timeout=100)
    assert running_up.returncode != 0
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive


def test_secrets_of_the_configuration_are_not_in_the_arguments_of_any_process(
    stack: Stack, running_up: "subprocess.Popen[str]"
) -> None:
    processes = psutil.Process(running_up.pid).children(recursive=True)
    arguments = [process.cmdline() for process in processes]
    running_up.send_signal(signal.SIGINT)
    running_up.communicate(timeout=100)
    assert any("run.py" in " ".join(words) for words in arguments)
    assert "hush" not in json.dumps(arguments)
    assert stack.run("config", "get", "hidden").output.strip() == "hush"
