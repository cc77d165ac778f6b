"""Serves the components to Pulumi's engine, for programs in any language.

https://www.pulumi.com/docs/iac/guides/building-extending/components/packaging-components/
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from pulumi.provider import main

if "components" not in sys.modules:
    # The engine runs this folder by its path, so Python can't import it by its name.
    spec = spec_from_file_location("components", Path(__file__).with_name("__init__.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules["components"] = module_from_spec(spec)

from components import sdk
from components.host import Components

sdk.disable_debug_messages()
main(Components(), sys.argv[1:])
