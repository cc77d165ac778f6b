"""Runs Git: the only module that does, but for the one that Argo CD's repo-server calls."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from doks_gitops.errors import PlatformError
from doks_gitops.variables import of_git


class GitError(PlatformError):
    """Git can't be run or failed, or a clone is not fit for what is to be done with it."""


def run(
    folder: Path,
    *words: str,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
    fix: str | None = None,
) -> str:
    """The output of a Git command in `folder`. Raises `GitError`.

    `env`: Git's variables; default: `of_git`. `text`: its standard input; default: that of this
    process. `fix`: what to do if the command fails.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            # Messages are in English.
            env={**(of_git(os.environ) if env is None else env), "LC_ALL": "C.UTF-8"},
            input=text, text=True, capture_output=True, check=False,
        )  # fmt: skip
    except OSError as error:
        raise GitError(
            f"`git` can't be run: {error.strerror}.", "Install Git in PATH: https://git-scm.com"
        ) from None
    if done.returncode:
        message = done.stderr.strip()
        raise GitError(f"`git {' '.join(words)}` failed in {folder}: {message}", fix)
    return done.stdout
