"""The toolchain, with fake programs instead of compilers and tools."""

import asyncio
import dataclasses
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from io import StringIO
from pathlib import Path

import psutil
import pytest
import tenacity
from rich.console import Console
from semver import Version

from sandbox import toolchain
from sandbox.paths import REPOSITORY
from sandbox.toolchain import (
    build,
    go,
    guard,
    machine,
    progress,
    recipes,
    releases,
    store,
    versions,
)
from sandbox.toolchain.artifacts import Artifacts, key
from sandbox.toolchain.recipes import Binary, Question, Recipe, Release
from sandbox.toolchain.store import Store
from tests.unit import publisher as fake
from tests.unit.publisher import Publisher


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda met: not met),
        stop=tenacity.stop_after_delay(seconds),
        wait=tenacity.wait_fixed(0.02),
    )(condition)


# Versions


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("v3.259.0\n", (3, 259, 0)),
        ("etcd Version: 3.6.16\nGit SHA: Not provided\nGo Version: go1.27.3\n", (3, 6, 16)),
        ("Kubernetes v1.36.3\n", (1, 36, 3)),
        ("kwok version v0.8.0 go1.27.3 (linux/amd64)\n", (0, 8, 0)),
        ("argocd-server: v3.6.1+unknown\n", (3, 6, 1)),
        ("v3.17.2+gcc0bbbd\n", (3, 17, 2)),
        ("{kustomize/v4.5.7  2022-08-02T16:35:54Z  }\n", (4, 5, 7)),
        ("git version 2.39.5\n", (2, 39, 5)),
        ("v3.6.0-rc1\n", None),
        ("v3.260.0-alpha.1699\n", None),
        ("(devel)\n", None),
        ("go1.27.3\n", None),
    ],
)
def test_a_released_version_is_found_in_the_output_of_a_tool(
    output: str, version: tuple[int, int, int] | None
) -> None:
    assert versions.find(output) == version


def test_a_requirement_is_read_from_go_mod_in_both_its_forms() -> None:
    go_mod = """module m
go 1.27.3
replace k8s.io/api => k8s.io/api v9.9.9
require example.com/single v1.2.3 // indirect
require (
\texample.com/in/block/longer v3.0.0
\texample.com/in/block v2.3.4+incompatible // indirect
)
"""
    assert versions.required(go_mod, "example.com/single") == (1, 2, 3)
    assert versions.required(go_mod, "example.com/in/block") == (2, 3, 4)
    with pytest.raises(ValueError, match=r"k8s\.io/api"):
        versions.required(go_mod, "k8s.io/api")


@pytest.mark.parametrize(
    "recipe", recipes.RECIPES + recipes.FOR_TESTS, ids=lambda recipe: recipe.name
)
def test_every_package_built_is_a_tool_of_its_locked_module(recipe: Recipe) -> None:
    go_mod = (recipe.folder / "go.mod").read_text()
    words = go_mod.split()
    replaced = dict(re.findall(r"^replace (\S+) => (\S+) v", go_mod, re.MULTILINE))
    module = replaced.get(recipe.module, recipe.module)
    assert recipe.version > Version(0, 0, 0)
    assert {binary.package for binary in recipe.binaries} <= set(words)
    assert f"{module} v{recipe.version} h1:" in (recipe.folder / "go.sum").read_text()


def test_the_engine_is_as_new_as_the_python_sdk() -> None:
    assert str(recipes.PULUMI.version) == metadata.version("pulumi")


@pytest.mark.parametrize(
    ("recipe", "installed", "suitable"),
    [
        (recipes.PULUMI, "3.259.0", True),
        (recipes.PULUMI, "3.260.4", True),
        (recipes.PULUMI, "3.258.9", False),
        (recipes.PULUMI, "4.300.0", False),
        (recipes.HELM, "3.16.0", True),
        (recipes.HELM, "3.15.4", False),
        (recipes.HELM, "4.0.0", False),
        (recipes.KUSTOMIZE, "5.4.0", True),
        (recipes.KUSTOMIZE, "5.3.9", False),
        (recipes.KUSTOMIZE, "4.5.7", False),
        (recipes.ETCD, "3.5.13", True),
        (recipes.ETCD, "3.6.0", True),
        (recipes.ETCD, "3.5.12", False),
        (recipes.ETCD, "3.4.23", False),
        (recipes.KUBERNETES, "1.30.0", True),
        (recipes.KUBERNETES, "1.29.14", False),
        # It would serve its metrics on all network interfaces.
        (recipes.ARGOCD, "3.6.1", False),
        (recipes.KWOK, "0.8.0", True),
        (recipes.KWOK, "0.8.9", True),
        (recipes.KWOK, "0.7.0", False),
    ],
    ids=lambda value: value.name if isinstance(value, Recipe) else str(value),
)
def test_a_version_of_the_machine_is_used_only_if_it_is_suitable(
    recipe: Recipe, installed: str, suitable: bool
) -> None:
    version = versions.find(installed)
    assert version
    assert recipe.suitable(version, recipe.version) is suitable


# Tools of the machine. Each fake is a copy of the shell, which prints the file beside it.

PRINT_OUTPUT = Question(("-c", 'cat "$0.output"'))


def program(path: Path, output: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shell = shutil.which("dash") or shutil.which("sh")
    assert shell
    shutil.copy(shell, path)
    Path(f"{path}.output").write_text(output)
    return path


def a_recipe(*names: str) -> Recipe:
    return Recipe(
        name="etcd",
        module="go.etcd.io/etcd/server/v3",
        binaries=tuple(Binary(name, f"example.com/{name}", PRINT_OUTPUT) for name in names),
        suitable=lambda installed, pinned: installed >= (2, 0, 0),
        seconds=1,
        lock="kubernetes",
    )


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Sets PATH to folders in tmp_path, followed by those of the system."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def search(*folders: str) -> None:
        inside = (str(tmp_path / folder) for folder in folders)
        monkeypatch.setenv("PATH", ":".join((*inside, "/usr/bin", "/bin")))

    return search


def test_the_first_suitable_program_on_path_is_found(
    tmp_path: Path, search: Callable[..., None]
) -> None:
    program(tmp_path / "old/faketool", "faketool v1.9.0")
    new = program(tmp_path / "new/faketool", "faketool v2.1.0")
    search("nowhere", "old", "new")
    assert machine.find(a_recipe("faketool")) == {
        "faketool": machine.Installed(new, Version(2, 1, 0))
    }


def test_a_release_under_its_download_name_is_found_through_its_link(
    tmp_path: Path, search: Callable[..., None]
) -> None:
    release = program(tmp_path / "opt/faketool-linux-amd64", "v2.1.0")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/faketool").symlink_to(release)
    search("bin")
    assert machine.find(a_recipe("faketool")) == {
        "faketool": machine.Installed(release, Version(2, 1, 0))
    }


def test_shims_and_tools_of_the_sandbox_are_ignored(
    tmp_path: Path, search: Callable[..., None]
) -> None:
    script = tmp_path / "shims/faketool"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho v2.1.0\n")
    script.chmod(0o755)
    manager = program(tmp_path / "opt/manager", "v2.1.0")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/faketool").symlink_to(manager)
    program(tmp_path / "cache/doks-gitops/bin/x/faketool", "v2.1.0")
    search("shims", "links", "cache/doks-gitops/bin/x")
    assert machine.find(a_recipe("faketool")) is None


def test_several_binaries_must_have_the_same_minor_version(
    tmp_path: Path, search: Callable[..., None]
) -> None:
    program(tmp_path / "a/server", "v2.1.0")
    program(tmp_path / "a/client", "v2.2.0")
    search("a")
    assert machine.find(a_recipe("server", "client")) is None
    program(tmp_path / "b/client", "v2.1.7")
    search("a", "b")
    installed = machine.find(a_recipe("server", "client"))
    assert installed
    assert [str(program.version) for program in installed.values()] == ["2.1.0", "2.1.7"]


def test_a_client_without_the_server_is_not_suitable(
    tmp_path: Path, search: Callable[..., None]
) -> None:
    question = dataclasses.replace(PRINT_OUTPUT, beginning="argocd-server:")
    binary = Binary("argocd", "example.com/argocd", question)
    recipe = dataclasses.replace(a_recipe(), binaries=(binary,))
    program(tmp_path / "bin/argocd", "argocd: v3.6.1")
    search("bin")
    assert machine.find(recipe) is None
    program(tmp_path / "bin/argocd", "argocd-server: v3.6.1")
    assert machine.find(recipe)


def test_a_program_that_was_just_written_answers(tmp_path: Path) -> None:
    file = program(tmp_path / "faketool", "v2.1.0")
    with file.open("ab") as still_open:
        timer = threading.Timer(0.2, still_open.close)
        timer.start()
        assert machine.version_of(file, PRINT_OUTPUT) == Version(2, 1, 0)
        timer.join()


def fake_git(folder: Path, exec_path: Path) -> None:
    folder.mkdir()
    git = folder / "git"
    git.write_text(
        f'#!/bin/sh\ncase $1 in --exec-path) echo "{exec_path}";; *) echo git version 2.39.5;; esac'
    )
    git.chmod(0o755)


def test_git_without_its_http_server_is_refused_with_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(toolchain.ToolchainError, match=r"not on this machine.*apt-get install git"):
        machine.git()
    fake_git(tmp_path / "bin", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(toolchain.ToolchainError, match=r"no `git http-backend`.*install git"):
        machine.git()


# The store


def test_nothing_of_a_failed_build_is_kept(tmp_path: Path) -> None:
    store_folder = Store(tmp_path)
    folder = store_folder.folder("helm", "3.22.0", "abc")

    def fail() -> None:
        with store_folder.filling(folder) as unfinished:
            (unfinished / "helm").write_text("half")
            raise OSError("compiler died")

    with pytest.raises(OSError, match="compiler died"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_complete_and_replaces_an_incomplete_one(tmp_path: Path) -> None:
    store_folder = Store(tmp_path)
    folder = store_folder.folder("helm", "3.22.0", "abc")
    (folder / "bin").mkdir(parents=True)
    with store_folder.filling(folder) as unfinished:
        (unfinished / "helm").write_text("whole")
        assert not (folder / "helm").exists()
    assert [path.name for path in folder.iterdir()] == ["helm"]


def test_a_second_set_up_waits_until_the_first_has_ended(tmp_path: Path) -> None:
    code = (
        "import sys, signal; from pathlib import Path; from sandbox.toolchain.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "with store.locked(lambda: None), store.scratch(): print('held', flush=True);"
        " signal.pause()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    waited = threading.Event()
    entered = threading.Event()

    def second() -> None:
        with Store(tmp_path).locked(waited.set):
            entered.set()

    try:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        assert waited.wait(5)
        assert not entered.is_set()
    finally:
        first.kill()
        first.communicate()
    assert entered.wait(5)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"], (
        "the scratch folder of the killed process"
    )


def test_a_folder_of_links_never_changes(tmp_path: Path) -> None:
    first = Store(tmp_path).links("abc", {"helm": Path("/opt/helm")})
    second = Store(tmp_path).links("abc", {"helm": Path("/opt/helm")})
    assert first == second
    assert (first / "helm").readlink() == Path("/opt/helm")
    assert [path.name for path in tmp_path.iterdir()] == ["abc"]


def test_a_tool_with_other_linker_flags_has_another_folder(tmp_path: Path) -> None:
    artifacts = Artifacts.of(recipes.HELM, Store(tmp_path))
    stamped = dataclasses.replace(recipes.HELM, stamps={})
    assert artifacts == Artifacts.of(dataclasses.replace(recipes.HELM), Store(tmp_path))
    assert artifacts.built != Artifacts.of(stamped, Store(tmp_path)).built
    assert artifacts.built.name.startswith(f"helm-{recipes.HELM.version}-")
    assert key("ab", "c") != key("a", "bc")


def test_a_tool_with_another_source_beside_its_lock_has_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = Artifacts.of(recipes.PULUMI_GITHUB, Store(tmp_path)).built
    copy = tmp_path / "modules" / recipes.PULUMI_GITHUB.name
    shutil.copytree(recipes.PULUMI_GITHUB.folder, copy)
    monkeypatch.setattr(recipes, "MODULES", copy.parent)
    assert built == Artifacts.of(recipes.PULUMI_GITHUB, Store(tmp_path)).built
    with (copy / "main.go").open("a") as source:
        source.write("// changed\n")
    assert built != Artifacts.of(recipes.PULUMI_GITHUB, Store(tmp_path)).built


@pytest.mark.parametrize("changed", ["file", "old", "new"])
def test_a_tool_with_other_edits_has_another_folder(changed: str, tmp_path: Path) -> None:
    first, second = recipes.ARGOCD.edits
    other = dataclasses.replace(second, **{changed: "another"})
    artifacts, changed_artifacts, unedited_artifacts = (
        Artifacts.of(dataclasses.replace(recipes.ARGOCD, edits=edits), Store(tmp_path))
        for edits in ((first, second), (first, other), ())
    )
    assert artifacts == Artifacts.of(recipes.ARGOCD, Store(tmp_path))
    assert len({artifacts.built, changed_artifacts.built, unedited_artifacts.built}) == 3
    assert artifacts.files == changed_artifacts.files == unedited_artifacts.files


# The guard


def guarded(parent: str, *command: str) -> list[str]:
    return [sys.executable, "-I", guard.__file__, parent, *command]


def test_a_guarded_command_keeps_its_exit_code() -> None:
    command = guarded(str(os.getpid()), "sh", "-c", "exit 7")
    assert subprocess.run(command, start_new_session=True, check=False).returncode == 7
    killed = guarded(str(os.getpid()), "sh", "-c", "kill -9 $$")
    assert subprocess.run(killed, start_new_session=True, check=False).returncode == 137


def test_a_guarded_command_does_not_start_when_its_parent_has_gone(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    command = guarded(str(os.getppid()), "touch", str(proof))
    assert subprocess.run(command, start_new_session=True, check=False).returncode == 1
    assert not proof.exists()


def test_killing_the_sandbox_kills_the_compiler_and_its_child_processes(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    compiler = f"sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"
    code = (
        "import subprocess, os, sys\n"
        "command = [sys.executable, '-I', sys.argv[1], str(os.getpid()), 'sh', '-c', sys.argv[2]]\n"
        "subprocess.run(command, start_new_session=True)"
    )
    sandbox = subprocess.Popen([sys.executable, "-c", code, guard.__file__, compiler])
    try:
        until(pids.exists)
        started = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
        started.append(started[0].parents()[0])
        assert all(process.is_running() for process in started)
    finally:
        sandbox.kill()
        sandbox.wait()
    _, alive = psutil.wait_procs(started, timeout=10)
    left = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    for process in left:
        process.kill()
    assert not left


# The compiler. The fake one runs the script `orders`, records its calls, and keeps a copy of the
# module that replaces another one in a -modfile.

FAKE_GO = """#!/bin/sh
root=$(dirname "$(dirname "$0")")
echo "$@" >> "$root/calls"
[ -f "$root/orders" ] && . "$root/orders"
case $1 in
env) echo /tmp; echo /tmp;;
mod)
    case $2 in
    download) echo "{\\"Dir\\": \\"$root/module\\"}";;
    edit) echo "// $3" >> "$4";;
    esac;;
list) printf '%s\\n' one two three;;
build)
    echo one >&2; echo two >&2
    while [ $# -gt 1 ]; do
        if [ "$1" = -modfile ]; then
            while read -r line; do last=$line; done < "$2"
            cp -R "${last##*=}" "$root/compiled"
        fi
        [ "$1" = -o ] && out=$2
        shift
        [ -n "$out" ] && break
    done
    shift
    for package in "$@"; do
        name=${package##*/}
        case $name in v[0-9]) name=${package%/*}; name=${name##*/};; esac
        echo "$package" > "$out$name"
    done;;
esac
"""


@pytest.fixture
def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a fake Go distribution, used instead of the real one."""
    root = tmp_path / "go"
    (root / "bin").mkdir(parents=True)
    (root / "bin/go").write_text(FAKE_GO)
    (root / "bin/go").chmod(0o755)
    for file in (
        "manifests/install.yaml",
        "manifests/crds/application-crd.yaml",
        "hack/git-verify-wrapper.sh",
        "kustomize/stage/node/fast/node-initialize.yaml",
        "kustomize/stage/node/fast/kustomization.yaml",
        "kustomize/stage/pod/fast/pod-ready.yaml",
        "kustomize/stage/pod/general/pod-create.yaml",
    ):
        path = root / "module" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
        path.chmod(0o444)
    for edit in recipes.ARGOCD.edits:
        path = root / "module" / edit.file
        path.parent.mkdir(parents=True)
        path.write_text(f"before({edit.old})after")
        path.chmod(0o444)
        path.parent.chmod(0o555)
    monkeypatch.setattr(machine, "go", lambda: (root, "1.27.3"))
    monkeypatch.setattr(store, "free_bytes", lambda path: build.COLD_BYTES)
    return root


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, no tool on PATH but Git and the shell's, and a proxy that does not answer."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    folder = tmp_path / "system"
    folder.mkdir()
    for name in ("git", "sh", "dirname", "sleep", "cat", "cp"):
        real = shutil.which(name)
        assert real
        (folder / name).symlink_to(real)
    monkeypatch.setenv("PATH", str(folder))


def calls(root: Path) -> list[str]:
    file = root / "calls"
    return file.read_text().splitlines() if file.exists() else []


def quiet() -> Console:
    return Console(file=StringIO())


def said(console: Console) -> str:
    """What was printed on a `quiet` console."""
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.usefixtures("bare_machine")
def test_every_tool_is_built_once_and_then_no_compiler_is_started(fake_go: Path) -> None:
    tools = toolchain.ensure(quiet())
    assert set(tools.versions) == {
        *("git", "redis-server", "pulumi", "etcd", "helm", "kustomize", "kwok", "argocd"),
        *("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    }
    assert tools.path("etcd").read_text() == "go.etcd.io/etcd/server/v3\n"
    assert tools.path("kube-scheduler").read_text() == "k8s.io/kubernetes/cmd/kube-scheduler\n"
    for role in recipes.ARGOCD_ROLES:
        assert tools.path(role).samefile(tools.path("argocd"))
    assert os.access(tools.path("git-verify-wrapper.sh"), os.X_OK)
    assert tools.path("redis-server").is_file()
    assert (tools.argocd_manifests / "crds/application-crd.yaml").is_file()
    assert [file.name for file in tools.kwok_stages] == ["node-initialize.yaml", "pod-ready.yaml"]
    with pytest.raises(KeyError):
        tools.path("docker")

    before = calls(fake_go)
    assert len([call for call in before if call.startswith("build")]) == len(recipes.RECIPES)
    assert toolchain.ensure(quiet()) == tools
    assert calls(fake_go) == before


@pytest.mark.usefixtures("bare_machine")
def test_an_edited_copy_of_a_module_is_compiled_and_the_module_is_unchanged(
    fake_go: Path, tmp_path: Path
) -> None:
    toolchain.ensure(quiet())
    [build_of_copy] = [
        call for call in calls(fake_go) if call.startswith("build -") and "-modfile" in call
    ]
    assert build_of_copy.endswith(recipes.ARGOCD.binaries[0].package)
    module, copy = fake_go / "module", fake_go / "compiled"
    for edit in recipes.ARGOCD.edits:
        assert (copy / edit.file).read_text() == f"before({edit.new})after"
        assert (module / edit.file).read_text() == f"before({edit.old})after"
        # Without write permission, only root can remove files from the folder.
        assert (copy / edit.file).parent.stat().st_mode & stat.S_IWUSR
    edited = {module / edit.file for edit in recipes.ARGOCD.edits}
    for file in set(module.rglob("*.*")) - edited:
        assert (copy / file.relative_to(module)).read_text() == file.read_text()
    assert not list((tmp_path / "cache").rglob("appcontroller.go")), "the copy is removed"


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize("text", ["", '"0.0.0.0:%d", metricsPort ' * 2], ids=["gone", "twice"])
def test_an_edit_that_does_not_fit_the_module_is_an_error_that_names_file_and_text(
    text: str, fake_go: Path
) -> None:
    edit = recipes.ARGOCD.edits[0]
    file = fake_go / "module" / edit.file
    file.parent.chmod(0o755)
    file.unlink()
    file.write_text(text)
    with pytest.raises(toolchain.ToolchainError, match=r"argocd [0-9.]+ can't be built") as error:
        toolchain.ensure(quiet())
    for part in (edit.file, edit.old, "recipes.py"):
        assert part in str(error.value)
    assert not [call for call in calls(fake_go) if call.startswith("build") and "argo-cd" in call]


@pytest.mark.usefixtures("bare_machine")
def test_a_suitable_tool_of_the_machine_is_used_instead_of_built(
    fake_go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = machine.Installed(tmp_path / "usr/kwok", Version(0, 8, 2))
    monkeypatch.setattr(
        machine, "find", lambda recipe: {"kwok": installed} if recipe is recipes.KWOK else None
    )
    tools = toolchain.ensure(quiet())
    assert tools.versions["kwok"] == "0.8.2"
    assert tools.path("kwok").readlink() == installed.path
    assert tools.kwok_stages, "they come from the module"
    assert not [call for call in calls(fake_go) if "kwok/cmd" in call]


@pytest.mark.usefixtures("bare_machine")
def test_a_failed_build_names_the_tool_and_its_log_and_keeps_other_tools(fake_go: Path) -> None:
    (fake_go / "orders").write_text(
        'case "$*" in build*cmd/helm) echo "x.go:1: undefined: y" >&2; exit 1;; esac'
    )
    with pytest.raises(toolchain.ToolchainError, match=r"helm could not be built") as error:
        toolchain.ensure(quiet())
    assert "undefined: y" in str(error.value)
    log = Path(str(error.value).split()[-1])
    assert "undefined: y" in log.read_text()

    (fake_go / "orders").unlink()
    before = len(calls(fake_go))
    toolchain.ensure(quiet())
    assert not [call for call in calls(fake_go)[before:] if "etcd" in call]


@pytest.mark.usefixtures("bare_machine")
def test_a_failed_download_is_retried(fake_go: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity, "wait_exponential", lambda multiplier: tenacity.wait_none())
    (fake_go / "orders").write_text(
        'case "$*" in list*etcd*) [ -f "$root/again" ] || {'
        ' : > "$root/again"; echo "Get: dial tcp: i/o timeout" >&2; exit 1; };; esac'
    )
    toolchain.ensure(quiet())
    assert len([call for call in calls(fake_go) if call.startswith("list") and "etcd" in call]) == 2


@pytest.mark.usefixtures("bare_machine")
def test_a_cold_build_does_not_start_without_enough_disk_space(
    fake_go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "free_bytes", lambda path: 3 << 30)
    with pytest.raises(toolchain.ToolchainError, match=r"10 GiB of disk.*3\.0 GiB free"):
        toolchain.ensure(quiet())
    assert {call.split()[0] for call in calls(fake_go)} == {"env"}


# Releases


@pytest.fixture
def publisher(
    bare_machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Publisher]:
    """A publisher of all tools, and a bare machine that reaches it."""
    with fake.serve(tmp_path) as server:
        for recipe in recipes.RECIPES:
            answer = f"v{recipe.version}"
            if recipe is recipes.ARGOCD:
                answer = f"argocd-server: {answer} 0.0.0.0:%d"
            for binary in recipe.binaries:
                server.publish(f"/{binary.name}", fake.script(answer))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.authority))
        monkeypatch.delenv("HTTPS_PROXY")
        monkeypatch.setattr(releases, "has_ipv6_loopback", lambda: True)
        yield server


def released_by(publisher: Publisher) -> tuple[Recipe, ...]:
    """The recipes of all tools, released by that publisher."""
    recipes_there = []
    for recipe in recipes.RECIPES:
        patches = recipe.release.patches if recipe.release else {}
        release = Release(publisher.url + "/{program}", "{file}.sha256", patches=patches)
        recipes_there.append(dataclasses.replace(recipe, release=release))
    return tuple(recipes_there)


def compiled(root: Path) -> list[str]:
    return [call for call in calls(root) if call.startswith("build -")]


def test_every_tool_is_downloaded_once_and_nothing_is_compiled(
    fake_go: Path, publisher: Publisher
) -> None:
    tools_there = released_by(publisher)
    console = quiet()
    tools = toolchain.ensure(console, tools_there)
    assert not compiled(fake_go)
    assert tools.path("etcd").read_bytes() == publisher.files["/etcd"]
    assert tools.path("argocd-server").samefile(tools.path("argocd"))
    assert b"0.0.0.0" not in tools.path("argocd").read_bytes(), "it would listen everywhere"
    assert tools.argocd_manifests.is_dir()
    assert said(console).endswith(
        "Tools. downloaded from their publishers: argocd, etcd, helm, kube-apiserver,"
        " kube-controller-manager, kube-scheduler, kustomize, kwok, pulumi; of this machine: git;"
        " of a Python package: redis-server.\n"
    )
    publisher.requests.clear()
    assert toolchain.ensure(quiet(), tools_there) == tools
    assert publisher.requests == []


def test_only_what_the_publishers_do_not_have_is_compiled(
    fake_go: Path, publisher: Publisher
) -> None:
    tools_there = released_by(publisher)
    publisher.files["/kube-scheduler"] = 404
    publisher.files["/helm.sha256"] = b"0" * 64
    console = quiet()
    toolchain.ensure(console, tools_there)
    packages = [call.split()[-1] for call in compiled(fake_go)]
    assert packages == ["helm.sh/helm/v3/cmd/helm", "k8s.io/kubernetes/cmd/kube-scheduler"]
    assert "No release of kubernetes: 127.0.0.1 responds 404." in said(console)
    assert "warning: the release of helm is not used" in said(console)
    assert "Compiling helm, kubernetes" in said(console)
    assert (
        "; built from source: helm, kube-apiserver, kube-controller-manager, kube-scheduler;"
        in said(console)
    )


@pytest.mark.parametrize(
    ("missing", "minutes"),
    [
        ([recipe.name for recipe in recipes.RECIPES], 10),
        (["kustomize"], 1),
        (["helm"], 1),
        (["helm", "kubernetes"], 6),
        (["etcd", "kwok", "helm", "argocd", "pulumi", "kubernetes"], 10),
    ],
)
@pytest.mark.usefixtures("fake_go")
def test_the_time_of_a_build_is_said_before_it_starts(
    missing: list[str], minutes: int, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "cores", lambda: 2)
    for recipe in recipes.RECIPES:
        if recipe.name in missing:
            publisher.files[f"/{recipe.binaries[0].name}"] = 404
    console = quiet()
    toolchain.ensure(console, released_by(publisher))
    announcement, progress = said(console).split("Compiling ")[1].split("\n", 1)
    assert f" takes about {minutes} min on 2 cores," in announcement
    assert f"{missing[0]}: compiling" in progress


def test_the_estimates_of_builds_are_what_was_measured() -> None:
    page = (REPOSITORY / "docs" / "benchmarks.md").read_text()
    section = page.partition("## Building the tools from source")[2]
    row = re.compile(r"^\| ([\w ]+).* (\d+) \((\d+)\)[^|]*\|$", re.MULTILINE)
    measured = {
        name.lower().replace(" ", ""): int(user) + int(system)
        for name, user, system in row.findall(section)
    }
    estimates = {recipe.name: recipe.seconds for recipe in recipes.RECIPES}
    estimates["all"] = build.seconds(estimates.keys())
    assert estimates == {name: pytest.approx(value, abs=5) for name, value in measured.items()}


def test_a_build_from_source_downloads_no_release_and_is_kept(
    fake_go: Path, publisher: Publisher
) -> None:
    tools_there = released_by(publisher)
    toolchain.ensure(quiet(), tools_there)
    publisher.requests.clear()
    built = toolchain.ensure(quiet(), tools_there, from_source=True)
    assert len(compiled(fake_go)) == len(tools_there)
    assert publisher.requests == []
    assert toolchain.ensure(quiet(), tools_there) == built


@pytest.mark.parametrize(
    ("absent", "from_source", "origin"),
    [
        (False, False, "downloaded from their publishers"),
        (True, False, "built from source"),
        (False, True, "built from source"),
    ],
    ids=["published", "absent", "built on request"],
)
@pytest.mark.usefixtures("fake_go")
def test_the_provider_of_github_is_built_only_on_request_or_if_it_cannot_be_downloaded(
    absent: bool,
    from_source: bool,
    origin: str,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [program] = [binary.name for binary in recipes.PULUMI_GITHUB.binaries]
    publisher.publish(f"/{program}", fake.archive({program: b"plugin"}))
    if absent:
        publisher.files[f"/{program}"] = 404
    release = Release(publisher.url + "/{program}", "{file}.sha256", folder=".")
    provider = dataclasses.replace(recipes.PULUMI_GITHUB, release=release)
    monkeypatch.setattr("sandbox.toolchain.tools.FOR_STACKS", (provider,))
    recipes_there = (*released_by(publisher), provider)
    tools = toolchain.ensure(quiet(), recipes_there, from_source=from_source)
    assert [tool.origin for tool in tools.all if tool.name == program] == [origin]
    is_built = origin == "built from source"
    assert (tools.path(program).read_bytes() == b"plugin") is not is_built


async def cancel_once_started(tmp_path: Path) -> None:
    started = asyncio.Event()
    compiler = go.Go(tmp_path / "logs", tmp_path)
    run = asyncio.create_task(
        compiler.run("helm", tmp_path, "build", on_line=lambda line: started.set())
    )
    await asyncio.wait_for(started.wait(), 10)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


@pytest.mark.usefixtures("bare_machine")
def test_a_cancelled_build_leaves_no_compiler_running(fake_go: Path, tmp_path: Path) -> None:
    (fake_go / "orders").write_text('echo $$ > "$root/pid"; echo started >&2; sleep 600')
    asyncio.run(cancel_once_started(tmp_path))
    pid = int((fake_go / "pid").read_text())
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


@pytest.mark.usefixtures("bare_machine")
def test_a_build_can_be_cancelled_while_its_compiler_ends(
    fake_go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fake_go / "orders").write_text("echo started >&2; sleep 600")
    kill = os.killpg

    def kill_too_late(group: int, number: int) -> None:
        kill(group, number)
        raise ProcessLookupError

    monkeypatch.setattr(os, "killpg", kill_too_late)
    asyncio.run(cancel_once_started(tmp_path))


def test_the_users_proxy_is_used_and_settings_that_change_the_build_are_not(tmp_path: Path) -> None:
    user = {
        "GOPROXY": "http://127.0.0.1:1",
        "GONOSUMDB": "*",
        "GOFLAGS": "-mod=vendor",
        "GOOS": "windows",
        "GOEXPERIMENT": "rangefunc",
        "GODEBUG": "gctrace=1",
        "GOGC": "1",
        "CGO_CFLAGS": "-O3",
        "GOROOT": "/other",
        "GOWORK": "/other/go.work",
    }
    env = go.environment(tmp_path, tmp_path, user)
    assert (env["GOPROXY"], env["GONOSUMDB"]) == ("http://127.0.0.1:1", "*")
    assert (env["GOFLAGS"], env["GOWORK"]) == ("-mod=readonly", "off")
    assert (env["GOROOT"], env["GOOS"], env["GOGC"]) == (str(tmp_path), "linux", "off")
    assert not {"GOEXPERIMENT", "GODEBUG", "CGO_CFLAGS"} & set(env)


@pytest.mark.parametrize(
    ("output", "kind", "advice"),
    [
        ("write $WORK/b001: no space left on device", toolchain.ToolchainError, "disk is full"),
        ("compile: signal: killed", toolchain.ToolchainError, "out of memory"),
        ("verifying m@v1: checksum mismatch\nSECURITY ERROR", toolchain.ToolchainError, "clean -m"),
        ("Get x: dial tcp: lookup y: no such host", go.NetworkError, "network and GOPROXY"),
        ("a.go:1:2: undefined: x", toolchain.ToolchainError, "undefined: x"),
    ],
)
def test_a_failure_is_explained(
    output: str, kind: type[Exception], advice: str, tmp_path: Path
) -> None:
    error = go.failure("helm", output, tmp_path / "helm.log")
    assert type(error) is kind
    assert advice in str(error)
    assert "helm" in str(error)
    assert str(tmp_path / "helm.log") in str(error)


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("go.etcd.io/etcd/server/v3", "server"),
        ("sigs.k8s.io/kustomize/kustomize/v5", "kustomize"),
        ("helm.sh/helm/v3/cmd/helm", "helm"),
    ],
)
def test_the_name_of_an_executable_is_that_of_go_build(package: str, name: str) -> None:
    assert go.executable_name(package) == name


# Progress


def test_without_a_terminal_the_progress_is_printed_regularly() -> None:
    text = StringIO()
    with progress.board(Console(file=text), ["argocd"]) as board:
        board.begin("argocd")
        board.show("argocd", "compiling", 0, 1800)
        board.show("argocd", "compiling", 512, 1800)
        board.beat()
        board.end("argocd")
        board.beat()
    assert text.getvalue().splitlines() == [
        "argocd: compiling",
        "argocd: compiling, 28% (0 s)",
        "argocd: done (0 s)",
    ]


def test_on_a_terminal_every_tool_has_a_row() -> None:
    text = StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    with progress.board(console, ["helm", "kwok"]) as board:
        board.begin("helm")
        board.show("helm", "compiling", 5, 10)
    shown = text.getvalue()
    assert "compiling" in shown
    assert "waiting" in shown
