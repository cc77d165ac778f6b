"""A kubeconfig that does not go stale."""

import yaml


def context_name(region: str, cluster_name: str) -> str:
    """The context as `doctl kubernetes cluster kubeconfig save` names it: `do-<region>-<name>`."""
    return f"do-{region}-{cluster_name}"


def kubeconfig(
    *, cluster_name: str, region: str, endpoint: str, ca_certificate: str, token: str
) -> str:
    """A kubeconfig, as YAML, for one DOKS cluster: the same text for as long as `token` lives.

    DigitalOcean's own kubeconfig holds a token that expires after 7 days; resources read with it
    a week later look as if their cluster were gone. DOKS accepts the account's API token as well
    (scope `kubernetes:access_cluster`), so that is what this file holds:
    https://docs.digitalocean.com/products/kubernetes/how-to/connect-to-cluster/

    `ca_certificate` is the cluster's CA in base64, as the API gives it; `endpoint` is an https URL.
    Cluster, context and user are named as doctl names them, so that merging it with `kubectl
    config` overwrites doctl's entry instead of adding a second one.
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
