"""The platform of one stack: a DOKS cluster that pulls from the team's registry, and Argo CD in it,
which deploys the stack's applications from Git.

Pulumi creates the resources in this order and destroys them in the reverse order. Argo CD must
outlive its Applications: before one of them is deleted, it deletes the objects that it deployed.
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
from components.sealed_secrets import SealedSecrets
from doks_gitops import account, arguments, condition, volumes
from doks_gitops.settings import load
from doks_gitops.stack import running_stack


async def platform() -> None:
    """Declares the resources of the stack."""
    settings = load()
    account_state = account.read(
        settings.digitalocean.token.get_secret_value(),
        settings.digitalocean.api_endpoint,
        vpcs=settings.cluster.creates_vpc,
    )
    # The providers wait for it: nothing is created with a token of another team.
    mark = account.keep_owner(settings, account_state)
    # The stack's cluster is now known by its mark, also if the stack file renames it.
    account_state = await account.with_mark(account_state, mark)
    account_state = await account.with_recorded(settings, account_state, running_stack().export)
    account.check_recorded(settings, account_state)
    account_state = account.with_networks(settings, account_state)
    account.check(settings, account_state)
    account.warn(settings, account_state)
    account.lint(settings, account_state)
    volumes.record_before_replacement(settings, account_state)

    digitalocean = pulumi_digitalocean.Provider(
        "digitalocean",
        token=arguments.secret_after(mark, settings.digitalocean.token),
        api_endpoint=settings.digitalocean.api_endpoint,
    )
    registry = ContainerRegistry(
        "registry",
        arguments.registry_args(settings),
        # Nothing depends on a component without children, such as the registry of another stack.
        ResourceOptions(providers=[digitalocean], protect=settings.cluster.protect),
    )
    cluster = DoksCluster(
        "cluster",
        arguments.cluster_args(settings, account_state, mark),
        ResourceOptions(providers=[digitalocean], depends_on=[registry]),
    )
    account.refuse_unexpected(settings, account_state, cluster.cluster_id)
    registry_endpoint = account.allow_pulls(
        settings, account_state, registry.endpoint, cluster.cluster_id
    )
    # What waits for the endpoint, as Argo CD does, also waits for the volumes of a new cluster.
    registry_endpoint = volumes.bring_back(
        settings, account_state, cluster.cluster_id, cluster.kubeconfig, registry_endpoint
    )
    kubernetes = pulumi_kubernetes.Provider(
        "kubernetes",
        kubeconfig=cluster.kubeconfig,
        # Another cluster replaces the provider and everything in the cluster. Without dependencies,
        # so that the old provider can delete what is in the old cluster: `components.dependencies`.
        cluster_identifier=without_dependencies(cluster.cluster_id),
        enable_server_side_apply=True,
        # Manual changes are reverted, and new credentials replace old ones in place.
        enable_patch_force=True,
        enable_secret_mutable=True,
        # Objects that exist but are not in the state, such as those of a killed run, are adopted.
        upsert_existing_objects=True,
        # With an invalid token the cluster seems to be gone: the state would lose all its objects.
        delete_unreachable=False,
        opts=ResourceOptions(depends_on=[cluster]),
    )
    argocd = ArgoCd(
        "argocd",
        arguments.argocd_args(settings, cluster.cluster_id, cluster.context, registry_endpoint),
        ResourceOptions(providers=[kubernetes]),
    )
    secrets = []
    if settings.sealed_secrets is not None:
        secrets = [
            SealedSecrets(
                "sealed-secrets",
                arguments.sealed_secrets_args(settings.sealed_secrets, cluster.cluster_id),
                ResourceOptions(providers=[kubernetes]),
            )
        ]
    delivery = []
    if settings.github is not None:
        # The import takes half a second, which only a stack on GitHub needs.
        import pulumi_github

        from components.github import GitHubDelivery

        github = pulumi_github.Provider(
            "github",
            owner=settings.github.owner,
            token=arguments.secret_after(mark, settings.github.token),
            base_url=settings.github.base_url,
        )
        delivery = [
            GitHubDelivery(
                "github", arguments.github_args(settings), ResourceOptions(providers=[github])
            )
        ]
    project = GitOpsProject(
        "project",
        arguments.project_args(settings, argocd.namespace),
        ResourceOptions(providers=[kubernetes], depends_on=[argocd, *secrets]),
    )
    applications = [
        GitOpsApplication(
            name, args, ResourceOptions(providers=[kubernetes], depends_on=[project, *delivery])
        )
        for name, args in arguments.applications_args(settings, argocd.namespace).items()
    ]
    pull_requests = []
    if settings.pull_requests is not None:
        from components.pull_requests import PullRequestEnvironments

        pull_requests = [
            PullRequestEnvironments(
                "pull-requests",
                arguments.pull_requests_args(settings, argocd.namespace),
                ResourceOptions(providers=[kubernetes], depends_on=[argocd, *delivery]),
            )
        ]
    protection = Protection(
        "protection",
        ResourceOptions(
            protect=settings.cluster.protect,
            depends_on=[registry, cluster, project, *applications, *pull_requests],
        ),
    )
    account.verify(settings, account_state, cluster.cluster_id, after=protection.urn)

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


sdk.disable_debug_messages()
sdk.end_when_interrupted()
# A recovery deploys only on the state that it was planned for. Before the first resource is sent.
condition.wait(dry_run=pulumi.runtime.is_dry_run())
sdk.run(platform)
