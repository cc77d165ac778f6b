"""The policy pack as Pulumi's engine runs it: `pulumi preview --policy-pack doks_gitops/policy`.

https://www.pulumi.com/docs/insights/policy/
"""

import sys
from pathlib import Path

from pulumi_policy import PolicyPack

# The engine runs this folder by its path, and not every virtual environment has the packages.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from doks_gitops.policy.pack import NAME, POLICIES

PolicyPack(NAME, policies=list(POLICIES))
