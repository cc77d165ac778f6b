"""The emulated Spaces with the real restic, and the commands of restic that the program runs."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from requests_aws4auth import AWS4Auth

from doks_gitops.settings.model import Copies, CopyCredentials
from doks_gitops.volumes import bucket
from doks_gitops.volumes.jobs import FOLDER, NO_REPOSITORY, WRONG_PASSWORD, CopyError
from sandbox.digitalocean import spaces
from sandbox.toolchain.recipes import RESTIC
from tests.contract.built_tools import binary
from tests.contract.http_server import serving

KEY = spaces.Key(id="DO00KEY", secret="secret/of+the=key", password="p" * 24)


@dataclass(frozen=True)
class Storage:
    """A bucket, and restic."""

    url: str
    folder: Path

    def signed(self, secret: str = KEY.secret) -> AWS4Auth:
        return AWS4Auth(KEY.id, secret, "fra1", "s3")

    def restic(self, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        own = {
            "HOME": str(self.folder),
            "RESTIC_REPOSITORY": f"s3:{self.url}/shop-copies/doks-gitops/dev/shop/data",
            "RESTIC_PASSWORD": KEY.password,
            "AWS_ACCESS_KEY_ID": KEY.id,
            "AWS_SECRET_ACCESS_KEY": KEY.secret,
            "AWS_DEFAULT_REGION": "fra1",
        }
        return subprocess.run(
            [binary(RESTIC, "restic"), *arguments, "--no-cache"],
            env={**own, **env},
            cwd=folder,
            text=True,
            capture_output=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with serving(spaces.create_app(tmp_path / "spaces", KEY)) as url:
        storage = Storage(url, tmp_path)
        requests.put(f"{url}/shop-copies", auth=storage.signed(), timeout=10).raise_for_status()
        yield storage


def test_restored_copy_is_what_the_snapshot_had_and_the_exit_codes_are_those_of_the_program(
    storage: Storage, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    files, restored_files = source / FOLDER, target / FOLDER
    files.mkdir(parents=True)
    files.chmod(0o2710)
    restored_files.mkdir(parents=True)
    (restored_files / "of-an-attempt-that-was-killed").touch()
    backup = ("backup", FOLDER, "--host", "v", "--tag")
    restore = ("restore", "latest", "--target", ".", "--include", f"/{FOLDER}", "--delete",
               "--verify", "--no-lock", "--tag")  # fmt: skip

    assert storage.restic(source, *backup, "empty").returncode == NO_REPOSITORY
    assert storage.restic(source, "init").returncode == 0
    assert storage.restic(source, *backup, "empty").returncode == 0
    assert storage.restic(target, *restore, "empty").returncode == 0
    assert (list(target.rglob("*")), restored_files.stat().st_mode & 0o7777) == (
        [restored_files],
        0o2710,
    )
    (files / "sub").mkdir()
    (files / "sub" / "first").write_bytes(os.urandom(100_000))
    assert storage.restic(source, *backup, "a").returncode == 0
    (files / "link").symlink_to("sub/first")
    assert storage.restic(source, *backup, "a").returncode == 0
    (files / "second").touch()
    assert storage.restic(source, *backup, "b").returncode == 0
    restored = storage.restic(target, *restore, "a")
    assert restored.returncode == 0, restored.stderr
    assert sorted(x.name for x in target.rglob("*")) == ["first", "link", "sub", FOLDER]
    assert (restored_files / "link").read_bytes() == (files / "sub" / "first").read_bytes()

    former = ("backup", FOLDER, "--host", "former", "--tag", "c")
    assert storage.restic(source, *former).returncode == 0
    forget = ("forget", "--host", "v")
    keep = ("--keep-last", "1", "--group-by", "host", "--prune")
    assert storage.restic(source, *forget, *keep).returncode == 0
    assert "2 snapshots" in storage.restic(source, "snapshots", "--compact").stdout
    incomplete = (*forget, "--tag", "b", "--unsafe-allow-remove-all")
    assert storage.restic(source, *incomplete).returncode == 0
    assert "1 snapshots" in storage.restic(source, "snapshots", "--compact").stdout
    wrong = storage.restic(source, "snapshots", RESTIC_PASSWORD="q" * 24)
    assert wrong.returncode == WRONG_PASSWORD

    copies = Copies.model_validate(
        {"bucket": "shop-copies", "region": "fra1", "endpoint": storage.url}
    )
    credentials = CopyCredentials.model_validate(
        {"accessKey": KEY.id, "secretKey": KEY.secret, "password": KEY.password}
    )
    bucket.require(copies, credentials, "doks-gitops/dev/shop/data")
    bucket.require(copies, credentials)
    with pytest.raises(CopyError, match="There is no copy at"):
        bucket.require(copies, credentials, "doks-gitops/dev/shop/other")
    with pytest.raises(CopyError, match="There is no bucket"):
        bucket.require(copies.model_copy(update={"bucket": "other"}), credentials)


class AsIs(AWS4Auth):  # type: ignore[misc]
    """Signs a path as it is, as S3 wants it."""

    def amz_cano_path(self, path: str) -> str:
        return path


def test_key_does_not_lead_out_of_its_bucket(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    auth = AsIs(KEY.id, KEY.secret, "fra1", "s3")
    for path in (f"/shop-copies/{tmp_path}/outside", "/shop-copies/a//b", "/shop-copies/a/"):
        prepared = requests.Request("GET", f"{storage.url}{path}", auth=auth).prepare()
        with requests.Session() as session:
            session.trust_env = False
            assert session.send(prepared, timeout=10).status_code == 400


@pytest.mark.parametrize("beginning", ["/", "//", "../", "/shop-copies/../../"])
def test_object_is_copied_from_no_file_outside_the_buckets(
    storage: Storage, tmp_path: Path, beginning: str
) -> None:
    (tmp_path / "outside").write_text("of the machine")
    url, auth = f"{storage.url}/shop-copies/copy", storage.signed()
    path = f"{tmp_path}/outside".removeprefix("/") if ".." not in beginning else "outside"
    source = {"x-amz-copy-source": f"{beginning}{path}"}
    assert requests.put(url, headers=source, auth=auth, timeout=10).status_code == 404
    assert requests.get(url, auth=auth, timeout=10).status_code == 404


@pytest.mark.parametrize("case", ["unsigned", "wrong secret", "wrong key", "replayed"])
def test_request_that_is_not_signed_with_the_key_is_refused(storage: Storage, case: str) -> None:
    auth = {"wrong secret": storage.signed("other"),
            "wrong key": AWS4Auth("DO00OTHER", KEY.secret, "fra1", "s3")}  # fmt: skip
    prepared = requests.Request(
        "GET", f"{storage.url}/shop-copies", auth=auth.get(case, storage.signed())
    ).prepare()
    if case == "unsigned":
        prepared.headers["Authorization"] = f"{spaces.ALGORITHM} Credential={KEY.id}/x"
    if case == "replayed":
        # Of another object.
        prepared.url = f"{storage.url}/shop-copies/doks-gitops/dev/shop/data/config"
    with requests.Session() as session:
        session.trust_env = False
        assert session.send(prepared, timeout=10).status_code == 403
