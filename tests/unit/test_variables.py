"""What child processes get of the caller's environment."""

import os
import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from doks_gitops.ci import commits
from doks_gitops.promotion.cluster import Cluster
from doks_gitops.promotion.repository import WorkingTree
from doks_gitops.variables import restricted
from tests.unit.pulumi_command import PulumiCommand
from tests.unit.stackfiles import ROOT

HOSTILE = {
    "GIT_DIR": "/nowhere",
    "GIT_WORK_TREE": "/nowhere",
    "GIT_INDEX_FILE": "/nowhere",
    "GIT_EXTERNAL_DIFF": "/bin/false",
    "GIT_CONFIG_PARAMETERS": "'core.bare'='true'",
    "PYTHONPATH": "/nowhere",
    "PYTHONHOME": "/nowhere",
    "PYTHONSTARTUP": "/nowhere",
    "PULUMI_DEBUG_GRPC": "/nowhere",
    "PULUMI_OPTION_TARGET": "urn",
    "PULUMI_PYTHON_CMD": "/bin/false",
    "GOFLAGS": "-mod=vendor",
    "GODEBUG": "gctrace=1",
    "LD_PRELOAD": "/nowhere.so",
    "LD_AUDIT": "/nowhere.so",
    "HELM_KUBECONTEXT": "another",
    "KUBECONFIG": "/nowhere",
}
PROXY = {"HTTP_PROXY": "http://proxy.example.com:3128", "https_proxy": "http://proxy.example.com"}


@pytest.mark.parametrize("deployment", [True, False])
def test_variables_that_break_children_do_not_reach_them(deployment: bool) -> None:
    kept = restricted({**HOSTILE, "PATH": "/bin", "LC_ALL": "C"}, deployment=deployment)
    assert kept.keys() == {"PATH", "LC_ALL", "NO_PROXY", "no_proxy"}


def test_credentials_of_every_backend_reach_deployments_but_never_the_sandbox() -> None:
    names = (
        "DIGITALOCEAN_TOKEN",
        "GITHUB_TOKEN",
        "PULUMI_ACCESS_TOKEN",
        "PULUMI_CONFIG_PASSPHRASE",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_CONFIG_FILE",
        "AZURE_STORAGE_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "PGPASSWORD",
        "GIT_SSH_COMMAND",
    )
    caller = dict.fromkeys(names, "x")
    assert restricted(caller, deployment=True).keys() >= caller.keys()
    assert restricted(caller, deployment=False).keys() == {"NO_PROXY", "no_proxy"}


GIT = {
    "GIT_SSH_COMMAND": "ssh -i key",
    "GIT_ASKPASS": "askpass",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "http.extraHeader",
    "GIT_CONFIG_VALUE_0": "of a workflow",
    "GIT_CONFIG_GLOBAL": "/nowhere",
    "GIT_AUTHOR_NAME": "the author",
    "GITHUB_TOKEN": "of GitHub",
}


@pytest.mark.parametrize(
    ("program", "run", "own"),
    [
        ("git", lambda folder: WorkingTree(folder).git("status"), GIT),
        ("git", commits.head, GIT),
        ("kubectl", lambda folder: Cluster(folder, folder, "argocd", "").refused_pods("pr-1"), {}),
    ],
)
def test_git_and_kubectl_get_their_own_variables_and_no_key_of_the_state(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    run: Callable[[Path], object],
    own: dict[str, str],
) -> None:
    (tmp_path / program).write_text(f"""#!/bin/sh\nenv >'{tmp_path}/env'\necho '{{"items": []}}'""")
    (tmp_path / program).chmod(0o755)
    both = {**PROXY, "SSH_AUTH_SOCK": "/agent", "SSL_CERT_FILE": "/ca", "HOME": "/home/dev"}
    state = (
        *("PULUMI_CONFIG_PASSPHRASE", "PULUMI_ACCESS_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"),
        *("AZURE_STORAGE_KEY", "GOOGLE_CREDENTIALS", "DIGITALOCEAN_TOKEN", "RESTIC_PASSWORD"),
        *("DOKS_GITOPS_GIT_PASSWORD", "GIT_CONFIG_PARAMETERS"),
    )
    for name, value in {**both, **GIT, **dict.fromkeys(state, "hush")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run(tmp_path)
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert "hush" not in seen.values()
    assert seen.items() >= {**both, **own}.items()
    assert seen.keys() & GIT.keys() == own.keys()


@pytest.mark.parametrize(
    ("caller", "exceptions"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "example.com, localhost"}, "example.com,localhost,127.0.0.1,::1"),
        ({"no_proxy": "example.com"}, "example.com,127.0.0.1,localhost,::1"),
    ],
)
def test_proxies_are_used_but_never_for_loopback(caller: dict[str, str], exceptions: str) -> None:
    kept = restricted({**caller, **PROXY}, deployment=True)
    assert kept == {**PROXY, "NO_PROXY": exceptions, "no_proxy": exceptions}


def test_python_that_needs_its_library_path_keeps_that_folder_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caller = {"LD_LIBRARY_PATH": "/python/lib:/other"}
    for shared, kept in ((1, {"LD_LIBRARY_PATH": "/python/lib"}), (0, {})):
        values = {"Py_ENABLE_SHARED": shared, "LIBDIR": "/python/lib"}
        monkeypatch.setattr(sysconfig, "get_config_var", values.get)
        variables = restricted(caller, deployment=False)
        assert {k: v for k, v in variables.items() if k.startswith("LD_")} == kept


def test_hostile_variables_of_the_caller_change_nothing_in_bin_platform(
    pulumi: PulumiCommand, tmp_path: Path
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "typer.py").write_text("raise SystemExit('another module')")
    pulumi.script(f"env >'{tmp_path}/env'; echo '{{\"steps\": []}}'")
    caller = {
        **os.environ,
        **HOSTILE,
        "PYTHONPATH": str(modules),
        "PULUMI_CONFIG_PASSPHRASE": "hush",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    # The dynamic linker would complain in the test's own child.
    for name in ("LD_PRELOAD", "LD_AUDIT"):
        del caller[name]
    done = subprocess.run(
        [ROOT / "bin" / "platform", "preview", "--stack", "dev"],
        env=caller, cwd=tmp_path, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert not HOSTILE.keys() & seen.keys()
    assert seen["PULUMI_CONFIG_PASSPHRASE"] == "hush"
    assert "127.0.0.1" in seen["NO_PROXY"]


def test_variables_that_the_commands_are_documented_to_use_reach_them() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    documented = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", page))
    kept = restricted(dict.fromkeys(documented, "x"), deployment=True)
    # Named as what is left out.
    assert documented - kept.keys() == {"GIT_DIR", "PULUMI_DEBUG_GRPC"}
