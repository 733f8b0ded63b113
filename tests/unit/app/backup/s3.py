"""The part of S3 that a target needs, on this machine: signatures are checked, listings may lag, faults are ordered."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "AKIATEST", "a-secret-that-signs"


@dataclass
class Bucket:
    """objects: by path. lag: how many listings do not show the newest object. refuse: statuses of the next requests, one each.

    hold: set while a part of an upload waits; go: lets it on. requests: "METHOD path?query".
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    refuse: list[int] = field(default_factory=list)
    lagging: dict[str, int] = field(default_factory=dict)
    lag: int = 0
    vanish: str = ""
    requests: list[str] = field(default_factory=list)
    holds_parts: bool = False
    hold: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def put(self, path: str, content: bytes) -> None:
        self.objects[path] = content
        self.lagging[path] = self.lag

    def listed(self, prefix: str) -> list[str]:
        shown = [path for path in sorted(self.objects) if path.startswith(prefix) and not self.lagging.get(path)]
        self.lagging = {path: max(left - 1, 0) for path, left in self.lagging.items()}
        return shown


class _Handler(BaseHTTPRequestHandler):
    bucket: Bucket
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two of them wait 40 ms for one another

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def _do(self) -> None:
        bucket, parts = self.bucket, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bucket.requests.append(f"{self.command} {self.path}")
        if not self._is_signed(body):
            self._send(403, _error("SignatureDoesNotMatch"))
        elif bucket.refuse:
            status = bucket.refuse.pop(0)
            self._send(status, _error({403: "AccessDenied", 503: "SlowDown"}[status]))
        else:
            path, query = unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))
            getattr(self, f"_{self.command.lower()}")(path, query, body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _do

    def _get(self, path: str, query: dict[str, str], body: bytes) -> None:
        if "list-type" in query:
            self._list(path.rstrip("/"), query)
        elif path not in self.bucket.objects or (self.bucket.vanish and self.bucket.vanish in path):
            self._send(404, _error("NoSuchKey"))
        else:
            content = self.bucket.objects[path]
            span = self.headers.get("Range")
            if span is None:
                self._send(200, content)
                return
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(content)), len(content) - 1)
            self._send(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

    _head = _get

    def _put(self, path: str, query: dict[str, str], body: bytes) -> None:
        bucket = self.bucket
        if "uploadId" not in query:
            bucket.put(path, body)
        else:
            bucket.uploads[query["uploadId"]][int(query["partNumber"])] = body
            if bucket.holds_parts:
                bucket.hold.set()
                return  # never answered: the client waits
        self._send(200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _post(self, path: str, query: dict[str, str], body: bytes) -> None:
        bucket = self.bucket
        if "uploads" in query:
            id = f"upload{len(bucket.uploads)}"
            bucket.uploads[id] = {}
            self._send(200, f"<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>".encode())
        elif "uploadId" in query:
            uploaded = bucket.uploads.pop(query["uploadId"])
            bucket.put(path, b"".join(uploaded[number] for number in sorted(uploaded)))
            self._send(200, b'<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>')
        else:  # ?delete: many at once
            keys = [part.split("</Key>")[0] for part in body.decode().split("<Key>")[1:]]
            for key in keys:
                bucket.objects.pop(f"{path.rstrip('/')}/{key}", None)
            gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self._send(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    def _delete(self, path: str, query: dict[str, str], body: bytes) -> None:
        self.bucket.objects.pop(path, None)
        self._send(204, b"")

    def _list(self, root: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], set()
        for path in self.bucket.listed(f"{root}/{prefix}"):
            key = path.removeprefix(f"{root}/")
            inside = key[len(prefix) :]
            if delimiter and delimiter in inside:
                folders.add(prefix + inside.split(delimiter)[0] + delimiter)
            else:
                size = len(self.bucket.objects[path])
                keys.append(
                    f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-21T10:00:00.000Z</LastModified><Size>{size}</Size></Contents>"
                )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders))
        self._send(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(keys)}{prefixes}</ListBucketResult>".encode())

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        found = {
            "Content-Length": str(len(body)),
            "Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT",
            "ETag": '"x"',
            **(headers or {}),
        }
        for name, value in found.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _is_signed(self, body: bytes) -> bool:
        """AWS Signature Version 4: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
        said = self.headers.get("Authorization") or ""
        if not said.startswith("AWS4-HMAC-SHA256 "):
            return False
        fields = dict(part.strip().split("=", 1) for part in said.partition(" ")[2].split(","))
        key, day, region, service, end = fields["Credential"].split("/")
        parts = urlsplit(self.path)
        names = fields["SignedHeaders"].split(";")
        digest = self.headers["x-amz-content-sha256"]
        pairs = [pair if "=" in pair else f"{pair}=" for pair in parts.query.split("&") if pair]
        canonical = "\n".join([
            self.command, parts.path, "&".join(sorted(pairs)), *(f"{name}:{self.headers[name].strip()}" for name in names), "",
            ";".join(names), digest,
        ])  # fmt: skip
        scope = f"{day}/{region}/{service}/{end}"
        text = f"AWS4-HMAC-SHA256\n{self.headers['x-amz-date']}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        secret = f"AWS4{SECRET}".encode()
        for part in (day, region, service, end):
            secret = hmac.digest(secret, part.encode(), "sha256")
        is_body = digest in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest())
        return key == KEY and is_body and hmac.digest(secret, text.encode(), "sha256").hex() == fields["Signature"]


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


@contextmanager
def s3() -> Iterator[Bucket]:
    """A server on a free port, stopped at the end."""
    bucket = Bucket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bucket": bucket}))
    server.daemon_threads = True
    bucket.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
