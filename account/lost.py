"""Says whether a cluster is gone from the account: `python -m account.lost NAME`.

Only the account can say so: to a client of the cluster, an expired token or a network fault looks
the same. The account is that of DIGITALOCEAN_TOKEN. Exit code 0: no such cluster; 1: there is one;
2: the account could not be asked.
"""

import os
import sys

from account.api import AccountError, read
from account.model import Account
from settings.model import DigitalOcean


def refusal(account: Account, name: str) -> str | None:
    """Why the cluster of that name must not be given up for lost; None if it is gone."""
    for cluster in account.clusters_named(name):
        return (
            f"The cluster {name} ({cluster.id}) is not lost: the account says that it is"
            f" {cluster.state}, in {cluster.region}. Nothing has been forgotten.\n"
            f"If it can't be reached, look at the token and the network: doctl kubernetes cluster"
            f" get {cluster.id}\n"
            "If something in it is missing: pulumi up --refresh"
        )
    return None


def main(name: str) -> int:
    try:
        account = read(
            os.environ.get("DIGITALOCEAN_TOKEN", ""),
            os.environ.get("DIGITALOCEAN_API_URL")
            or DigitalOcean.model_fields["api_endpoint"].default,
        )
    except AccountError as error:
        print(error, file=sys.stderr)
        return 2
    if why_not := refusal(account, name):
        print(why_not, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
