"""Spaces, DigitalOcean's object storage, as far as restic and Pulumi use S3's API: objects in
files, and the signature of every request checked.

https://docs.digitalocean.com/reference/api/spaces/
https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.emulator import read_state
from sandbox.paths import Home, write_private

ALGORITHM = "AWS4-HMAC-SHA256"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]+[a-z0-9]")
_CHUNKED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_SKEW = timedelta(minutes=15)
_PAGE = 1000


class Key(BaseModel):
    """A Spaces access key, and a password for what its user encrypts."""

    id: str
    secret: str
    password: str


class _Refused(Exception):
    """A request that is answered with an error, whose code is the text."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status


def key_of(home: Home) -> Key:
    """The key of the sandbox's user; created if there is none."""
    path = home.root / "spaces-key.json"
    if (key := read_state(path, Key)) is None:
        key = Key(
            id=f"DO00{secrets.token_hex(8).upper()}",
            secret=secrets.token_urlsafe(32),
            password=secrets.token_urlsafe(24),
        )
        write_private(path, key.model_dump_json().encode())
    return key


class Dispatch:
    """Middleware that sends the requests that are signed as those to S3 are to Spaces, which has
    hosts of its own at DigitalOcean."""

    def __init__(self, app: ASGIApp, spaces: ASGIApp) -> None:
        self._app = app
        self._spaces = spaces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        signed = headers.get(b"authorization", b"").startswith(ALGORITHM.encode())
        await (self._spaces if signed else self._app)(scope, receive, send)


def create_app(folder: Path, key: Key) -> Starlette:
    """The buckets in `folder`, for whoever has the key."""

    async def answer(request: Request) -> Response:
        try:
            _authenticate(request, key)
            return await _answer(request, folder)
        except _Refused as refused:
            body = f"<Error><Code>{refused}</Code></Error>"
            return Response(body, refused.status, media_type="application/xml")

    methods = ["GET", "HEAD", "PUT", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", answer, methods=methods)])


def _authenticate(request: Request, key: Key) -> None:
    """Raises `_Refused` unless the request is signed with the key, and not long ago."""
    fields = request.headers["authorization"].removeprefix(ALGORITHM).split(",")
    parts = dict(field.strip().partition("=")[::2] for field in fields)
    access_key, _, scope = parts.get("Credential", "").partition("/")
    if access_key != key.id:
        raise _Refused(403, "InvalidAccessKeyId")
    sent = request.headers.get("x-amz-date", "")
    expected = _signature(request, key.secret, scope, sent, parts.get("SignedHeaders", ""))
    if not hmac.compare_digest(parts.get("Signature", "").encode(), expected.encode()):
        raise _Refused(403, "SignatureDoesNotMatch")
    if abs(datetime.now(UTC) - datetime.strptime(sent, "%Y%m%dT%H%M%S%z")) > _SKEW:
        raise _Refused(403, "RequestTimeTooSkewed")


def _signature(request: Request, secret: str, scope: str, sent: str, signed_headers: str) -> str:
    query = sorted(
        (quote(name, safe="-_.~"), quote(value, safe="-_.~"))
        for name, value in parse_qsl(request.url.query, keep_blank_values=True)
    )
    canonical = "\n".join(
        [
            request.method,
            request.scope["raw_path"].decode(),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{request.headers.get(name, '').strip()}"
              for name in signed_headers.split(";")),
            "",
            signed_headers,
            request.headers.get("x-amz-content-sha256", ""),
        ]
    )  # fmt: skip
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signing_key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    text = "\n".join([ALGORITHM, sent, scope, digest])
    return hmac.digest(signing_key, text.encode(), "sha256").hex()


async def _answer(request: Request, folder: Path) -> Response:
    name, _, key = request.path_params["path"].partition("/")
    if not _BUCKET.fullmatch(name) or (key and not {"", ".", ".."}.isdisjoint(key.split("/"))):
        raise _Refused(400, "InvalidBucketName")
    bucket = folder / name
    file = bucket / key
    if not key and request.method == "PUT":
        bucket.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Response()
    if not bucket.is_dir():
        raise _Refused(404, "NoSuchBucket")
    if not key:
        return _list(bucket, request.query_params)
    if source := request.headers.get("x-amz-copy-source"):
        return _copy(folder, unquote(source).removeprefix("/"), file)
    if request.method == "PUT":
        return await _put(request, file)
    if request.method == "DELETE":
        file.unlink(missing_ok=True)
        return Response(status_code=204)
    if not file.is_file():
        raise _Refused(404, "NoSuchKey")
    return FileResponse(file, headers={"ETag": f'"{file.stat().st_mtime_ns:x}"'})


async def _put(request: Request, file: Path) -> Response:
    body, announced = await request.body(), request.headers.get("x-amz-content-sha256", "")
    if announced == _CHUNKED:
        body = _joined(body)
    elif announced not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        raise _Refused(400, "XAmzContentSHA256Mismatch")
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    if request.headers.get("content-md5", digest) != digest:
        raise _Refused(400, "BadDigest")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, body)
    return Response(headers={"ETag": f'"{file.stat().st_mtime_ns:x}"'})


def _copy(folder: Path, name: str, file: Path) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html"""
    source = (folder / name).resolve()
    if not source.is_relative_to(folder.resolve()) or not source.is_file():
        raise _Refused(404, "NoSuchKey")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(file, source.read_bytes())
    body = f'<CopyObjectResult><ETag>"{file.stat().st_mtime_ns:x}"</ETag></CopyObjectResult>'
    return Response(body, media_type="application/xml")


def _joined(body: bytes) -> bytes:
    """The content of a body in chunks, as clients send it without TLS. The signatures of the chunks
    are not checked: there is a digest of the whole.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
    """
    content, rest = b"", body
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        content += rest[:size]
        rest = rest[size + 2 :] if size else b""
    return content


def _list(bucket: Path, query: Mapping[str, str]) -> Response:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
    if "location" in query:
        return Response("<LocationConstraint></LocationConstraint>", media_type="application/xml")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = query.get("continuation-token", "")
    entries = dict(_entries(bucket, prefix, delimiter))
    names = [name for name in sorted(entries) if name > after]
    page = names[: min(_PAGE, int(query.get("max-keys", _PAGE)))]
    cut = len(page) < len(names)
    token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if cut else ""
    body = (
        f"<ListBucketResult><Name>{bucket.name}</Name><Prefix>{escape(prefix)}</Prefix>"
        f"<IsTruncated>{str(cut).lower()}</IsTruncated>{token}"
        f"{''.join(entries[name] for name in page)}</ListBucketResult>"
    )
    return Response(body, media_type="application/xml")


def _entries(bucket: Path, prefix: str, delimiter: str) -> Iterator[tuple[str, str]]:
    """What is listed for each object, or for all objects with a common beginning, by its name."""
    for file in bucket.rglob("*"):
        name = file.relative_to(bucket).as_posix()
        if not file.is_file() or not name.startswith(prefix):
            continue
        head, separator, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if separator:
            common = f"{prefix}{head}{delimiter}"
            yield common, f"<CommonPrefixes><Prefix>{escape(common)}</Prefix></CommonPrefixes>"
            continue
        info = file.stat()
        changed = datetime.fromtimestamp(info.st_mtime, UTC)
        yield (
            name,
            f"<Contents><Key>{escape(name)}</Key><Size>{info.st_size}</Size>"
            f"<LastModified>{changed:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>"
            f'<ETag>"{info.st_mtime_ns:x}"</ETag></Contents>',
        )
