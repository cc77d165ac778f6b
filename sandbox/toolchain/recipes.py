"""The Go module of each tool, and the versions on the machine that can replace it.

The version of a tool is only in the `go.mod` of its folder in `modules/`; the `go.sum` beside it
locks its dependencies.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from semver import Version

from sandbox.toolchain import versions

MODULES = Path(__file__).parent / "modules"

ARGOCD_ROLES = (
    "argocd-server",
    "argocd-repo-server",
    "argocd-application-controller",
    "argocd-applicationset-controller",
    "argocd-notifications",
)
"""The binary `argocd` runs as one of these processes if it is called by its name."""

VERIFY_WRAPPER = "hack/git-verify-wrapper.sh"


@dataclass(frozen=True)
class Question:
    """How to ask a program for its version: arguments and additional environment variables.

    Another program answers if the output does not begin with `beginning`.
    """

    arguments: tuple[str, ...] = ("--version",)
    env: Mapping[str, str] = field(default_factory=dict)
    beginning: str = ""


@dataclass(frozen=True)
class Binary:
    """A program, its Go package, and how to ask for its version."""

    name: str
    package: str
    question: Question = Question()


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which must occur exactly once, by `new` in a source file of the module."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Recipe:
    """A Go module, and what the sandbox uses of it.

    `suitable(installed, pinned)` is true if a version on the machine can replace the pinned one;
    all binaries of a recipe come from the machine, in the same minor version, or none does.
    `stamps` are linker variables; `{v}` in them is the pinned version. `files` are glob patterns in
    the module's folder. `edits` change what neither an argument nor a stamp can change.
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
        """The folder of its `go.mod` and `go.sum`."""
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
    def suitable(installed: Version, pinned: Version) -> bool:
        return installed.major == pinned.major and installed >= Version(pinned.major, minor, patch)

    return suitable


def _at_least_pinned(installed: Version, pinned: Version) -> bool:
    return installed.major == pinned.major and installed >= pinned


def _same_minor(installed: Version, pinned: Version) -> bool:
    return installed[:2] == pinned[:2] and installed >= pinned


# In build order: two small ones first, so that the compiler has work while the large ones are
# downloaded.
ETCD = Recipe(
    name="etcd",
    module="go.etcd.io/etcd/server/v3",
    binaries=(Binary("etcd", "go.etcd.io/etcd/server/v3"),),
    # The API server's consistent reads from cache need the watch progress of 3.5.13.
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
    # Without these the API server reports v0.0.0-master, and Helm refuses charts.
    stamps={
        "k8s.io/component-base/version.gitVersion": "v{v}",
        "k8s.io/component-base/version.gitMajor": "{v.major}",
        "k8s.io/component-base/version.gitMinor": "{v.minor}",
    },
)
ARGOCD = Recipe(
    name="argocd",
    module="github.com/argoproj/argo-cd/v3",
    # Called by the server's name, so that a client without the servers is not suitable.
    binaries=(
        Binary(
            "argocd",
            "github.com/argoproj/argo-cd/v3/cmd",
            Question(
                ("version", "--short"), {"ARGOCD_BINARY_NAME": "argocd-server"}, "argocd-server:"
            ),
        ),
    ),
    # The manifests, CRDs and settings belong to the pinned minor version.
    suitable=_same_minor,
    stamps={"github.com/argoproj/argo-cd/v3/common.version": "{v}"},
    files=("manifests/**/*", VERIFY_WRAPPER),
    # Two of its processes serve metrics on all network interfaces, which no argument changes.
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
    # An engine runs programs of older SDKs, too; the pinned version is that of the SDK.
    suitable=_at_least_pinned,
    stamps={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": "v{v}"},
)
KWOK = Recipe(
    name="kwok",
    module="sigs.k8s.io/kwok",
    binaries=(Binary("kwok", "sigs.k8s.io/kwok/cmd/kwok"),),
    # The stages belong to the pinned minor version.
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
    # It does not report its version, so one on the machine is never used.
    suitable=_at_least_pinned,
    stamps={"github.com/pulumi/pulumi-yaml/pkg/version.Version": "v{v}"},
    # Loads schemas from the engine; otherwise it would start each plugin again.
    edits=(
        Edit(
            "cmd/pulumi-language-yaml/main.go",
            "false /* useRPCLoader */",
            "true /* useRPCLoader */",
        ),
    ),
)

PULUMI_GITHUB = Recipe(
    name="pulumi-github",
    module="github.com/integrations/terraform-provider-github/v6",
    # The package beside its go.mod.
    binaries=(Binary("pulumi-resource-github", "sandbox/toolchain/pulumi-github"),),
    # Which plugins of the machine are used is decided where plugins are installed.
    suitable=lambda installed, pinned: False,
    stamps={"main.version": metadata.version("pulumi_github")},
)

RECIPES = (ETCD, KUSTOMIZE, KUBERNETES, ARGOCD, PULUMI, KWOK, HELM)
"""The tools of every sandbox."""
FOR_TESTS = (PULUMI_YAML, PULUMI_GITHUB)
"""The tools that only tests, or only some stacks, need."""
