"""The Applications that an ApplicationSet generates from a commit."""

import json
from pathlib import Path
from typing import Any

import pytest

from doks_gitops.diff import applicationsets
from doks_gitops.diff.applicationsets import Context, Generated

URL = "https://git.test/team/monorepo"
FACTS = {"environment": "dev", "region": "nyc1"}
TEMPLATE = {
    "metadata": {"name": "dev-{{path.basename}}"},
    "spec": {"project": "dev", "source": {"repoURL": URL, "path": "{{path}}"}},
}


def generate(
    folder: Path, *generators: dict[str, Any], template: Any = None, **spec: Any
) -> Generated:
    context = Context(folder, lambda url: url == URL, lambda _: "head", "head", FACTS)
    content = {"generators": list(generators), "template": template or TEMPLATE, **spec}
    item = {"metadata": {"name": "apps"}, "spec": content}
    return applicationsets.generate(item, "root", context)


def names(generated: Generated) -> list[str]:
    return [application.name for application in generated.applications]


def git(**content: Any) -> dict[str, Any]:
    return {"git": {"repoURL": URL, "revision": "HEAD", **content}}


def test_folders_make_applications_but_excluded_and_hidden_ones(tmp_path: Path) -> None:
    for name in ("cart", "web", "old", ".hidden", "web/deep"):
        (tmp_path / "apps" / name).mkdir(parents=True, exist_ok=True)
    directories = [{"path": "apps/*"}, {"path": "apps/old", "exclude": True}]
    generated = generate(tmp_path, git(directories=directories))
    assert names(generated) == ["dev-cart", "dev-web"]
    assert generated.applications[0].spec["source"]["path"] == "apps/cart"


def test_files_give_their_content_as_parameters(tmp_path: Path) -> None:
    file = tmp_path / "apps/web/dev/config.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"app": {"name": "web"}, "replicas": 2}))
    template = {"metadata": {"name": "{{ app.name }}-{{path[1]}}-{{replicas}}"}}
    files = [{"path": "apps/**/config.json"}]
    assert names(generate(tmp_path, git(files=files), template=template)) == ["web-web-2"]


def test_broken_file_stops_the_set_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    others = {"list": {"elements": [{"path.basename": "a"}]}}
    generated = generate(tmp_path, others, git(files=[{"path": "*.json"}]))
    assert names(generated) == []
    assert "config.json is broken" in str(generated.error)


def test_cluster_is_selected_by_the_facts_that_the_stack_gives_it(tmp_path: Path) -> None:
    def clusters(environment: str) -> dict[str, Any]:
        return {"clusters": {"selector": {"matchLabels": {"environment": environment}}}}

    template = {"metadata": {"name": "{{metadata.labels.region}}-{{name}}"}}
    generated = generate(tmp_path, clusters("dev"), clusters("prod"), template=template)
    assert names(generated) == ["nyc1-in-cluster"]


def test_matrix_combines_and_the_second_generator_sees_the_first(tmp_path: Path) -> None:
    for name in ("a/x", "a/y", "b/z"):
        (tmp_path / name).mkdir(parents=True)
    first = {"list": {"elements": [{"team": "a"}, {"team": "b"}]}}
    matrix = {"matrix": {"generators": [first, git(directories=[{"path": "{{team}}/*"}])]}}
    assert names(generate(tmp_path, matrix)) == ["dev-x", "dev-y", "dev-z"]


def test_merge_joins_the_parameters_by_their_keys(tmp_path: Path) -> None:
    base = {"list": {"elements": [{"name": "a", "size": "s"}, {"name": "b", "size": "s"}]}}
    override = {"list": {"elements": [{"name": "b", "size": "l"}, {"name": "c", "size": "x"}]}}
    merge = {"merge": {"mergeKeys": ["name"], "generators": [base, override]}}
    generated = generate(tmp_path, merge, template={"metadata": {"name": "{{name}}-{{size}}"}})
    assert names(generated) == ["a-s", "b-l"]


def test_empty_fields_of_a_generators_own_template_do_not_override(tmp_path: Path) -> None:
    own = {"metadata": {}, "spec": {"project": "", "source": {"path": "own"}}}
    [application] = generate(
        tmp_path, {"list": {"elements": [{"path.basename": "a"}], "template": own}}
    ).applications
    assert (application.spec["project"], application.spec["source"]["path"]) == ("dev", "own")


@pytest.mark.parametrize(
    "generator",
    [{"pullRequest": {}}, {"scmProvider": {}}, {"plugin": {}},
     {"git": {"repoURL": "https://git.test/other", "directories": [{"path": "*"}]}}],
)  # fmt: skip
def test_generator_that_needs_more_than_the_commit_is_told(
    tmp_path: Path, generator: dict[str, Any]
) -> None:
    generated = generate(tmp_path, generator)
    assert names(generated) == []
    assert generated.notes[0].startswith("ApplicationSet apps: the generator")


@pytest.mark.parametrize("text", ["a: &a 1\nb: *a", "- " * 1000000])
def test_file_that_stands_for_more_than_it_shows_is_not_evaluated(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    generated = generate(tmp_path, git(files=[{"path": "*.json"}]))
    assert names(generated) == []
    assert "config.json is broken" in str(generated.error)


def test_link_out_of_the_repository_is_not_read(tmp_path: Path) -> None:
    clone, outside = tmp_path / "clone", tmp_path / "outside.json"
    clone.mkdir()
    outside.write_text('{"token": "hunter2"}')
    (clone / "a.json").symlink_to(outside)
    template = {"metadata": {"name": "{{token}}"}}
    generated = generate(clone, git(files=[{"path": "*.json"}]), template=template)
    assert names(generated) == []
    assert "link that leaves the repository" in str(generated.error)


@pytest.mark.parametrize(
    ("text", "is_broken"), [("{{ .path.basename", True), ("{{ slugify .path.basename }}", False)]
)
def test_broken_template_is_told_apart_from_a_function_that_only_argo_cd_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_broken: bool
) -> None:
    helm = tmp_path / "bin/helm"
    helm.parent.mkdir()
    reason = "unclosed action" if is_broken else 'function "slugify" not defined'
    helm.write_text(f"#!/bin/sh\necho 'Error: {reason}' >&2\nexit 1\n")
    helm.chmod(0o755)
    monkeypatch.setenv("PATH", str(helm.parent), prepend=":")
    template = {"metadata": {"name": text}}
    generated = generate(
        tmp_path, {"list": {"elements": [{"a": "b"}]}}, template=template, goTemplate=True
    )
    assert (generated.error is not None, len(generated.notes)) == (is_broken, int(not is_broken))
