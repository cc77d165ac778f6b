"""Bare repositories in a folder, and the access to them."""

import asyncio
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from doks_gitops import variables
from sandbox.git import rules
from sandbox.processes import Process

EXAMPLE = Path(__file__).resolve().parent.parent / "example"
"""Folder with the content of the example monorepo."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/]+@[^/]+:")

# The configuration for all repositories. `safe.directory`: a repository to import may belong to
# another user of the machine. `gc`: it would run in the background and outlive the sandbox.
# `uploadpack`: what GitHub allows its clients.
_CONFIG = """\
[safe]
	directory = *
[init]
	defaultBranch = main
[user]
	name = sandbox
	email = sandbox@localhost
[core]
	hooksPath = {hooks}
[gc]
	auto = 0
[http]
	getanyfile = false
[receive]
	autogc = false
[uploadpack]
	allowFilter = true
	allowReachableSHA1InWant = true
"""

# Starts Python only for a push with rules.
_HOOK = f"""\
#!/bin/sh
[ -n "${{{rules.VARIABLE}:-}}" ] || exit 0
exec '{sys.executable}' -I '{rules.__file__}'
"""


class GitError(Exception):
    """A repository does not exist or can't be created, or a Git command failed."""


@dataclass(frozen=True)
class Access:
    """The access to one repository over HTTP: the user and token that may read and push, and
    whether everyone may read."""

    username: str
    token: str = field(repr=False)
    public: bool

    @classmethod
    def new(cls, *, public: bool) -> Self:
        return cls(username="sandbox", token=secrets.token_urlsafe(24), public=public)


class Repositories:
    """The bare repositories `<root>/<name>.git`, each with a `<name>.access.json` beside it.

    A repository is created atomically: an unfinished one of a killed sandbox is removed. Only one
    object at a time may use `root`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.log = self.root / "git.log"
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        hooks = self.root / "hooks"
        hooks.mkdir(exist_ok=True)
        (hooks / "pre-receive").write_text(_HOOK)
        (hooks / "pre-receive").chmod(stat.S_IRWXU)
        (self.root / "gitconfig").write_text(_CONFIG.format(hooks=hooks))
        # A Git that was killed while it moved a branch leaves a lock that prevents further pushes.
        for lock in (*self.root.glob("*.git/*.lock"), *self.root.glob("*.git/refs/**/*.lock")):
            lock.unlink()
        for unfinished in self.root.glob(".new-*"):
            shutil.rmtree(unfinished)

    def __contains__(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None and self.path(name).is_dir()

    def names(self) -> list[str]:
        """The names of all repositories, sorted."""
        return sorted(path.stem for path in self.root.glob("*.git"))

    def access(self, name: str) -> Access:
        """The access to that repository. Raises GitError if it does not exist."""
        self._require(name)
        return Access(**json.loads(self._access_path(name).read_text()))

    async def create(self, name: str, *, public: bool = False) -> Access:
        """Create an empty repository with the default branch `main`.

        Raises GitError if the name is taken or invalid.
        """
        with self._new(name, public=public) as path:
            await self.git("init", "--quiet", "--bare", str(path))
        return self.access(name)

    async def import_from(self, source: Path | str, name: str) -> Access:
        """Create a private repository from another one or from a folder.

        `source` is a Git URL, a repository's folder (its branches and tags are imported, but no
        uncommitted changes), or a plain folder, whose content becomes the only commit of `main`.
        Raises GitError if Git can't read the source, or the name is taken or invalid.
        """
        folder = None if _URL.match(str(source)) else Path(source).expanduser().resolve()
        if folder is not None and not folder.is_dir():
            raise GitError(f"can't import {source}: it is neither a Git URL nor a folder")
        with self._new(name, public=False) as path:
            if folder is None or await self._is_repository(folder):
                await self._clone(str(folder or source), path)
            else:
                await self.git("init", "--quiet", "--bare", str(path))
                content = (f"--git-dir={path}", f"--work-tree={folder}", "-C", str(folder))
                await self.git(*content, "add", "--all", ".")
                await self.git(*content, "commit", "--quiet", "-m", f"Import {folder.name}")
        return self.access(name)

    async def ensure_example(self, name: str) -> Access:
        """Create the repository from the example monorepo unless it exists."""
        return self.access(name) if name in self else await self.import_from(EXAMPLE, name)

    def default_branch(self, name: str) -> str:
        """The default branch. Raises GitError if the repository does not exist."""
        self._require(name)
        return (self.path(name) / "HEAD").read_text().strip().removeprefix("ref: refs/heads/")

    async def head(self, name: str, branch: str | None = None) -> str | None:
        """The commit of a branch (None: the default branch); None if the branch does not exist.

        Raises GitError if the repository does not exist.
        """
        self._require(name)
        git_dir = f"--git-dir={self.path(name)}"
        ref = f"refs/heads/{branch}" if branch else await self.git(git_dir, "symbolic-ref", "HEAD")
        return (await self.refs(name)).get(ref.strip())

    async def refs(self, name: str) -> dict[str, str]:
        """The objects of all branches and tags, by their full names (`refs/heads/main`).

        Raises GitError if the repository does not exist.
        """
        self._require(name)
        listing = await self.git(
            f"--git-dir={self.path(name)}", "for-each-ref", "--format=%(refname) %(objectname)"
        )
        return dict(line.split() for line in listing.splitlines())

    async def git(self, *arguments: str) -> str:
        """Run one Git command and return its output. Raises GitError with its standard error."""
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment(),
        )
        output, errors = await process.communicate()
        if process.returncode != 0:
            raise GitError(f"git {' '.join(arguments)}: {errors.decode().strip()}")
        return output.decode()

    def environment(self) -> dict[str, str]:
        """The whole environment for Git, without the user's configuration."""
        return {
            **variables.restricted(os.environ, deployment=False),
            "HOME": str(self.root),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": str(self.root / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        }

    async def _clone(self, origin: str, path: Path) -> None:
        log = path.with_name("clone.log")
        command = ("git", "clone", "--quiet", "--bare", "--no-hardlinks", "--", origin, path)
        clone = await Process.start("git clone", command, log=log, env=self.environment())
        if await clone.wait() != 0:
            raise GitError(f"can't clone {origin}: {log.read_text().strip()}")
        git_dir = f"--git-dir={path}"
        try:
            await self.git(git_dir, "symbolic-ref", "--quiet", "HEAD")
        except GitError:
            # The origin has a detached HEAD, as checkouts in CI have.
            commit = await self.git(git_dir, "rev-parse", "HEAD")
            await self.git(git_dir, "update-ref", "refs/heads/main", commit.strip())
            await self.git(git_dir, "symbolic-ref", "HEAD", "refs/heads/main")

    async def _is_repository(self, folder: Path) -> bool:
        try:
            git_dir = await self.git("-C", str(folder), "rev-parse", "--absolute-git-dir")
        except GitError:
            return False
        # A folder inside a repository, such as the example, is not a repository itself.
        return Path(git_dir.strip()) in (folder, folder / ".git") or (folder / ".git").is_file()

    @contextmanager
    def _new(self, name: str, *, public: bool) -> Iterator[Path]:
        """The folder in which to create the repository; it is renamed to its name at the end."""
        if not _NAME.fullmatch(name) or name.endswith(".git"):
            raise GitError(
                f"{name!r} can't be a repository's name: at most 100 letters, digits, '.', '_' and"
                " '-', a letter or digit first and last, not ending in '.git'"
            )
        if name in self:
            raise GitError(f"there is a repository {name!r} already")
        with tempfile.TemporaryDirectory(prefix=".new-", dir=self.root) as folder:
            yield Path(folder) / "repository"
            access = Path(folder) / "access.json"
            access.touch(mode=0o600)
            access.write_text(json.dumps(asdict(Access.new(public=public))))
            access.replace(self._access_path(name))
            (Path(folder) / "repository").rename(self.path(name))

    def _require(self, name: str) -> None:
        if name not in self:
            raise GitError(f"there is no repository {name!r}; there are: {self.names()}")

    def path(self, name: str) -> Path:
        """The bare repository's folder."""
        return self.root / f"{name}.git"

    def _access_path(self, name: str) -> Path:
        return self.root / f"{name}.access.json"
