"""What is in the place of a stack file: anything ends in settings or in findings."""

import os
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from pulumi.runtime.config import set_all_config

from doks_gitops import settings
from doks_gitops.costs.stacks import bills
from doks_gitops.errors import PlatformError
from doks_gitops.promotion.layout import LayoutError
from doks_gitops.promotion.scaffold import read_sections
from doks_gitops.settings.load import decoded, read_all
from doks_gitops.settings.offline import billable_sections
from doks_gitops.settings.stackfile import DEEPEST, StackFile
from tests.unit.stackfiles import CLUSTER, as_text, own_files
from tests.unit.test_settings_invalid_stacks import FILE

DEEP = "config: " + "[" * 100_000
BROKEN = {
    "list": "- a",
    "config-list": "config: [1]",
    "config-number": "config: {1: 2}",
    "merge": "config:\n  doks-gitops:cluster: {<<: {name: a}}",
    "tag": "config: !!python/object/apply:os.system [echo]",
    "number-that-is-none": "config: {a: !!int x}",
    "date-that-is-none": "config: {'doks-gitops:cluster': {name: 2024-13-45}}",
    "object-as-a-key": "config: {? {a: b} : c}",
    "deep": DEEP,
    "deep-blocks": "config:\n" + "\n".join(" " * depth + "a:" for depth in range(1, 3000)),
    "many-aliases": "a: &a [x, x]\n"
    + "\n".join(
        f"{new}: &{new} [*{old}, *{old}]" for old, new in zip("abcdefg", "bcdefgh", strict=True)
    ),
    "number-of-many-digits": f"config: {{'doks-gitops:cluster': {{name: 0x{'f' * 20_000}}}}}",
    "empty": "",
    "control": "config: {a: \x01}",
    "secure-list": "config: {'doks-gitops:cluster': {name: {secure: [1]}}}",
}


@pytest.mark.parametrize("name", BROKEN)
def test_costs_of_a_broken_stack_file_end_in_findings(name: str) -> None:
    with pytest.raises(settings.SettingsError):
        billable_sections("dev", BROKEN[name])


@pytest.mark.parametrize("name", ["list", "config-list", "merge", "tag", "deep", "empty"])
def test_layout_of_a_broken_stack_file_ends_in_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(BROKEN[name])
    with pytest.raises(LayoutError, match="is not a stack file"):
        read_sections(tmp_path, "dev")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    path.symlink_to("nothing")


def make_binary(path: Path) -> None:
    path.write_bytes(b"config: \xff\xfe")


def make_deep(path: Path) -> None:
    path.write_text(DEEP)


@pytest.mark.parametrize("make", [make_folder, make_link, os.mkfifo, make_binary, make_deep])
def test_sibling_that_is_no_stack_file_is_a_finding(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in own_files().items():
        (tmp_path / name).write_text(text)
    make(tmp_path / "Pulumi.qa.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pulumi.get_stack", lambda: "dev")
    set_all_config(as_text({"doks-gitops:cluster": CLUSTER}), [])
    try:
        with pytest.raises(settings.SettingsError) as refusal:
            settings.load()
    finally:
        set_all_config({}, [])
    sources = {finding.source for finding in refusal.value.findings}
    assert "Pulumi.qa.yaml" in sources
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", "dop_v1_1")
    with pytest.raises(PlatformError, match=r"Pulumi\.qa\.yaml"):
        bills(["qa"], tmp_path)


def test_chart_that_is_not_there_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pulumi.get_stack", lambda: "dev")
    config = dict(FILE["base"]) | {
        "digitalocean:token": "dop_v1_1",
        "doks-gitops:argocd": {"chart": {"path": "charts/argo-cd"}},
    }
    set_all_config(as_text(config), ["digitalocean:token"])
    try:
        with pytest.raises(settings.SettingsError, match="which does not exist"):
            settings.load()
        (tmp_path / "charts/argo-cd").mkdir(parents=True)
        assert settings.load().argocd.chart.path == "charts/argo-cd"
    finally:
        set_all_config({}, [])


def test_nesting_is_limited_before_it_is_read() -> None:
    StackFile("config: " + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1))
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        StackFile("config: " + "[" * DEEPEST + "]" * DEEPEST)
    assert isinstance(decoded("doks-gitops:cluster", "[" * 10**6 + "]" * 10**6), str)


# Characters that YAML, URLs, patterns and terminals treat in a special way, and usual ones.
CHARACTERS = st.sampled_from(
    string.ascii_letters + string.digits + "-_./:@*?[]{}#&!|>%~^$'\"\\,= \t\n\r"
    "\0\x01\x7f\x85\xa0\u0660\u200b\u200d\u202e\u2028\ufeff\ud800\U0001f600"
)
TEXTS = st.text(CHARACTERS, max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**30, 10**4000, float("nan"), float("inf"), 0.5]),
    TEXTS,
)
STRUCTURES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all values in `value`."""
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    return [path, *(below for key, child in children for below in paths(child, (*path, key)))]


EXAMPLES: list[dict[str, Any]] = [FILE["base"]]
EXAMPLES += [FILE["base"] | case["patch"] for case in FILE["cases"].values() if "patch" in case]
PLACES = [(index, path) for index, example in enumerate(EXAMPLES) for path in paths(example)[1:]]


def changed(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """A copy of `value` with `new` at `path`."""
    if not path:
        return new
    if isinstance(value, dict):
        return value | {path[0]: changed(value[path[0]], path[1:], new)}
    index = path[0]
    assert isinstance(index, int)
    return [*value[:index], changed(value[index], path[1:], new), *value[index + 1 :]]


def parse(config: dict[str, Any], files: dict[str, str]) -> None:
    try:
        parsed = settings.parse("dev", config, files)
    except settings.SettingsError as error:
        str(error).encode()
    else:
        repr(parsed).encode()


QUICK = limits(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@QUICK
@given(place=st.sampled_from(PLACES), new=STRUCTURES)
def test_any_value_at_any_place_ends_in_settings_or_findings(
    place: tuple[int, tuple[str | int, ...]], new: Any
) -> None:
    index, path = place
    config = changed(EXAMPLES[index], path, new)
    parse(config, {})


@QUICK
@given(text=st.one_of(TEXTS, st.text(), STRUCTURES.map(yaml.safe_dump)))
def test_any_text_as_a_stack_file_ends_in_settings_or_findings(text: str) -> None:
    parse(dict(FILE["base"]), {"Pulumi.dev.yaml": text})
    parse(dict(FILE["base"]), {"Pulumi.prod.yaml": text})
    for content in (text, f"config: {text}", f"config: {{'doks-gitops:cluster': {text}}}"):
        try:
            billable_sections("dev", content)
        except settings.SettingsError as error:
            str(error).encode()


@QUICK
@given(key=st.sampled_from(sorted(FILE["base"])), text=TEXTS)
def test_any_text_of_a_configuration_key_ends_in_settings_or_findings(key: str, text: str) -> None:
    parse(dict(FILE["base"]) | {key: decoded(key, text)}, {})


@QUICK
@given(content=st.binary(max_size=40))
def test_any_bytes_in_a_sibling_end_in_settings_or_findings(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("project")
    (folder / "Pulumi.prod.yaml").write_bytes(content)
    try:
        files = read_all(folder)
    except settings.SettingsError as error:
        str(error).encode()
    else:
        parse(dict(FILE["base"]), files)


def test_secret_beside_an_encrypted_one_is_not_hidden_by_a_merge_key() -> None:
    own = """config:
  doks-gitops:repositories:
    one: &one {url: 'https://git.example.com/a', credentials: {password: {secure: x}}}
    two: {<<: *one, url: 'https://git.example.com/b', credentials: {password: hunter2}}
"""
    for text in (own, own.replace("*one", "{username: git}")):
        with pytest.raises(settings.SettingsError, match=r"an alias|a merge key \(<<\) in line 4"):
            settings.parse("dev", dict(FILE["base"]), {"Pulumi.dev.yaml": text})


def test_stack_files_of_the_repository_belong_to_no_state() -> None:
    """With the salt of a passphrase that nobody else has, `pulumi stack init` fails."""
    for name, text in own_files().items():
        assert yaml.safe_load(text).keys() == {"config"}, name
