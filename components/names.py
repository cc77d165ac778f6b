"""Names of objects in the cluster that several modules use."""

RELEASE_NAME = "argocd"
"""The chart derives the names of its Deployments from it: argocd-server, argocd-repo-server, ..."""
ADMIN_SECRET = "argocd-admin-password"  # noqa: S105 (a name)
"""The Secret that holds the generated admin password."""
