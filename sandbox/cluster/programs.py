"""The command line, environment and health check of each role of Argo CD, run as a process.

Arguments and environment of the container come first. What a process without its own network and
file system needs is added after them: addresses, ports and folders.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox.cluster.roles import Role
from sandbox.paths import write_private
from sandbox.processes import free_port

LOOPBACK = "127.0.0.1"

_LISTENS_EVERYWHERE = ("ARGOCD_SERVER_METRICS_LISTEN_ADDRESS", "REDIS_SENTINEL_HOSTS")
"""Variables that no argument can override. By a mistake in Argo CD, the first one sets the *name*
of its argument; the second one makes Argo CD look for Redis at sentinels."""

_MOUNTED = {
    "ARGOCD_TLS_DATA_PATH": "/app/config/tls",
    "ARGOCD_SSH_DATA_PATH": "/app/config/ssh",
    "ARGOCD_GNUPGHOME": "/app/config/gpg/keys",
    "ARGOCD_GPG_DATA_PATH": "/app/config/gpg/source",
    "ARGOCD_PLUGINSOCKFILEPATH": "/home/argocd/cmp-server/plugins",
}
"""Mount paths in Argo CD's containers, by the variable that names their place."""


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
    mounted: Mapping[str, Path]
    """The folder or file behind each of the container's mount paths."""
    services: Services


def program_of(
    role: Role, args: list[str], container_env: Mapping[str, str], context: PodContext
) -> Program:
    """The program for a role, with the container's arguments and environment."""
    env = _environment(container_env, context)
    if role is Role.REDIS:
        return _redis(env, context)
    if role is Role.REDIS_PASSWORD:
        argv: list[str | Path] = [context.bin_dir / "argocd", *args]
        return Program(argv, env, port=None, tls=False, healthy=_always)
    port, metrics = free_port(), free_port()
    added, health_url = _arguments(role, port, metrics, context.services)
    tls = role is Role.SERVER and not _is_insecure(args, env)
    if role is Role.SERVER:
        health_url = f"{'https' if tls else 'http'}://{LOOPBACK}:{port}/healthz"
    return Program(
        [context.bin_dir / role.value, *args, *added],
        env,
        port=port if role in (Role.SERVER, Role.REPO_SERVER) else None,
        tls=tls,
        healthy=health_check(health_url),
    )


def _arguments(role: Role, port: int, metrics: int, services: Services) -> tuple[list[str], str]:
    """The arguments to add after the container's, and the URL of the health check."""
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
    temporary = context.folder / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    env = {
        **{name: value for name, value in container_env.items() if name not in _LISTENS_EVERYWHERE},
        "PATH": f"{context.bin_dir}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(context.folder),
        "TMPDIR": str(temporary),
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_ASK_PASS_SOCK": str(context.socket),
        "KUBECONFIG": str(context.kubeconfig or context.folder / "no-kubeconfig"),
    }
    for name, mount_path in _MOUNTED.items():
        folder = context.mounted.get(mount_path, context.folder / mount_path.lstrip("/"))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        env[name] = str(folder)
    return env


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
    # A file keeps the password off the command line, which every user of the machine can read.
    settings = context.folder / "redis.conf"
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        'save ""',
        "appendonly no",
        f'dir "{context.folder}"',
    ]
    if password:
        lines.append(f'requirepass "{password}"')
    write_private(settings, "\n".join(lines).encode())

    async def healthy() -> bool:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                try:
                    if password:
                        writer.write(f'AUTH "{password}"\r\n'.encode())
                        await reader.readline()
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        return False

    argv: list[str | Path] = [context.bin_dir / "redis-server", settings]
    return Program(argv, env, port=port, tls=False, healthy=healthy)
