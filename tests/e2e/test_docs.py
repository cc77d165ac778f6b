"""The commands of README.md and docs/ work: they are run in the order of their page, and print what
the page shows. Those that other tests and drills run: tests/unit/test_docs_blocks.py."""

import os
import re
import shutil
import subprocess
import venv
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from components.chart_values import merge
from sandbox.chart import next_patch
from tests.docs import DOCS, Step, steps, table_steps
from tests.e2e import autopilot
from tests.e2e.box import REPOSITORY, Sandbox, run


@dataclass
class Reader:
    """A person with a clone of this repository and a sandbox, and nothing else set up."""

    sandbox: Sandbox
    clone: Path
    values: dict[str, str] = field(default_factory=dict)
    """The values that replace the placeholders of a page."""

    @property
    def env(self) -> dict[str, str]:
        cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        home = self.clone.parent / "home"
        home.mkdir(exist_ok=True)
        return {**self.sandbox.env, "HOME": str(home), "XDG_CACHE_HOME": cache}

    def follow(self, steps: list[Step], *, inside: bool = False) -> None:
        """Run the commands one after the other in one shell; `inside`: in the shell of `bin/sandbox
        run bash`. Fails at the first one that fails or does not print what the page shows."""
        lines = []
        for number, step in enumerate(steps):
            command = step.command
            for placeholder, value in self.values.items():
                command = command.replace(placeholder, value)
            # In this shell, so that `cd` and `export` last; it stops at the first failure.
            lines += [
                f"echo; echo '@@@ {number}'",
                f"{{ {command}\n}} </dev/null" if "<" not in command else f"{{ {command}\n}}",
                'code=$?; [ $code = 0 ] || { echo; echo "@@@ failed $code"; exit $code; }',
            ]
        script = self.clone.parent / "page.sh"
        script.write_text("\n".join(lines) + "\n")
        shell = ["bin/sandbox", "run", "bash"] if inside else ["bash"]
        code, output = run([*shell, str(script)], self.clone, self.env)
        printed = re.split(r"^@@@ \d+$\n?", output, flags=re.MULTILINE)[1:]
        for step, text in zip(steps, printed, strict=False):
            print(f"$ {step.command}\n{text}")
        assert code == 0, output[-3000:]
        assert len(printed) == len(steps)
        for step, text in zip(steps, printed, strict=True):
            for line in step.shown:
                assert _is_shown(line, text), f"$ {step.command}\nprints no line like: {line}"


def _is_shown(line: str, output: str) -> bool:
    """Whether the output has a line with these words in this order. Words with digits, such as
    amounts and generated names, may differ."""
    words = [
        word for word in line.split() if re.search(r"\w\w", word) and not re.search(r"\d", word)
    ]
    pattern = ".*".join(map(re.escape, words))
    return any(re.search(pattern, line) for line in output.splitlines())


@pytest.fixture(scope="module")
def reader(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("reader")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, text=True, capture_output=True,
    ).stdout.split("\0")  # fmt: skip
    for name in files:
        if (REPOSITORY / name).is_file():
            (copy := folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy, follow_symlinks=False)
    set_up(folder / "clone")
    reader = Reader(sandbox, folder / "clone")
    reader.follow([Step("bin/sandbox start", ())])
    return reader


def set_up(clone: Path) -> None:
    """Do what `bin/setup` does, with the packages of this checkout in place of a download."""
    venv.create(clone / ".venv", symlinks=True)
    [packages] = (REPOSITORY / ".venv" / "lib").glob("*/site-packages")
    [folder] = (clone / ".venv" / "lib").glob("*/site-packages")
    (folder / "packages.pth").write_text(f"{clone}\n{packages}\n")
    installed = (REPOSITORY / ".venv" / ".installed").read_text()
    (clone / ".venv" / ".installed").write_text(installed.replace(str(REPOSITORY), str(clone)))


@pytest.mark.weekly
def test_a_platform_made_by_hand_is_adopted_and_no_pod_of_it_restarts(
    reader: Reader, tmp_path: Path
) -> None:
    autopilot.set_up(reader.sandbox, tmp_path / "monorepo")
    kubectl = f"kubectl --context {autopilot.CONTEXT} -n microservices-demo-dev"
    pods = f"{kubectl} get pods -o custom-columns=:.metadata.uid,:.status.startTime"
    before = reader.sandbox.shell(pods)
    assert len(before.split()) > 2
    reader.follow(steps(DOCS / "from-autopilot.md"), inside=True)
    assert reader.sandbox.shell(pods) == before
    reader.follow(steps(DOCS / "add-application.md", "The folder", "By a commit"), inside=True)


def test_a_real_account_is_deployed_to_and_left_empty(reader: Reader) -> None:
    """The sandbox's account takes the part of the real one: all that is known of it is an address
    and a token."""
    reader.follow([Step("bin/sandbox reset --yes", ()), Step("bin/sandbox start", ())])
    with reader.sandbox.api() as api:
        repository = api.get("/sandbox/repository").raise_for_status().json()
        sandbox_values = api.get("/sandbox/config").raise_for_status().json()["dev"]["values"]
    file = reader.clone / "Pulumi.dev.yaml"
    content = yaml.safe_load(before := file.read_text())
    key = "doks-gitops:argocd"
    content["config"][key] = merge(content["config"][key], sandbox_values["argocd"])
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    (reader.clone / "token.txt").write_text(repository["password"])
    reader.values = {"https://github.com/TEAM/REPOSITORY.git": repository["url"]}
    tools = Step('eval "$(bin/sandbox env)"', ())
    forget = Step("unset PULUMI_BACKEND_URL PULUMI_CONFIG_PASSPHRASE_FILE KUBECONFIG", ())
    reader.follow([tools, forget, *steps(DOCS / "real-account.md")])
    file.write_text(before)


def test_the_first_run_shows_what_its_page_says(reader: Reader) -> None:
    reader.follow([Step("bin/sandbox reset --yes", ())])
    reader.follow(steps(DOCS / "first-run.md"))


def test_an_application_is_added_by_the_stack_file(reader: Reader) -> None:
    section = "By the stack file"
    reader.follow(steps(DOCS / "add-application.md", "The folder", section), inside=True)


def test_costs_are_those_of_the_page_to_the_cent(reader: Reader) -> None:
    [step] = steps(DOCS / "costs.md")
    reader.follow([step], inside=True)
    output = reader.sandbox("run", "bin/platform", "costs", cwd=reader.clone)
    assert "\n".join(step.shown) in output


def test_kubernetes_and_argocd_are_upgraded(reader: Reader) -> None:
    config = yaml.safe_load((REPOSITORY / "Pulumi.dev.yaml").read_text())["config"]
    pinned = config["doks-gitops:argocd"]["chart"]["version"]
    reader.values["NEW-VERSION"] = next_patch(pinned)
    reader.follow(steps(DOCS / "upgrade.md"), inside=True)


def test_the_examples_of_the_commands_work(reader: Reader) -> None:
    reader.follow(steps(DOCS / "commands.md"), inside=True)


def test_the_commands_of_the_sandbox_work_in_the_order_of_its_page(reader: Reader) -> None:
    shutil.rmtree(reader.clone / "monorepo")
    reader.follow(table_steps(DOCS / "sandbox.md", "Commands"))
