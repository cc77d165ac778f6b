"""The preview of a pull request works with what its job is given, and that opens nothing else: the
test takes all of it and tries to change the account, to enter the cluster, and to read the
repository."""

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests import permissions
from tests.e2e.box import REPOSITORY, Sandbox

WORD = re.compile(r"[\w.+/=:-]{6,}")


@dataclass(frozen=True)
class Job:
    """What the job of `preview.yml` has: its environment, the checkout, and the exports."""

    env: dict[str, str]
    project: Path
    exports: Path

    def preview(self) -> str:
        """The output of the job's command, which must not fail."""
        done = subprocess.run(
            [str(REPOSITORY / "bin" / "platform"), "preview", "--stack", "dev", "--exports",
             str(self.exports)],
            cwd=self.project, env=self.env, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def words(self) -> set[str]:
        """Everything in it that could be a credential, also what is encoded in it."""
        files = [*self.project.glob("Pulumi*.yaml"), *self.exports.iterdir()]
        texts = [*self.env.values(), *(file.read_text() for file in files)]
        words = {word for text in texts for word in WORD.findall(text.replace("\\n", "\n"))}
        for word in list(words):
            try:
                words |= set(WORD.findall(base64.b64decode(word, validate=True).decode()))
            except ValueError:
                continue
        return words


@pytest.fixture(scope="module")
def job(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The job, after dev was deployed as `deploy-stack.yml` does it."""
    folder = tmp_path_factory.mktemp("job")
    sandbox("up", "dev")
    sandbox("run", "bin/platform", "deploy", "--stack", "dev", "--export", str(folder / "exports"))
    shutil.copytree(sandbox.home / "project", folder / "project", symlinks=True)
    deploying = json.loads(
        sandbox.shell("python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'")
    )
    shutil.copytree(Path(deploying["PULUMI_HOME"], "plugins"), folder / "pulumi" / "plugins")
    env = {
        "PATH": deploying["PATH"],
        "HOME": str(folder),
        "PULUMI_HOME": str(folder / "pulumi"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "DIGITALOCEAN_API_URL": deploying["DIGITALOCEAN_API_URL"],
        "DIGITALOCEAN_TOKEN": sandbox("token", *sorted(permissions.scopes("preview"))).split()[-1],
    }
    return Job(env, folder / "project", folder / "exports")


@pytest.fixture
def stack_file(job: Job) -> Iterator[Path]:
    """The stack file of dev in the pull request."""
    file = job.project / "Pulumi.dev.yaml"
    before = file.read_text()
    yield file
    file.write_text(before)


def test_preview_of_what_is_deployed_shows_no_changes(job: Job) -> None:
    assert "| `dev` | no changes | ✅ kept |" in job.preview()


def test_preview_shows_what_a_pull_request_changes(job: Job, stack_file: Path) -> None:
    text = stack_file.read_text()
    assert "revision: main" in text
    stack_file.write_text(text.replace("revision: main", "revision: v2"))
    output = job.preview()
    assert "1 to update" in output
    assert 'spec.source.targetRevision: "main" → "v2"' in output


def test_preview_tells_that_a_secret_has_changed_and_what_else_is_in_its_object(
    job: Job, stack_file: Path
) -> None:
    document = yaml.safe_load(stack_file.read_text())
    repository = document["config"]["doks-gitops:repositories"]["monorepo"]
    repository["credentials"]["password"]["secure"] += "x"
    stack_file.write_text(yaml.safe_dump(document))
    output = job.preview()
    assert "repositories.monorepo.credentials.password has another encrypted value" in output
    assert "no changes" in output, "nothing else is known of it"
    repository["credentials"]["username"] = "somebody"
    stack_file.write_text(yaml.safe_dump(document))
    assert "update kubernetes:core/v1:Secret argocd-repository-monorepo" in job.preview()


def test_nothing_that_the_preview_is_given_changes_the_account_or_opens_the_cluster_or_repository(
    sandbox: Sandbox, job: Job
) -> None:
    outputs: dict[str, Any] = json.loads(
        sandbox.shell("pulumi stack output --stack dev --json --show-secrets")
    )
    config: dict[str, Any] = json.loads(
        sandbox.shell("pulumi config --stack dev --json --show-secrets")
    )
    [repository] = json.loads(config["doks-gitops:repositories"]["value"]).values()
    account = f"{sandbox.daemon['url']}/v2/kubernetes/clusters/{outputs['clusterId']}"
    secrets = f"{outputs['clusterEndpoint']}/api/v1/namespaces/argocd/secrets"
    refs = f"{repository['url']}/info/refs?service=git-upload-pack"
    words = job.words()
    assert job.env["DIGITALOCEAN_TOKEN"] in words
    with httpx.Client(verify=False, timeout=60) as client:
        attempts: dict[str, Callable[[str], httpx.Response]] = {
            "changes the account": lambda word: client.put(
                account, json={}, headers={"Authorization": f"Bearer {word}"}
            ),
            "reads the credentials of the cluster": lambda word: client.get(
                f"{account}/credentials", headers={"Authorization": f"Bearer {word}"}
            ),
            "enters the cluster": lambda word: client.get(
                secrets, headers={"Authorization": f"Bearer {word}"}
            ),
            "reads the repository": lambda word: client.get(
                refs, auth=(repository["credentials"]["username"], word)
            ),
        }
        real = (sandbox.daemon["token"], repository["credentials"]["password"])
        for attempt, request in attempts.items():
            # Each is a request that the real credentials pass with.
            refused = {request(word).status_code for word in real}
            assert refused - {401, 403}, attempt
            opening = {word for word in words if request(word).status_code not in (401, 403)}
            assert not opening, attempt
    passphrase = (sandbox.home / "passphrase").read_text().strip()
    for secret in (passphrase, sandbox.daemon["github"]["token"], outputs["argocdAdminPassword"]):
        assert not any(secret in word for word in words)


def test_preview_leaves_nothing_behind(job: Job) -> None:
    before = set(os.listdir(job.project))
    job.preview()
    assert set(os.listdir(job.project)) == before
