"""The scalar values of a stack file: the rule for each kind of text, with a description of it.

A rule has its own description (`expected`), so that the error for an invalid value, the error for a
missing value and the configuration reference use the same words.

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
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

RULE_VIOLATION = "rule_violation"
"""Type of the pydantic error for a text that violates its `Rule`."""

Text = TypeVar("Text", str, SecretStr)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a text must be. Goes into `Annotated[str, ...]` or `Annotated[SecretStr, ...]`.

    - `expected`: what the text must be, in words
    - `is_valid`: whether a text is that
    - `is_sensitive`: whether an invalid text may hold a secret, and is not shown in errors
    - `choices`: all valid texts, if they can be listed: errors suggest the most similar one
    """

    expected: str
    is_valid: Callable[[str], bool]
    is_sensitive: Callable[[str], bool] = lambda _: False
    choices: tuple[str, ...] = ()

    def __call__(self, value: Text) -> Text:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not self.is_valid(text):
            raise PydanticCustomError(
                RULE_VIOLATION,
                "{expected}",
                {"expected": self.expected, "hidden": self.is_sensitive(text)},
            )
        return value

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self, handler(source))


@dataclass(frozen=True, slots=True)
class Pattern:
    """Whether a whole text matches `regex` and has at most `longest` characters."""

    regex: str
    longest: int = 255

    def __call__(self, text: str) -> bool:
        return len(text) <= self.longest and re.fullmatch(self.regex, text) is not None


_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LOWERCASE = "lowercase letters, digits and '-', starting and ending with a letter or digit"


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine."""
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
    """Whether the text before an '@', or the query, may be a secret such as a token."""
    return bool(re.match(r"(https?|oci)://[^/]*@|[a-z]+://[^/]*:[^/]*@", url)) or "?" in url


def _is_web_url(url: str, schemes: tuple[str, ...] = ("https",)) -> bool:
    """Whether `url` is absolute and has no user or password. Plain http is allowed only to a
    loopback or private address."""
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
    """Whether a token may be sent to `url`: plain http is allowed only on this machine."""
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
        not slash or Pattern(_DNS_SUBDOMAIN, 253)(prefix)
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
"""From 12 characters to 72 bytes: Argo CD stores the password with bcrypt, which reads 72 bytes."""


def _is_admin_password(text: str) -> bool:
    shortest, longest = ADMIN_PASSWORD_LENGTH[0], ADMIN_PASSWORD_LENGTH[-1]
    return len(text) >= shortest and len(text.encode()) <= longest


def _label(kind: str, longest: int = 63) -> Rule:
    return Rule(f"{kind}: at most {longest} {_LOWERCASE}", Pattern(_DNS_LABEL, longest))


def _url(expected: str, is_valid: Callable[[str], bool]) -> Rule:
    return Rule(expected, is_valid, is_sensitive=_may_hold_password)


Day = Literal["any", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
Tier = Literal["starter", "basic", "professional"]
Manager = Literal["pulumi", "git"]

ClusterName = Annotated[str, _label("a cluster name")]
PoolName = Annotated[
    # The name of a node, <pool>-<five characters>, is a label value: at most 63 characters.
    str, _label("a node pool name", longest=57)
]
Region = Annotated[
    str, Rule("a region slug: three letters and a digit, such as nyc1", Pattern(r"[a-z]{3}\d"))
]
Size = Annotated[
    str,
    Rule("a Droplet size slug, such as s-2vcpu-4gb", Pattern(r"[a-z0-9_]+(-[a-z0-9_.]+)+", 63)),
]
VersionPrefix = Annotated[
    str,
    Rule(
        'a Kubernetes version in quotes: "1.34" (its newest patch), "1.34.1" or a full slug '
        'such as "1.34.1-do.0"; never "latest"',
        Pattern(r"1\.\d+(\.\d+(-do\.\d+)?)?"),
    ),
]
StartTime = Annotated[
    str, Rule('a time in UTC, in quotes: "HH:MM"', Pattern(r"([01]\d|2[0-3]):[0-5]\d"))
]
Tag = Annotated[
    str,
    Rule("a tag: at most 255 letters, digits, ':', '-' and '_'", Pattern(r"[A-Za-z0-9_:-]+", 255)),
]
LabelKey = Annotated[
    str,
    Rule(
        "a label key: an optional DNS prefix and '/', then at most 63 letters, digits, '-', '_' "
        "and '.', starting and ending with a letter or digit",
        _is_label_key,
    ),
]
LabelValue = Annotated[
    str,
    Rule(
        "a label value: empty, or at most 63 letters, digits, '-', '_' and '.', starting and "
        "ending with a letter or digit",
        Pattern(rf"({_LABEL_NAME})?", 63),
    ),
]
Uuid = Annotated[
    str,
    Rule(
        "a UUID, as doctl shows it",
        Pattern(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"),
    ),
]
VpcRange = Annotated[
    str,
    Rule(
        "a private IPv4 range from /28 to /16 with no host bits set, such as 10.10.0.0/20, apart "
        f"from those that DigitalOcean keeps for itself ({', '.join(_DOKS_RANGES)})",
        _is_vpc_range,
    ),
]
RegistryName = Annotated[
    str,
    Rule(
        "a registry name: at most 63 lowercase letters, digits and '-'",
        Pattern(r"[a-z0-9-]+", 63),
    ),
]
Namespace = Annotated[str, _label("a namespace")]
NamespacePattern = Annotated[
    # Refuses `!*`, as Argo CD does, and what Argo CD matches in another way than fnmatch: `{a,b}`,
    # backslashes and `[a-z0-9]` (https://argo-cd.readthedocs.io/en/stable/user-guide/projects/).
    str,
    Rule(
        f"a namespace: at most 63 {_LOWERCASE} (or a pattern with '*', '?' or '[...]', or '!' "
        "before what is excluded, with allowAny: true)",
        Pattern(
            r"(?!!\*$)!?(?!-)([a-z0-9*?-]|\[!?([a-z0-9]-[a-z0-9]|[a-z0-9]+)\])+(?<!-)", longest=64
        ),
    ),
]
Name = Annotated[str, _label("a name")]
RepositoryKey = Annotated[str, Rule("the name of one of the repositories", Pattern(_DNS_LABEL, 63))]
ReleaseName = Annotated[str, _label("a Helm release name", longest=53)]
ChartName = Annotated[
    str, Rule("a chart's name, such as argo-cd", Pattern(r"[a-zA-Z0-9][a-zA-Z0-9._-]*", 250))
]
ChartVersion = Annotated[
    str,
    Rule(
        'one exact chart version, such as 1.2.3; no range, no "v", never "latest", so that the '
        "same stack file installs the same thing on any day",
        Pattern(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"),
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
    Rule(
        "a GitHub login: at most 39 letters, digits and '-', starting and ending with a letter "
        "or digit (a bot's ends in [bot])",
        Pattern(r"[A-Za-z0-9]([A-Za-z0-9-]{0,37}[A-Za-z0-9])?(\[bot\])?"),
    ),
]
TeamSlug = Annotated[
    str, Rule("a team's name as in URLs, such as platform-team", Pattern(r"[a-z0-9_-]+", 100))
]
GitHubRepository = Annotated[
    str,
    Rule(
        "a repository's name without its owner: at most 100 letters, digits, '-', '_' and '.'",
        Pattern(r"[A-Za-z0-9._-]+", 100),
    ),
]
EnvironmentName = Annotated[
    str,
    Rule(
        "an environment's name: at most 255 letters, digits, '-', '_' and '.'",
        Pattern(r"[A-Za-z0-9._-]+"),
    ),
]
BranchPattern = Annotated[
    str,
    Rule(
        "a branch, a pattern such as release/*, or ~DEFAULT_BRANCH; not starting with refs/",
        Pattern(r"~DEFAULT_BRANCH|~ALL|(?!refs/)[^\s~^:\\]+"),
    ),
]
ActionsName = Annotated[
    str,
    Rule(
        "a name of capitals, digits and '_', starting with no digit and not with GITHUB_",
        Pattern(r"(?!GITHUB_)[A-Z_][A-Z0-9_]*"),
    ),
]
Rfc3339 = Annotated[
    str, Rule("a time in RFC 3339 format, such as 2026-01-31T12:00:00Z", _is_rfc3339)
]
Revision = Annotated[
    str,
    Rule("a branch, tag or commit, such as main", Pattern(r"[^\s~^:?*\[\\]+")),
]
Folder = Annotated[
    str,
    Rule(
        "a folder inside the repository, such as kustomize/dev: relative, without '..'", _is_folder
    ),
]
LocalPath = Annotated[
    str, Rule("a chart's folder or .tgz file, relative to the project", lambda text: text != "")
]
Duration = Annotated[str, Rule("a duration, such as 5s, 3m or 1h", Pattern(r"(\d+(ms|s|m|h))+"))]
SyncOption = Annotated[
    str,
    Rule(
        "a sync option of Argo CD as Name=value, such as CreateNamespace=true",
        SYNC_OPTIONS.__contains__,
        choices=SYNC_OPTIONS,
    ),
]
Kind = Annotated[str, Rule("a resource kind, such as Namespace", Pattern(r"[A-Z][A-Za-z0-9]*|\*"))]
Group = Annotated[
    str,
    Rule(
        'an API group: "" for the core group, or a DNS name such as apps',
        Pattern(rf"({_DNS_SUBDOMAIN}|\*)?"),
    ),
]
Token = Annotated[
    SecretStr, Rule("an API token, without spaces or line ends", Pattern(r"\S+", 4096))
]
Password = Annotated[SecretStr, Rule("a password or access token", lambda text: text != "")]
ActionsSecret = Annotated[SecretStr, Rule("a text that is not empty", lambda text: text != "")]
WebhookSecret = Annotated[SecretStr, Rule("at least 16 characters", lambda text: len(text) >= 16)]
PrivateKey = Annotated[
    SecretStr,
    Rule(
        "a private key in PEM form without a passphrase: -----BEGIN ... PRIVATE KEY----- to "
        "-----END ... PRIVATE KEY-----, line ends kept",
        _is_private_key,
    ),
]
AdminPassword = Annotated[
    SecretStr,
    Rule(
        f"at least {ADMIN_PASSWORD_LENGTH[0]} characters and at most "
        f"{ADMIN_PASSWORD_LENGTH[-1]} bytes (bcrypt reads no more)",
        _is_admin_password,
    ),
]
