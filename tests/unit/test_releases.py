"""Downloads of releases, from a publisher on loopback."""

import asyncio
import dataclasses
import hashlib
import json
import platform
import tarfile
import time
from collections.abc import Iterator
from importlib import metadata
from io import BytesIO, StringIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import httpx
import pytest
from rich.console import Console

from sandbox.toolchain import recipes, releases
from sandbox.toolchain.artifacts import Artifacts
from sandbox.toolchain.recipes import Recipe, Release
from sandbox.toolchain.store import Store
from tests.unit import publisher as fake
from tests.unit.publisher import Publisher

HELM = recipes.HELM
ANSWER = f"v{HELM.version}"
PATH = "/helm"


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A publisher that has Helm."""
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with fake.serve(tmp_path) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.authority))
        monkeypatch.setattr(releases, "has_ipv6_loopback", lambda: True)
        server.publish(PATH, fake.script(ANSWER))
        yield server


def helm(address: str, **options: object) -> Recipe:
    """The recipe of Helm, with a release at that address."""
    release = Release(**{"url": address, "checksums": "{file}.sha256", **options})  # type: ignore[arg-type]
    return dataclasses.replace(HELM, release=release)


def download(tmp_path: Path, *tools: Recipe) -> tuple[list[Path | None], str]:
    """The folder of each tool's programs, and what is said."""
    store = Store(tmp_path / "store")
    artifacts = [Artifacts.of(tool, store) for tool in tools]
    output = StringIO()
    with store.locked(lambda: None):
        releases.download(artifacts, store, Console(file=output, width=1000))
    assert not list(store.root.glob(".unfinished-*"))
    return [artifact.programs() for artifact in artifacts], output.getvalue()


def test_a_released_program_is_downloaded_checked_and_can_be_run(
    publisher: Publisher, tmp_path: Path
) -> None:
    [programs], output = download(tmp_path, helm(publisher.url + PATH))
    assert programs
    assert (programs / "helm").read_bytes() == publisher.files[PATH]
    assert output.splitlines() == ["helm: downloading", "helm: done (0 s)"]


def test_what_the_publisher_does_not_have_is_left_out_with_the_reason(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.files[PATH] = 404
    kwok = dataclasses.replace(helm(publisher.url + PATH), name="kwok")
    programs, output = download(tmp_path, helm(publisher.url + PATH), kwok)
    assert programs == [None, None]
    assert output == "No release of helm, kwok: 127.0.0.1 responds 404.\n"


@pytest.mark.parametrize(
    ("checksums", "reason"),
    [
        (hashlib.sha256(b"another").hexdigest(), "does not have the checksum that"),
        ("<html>Log in first</html>", "names no checksum of"),
    ],
)
def test_a_file_without_its_published_checksum_is_not_used_and_a_warning_says_so(
    checksums: str, reason: str, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.files[f"{PATH}.sha256"] = checksums.encode()
    [programs], output = download(tmp_path, helm(publisher.url + PATH))
    assert programs is None
    assert "warning: the release of helm is not used" in output
    assert reason in output


def test_a_transfer_that_is_cut_off_is_tried_once_more(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.cut_off[PATH] = 1
    [programs], _ = download(tmp_path, helm(publisher.url + PATH))
    assert programs
    assert publisher.requests.count(PATH) == 2


@pytest.mark.parametrize("fault", ["cut off", "error"])
def test_a_transfer_that_fails_twice_is_given_up(
    fault: str, publisher: Publisher, tmp_path: Path
) -> None:
    if fault == "error":
        publisher.files[PATH] = 503
    publisher.cut_off[PATH] = 3
    [programs], output = download(tmp_path, helm(publisher.url + PATH))
    assert programs is None
    assert "No release of helm: 127.0.0.1" in output
    assert publisher.requests.count(PATH) == 2


def test_publishers_are_reached_through_the_users_proxy(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake.proxy(publisher) as (address, targets):
        monkeypatch.setenv("HTTPS_PROXY", address)
        [programs], output = download(tmp_path, helm(f"https://{fake.HOST}{PATH}"))
    assert programs, output
    assert set(targets) == {f"{fake.HOST}:443"}


def test_a_proxy_that_leads_nowhere_costs_one_time_limit_for_all_tools(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "CHECKSUM_SECONDS", 1)
    tools = [
        dataclasses.replace(tool, release=helm(f"https://{fake.HOST}{PATH}").release)
        for tool in recipes.RECIPES
    ]
    with fake.proxy(publisher, silent=True) as (address, targets):
        monkeypatch.setenv("HTTPS_PROXY", address)
        start = time.monotonic()
        programs, output = download(tmp_path, *tools)
        assert time.monotonic() - start < len(tools)
    assert set(programs) == {None}
    assert set(targets) == {f"{fake.HOST}:443"}
    assert output.startswith("No release of kustomize, etcd")
    assert output.endswith(f": {fake.HOST} does not respond.\n")


def test_a_host_that_cannot_be_reached_is_tried_once(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    [programs], output = download(tmp_path, helm(f"https://{fake.HOST}{PATH}"))
    assert programs is None
    assert f"No release of helm: {fake.HOST} can't be reached" in output


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", "nonsense"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:1"),
        ("REQUESTS_CA_BUNDLE", "/nowhere.pem"),
    ],
)
def test_settings_that_cannot_be_used_are_a_reason_and_no_traceback(
    variable: str,
    value: str,
    publisher: Publisher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    [programs], output = download(tmp_path, helm(f"https://{fake.HOST}{PATH}"))
    assert programs is None
    assert output.startswith("No release of helm: ")
    assert publisher.requests == []


def test_a_publisher_with_an_unknown_certificate_is_not_trusted(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    [programs], output = download(tmp_path, helm(publisher.url + PATH))
    assert programs is None
    assert "certificate verify failed" in output
    assert publisher.requests == []


def test_a_redirect_that_leaves_https_is_not_followed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.files[f"{PATH}.sha256"] = "http://127.0.0.1:1/helm.sha256"
    [programs], output = download(tmp_path, helm(publisher.url + PATH))
    assert programs is None
    assert "leads to 127.0.0.1 without HTTPS" in output


def test_a_redirect_to_another_host_is_followed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("/moved", fake.script(ANSWER))
    publisher.files[PATH] = f"https://127.0.0.1:{publisher.port}/moved"
    [programs], _ = download(tmp_path, helm(publisher.url + PATH))
    assert programs


@pytest.mark.parametrize("content", [fake.script("v3.0.0"), b"not a program"])
def test_a_program_that_does_not_report_the_pinned_version_is_not_used(
    content: bytes, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish(PATH, content)
    [programs], output = download(tmp_path, helm(publisher.url + PATH))
    assert programs is None
    assert f"helm does not report version {HELM.version}" in output


def test_the_programs_of_an_archive_are_unpacked_with_what_is_beside_them(
    publisher: Publisher, tmp_path: Path
) -> None:
    host = fake.script("language host")
    members = {"./tools/helm": fake.script(ANSWER), "tools/host": host, "other/file": b""}
    publisher.publish("/helm.tar.gz", fake.archive(members))
    [programs], _ = download(tmp_path, helm(f"{publisher.url}/helm.tar.gz", folder="tools"))
    assert programs
    assert {file.name for file in programs.iterdir()} == {"helm", "host"}
    assert (programs / "host").stat().st_mode & 0o111 == 0o111


def test_nothing_of_an_archive_is_written_elsewhere(publisher: Publisher, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    output = BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for path in (f"../../../{outside.name}", str(outside), "tools/../../outside"):
            archive.addfile(tarfile.TarInfo(path))
        link = tarfile.TarInfo("tools/helm")
        link.type, link.linkname = tarfile.SYMTYPE, "/bin/sh"
        archive.addfile(link)
    publisher.publish("/helm.tar", output.getvalue())
    [programs], text = download(tmp_path, helm(f"{publisher.url}/helm.tar", folder="tools"))
    assert programs is None
    assert "it has no helm" in text
    assert not outside.exists()


def test_a_release_with_a_patch_listens_where_the_patch_says(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish(PATH, fake.script(f"{ANSWER} at 0.0.0.0:%d"))
    patched = helm(publisher.url + PATH, patches={b"0.0.0.0:%d": b"[::1]:%04d"})
    [programs], _ = download(tmp_path, patched)
    assert programs
    assert (programs / "helm").read_bytes() == fake.script(f"{ANSWER} at [::1]:%04d")


def test_a_patch_that_does_not_fit_is_a_reason_not_to_use_the_release(
    publisher: Publisher, tmp_path: Path
) -> None:
    patched = helm(publisher.url + PATH, patches={b"0.0.0.0:%d": b"[::1]:%04d"})
    [programs], output = download(tmp_path, patched)
    assert programs is None
    assert "warning: the release of helm is not used, because helm has no b'0.0.0.0:%d'" in output


def test_a_release_that_would_listen_on_a_missing_address_is_not_downloaded(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "has_ipv6_loopback", lambda: False)
    patched = helm(publisher.url + PATH, patches={b"0.0.0.0:%d": b"[::1]:%04d"})
    [programs], output = download(tmp_path, patched)
    assert programs is None
    assert "needs the address ::1" in output
    assert publisher.requests == []


class Published(NamedTuple):
    """Where a publisher has a file and its checksums, and the program's path if it is an archive.

    `{v}` is the version, `{program}` the program's name, and `{arch}` the architecture as the
    publisher names it.
    """

    folder: str
    file: str
    checksums: str
    member: str = ""


def plugin(name: str) -> Published:
    repository, version = f"pulumi/pulumi-{name}", metadata.version(f"pulumi-{name}")
    return Published(
        f"https://github.com/{repository}/releases/download/v{version}/",
        f"{{program}}-v{version}-linux-{{arch}}.tar.gz",
        f"https://api.github.com/repos/{repository}/releases/tags/v{version}",
        "{program}",
    )


PUBLISHED = {
    "argocd": Published(
        "https://github.com/argoproj/argo-cd/releases/download/v{v}/",
        "argocd-linux-{arch}",
        "cli_checksums.txt",
    ),
    "etcd": Published(
        "https://github.com/etcd-io/etcd/releases/download/v{v}/",
        "etcd-v{v}-linux-{arch}.tar.gz",
        "SHA256SUMS",
        "etcd-v{v}-linux-{arch}/etcd",
    ),
    "helm": Published(
        "https://get.helm.sh/",
        "helm-v{v}-linux-{arch}.tar.gz",
        "helm-v{v}-linux-{arch}.tar.gz.sha256sum",
        "linux-{arch}/helm",
    ),
    "kubernetes": Published(
        "https://dl.k8s.io/v{v}/bin/linux/{arch}/", "{program}", "{program}.sha256"
    ),
    "kustomize": Published(
        "https://github.com/kubernetes-sigs/kustomize/releases/download/kustomize%2Fv{v}/",
        "kustomize_v{v}_linux_{arch}.tar.gz",
        "checksums.txt",
        "kustomize",
    ),
    "kwok": Published(
        "https://github.com/kubernetes-sigs/kwok/releases/download/v{v}/",
        "kwok-linux-{arch}",
        "https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags/v{v}",
    ),
    "pulumi": Published(
        "https://github.com/pulumi/pulumi/releases/download/v{v}/",
        "pulumi-v{v}-linux-{arch}.tar.gz",
        "pulumi-{v}-checksums.txt",
        "pulumi/pulumi",
    ),
    "pulumi-yaml": Published(
        "https://github.com/pulumi/pulumi-yaml/releases/download/v{v}/",
        "pulumi-language-yaml-v{v}-linux-{arch}.tar.gz",
        "pulumi-yaml-{v}-checksums.txt",
        "pulumi-language-yaml",
    ),
    **{f"pulumi-{name}": plugin(name) for name in ("digitalocean", "github", "kubernetes")},
}
"""By the recipe's name. As the publishers' release pages and their own installers name them."""
PLUGINS = (recipes.PULUMI_DIGITALOCEAN, recipes.PULUMI_KUBERNETES)
RELEASED = [x for x in (*recipes.RECIPES, *recipes.FOR_TESTS, *PLUGINS) if x.release]


@pytest.mark.parametrize("machine_name", ["x86_64", "aarch64"])
@pytest.mark.parametrize("tool", RELEASED, ids=lambda tool: tool.name)
def test_each_publisher_is_asked_for_the_file_of_this_machine(
    tool: Recipe, machine_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine_name)
    monkeypatch.setattr(releases, "has_ipv6_loopback", lambda: True)
    release, version = tool.release, str(tool.version)
    assert release
    programs = [binary.name for binary in tool.binaries]
    arch = {"x86_64": "x64" if tool is recipes.PULUMI else "amd64", "aarch64": "arm64"}[
        machine_name
    ]
    program_bytes = b"".join(release.patches)
    files: dict[str, bytes] = {}
    for program in programs:
        words = {"v": version, "arch": arch, "program": program}
        folder, file, checksums, member = (part.format(**words) for part in PUBLISHED[tool.name])
        content = fake.archive({member: program_bytes}) if member else program_bytes
        digest = hashlib.sha256(content).hexdigest()
        asset = {"name": file, "digest": f"sha256:{digest}"}
        is_api = checksums.startswith("https://api.github.com/")
        text = json.dumps({"assets": [asset]}) if is_api else f"{digest}  {file}\n"
        files |= {folder + file: content, urljoin(folder, checksums): text.encode()}

    def respond(request: httpx.Request) -> httpx.Response:
        body = files.get(str(request.url))
        return httpx.Response(404) if body is None else httpx.Response(200, content=body)

    async def fetch() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as session:
            await releases.fetch(release, version, programs, tmp_path, session)

    asyncio.run(fetch())
    assert {file.name for file in (tmp_path / "bin").iterdir()} == set(programs)


SUM = hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize(
    ("text", "checksum"),
    [
        (f"{SUM}\n", SUM),
        (f"{SUM.upper()}  other\n{SUM}  tool.tar.gz\n", SUM),
        (f"{SUM} *./tool.tar.gz\n", SUM),
        (json.dumps({"assets": [{"name": "tool.tar.gz", "digest": f"sha256:{SUM}"}]}), SUM),
        (json.dumps({"assets": [{"name": "tool.tar.gz", "digest": None}]}), None),
        (json.dumps({"message": "API rate limit exceeded"}), None),
        (f"{SUM}  tool.tar.gz.sig\n", None),
        (f"{SUM[:40]}  tool.tar.gz\n", None),
        ("", None),
    ],
)
def test_a_checksum_is_read_from_each_form_in_which_it_is_published(
    text: str, checksum: str | None
) -> None:
    assert releases.named(text, "tool.tar.gz") == checksum
