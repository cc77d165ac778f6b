"""Sources of every kind that Argo CD renders."""

from typing import Any

import yaml

EXAMPLE = "example/kustomize"
"""Folder of the sandbox's example."""
FILES: dict[str, str] = {
    "corpus/directory/all.yaml": (
        "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap,"
        ' metadata: {name: b}, data: {text: "<a & b> é"}}]}\n---\n'
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: a}, rules:"
        " []}\n"
    ),
    "corpus/directory/deep/more.json": (
        '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "other"}}'
    ),
    "corpus/generated/kustomization.yaml": (
        "secretGenerator: [{name: password, literals: [a=b]}]\n"
        "configMapGenerator: [{name: settings, files: [settings.txt]}]\n"
    ),
    "corpus/generated/settings.txt": "one\ntwo\n",
    "corpus/chart/Chart.yaml": "{apiVersion: v2, name: shop, version: 0.1.0}",
    "corpus/chart/values.yaml": "replicas: 1",
    "corpus/values.yaml": "replicas: 5000000",
    "corpus/chart/templates/shop.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}, annotations: {helm.sh/hook: pre-install}}
data:
  replicas: {{ .Values.replicas | quote }}
  nested: {{ .Values.a.b | quote }}
  namespace: {{ .Release.Namespace }}
  argocd: {{ .Capabilities.APIVersions.Has "argoproj.io/v1alpha1/Application" | quote }}
  cronjobs: {{ .Capabilities.APIVersions.Has "batch/v1/CronJob" | quote }}
""",
    "corpus/chart/crds/shops.yaml": """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shops.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: Shop, plural: shops}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
""",
}
"""Sources of kinds that neither the guide's monorepo nor a repository of argocd-autopilot has."""


def files(url: str) -> dict[str, str]:
    """`FILES` by path, and Applications of argocd-autopilot's dev that render them, those of the
    guide and of the example, and are never synced. `url`: of the repository."""

    def spec(path: str, **more: object) -> dict[str, Any]:
        return {
            "project": "default",
            "source": {"repoURL": url, "targetRevision": "main", "path": path, **more},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "corpus"},
        }

    def declared(kind: str, name: str, content: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "argocd"},
            "spec": content,
        }

    helm = {"valueFiles": ["../values.yaml"], "valuesObject": {"a": {"b": "c"}}}
    generator = {
        "matrix": {
            "generators": [
                {"list": {"elements": [{"who": "one"}, {"who": "two"}]}},
                {
                    "git": {
                        "repoURL": url,
                        "revision": "main",
                        "directories": [
                            {"path": f"{EXAMPLE}/*"},
                            {"path": f"{EXAMPLE}/base", "exclude": True},
                        ],
                    }
                },
            ]
        }
    }
    template = {
        "metadata": {"name": "{{ .who }}-{{ .path.basename }}"},
        "spec": spec("{{ .path.path }}", kustomize={"namePrefix": "{{ .who | upper | lower }}-"}),
    }
    objects = [
        declared("Application", "directory", spec("corpus/directory", directory={"recurse": True})),
        declared("Application", "generated", spec("corpus/generated")),
        declared("Application", "guide", spec("kustomize/prod")),
        declared("Application", "shop", spec("corpus/chart", helm=helm)),
        declared(
            "ApplicationSet",
            "example",
            {"goTemplate": True, "generators": [generator], "template": template},
        ),
    ]
    return FILES | {"argocd/dev/bootstrap/corpus.yaml": yaml.safe_dump_all(objects)}
