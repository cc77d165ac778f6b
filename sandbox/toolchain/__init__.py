"""Finds or builds every tool that the sandbox needs.

`ensure` gives them. Go tools are built from their modules by the Go distribution of the Python
environment, unless the machine has suitable ones; they are kept in the user's cache folder, by
version, and a set-up that finds all of them there starts no compiler at all.
"""

from sandbox.toolchain.errors import ToolchainError
from sandbox.toolchain.tools import Tool, Tools, ensure

__all__ = ["Tool", "ToolchainError", "Tools", "ensure"]
