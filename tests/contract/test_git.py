"""The Git server as the real Git client and Argo CD's library meet it."""

import asyncio
import base64
import gzip
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from sandbox.git import Access, GitError, GitServer
from sandbox.processes import free_port

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def serving(server: GitServer) -> Iterator[int]:
    """Serve it at /git, as the daemon does; its port."""
    app = Starlette(routes=[Mount("/git", app=server.app)])
    port = free_port()
    web = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=web.run)
    thread.start()
    try:
        wait_for_port(port)
        yield port
    finally:
        web.should_exit = True
        thread.join()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/")
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)


@dataclass
class Host:
    """A running Git server, and a client's folder."""

    server: GitServer
    port: int
    folder: Path
    pushes: list[tuple[str, str, str, str]] = field(default_factory=list)

    def create(self, name: str, *, public: bool = False) -> Access:
        return asyncio.run(self.server.create(name, public=public))

    def head(self, name: str, branch: str | None = None) -> str | None:
        return asyncio.run(self.server.head(name, branch))

    def url(self, name: str, access: Access | None = None) -> str:
        user = f"{access.username}:{access.token}@" if access else ""
        return f"http://{user}127.0.0.1:{self.port}/git/{name}.git"

    def git(self, *args: str, fails: bool = False, **env: str) -> str:
        """Run the client; its output, both streams."""
        done = subprocess.run(
            ["git", *args], cwd=self.folder, env=client_env(**env), text=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def commit(self, clone: str, **files: str | bytes) -> str:
        """Commit those files in the clone; the commit."""
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (self.folder / clone / name).write_bytes(data)
        self.git("-C", clone, "add", "--all")
        self.git("-C", clone, "commit", "--quiet", "--message", "change")
        return self.git("-C", clone, "rev-parse", "HEAD").strip()

    def filled(self, name: str, *, public: bool = False) -> Access:
        """A new repository with one commit, cloned at `name`."""
        access = self.create(name, public=public)
        self.git("clone", "--quiet", self.url(name, access), name)
        self.commit(name, file="1")
        self.git("-C", name, "push", "--quiet", "origin", "HEAD:main")
        return access


def client_env(**env: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@localhost",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@localhost",
        **env,
    }


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    pushes: list[tuple[str, str, str, str]] = []

    async def on_push(repository: str, user: str, ref: str, old: str, new: str) -> None:
        assert user == "sandbox"
        pushes.append((repository, ref, old, new))

    (tmp_path / "client").mkdir()
    server = GitServer(tmp_path / "server", on_push)
    with serving(server) as port:
        yield Host(server, port, tmp_path / "client", pushes)


def test_a_clone_sees_what_another_clone_pushed(host: Host) -> None:
    access = host.filled("shop")
    commit = host.commit("shop", file="2")
    host.git("-C", "shop", "push", "--quiet", "origin", "HEAD:main")
    host.git("clone", "--quiet", host.url("shop", access), "other")
    assert (host.folder / "other" / "file").read_text() == "2"
    assert host.git("-C", "other", "branch", "--show-current") == "main\n"
    assert host.head("shop") == host.head("shop", "main") == commit
    assert host.head("shop", "nowhere") is None


def test_an_empty_repository_has_no_head(host: Host) -> None:
    host.create("shop")
    assert host.head("shop") is None


def test_a_private_repository_is_closed_to_strangers(host: Host) -> None:
    host.filled("shop")
    for stranger in (
        None,
        Access("sandbox", "wrong", False),
        Access("nobody", host.server.access("shop").token, False),
        host.create("other"),
    ):
        complaint = host.git("ls-remote", host.url("shop", stranger), fails=True)
        assert "Authentication failed" in complaint or "could not read Username" in complaint


def test_a_public_repository_can_be_read_but_not_pushed_to(host: Host) -> None:
    host.filled("shop", public=True)
    head = host.head("shop")
    host.git("clone", "--quiet", host.url("shop"), "anyone")
    host.commit("anyone", file="2")
    assert "could not read Username" in host.git("-C", "anyone", "push", fails=True)
    wrong = host.url("shop", Access("sandbox", "wrong", True))
    assert "Authentication failed" in host.git("-C", "anyone", "push", wrong, fails=True)
    assert host.head("shop") == head


def test_the_refusal_asks_for_basic_authentication(host: Host) -> None:
    host.create("shop")
    for answer in (
        httpx.get(host.url("shop") + "/info/refs?service=git-upload-pack"),
        httpx.get(host.url("shop") + "/info/refs?service=git-receive-pack"),
        httpx.post(host.url("shop") + "/git-receive-pack", content=b"0000"),
        httpx.post(host.url("shop") + "/git-upload-pack", headers={"Authorization": "Basic ??"}),
        httpx.get(
            host.url("shop") + "/info/refs?service=git-upload-pack",
            headers={"Authorization": "Bearer " + host.server.access("shop").token},
        ),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/git/shop.git/HEAD", 403),
        ("/git/shop.git/objects/info/packs", 403),
        ("/git/shop.git/info/refs", 403),
        ("/git/shop.git/info/refs?service=git-shell", 403),
        ("/git/shop/info/refs?service=git-upload-pack", 404),
        ("/git/none.git/info/refs?service=git-upload-pack", 404),
        ("/git/..%2fserver%2fshop.git/info/refs?service=git-upload-pack", 404),
        ("/git/%2e%2e/server/shop.git/info/refs?service=git-upload-pack", 404),
        ("/git/shop.git/../shop.access.json", 403),
        ("/git/shop.access.json", 404),
        ("/git/.git/info/refs?service=git-upload-pack", 404),
    ],
)
def test_nothing_but_repositories_is_served(host: Host, path: str, status: int) -> None:
    host.filled("shop", public=True)
    # A client that does not tidy the path, as a browser or httpx would.
    raw = subprocess.run(
        ["curl", "--silent", "--path-as-is", "--output", os.devnull, "--write-out", "%{http_code}",
         f"http://127.0.0.1:{host.port}{path}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(raw.stdout) == status


def test_the_ref_advertisement_is_gits_own(host: Host) -> None:
    access = host.filled("shop")
    url = host.url("shop") + "/info/refs?service=git-upload-pack"
    answer = httpx.get(url, auth=(access.username, access.token))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-git-upload-pack-advertisement"
    assert answer.headers["cache-control"] == "no-cache, max-age=0, must-revalidate"
    assert answer.content.startswith(b"001e# service=git-upload-pack\n0000")
    assert f"{host.head('shop')} HEAD\0".encode() in answer.content
    assert b"symref=HEAD:refs/heads/main" in answer.content


def test_protocol_version_2_is_spoken_where_asked_for(host: Host) -> None:
    access = host.filled("shop")
    url = host.url("shop", access)
    trace = host.git("-c", "protocol.version=2", "ls-remote", url, GIT_TRACE_PACKET="1")
    assert "< version 2" in trace
    assert f"{host.head('shop')}\trefs/heads/main" in trace
    trace = host.git("-c", "protocol.version=0", "ls-remote", url, GIT_TRACE_PACKET="1")
    assert "version 2" not in trace


def test_a_compressed_request_body_is_understood(host: Host) -> None:
    access = host.filled("shop")
    body = b"0014command=ls-refs\n00010009peel\n0000"
    answer = httpx.post(
        host.url("shop") + "/git-upload-pack",
        content=gzip.compress(body),
        headers={
            "Authorization": "Basic "
            + base64.b64encode(f"{access.username}:{access.token}".encode()).decode(),
            "Content-Type": "application/x-git-upload-pack-request",
            "Content-Encoding": "gzip",
            "Git-Protocol": "version=2",
        },
    )
    assert f"{host.head('shop')} refs/heads/main" in answer.text


def test_one_commit_can_be_fetched_without_its_history(host: Host) -> None:
    access = host.filled("shop")
    old = host.head("shop")
    host.commit("shop", file="2")
    host.git("-C", "shop", "push", "--quiet", "origin", "HEAD:main")
    url = host.url("shop", access)
    host.git("clone", "--quiet", "--depth=1", url, "shallow")
    assert host.git("-C", "shallow", "rev-list", "--count", "HEAD") == "1\n"
    host.git("init", "--quiet", "by-commit")
    host.git("-C", "by-commit", "fetch", "--quiet", "--depth=1", url, str(old))
    assert host.git("-C", "by-commit", "rev-parse", "FETCH_HEAD").strip() == old


def test_a_large_push_is_streamed(host: Host) -> None:
    access = host.filled("shop")
    # More than Git's http.postBuffer, so that it comes in chunks of unknown total length.
    commit = host.commit("shop", large=os.urandom(4 << 20))
    host.git("-C", "shop", "push", "--quiet", "origin", "HEAD:main")
    assert host.head("shop") == commit
    host.git("clone", "--quiet", host.url("shop", access), "other")
    assert (host.folder / "other" / "large").stat().st_size == 4 << 20


def test_fetches_run_while_others_push(host: Host) -> None:
    access = host.filled("shop", public=True)
    clients = [
        subprocess.Popen(
            ["git", "ls-remote", host.url("shop")], env=client_env(), stdout=subprocess.PIPE
        )
        for _ in range(6)
    ]
    for branch in ("one", "two", "three"):
        host.git("clone", "--quiet", host.url("shop", access), branch)
        host.commit(branch, file=branch)
        clients.append(
            subprocess.Popen(
                ["git", "-C", branch, "push", "--quiet", "origin", f"HEAD:{branch}"],
                cwd=host.folder, env=client_env(),
            )
        )  # fmt: skip
    assert [client.wait(timeout=60) for client in clients] == [0] * len(clients)
    assert set(asyncio.run(host.server.refs("shop"))) == {
        f"refs/heads/{branch}" for branch in ("main", "one", "two", "three")
    }


def test_each_moved_ref_is_told_once(host: Host) -> None:
    host.filled("shop")
    first, second = host.head("shop"), host.commit("shop", file="2")
    host.git("-C", "shop", "tag", "v1")
    host.git("-C", "shop", "push", "--quiet", "origin", "HEAD:main", "v1")
    host.git("-C", "shop", "push", "--quiet", "origin", "--delete", "v1")
    none = "0" * 40
    expected = [
        ("shop", "refs/heads/main", none, first),
        ("shop", "refs/heads/main", first, second),
        ("shop", "refs/tags/v1", none, second),
        ("shop", "refs/tags/v1", second, none),
    ]
    deadline = time.monotonic() + 10
    while len(host.pushes) < len(expected) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert host.pushes == expected


def test_a_push_that_does_not_fast_forward_is_refused_by_the_client_and_changes_nothing(
    host: Host,
) -> None:
    access = host.filled("shop")
    host.git("clone", "--quiet", host.url("shop", access), "late")
    commit = host.commit("shop", file="2")
    host.git("-C", "shop", "push", "--quiet", "origin", "HEAD:main")
    host.commit("late", file="3")
    assert "rejected" in host.git("-C", "late", "push", fails=True)
    assert host.head("shop") == commit


@contextmanager
def half_a_push(host: Host, port: int) -> Iterator[None]:
    """A push to `shop` of which the server has the first half, and the client has not ended."""
    access, old = host.server.access("shop"), host.head("shop")
    new = host.commit("shop", large=os.urandom(1 << 20))
    pack = subprocess.run(
        ["git", "-C", "shop", "pack-objects", "--stdout", "--revs"],
        cwd=host.folder, env=client_env(), input=f"{new}\n^{old}\n".encode(),
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    update = f"{old} {new} refs/heads/main\0 report-status\n".encode()
    body = f"{len(update) + 4:04x}".encode() + update + b"0000" + pack[: len(pack) // 2]
    credentials = base64.b64encode(f"{access.username}:{access.token}".encode()).decode()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(
            b"POST /git/shop.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/x-git-receive-pack-request\r\n"
            b"Transfer-Encoding: chunked\r\n"
            + f"Authorization: Basic {credentials}\r\n\r\n{len(body):x}\r\n".encode()
            + body
            + b"\r\n"
        )
        yield


def until(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def receiving(server: psutil.Process) -> list[psutil.Process]:
    """Git's processes below the server, once it takes the objects of a push."""
    children: list[psutil.Process] = server.children(recursive=True)
    commands = {word for child in children for word in child.cmdline()[1:2]}
    return children if commands & {"unpack-objects", "index-pack"} else []


def push_again(host: Host) -> None:
    commit = host.commit("shop", file="again")
    host.git("-C", "shop", "push", "--quiet", "origin", "HEAD:main")
    assert host.head("shop") == commit


def test_a_push_whose_client_is_killed_leaves_the_repository_usable(host: Host) -> None:
    host.filled("shop")
    before = host.head("shop")
    with half_a_push(host, host.port):
        until("objects are taken", lambda: receiving(psutil.Process()))
    until("Git has ended", lambda: not psutil.Process().children(recursive=True))
    assert host.head("shop") == before
    push_again(host)


SERVE = """
import sys, pathlib, uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from sandbox.git import GitServer
app = Starlette(routes=[Mount("/git", app=GitServer(pathlib.Path(sys.argv[1])).app)])
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""


def test_a_push_whose_server_is_killed_leaves_a_usable_repository_and_no_process(
    host: Host,
) -> None:
    host.filled("shop")
    before = host.head("shop")
    port = free_port()
    server = psutil.Popen(
        [sys.executable, "-c", SERVE, str(host.server.root), str(port)], cwd=REPOSITORY
    )
    try:
        wait_for_port(port)
        with half_a_push(host, port):
            until("objects are taken", lambda: receiving(server))
            children = receiving(server)
            server.kill()
            assert psutil.wait_procs(children, timeout=20)[1] == []
    finally:
        server.kill()
        server.wait()
    # As after a power cut, which not even Git's own processes outlive.
    (host.server.root / "shop.git" / "refs" / "heads" / "main.lock").touch()
    GitServer(host.server.root)
    assert host.head("shop") == before
    push_again(host)


def test_credentials_survive_a_restart_and_are_the_owners_alone(host: Host) -> None:
    access = host.create("shop")
    again = GitServer(host.server.root)
    assert again.access("shop") == access
    assert access.token not in repr(access)
    assert again.names() == ["shop"]
    assert (host.server.root / "shop.access.json").stat().st_mode & 0o777 == 0o600
    assert host.server.root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a.git", "-x", "a b", "x" * 101])
def test_a_name_that_is_no_plain_name_is_refused(host: Host, name: str) -> None:
    with pytest.raises(GitError, match="can't be a repository's name"):
        host.create(name)
    assert host.server.names() == []


def test_a_taken_name_is_refused_and_keeps_its_content(host: Host) -> None:
    host.filled("shop")
    before = host.head("shop")
    with pytest.raises(GitError, match="there is a repository 'shop' already"):
        host.create("shop")
    assert host.head("shop") == before


def test_another_repository_can_be_imported_by_folder_or_url(host: Host) -> None:
    access = host.filled("shop")
    commit = host.commit("shop", file="imported")
    host.git("-C", "shop", "switch", "--quiet", "--create", "trunk")
    asyncio.run(host.server.import_from(host.folder / "shop", "by-folder"))
    asyncio.run(host.server.import_from(host.url("shop", access), "by-url"))
    assert host.head("by-folder") == host.head("by-folder", "trunk") == commit
    assert host.head("by-url") == host.head("shop")
    host.git("clone", "--quiet", host.url("by-folder", host.server.access("by-folder")), "other")
    assert host.git("-C", "other", "branch", "--show-current") == "trunk\n"


def test_a_checkout_of_a_commit_is_imported_as_main(host: Host) -> None:
    host.filled("shop")
    commit = host.commit("shop", file="2")
    host.git("-C", "shop", "checkout", "--quiet", "--detach")
    host.git("-C", "shop", "branch", "--quiet", "--delete", "--force", "main")
    asyncio.run(host.server.import_from(host.folder / "shop", "imported"))
    assert host.head("imported") == host.head("imported", "main") == commit


def test_a_plain_folder_is_imported_as_one_commit_even_inside_a_repository(host: Host) -> None:
    host.filled("shop")
    folder = host.folder / "shop" / "manifests"
    folder.mkdir()
    (folder / "a.yaml").write_text("a: 1\n")
    access = asyncio.run(host.server.import_from(folder, "imported"))
    host.git("clone", "--quiet", host.url("imported", access), "other")
    assert host.git("-C", "other", "ls-files") == "a.yaml\n"
    assert host.git("-C", "other", "log", "--format=%s") == "Import manifests\n"
    assert not (folder / ".git").exists()


def test_a_source_that_can_not_be_read_is_named_and_leaves_nothing(host: Host) -> None:
    with pytest.raises(GitError, match="neither a Git URL nor a folder"):
        asyncio.run(host.server.import_from(host.folder / "none", "imported"))
    with pytest.raises(GitError, match=r"can't clone .*/git/none\.git"):
        asyncio.run(host.server.import_from(host.url("none"), "imported"))
    assert host.server.names() == []
    assert not list(host.server.root.glob(".new-*"))


def test_the_example_is_made_once_and_then_kept(host: Host) -> None:
    access = asyncio.run(host.server.ensure_example("microservices-demo"))
    host.git("clone", "--quiet", host.url("microservices-demo", access), "demo")
    assert (host.folder / "demo" / "kustomize" / "dev" / "kustomization.yaml").is_file()
    commit = host.commit("demo", file="mine")
    host.git("-C", "demo", "push", "--quiet")
    assert asyncio.run(host.server.ensure_example("microservices-demo")) == access
    assert host.head("microservices-demo") == commit


def test_the_users_own_git_configuration_does_not_reach_the_server(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(host.folder / "nowhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "init.defaultBranch")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "trunk")
    host.filled("shop")
    assert list(asyncio.run(host.server.refs("shop"))) == ["refs/heads/main"]
