"""The Git server, tested with the Git client."""

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
    """Serve the repositories at /git, as the daemon does; yields the port."""
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
    """A running Git server, and a folder with clones."""

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
        """Run Git in the folder, and return standard output and error."""
        result = subprocess.run(
            ["git", *args], cwd=self.folder, env=client_env(**env), text=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        assert (result.returncode != 0) == fails, result.stdout
        return result.stdout

    def commit(self, clone: str, **files: str | bytes) -> str:
        """Commit those files in the clone, and return the commit."""
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (self.folder / clone / name).write_bytes(data)
        self.git("-C", clone, "add", "--all")
        self.git("-C", clone, "commit", "--quiet", "--message", "change")
        return self.git("-C", clone, "rev-parse", "HEAD").strip()

    def filled(self, name: str, *, public: bool = False) -> Access:
        """Create a repository with one commit, cloned at `name`."""
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


def test_a_clone_has_the_commits_that_another_clone_pushed(host: Host) -> None:
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


def test_a_private_repository_accepts_only_its_own_user_and_token(host: Host) -> None:
    host.filled("shop")
    for access in (
        None,
        Access("sandbox", "wrong", False),
        Access("nobody", host.server.access("shop").token, False),
        host.create("other"),
    ):
        output = host.git("ls-remote", host.url("shop", access), fails=True)
        assert "Authentication failed" in output or "could not read Username" in output


def test_a_public_repository_can_be_read_but_not_pushed_to(host: Host) -> None:
    host.filled("shop", public=True)
    head = host.head("shop")
    host.git("clone", "--quiet", host.url("shop"), "anyone")
    host.commit("anyone", file="2")
    assert "could not read Username" in host.git("-C", "anyone", "push", fails=True)
    wrong = host.url("shop", Access("sandbox", "wrong", True))
    assert "Authentication failed" in host.git("-C", "anyone", "push", wrong, fails=True)
    assert host.head("shop") == head


def test_an_unauthenticated_request_is_answered_with_a_basic_challenge(host: Host) -> None:
    host.create("shop")
    for response in (
        httpx.get(host.url("shop") + "/info/refs?service=git-upload-pack"),
        httpx.get(host.url("shop") + "/info/refs?service=git-receive-pack"),
        httpx.post(host.url("shop") + "/git-receive-pack", content=b"0000"),
        httpx.post(host.url("shop") + "/git-upload-pack", headers={"Authorization": "Basic ??"}),
        httpx.get(
            host.url("shop") + "/info/refs?service=git-upload-pack",
            headers={"Authorization": "Bearer " + host.server.access("shop").token},
        ),
    ):
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Basic realm=")


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
def test_only_repositories_are_served(host: Host, path: str, status: int) -> None:
    host.filled("shop", public=True)
    # Unlike httpx, curl can send a path without normalizing it.
    result = subprocess.run(
        ["curl", "--silent", "--path-as-is", "--output", os.devnull, "--write-out", "%{http_code}",
         f"http://127.0.0.1:{host.port}{path}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(result.stdout) == status


def test_the_ref_advertisement_is_that_of_git_http_backend(host: Host) -> None:
    access = host.filled("shop")
    url = host.url("shop") + "/info/refs?service=git-upload-pack"
    response = httpx.get(url, auth=(access.username, access.token))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-git-upload-pack-advertisement"
    assert response.headers["cache-control"] == "no-cache, max-age=0, must-revalidate"
    assert response.content.startswith(b"001e# service=git-upload-pack\n0000")
    assert f"{host.head('shop')} HEAD\0".encode() in response.content
    assert b"symref=HEAD:refs/heads/main" in response.content


def test_protocol_version_2_is_used_on_request(host: Host) -> None:
    access = host.filled("shop")
    url = host.url("shop", access)
    trace = host.git("-c", "protocol.version=2", "ls-remote", url, GIT_TRACE_PACKET="1")
    assert "< version 2" in trace
    assert f"{host.head('shop')}\trefs/heads/main" in trace
    trace = host.git("-c", "protocol.version=0", "ls-remote", url, GIT_TRACE_PACKET="1")
    assert "version 2" not in trace


def test_a_request_body_may_be_compressed(host: Host) -> None:
    access = host.filled("shop")
    body = b"0014command=ls-refs\n00010009peel\n0000"
    response = httpx.post(
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
    assert f"{host.head('shop')} refs/heads/main" in response.text


def test_a_commit_can_be_fetched_without_its_history(host: Host) -> None:
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
    # More than Git's http.postBuffer, so that Git sends it in chunks.
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
    for branch in ("dev", "staging", "prod"):
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
        f"refs/heads/{branch}" for branch in ("main", "dev", "staging", "prod")
    }


def test_on_push_is_called_once_for_each_moved_ref(host: Host) -> None:
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


def test_a_push_that_does_not_fast_forward_is_rejected_and_changes_nothing(
    host: Host,
) -> None:
    access = host.filled("shop")
    host.git("clone", "--quiet", host.url("shop", access), "outdated")
    commit = host.commit("shop", file="2")
    host.git("-C", "shop", "push", "--quiet", "origin", "HEAD:main")
    host.commit("outdated", file="3")
    assert "rejected" in host.git("-C", "outdated", "push", fails=True)
    assert host.head("shop") == commit


@contextmanager
def half_a_push(host: Host, port: int) -> Iterator[None]:
    """Send the first half of a push to `shop`; the client disconnects at the end of the block."""
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


def until(expected: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {expected}"
        time.sleep(0.02)


def receiving(server: psutil.Process) -> list[psutil.Process]:
    """Git's processes below the server; empty until they receive the objects of a push."""
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
        until("objects are received", lambda: receiving(psutil.Process()))
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
            until("objects are received", lambda: receiving(server))
            children = receiving(server)
            server.kill()
            assert psutil.wait_procs(children, timeout=20)[1] == []
    finally:
        server.kill()
        server.wait()
    # The lock that Git leaves when it is killed too.
    (host.server.root / "shop.git" / "refs" / "heads" / "main.lock").touch()
    GitServer(host.server.root)
    assert host.head("shop") == before
    push_again(host)


def test_credentials_survive_a_restart_and_only_their_owner_can_read_them(host: Host) -> None:
    access = host.create("shop")
    restarted = GitServer(host.server.root)
    assert restarted.access("shop") == access
    assert access.token not in repr(access)
    assert restarted.names() == ["shop"]
    assert (host.server.root / "shop.access.json").stat().st_mode & 0o777 == 0o600
    assert host.server.root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a.git", "-x", "a b", "x" * 101])
def test_an_invalid_name_is_refused(host: Host, name: str) -> None:
    with pytest.raises(GitError, match="can't be a repository's name"):
        host.create(name)
    assert host.server.names() == []


def test_a_name_that_is_taken_is_refused_and_the_repository_unchanged(host: Host) -> None:
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


def test_a_detached_head_is_imported_as_main(host: Host) -> None:
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


def test_an_unreadable_source_is_named_in_the_error_and_leaves_no_repository(host: Host) -> None:
    with pytest.raises(GitError, match="neither a Git URL nor a folder"):
        asyncio.run(host.server.import_from(host.folder / "none", "imported"))
    with pytest.raises(GitError, match=r"can't clone .*/git/none\.git"):
        asyncio.run(host.server.import_from(host.url("none"), "imported"))
    assert host.server.names() == []
    assert not list(host.server.root.glob(".new-*"))


def test_the_example_is_imported_only_once(host: Host) -> None:
    access = asyncio.run(host.server.ensure_example("microservices-demo"))
    host.git("clone", "--quiet", host.url("microservices-demo", access), "demo")
    assert (host.folder / "demo" / "kustomize" / "dev" / "kustomization.yaml").is_file()
    commit = host.commit("demo", file="changed")
    host.git("-C", "demo", "push", "--quiet")
    assert asyncio.run(host.server.ensure_example("microservices-demo")) == access
    assert host.head("microservices-demo") == commit


def test_the_users_git_configuration_does_not_affect_the_server(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(host.folder / "nowhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "init.defaultBranch")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "trunk")
    host.filled("shop")
    assert list(asyncio.run(host.server.refs("shop"))) == ["refs/heads/main"]
