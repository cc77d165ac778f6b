"""What differs between two renderings."""

from typing import Any

import pytest

from doks_gitops.diff.objects import Change, Key, compare

NAMESPACE = "shop-dev"


def config_map(name: str = "settings", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def deployment(name: str = "web", config: str = "settings", **spec: Any) -> dict[str, Any]:
    container = {"name": name, "image": "web:v1", "envFrom": [{"configMapRef": {"name": config}}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "template": template, **spec},
    }


def changes(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[Change]:
    return list(compare(old, new, NAMESPACE, NAMESPACE))


def test_equal_objects_in_another_order_do_not_differ() -> None:
    assert changes([config_map(a="1"), deployment()], [deployment(), config_map(a="1")]) == []


def test_change_shows_the_lines_that_differ() -> None:
    [change] = changes([deployment()], [deployment(replicas=3)])
    assert (change.operation, change.key) == (
        "update",
        Key("apps", "Deployment", NAMESPACE, "web"),
    )
    assert [line for line in change.diff if line[0] in "+-"] == ["-  replicas: 1", "+  replicas: 3"]


def test_created_and_deleted_objects_are_told() -> None:
    created, deleted = changes([config_map("old", a="1")], [deployment()])
    assert (created.operation, deleted.operation) == ("create", "delete")
    assert "+kind: Deployment" in created.diff
    assert "-kind: ConfigMap" in deleted.diff


def test_object_in_the_default_namespace_is_the_one_that_names_it() -> None:
    named = config_map(a="1")
    named["metadata"]["namespace"] = NAMESPACE
    [change] = changes([config_map(a="1")], [named])
    assert change.operation == "update"


def test_object_without_a_namespace_by_its_kind_is_shown_without_one() -> None:
    [change] = changes([], [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}])
    assert str(change.key) == "Namespace a"


def test_renamed_object_is_one_change() -> None:
    [change] = changes([deployment("web")], [deployment("web", replicas=1) | {
        "metadata": {"name": "shop"}
    }])  # fmt: skip
    assert change.operation == "rename"
    assert change.renamed_from == Key("apps", "Deployment", NAMESPACE, "web")


def test_unlike_objects_are_not_taken_for_a_renamed_one() -> None:
    operations = [x.operation for x in changes([config_map("a", x="1")], [config_map("b", y="2")])]
    assert operations == ["create", "delete"]


def test_new_hash_of_a_generated_name_is_no_change_of_what_refers_to_it() -> None:
    old = [config_map("settings-4g2hk9m6c5", a="1"), deployment(config="settings-4g2hk9m6c5")]
    new = [config_map("settings-7t5bb8ddkf", a="2"), deployment(config="settings-7t5bb8ddkf")]
    [change] = changes(old, new)
    assert (change.operation, change.key.kind) == ("update", "ConfigMap")
    assert [line for line in change.diff if line[0] in "+-"] == ["-  a: '1'", "+  a: '2'"]


def test_value_that_looks_like_a_generated_name_is_shown() -> None:
    [change] = changes([config_map(a="v-2b4c6d8f9g")], [config_map(a="v-9g4c6d8f2b")])
    assert change.operation == "update"


def test_another_default_namespace_moves_the_objects() -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    operations = [change.operation for change in compare([claim], [claim], "shop", "shop2")]
    assert operations == ["create", "delete"]


def test_what_a_deployment_takes_from_another_generated_object_is_shown() -> None:
    old = [deployment(config="settings-4g2hk9m6c5")]
    [change] = changes(old, [deployment(config="others-4g2hk9m6c5")])
    assert any("others-4g2hk9m6c5" in line for line in change.diff)


def test_annotations_that_repeat_the_object_are_left_out() -> None:
    old, new = deployment(), deployment()
    new["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "argocd.argoproj.io/tracking-id": "dev-shop:apps/Deployment:shop-dev/web",
    }
    assert changes([old], [new]) == []


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_values_of_a_secret_are_never_shown_but_their_change_is(field: str) -> None:
    def secret(**values: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, field: values}

    [change] = changes([secret(a="hunter2", b="same")], [secret(a="hunter3", b="same")])
    text = "\n".join(change.diff)
    assert "hunter" not in text
    assert "same" not in text
    assert "+  a: '[secret, changed]'" in change.diff
    assert changes([secret(a="x")], [secret(a="x")]) == []
    [created] = changes([], [secret(a="hunter2")])
    assert "hunter2" not in "\n".join(created.diff)
