"""Names of objects in the cluster that several modules use."""

RELEASE_NAME = "argocd"
"""The chart derives the names of its Deployments from it: argocd-server, argocd-repo-server, ..."""
SEALED_SECRETS_RELEASE = "sealed-secrets"
"""The Helm release of Sealed Secrets."""
CLUSTER_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
"""The namespaces that each cluster has from the start."""
PULL_REQUEST_NAMESPACES = "pr-*"
"""Pattern of the namespaces of the environments of pull requests."""
PULL_REQUEST_QUOTA = "pull-request"
"""Name of the ResourceQuota and of the LimitRange in each of these namespaces."""
PULL_REQUEST_SLOTS = "doks-gitops-pull-requests"
"""Namespace with a slot for each of these environments, and name of its ResourceQuota, by which
Kubernetes gives no more slots than the stack has. A slot is a LimitRange: nothing else makes one
there."""
ADMIN_SECRET = "argocd-admin-password"  # noqa: S105 (a name)
"""The Secret that holds the generated admin password."""
