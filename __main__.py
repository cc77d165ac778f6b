"""The platform of one stack: a DOKS cluster that pulls from the team's registry, and in it Argo CD,
which deploys the stack's applications from Git.

Everything is built in this order and destroyed in the reverse one. That matters: Argo CD deletes
what an Application deployed before the Application itself goes, so it has to outlive them all.
"""

from components import sdk

# isort: split
import pulumi
import pulumi_digitalocean
import pulumi_kubernetes
from pulumi import ResourceOptions

from components.application import GitOpsApplication
from components.argocd import ArgoCd
from components.cluster import DoksCluster
from components.dependencies import without_dependencies
from components.project import GitOpsProject
from components.protection import Protection
from components.registry import ContainerRegistry
from doks_gitops import account, arguments, settings

sdk.disable_debug_messages()
stack = settings.load()
team = account.read(
    stack.digitalocean.token.get_secret_value(),
    stack.digitalocean.api_endpoint,
    vpcs=stack.cluster.creates_vpc,
)
account.check(stack, team)
account.warn(stack, team)

digitalocean = pulumi_digitalocean.Provider(
    "digitalocean",
    token=arguments.secret(stack.digitalocean.token),
    api_endpoint=stack.digitalocean.api_endpoint,
)
registry = ContainerRegistry(
    "registry", arguments.registry_args(stack), ResourceOptions(providers=[digitalocean])
)
registry_endpoint = account.restore_integration(stack, team, registry.endpoint)
cluster = DoksCluster(
    "cluster",
    arguments.cluster_args(stack, team, registry_endpoint),
    ResourceOptions(providers=[digitalocean], depends_on=[registry]),
)
kubernetes = pulumi_kubernetes.Provider(
    "kubernetes",
    kubeconfig=cluster.kubeconfig,
    # Another cluster replaces the provider and everything in the cluster. Without dependencies, so
    # that the old provider can delete what is in the old cluster (`components.dependencies`).
    cluster_identifier=without_dependencies(cluster.cluster_id),
    enable_server_side_apply=True,
    # Changes made by hand are reverted, and a new credential replaces the old one in place.
    enable_patch_force=True,
    enable_secret_mutable=True,
    # Objects that a killed run created but did not record, or that outlived the state, are adopted.
    upsert_existing_objects=True,
    # A wrong token looks like a missing cluster: the stack would forget everything in it.
    delete_unreachable=False,
    opts=ResourceOptions(depends_on=[cluster]),
)
argocd = ArgoCd(
    "argocd",
    arguments.argocd_args(stack, cluster.cluster_id, cluster.context, registry_endpoint),
    ResourceOptions(providers=[kubernetes]),
)
delivery = []
if stack.github is not None:
    # Imported here because it takes half a second, which only a stack on GitHub needs.
    import pulumi_github

    from components.github import GitHubDelivery

    github = pulumi_github.Provider(
        "github",
        owner=stack.github.owner,
        token=arguments.secret(stack.github.token),
        base_url=stack.github.base_url,
    )
    delivery = [
        GitHubDelivery("github", arguments.github_args(stack), ResourceOptions(providers=[github]))
    ]
project = GitOpsProject(
    "project",
    arguments.project_args(stack, argocd.namespace),
    ResourceOptions(providers=[kubernetes], depends_on=[argocd]),
)
applications = [
    GitOpsApplication(
        name, args, ResourceOptions(providers=[kubernetes], depends_on=[project, *delivery])
    )
    for name, args in arguments.applications_args(stack, argocd.namespace).items()
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

sdk.send_requests()
