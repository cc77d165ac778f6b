"""The kubeconfig that the program builds for itself."""

import yaml

from components.kubeconfig import context_name, kubeconfig

GIVEN = {
    "cluster_name": "demo",
    "region": "nyc1",
    "endpoint": "https://demo.test",
    "ca_certificate": "Q0E=",
    "token": "dop_v1_token",
}


def test_context_is_named_as_doctl_names_it() -> None:
    assert context_name("nyc1", "demo") == "do-nyc1-demo"
    config = yaml.safe_load(kubeconfig(**GIVEN))
    assert config["current-context"] == "do-nyc1-demo"
    assert config["clusters"][0]["name"] == "do-nyc1-demo"
    assert config["users"][0]["name"] == "do-nyc1-demo-admin"


def test_it_presents_the_account_token_to_the_cluster_it_trusts() -> None:
    config = yaml.safe_load(kubeconfig(**GIVEN))
    assert config["users"][0]["user"] == {"token": "dop_v1_token"}
    assert config["clusters"][0]["cluster"] == {
        "certificate-authority-data": "Q0E=",
        "server": "https://demo.test",
    }
    context = config["contexts"][0]["context"]
    assert context == {"cluster": "do-nyc1-demo", "user": "do-nyc1-demo-admin"}


def test_it_is_the_same_text_until_the_token_changes() -> None:
    assert kubeconfig(**GIVEN) == kubeconfig(**GIVEN)
    assert kubeconfig(**GIVEN) != kubeconfig(**{**GIVEN, "token": "rotated"})


def test_a_token_that_yaml_could_misread_stays_text() -> None:
    config = yaml.safe_load(kubeconfig(**{**GIVEN, "token": "1234567890"}))
    assert config["users"][0]["user"]["token"] == "1234567890"
