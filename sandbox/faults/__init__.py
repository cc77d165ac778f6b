"""Faults that can be injected into the sandbox, to see what they do to the platform."""

from sandbox.faults.active import ActiveFault, Fault, Faults
from sandbox.faults.kinds import KINDS, Kind

__all__ = ["KINDS", "ActiveFault", "Fault", "Faults", "Kind"]
