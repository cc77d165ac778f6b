"""What each tool is made from, and which ones of the machine's own will do instead.

The version of a tool stands in one place, the `go.mod` of its folder in `modules/`; what is
compiled into it is locked by the `go.sum` beside.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.toolchain import versions
from sandbox.toolchain.versions import Version

MODULES = Path(__file__).parent / "modules"

ARGOCD_ROLES = (
    "argocd-server",
    "argocd-repo-server",
    "argocd-application-controller",
    "argocd-applicationset-controller",
    "argocd-notifications",
)
"""The names under which the one binary `argocd` becomes each of Argo CD's processes."""

VERIFY_WRAPPER = "hack/git-verify-wrapper.sh"


@dataclass(frozen=True)
class Question:
    """How a program is asked for its version: arguments, and variables besides the user's own.

    An answer that does not begin with `beginning` comes from another program.
    """

    arguments: tuple[str, ...] = ("--version",)
    env: Mapping[str, str] = field(default_factory=dict)
    beginning: str = ""


@dataclass(frozen=True)
class Binary:
    """A program, the Go package it is built from, and what it is asked."""

    name: str
    package: str
    question: Question = Question()


@dataclass(frozen=True)
class Edit:
    """A change of one of the module's source files before it is compiled: `old`, which must be
    there once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Recipe:
    """A Go module, and what the sandbox takes from it.

    `suitable(found, pinned)` says whether a version on the machine does as well as the pinned one;
    of several binaries either all are the machine's, in one same minor version, or none is.
    `stamps` are linker variables; `{v}` in them is the pinned version. `files` are glob patterns in
    the module's folder. `edits` are made for what neither an argument nor a stamp can change.
    """

    name: str
    module: str
    binaries: tuple[Binary, ...]
    suitable: Callable[[Version, Version], bool]
    stamps: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()

    @property
    def folder(self) -> Path:
        """Where its `go.mod` and `go.sum` are."""
        return MODULES / self.name

    @functools.cached_property
    def version(self) -> Version:
        """The pinned version."""
        return versions.required((self.folder / "go.mod").read_text(), self.module)

    @property
    def linker_flags(self) -> str:
        stamps = (f"-X {name}={text.format(v=self.version)}" for name, text in self.stamps.items())
        return " ".join(("-s", "-w", *stamps))


def _same_major_from(minor: int, patch: int = 0) -> Callable[[Version, Version], bool]:
    def suitable(found: Version, pinned: Version) -> bool:
        return found.major == pinned.major and found[1:] >= (minor, patch)

    return suitable


def _as_new(found: Version, pinned: Version) -> bool:
    return found.major == pinned.major and found >= pinned


def _same_minor(found: Version, pinned: Version) -> bool:
    return found[:2] == pinned[:2] and found >= pinned


# In the order in which they are built: two small ones first, so that the compiler has work while
# the large ones are downloaded.
ETCD = Recipe(
    name="etcd",
    module="go.etcd.io/etcd/server/v3",
    binaries=(Binary("etcd", "go.etcd.io/etcd/server/v3"),),
    # The first 3.5 whose watch progress the API server's consistent reads from cache rely on.
    suitable=_same_major_from(5, 13),
)
KUSTOMIZE = Recipe(
    name="kustomize",
    module="sigs.k8s.io/kustomize/kustomize/v5",
    binaries=(Binary("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", Question(("version",))),),
    # Argo CD passes `--helm-kube-version` and `--helm-api-versions`.
    suitable=_same_major_from(4),
    stamps={"sigs.k8s.io/kustomize/api/provenance.version": "v{v}"},
)
KUBERNETES = Recipe(
    name="kubernetes",
    module="k8s.io/kubernetes",
    binaries=tuple(
        Binary(name, f"k8s.io/kubernetes/cmd/{name}")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
    suitable=_same_major_from(30),
    # Without these the API server calls itself v0.0.0-master, and Helm refuses charts on it.
    stamps={
        "k8s.io/component-base/version.gitVersion": "v{v}",
        "k8s.io/component-base/version.gitMajor": "{v.major}",
        "k8s.io/component-base/version.gitMinor": "{v.minor}",
    },
)
ARGOCD = Recipe(
    name="argocd",
    module="github.com/argoproj/argo-cd/v3",
    # Asked as the server, so that a client without the servers in it is not taken for one.
    binaries=(
        Binary(
            "argocd",
            "github.com/argoproj/argo-cd/v3/cmd",
            Question(
                ("version", "--short"), {"ARGOCD_BINARY_NAME": "argocd-server"}, "argocd-server:"
            ),
        ),
    ),
    # The manifests, with their CRDs and settings, are those of the pinned minor version.
    suitable=_same_minor,
    stamps={"github.com/argoproj/argo-cd/v3/common.version": "{v}"},
    files=("manifests/**/*", VERIFY_WRAPPER),
    # Two of its processes serve their metrics to the whole network, and no argument stops that.
    edits=tuple(
        Edit(file, '"0.0.0.0:%d", metricsPort', '"127.0.0.1:%d", metricsPort')
        for file in (
            "controller/appcontroller.go",
            "cmd/argocd-notification/commands/argocd_notification.go",
        )
    ),
)
PULUMI = Recipe(
    name="pulumi",
    module="github.com/pulumi/pulumi/pkg/v3",
    binaries=(
        Binary(
            "pulumi",
            "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
            Question(("version",), {"PULUMI_SKIP_UPDATE_CHECK": "true"}),
        ),
    ),
    # An engine runs programs of its own and of older SDKs; the pinned one is as old as the SDK.
    suitable=_as_new,
    stamps={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": "v{v}"},
)
KWOK = Recipe(
    name="kwok",
    module="sigs.k8s.io/kwok",
    binaries=(Binary("kwok", "sigs.k8s.io/kwok/cmd/kwok"),),
    # The stages are those of the pinned minor version.
    suitable=_same_minor,
    files=tuple(
        f"kustomize/stage/{stage}/*.yaml"
        for stage in ("node/fast", "node/heartbeat-with-lease", "pod/fast")
    ),
)
HELM = Recipe(
    name="helm",
    module="helm.sh/helm/v3",
    binaries=(Binary("helm", "helm.sh/helm/v3/cmd/helm", Question(("version", "--short"))),),
    # Argo CD passes `--skip-schema-validation`.
    suitable=_same_major_from(16),
    stamps={"helm.sh/helm/v3/internal/version.version": "v{v}"},
)

PULUMI_YAML = Recipe(
    name="pulumi-yaml",
    module="github.com/pulumi/pulumi-yaml",
    binaries=(
        Binary("pulumi-language-yaml", "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml"),
    ),
    # It does not tell its version, so one on the machine is never taken.
    suitable=_as_new,
    stamps={"github.com/pulumi/pulumi-yaml/pkg/version.Version": "v{v}"},
    # Schemas from the engine, which has them: by itself it would start each plugin once more.
    edits=(
        Edit(
            "cmd/pulumi-language-yaml/main.go",
            "false /* useRPCLoader */",
            "true /* useRPCLoader */",
        ),
    ),
)

RECIPES = (ETCD, KUSTOMIZE, KUBERNETES, ARGOCD, PULUMI, KWOK, HELM)
"""What every sandbox needs."""
FOR_TESTS = (PULUMI_YAML,)
"""What only tests need."""
