"""Faults that the sandbox can be made to have, so that what they do to the platform can be seen."""

from sandbox.faults.kinds import KINDS, Kind
from sandbox.faults.standing import Fault, Faults, Standing

__all__ = ["KINDS", "Fault", "Faults", "Kind", "Standing"]
