"""A Git host on loopback: bare repositories, each with its own user and token, over HTTP."""

from sandbox.git.repositories import Access, GitError, Repositories
from sandbox.git.server import GitServer, Guard, Visitor

__all__ = ["Access", "GitError", "GitServer", "Guard", "Repositories", "Visitor"]
