"""Finds or builds every tool that the sandbox needs.

`ensure` returns them. Go tools are built from their modules with the Go distribution of the Python
environment, unless the machine has suitable ones. They are kept in the user's cache folder by
version; once all are there, no compiler is started.
"""

from sandbox.toolchain.errors import ToolchainError
from sandbox.toolchain.tools import Tool, Tools, ensure

__all__ = ["Tool", "ToolchainError", "Tools", "ensure"]
