"""A kubeconfig that does not expire."""

import yaml


def context_name(region: str, cluster_name: str) -> str:
    """The same context name as `doctl kubernetes cluster kubeconfig save`: `do-<region>-<name>`."""
    return f"do-{region}-{cluster_name}"


def kubeconfig(
    *, cluster_name: str, region: str, endpoint: str, ca_certificate: str, token: str
) -> str:
    """The kubeconfig of a DOKS cluster, as YAML, which is valid as long as `token`.

    - `endpoint`: https URL of the Kubernetes API
    - `ca_certificate`: the cluster's CA in base64, from DigitalOcean's API
    - `token`: API token of the account with the scope `kubernetes:access_cluster`

    The token in DigitalOcean's own kubeconfig expires after 7 days, and an expired token makes a
    cluster look deleted (https://docs.digitalocean.com/products/kubernetes/how-to/connect-to-cluster/).
    Cluster, context and user have the same names as doctl's, so that merging the kubeconfig into
    another one replaces doctl's entry.
    """
    context = context_name(region, cluster_name)
    user = f"{context}-admin"
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": context,
                    "cluster": {"certificate-authority-data": ca_certificate, "server": endpoint},
                }
            ],
            "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
            "current-context": context,
            "users": [{"name": user, "user": {"token": token}}],
        },
        sort_keys=False,
    )
