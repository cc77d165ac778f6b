"""A Git server on loopback: bare repositories, each with its own user and token, over HTTP."""

from sandbox.git.repositories import Access, GitError, Repositories
from sandbox.git.server import Authorizer, GitServer, GitUser

__all__ = ["Access", "Authorizer", "GitError", "GitServer", "GitUser", "Repositories"]
