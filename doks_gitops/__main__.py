"""`bin/platform`."""

from doks_gitops.cli import main

main()
