"""The platform of one stack: a DOKS cluster that pulls from the team's registry, and in it Argo CD,
which deploys the stack's applications from Git.

Everything is built in this order and destroyed in the reverse one. That matters: Argo CD deletes
what an Application deployed before the Application itself goes, so it has to outlive them all.
"""

import gc

gc.disable()  # The SDKs make a million objects as they are imported, none of them garbage.

import pulumi
import pulumi_digitalocean
import pulumi_kubernetes
from pulumi import ResourceOptions

import account
import settings
from components import from_settings
from components.application import GitOpsApplication
from components.argocd import ArgoCd
from components.cluster import DoksCluster
from components.pace import send_before_waiting
from components.project import GitOpsProject
from components.protection import Protection
from components.registry import ContainerRegistry
from components.secrecy import silence_debug_messages

gc.freeze()
gc.enable()
silence_debug_messages()
stack = settings.load()
team = account.read(stack.digitalocean.token.get_secret_value(), stack.digitalocean.api_endpoint)
account.check(stack, team)
version = account.resolve_version(stack, team)
runs_it = any(str(each.version) == version for each in team.clusters_named(stack.cluster.name))

digitalocean = pulumi_digitalocean.Provider(
    "digitalocean",
    token=from_settings.secret(stack.digitalocean.token),
    api_endpoint=stack.digitalocean.api_endpoint,
)
registry = ContainerRegistry(
    "registry", from_settings.registry_args(stack), ResourceOptions(providers=[digitalocean])
)
registry_endpoint = account.restore_integration(stack, team, registry.endpoint)
cluster = DoksCluster(
    "cluster",
    from_settings.cluster_args(stack, version, registry_endpoint, hold_version=runs_it),
    ResourceOptions(providers=[digitalocean], depends_on=[registry]),
)
kubernetes = pulumi_kubernetes.Provider(
    "kubernetes",
    kubeconfig=cluster.kubeconfig,
    # Another cluster is another provider: what was in the old one is made anew.
    cluster_identifier=cluster.cluster_id,
    enable_server_side_apply=True,
    # What somebody has changed by hand is put back, and a new credential replaces the old in place.
    enable_patch_force=True,
    enable_secret_mutable=True,
    # What a killed run made but did not record, or what outlived the state, is taken over.
    upsert_existing_objects=True,
    # A wrong token looks like a missing cluster, and would make the stack forget what is in it.
    delete_unreachable=False,
    opts=ResourceOptions(depends_on=[cluster]),
)
argocd = ArgoCd(
    "argocd",
    from_settings.argocd_args(stack, cluster.context, registry_endpoint),
    ResourceOptions(providers=[kubernetes]),
)
delivery = []
if stack.github is not None:
    # Half a second that only a stack on GitHub has to spend.
    import pulumi_github

    from components.github import GitHubDelivery

    github = pulumi_github.Provider(
        "github",
        owner=stack.github.owner,
        token=from_settings.secret(stack.github.token),
        base_url=stack.github.base_url,
    )
    delivery = [
        GitHubDelivery(
            "github", from_settings.github_args(stack), ResourceOptions(providers=[github])
        )
    ]
project = GitOpsProject(
    "project",
    from_settings.project_args(stack, argocd.namespace),
    ResourceOptions(providers=[kubernetes], depends_on=[argocd]),
)
applications = [
    GitOpsApplication(
        name, args, ResourceOptions(providers=[kubernetes], depends_on=[project, *delivery])
    )
    for name, args in from_settings.applications_args(stack, argocd.namespace).items()
]
Protection(
    "protection",
    ResourceOptions(
        protect=stack.cluster.protect, depends_on=[registry, cluster, project, *applications]
    ),
)

pulumi.export("clusterId", cluster.cluster_id)
pulumi.export("clusterEndpoint", cluster.endpoint)
pulumi.export("kubeconfig", cluster.kubeconfig)
pulumi.export("kubeContext", cluster.context)
pulumi.export("registryEndpoint", registry.endpoint)
pulumi.export("argocdNamespace", argocd.namespace)
pulumi.export("argocdUrl", argocd.url)
pulumi.export("argocdPortForward", argocd.port_forward)
pulumi.export("argocdAdminPassword", argocd.admin_password)
pulumi.export("project", project.project_name)
pulumi.export("applications", [application.full_name for application in applications])

send_before_waiting()
