"""An environment for each pull request with a label: Argo CD deploys its branch to a namespace of
its own, within a quota, until the pull request is closed or loses the label.

https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/Generators-Pull-Request/
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import Namespace, ResourceQuota, ResourceQuotaSpecArgs, Secret
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from components.application import Source
from components.dependencies import with_dependencies
from components.manifest import as_argo, encoded
from components.names import (
    PULL_REQUEST_NAMESPACES,
    PULL_REQUEST_QUOTA,
    PULL_REQUEST_SLOTS,
)
from components.options import child_options
from components.project import (
    ARGOCD_KINDS,
    FINALIZER,
    IN_CLUSTER,
    GitOpsProject,
    GitOpsProjectArgs,
    NamedResource,
    ResourceKind,
)

LABEL = "doks-gitops/pull-request"
"""Label of these namespaces, and of that of the slots."""

_POLICY = "doks-gitops-pull-requests"
_TOKEN = "pull-requests-token"  # noqa: S105 (a name)
_POLL_SECONDS = 600
"""How long a lost webhook stays unnoticed: GitHub does not repeat it."""
_LONGEST_GRACE_SECONDS = 600
"""How long a pod may take to stop. Its namespace stays, and keeps its slot, until it is gone."""
_LABELS = {LABEL: "true", "pod-security.kubernetes.io/enforce": "baseline"}
"""Labels of the namespaces. Their pods get no access to the node:
https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
_RBAC = "rbac.authorization.k8s.io"
_LIMITS = (ResourceKind("ResourceQuota"), ResourceKind("LimitRange"))
_DENIED = (
    *ARGOCD_KINDS,
    *_LIMITS,
    ResourceKind("Role", group=_RBAC),
    ResourceKind("RoleBinding", group=_RBAC),
)
"""What the commits of a pull request may not deploy: what limits them, and what would let a Pod
change that."""


@dataclass(frozen=True)
class Quota:
    """What the pods of one environment may use together.

    https://kubernetes.io/docs/concepts/policy/resource-quotas/
    """

    cpu: str = "2"
    """Requested processors."""
    memory: str = "4Gi"
    """Limit of the memory."""
    pods: int = 30
    storage: str = "0"
    """Size of all volume claims."""
    load_balancers: int = 0
    """Services of type LoadBalancer, each of which is paid for."""


@dataclass(frozen=True)
class PullRequestEnvironmentsArgs:
    """Environments of the pull requests of one repository on GitHub."""

    project_name: str
    """Begins the names of the two projects: `<project_name>-pull-requests` and
    `<project_name>-pull-request-limits`."""
    argocd_namespace: pulumi.Input[str]
    """Namespace of Argo CD."""
    owner: str
    """Owner of the repository on GitHub."""
    repository: str
    """Name of the repository on GitHub."""
    source: Source
    """A Kustomize overlay in that repository. `revision`: the branch with the limits, which pull
    requests can't change. Each environment has the overlay of its pull request's branch. Commits of
    forks are in no branch of the repository, so Argo CD never deploys them."""
    limits_path: str
    """Folder of a Helm chart with the namespace and its limits. Its values are `labels` of the
    namespace, of the ResourceQuota and the LimitRange `name`, `hard` and `limits`, and
    `slotsNamespace`, in which it has to make a LimitRange before anything else."""
    api_url: str | None = None
    """Address of a GitHub Enterprise Server. None: github.com."""
    token: pulumi.Input[str] | None = None
    """May read the repository's pull requests. None: the repository is public."""
    label: str = "preview"
    """Label of the pull requests that get an environment."""
    images: Sequence[str] = ()
    """Names of images in the overlay. While a pull request also has the label `<label>-images`, its
    environment runs them with the pull request's commit as tag."""
    quota: Quota = field(default_factory=Quota)
    """Limits of each environment."""
    at_once: int = 5
    """How many environments there may be at the same time."""


class PullRequestEnvironments(pulumi.ComponentResource):
    """Environments of pull requests. Needs a `kubernetes` provider in `opts`, and to depend on Argo
    CD.

    For each pull request, two ApplicationSets make an Application with the namespace `pr-<number>`
    and its limits, and one with what the pull request's branch has. The second one's project
    allows neither to change these limits nor to make roles. Admission policies let no pod run in
    such a namespace unless its quota is there and at most that of `args`, whatever wrote it.

    The chart of the limits takes a slot before it makes the namespace, and gives it back when the
    namespace is gone. Kubernetes refuses a slot beyond those that `args` allows, as it counts them
    with a ResourceQuota.
    """

    project_name: pulumi.Output[str]
    """Project of the Applications `pr-<number>`."""

    def __init__(
        self,
        name: str,
        args: PullRequestEnvironmentsArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("doks-gitops:index:PullRequestEnvironments", name, {}, opts)
        first: list[pulumi.Resource] = [
            *self._policies(name, args, opts),
            *self._slots(name, args, opts),
        ]
        if args.token is not None:
            token = Secret(
                f"{name}-token",
                metadata=ObjectMetaArgs(
                    name=_TOKEN,
                    namespace=args.argocd_namespace,
                    labels={"argocd.argoproj.io/secret-type": "scm-creds"},
                ),
                data=encoded({"token": args.token}),
                opts=child_options(self, opts),
            )
            first.append(token)
        projects = [
            GitOpsProject(f"{name}-{key}", project, child_options(self, opts))
            for key, project in (("limits", _limits_project(args)), ("project", _project(args)))
        ]
        for key, template, patch in (
            ("limits", _limits(args), {}),
            ("applications", _application(args), _images(args)),
        ):
            CustomResource(
                f"{name}-{key}-set",
                api_version="argoproj.io/v1alpha1",
                kind="ApplicationSet",
                metadata=ObjectMetaArgs(
                    name=f"{args.project_name}-pull-requests-{key}",
                    namespace=args.argocd_namespace,
                ),
                spec={
                    "goTemplate": True,
                    "goTemplateOptions": ["missingkey=error"],
                    "generators": [{"pullRequest": _generator(args)}],
                    "template": template,
                    **patch,
                },
                opts=child_options(
                    self, opts, pulumi.ResourceOptions(depends_on=[*first, *projects])
                ),
            )
        self.project_name = projects[1].project_name
        self.register_outputs({"projectName": self.project_name})

    def _slots(
        self, name: str, args: PullRequestEnvironmentsArgs, opts: pulumi.ResourceOptions | None
    ) -> Sequence[pulumi.Resource]:
        """The namespace of the slots, and what limits their number.

        https://kubernetes.io/docs/concepts/policy/resource-quotas/#object-count-quota
        """
        # In no namespace, but in the cluster: `components.dependencies`.
        namespace = with_dependencies(PULL_REQUEST_SLOTS, args.argocd_namespace)
        # Another logical name would replace both.
        slots = Namespace(
            f"{name}-places",
            # The policies hold here, too.
            metadata=ObjectMetaArgs(name=namespace, labels={LABEL: "slots"}),
            opts=child_options(self, opts),
        )
        quota = ResourceQuota(
            f"{name}-places",
            metadata=ObjectMetaArgs(name=PULL_REQUEST_SLOTS, namespace=namespace),
            spec=ResourceQuotaSpecArgs(hard={"count/limitranges": str(args.at_once)}),
            opts=child_options(self, opts, pulumi.ResourceOptions(depends_on=[slots])),
        )
        return [slots, quota]

    def _policies(
        self, name: str, args: PullRequestEnvironmentsArgs, opts: pulumi.ResourceOptions | None
    ) -> Sequence[CustomResource]:
        """The admission policies, and what binds them.

        https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
        """
        selected = {"matchExpressions": [{"key": LABEL, "operator": "Exists"}]}
        parts: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
            # Only a policy without a parameter may select by a pattern of names: one with a missing
            # parameter refuses whatever its selectors match.
            "namespace": (
                {
                    "matchConstraints": {"resourceRules": _PODS},
                    "matchConditions": [
                        {
                            "name": "pull-request",
                            "expression": f"request.namespace.startsWith('{_PREFIX}')",
                        }
                    ],
                    "validations": [
                        {
                            "expression": f"namespaceObject.metadata.?labels[?'{key}'].orValue('')"
                            f" == '{value}'",
                            "message": f"a namespace {PULL_REQUEST_NAMESPACES} needs the label"
                            f" {key}: {value}",
                        }
                        for key, value in _LABELS.items()
                    ]
                    + [
                        {
                            "expression": "object.spec.?terminationGracePeriodSeconds.orValue(0)"
                            f" <= {_LONGEST_GRACE_SECONDS}",
                            "message": "a pod in the environment of a pull request has a"
                            f" terminationGracePeriodSeconds of at most {_LONGEST_GRACE_SECONDS}",
                        }
                    ],
                },
                {},
            ),
            "quota": (
                {
                    "paramKind": {"apiVersion": "v1", "kind": "ResourceQuota"},
                    "matchConstraints": {
                        "resourceRules": _LIMITED,
                        "namespaceSelector": selected,
                    },
                    # The literals of the Common Expression Language include those of JSON.
                    "variables": [
                        {"name": "limits", "expression": json.dumps(hard(args.quota))},
                        {"name": "hard", "expression": "params.spec.?hard.orValue({})"},
                    ],
                    "validations": [
                        {
                            "expression": "!has(params.spec.scopes)"
                            " && !has(params.spec.scopeSelector)"
                            " && variables.limits.all(name, name in variables.hard"
                            " && quantity(string(variables.hard[name]))"
                            ".compareTo(quantity(variables.limits[name])) <= 0)",
                            "message": f"the ResourceQuota {PULL_REQUEST_QUOTA} of this namespace"
                            " allows more than the stack does",
                        }
                    ],
                },
                {"paramRef": {"name": PULL_REQUEST_QUOTA, "parameterNotFoundAction": "Deny"}},
            ),
            # Kustomize can put an object of one pull request into the namespace of another one.
            "owner": (
                {
                    "matchConstraints": {
                        "resourceRules": _EVERYTHING,
                        "namespaceSelector": selected,
                    },
                    "variables": [
                        {
                            "name": "application",
                            "expression": f"object.metadata.?annotations[?'{_TRACKING}']"
                            ".orValue('').split(':')[0]",
                        },
                        {
                            "name": "finalizers",
                            "expression": "object.metadata.?finalizers.orValue([]).filter(name,"
                            " oldObject == null"
                            " || !(name in oldObject.metadata.?finalizers.orValue([])))",
                        },
                    ],
                    "validations": [
                        {
                            "expression": "variables.application in"
                            " ['', request.namespace, request.namespace + '-limits']"
                            f" || request.namespace == '{PULL_REQUEST_SLOTS}'"
                            " && request.resource.resource == 'limitranges'"
                            " && variables.application == object.metadata.name + '-limits'",
                            "message": "another pull request has this namespace, or it has only"
                            " slots",
                        },
                        # Operators add their own finalizers to what is there, and take them away.
                        {
                            "expression": pulumi.Output.concat(
                                "variables.application == '' || variables.finalizers.all(name,"
                                " name == 'kubernetes.io/pvc-protection'"
                                " && request.resource.resource == 'persistentvolumeclaims')"
                                " || request.operation == 'UPDATE'"
                                " && !('system:serviceaccounts:",
                                args.argocd_namespace,
                                "' in request.userInfo.groups)",
                            ),
                            "message": "a pull request may set no finalizers, which would keep its"
                            " namespace for good",
                        },
                    ],
                },
                {},
            ),
        }
        resources = []
        for key, (policy, binding) in parts.items():
            bound = {
                "policyName": f"{_POLICY}-{key}",
                "validationActions": ["Deny"],
                **binding,
            }
            for kind, spec in (
                ("ValidatingAdmissionPolicy", {"failurePolicy": "Fail", **policy}),
                ("ValidatingAdmissionPolicyBinding", bound),
            ):
                resources.append(
                    CustomResource(
                        f"{name}-{key}-{'policy' if spec is not bound else 'binding'}",
                        api_version="admissionregistration.k8s.io/v1",
                        kind=kind,
                        metadata=ObjectMetaArgs(
                            # In no namespace, but in the cluster: `components.dependencies`.
                            name=with_dependencies(f"{_POLICY}-{key}", args.argocd_namespace)
                        ),
                        spec=spec,
                        opts=child_options(self, opts),
                    )
                )
        return resources


_PREFIX = PULL_REQUEST_NAMESPACES.removesuffix("*")
_NAMESPACE = f"{_PREFIX}{{{{.number}}}}"
"""The namespace of an environment, in a template of an ApplicationSet."""
_WITHOUT_NAMESPACE = {
    "target": {"kind": "Namespace"},
    "patch": "$patch: delete\napiVersion: v1\nkind: Namespace\nmetadata: {name: any}\n",
}
"""The overlay's own Namespace, which the limits have already."""
_PODS = [
    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
]
_LIMITED = [
    *_PODS,
    {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["services", "persistentvolumeclaims"],
    },
]
"""What the quota limits."""
_EVERYTHING = [
    {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["*"],
        # A selector of namespaces matches all that is in none, such as the address of a Service.
        "scope": "Namespaced",
    }
]
_TRACKING = "argocd.argoproj.io/tracking-id"
"""Annotation of whatever Argo CD applies; it begins with the name of the Application.
https://argo-cd.readthedocs.io/en/stable/user-guide/resource_tracking/"""


def hard(quota: Quota) -> dict[str, str]:
    """The ResourceQuota's `hard`."""
    limits = {
        "requests.cpu": quota.cpu,
        "limits.memory": quota.memory,
        "pods": str(quota.pods),
        "requests.storage": quota.storage,
        "services.loadbalancers": str(quota.load_balancers),
    }
    if not quota.load_balancers:
        # DOKS opens node ports to the internet. A load balancer needs some.
        limits["services.nodeports"] = "0"
    return limits


_RETRIES = 8
"""Of a sync that fails, every 5 s. 40 s at most: until its last retry has ended, Argo CD does not
delete an Application."""
_RETRIES_OF_LIMITS = 4
"""They end first: a namespace that comes after the application's last retry stays empty, as Argo CD
does not sync a commit again that it has failed to sync."""
_PER_CONTAINER = {
    "type": "Container",
    # Of containers that name none: the quota refuses those without.
    "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
    "default": {"memory": "256Mi"},
}
"""https://kubernetes.io/docs/concepts/policy/limit-range/"""


def _generator(args: PullRequestEnvironmentsArgs) -> dict[str, Any]:
    github: dict[str, Any] = {
        "owner": args.owner,
        "repo": args.repository,
        "labels": [args.label],
    }
    if args.api_url is not None:
        github["api"] = args.api_url
    if args.token is not None:
        github["tokenRef"] = {"secretName": _TOKEN, "key": "token"}
    return {"github": github, "requeueAfterSeconds": _POLL_SECONDS}


def _limits_project(args: PullRequestEnvironmentsArgs) -> GitOpsProjectArgs:
    return GitOpsProjectArgs(
        project_name=f"{args.project_name}-pull-request-limits",
        argocd_namespace=args.argocd_namespace,
        description="Namespaces and limits of the environments of pull requests",
        source_repos=[args.source.repo_url],
        namespaces=[PULL_REQUEST_NAMESPACES, PULL_REQUEST_SLOTS],
        # Argo CD would delete it with a commit that takes it out of the chart again.
        denied_cluster_resources=[NamedResource("Namespace", name=PULL_REQUEST_SLOTS)],
        namespace_resources=_LIMITS,
        allow_any=True,
    )


def _project(args: PullRequestEnvironmentsArgs) -> GitOpsProjectArgs:
    return GitOpsProjectArgs(
        project_name=f"{args.project_name}-pull-requests",
        argocd_namespace=args.argocd_namespace,
        description="Environments of pull requests",
        source_repos=[args.source.repo_url],
        namespaces=[PULL_REQUEST_NAMESPACES],
        cluster_resources=(),
        denied_namespace_resources=_DENIED,
        allow_any=True,
    )


def _limits(args: PullRequestEnvironmentsArgs) -> dict[str, Any]:
    """The Application with the namespace and its limits."""
    values = {
        "labels": _LABELS,
        "name": PULL_REQUEST_QUOTA,
        "hard": hard(args.quota),
        "limits": [_PER_CONTAINER],
        "slotsNamespace": PULL_REQUEST_SLOTS,
    }
    source = {
        "repoURL": args.source.repo_url,
        "path": args.limits_path,
        "targetRevision": args.source.revision,
        "helm": {"namespace": _NAMESPACE, "valuesObject": values},
    }
    # Argo CD makes the namespace of the destination before anything else, even before a wave of the
    # sync that comes first.
    name = f"{_NAMESPACE}-limits"
    return _template(
        name, _limits_project(args), source, PULL_REQUEST_SLOTS, retries=_RETRIES_OF_LIMITS
    )


def _application(args: PullRequestEnvironmentsArgs) -> dict[str, Any]:
    """The Application with what the pull request's branch has.

    A branch in full, not the commit: GitHub hands out the commits of forks by their hashes too.
    """
    source = {
        "repoURL": args.source.repo_url,
        "path": args.source.path,
        "targetRevision": "refs/heads/{{.branch}}",
        "kustomize": {
            **(as_argo(args.source.kustomize) or {}),
            "namespace": _NAMESPACE,
            "patches": [_WITHOUT_NAMESPACE],
        },
    }
    return _template(_NAMESPACE, _project(args), source, _NAMESPACE, retries=_RETRIES)


def _images(args: PullRequestEnvironmentsArgs) -> dict[str, str]:
    """The part of an ApplicationSet that sets the images of a commit, which only a patch can do for
    some of the pull requests."""
    if not args.images:
        return {}
    kustomize = args.source.kustomize
    images = [
        *(kustomize.images if kustomize is not None else ()),
        *(f"{name}=*:{{{{ .head_sha }}}}" for name in args.images),
    ]
    patch = json.dumps({"spec": {"source": {"kustomize": {"images": images}}}})
    # Go's literals include those of JSON.
    condition = f"has {json.dumps(f'{args.label}-images')} .labels"
    return {"templatePatch": f"{{{{ if {condition} }}}}{patch}{{{{ else }}}}{{}}{{{{ end }}}}"}


def _template(
    name: str,
    project: GitOpsProjectArgs,
    source: dict[str, Any],
    namespace: str,
    *,
    retries: int,
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "finalizers": [FINALIZER]},
        "spec": {
            "project": project.project_name,
            "source": source,
            "destination": {
                "server": IN_CLUSTER,
                "namespace": namespace,
            },
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "retry": {
                    "limit": retries,
                    "refresh": True,
                    "backoff": {"duration": "5s", "factor": 1, "maxDuration": "5s"},
                },
            },
        },
    }
