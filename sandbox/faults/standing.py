"""The faults that stand at this moment."""

import itertools
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sandbox.faults.kinds import KINDS, Kind


class Fault(BaseModel):
    """A fault as it is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    """One of `KINDS`."""
    target: str = "*"
    """Pattern of the slug or name of what it befalls, as its kind says."""
    method: str = "*"
    path: str | None = None
    """Pattern; default: that of the kind."""
    times: int | None = Field(default=None, ge=1)
    """How often it befalls something; None: until it is cleared."""
    status: int | None = Field(default=None, ge=400, le=599)
    seconds: float | None = Field(default=None, ge=0)

    @field_validator("kind")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in KINDS:
            raise ValueError(f"there is no fault {name!r}; choose from {', '.join(KINDS)}")
        return name

    @model_validator(mode="after")
    def _fitting(self) -> "Fault":
        kind = KINDS[self.kind]
        about_requests = {"method", "path", "status", "seconds"} & self.model_fields_set
        if not kind.action and about_requests:
            raise ValueError(f"{self.kind} is not about requests: {', '.join(about_requests)}")
        if not kind.target and "target" in self.model_fields_set:
            raise ValueError(f"{self.kind} takes no target")
        return self


class Standing:
    """One fault that stands, and what it has done so far."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.id = number
        self.fault = fault
        self.hits = 0

    @property
    def kind(self) -> Kind:
        return KINDS[self.fault.kind]

    @property
    def spent(self) -> bool:
        return self.fault.times is not None and self.hits >= self.fault.times

    @property
    def status(self) -> int:
        return self.fault.status or self.kind.status

    @property
    def seconds(self) -> float:
        return self.kind.seconds if self.fault.seconds is None else self.fault.seconds

    def befalls_request(self, method: str, path: str) -> bool:
        pattern = self.fault.path or self.kind.path
        return (
            self.kind.action is not None
            and fnmatchcase(method, self.fault.method)
            and fnmatchcase(path, pattern)
        )

    def as_json(self) -> dict[str, object]:
        return {"id": self.id, "hits": self.hits, **self.fault.model_dump(exclude_defaults=True)}


class Faults:
    """All of them. They last as long as the process, or until they are cleared or spent."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._standing: list[Standing] = []

    def add(self, fault: Fault) -> Standing:
        standing = Standing(next(self._numbers), fault)
        self._standing.append(standing)
        return standing

    def clear(self, which: str | None = None) -> list[Standing]:
        """Clear those of that number or kind (None: all); returns them."""
        standing = self.all()
        cleared = [each for each in standing if which in (None, str(each.id), each.fault.kind)]
        self._standing = [each for each in standing if each not in cleared]
        return cleared

    def all(self) -> list[Standing]:
        """Those that stand, the oldest first."""
        return [each for each in self._standing if not each.spent]

    def stand(self, kind: str, target: str = "*") -> bool:
        """Whether a fault of that kind befalls `target`; it is not counted."""
        return self._find(kind, target) is not None

    def strike(self, kind: str, target: str = "*") -> bool:
        """As `stand`, and counted as one of its times."""
        if found := self._find(kind, target):
            found.hits += 1
        return found is not None

    def strike_request(self, method: str, path: str) -> Standing | None:
        """The fault that befalls a request, counted as one of its times."""
        for each in self.all():
            if each.befalls_request(method, path):
                each.hits += 1
                return each
        return None

    def _find(self, kind: str, target: str) -> Standing | None:
        for each in self.all():
            if each.fault.kind == kind and fnmatchcase(target, each.fault.target):
                return each
        return None
