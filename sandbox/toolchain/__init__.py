"""Finds, downloads or builds every tool that the sandbox needs.

`ensure` returns them. What the machine lacks is downloaded from its publisher. What can't be had
there is built from its Go module with the Go distribution of the Python environment. Both are kept
in the user's cache folder by version; once all are there, nothing is downloaded or built.
"""

from sandbox.toolchain.errors import ToolchainError
from sandbox.toolchain.tools import Tool, Tools, download, ensure

__all__ = ["Tool", "ToolchainError", "Tools", "download", "ensure"]
