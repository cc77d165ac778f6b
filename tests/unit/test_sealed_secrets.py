"""The stack owns the keys of Sealed Secrets: in its settings, and in the cluster before the
controller starts."""

import base64
from typing import Any

import pytest
from pulumi import ResourceOptions

from components.argocd import ChartSource
from components.sealed_secrets import KEY_LABEL, SealedSecrets, SealedSecretsArgs, SealingKey
from doks_gitops.settings import SettingsError
from doks_gitops.settings.ssh_key import KEY_WITHOUT_PRIVATE_PART
from tests.unit.mocked import Run, kubernetes_provider, run
from tests.unit.sealing_keys import pair, section
from tests.unit.stackfiles import parsed
from tests.unit.test_program import CONFIG, platform

KEY = "doks-gitops:sealedSecrets"
OLD, NEW = pair("old", year=2025), pair("new")


def deployed(monkeypatch: pytest.MonkeyPatch, *keys: Any) -> Run:
    return platform(monkeypatch, config={**CONFIG, KEY: section(*keys)})


def of_sealed_secrets(result: Run) -> dict[str, dict[str, Any]]:
    """The inputs of the resources of Sealed Secrets by their names and types."""
    resources = [x for x in result.resources.values() if x.name.startswith("sealed-secrets")]
    return {f"{resource.type} {resource.name}": resource.inputs for resource in resources}


def findings(**sections: Any) -> list[tuple[str, str]]:
    with pytest.raises(SettingsError) as refused:
        parsed(**sections)
    return [(finding.key, finding.got) for finding in refused.value.findings]


def test_a_stack_without_sealed_secrets_has_nothing_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not platform(monkeypatch).all("SealedSecrets")


def test_the_keys_are_in_the_cluster_before_the_controller_that_makes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = deployed(monkeypatch, OLD, NEW)
    release = result.one("Release", "sealed-secrets")
    secrets = [x for x in result.all("core/v1:Secret") if "sealing-key" in str(x.inputs)]
    assert len(secrets) == 2
    for secret in secrets:
        assert secret.urn in result.dependencies(release)
        assert secret.inputs["metadata"]["labels"] == {KEY_LABEL: "active"}
        assert secret.inputs["type"] == "kubernetes.io/tls"
        assert "data" in secret.secret
    data = {base64.b64decode(secret.inputs["data"]["tls.key"]).decode() for secret in secrets}
    assert data == {OLD.private_key, NEW.private_key}
    assert release.inputs["values"]["keyrenewperiod"] == "0"
    assert release.inputs["values"]["rbac"] == {"serviceProxier": {"create": False}}


def test_applications_are_deployed_after_the_controller_and_deleted_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = deployed(monkeypatch, NEW)
    application = result.one("Application")
    assert result.one("Release", "sealed-secrets").urn in result.dependencies(application)
    assert result.one("Release", "argocd").urn not in result.dependencies(
        result.one("Release", "sealed-secrets")
    ), "the two are installed at the same time"


def test_a_renewal_adds_a_secret_and_starts_the_controller_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = of_sealed_secrets(deployed(monkeypatch, OLD))
    after = of_sealed_secrets(deployed(monkeypatch, OLD, NEW))
    assert len(after) == len(before) + 1
    release = "kubernetes:helm.sh/v3:Release sealed-secrets"
    assert [name for name, inputs in before.items() if after[name] != inputs] == [release]
    values = [inputs[release].pop("values") for inputs in (before, after)]
    assert before[release] == after[release]
    assert values[0].pop("podAnnotations") != values[1].pop("podAnnotations")
    assert values[0] == values[1]


def test_the_order_of_the_keys_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = deployed(monkeypatch, OLD, NEW), deployed(monkeypatch, NEW, OLD)
    assert of_sealed_secrets(one) == of_sealed_secrets(other)


def test_everything_is_deleted_with_a_replaced_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    result = deployed(monkeypatch, NEW)
    cluster = result.one("KubernetesCluster").urn
    for resource in result.all("core/v1:Secret") + result.all("Namespace"):
        assert cluster in resource.input_dependencies["metadata"]
    assert cluster in result.one("Release", "sealed-secrets").input_dependencies["namespace"]


@pytest.mark.parametrize("name", [None, "a-fork"])
def test_the_component_installs_the_published_chart_unless_another_is_named(
    name: str | None,
) -> None:
    def program() -> dict[str, Any]:
        args = SealedSecretsArgs(
            ChartSource(repository="https://charts.test", version="1.2.3", name=name),
            keys=[SealingKey(NEW.certificate, NEW.private_key)],
        )
        SealedSecrets("sealed", args, ResourceOptions(providers=[kubernetes_provider()]))
        return {}

    assert run(program).one("Release").inputs["chart"] == (name or "sealed-secrets")


def test_a_component_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="would make one of its own"):
        SealedSecretsArgs(ChartSource(path="chart"), keys=())


def _pem(label: str, data: bytes) -> str:
    body = base64.encodebytes(data).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


_CERTIFICATE = base64.b64decode("".join(NEW.certificate.strip().splitlines()[1:-1]))
_OF_VERSION_SIX = _pem(
    "CERTIFICATE", _CERTIFICATE.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1)
)
_OF_ED448 = _pem(
    "PRIVATE KEY", bytes.fromhex("302e020100300506032b657104220420") + bytes(32)
)  # a key of Ed25519, with the number of another algorithm


@pytest.mark.parametrize(
    ("keys", "at", "got"),
    [
        ([], "", "an empty list"),
        ([NEW, NEW], "[1]", "the same as keys[0]"),
        ([NEW, (NEW.certificate.strip(), NEW.private_key)], "[1].certificate", "as in keys[0]"),
        ([(NEW.certificate, OLD.private_key)], "[0].privateKey", "another private key"),
        ([("no certificate", NEW.private_key)], "[0].certificate", '"no certificate"'),
        ([(NEW.certificate * 2, NEW.private_key)], "[0].certificate", '"-----BEGIN CERT'),
        (
            [(NEW.certificate + NEW.private_key, NEW.private_key)],
            "[0].certificate",
            "a text that may hold a secret",
        ),
        ([(f"a comment\n{NEW.certificate}", NEW.private_key)], "[0].certificate", '"a comment'),
        ([pair("short", bits=1024)], "[0].certificate", '"-----BEGIN CERT'),
        ([(NEW.certificate, NEW.certificate)], "[0].privateKey", "a secret"),
        ([(NEW.certificate, "secret text")], "[0].privateKey", "a secret"),
        ([(_OF_VERSION_SIX, NEW.private_key)], "[0].certificate", '"-----BEGIN CERT'),
        ([(NEW.certificate, _OF_ED448)], "[0].privateKey", "a secret"),
    ],
)
def test_keys_that_could_not_be_used_are_refused(keys: list[Any], at: str, got: str) -> None:
    items = [
        {"certificate": key[0], "privateKey": key[1]}
        if isinstance(key, tuple)
        else {"certificate": key.certificate, "privateKey": key.private_key}
        for key in keys
    ]
    [(key, reason)] = findings(sealedSecrets={"chart": {"version": "1.2.3"}, "keys": items})
    assert key == f"{KEY}.keys{at}"
    assert got in reason


def test_a_private_key_of_another_kind_is_refused() -> None:
    items = [
        {
            "certificate": NEW.certificate,
            "privateKey": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        }
    ]
    [(key, got)] = findings(sealedSecrets={"chart": {"version": "1.2.3"}, "keys": items})
    assert (key, got) == (
        f"{KEY}.keys[0].privateKey",
        "a secret that is no private key in PEM form without a passphrase",
    )


def test_the_preview_without_secrets_has_a_placeholder_for_the_private_key() -> None:
    items = [{"certificate": NEW.certificate, "privateKey": KEY_WITHOUT_PRIVATE_PART}]
    stack = parsed(sealedSecrets={"chart": {"version": "1.2.3"}, "keys": items})
    assert stack.sealed_secrets is not None


@pytest.mark.parametrize(
    ("namespace", "got"),
    [
        ("argocd", '"argocd", the namespace of Argo CD'),
        ("shop-dev", '"shop-dev", in which the applications could read the keys'),
    ],
)
def test_applications_can_not_read_the_keys(namespace: str, got: str) -> None:
    assert findings(sealedSecrets={**section(NEW), "namespace": namespace}) == [
        (f"{KEY}.namespace", got)
    ]
