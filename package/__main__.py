"""The components as Pulumi's engine starts them for a program in any language.

https://www.pulumi.com/docs/iac/guides/building-extending/components/packaging-components/
"""

import sys
from pathlib import Path

from pulumi.provider import main

# The engine runs this folder, wherever it is called from.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from components.secrecy import silence_debug_messages
from package.host import Components

silence_debug_messages()
main(Components(), sys.argv[1:])
