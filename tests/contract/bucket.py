"""A bucket as Spaces and other S3-compatible stores have it, on loopback: what Pulumi uses of it.

https://docs.digitalocean.com/reference/api/spaces/
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

KEYS = {"AWS_ACCESS_KEY_ID": "SPACES", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_SESSION_TOKEN": "more"}
"""Environment variables of who may use it."""


@dataclass
class Bucket:
    """Its objects by key."""

    url: str = ""
    """For `PULUMI_BACKEND_URL`."""
    objects: dict[str, bytes] = field(default_factory=dict)

    def keys(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def listing(self, query: dict[str, list[str]]) -> str:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
        prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
        contents, folders = [], dict[str, None]()
        for key in self.keys(prefix):
            folder, separator, _ = key.removeprefix(prefix).partition(delimiter or "\0")
            if separator:
                folders[f"{prefix}{folder}{separator}"] = None
            else:
                contents.append(
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size>"
                    f"<LastModified>2026-01-31T12:00:00.000Z</LastModified>{self.tag(key)}"
                    "</Contents>"
                )
        common = (
            f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            for folder in folders
        )
        return (
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>false</IsTruncated>{''.join(contents)}{''.join(common)}"
            "</ListBucketResult>"
        )

    def tag(self, key: str) -> str:
        digest = md5(self.objects[key], usedforsecurity=False).hexdigest()
        return f"<ETag>&quot;{digest}&quot;</ETag>"


@contextmanager
def serve(name: str) -> Iterator[Bucket]:
    """A bucket that is empty, and that only requests with `KEYS` may use."""
    bucket = Bucket()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request_of_key(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            folder, _, key = unquote(parts.path).removeprefix("/").partition("/")
            signed = f"Credential={KEYS['AWS_ACCESS_KEY_ID']}/" in self.headers["Authorization"]
            if not signed or self.headers["X-Amz-Security-Token"] != KEYS["AWS_SESSION_TOKEN"]:
                return self.answer(403, "<Error><Code>AccessDenied</Code></Error>")
            if folder != name:
                return self.answer(404, "<Error><Code>NoSuchBucket</Code></Error>")
            if not key:
                return self.answer(200, bucket.listing(parse_qs(parts.query)))
            if self.command == "PUT":
                source = unquote(self.headers["X-Amz-Copy-Source"] or "").removeprefix(f"{name}/")
                bucket.objects[key] = bucket.objects[source] if source else body
                return self.answer(200, f"<CopyObjectResult>{bucket.tag(key)}</CopyObjectResult>")
            if key not in bucket.objects:
                return self.answer(404, "<Error><Code>NoSuchKey</Code></Error>")
            if self.command == "DELETE":
                del bucket.objects[key]
                return self.answer(204, "")
            return self.answer(200, bucket.objects[key])

        do_GET = do_HEAD = do_PUT = do_DELETE = handle_request_of_key

        def answer(self, status: int, body: str | bytes) -> None:
            content = body.encode() if isinstance(body, str) else body
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Last-Modified", "Sat, 31 Jan 2026 12:00:00 GMT")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    bucket.url = (
        f"s3://{name}?endpoint=http://127.0.0.1:{server.server_port}&s3ForcePathStyle=true"
        "&region=nyc3&response_checksum_validation=when_required"
    )
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
