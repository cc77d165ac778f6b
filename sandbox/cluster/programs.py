"""The command line, environment and health check of each role, run as a process.

Of the container's arguments and environment only those have effect that can't make the process run
another program, read or write other files, or listen to anything but loopback.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox.cluster.containers import NotConfigured
from sandbox.cluster.roles import Role
from sandbox.paths import write_private
from sandbox.processes import free_port

LOOPBACK = "127.0.0.1"

MOUNTED = {
    "ARGOCD_TLS_DATA_PATH": "/app/config/tls",
    "ARGOCD_SSH_DATA_PATH": "/app/config/ssh",
}
"""Mount paths whose files Argo CD gets, by the variable that names their place."""
_EMPTY = {
    "ARGOCD_GNUPGHOME": "gpg/keys",
    "ARGOCD_GPG_DATA_PATH": "gpg/source",
    "ARGOCD_PLUGINSOCKFILEPATH": "plugins",
    "HELM_CACHE_HOME": "helm/cache",
    "HELM_CONFIG_HOME": "helm/config",
    "HELM_DATA_HOME": "helm/data",
}
"""Empty folders in the pod's folder, by the variable that names their place."""

_VARIABLE = re.compile(
    r"ARGOCD_(?!BINARY_NAME$|OPTS$|SERVER$|REPO_SERVER_ALLOW_OUT_OF_BOUNDS_SYMLINKS$)[A-Z0-9_]+"
    r"(?<!_ADDRESS)(?<!_ASSETS)(?<!_DIR)(?<!_FILE)(?<!_HOME)(?<!_PATH)(?<!_SOCK)(?<!_WORKDIR)"
    r"|AUTH|REDIS_(PASSWORD|USERNAME|COMPRESSION|RETRY_COUNT)|REDISDB"
    r"|GOGC|GOMAXPROCS|GOMEMLIMIT"
)
"""Variables that have effect. Those left out name an address, a file or a program (BINARY_NAME: as
which of its programs `argocd` runs; OPTS: its arguments), or let manifests be links to any file."""
_ARGUMENT = re.compile(
    r"""--(
    api-content-types | app(-hard)?-resync(-jitter)? | application(set)?-namespaces | basehref
    | concurrent-(application-updates|reconciliations) | content-security-policy | debug
    | disable-(auth|swagger-ui) | dry-run | enable-(gzip|k8s-event|new-git-file-globbing)
    | enable-(policy-override|progressive-syncs) | include-hidden-directories | insecure
    | kubectl-parallelism-limit | log(format|level) | max-resources-status-count
    | metrics-(application-conditions|application-labels|cluster-labels) | [a-z-]+-expiration
    | (operation|status)-processors | parallelismlimit | persist-resource-health | policy
    | preserved-(annotations|labels) | processors-count | repo-error-grace-period-seconds
    | repo-server-timeout-seconds | requeue-after | revision-cache-lock-timeout | rootpath
    | self-heal(-backoff)?-(cap|timeout)-seconds | self-heal-backoff-factor
    | self-service-notification-enabled | server-side-diff-enabled | sharding-method | sync-timeout
    | sync-with-replace-allowed | webhook-(parallelism-limit|refresh-workers) | x-frame-options
    )""",
    re.VERBOSE,
)
"""Arguments that have effect: numbers, durations, switches, and names in the cluster."""


_SERVING = (Role.SERVER, Role.REPO_SERVER, Role.APPLICATIONSET_CONTROLLER)
_SEALED_SECRETS_ARGUMENT = re.compile(
    r"""--(
    accept-deprecated-v1-data | additional-namespaces | all-namespaces | key-cutoff-time
    | key-order-priority | key-prefix | key-renew-period | key-ttl | kubeclient-(burst|qps)
    | label-selector | log-(format|info-stdout|level) | max-unseal-retries
    | metrics-omit-secret-labels | privatekey-(annotations|labels) | rate-limit(-burst)?
    | skip-recreate | update-status | watch-for-secrets
    )""",
    re.VERBOSE,
)
"""As `_ARGUMENT`, for the controller of Sealed Secrets."""
_RESTIC_COMMAND = re.compile(
    r"""( init | unlock | forget | backup[ ]volume | restore[ ]latest )
    ( [ ]--(host|tag|keep-last|group-by)[ ][A-Za-z0-9-]+ | [ ]--target[ ]\.(?=[ ]|$)
    | [ ]--include[ ]/volume(?=[ ]|$)
    | [ ]--(prune|delete|verify|no-cache|no-lock|unsafe-allow-remove-all)(?=[ ]|$) )*""",
    re.VERBOSE,
)
"""The commands of restic that are run, which write into no folder but the one that they run in."""
_RESTIC_VARIABLES = frozenset(
    {
        *("RESTIC_REPOSITORY", "RESTIC_PASSWORD"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"),
    }
)


@dataclass(frozen=True)
class Services:
    """The loopback ports of the services that the parts of one Argo CD use."""

    redis: int
    repo_server: int


@dataclass(frozen=True)
class Program:
    """A process to start, and its health check."""

    argv: list[str | Path]
    env: dict[str, str]
    port: int | None
    """The port for other processes; None for a role that no process connects to."""
    tls: bool
    """Whether the port uses TLS."""
    healthy: Callable[[], Awaitable[bool]]
    cwd: Path | None = None
    """The working folder; None: the pod's folder."""


@dataclass(frozen=True)
class PodContext:
    """The resources of a pod's process on this machine."""

    bin_dir: Path
    folder: Path
    """The pod's folder."""
    socket: Path
    """Path for a socket. It must have less than 108 bytes, so it is outside `folder`."""
    kubeconfig: Path | None
    """Kubeconfig of the pod's service account; None if the pod has no token."""
    services: Services | None
    """None for a pod that is none of Argo CD's."""
    namespace: str
    path: Callable[[str], Path]
    """Finds a program that is not in `bin_dir`, or raises KeyError."""
    working_dir: Path | None = None
    """The folder in which a volume of the container is, with the name `volume`; None if there is
    none."""


def program_of(
    role: Role, args: list[str], container_env: Mapping[str, str], context: PodContext
) -> Program:
    """The program for a role, with the container's arguments and environment.

    Raises NotConfigured if Redis' password has control characters, or the rest a NUL.
    """
    if any("\0" in word for word in (*args, *container_env.values())):
        raise NotConfigured("environment or arguments have control characters (NUL)")
    env = _environment(container_env, context)
    if role is Role.REDIS:
        return _redis(env, context)
    if role is Role.REDIS_PASSWORD:
        argv: list[str | Path] = [context.bin_dir / "argocd", "admin", "redis-initial-password"]
        return Program(argv, env, port=None, tls=False, healthy=_always)
    if role is Role.RESTIC:
        return _restic(args, container_env, context)
    port, metrics = free_port(), free_port()
    if role is Role.SEALED_SECRETS:
        return _sealed_secrets(args, env, context, port, metrics)
    chosen = _harmless(args, _ARGUMENT)
    assert context.services is not None
    fixed, health_url = _arguments(role, port, metrics, context.services)
    tls = role is Role.SERVER and not _is_insecure(chosen, env)
    if role is Role.SERVER:
        health_url = f"{'https' if tls else 'http'}://{LOOPBACK}:{port}/healthz"
    return Program(
        [context.bin_dir / role.value, *fixed, *chosen],
        env,
        port=port if role in _SERVING else None,
        tls=tls,
        healthy=health_check(health_url),
    )


def _restic(args: Sequence[str], container_env: Mapping[str, str], context: PodContext) -> Program:
    """A command of restic that reads or writes the volume or the storage, and nothing else."""
    command, *options = args
    if not _RESTIC_COMMAND.fullmatch(" ".join(args)):
        raise NotConfigured(f"restic {command} is not run in the sandbox with {' '.join(options)}")
    if not container_env.get("RESTIC_REPOSITORY", "").startswith(f"s3:http://{LOOPBACK}:"):
        raise NotConfigured("the repository is not in the sandbox")
    if command in ("backup", "restore") and context.working_dir is None:
        raise NotConfigured("no volume is mounted where the container works")
    env = {name: value for name, value in container_env.items() if name in _RESTIC_VARIABLES}
    return Program(
        [_program(Role.RESTIC, context), *args],
        {**env, "HOME": str(context.folder), "TMPDIR": str(_subfolder(context, "tmp"))},
        port=None,
        tls=False,
        healthy=_always,
        cwd=context.working_dir,
    )


def _program(role: Role, context: PodContext) -> Path:
    try:
        return context.path(role.value)
    except KeyError:
        raise NotConfigured(f"{role.value} is not built yet: bin/sandbox up builds it") from None


def _sealed_secrets(
    args: Sequence[str], env: dict[str, str], context: PodContext, port: int, metrics: int
) -> Program:
    listen = ["--listen-addr", f"{LOOPBACK}:{port}"]
    listen += ["--listen-metrics-addr", f"{LOOPBACK}:{metrics}"]
    return Program(
        [
            _program(Role.SEALED_SECRETS, context),
            *listen,
            *_harmless(args, _SEALED_SECRETS_ARGUMENT),
        ],
        {**env, "POD_NAMESPACE": context.namespace},
        port=None,
        tls=False,
        healthy=health_check(f"http://{LOOPBACK}:{port}/readyz"),
    )


def _harmless(args: Sequence[str], allowed: re.Pattern[str]) -> list[str]:
    """The `allowed` arguments. A word without dashes is the value of the word before it."""
    words: list[str] = []
    kept = False
    for word in args:
        if word.startswith("-"):
            kept = allowed.fullmatch(word.partition("=")[0]) is not None
        if kept:
            words.append(word)
    return words


def _arguments(role: Role, port: int, metrics: int, services: Services) -> tuple[list[str], str]:
    """The arguments that the sandbox sets, and the URL of the health check."""
    redis = ["--redis", f"{LOOPBACK}:{services.redis}", "--redis-use-tls=false"]
    repo_server = f"{LOOPBACK}:{services.repo_server}"
    listen = ["--address", LOOPBACK, "--port", str(port)]
    listen += ["--metrics-address", LOOPBACK, "--metrics-port", str(metrics)]
    at_metrics = f"http://{LOOPBACK}:{metrics}"
    match role:
        case Role.SERVER:
            return [
                *listen, *redis, "--repo-server", repo_server, "--repo-server-plaintext"
            ], ""  # fmt: skip
        case Role.REPO_SERVER:
            return [
                *listen, *redis, "--disable-tls", "--client-ca-path", ""
            ], f"{at_metrics}/healthz"  # fmt: skip
        case Role.APPLICATION_CONTROLLER:
            added = [*redis, "--repo-server", repo_server, "--repo-server-plaintext"]
            return [*added, "--metrics-port", str(metrics)], f"{at_metrics}/healthz"
        case Role.APPLICATIONSET_CONTROLLER:
            added = ["--argocd-repo-server", repo_server, "--repo-server-plaintext"]
            added += ["--metrics-addr", f"{LOOPBACK}:{metrics}", "--probe-addr", "0"]
            # Leader election needs a file with the namespace, which only a container has. Without
            # it all replicas work at the same time, with the same result.
            added.append("--enable-leader-election=false")
            return [*added, "--webhook-addr", f"{LOOPBACK}:{port}"], f"{at_metrics}/metrics"
        case _:
            added = ["--argocd-repo-server", repo_server, "--argocd-repo-server-plaintext"]
            return [*added, "--metrics-port", str(metrics)], f"{at_metrics}/metrics"


def _environment(container_env: Mapping[str, str], context: PodContext) -> dict[str, str]:
    return {
        **{name: value for name, value in container_env.items() if _VARIABLE.fullmatch(name)},
        "PATH": f"{context.bin_dir}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(context.folder),
        "TMPDIR": str(_subfolder(context, "tmp")),
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_ASK_PASS_SOCK": str(context.socket),
        "KUBECONFIG": str(context.kubeconfig or context.folder / "no-kubeconfig"),
        **{name: str(_subfolder(context, path)) for name, path in (_EMPTY | MOUNTED).items()},
    }


def _subfolder(context: PodContext, path: str) -> Path:
    folder = context.folder / path.lstrip("/")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _is_insecure(args: list[str], env: Mapping[str, str]) -> bool:
    for word in reversed(args):
        if word == "--insecure" or word.startswith("--insecure="):
            return word not in ("--insecure=false", "--insecure=0")
    return env.get("ARGOCD_SERVER_INSECURE", "false").lower() in ("true", "1", "t")


async def _always() -> bool:
    return True


def health_check(url: str) -> Callable[[], Awaitable[bool]]:
    """A check that the process responds at `url`, or at the same port of ::1: there, two of Argo
    CD's processes listen if its release is used (see `sandbox.toolchain.recipes.ARGOCD`)."""

    async def healthy() -> bool:
        # Argo CD's certificate is self-signed, and the connection stays on loopback.
        async with httpx.AsyncClient(verify=False, timeout=5, trust_env=False) as client:
            for address in (url, url.replace(LOOPBACK, "[::1]")):
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(address)).status_code == 200:
                        return True
        return False

    return healthy


def _redis(env: dict[str, str], context: PodContext) -> Program:
    port = free_port()
    password = env.get("REDIS_PASSWORD") or env.get("AUTH") or ""
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in password):
        raise NotConfigured("the password of Redis has control characters")
    # A file keeps the password off the command line, which every user of the machine can read.
    settings = context.folder / "redis.conf"
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        'save ""',
        "appendonly no",
        f"dir {_quoted(str(context.folder))}",
    ]
    if password:
        lines.append(f"requirepass {_quoted(password)}")
    write_private(settings, "\n".join(lines).encode())

    async def healthy() -> bool:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                try:
                    if password:
                        writer.write(f"AUTH {_quoted(password)}\r\n".encode())
                        await reader.readline()
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        return False

    argv: list[str | Path] = [context.bin_dir / "redis-server", settings]
    return Program(argv, env, port=port, tls=False, healthy=healthy)


def _quoted(text: str) -> str:
    """A quoted string of Redis' configuration and of its inline commands
    (https://redis.io/docs/latest/operate/oss_and_stack/management/config/)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
