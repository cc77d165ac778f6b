"""Go templates with the functions of Sprig, evaluated by Helm, which has both.

https://argo-cd.readthedocs.io/en/stable/operator-manual/applicationset/GoTemplate/
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from doks_gitops.diff.repo_server import RenderError, limited, program

TIMEOUT = 60
"""Seconds that the evaluation of one ApplicationSet may take."""
_CHART = "apiVersion: v2\nname: templates\nversion: 0.0.0\n"
_OF_ARGO_CD = re.compile(r'function "(normalize|slugify)" not defined')
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnknownFunction(RenderError):
    """A template uses a function that only Argo CD has."""


def render(templates: Sequence[Any], params: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Every template with every set of parameters; one list for each set.

    A template is a text, or an object whose texts are templates. A key that the parameters lack
    becomes an empty text. Raises `RenderError`.
    """
    texts = list(dict.fromkeys(text for template in templates for text in _texts(template)))
    definitions = "".join(
        f'{{{{ define "t{index}" }}}}{text}{{{{ end }}}}\n' for index, text in enumerate(texts)
    )
    calls = " ".join(f'(include "t{index}" .)' for index in range(len(texts)))
    loop = f"{{{{- range .Values.params }}}}\n- {{{{ list {calls} | toJson }}}}\n{{{{- end }}}}\n"
    rendered = _helm(definitions, "results:" + loop, {"params": list(params)})["results"]
    results = []
    for row in rendered:
        by_text = dict(zip(texts, row, strict=True))
        results.append([_replaced(template, by_text) for template in templates])
    return results


def _helm(definitions: str, template: str, values: Mapping[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as temporary:
        chart = Path(temporary, "chart")
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text(_CHART)
        (chart / "values.yaml").write_text(json.dumps(values))
        (chart / "templates/_texts.tpl").write_text(definitions)
        (chart / "templates/results.yaml").write_text(template)
        try:
            done = subprocess.run(
                [*limited(), program("helm"), "template", "templates", str(chart)],
                check=False, text=True, capture_output=True, timeout=TIMEOUT,
                env={"HOME": temporary, "PATH": os.defpath},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RenderError(f"The templates took more than {TIMEOUT} seconds.") from None
    if done.returncode:
        reason = " ".join(done.stderr.split()).removeprefix("Error: ")
        raise (UnknownFunction if _OF_ARGO_CD.search(reason) else RenderError)(reason)
    return yaml.load(done.stdout, Loader=_LOADER)


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, str):
        if "{{" in template:
            yield template
    elif isinstance(template, Mapping):
        for key, item in template.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(template, list):
        for item in template:
            yield from _texts(item)


def _replaced(template: Any, by_text: Mapping[str, str]) -> Any:
    if isinstance(template, str):
        return by_text.get(template, template)
    if isinstance(template, Mapping):
        return {_replaced(key, by_text): _replaced(item, by_text) for key, item in template.items()}
    if isinstance(template, list):
        return [_replaced(item, by_text) for item in template]
    return template
