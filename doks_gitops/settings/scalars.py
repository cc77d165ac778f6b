"""The scalar values of a stack file: what each kind of text may be, said in words a person can use.

A rule carries its own sentence (`right`), so that the error for a wrong value, the error for a
missing one and the configuration reference say the same thing.

Sources: the DigitalOcean API reference (https://docs.digitalocean.com/reference/api/), Kubernetes
names and labels (https://kubernetes.io/docs/concepts/overview/working-with-objects/), Argo CD's
declarative setup (https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

WRONG = "wrong"
"""Type of the pydantic errors whose message is a sentence of ours, fit to be shown as it is."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a text must be. Raises a pydantic error of type `WRONG` for any other text.

    `hidden` is for texts that may hold a secret by mistake: the value is then never shown.
    `choices` are the only right texts, where they can be listed; a near miss names the nearest.
    """

    right: str
    holds: Callable[[str], bool]
    hidden: Callable[[str], bool] = lambda _: False
    choices: tuple[str, ...] = ()

    def __call__(self, value: str) -> str:
        if not self.holds(value):
            raise PydanticCustomError(
                WRONG, "{right}", {"right": self.right, "hidden": self.hidden(value)}
            )
        return value


@dataclass(frozen=True, slots=True)
class SecretRule:
    """`Rule` for a secret; the value appears in no error."""

    right: str
    holds: Callable[[str], bool]

    def __call__(self, value: SecretStr) -> SecretStr:
        if not self.holds(value.get_secret_value()):
            raise PydanticCustomError(WRONG, "{right}", {"right": self.right, "hidden": False})
        return value


def _matches(pattern: str, longest: int = 255) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: len(text) <= longest and compiled.fullmatch(text) is not None


_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LOWERCASE = "lowercase letters, digits and '-', starting and ending with a letter or digit"

is_dns_label = _matches(_DNS_LABEL, 63)


def is_loopback(host: str) -> bool:
    """Whether `host` can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private(host: str) -> bool:
    if is_loopback(host):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def _may_hold_password(url: str) -> bool:
    """Whether the text before an '@' (a token, say) or a query may be a secret."""
    return bool(re.match(r"(https?|oci)://[^/]*@|[a-z]+://[^/]*:[^/]*@", url)) or "?" in url


def _is_web_url(url: str, schemes: tuple[str, ...] = ("https",)) -> bool:
    """Absolute, without user or password; plain http only to a loopback or private address."""
    if re.search(r"\s", url):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme in schemes or (parts.scheme == "http" and _is_private(host))


_SSH_URL = re.compile(r"ssh://([A-Za-z0-9._-]+@)?[A-Za-z0-9._-]+(:\d+)?/\S+")
_SCP_URL = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9._-]+:[^/\s:]\S*")


def is_ssh_url(url: str) -> bool:
    """Whether Git reaches `url` over SSH: `ssh://git@host/path` or `git@host:path`."""
    return bool(_SSH_URL.fullmatch(url) or _SCP_URL.fullmatch(url))


def _is_repository(url: str) -> bool:
    if is_ssh_url(url):
        return True
    return _is_web_url(url) and urlsplit(url).path.strip("/") != ""


def _is_chart_repository(url: str) -> bool:
    return _is_web_url(url, ("https", "oci"))


def _is_host_url(url: str) -> bool:
    if not _is_web_url(url):
        return False
    host = urlsplit(url).netloc
    return not host.endswith(":") and url.removesuffix("/") == f"https://{host}"


def is_api_endpoint(url: str) -> bool:
    """A token travels in every request, so plain http may not leave this machine."""
    if not _is_web_url(url):
        return False
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


_DOKS_RANGES = ("10.229.0.0/16", "10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/24")


def _is_vpc_range(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    rfc1918 = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    return (
        "/" in text
        and 16 <= network.prefixlen <= 28
        and any(network.subnet_of(ipaddress.IPv4Network(block)) for block in rfc1918)
        and not any(network.overlaps(ipaddress.IPv4Network(block)) for block in _DOKS_RANGES)
    )


def _is_label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    return bool(re.fullmatch(_LABEL_NAME, name)) and (
        not slash or _matches(_DNS_SUBDOMAIN, 253)(prefix)
    )


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def _is_rfc3339(text: str) -> bool:
    if not _RFC3339.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def _is_folder(path: str) -> bool:
    return bool(path.strip()) and not path.startswith("/") and ".." not in path.split("/")


def _is_private_key(text: str) -> bool:
    begin = re.match(r"\s*-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\n", text)
    return begin is not None and f"-----END {begin[1]}-----" in text and "ENCRYPTED" not in text


SYNC_OPTIONS = (
    *(
        f"{name}={value}"
        for name in (
            "ApplyOutOfSyncOnly",
            "ClientSideApplyMigration",
            "CreateNamespace",
            "Delete",
            "FailOnSharedResource",
            "Force",
            "Prune",
            "PruneLast",
            "Replace",
            "RespectIgnoreDifferences",
            "ServerSideApply",
            "SkipDryRunOnMissingResource",
            "Validate",
        )
        for value in ("true", "false")
    ),
    "Delete=confirm",
    "Prune=confirm",
    "PrunePropagationPolicy=background",
    "PrunePropagationPolicy=foreground",
    "PrunePropagationPolicy=orphan",
)
"""Argo CD's sync options (https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/)."""

ADMIN_PASSWORD_LENGTH = range(12, 73)
"""Characters at least, and bytes at most: bcrypt, which Argo CD stores it with, reads 72 bytes."""


def _is_admin_password(text: str) -> bool:
    shortest, longest = ADMIN_PASSWORD_LENGTH[0], ADMIN_PASSWORD_LENGTH[-1]
    return len(text) >= shortest and len(text.encode()) <= longest


def _text(right: str, holds: Callable[[str], bool]) -> AfterValidator:
    return AfterValidator(Rule(right, holds))


def _url(right: str, holds: Callable[[str], bool]) -> AfterValidator:
    return AfterValidator(Rule(right, holds, hidden=_may_hold_password))


Environment = Literal["dev", "staging", "prod"]
ENVIRONMENTS: tuple[str, ...] = get_args(Environment)
"""In the order of promotion."""
Day = Literal["any", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
Tier = Literal["starter", "basic", "professional"]
Manager = Literal["pulumi", "git"]

ClusterName = Annotated[
    str, _text(f"a cluster name: at most 63 {_LOWERCASE}", _matches(_DNS_LABEL, 63))
]
PoolName = Annotated[
    # A node is named <pool>-<five characters> and that name is a label value, so 63 at most.
    str, _text(f"a node pool name: at most 57 {_LOWERCASE}", _matches(_DNS_LABEL, 57))
]
Region = Annotated[
    str, _text("a region slug: three letters and a digit, such as nyc1", _matches(r"[a-z]{3}\d"))
]
Size = Annotated[
    str,
    _text("a Droplet size slug, such as s-2vcpu-4gb", _matches(r"[a-z0-9_]+(-[a-z0-9_.]+)+", 63)),
]
VersionPrefix = Annotated[
    str,
    _text(
        'a Kubernetes version in quotes: "1.34" (its newest patch), "1.34.1" or a full slug '
        'such as "1.34.1-do.0"; never "latest"',
        _matches(r"1\.\d+(\.\d+(-do\.\d+)?)?"),
    ),
]
StartTime = Annotated[
    str, _text('a time in UTC, in quotes: "HH:MM"', _matches(r"([01]\d|2[0-3]):[0-5]\d"))
]
Tag = Annotated[
    str,
    _text(
        "a tag: at most 255 letters, digits, ':', '-' and '_'", _matches(r"[A-Za-z0-9_:-]+", 255)
    ),
]
LabelKey = Annotated[
    str,
    _text(
        "a label key: an optional DNS prefix and '/', then at most 63 letters, digits, '-', '_' "
        "and '.', starting and ending with a letter or digit",
        _is_label_key,
    ),
]
LabelValue = Annotated[
    str,
    _text(
        "a label value: empty, or at most 63 letters, digits, '-', '_' and '.', starting and "
        "ending with a letter or digit",
        _matches(rf"({_LABEL_NAME})?", 63),
    ),
]
Uuid = Annotated[
    str,
    _text(
        "a UUID, as doctl shows it",
        _matches(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"),
    ),
]
VpcRange = Annotated[
    str,
    _text(
        "a private IPv4 range from /28 to /16 with no host bits set, such as 10.10.0.0/20, apart "
        f"from those that DigitalOcean keeps for itself ({', '.join(_DOKS_RANGES)})",
        _is_vpc_range,
    ),
]
RegistryName = Annotated[
    str,
    _text(
        "a registry name: at most 63 lowercase letters, digits and '-'",
        _matches(r"[a-z0-9-]+", 63),
    ),
]
Namespace = Annotated[str, _text(f"a namespace: at most 63 {_LOWERCASE}", _matches(_DNS_LABEL, 63))]
NamespacePattern = Annotated[
    str,
    _text(
        f"a namespace: at most 63 {_LOWERCASE} (or a pattern with '*', with allowAny: true)",
        lambda text: is_dns_label(text.replace("*", "x")),
    ),
]
Name = Annotated[str, _text(f"a name: at most 63 {_LOWERCASE}", _matches(_DNS_LABEL, 63))]
RepositoryKey = Annotated[
    str, _text("the name of one of the repositories", _matches(_DNS_LABEL, 63))
]
ReleaseName = Annotated[
    str, _text(f"a Helm release name: at most 53 {_LOWERCASE}", _matches(_DNS_LABEL, 53))
]
ChartName = Annotated[
    str, _text("a chart's name, such as argo-cd", _matches(r"[a-zA-Z0-9][a-zA-Z0-9._-]*", 250))
]
ChartVersion = Annotated[
    str,
    _text(
        'one exact chart version, such as 10.1.1; no range, no "v", never "latest", so that the '
        "same stack file installs the same thing on any day",
        _matches(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"),
    ),
]
ChartRepository = Annotated[
    str,
    _url(
        "a chart repository: https://... or oci://..., without a password in it (http:// only to "
        "a loopback or private address)",
        _is_chart_repository,
    ),
]
RepositoryUrl = Annotated[
    str,
    _url(
        "a Git repository: https://host/path, ssh://git@host/path or git@host:path, without a "
        "password in it (http:// only to a loopback or private address)",
        _is_repository,
    ),
]
RepositoryPattern = Annotated[
    str,
    _url(
        "a Git repository's URL (or a pattern with '*', with allowAny: true)",
        lambda text: "*" in text or _is_repository(text),
    ),
]
HostUrl = Annotated[
    str,
    _url("https://host or https://host:port: no path, no password in it", _is_host_url),
]
ApiEndpoint = Annotated[
    str,
    _url(
        "an https:// URL (http:// only on loopback, as the account's token travels with every "
        "request)",
        is_api_endpoint,
    ),
]
WebhookUrl = Annotated[
    str,
    _url(
        "an https:// URL without a password in it (http:// only to a loopback or private address)",
        _is_web_url,
    ),
]
Login = Annotated[
    str,
    _text(
        "a GitHub login: at most 39 letters, digits and '-', starting and ending with a letter "
        "or digit (a bot's ends in [bot])",
        _matches(r"[A-Za-z0-9]([A-Za-z0-9-]{0,37}[A-Za-z0-9])?(\[bot\])?"),
    ),
]
TeamSlug = Annotated[
    str, _text("a team's name as in URLs, such as platform-team", _matches(r"[a-z0-9_-]+", 100))
]
GitHubRepository = Annotated[
    str,
    _text(
        "a repository's name without its owner: at most 100 letters, digits, '-', '_' and '.'",
        _matches(r"[A-Za-z0-9._-]+", 100),
    ),
]
EnvironmentName = Annotated[
    str,
    _text(
        "an environment's name: at most 255 letters, digits, '-', '_' and '.'",
        _matches(r"[A-Za-z0-9._-]+"),
    ),
]
BranchPattern = Annotated[
    str,
    _text(
        "a branch, a pattern such as release/*, or ~DEFAULT_BRANCH; not starting with refs/",
        _matches(r"~DEFAULT_BRANCH|~ALL|(?!refs/)[^\s~^:\\]+"),
    ),
]
ActionsName = Annotated[
    str,
    _text(
        "a name of capitals, digits and '_', starting with no digit and not with GITHUB_",
        _matches(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*"),
    ),
]
Rfc3339 = Annotated[
    str, _text("a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z", _is_rfc3339)
]
Revision = Annotated[
    str,
    _text("a branch, tag or commit, such as main", _matches(r"[^\s~^:?*\[\\]+")),
]
Folder = Annotated[
    str,
    _text(
        "a folder inside the repository, such as kustomize/dev: relative, without '..'", _is_folder
    ),
]
LocalPath = Annotated[
    str, _text("a chart's folder or .tgz file, relative to the project", lambda text: text != "")
]
Duration = Annotated[str, _text("a duration, such as 5s, 3m or 1h", _matches(r"(\d+(ms|s|m|h))+"))]
SyncOption = Annotated[
    str,
    AfterValidator(
        Rule(
            "a sync option of Argo CD as Name=value, such as CreateNamespace=true",
            SYNC_OPTIONS.__contains__,
            choices=SYNC_OPTIONS,
        )
    ),
]
Kind = Annotated[
    str, _text("a resource kind, such as Namespace", _matches(r"[A-Z][A-Za-z0-9]*|\*"))
]
Group = Annotated[
    str,
    _text(
        'an API group: "" for the core group, or a DNS name such as apps',
        _matches(rf"({_DNS_SUBDOMAIN}|\*)?"),
    ),
]
Token = Annotated[
    SecretStr,
    AfterValidator(SecretRule("an API token, without spaces or line ends", _matches(r"\S+", 4096))),
]
Password = Annotated[
    SecretStr, AfterValidator(SecretRule("a password or access token", lambda text: text != ""))
]
ActionsSecret = Annotated[
    SecretStr, AfterValidator(SecretRule("a text that is not empty", lambda text: text != ""))
]
WebhookSecret = Annotated[
    SecretStr,
    AfterValidator(SecretRule("at least 16 characters", lambda text: len(text) >= 16)),
]
PrivateKey = Annotated[
    SecretStr,
    AfterValidator(
        SecretRule(
            "a private key in PEM form without a passphrase: -----BEGIN ... PRIVATE KEY----- to "
            "-----END ... PRIVATE KEY-----, line ends kept",
            _is_private_key,
        )
    ),
]
AdminPassword = Annotated[
    SecretStr,
    AfterValidator(
        SecretRule(
            f"at least {ADMIN_PASSWORD_LENGTH[0]} characters and at most "
            f"{ADMIN_PASSWORD_LENGTH[-1]} bytes (bcrypt reads no more)",
            _is_admin_password,
        )
    ),
]
