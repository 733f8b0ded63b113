"""Files over http and https, with the standard library: ranges to resume, no way to another protocol, no more bytes than were said."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from lode.core.errors import DataError
from lode.data.access.remote_file import LostError, RemoteFile

_CHUNK_BYTES = 1 << 18
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_MAX_WAIT_S = 30.0


class HttpFiles:
    """One url, one file: http has no folders. token: sent as `Authorization: Bearer`, to that host only."""

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        self.url, self.token, self.timeout_s = url, token, timeout_s
        parts = urlsplit(url)
        if any(mark in parts.path for mark in "*[") or parts.path.endswith("/") or not parts.path:
            raise DataError(f"{url}: found a pattern or a folder, allowed over http: a file. List the files one by one.")
        if token is not None and parts.scheme == "http" and not _is_private(parts.hostname or ""):
            raise DataError(f"{url}: a token over http can be read by others, allowed: https. Change the url, or remove token_env.")
        self._opener = urllib.request.OpenerDirector()
        # Only these: the usual opener would also answer for file:, ftp: and data:.
        handlers: tuple[Any, ...] = (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _SameProtocol(),
        )
        for handler in handlers:
            self._opener.add_handler(handler)

    def files(self) -> list[RemoteFile]:
        name = unquote(urlsplit(self.url).path).rpartition("/")[2]
        try:
            with closing(self._ask("HEAD", {})) as answer:
                size, version = _size(answer), _version(answer)
        except _NoHeadError:
            size, version = None, ""
        return [RemoteFile(name, self.url, self.url, size, version)]

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        headers = {}
        if start:
            # `If-Range`: another version of the file comes whole, and is refused below.
            headers = {"Range": f"bytes={start}-", "If-Range": file.version}
        with closing(self._ask("GET", headers)) as answer:
            if file.version and _version(answer) not in ("", file.version):
                raise DataError(f"{self.url}: the file changed while it was read. Run again when nobody writes it.")
            skip = 0
            if start and answer.status != 206:
                skip = start  # no ranges here: what is there already is read past
            elif start and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
                raise DataError(f"{self.url}: the server answers with other bytes than asked for. Get the file yourself.")
            yield from self._chunks(answer, skip)

    def _chunks(self, answer: Any, skip: int) -> Iterator[bytes]:
        expected, received = _size(answer), 0
        while True:
            try:
                chunk = answer.read(_CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise LostError(f"{self.url}: the connection broke ({type(error).__name__})") from error
            if not chunk:
                break
            received += len(chunk)
            kept = chunk[max(0, len(chunk) - (received - skip)) :] if received > skip else b""
            if kept:
                yield kept
        if expected is not None and received < expected:
            raise LostError(f"{self.url}: the server said {expected:,} bytes and sent {received:,}")

    def _ask(self, method: str, headers: dict[str, str]) -> Any:
        """The answer, open for reading. Errors: LostError, DataError."""
        request = urllib.request.Request(
            self.url, headers={"Accept-Encoding": "identity", "User-Agent": "lode", **headers}, method=method
        )
        if self.token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            return self._opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error, method) from error
        except urllib.error.URLError as error:
            raise LostError(f"{self.url}: no answer ({self._scrubbed(error.reason)})") from error
        except (OSError, http.client.HTTPException) as error:
            raise LostError(f"{self.url}: no answer ({self._scrubbed(error)})") from error

    def _refused(self, error: urllib.error.HTTPError, method: str) -> Exception:
        if error.code in _BUSY:
            wait = error.headers.get("Retry-After") or ""
            return LostError(
                f"{self.url}: the server answers {error.code}", min(float(wait), _MAX_WAIT_S) if wait.isdigit() else 0.0
            )
        if method == "HEAD" and error.code in (403, 405, 501):
            return _NoHeadError()
        if error.code in (401, 403):
            return DataError(
                f"{self.url}: the server answers {error.code}, it must not be read like this. Name a token with token_env."
            )
        if error.code in (404, 410):
            return DataError(f"{self.url}: found no such file (the server answers {error.code}). Check the url.")
        if error.code == 416:
            return LostError(f"{self.url}: the server has fewer bytes than it said")
        return DataError(f"{self.url}: the server answers {error.code}. Check the url in a browser.")

    def _scrubbed(self, reason: object) -> str:
        text = str(reason) or type(reason).__name__
        return text.replace(self.token, "***") if self.token else text


class _NoHeadError(Exception):
    """The server answers no HEAD: only reading tells what there is (internal)."""


class _SameProtocol(urllib.request.HTTPRedirectHandler):
    """Follows redirects on the protocol that was asked for, and never from the internet into a private network."""

    max_redirections = 5

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """What every redirect passes. Errors: DataError for one that is not followed."""
        target = urljoin(req.full_url, headers.get("Location") or headers.get("URI") or "")
        old, new = urlsplit(req.full_url), urlsplit(target)
        inward = _is_private(new.hostname or "") and not _is_private(old.hostname or "")
        if new.scheme != old.scheme or inward:
            fp.close()
            what = "into a private network" if inward else f"from {old.scheme} to {new.scheme or 'nothing'}"
            raise DataError(
                f"{req.full_url}: the server sends us on {what}, allowed: the same protocol. If you trust it, name the file's own url."
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _is_private(host: str) -> bool:
    """Whether a host is this machine or an address that the internet does not know; names are not looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _size(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length") or ""
    return int(text) if text.isdigit() else None


def _version(answer: Any) -> str:
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
