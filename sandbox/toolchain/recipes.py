"""Where each tool comes from: its publisher's release, its Go module, and the versions on the
machine that can replace both.

The version of a tool is only in a `go.mod` in `modules/`; the `go.sum` beside it locks its
dependencies. Tools that share a `go.mod` share the packages that are compiled.
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
    """A program, its Go package, and how to ask for its version; None: it does not report it, so
    that one on the machine is never used."""

    name: str
    package: str
    question: Question | None = Question()


@dataclass(frozen=True)
class Edit:
    """Replaces `old`, which must occur exactly once, by `new` in a source file of the module."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Release:
    """The files in which a publisher releases a tool, compiled.

    `url`: address of the file, in which `{v}` is the version, `{arch}` the machine's architecture
    in the publisher's words, and `{program}` a program of the recipe if each has its own file.
    `checksums`: address of the SHA-256 checksums, relative to `url`; `{file}` is the file's name.
    `folder`: the folder of the programs in the file, an archive; None: the file is the program.
    `patches`: byte strings in the programs, and what replaces them in the same length; what `edits`
    are for the source.
    """

    url: str
    checksums: str
    folder: str | None = None
    amd64: str = "amd64"
    patches: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A tool: its Go module, and what the sandbox uses of it.

    `module`: "" if none can be had; then the pinned version is that of the Python package of the
    recipe's name. `suitable(installed, pinned)` is true if a version on the machine can replace the
    pinned one; all binaries of a recipe come from the machine, in the same minor version, or none
    does. `stamps` are linker variables; `{v}` in them is the pinned version. `files` are glob
    patterns in the module's folder. `edits` change what neither an argument nor a stamp can change.
    `lock`: the folder in `modules/`; by default that of the recipe's name. `seconds`: what the
    compiler takes on one core if it has compiled the recipes before this one already; `alone`: if
    it has compiled nothing; 0: as long.
    """

    name: str
    module: str
    binaries: tuple[Binary, ...]
    suitable: Callable[[Version, Version], bool]
    seconds: int
    alone: int = 0
    lock: str = ""
    release: Release | None = None
    stamps: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of its `go.mod` and `go.sum`."""
        return MODULES / (self.lock or self.name)

    @functools.cached_property
    def version(self) -> Version:
        """The pinned version."""
        if not self.module:
            return Version.parse(metadata.version(self.name))
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


def _never(installed: Version, pinned: Version) -> bool:
    return False


def _plugin(name: str) -> Release:
    """The release of a resource plugin, in the version of its Python package."""
    repository, version = f"pulumi/pulumi-{name}", metadata.version(f"pulumi-{name}")
    return Release(
        f"https://github.com/{repository}/releases/download/v{version}/"
        f"pulumi-resource-{name}-v{version}-linux-{{arch}}.tar.gz",
        # The publisher's own checksums are SHA-1.
        checksums=f"https://api.github.com/repos/{repository}/releases/tags/v{version}",
        folder=".",
    )


def _released_plugin(name: str) -> Recipe:
    """A resource plugin whose source is no Go module."""
    return Recipe(
        name=f"pulumi-{name}",
        module="",
        binaries=(Binary(f"pulumi-resource-{name}", "", question=None),),
        suitable=_never,
        seconds=0,
        release=_plugin(name),
    )


ETCD = Recipe(
    name="etcd",
    module="go.etcd.io/etcd/server/v3",
    binaries=(Binary("etcd", "go.etcd.io/etcd/server/v3"),),
    # The API server's consistent reads from cache need the watch progress of 3.5.13.
    suitable=_same_major_from(5, 13),
    seconds=45,
    alone=85,
    lock="kubernetes",
    release=Release(
        "https://github.com/etcd-io/etcd/releases/download/v{v}/etcd-v{v}-linux-{arch}.tar.gz",
        checksums="SHA256SUMS",
        folder="etcd-v{v}-linux-{arch}",
    ),
)
KUSTOMIZE = Recipe(
    name="kustomize",
    module="sigs.k8s.io/kustomize/kustomize/v5",
    binaries=(Binary("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", Question(("version",))),),
    # Argo CD passes `--helm-kube-version` and `--helm-api-versions`.
    suitable=_same_major_from(4),
    stamps={"sigs.k8s.io/kustomize/api/provenance.version": "v{v}"},
    seconds=50,
    lock="tools",
    release=Release(
        "https://github.com/kubernetes-sigs/kustomize/releases/download/kustomize%2Fv{v}/"
        "kustomize_v{v}_linux_{arch}.tar.gz",
        checksums="checksums.txt",
        folder=".",
    ),
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
    seconds=425,
    alone=515,
    release=Release("https://dl.k8s.io/v{v}/bin/linux/{arch}/{program}", checksums="{file}.sha256"),
)
ARGOCD = Recipe(
    name="argocd",
    module="github.com/argoproj/argo-cd/v3",
    # Called by the server's name, so that a client without the servers is no release of it.
    binaries=(
        Binary(
            "argocd",
            "github.com/argoproj/argo-cd/v3/cmd",
            Question(
                ("version", "--short"), {"ARGOCD_BINARY_NAME": "argocd-server"}, "argocd-server:"
            ),
        ),
    ),
    # Only the edited or patched program serves its metrics on loopback alone.
    suitable=_never,
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
    seconds=275,
    alone=440,
    lock="tools",
    # The client, which is the server as well, with the web UI.
    release=Release(
        "https://github.com/argoproj/argo-cd/releases/download/v{v}/argocd-linux-{arch}",
        checksums="cli_checksums.txt",
        # Go listens on no other loopback address that is written in ten bytes.
        patches={b"0.0.0.0:%d": b"[::1]:%04d"},
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
    seconds=255,
    alone=350,
    lock="tools",
    # With the language host, which the engine finds beside itself.
    release=Release(
        "https://github.com/pulumi/pulumi/releases/download/v{v}/pulumi-v{v}-linux-{arch}.tar.gz",
        checksums="pulumi-{v}-checksums.txt",
        folder="pulumi",
        amd64="x64",
    ),
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
    seconds=105,
    alone=175,
    lock="tools",
    # Without a file of checksums; those are GitHub's own.
    release=Release(
        "https://github.com/kubernetes-sigs/kwok/releases/download/v{v}/kwok-linux-{arch}",
        checksums="https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags/v{v}",
    ),
)
HELM = Recipe(
    name="helm",
    module="helm.sh/helm/v3",
    binaries=(Binary("helm", "helm.sh/helm/v3/cmd/helm", Question(("version", "--short"))),),
    # Argo CD passes `--skip-schema-validation`.
    suitable=_same_major_from(16),
    stamps={"helm.sh/helm/v3/internal/version.version": "v{v}"},
    seconds=25,
    alone=155,
    lock="tools",
    release=Release(
        "https://get.helm.sh/helm-v{v}-linux-{arch}.tar.gz",
        checksums="{file}.sha256sum",
        folder="linux-{arch}",
    ),
)

PULUMI_YAML = Recipe(
    name="pulumi-yaml",
    module="github.com/pulumi/pulumi-yaml",
    binaries=(
        Binary(
            "pulumi-language-yaml",
            "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml",
            question=None,
        ),
    ),
    suitable=_at_least_pinned,
    stamps={"github.com/pulumi/pulumi-yaml/pkg/version.Version": "v{v}"},
    seconds=20,
    alone=125,
    lock="tools",
    release=Release(
        "https://github.com/pulumi/pulumi-yaml/releases/download/v{v}/"
        "pulumi-language-yaml-v{v}-linux-{arch}.tar.gz",
        checksums="pulumi-yaml-{v}-checksums.txt",
        folder=".",
    ),
)

PULUMI_DIGITALOCEAN = _released_plugin("digitalocean")
PULUMI_KUBERNETES = _released_plugin("kubernetes")
PULUMI_GITHUB = Recipe(
    name="pulumi-github",
    module="github.com/integrations/terraform-provider-github/v6",
    # The package beside its go.mod.
    binaries=(Binary("pulumi-resource-github", "sandbox/toolchain/pulumi-github", question=None),),
    # Which plugins of the machine are used is decided where plugins are installed.
    suitable=_never,
    # Alone, as beside tools that were downloaded.
    seconds=280,
    stamps={"main.version": metadata.version("pulumi_github")},
    release=_plugin("github"),
)

SEALED_SECRETS = Recipe(
    name="sealed-secrets",
    # The name in its go.mod; the one beside it says where the module is.
    module="github.com/bitnami/sealed-secrets",
    binaries=(
        Binary(
            "sealed-secrets-controller",
            "github.com/bitnami/sealed-secrets/cmd/controller",
            question=None,
        ),
    ),
    # Outside of a container, only the edited program finds its cluster.
    suitable=_never,
    # Alone, as beside tools that were downloaded.
    seconds=150,
    stamps={"main.VERSION": "{v}"},
    files=("helm/sealed-secrets/**/*",),
    edits=(
        Edit(
            "pkg/controller/main.go",
            "rest.InClusterConfig()",
            'clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))',
        ),
        Edit(
            "pkg/controller/main.go",
            '"k8s.io/client-go/rest"',
            '"k8s.io/client-go/tools/clientcmd"',
        ),
    ),
)

RESTIC = Recipe(
    name="restic",
    module="github.com/restic/restic",
    binaries=(Binary("restic", "github.com/restic/restic/cmd/restic", Question(("version",))),),
    # The version of the image that runs in a cluster.
    suitable=_never,
    # Alone, as beside tools that were downloaded.
    seconds=100,
)

RECIPES = (KUSTOMIZE, ETCD, KWOK, HELM, ARGOCD, PULUMI, KUBERNETES)
"""The tools of every sandbox, in build order: small ones first, so that the compiler has work while
the large ones are downloaded."""
FOR_STACKS = (PULUMI_GITHUB, SEALED_SECRETS, RESTIC)
"""The tools that only some stacks need. They are not on PATH."""
FOR_TESTS = (PULUMI_YAML, *FOR_STACKS)
"""The tools that only tests, or only some stacks, need."""
