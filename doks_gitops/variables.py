"""Environment variables for child processes: put together from those that they need, not inherited.

A variable that the user has set for something else could break them, or send secrets elsewhere:
`GIT_DIR` in a hook of Git, `PYTHONPATH`, `PULUMI_DEBUG_GRPC`, a proxy without exceptions.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable, Mapping, MutableMapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Never reached through a proxy, which would read the account's token on its way."""

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_SYSTEM = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
        *("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI"),
        *("EDITOR", "VISUAL", "PAGER"),
        *("SSH_AUTH_SOCK", "SSH_ASKPASS", "GNUPGHOME", "GPG_TTY"),
        *_PROXIES,
        *map(str.lower, _PROXIES),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        # Where the Go compiler gets modules from, and where it keeps them.
        *("GOPROXY", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOSUMDB", "GONOSUMDB", "GOVCS"),
        *("GOAUTH", "GOENV", "GOPATH", "GOMODCACHE", "GOCACHE"),
        # The user's plugins for Pulumi.
        "PULUMI_HOME",
        "GITHUB_STEP_SUMMARY",
    }
)
_OWN_PREFIX = "DOKS_GITOPS_"
_SYSTEM_PREFIXES = ("LC_", "XDG_", "SANDBOX_", _OWN_PREFIX)

_GIT = frozenset(
    {
        *("GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_TERMINAL_PROMPT"),
        # Settings of the user or of a workflow (https://git-scm.com/docs/git-config#ENVIRONMENT).
        # GIT_CONFIG_PARAMETERS is not one: Git has it for the children of `git -c`, such as hooks.
        *("GIT_CONFIG_COUNT", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
        # The credential helper of GitHub's command line takes it.
        "GITHUB_TOKEN",
    }
)
_GIT_PREFIXES = ("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")

# For RESTIC_PASSWORD: the password of the volumes' copies.
_DEPLOYMENT = _GIT | {"ARGOCD_AUTH_TOKEN", "RESTIC_PASSWORD"}
"""Access to Git, to Argo CD and to copies, for deployments to a real account."""
_DEPLOYMENT_PREFIXES = (
    *_GIT_PREFIXES,
    *("PULUMI_", "DIGITALOCEAN_", "GITHUB_", "ACTIONS_", "RUNNER_"),
    # Backends and secrets providers: https://www.pulumi.com/docs/iac/concepts/state-and-backends/
    *("AWS_", "SPACES_", "AZURE_", "ARM_", "GOOGLE_", "CLOUDSDK_", "VAULT_", "PG"),
)
_BREAKING_PREFIXES = ("PULUMI_DEBUG", "PULUMI_OPTION_", "PULUMI_PYTHON", "PULUMI_RUNTIME")
"""They attach debuggers, write requests with secrets to files, add options to commands, and choose
another Python."""


def restricted(environ: Mapping[str, str], *, deployment: bool) -> dict[str, str]:
    """Returns the variables of `environ` for child processes, and loopback among the exceptions of
    proxies.

    `deployment`: with those of Pulumi, its backends and providers, and Git; not in the sandbox,
    which has its own.
    """
    names = _SYSTEM | _DEPLOYMENT if deployment else _SYSTEM
    prefixes = _SYSTEM_PREFIXES + _DEPLOYMENT_PREFIXES if deployment else _SYSTEM_PREFIXES
    variables = {
        name: value
        for name, value in environ.items()
        if name in names or (name.startswith(prefixes) and not name.startswith(_BREAKING_PREFIXES))
    }
    if "LD_LIBRARY_PATH" in environ and sysconfig.get_config_var("Py_ENABLE_SHARED"):
        # This Python may find its own library by it alone.
        variables["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    return variables | no_proxy(environ)


def of_kubectl(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of `environ` for kubectl: those of the system alone."""
    variables = restricted(environ, deployment=False)
    return {k: v for k, v in variables.items() if not k.startswith(_OWN_PREFIX)}


def of_git(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of `environ` for Git: those of the system, its own, and the token for
    GitHub. Its hooks and credential helpers get no passphrase and no key of a cloud."""
    own = {k: v for k, v in environ.items() if k in _GIT or k.startswith(_GIT_PREFIXES)}
    return of_kubectl(environ) | own


def first_set(names: Iterable[str]) -> str | None:
    """Returns the first of the variables of this process that is set and not empty."""
    return next(filter(None, map(os.environ.get, names)), None)


def no_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the exceptions of proxies of `environ`, in both spellings, with loopback."""
    hosts = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    known = [host.strip() for host in hosts.split(",") if host.strip()]
    value = ",".join([*known, *(host for host in LOOPBACK if host not in known)])
    return {"NO_PROXY": value, "no_proxy": value}


def restrict(environ: MutableMapping[str, str] = os.environ, *, deployment: bool) -> None:
    """Reduces the variables of this process, which its children inherit, to `restricted`."""
    variables = restricted(environ, deployment=deployment)
    environ.clear()
    environ.update(variables)
