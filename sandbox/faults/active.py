"""The faults that are active at this moment."""

import itertools
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sandbox.faults.kinds import KINDS, Kind


class Fault(BaseModel):
    """A fault to inject."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    """One of `KINDS`."""
    target: str = "*"
    """Pattern of the slug or name of what has the fault; see `Kind.target`."""
    method: str = "*"
    path: str | None = None
    """Pattern; default: `Kind.path`."""
    times: int | None = Field(default=None, ge=1)
    """How often it occurs; None: until it is cleared."""
    status: int | None = Field(default=None, ge=400, le=599)
    seconds: float | None = Field(default=None, ge=0)

    @field_validator("kind")
    @classmethod
    def _check_kind(cls, name: str) -> str:
        if name not in KINDS:
            raise ValueError(f"there is no fault {name!r}; choose from {', '.join(KINDS)}")
        return name

    @model_validator(mode="after")
    def _check_options(self) -> "Fault":
        kind = KINDS[self.kind]
        request_options = {"method", "path", "status", "seconds"} & self.model_fields_set
        if not kind.action and request_options:
            raise ValueError(f"{self.kind} does not take {', '.join(sorted(request_options))}")
        if not kind.target and "target" in self.model_fields_set:
            raise ValueError(f"{self.kind} takes no target")
        return self


class ActiveFault:
    """A fault that was injected, and how often it has occurred."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.id = number
        self.fault = fault
        self.hits = 0

    @property
    def kind(self) -> Kind:
        return KINDS[self.fault.kind]

    @property
    def used_up(self) -> bool:
        return self.fault.times is not None and self.hits >= self.fault.times

    @property
    def status(self) -> int:
        return self.fault.status or self.kind.status

    @property
    def seconds(self) -> float:
        return self.kind.seconds if self.fault.seconds is None else self.fault.seconds

    def matches_request(self, method: str, path: str) -> bool:
        pattern = self.fault.path or self.kind.path
        return (
            self.kind.action is not None
            and fnmatchcase(method, self.fault.method)
            and fnmatchcase(path, pattern)
        )

    def as_json(self) -> dict[str, object]:
        return {"id": self.id, "hits": self.hits, **self.fault.model_dump(exclude_defaults=True)}


class Faults:
    """The injected faults. Each is active until it is cleared or used up, or the process ends."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._faults: list[ActiveFault] = []

    def add(self, fault: Fault) -> ActiveFault:
        active = ActiveFault(next(self._numbers), fault)
        self._faults.append(active)
        return active

    def clear(self, which: str | None = None) -> list[ActiveFault]:
        """Clear the faults of that number or kind (None: all), and return them."""
        active = self.all()
        cleared = [fault for fault in active if which in (None, str(fault.id), fault.fault.kind)]
        self._faults = [fault for fault in active if fault not in cleared]
        return cleared

    def all(self) -> list[ActiveFault]:
        """The active faults, oldest first."""
        return [fault for fault in self._faults if not fault.used_up]

    def is_active(self, kind: str, target: str = "*") -> bool:
        """Whether `target` has a fault of that kind."""
        return self._find(kind, target) is not None

    def hit(self, kind: str, target: str = "*") -> bool:
        """Whether `target` has a fault of that kind, which is counted as one occurrence."""
        if fault := self._find(kind, target):
            fault.hits += 1
        return fault is not None

    def hit_request(self, method: str, path: str) -> ActiveFault | None:
        """The first fault that affects the request, counted as one occurrence."""
        for fault in self.all():
            if fault.matches_request(method, path):
                fault.hits += 1
                return fault
        return None

    def _find(self, kind: str, target: str) -> ActiveFault | None:
        for fault in self.all():
            if fault.fault.kind == kind and fnmatchcase(target, fault.fault.target):
                return fault
        return None
