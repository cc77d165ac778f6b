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
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from components.names import CLUSTER_NAMESPACES
from doks_gitops.settings import cron, sealing_key

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
_NUMBER = "(0|[1-9][0-9]{0,2})"
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
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private and not address.is_unspecified


def _may_hold_password(url: str) -> bool:
    """Whether the text before an '@', or the query, may be a secret such as a token."""
    return bool(re.match(r"(https?|oci)://[^/]*@|[a-z]+://[^/]*:[^/]*@", url)) or "?" in url


LONGEST_URL = 2048
"""Most characters of a URL: servers and proxies refuse longer ones."""

_HOST = r"(?=[A-Za-z0-9._-]{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST += rf"(\.{_HOST.partition('$)')[2]})*"


def _is_host(host: str) -> bool:
    """Whether `host` is a DNS name or an IP address. A name in another script has a form in ASCII
    (`xn--...`), which does not look like another name."""
    if re.fullmatch(_HOST, host):
        return True
    try:
        return ipaddress.ip_address(host).version == 6 and "%" not in host
    except ValueError:
        return False


def _is_web_url(
    url: str, schemes: tuple[str, ...] = ("https",), *, with_query: bool = False
) -> bool:
    """Whether `url` is absolute, in lower case up to the host's name, has no user or password, no
    fragment, and a query only `with_query`. Plain http is allowed only to a loopback or private
    address."""
    if len(url) > LONGEST_URL or not re.fullmatch(r"[a-z]+://[!$-;=?-Z_a-z~\[\]]+", url):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
    except ValueError:
        return False
    if not host or not _is_host(host) or port == 0 or "@" in parts.netloc:
        return False
    if "[" in parts.path or "]" in parts.path or ("?" in url and not with_query):
        return False
    return parts.scheme in schemes or (parts.scheme == "http" and _is_private(host))


_SSH_USER = r"[A-Za-z0-9._][A-Za-z0-9._-]*@"
_PATH_CHARACTER = r"[!-~]"
_SSH_URL = re.compile(
    rf"ssh://({_SSH_USER})?(?P<host>[A-Za-z0-9._-]+)(:(?P<port>[0-9]{{1,5}}))?/{_PATH_CHARACTER}+"
)
# Git refuses a path that begins with '-': SSH would take it for an option.
_SCP_URL = re.compile(rf"{_SSH_USER}(?P<host>[A-Za-z0-9._-]+):(?![-:]){_PATH_CHARACTER}+")


def is_ssh_url(url: str) -> bool:
    """Whether Git reaches `url` over SSH: `ssh://git@host/path` or `git@host:path`."""
    match = _SSH_URL.fullmatch(url) or _SCP_URL.fullmatch(url)
    if match is None or len(url) > LONGEST_URL or not _is_host(match["host"]):
        return False
    port = match.groupdict().get("port")
    return port is None or 0 < int(port) < 65536


def _is_repository(url: str) -> bool:
    if is_ssh_url(url):
        return True
    return _is_web_url(url) and urlsplit(url).path.strip("/") != ""


_GLOB = r"(\[[^\[\]{}\s]+\]|\{[^\[\]{}\s]+\}|[!$-;=?-Z_a-z~])+"


def _is_repository_pattern(text: str) -> bool:
    """Whether Argo CD can match `text` with the URL of a Git repository, a Helm repository or a
    registry of charts, which has no scheme (https://argo-cd.readthedocs.io/en/stable/user-guide/projects/).
    """
    if _is_repository(text) or _is_chart_repository(text) or _is_registry(text):
        return True
    is_pattern = any(character in text for character in "*{[") or text.startswith("!")
    return is_pattern and len(text) <= LONGEST_URL and bool(re.fullmatch(rf"!?{_GLOB}", text))


def _is_registry(text: str) -> bool:
    """Whether `text` is a registry of charts without a scheme, such as ghcr.io/team/charts."""
    host, _, _ = text.partition("/")
    return "." in host.strip(".") and "@" not in text and _is_web_url(f"https://{text}")


def _is_artifact(url: str) -> bool:
    """Whether `url` is a repository of a registry with its scheme: oci://ghcr.io/team/manifests."""
    return (
        url.startswith("oci://")
        and _is_web_url(url, ("oci",))
        and urlsplit(url).path.strip("/") != ""
    )


def is_private_registry(url: str) -> bool:
    """Whether `url`, of a registry with or without its scheme, is on this machine or in a private
    network."""
    return _is_private(urlsplit(f"//{url.removeprefix('oci://')}").hostname or "")


@dataclass(frozen=True, slots=True)
class RepositoryForm:
    """What the URL of one type of repository must be."""

    expected: str
    is_valid: Callable[[str], bool]


REPOSITORY_FORMS: Mapping[str, RepositoryForm] = MappingProxyType(
    {
        "git": RepositoryForm(
            "a Git repository: https://host/path, ssh://git@host/path or git@host:path, without "
            "a query",
            _is_repository,
        ),
        "helm": RepositoryForm(
            "a Helm repository: https://host/path, or a registry of charts without a scheme: "
            "host/path",
            lambda url: _is_web_url(url) or _is_registry(url),
        ),
        "oci": RepositoryForm("a repository of a registry: oci://host/path", _is_artifact),
    }
)
"""The form of a repository's URL by Argo CD's type of the repository
(https://argo-cd.readthedocs.io/en/stable/operator-manual/declarative-setup/#repositories)."""


def _is_chart_repository(url: str) -> bool:
    return _is_web_url(url, ("https", "oci"))


def _is_host_url(url: str) -> bool:
    if not _is_web_url(url):
        return False
    host = urlsplit(url).netloc
    return not host.endswith(":") and "_" not in host and url.removesuffix("/") == f"https://{host}"


def is_api_endpoint(url: str) -> bool:
    """Whether a token may be sent to `url`: plain http is allowed only on this machine."""
    if not _is_web_url(url):
        return False
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


_DOKS_RANGES = ("10.229.0.0/16", "10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/24")


def reserved_range(network: ipaddress.IPv4Network) -> str | None:
    """The range of those that DigitalOcean keeps for itself that `network` overlaps."""
    overlapped = (x for x in _DOKS_RANGES if network.overlaps(ipaddress.IPv4Network(x)))
    return next(overlapped, None)


def _is_range(text: str) -> bool:
    try:
        ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return False
    return re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text) is not None


def _is_public_range(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return network.is_global and network.prefixlen >= 8 and not text.endswith("/")


def _is_vpc_range(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    rfc1918 = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    return (
        re.fullmatch(r"[0-9.]+/[0-9]{2}", text) is not None
        and 16 <= network.prefixlen <= 28
        and any(network.subnet_of(ipaddress.IPv4Network(block)) for block in rfc1918)
        and reserved_range(network) is None
    )


def _is_label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    return bool(re.fullmatch(_LABEL_NAME, name)) and (
        not slash or Pattern(_DNS_SUBDOMAIN, 253)(prefix)
    )


_RESERVED_DOMAINS = ("kubernetes.io", "k8s.io", "doks.digitalocean.com")


def _is_pool_label_key(text: str) -> bool:
    domain = text.rpartition("/")[0]
    reserved = any(f".{domain}".endswith(f".{name}") for name in _RESERVED_DOMAINS)
    return _is_label_key(text) and not reserved


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _is_rfc3339(text: str) -> bool:
    if not _RFC3339.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:
        return False
    return True


def is_visible(text: str) -> bool:
    """Whether `text` has no control character, no invisible character (such as a zero-width space
    or a mark that changes the direction of the text) and no lone surrogate."""
    return not any(unicodedata.category(x) in ("Cc", "Cf", "Cs", "Zl", "Zp") for x in text)


def _is_line(text: str) -> bool:
    return bool(text.strip()) and is_visible(text)


def _is_text(text: str) -> bool:
    return is_visible(re.sub(r"[\n\r\t]", "", text))


def _is_folder(path: str) -> bool:
    """Whether Git can check `path` out on every system."""
    return (
        _is_line(path)
        and not path.startswith("/")
        and not re.search(r'[\\:*?"<>|]', path)
        and all(part != ".." and part == part.strip() for part in path.split("/"))
    )


def _is_reference(text: str, *, with_pattern: bool = False) -> bool:
    """Whether Git takes `text` as the name of a branch or tag
    (https://git-scm.com/docs/git-check-ref-format), or as a pattern of them."""
    forbidden = r"[\s~^:\\]" if with_pattern else r"[\s~^:\\?*\[]"
    return (
        len(text) <= 255
        and _is_line(text)
        and not re.search(rf"{forbidden}|\.\.|@{{|//", text)
        and not text.startswith(("-", "/"))
        and not text.endswith(("/", "."))
        and not any(x.startswith(".") or x.endswith(".lock") for x in text.split("/"))
        and text != "@"
    )


def _is_branch_pattern(text: str) -> bool:
    if text in ("~DEFAULT_BRANCH", "~ALL"):
        return True
    return not text.startswith("refs/") and _is_reference(text, with_pattern=True)


def _is_private_key(text: str) -> bool:
    """Whether `text` has the form of a private key. Its content is checked for what it is for."""
    return "ENCRYPTED" not in text and bool(
        re.fullmatch(
            r"\s*-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\n[A-Za-z0-9+/=\s]+-----END \1-----\s*",
            text,
        )
    )


def _with_unix_line_ends(secret: SecretStr) -> SecretStr:
    """OpenSSH does not take a key with the line ends of Windows."""
    return SecretStr(secret.get_secret_value().replace("\r\n", "\n"))


LONGEST_ON_GITHUB = 48 * 1024
"""Most bytes of a secret and of a variable
(https://docs.github.com/en/actions/reference/workflows-and-actions/variables)."""


def _fits_on_github(text: str) -> bool:
    return text != "" and len(text.encode(errors="replace")) <= LONGEST_ON_GITHUB


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

_ACTION = r"(get|create|update|delete|sync|override|rollback|\*|(action|update|delete)/[^\s,]+)"
_POLICY = (
    r"p, *proj:[\w-]+:[\w-]+, *(applications|applicationsets|repositories|clusters|logs|exec), *"
    rf"{_ACTION}, *[\w-]+(/[\w*.-]+){{1,2}}, *(allow|deny)"
)
"""A policy of a project's role: `validatePolicy` in
https://github.com/argoproj/argo-cd/blob/master/pkg/apis/application/v1alpha1/types.go"""


def _is_time_zone(text: str) -> bool:
    if not Pattern(r"UTC|[A-Za-z]+(/[A-Za-z0-9_+-]+)+", 64)(text):
        return False
    try:
        ZoneInfo(text)
    except (ValueError, OSError, LookupError):
        return False
    return True


ADMIN_PASSWORD_LENGTH = range(12, 73)
"""From 12 characters to 72 bytes: Argo CD stores the password with bcrypt, which reads 72 bytes."""


def _is_admin_password(text: str) -> bool:
    shortest, longest = ADMIN_PASSWORD_LENGTH[0], ADMIN_PASSWORD_LENGTH[-1]
    return (
        is_visible(text) and len(text) >= shortest and len(text.encode(errors="replace")) <= longest
    )


def _label(kind: str, longest: int = 63) -> Rule:
    return Rule(f"{kind}: at most {longest} {_LOWERCASE}", Pattern(_DNS_LABEL, longest))


def _url(expected: str, is_valid: Callable[[str], bool]) -> Rule:
    return Rule(expected, is_valid, is_sensitive=_may_hold_password)


Day = Literal["any", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
Tier = Literal["starter", "basic", "professional"]
Manager = Literal["pulumi", "git"]
RepositoryType = Literal["git", "helm", "oci"]
WindowKind = Literal["allow", "deny"]

ClusterName = Annotated[str, _label("a cluster name")]
PoolName = Annotated[
    # The name of a node, <pool>-<seven characters>, is a label value: at most 63 characters.
    str, _label("a node pool name", longest=55)
]
Line = Annotated[str, Rule("one line of text, without control or invisible characters", _is_line)]
FreeText = Annotated[str, Rule("text without control or invisible characters", _is_text)]
Description = Annotated[
    str,
    Rule(
        "at most 255 characters, without control or invisible characters",
        lambda text: len(text) <= 255 and _is_text(text),
    ),
]
Region = Annotated[
    str, Rule("a region slug: three letters and a digit, such as nyc1", Pattern(r"[a-z]{3}[0-9]"))
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
        Pattern(rf"1\.{_NUMBER}(\.{_NUMBER}(-do\.{_NUMBER})?)?"),
    ),
]
StartTime = Annotated[
    str, Rule('a time in UTC, in quotes: "HH:MM"', Pattern(r"([01][0-9]|2[0-3]):[0-5][0-9]"))
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
PoolLabelKey = Annotated[
    str,
    Rule(
        "a label key: an optional DNS prefix and '/', then at most 63 letters, digits, '-', '_' "
        "and '.', starting and ending with a letter or digit; no prefix of Kubernetes or DOKS "
        f"itself ({', '.join(_RESERVED_DOMAINS)})",
        _is_pool_label_key,
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
Range = Annotated[str, Rule("a range of IPv4 addresses, such as 172.20.0.0/16", _is_range)]
PublicAddress = Annotated[
    str,
    Rule(
        "a public IPv4 address, such as 1.1.1.1",
        lambda text: "/" not in text and _is_public_range(text),
    ),
]
PublicRange = Annotated[
    str,
    Rule(
        "a public IPv4 address, such as 1.1.1.1, or a range of them from its first address, such "
        "as 1.1.1.0/24; none larger than /8",
        _is_public_range,
    ),
]
ALL_CHECKS = "*"
LintCheck = Annotated[
    str,
    Rule(
        f"the name of a check of DigitalOcean's cluster linter, or '{ALL_CHECKS}' not to run it",
        Pattern(r"[a-z0-9]+(-[a-z0-9]+)*|\*"),
    ),
]
Expander = Literal["random", "priority", "least_waste"]
PartitionMode = Literal["AMD_PARTITION_MODE_SPX_NPS1", "AMD_PARTITION_MODE_DPX_NPS2"]
RegistryName = Annotated[
    str,
    Rule(
        f"a registry name: at most 63 {_LOWERCASE}",
        # A name of an image can't have a '-' at an end of one of its parts.
        Pattern(_DNS_LABEL, 63),
    ),
]
Namespace = Annotated[str, _label("a namespace")]
OwnNamespace = Annotated[
    str,
    Rule(
        f"a namespace: at most 63 {_LOWERCASE}; one that the stack creates, so none of "
        f"{', '.join(CLUSTER_NAMESPACES)}",
        lambda text: text not in CLUSTER_NAMESPACES and Pattern(_DNS_LABEL, 63)(text),
    ),
]
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
SourceRef = Annotated[
    str,
    Rule("a name of letters, digits, '-' and '_', such as values", Pattern(r"[A-Za-z0-9_-]+", 63)),
]
RepositoryKey = Annotated[str, Rule("the name of one of the repositories", Pattern(_DNS_LABEL, 63))]
ReleaseName = Annotated[str, _label("a Helm release name", longest=53)]
ChartName = Annotated[
    str, Rule("a chart's name, such as argo-cd", Pattern(r"[a-zA-Z0-9][a-zA-Z0-9._-]*", 250))
]
_SEMVER = r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
ChartVersion = Annotated[
    str,
    Rule(
        'one exact chart version, such as 1.2.3; no range, no "v", never "latest", so that the '
        "same stack file installs the same thing on any day",
        Pattern(_SEMVER),
    ),
]
_DIGEST = r"sha256:[0-9a-f]{64}"
ExactVersion = Annotated[
    str,
    Rule(
        "one exact version, such as 1.2.3 or v1.2.3, or of an oci:// repository also a digest "
        '(sha256:...); no range, never "latest", so that the same commit installs the same '
        "thing on any day",
        Pattern(rf"v?{_SEMVER}|{_DIGEST}"),
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
        "a Git repository: https://host/path, ssh://git@host/path or git@host:path; or, by its "
        "type, a Helm repository or a registry: https://host/path, host/path, oci://host/path; "
        "without a password in it (http:// only to a loopback or private address)",
        lambda url: any(form.is_valid(url) for form in REPOSITORY_FORMS.values()),
    ),
]
RepositoryPrefix = Annotated[
    str,
    _url(
        "the beginning of repositories' URLs, up to a '/', so that it is that of no other "
        "organization: https://host/team/, git@host:team/, host/team/ or oci://host/team/",
        lambda url: (
            url.endswith(("/", ":"))
            and any(form.is_valid(f"{url}x") for form in REPOSITORY_FORMS.values())
        ),
    ),
]
RepositoryPattern = Annotated[
    str,
    _url(
        "the URL of a Git or chart repository, oci://host/path, or host/path of a registry (or a "
        "pattern such as https://github.com/team/*, with allowAny: true)",
        _is_repository_pattern,
    ),
]
IssuerUrl = Annotated[
    str,
    _url(
        "an https URL without a query, such as https://sso.example.com",
        lambda url: url.startswith("https://") and _is_web_url(url),
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
        lambda url: _is_web_url(url, with_query=True),
    ),
]
Login = Annotated[
    str,
    Rule(
        "a GitHub login: at most 39 letters, digits, '-' and '_', starting and ending with a "
        "letter or digit (a bot's ends in [bot])",
        # An enterprise's managed users have a '_' before the enterprise's short code.
        Pattern(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,37}[A-Za-z0-9])?(\[bot\])?"),
    ),
]
RulesetName = Annotated[
    str,
    Rule(
        "one line of at most 100 characters, without control or invisible characters",
        lambda text: len(text) <= 100 and _is_line(text),
    ),
]
TeamSlug = Annotated[
    str, Rule("a team's name as in URLs, such as platform-team", Pattern(r"[a-z0-9_-]+", 100))
]
GitHubRepository = Annotated[
    str,
    Rule(
        "a repository's name without its owner: at most 100 letters, digits, '-', '_' and '.'",
        Pattern(r"(?!\.{1,2}$)[A-Za-z0-9._-]+", 100),
    ),
]
EnvironmentName = Annotated[
    str,
    Rule(
        "an environment's name: at most 255 letters, digits, '-', '_' and '.'",
        Pattern(r"(?!\.{1,2}$)[A-Za-z0-9._-]+"),
    ),
]
BranchPattern = Annotated[
    str,
    Rule(
        "a branch, a pattern such as release/*, or ~DEFAULT_BRANCH; not starting with refs/",
        _is_branch_pattern,
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
    Rule("a branch, tag or commit, such as main, as Git takes it", _is_reference),
]
Folder = Annotated[
    str,
    Rule(
        "a folder inside the repository, such as kustomize/dev: relative, with '/', without '..'",
        _is_folder,
    ),
]
LocalPath = Annotated[str, Rule("a chart's folder or .tgz file, relative to the project", _is_line)]
Duration = Annotated[
    str, Rule("a duration, such as 5s, 3m or 1h", Pattern(r"([0-9]{1,5}(ms|s|m|h))+", 40))
]
OpenTime = Annotated[
    str,
    Rule(
        "a duration of at least one minute, such as 30m or 8h",
        lambda text: Pattern(r"([1-9][0-9]{0,4}h)?([1-9][0-9]{0,4}m)?", 12)(text) and text != "",
    ),
]
Cron = Annotated[
    str,
    Rule(
        "a schedule of cron in quotes: minute, hour, day, month and weekday (0 to 6), such as "
        '"0 22 * * 1-5"',
        cron.is_schedule,
    ),
]
TimeZone = Annotated[
    str,
    Rule(
        "UTC, or a time zone that this machine's database has, such as Europe/Berlin",
        _is_time_zone,
    ),
]
RoleName = Annotated[
    str,
    Rule(
        "a role's name: letters, digits, '-' and '_', starting and ending with a letter or digit",
        Pattern(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?", 63),
    ),
]
Policy = Annotated[
    str,
    Rule(
        "a policy: p, proj:<project>:<role>, <resource>, <action>, <project>/<object>, allow "
        "(or deny)",
        Pattern(_POLICY, 512),
    ),
]
LoginGroup = Annotated[
    str,
    Rule(
        "a group of the identity provider: one line without '\"'; with a ',' only in '\"'",
        Pattern(r'(?! )([^",\s]| )+(?<! )|"([^"\s]| )+"'),
    ),
]
NamePattern = Annotated[
    str,
    Rule(
        "a name, or a pattern of names with '*' and '?'",
        Pattern(r"[a-z0-9*?]([a-z0-9*?-]*[a-z0-9*?])?", 63),
    ),
]
_IMAGE = r"[A-Za-z0-9][A-Za-z0-9._/-]*(:[0-9]+/[A-Za-z0-9._/-]+)?"
_IMAGE_TAG = r":[A-Za-z0-9_$*{][A-Za-z0-9_.${}-]{0,127}"
_IMAGE_DIGEST = rf"@{_DIGEST}"
Image = Annotated[
    str,
    Rule(
        "an image override of Kustomize: name:tag, name@digest or name=new-name:tag",
        Pattern(
            rf"{_IMAGE}=(\*|{_IMAGE})({_IMAGE_TAG})?({_IMAGE_DIGEST})?"
            rf"|{_IMAGE}({_IMAGE_TAG}({_IMAGE_DIGEST})?|{_IMAGE_DIGEST})",
            longest=1024,
        ),
    ),
]
ImageName = Annotated[
    str, Rule("the name of an image in an overlay, such as frontend", Pattern(_IMAGE))
]
NamePrefix = Annotated[
    str,
    Rule(
        "the beginning of a name: lowercase letters, digits, '-' and '.', starting with a letter "
        "or digit",
        Pattern(r"([a-z0-9][-a-z0-9.]*)?"),
    ),
]
NameSuffix = Annotated[
    str,
    Rule(
        "the end of a name: lowercase letters, digits, '-' and '.', ending with a letter or digit",
        Pattern(r"([-a-z0-9.]*[a-z0-9])?"),
    ),
]
JsonPointer = Annotated[
    str,
    Rule(
        "a JSON pointer, such as /spec/replicas ('/' in a key as ~1, '~' as ~0)",
        lambda text: is_visible(text) and Pattern(r"(/([^/~]|~[01])*)+", 1024)(text),
    ),
]
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
    # A header of HTTP takes nothing else.
    SecretStr,
    Rule("an API token: ASCII characters, without spaces or line ends", Pattern(r"[!-~]+", 4096)),
]
Password = Annotated[
    SecretStr,
    Rule(
        "a password or access token, without line ends, control or invisible characters",
        lambda text: text != "" and is_visible(text),
    ),
]
ActionsSecret = Annotated[
    SecretStr,
    Rule(f"a text that is not empty, at most {LONGEST_ON_GITHUB} bytes", _fits_on_github),
]
ActionsVariable = Annotated[
    str,
    Rule(
        # For a workflow, an empty variable is one that does not exist.
        f"a text that is not empty, at most {LONGEST_ON_GITHUB} bytes, without control or "
        "invisible characters",
        lambda text: _fits_on_github(text) and _is_text(text),
    ),
]
Processors = Annotated[
    str,
    Rule("a number of processors, such as 2 or 500m, in quotes", Pattern(r"[1-9][0-9]{0,5}m?", 7)),
]
Memory = Annotated[str, Rule("a size, such as 512Mi or 4Gi", Pattern(r"[1-9][0-9]{0,5}[MGT]i", 8))]
Storage = Annotated[str, Rule("a size, such as 10Gi; or 0", Pattern(r"0|[1-9][0-9]{0,5}[MGT]i", 8))]
PullRequestLabel = Annotated[
    str,
    Rule(
        "a label: at most 40 characters, in one line, without a comma",
        lambda text: _is_line(text) and len(text) <= 40 and "," not in text,
    ),
]
Bucket = Annotated[
    str,
    Rule(
        "the name of a bucket: 3 to 63 lower-case letters, digits and '-', starting and ending "
        "with a letter or digit",
        Pattern(r"[a-z0-9][a-z0-9-]+[a-z0-9]", 63),
    ),
]
CopyPassword = Annotated[
    SecretStr,
    Rule(
        "at least 20 characters of ASCII, without spaces, such as `openssl rand -hex 24` prints",
        Pattern(r"[!-~]{20,}", 512),
    ),
]
WebhookSecret = Annotated[
    SecretStr,
    Rule(
        "at least 16 characters, without line ends, control or invisible characters",
        lambda text: len(text) >= 16 and is_visible(text),
    ),
]
PrivateKey = Annotated[
    SecretStr,
    AfterValidator(_with_unix_line_ends),
    Rule(
        "a private key in PEM form without a passphrase: -----BEGIN ... PRIVATE KEY----- to "
        "-----END ... PRIVATE KEY-----, line ends kept",
        _is_private_key,
    ),
]
SealingCertificate = Annotated[
    str,
    Rule(
        f"one certificate in PEM form of an RSA key of at least {sealing_key.SMALLEST} bits, as "
        "`bin/platform sealing-keys` makes it",
        sealing_key.is_certificate,
        is_sensitive=lambda text: "PRIVATE KEY" in text,
    ),
]
AdminPassword = Annotated[
    SecretStr,
    Rule(
        f"at least {ADMIN_PASSWORD_LENGTH[0]} characters and at most "
        f"{ADMIN_PASSWORD_LENGTH[-1]} bytes (bcrypt reads no more), without line ends, control or "
        "invisible characters",
        _is_admin_password,
    ),
]
