"""Names in the cluster that more than one part has to know."""

RELEASE_NAME = "argocd"
"""Makes the chart name its Deployments argocd-server, argocd-repo-server and so on."""
ADMIN_SECRET = "argocd-admin-password"  # noqa: S105 (a name)
"""The Secret in which a generated admin password is kept."""
