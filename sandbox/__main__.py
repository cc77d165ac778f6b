from doks_gitops import variables
from sandbox.cli import main

variables.restrict(deployment=False)
main()
