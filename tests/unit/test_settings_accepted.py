"""Unusual values of stack files that are valid, each with the reason: what takes it."""

import re
from typing import Any

import pytest
import yaml

from doks_gitops.settings.github import GitHub
from tests.unit.stackfiles import CLUSTER, ROOT, configuration, parsed
from tests.unit.test_ssh_key import private

KEY = private()
TAINT = {"key": "gpu", "effect": "NoSchedule"}
OTHER = {"kustomize": {"namePrefix": "b-"}}


def application(**keys: Any) -> dict[str, Any]:
    return {"applications": {"shop": {"path": "shop", "namespace": "shop-dev", **keys}}}


def repository(url: str, **keys: Any) -> dict[str, Any]:
    return {"repositories": {"monorepo": {"url": url, **keys}}}


def project(**keys: Any) -> dict[str, Any]:
    return {"project": {"namespaces": ["shop-dev"], **keys}}


def github(**keys: Any) -> dict[str, Any]:
    return {"github": {"owner": "team", "repository": "shop", "token": "github_pat_1", **keys}}


ACCEPTED: dict[str, dict[str, Any]] = {
    "the autoscaler stops at DOKS's limit, which the pools share": {
        "cluster": CLUSTER
        | {
            "nodePools": [
                {"name": name, "size": "c-2", "autoscale": {"min": 1, "max": 400}}
                for name in ("one", "two")
            ]
        }
    },
    "Kubernetes and DOKS take a taint of one key with two effects": {
        "cluster": CLUSTER
        | {
            "nodePools": [
                {
                    "name": "p" * 55,
                    "size": "c-2",
                    "count": 1,
                    "taints": [
                        {"key": "gpu", "effect": "NoSchedule"},
                        {"key": "gpu", "effect": "NoExecute"},
                    ],
                    "labels": {"example.com/tier": "web", "my-k8s.io/tier": "web"},
                }
            ]
        },
        "argocd": {
            "chart": {"version": "1.2.3"},
            "values": {"global": {"tolerations": [{"operator": "Exists"}]}},
        },
    },
    "a password of spaces is one for bcrypt": {
        "argocd": {
            "chart": {"version": "1.2.3"},
            "admin": {"password": " " * 12, "passwordSetAt": "2026-01-31T12:00:00Z"},
        }
    },
    "Git sends any password on": repository(
        "https://git.example.com/team/shop", credentials={"password": "   "}
    ),
    "the sandbox's Git server is on this machine": repository("http://localhost/shop"),
    "a Git server decides what two slashes mean": repository("https://git.example.com//shop"),
    "DNS has names in other scripts in this form": repository("https://xn--gthub-n4a.com/shop"),
    "a path over SSH may be absolute": repository("git@git.example.com:/srv/git/shop.git"),
    "the owner of a project may give Argo CD's own namespace away": project(
        namespaces=["argocd", "shop-dev"], allowAny=True
    ),
    "Argo CD deploys to kube-system, if its project says so": {
        **project(namespaces=["kube-system"], clusterResources=[]),
        **application(namespace="kube-system"),
    },
    "no namespace is created": {
        **project(clusterResources=[]),
        **application(sync={"options": ["CreateNamespace=false"]}),
    },
    "Kubernetes counts characters, and takes lines": project(description="\u00e4\n" * 127),
    "Argo CD takes charts from a registry, with and without a scheme": project(
        sourceRepos=[
            "oci://ghcr.io/team/charts",
            "ghcr.io/team/charts",
            "registry-1.docker.io/team",
            "https://charts.example.com",
        ]
    ),
    "charts come from Helm repositories and registries, and their values from Git": {
        "repositories": {
            "charts": {"url": "https://charts.example.com", "type": "helm"},
            "registry": {
                "url": "127.0.0.1:5000/charts",
                "type": "helm",
                "plainHttp": True,
                "credentials": {"username": "robot", "password": "token"},
            },
            "artifacts": {"url": "oci://ghcr.io/team/shop", "type": "oci"},
            "git": {"url": "https://git.example.com/team/shop", "enableLfs": True},
        },
        "credentialTemplates": {
            "team": {
                "url": "https://git.example.com/team/",
                "credentials": {"password": "token"},
            },
            "host": {"url": "https://git.example.com/", "credentials": {"password": "token"}},
            "ssh": {"url": "git@git.example.com:team/", "credentials": {"sshPrivateKey": KEY}},
            "registry": {
                "url": "ghcr.io/team/",
                "type": "helm",
                "credentials": {"username": "robot", "password": "token"},
            },
        },
        "applications": {
            "shop": {
                "namespace": "shop-dev",
                "sources": [
                    {
                        "repository": "charts",
                        "chart": "redis",
                        "version": "v1.2.3-rc.1",
                        "helm": {"valueFiles": ["values.yaml", "$values/redis.yaml"]},
                    },
                    {"repository": "git", "revision": "main", "ref": "values"},
                    {"repository": "artifacts", "version": f"sha256:{'0' * 64}"},
                ],
            },
            "cache": {
                "repository": "registry",
                "chart": "redis",
                "version": "1.2.3",
                "namespace": "shop-dev",
            },
        },
    },
    "no pattern of the project excludes this repository": {
        **project(sourceRepos=["!https://git.example.com/*"], allowAny=True),
        **application(path="shop"),
    },
    "Argo CD takes roles, windows, orphans and denied kinds": {
        **application(),
        **project(
            roles={
                "Deployer_1": {
                    "policies": [
                        "p, proj:dev:Deployer_1, applications, action/*, dev/*, allow",
                        "p, proj:dev:Deployer_1, logs, get, dev/shop-dev/shop, deny",
                    ],
                    "groups": ["team:deployers", '"cn=deployers,ou=team"'],
                    "jwtTokens": [{"id": "ci", "iat": 1767225600}],
                }
            },
            syncWindows=[
                {
                    "kind": "deny",
                    "schedule": "0 22 * * FRI",
                    "duration": "48h30m",
                    "timeZone": "America/Argentina/Buenos_Aires",
                    "applications": ["sh*"],
                    "namespaces": ["shop-*"],
                    "andOperator": True,
                }
            ],
            orphanedResources={"ignore": [{"kind": "ConfigMap", "name": "kube-root-ca.crt"}]},
            deniedNamespaceResources=[{"kind": "Secret"}],
        ),
    },
    "Argo CD takes patterns": project(
        sourceRepos=["https://github.com/{a,b}/*", "!https://github.com/team/old"], allowAny=True
    ),
    "Argo CD compares the full name of a reference as well": application(
        revision="refs/heads/main"
    ),
    "no shell reads a revision": application(revision="`id`"),
    "the folder is the repository's own": application(path="."),
    "a path with two slashes is the same folder": application(path="a//b"),
    "no shell reads a folder": application(path="$HOME"),
    "two applications of one folder make different objects": {
        "applications": {
            "shop": {"path": "shop", "namespace": "shop-dev"},
            "twin": {"path": "shop", "namespace": "shop-dev", **OTHER},
        }
    },
    "Kustomize takes each of these overrides": application(
        kustomize={
            "images": [
                "shop:v1",
                "localhost:5000/team/shop=registry.example.com/shop:v2",
                f"shop@sha256:{'0' * 64}",
                "front=*:v1",
                "back=shop:$ARGOCD_APP_REVISION",
            ],
            "commonLabels": {"app.kubernetes.io/part-of": "shop"},
        }
    ),
    "a JSON pointer has '/' and '~' as escapes": application(
        ignoreDifferences=[
            {"kind": "Service", "jsonPointers": ["/metadata/labels/app.kubernetes.io~1name"]}
        ]
    ),
    "GitHub distinguishes the names of two checks by case": github(
        ruleset={"checks": ["test", "Test"]}
    ),
    "an enterprise's managed users have '_' in their logins": github(
        environments={"prod": {"users": ["ada_shop"]}}
    ),
}


@pytest.mark.parametrize("reason", ACCEPTED)
def test_value_is_accepted_because(reason: str) -> None:
    parsed(**ACCEPTED[reason])


def test_private_key_with_the_line_ends_of_windows_gets_those_of_unix() -> None:
    settings = parsed(
        **repository(
            "git@git.example.com:team/shop.git",
            credentials={"sshPrivateKey": KEY.replace("\n", "\r\n")},
        )
    )
    credentials = settings.repositories["monorepo"].credentials
    assert credentials is not None
    assert credentials.ssh_private_key is not None
    assert credentials.ssh_private_key.get_secret_value() == KEY


def test_highly_available_argo_cd_runs_on_tainted_nodes_that_it_tolerates() -> None:
    tainted = {"name": "gpu", "size": "c-2", "count": 3, "taints": [TAINT]}
    cluster = CLUSTER | {"nodePools": [{"name": "default", "size": "c-2", "count": 1}, tainted]}
    argocd = {
        "chart": {"version": "1.2.3"},
        "highAvailability": True,
        "values": {"redis-ha": {"tolerations": [{"operator": "Exists"}]}},
    }
    assert parsed(cluster=cluster, argocd=argocd).argocd.high_availability


def test_secret_larger_than_github_takes_is_refused() -> None:
    section = github(secrets={"KEY": "x" * (48 * 1024)})["github"]
    assert GitHub.model_validate(section).secrets
    section["secrets"] = {"KEY": "x" * (48 * 1024 + 1)}
    with pytest.raises(ValueError, match="at most 49152 bytes"):
        GitHub.model_validate(section)


EXAMPLES = re.findall(
    r"<!-- checked by (\S+) -->\n```yaml\n(.*?)```",
    (ROOT / "docs" / "add-application.md").read_text(),
    re.DOTALL,
)


@pytest.mark.parametrize(("file", "example"), EXAMPLES)
def test_example_of_the_documentation_is_valid(file: str, example: str) -> None:
    assert (ROOT / file).samefile(__file__)
    config = yaml.safe_load(example)
    text = yaml.safe_dump({"config": config})
    sections, _ = configuration(text)
    parsed(**{key.partition(":")[2]: section for key, section in sections.items()})
