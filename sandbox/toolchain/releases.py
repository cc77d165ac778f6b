"""Downloads the files in which publishers release their tools.

A file is used only if its checksum is the one that its publisher names, and a tool only if it runs
here and reports the pinned version. Proxies and certificate authorities come from the environment:
HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, SSL_CERT_FILE.
"""

import asyncio
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin

import httpx
import tenacity
from rich.console import Console

from sandbox.toolchain import machine, progress
from sandbox.toolchain.artifacts import Artifacts
from sandbox.toolchain.recipes import Release
from sandbox.toolchain.store import Store

CONNECT_SECONDS = 4.0
"""What a machine loses that has no way to the publishers: they are all tried at the same time."""
CHECKSUM_SECONDS = 10.0
"""The longest wait for checksums: a proxy may accept connections that lead nowhere."""
STALL_SECONDS = 20.0

_ATTEMPTS = 2


class Unavailable(Exception):
    """A release can't be had; the message is the reason."""


class Untrusted(Unavailable):
    """What was downloaded is not what its publisher released."""


class _CutOff(Unavailable):
    """The transfer ended early, or the server has a failure that may be over soon."""


def download(artifacts: Sequence[Artifacts], store: Store, console: Console) -> None:
    """Download the releases of these recipes, all at once; call it with the store locked.

    Those that can't be had are left out, and `console` says why.
    """
    names = [artifact.recipe.name for artifact in artifacts]
    with progress.board(console, names) as board:
        outcomes = asyncio.run(_download_all(artifacts, store, board))
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for name, outcome in zip(names, outcomes, strict=True):
        if isinstance(outcome, Untrusted):
            text = f"warning: the release of {name} is not used, because {outcome}."
            console.print(text, style="yellow", markup=False, soft_wrap=True)
        elif outcome:
            reasons[str(outcome)].append(name)
    for reason, affected in reasons.items():
        text = f"No release of {', '.join(affected)}: {reason}."
        console.print(text, markup=False, highlight=False, soft_wrap=True)


async def _download_all(
    artifacts: Sequence[Artifacts], store: Store, board: progress.Board
) -> list[Unavailable | None]:
    async def attempt(artifact: Artifacts) -> Unavailable | None:
        recipe, release = artifact.recipe, artifact.recipe.release
        assert release

        def on_progress(done: int, size: int | None) -> None:
            board.show(recipe.name, "downloading", done, size)

        board.begin(recipe.name)
        try:
            with store.filling(artifact.released) as folder:
                programs = [binary.name for binary in recipe.binaries]
                await fetch(release, str(recipe.version), programs, folder, session, on_progress)
                for binary in recipe.binaries:
                    program = folder / "bin" / binary.name
                    version = await asyncio.to_thread(machine.version_of, program, binary.question)
                    if binary.question and version != recipe.version:
                        raise Untrusted(f"{binary.name} does not report version {recipe.version}")
        except (Unavailable, OSError) as error:
            board.end(recipe.name, "not available")
            return error if isinstance(error, Unavailable) else Unavailable(str(error))
        board.end(recipe.name)
        return None

    try:
        session = client()
    except (ImportError, OSError, ValueError) as error:
        reason = Unavailable(f"the settings for proxies and certificates can't be used ({error})")
        return [reason] * len(artifacts)
    async with session, progress.beating(board):
        return await asyncio.gather(*map(attempt, artifacts))


def client() -> httpx.AsyncClient:
    """A client for the publishers' hosts, which never leaves HTTPS.

    Raises ImportError, OSError or ValueError if the environment names an unusable proxy or bundle.
    """
    if bundle := os.environ.get("REQUESTS_CA_BUNDLE"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        is_folder = Path(bundle).is_dir()
        context.load_verify_locations(
            cafile=None if is_folder else bundle, capath=bundle if is_folder else None
        )
    else:
        context = httpx.create_ssl_context()
        # A company's own authority is often known to the system alone.
        context.load_default_certs()

    async def require_https(request: httpx.Request) -> None:
        if request.url.scheme != "https":
            raise Unavailable(f"it leads to {request.url.host} without HTTPS")

    return httpx.AsyncClient(
        verify=context,
        headers={"Accept-Encoding": "identity"},
        follow_redirects=True,
        timeout=httpx.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS),
        event_hooks={"request": [require_https]},
    )


async def fetch(
    release: Release,
    version: str,
    programs: Sequence[str],
    folder: Path,
    session: httpx.AsyncClient,
    on_progress: Callable[[int, int | None], None] = lambda done, size: None,
) -> None:
    """Put the `programs` of a release into `folder`/bin.

    A transfer that is cut off is tried once more. `on_progress` gets the bytes of a file that have
    arrived, and its size if that is known. Raises Unavailable, or Untrusted if a checksum is not
    the published one; `folder` must not be used then.
    """
    if release.patches and not has_ipv6_loopback():
        raise Unavailable("it needs the address ::1, which this machine does not have")
    arch = machine.architecture()
    words = {"v": version, "arch": release.amd64 if arch == "amd64" else arch}
    target = folder / "bin"
    target.mkdir()
    file = folder / "download"
    # An archive has all programs, and the same address for each of them.
    urls = {release.url.format(program=name, **words): name for name in programs}
    for url, program in urls.items():
        checksums = urljoin(url, release.checksums.format(file=url.rpartition("/")[2], **words))
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_CutOff),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            reraise=True,
        ):
            with attempt:
                expected = await _checksum(url, checksums, session)
                actual = await _download(url, file, session, on_progress)
        if actual != expected:
            raise Untrusted(f"{url} does not have the checksum that {checksums} names")
        if release.folder is None:
            file.rename(target / program)
        else:
            try:
                await asyncio.to_thread(_unpack, file, release.folder.format(**words), target)
            except (EOFError, tarfile.TarError, zlib.error) as error:
                raise Unavailable(f"{url} can't be unpacked ({error})") from error
            file.unlink()
    for name in programs:
        _patch(target / name, release.patches)


def has_ipv6_loopback() -> bool:
    """True if a program of this machine can listen on ::1."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def _checksum(url: str, checksums: str, session: httpx.AsyncClient) -> str:
    """The SHA-256 checksum of the file at `url`, as its publisher names it."""
    try:
        async with asyncio.timeout(CHECKSUM_SECONDS):
            response = await session.get(checksums)
            _require_success(response)
    except TimeoutError:
        raise Unavailable(f"{httpx.URL(checksums).host} does not respond") from None
    except httpx.HTTPError as error:
        raise _unavailable(error, checksums) from error
    checksum = named(response.text, url.rpartition("/")[2])
    if checksum is None:
        raise Untrusted(f"{checksums} names no checksum of {url}")
    return checksum


def named(text: str, file: str) -> str | None:
    """The SHA-256 checksum of `file` in a list as sha256sum writes it, in a text that is nothing
    but a checksum, or in a release as GitHub's API describes it; None if it is not there.

    https://docs.github.com/en/rest/releases/releases#get-a-release-by-tag-name
    """
    try:
        lines = [f"{asset['digest']} {asset['name']}" for asset in json.loads(text)["assets"]]
    except (ValueError, TypeError, KeyError):
        lines = text.splitlines()
    for digest, *names in filter(None, map(str.split, lines)):
        if not names or PurePosixPath(names[-1].lstrip("*")).name == file:
            checksum = digest.lower().removeprefix("sha256:")
            return checksum if re.fullmatch("[0-9a-f]{64}", checksum) else None
    return None


async def _download(
    url: str,
    file: Path,
    session: httpx.AsyncClient,
    on_progress: Callable[[int, int | None], None],
) -> str:
    """Write the file at `url`, and return its SHA-256 checksum."""
    digest = hashlib.sha256()
    try:
        async with session.stream("GET", url) as response:
            _require_success(response)
            size = response.headers.get("Content-Length")
            with file.open("wb") as output:
                async for chunk in response.aiter_bytes():
                    output.write(chunk)
                    digest.update(chunk)
                    on_progress(output.tell(), int(size) if size else None)
    except httpx.HTTPError as error:
        raise _unavailable(error, url) from error
    return digest.hexdigest()


def _require_success(response: httpx.Response) -> None:
    if not response.is_success:
        temporary = response.is_server_error or response.status_code == 429
        raise (_CutOff if temporary else Unavailable)(
            f"{response.url.host} responds {response.status_code}"
        )


def _unavailable(error: httpx.HTTPError, url: str) -> Unavailable:
    host = httpx.URL(url).host
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)):
        return Unavailable(f"{host} can't be reached ({str(error) or 'no answer'})")
    return _CutOff(f"{host} cut the transfer off ({str(error) or type(error).__name__})")


def _unpack(archive: Path, folder: str, target: Path) -> None:
    """Write the plain files in `folder` of a tar archive to `target`, under their own names, so
    that nothing can be written elsewhere."""
    with tarfile.open(archive) as content:
        for member in content:
            path = PurePosixPath(member.name)
            if member.isfile() and path.parent == PurePosixPath(folder):
                file = content.extractfile(member)
                assert file
                with (target / path.name).open("wb") as output:
                    shutil.copyfileobj(file, output)
                (target / path.name).chmod(0o755)


def _patch(program: Path, patches: Mapping[bytes, bytes]) -> None:
    if not program.is_file():
        raise Untrusted(f"it has no {program.name}")
    for old, new in patches.items():
        content = program.read_bytes()
        if old not in content or len(old) != len(new):
            raise Untrusted(f"{program.name} has no {old!r}; recipes.py is for another version")
        program.write_bytes(content.replace(old, new))
    program.chmod(0o755)
