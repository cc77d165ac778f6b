"""The pack as Pulumi's engine runs it: `pulumi preview --policy-pack policy`.

https://www.pulumi.com/docs/insights/policy/
"""

import sys
from pathlib import Path

from pulumi_policy import PolicyPack

# The engine runs this folder, wherever it is called from.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from policy.pack import NAME, POLICIES

PolicyPack(NAME, policies=list(POLICIES))
