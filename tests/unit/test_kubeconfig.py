"""The kubeconfig of the program."""

import yaml

from components.kubeconfig import context_name, kubeconfig

CLUSTER = {
    "cluster_name": "demo",
    "region": "nyc1",
    "endpoint": "https://demo.test",
    "ca_certificate": "Q0E=",
    "token": "dop_v1_token",
}


def test_names_are_those_of_doctl() -> None:
    assert context_name("nyc1", "demo") == "do-nyc1-demo"
    config = yaml.safe_load(kubeconfig(**CLUSTER))
    assert config["current-context"] == "do-nyc1-demo"
    assert config["clusters"][0]["name"] == "do-nyc1-demo"
    assert config["users"][0]["name"] == "do-nyc1-demo-admin"


def test_kubeconfig_has_the_token_of_the_account_and_the_ca_of_the_cluster() -> None:
    config = yaml.safe_load(kubeconfig(**CLUSTER))
    assert config["users"][0]["user"] == {"token": "dop_v1_token"}
    assert config["clusters"][0]["cluster"] == {
        "certificate-authority-data": "Q0E=",
        "server": "https://demo.test",
    }
    context = config["contexts"][0]["context"]
    assert context == {"cluster": "do-nyc1-demo", "user": "do-nyc1-demo-admin"}


def test_kubeconfig_changes_only_with_the_token() -> None:
    assert kubeconfig(**CLUSTER) == kubeconfig(**CLUSTER)
    assert kubeconfig(**CLUSTER) != kubeconfig(**{**CLUSTER, "token": "rotated"})


def test_token_of_digits_stays_text() -> None:
    config = yaml.safe_load(kubeconfig(**{**CLUSTER, "token": "1234567890"}))
    assert config["users"][0]["user"]["token"] == "1234567890"
