"""The policy pack as Pulumi's engine runs it: `pulumi preview --policy-pack doks_gitops/policy`.

https://www.pulumi.com/docs/insights/policy/
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from pulumi_policy import PolicyPack

if "doks_gitops" not in sys.modules:
    # The engine runs this folder by its path, and not every virtual environment has the package.
    package = Path(__file__).resolve().parents[1] / "__init__.py"
    spec = spec_from_file_location("doks_gitops", package)
    assert spec is not None
    sys.modules["doks_gitops"] = module_from_spec(spec)

from doks_gitops.policy.pack import NAME, POLICIES

PolicyPack(NAME, policies=list(POLICIES))
