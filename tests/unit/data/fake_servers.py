"""Servers on this machine for the tests of remote sources: a web server with faults to order, and the part of S3 that is read."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class Served:
    """What a server has and how it behaves. faults: what to do with the next GETs of bodies, first one first.

    "die": send half and close. "short": say the whole length, send a part, close. "long": send more than was said of the file.
    "busy": 503. "deny": 403. requests: (method, path, range, authorization) of all that came.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    has_ranges: bool = True
    has_head: bool = True
    says_size: bool = True
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    served: Served

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests' output is not the place."""

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def _answer(self, has_body: bool) -> None:
        served, parts = self.served, urlsplit(self.path)
        path = unquote(parts.path)
        served.requests.append((self.command, self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if path in served.redirects:
            self._send(302, b"", {"Location": served.redirects[path]})
        elif "list-type" in parts.query:
            self._send(200, self._listing(path, parse_qs(parts.query)), {"Content-Type": "application/xml"})
        elif path not in served.files:
            self._send(404, b"")
        elif not has_body and not served.has_head:
            self._send(405, b"")
        else:
            self._file(served.files[path], has_body)

    def _file(self, content: bytes, has_body: bool) -> None:
        fault = self.served.faults.pop(0) if has_body and self.served.faults else ""
        if fault in ("busy", "deny"):
            self._send({"busy": 503, "deny": 403}[fault], b"")
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": tag, "Last-Modified": "Sat, 21 Nov 2026 10:00:00 GMT"}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        same = self.headers.get("If-Range") in (None, tag)
        if not (match and self.served.has_ranges and same):
            self._send(200, content, headers, has_body, fault)
            return
        start, end = int(match[1]), min(int(match[2] or len(content) - 1), len(content) - 1)
        if start >= len(content):
            self._send(416, b"")
            return
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(206, content[start : end + 1], headers, has_body, fault)

    def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None, has_body: bool = True, fault: str = "") -> None:
        said = len(body)
        if fault == "long":
            body, said = body + b"more", said + 4
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if self.served.says_size:
            self.send_header("Content-Length", str(said))
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if has_body:
            self.wfile.write(body[: len(body) // 2] if fault in ("die", "short") else body)

    def _listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        """ListObjectsV2 of one page."""
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        keys, folders = [], set()
        for path, content in sorted(self.served.files.items()):
            key = path.removeprefix(bucket.rstrip("/") + "/")
            if key == path or not key.startswith(prefix):
                continue
            inside = key[len(prefix) :]
            if delimiter and delimiter in inside:
                folders.add(prefix + inside.split(delimiter)[0] + delimiter)
            else:
                tag = hashlib.md5(content).hexdigest()
                keys.append(
                    f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-21T10:00:00.000Z</LastModified>"
                    f"<ETag>&quot;{tag}&quot;</ETag><Size>{len(content)}</Size></Contents>"
                )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders))
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(keys)}{prefixes}</ListBucketResult>"
        return b'<?xml version="1.0"?>' + body.encode()


@contextmanager
def serving() -> Iterator[Served]:
    """A server on a free port of this machine, stopped at the end."""
    served = Served()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"served": served}))
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
