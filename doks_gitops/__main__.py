"""`bin/platform`."""

from doks_gitops import variables
from doks_gitops.cli import main

variables.restrict(deployment=True)
main()
