"""Secrets are sealed as kubeseal does it, and the commands leave none in clear."""

import base64
import json
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from doks_gitops import cli
from doks_gitops.errors import PlatformError
from doks_gitops.sealing import Object, Scope, keys
from doks_gitops.sealing.keys import KeyPair
from doks_gitops.sealing.seal import decrypt, encrypt, load, reseal, seal
from doks_gitops.settings import sealing_key
from doks_gitops.stack import Stack
from tests.unit.pulumi_command import PulumiCommand
from tests.unit.sealing_keys import pair

OLD, NEW = pair("old", year=2025), pair("new")
KEY = sealing_key.private_key(NEW.private_key)
PASSWORD = "correct horse battery staple"
SECRET: Object = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "db",
        "namespace": "shop",
        "labels": {"app": "shop"},
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": PASSWORD,
            "team": "shop",
        },
        "uid": "1",
        "ownerReferences": [{"name": "owner"}],
    },
    "type": "Opaque",
    "data": {"cert": base64.b64encode(b"\x00\xff").decode()},
    "stringData": {"password": PASSWORD},
}
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def unsealed(sealed: Object, label: bytes) -> dict[str, bytes]:
    values = sealed["spec"]["encryptedData"].items()
    return {field: decrypt(base64.b64decode(text), [KEY], label) for field, text in values}


@pytest.mark.parametrize(
    ("scope", "label"),
    [
        (Scope.STRICT, b"shop/db"),
        (Scope.NAMESPACE_WIDE, b"shop"),
        (Scope.CLUSTER_WIDE, b""),
    ],
)
def test_values_are_bound_to_what_the_scope_says(scope: Scope, label: bytes) -> None:
    sealed = seal(SECRET, KEY.public_key(), scope=scope)
    assert unsealed(sealed, label) == {"cert": b"\x00\xff", "password": PASSWORD.encode()}
    with pytest.raises(ValueError, match="no key"):
        unsealed(sealed, b"other/db")
    assert Scope.of(sealed) is Scope.of(sealed["spec"]["template"]) is scope


def test_nothing_of_the_secret_is_left_in_clear() -> None:
    text = json.dumps(seal(SECRET, KEY.public_key()))
    assert PASSWORD not in text
    assert base64.b64encode(PASSWORD.encode()).decode() not in text
    template = seal(SECRET, KEY.public_key())["spec"]["template"]
    assert template == {
        "metadata": {
            "name": "db",
            "namespace": "shop",
            "labels": {"app": "shop"},
            "annotations": {"team": "shop"},
        },
        "type": "Opaque",
    }


def test_a_scope_replaces_the_one_of_the_manifest() -> None:
    wide = seal(SECRET, KEY.public_key(), scope=Scope.CLUSTER_WIDE)["spec"]["template"]
    sealed = seal({**SECRET, "metadata": wide["metadata"]}, KEY.public_key(), scope=Scope.STRICT)
    assert Scope.of(sealed) is Scope.of(sealed["spec"]["template"]) is Scope.STRICT
    assert unsealed(sealed, b"shop/db")


def test_each_value_has_a_key_of_its_own() -> None:
    assert encrypt(b"x", KEY.public_key(), b"") != encrypt(b"x", KEY.public_key(), b"")


def test_any_of_several_keys_decrypts() -> None:
    other = sealing_key.private_key(OLD.private_key)
    assert decrypt(encrypt(b"x", other.public_key(), b"l"), [KEY, other], b"l") == b"x"
    for broken in (b"", b"\xff", b"\xff\xff", encrypt(b"x", KEY.public_key(), b"l")[:-1]):
        with pytest.raises(ValueError, match="no key"):
            decrypt(broken, [KEY, other], b"l")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"metadata": {"namespace": "shop"}}, "no valid name"),
        ({"metadata": {"name": "db"}}, "no valid namespace"),
        ({"metadata": {"name": "../db", "namespace": "shop"}}, "no valid name"),
        ({"data": {"a": PASSWORD}}, r"data\.a of the Secret is no base64"),
        ({"stringData": {"port": 5432}}, r"stringData\.port of the Secret is no text"),
        ({"stringData": {"a b": "c"}}, "other characters"),
        ({"data": None, "stringData": {}}, "no values"),
    ],
)
def test_an_invalid_secret_is_refused_without_showing_it(
    change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PlatformError, match=reason) as error:
        seal({**SECRET, **change}, KEY.public_key())
    assert PASSWORD not in str(error.value)


@pytest.mark.parametrize("text", [f"- {PASSWORD}: [", f"{PASSWORD}", "a: 1\n---\nb: 2", ""])
def test_what_is_no_secret_is_not_shown(text: str) -> None:
    with pytest.raises(PlatformError) as error:
        load(text, "Secret")
    assert PASSWORD not in str(error.value)


def test_resealing_moves_a_secret_to_another_key_and_namespace() -> None:
    other = sealing_key.private_key(OLD.private_key)
    sealed = seal(SECRET, other.public_key())
    moved = reseal(sealed, [other], KEY.public_key(), namespace="shop-staging")
    assert unsealed(moved, b"shop-staging/db") == {
        "cert": b"\x00\xff", "password": PASSWORD.encode()
    }  # fmt: skip
    assert moved["metadata"]["namespace"] == "shop-staging"
    assert moved["spec"]["template"]["metadata"]["namespace"] == "shop-staging"
    with pytest.raises(PlatformError, match="No key of the stack can read cert of db"):
        reseal(sealed, [KEY], KEY.public_key())
    with pytest.raises(PlatformError, match="no SealedSecret"):
        reseal(SECRET, [KEY], KEY.public_key())


def test_key_pairs_are_read_from_any_order_of_their_parts() -> None:
    text = NEW.certificate + OLD.private_key + OLD.certificate + NEW.private_key
    assert sorted(keys.parse(text), key=str) == sorted([OLD, NEW], key=str)
    assert keys.parse(str(OLD).replace("\n", "\r\n")) == [OLD]


@pytest.mark.parametrize(
    "text",
    ["", OLD.certificate, OLD.private_key, OLD.certificate + NEW.private_key, f"{OLD}{OLD}",
     str(OLD).replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")],
)  # fmt: skip
def test_incomplete_key_pairs_are_refused(text: str) -> None:
    with pytest.raises(PlatformError) as error:
        keys.parse(text)
    assert "MII" not in str(error.value)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def stack_file(folder: Path, *pairs: KeyPair) -> Path:
    items = [{"certificate": pair.certificate, "privateKey": {"secure": "v1:x"}} for pair in pairs]
    file = folder / "Pulumi.dev.yaml"
    config: dict[str, Any] = {
        "doks-gitops:argocd": {"chart": {"version": "1.2.3", "repository": "https://mirror.test"}}
    }
    if items:
        config["doks-gitops:sealedSecrets"] = {"chart": {"version": "1.2.3"}, "keys": items}
    file.write_text(yaml.safe_dump({"encryptionsalt": "v1:salt", "config": config}))
    return file


def test_the_newest_certificate_seals_whatever_the_order(project: Path) -> None:
    for pairs in ((OLD, NEW), (NEW, OLD)):
        assert keys.sealing_certificate(stack_file(project, *pairs), NOW) == NEW.certificate
    lines = list(keys.descriptions(stack_file(project, OLD, NEW)))
    assert [line.rpartition("  ")[2] for line in lines] == ["reads", "seals and reads"]
    assert "2025-01-01" in lines[0]


@pytest.mark.parametrize("year", [2025, 2037])
def test_a_certificate_that_is_not_valid_now_seals_nothing(project: Path, year: int) -> None:
    with pytest.raises(PlatformError, match="valid from 2026-01-01 to 2035-12-30, and not now"):
        keys.sealing_certificate(stack_file(project, NEW), NOW.replace(year=year))


def test_without_a_key_pair_the_next_command_is_told(project: Path) -> None:
    with pytest.raises(PlatformError, match="sealing-keys new --stack dev"):
        keys.certificates(stack_file(project))
    encrypted = stack_file(project, NEW).read_text().replace("certificate: ", "certificates: ")
    (project / "Pulumi.dev.yaml").write_text(encrypted)
    with pytest.raises(PlatformError, match=r"keys\[0\]\.certificate that is not one certificate"):
        keys.certificates(project / "Pulumi.dev.yaml")


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PulumiCommand:
    (tmp_path / "bin").mkdir()
    command = PulumiCommand(tmp_path / "bin", monkeypatch)
    # As `pulumi config set`, which writes into the file of --config-file.
    command.script('for word; do [ "$last" = --config-file ] && file=$word; last=$word; done\n'
                   'echo "# $(cat | head -1)" >>"$file"')  # fmt: skip
    return command


def test_keys_reach_pulumi_on_no_command_line_and_all_or_none_of_them(
    project: Path, pulumi: PulumiCommand
) -> None:
    file = stack_file(project)
    before = file.read_text()
    keys.add(Stack("dev", project), [OLD, NEW])
    assert not any("BEGIN" in call for call in pulumi.calls)
    written = [call.split(" --stack")[0] for call in pulumi.calls]
    assert written == [
        "config set --plaintext --path doks-gitops:sealedSecrets.chart.version",
        "config set --plaintext --path doks-gitops:sealedSecrets.chart.repository",
        "config set --plaintext --path doks-gitops:sealedSecrets.keys[0].certificate",
        "config set --secret --path doks-gitops:sealedSecrets.keys[0].privateKey",
        "config set --plaintext --path doks-gitops:sealedSecrets.keys[1].certificate",
        "config set --secret --path doks-gitops:sealedSecrets.keys[1].privateKey",
    ]
    lines = file.read_text().removeprefix(before).splitlines()
    assert lines[:3] == [f"# {keys.CHART_VERSION}", "# https://mirror.test",
                         "# -----BEGIN CERTIFICATE-----"]  # fmt: skip
    assert [path.name for path in project.iterdir()] == ["Pulumi.dev.yaml"]

    after = file.read_text()
    pulumi.script(
        '[ "$4 $5" = "--path doks-gitops:sealedSecrets.keys[0].privateKey" ] && exit 255; true'
    )
    with pytest.raises(PlatformError, match=r"config set --secret --path"):
        keys.add(Stack("dev", project), [OLD])
    assert file.read_text() == after


def test_a_renewal_is_appended(project: Path, pulumi: PulumiCommand) -> None:
    stack_file(project, OLD)
    keys.add(Stack("dev", project), [NEW])
    written = [call.split()[4] for call in pulumi.calls]
    assert written == [f"doks-gitops:sealedSecrets.keys[1].{name}" for name in
                       ("certificate", "privateKey")]  # fmt: skip


def test_only_unknown_key_pairs_are_imported(project: Path) -> None:
    assert keys.unknown(stack_file(project, OLD), [OLD, NEW]) == [NEW]
    assert keys.unknown(stack_file(project), [OLD]) == [OLD]


def platform(*words: str, text: str = "") -> str:
    """The standard output of `bin/platform WORDS`. Raises `PlatformError`."""
    result = CliRunner().invoke(cli.app, words, input=text, catch_exceptions=True)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_value_from_a_pipe_is_sealed_without_pulumi(project: Path, pulumi: PulumiCommand) -> None:
    stack_file(project, NEW)
    words = ["seal", "-C", str(project), "--stack", "dev", "--name", "db", "--namespace", "shop"]
    sealed = yaml.safe_load(platform(*words, "--from-file", "password=-", text=PASSWORD))
    assert unsealed(sealed, b"shop/db") == {"password": PASSWORD.encode()}
    assert not pulumi.calls
    output = project / "sealed.yaml"
    platform(*words, "--output", str(output), text=yaml.safe_dump(SECRET))
    assert unsealed(yaml.safe_load(output.read_text()), b"shop/db")["cert"] == b"\x00\xff"


def test_a_plain_secret_that_a_commit_would_publish_is_refused(project: Path) -> None:
    stack_file(project, NEW)
    plain = project / "plain.yaml"
    plain.write_text(yaml.safe_dump(SECRET))
    words = ["seal", "-C", str(project), "--stack", "dev"]
    platform(*words, str(plain))
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    for refused in ([str(plain)], ["--name", "db", "--from-file", f"a={plain}"]):
        with pytest.raises(PlatformError, match="a commit would publish it"):
            platform(*words, "--namespace", "shop", *refused)
    (project / ".gitignore").write_text("plain.yaml\n")
    platform(*words, str(plain))


def test_an_export_is_readable_for_its_user_alone(project: Path, pulumi: PulumiCommand) -> None:
    stack_file(project, OLD)
    section = {"keys": [{"certificate": OLD.certificate, "privateKey": OLD.private_key}]}
    pulumi.prints({"value": json.dumps(section), "objectValue": section, "secret": True})
    target = project / "keys.pem"
    words = ["sealing-keys", "export", "-C", str(project), "--stack", "dev"]
    assert keys.parse(platform(*words)) == [OLD]
    platform(*words, "--file", str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert keys.parse(target.read_text()) == [OLD]
    with pytest.raises(PlatformError, match="File exists"):
        platform(*words, "--file", str(target))
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    with pytest.raises(PlatformError, match="a commit would publish it"):
        platform(*words, "--file", str(project / "other.pem"))
    assert not (project / "other.pem").exists()


def test_a_second_first_key_pair_is_refused(project: Path) -> None:
    stack_file(project, OLD)
    with pytest.raises(PlatformError, match="sealing-keys renew --stack dev"):
        platform("sealing-keys", "new", "-C", str(project), "--stack", "dev")


@pytest.mark.parametrize("action", ["new", "renew", "list"])
def test_an_action_without_a_file_takes_none(project: Path, action: str) -> None:
    with pytest.raises(PlatformError, match=f"With {action}, --file would have no effect"):
        platform("sealing-keys", action, "-C", str(project), "--stack", "dev", "--file", "keys.pem")
