"""The status of a pod, as a kubelet reports it
(https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sandbox.cluster.api import Object


def now() -> str:
    """The current time in the format of Kubernetes."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class ContainerState:
    """The state of the pod's process, which is reported for all containers of the pod."""

    started_at: str | None = None
    """Set while the process is running."""
    ready: bool = False
    waiting: str = "ContainerCreating"
    """The reason why the process is not running."""
    message: str = ""
    exit_code: int | None = None
    """Exit code of the last run."""
    finished_at: str = ""
    output: str = ""
    """The last lines that the last run has printed."""
    restarts: int = 0
    finished: bool = False
    """The process has ended and is not started again."""

    def as_json(self) -> Object:
        if self.started_at is not None:
            return {"running": {"startedAt": self.started_at}}
        if self.finished:
            return {"terminated": self._terminated()}
        waiting = {"reason": self.waiting}
        return {"waiting": waiting | ({"message": self.message} if self.message else {})}

    def last(self) -> Object:
        return {} if self.exit_code is None else {"terminated": self._terminated()}

    def _terminated(self) -> Object:
        assert self.exit_code is not None
        # 128 + the signal's number, as a container runtime reports it.
        code = self.exit_code if self.exit_code >= 0 else 128 - self.exit_code
        return {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "finishedAt": self.finished_at,
            **({"message": self.output} if code and self.output else {}),
        }


Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


def phase_of(state: ContainerState) -> Phase:
    if state.finished:
        return "Succeeded" if state.exit_code == 0 else "Failed"
    if state.started_at is None and state.exit_code is None and state.restarts == 0:
        return "Pending"
    return "Running"


def status(pod: Object, state: ContainerState, *, initialized: bool, ip: str) -> Object:
    """The pod's status, for a strategic merge patch (which merges conditions by their type)."""
    spec = pod["spec"]
    current = {
        condition["type"]: condition for condition in pod.get("status", {}).get("conditions") or []
    }

    def condition(kind: str, holds: bool) -> Object:
        value = "True" if holds else "False"
        unchanged = current.get(kind, {}).get("status") == value
        since = current[kind]["lastTransitionTime"] if unchanged else now()
        return {"type": kind, "status": value, "lastTransitionTime": since}

    done = {"exitCode": 0, "reason": "Completed"}
    phase = phase_of(state)
    return {
        "phase": phase,
        "conditions": [
            condition("PodReadyToStartContainers", True),
            condition("Initialized", initialized),
            condition("ContainersReady", state.ready),
            condition("Ready", state.ready),
        ],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": pod.get("status", {}).get("startTime") or now(),
        "initContainerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": initialized,
                "restartCount": 0,
                "state": {"terminated": done}
                if initialized
                else {"waiting": {"reason": "PodInitializing"}},
            }
            for container in spec.get("initContainers") or []
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": state.ready,
                "started": state.started_at is not None,
                "restartCount": state.restarts,
                "state": state.as_json(),
                "lastState": {} if state.finished else state.last(),
            }
            for container in spec["containers"]
        ],
    }
