"""How each of Argo CD's roles is run as a process of this machine: its arguments, and its health.

A container's own arguments and environment come first. What is put after them is what a process
needs that has no network and no file system of its own: addresses, ports, folders.
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
"""Variables that can't be overridden by an argument. The first, by a slip in Argo CD, sets the
*name* of its argument; the second would make Redis be looked for at sentinels."""

_MOUNTED = {
    "ARGOCD_TLS_DATA_PATH": "/app/config/tls",
    "ARGOCD_SSH_DATA_PATH": "/app/config/ssh",
    "ARGOCD_GNUPGHOME": "/app/config/gpg/keys",
    "ARGOCD_GPG_DATA_PATH": "/app/config/gpg/source",
    "ARGOCD_PLUGINSOCKFILEPATH": "/home/argocd/cmp-server/plugins",
}
"""Where Argo CD looks for folders that are mounted in its containers, by the variable for it."""


@dataclass(frozen=True)
class Services:
    """Where the parts of one Argo CD reach each other: ports on loopback."""

    redis: int
    repo_server: int


@dataclass(frozen=True)
class Program:
    """A process to start, and how to tell that it serves."""

    argv: list[str | Path]
    env: dict[str, str]
    port: int | None
    """What others reach it at; None for a role that nobody calls."""
    tls: bool
    """Whether it speaks TLS there."""
    healthy: Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Surroundings:
    """What a process of a pod finds on this machine."""

    bin_dir: Path
    folder: Path
    """Of the pod; its own."""
    socket: Path
    """Where it may make a socket: a path of less than 108 bytes, which one in `folder` may not be.
    """
    kubeconfig: Path | None
    """As the pod's service account; None if the pod has no token."""
    mounted: Mapping[str, Path]
    """Mount paths of the container, and what is there."""
    services: Services


def program(
    role: Role, args: list[str], container_env: Mapping[str, str], around: Surroundings
) -> Program:
    """How to run that role with the container's own arguments and environment."""
    env = _environment(container_env, around)
    if role is Role.REDIS:
        return _redis(env, around)
    if role is Role.REDIS_PASSWORD:
        argv: list[str | Path] = [around.bin_dir / "argocd", *args]
        return Program(argv, env, port=None, tls=False, healthy=_always)
    port, metrics = free_port(), free_port()
    ours, health = _arguments(role, port, metrics, around.services)
    tls = role is Role.SERVER and not _is_insecure(args, env)
    if role is Role.SERVER:
        health = f"{'https' if tls else 'http'}://{LOOPBACK}:{port}/healthz"
    return Program(
        [around.bin_dir / role.value, *args, *ours],
        env,
        port=port if role in (Role.SERVER, Role.REPO_SERVER) else None,
        tls=tls,
        healthy=_answers(health),
    )


def _arguments(role: Role, port: int, metrics: int, services: Services) -> tuple[list[str], str]:
    """Arguments that are put after the container's own, and the URL that tells its health."""
    redis = ["--redis", f"{LOOPBACK}:{services.redis}", "--redis-use-tls=false"]
    repo_server = f"{LOOPBACK}:{services.repo_server}"
    listen = ["--address", LOOPBACK, "--port", str(port)]
    listen += ["--metrics-address", LOOPBACK, "--metrics-port", str(metrics)]
    at_metrics = f"http://{LOOPBACK}:{metrics}"
    match role:
        case Role.SERVER:
            ours = [*listen, *redis, "--repo-server", repo_server, "--repo-server-plaintext"]
            return ours, ""
        case Role.REPO_SERVER:
            ours = [*listen, *redis, "--disable-tls", "--client-ca-path", ""]
            return ours, f"{at_metrics}/healthz"
        case Role.APPLICATION_CONTROLLER:
            ours = [*redis, "--repo-server", repo_server, "--repo-server-plaintext"]
            return [*ours, "--metrics-port", str(metrics)], f"{at_metrics}/healthz"
        case Role.APPLICATIONSET_CONTROLLER:
            ours = ["--argocd-repo-server", repo_server, "--repo-server-plaintext"]
            ours += ["--metrics-addr", f"{LOOPBACK}:{metrics}", "--probe-addr", "0"]
            # It elects only in a container, where a file tells it its namespace. Without, all of
            # its replicas work at once, and come to the same result.
            ours.append("--enable-leader-election=false")
            return [*ours, "--webhook-addr", f"{LOOPBACK}:{port}"], f"{at_metrics}/metrics"
        case _:
            ours = ["--argocd-repo-server", repo_server, "--argocd-repo-server-plaintext"]
            return [*ours, "--metrics-port", str(metrics)], f"{at_metrics}/metrics"


def _environment(container_env: Mapping[str, str], around: Surroundings) -> dict[str, str]:
    temporary = around.folder / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    env = {
        **{name: value for name, value in container_env.items() if name not in _LISTENS_EVERYWHERE},
        "PATH": f"{around.bin_dir}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(around.folder),
        "TMPDIR": str(temporary),
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_ASK_PASS_SOCK": str(around.socket),
        "KUBECONFIG": str(around.kubeconfig or around.folder / "no-kubeconfig"),
    }
    for name, mount_path in _MOUNTED.items():
        here = around.mounted.get(mount_path, around.folder / mount_path.lstrip("/"))
        here.mkdir(mode=0o700, parents=True, exist_ok=True)
        env[name] = str(here)
    return env


def _is_insecure(args: list[str], env: Mapping[str, str]) -> bool:
    for word in reversed(args):
        if word == "--insecure" or word.startswith("--insecure="):
            return word not in ("--insecure=false", "--insecure=0")
    return env.get("ARGOCD_SERVER_INSECURE", "false").lower() in ("true", "1", "t")


async def _always() -> bool:
    return True


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    async def healthy() -> bool:
        # Argo CD signs its certificate itself, and only on loopback is it asked here.
        async with httpx.AsyncClient(verify=False, timeout=5, trust_env=False) as client:
            try:
                return (await client.get(url)).status_code == 200
            except httpx.TransportError:
                return False

    return healthy


def _redis(env: dict[str, str], around: Surroundings) -> Program:
    port = free_port()
    password = env.get("REDIS_PASSWORD") or env.get("AUTH") or ""
    # In a file, since the command line can be read by every user of the machine.
    settings = around.folder / "redis.conf"
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        'save ""',
        "appendonly no",
        f'dir "{around.folder}"',
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

    argv: list[str | Path] = [around.bin_dir / "redis-server", settings]
    return Program(argv, env, port=port, tls=False, healthy=healthy)
