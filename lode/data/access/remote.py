"""Files on other machines: what there is under a url, and their bytes from a position on. One class per way of asking.

`fsspec` speaks for s3, gs, hdfs, memory and file (s3 and gs through `obstore`); http and https are lode/data/access/http_files.py.
Read lode/data/access/fetch.py next: it brings the bytes onto this machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import fsspec  # type: ignore[import-untyped]
from fsspec.utils import glob_translate  # type: ignore[import-untyped]
from obstore.exceptions import BaseError, NotFoundError, NotSupportedError, PermissionDeniedError, UnauthenticatedError
from obstore.fsspec import FsspecStore

from lode.core import disk
from lode.core.errors import DataError
from lode.data.access.credentials import Credentials, check_url
from lode.data.access.http_files import HttpFiles
from lode.data.access.remote_file import LostError, RemoteFile
from lode.data.place import Place

RANGE_BYTES = 1 << 23
"""Bytes asked for at a time."""
MAX_FILES = 100_000
PROTOCOLS = ("file", "memory", "s3", "gs", "hdfs", "webhdfs", "http", "https")
_GLOB = re.compile(r"[*?\[]")


class Remote(Protocol):
    """A way of asking. Errors of both: LostError for what may pass, DataError for what will not."""

    def files(self) -> list[RemoteFile]:
        """The files that the url means, by name."""

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        """The bytes from a position on; bytes of another version of the file are never given."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a server is asked. endpoint: for servers that speak S3 without being Amazon's. timeout_s: seconds without a byte."""

    credentials: Credentials
    endpoint: str | None = None
    region: str | None = None
    timeout_s: float = 60.0


def open_remote(place: Place, url: str, access: Access) -> Remote:
    """Who answers for a url. Errors: DataError for protocols that are not allowed and urls with secrets in them."""
    protocol = urlsplit(url).scheme if "://" in url else "file"
    if "::" in url or protocol not in PROTOCOLS:
        raise DataError(f"{url}: found the protocol {protocol}, allowed: {', '.join(PROTOCOLS)}, one alone. Change the url.")
    check_url(url)
    if protocol in ("http", "https"):
        return HttpFiles(url, access.credentials.token, access.timeout_s)
    if protocol == "file":
        path = unquote(urlsplit(url).path) if "://" in url else url
        return _Stored(url, fsspec.filesystem("file"), str(_absolute(place, path)), access)
    if protocol in ("s3", "gs"):
        return _Stored(url, _object_store(protocol, access), url.split("://", 1)[1], access)
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DataError(
            f"{url}: the protocol {protocol} needs a package that is missing ({error}). Install it with pip."
        ) from error
    return _Stored(url, system, path, access)


def _absolute(place: Place, path: str) -> Path:
    """A local path; of one with a glob, the folder above is looked up like any other."""
    match = _GLOB.search(path)
    fixed = path if match is None else path[: match.start()].rpartition("/")[0]
    found = place.resolve(fixed or ("/" if path.startswith("/") else "."))
    return found if match is None else found / path[len(fixed) :].lstrip("/")


def _object_store(protocol: str, access: Access) -> Any:
    credentials, config = access.credentials, dict[str, Any]()
    if protocol == "s3":
        config = {"aws_region": access.region or "us-east-1", "aws_skip_signature": credentials.key is None}
        more = {
            "aws_endpoint": access.endpoint,
            "aws_access_key_id": credentials.key,
            "aws_secret_access_key": credentials.secret,
            "aws_session_token": credentials.token,
        }
    else:
        config = {"google_skip_signature": credentials.account is None}
        more = {"google_service_account_key": credentials.account}
    config |= {name: value for name, value in more.items() if value is not None}
    client = {"timeout": f"{access.timeout_s:g}s", "allow_http": (access.endpoint or "").startswith("http://")}
    # Retries are counted in one place: lode/data/access/fetch.py.
    make: Any = FsspecStore  # its overloads know no options of fsspec
    return make(protocol, config=config, client_options=client, retry_config={"max_retries": 0}, skip_instance_cache=True)


class _Stored:
    """Files of an fsspec file system. path: of this system, perhaps with a glob."""

    def __init__(self, url: str, system: Any, path: str, access: Access) -> None:
        self.url, self.system, self.path, self.access = url, system, path.rstrip("/"), access
        self.is_local = "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,))

    def files(self) -> list[RemoteFile]:
        match = _GLOB.search(self.path)
        base = self.path if match is None else self.path[: match.start()].rpartition("/")[0]
        fits = re.compile(glob_translate(self.path)) if match is not None else None
        found = []
        for path, info in sorted(self._entries(base).items()):
            inside = path[len(base) :].lstrip("/") or path.rpartition("/")[2]
            is_hidden = any(part.startswith((".", "_")) for part in inside.split("/"))
            in_folder_found = fits is not None and any(fits.match(part) for part in _prefixes(path))
            if not is_hidden and (fits is None or in_folder_found):
                found.append(RemoteFile(inside, path, f"{self.url.partition('://')[0]}:{path}", info.get("size"), _version(info)))
        if not found:
            raise DataError(f"{self.url}: found no file. Check the url; names that begin with . or _ are left out.")
        return found

    def _entries(self, base: str) -> dict[str, dict[str, Any]]:
        """Path -> what is known of it, of every file under a folder (or of the file itself)."""
        if self.is_local:
            return dict(_local_entries(Path(base)))
        entries: dict[str, dict[str, Any]] = {}
        pending = [base]
        try:
            alone = self._alone(base)
            if alone is not None:
                return {base: alone}
            while pending:
                for info in self.system.ls(pending.pop(), detail=True):
                    if info["type"] == "directory":
                        pending.append(info["name"].rstrip("/"))
                    else:
                        entries["/" + info["name"] if base.startswith("/") and info["name"][:1] != "/" else info["name"]] = info
                _check_number(self.url, len(entries) + len(pending))
        except (OSError, BaseError) as error:
            raise self._failed(error) from error
        return entries

    def _alone(self, path: str) -> dict[str, Any] | None:
        """What is known of a path that is a file; None for a folder, which object stores do not know as such."""
        if "/" not in path.strip("/"):
            return None
        try:
            info: dict[str, Any] = self.system.info(path)
        except (FileNotFoundError, NotFoundError):
            return None
        return info if info["type"] == "file" else None

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        size = file.num_bytes
        try:
            while size is None or start < size:
                end = start + RANGE_BYTES if size is None else min(start + RANGE_BYTES, size)
                chunk = self.system.cat_file(file.path, start=start, end=end)
                if chunk:
                    yield chunk
                start += len(chunk)
                if len(chunk) < RANGE_BYTES:
                    break
            now = self.system.info(file.path)
        except (OSError, BaseError) as error:
            raise self._failed(error) from error
        if _version(now) != file.version:
            raise DataError(f"{file.shown}: the file changed while it was read. Run again when nobody writes it.")

    def _failed(self, error: Exception) -> DataError:
        """What may pass is a LostError; wrong names and missing rights stay."""
        lines = self.access.credentials.scrub(str(error)).splitlines() or [type(error).__name__]
        if isinstance(error, FileNotFoundError | NotFoundError):
            return DataError(f"{self.url}: found no such file or folder. Check the url.")
        refused = isinstance(error, PermissionError | PermissionDeniedError | UnauthenticatedError)
        if refused or " 403 " in lines[0] or " 401 " in lines[0]:
            return DataError(
                f"{self.url}: the server refuses to let it be read. Name credentials with key_env and secret_env, token_env or secrets."
            )
        if isinstance(error, NotSupportedError):
            return DataError(f"{self.url}: not readable ({lines[0]}).")
        return LostError(f"{self.url}: {lines[0]}")


def _prefixes(path: str) -> Iterator[str]:
    """A path and every folder above it: a glob that names a folder means the files in it."""
    yield path
    while "/" in path.strip("/"):
        path = path.rpartition("/")[0]
        yield path


def _local_entries(base: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Files under a folder of this machine."""
    below = (Path(folder, name) for folder, names in disk.walk(base) for name in names)
    paths = [base] if base.is_file() else list(below)
    _check_number(str(base), len(paths))
    for path in paths:
        if path.is_file():
            state = path.stat()
            yield str(path), {"size": state.st_size, "mtime": state.st_mtime}


def _check_number(url: str, number: int) -> None:
    if number > MAX_FILES:
        raise DataError(f"{url}: found more than {MAX_FILES:,} files, which is the limit. Name fewer with a glob.")


def _version(info: dict[str, Any]) -> str:
    """What changes whenever the bytes do, as far as the system says: a tag, else the time of the last change, and the size."""
    tag = next((str(info[name]) for name in ("e_tag", "ETag", "etag", "version_id") if info.get(name)), "")
    times = ("last_modified", "LastModified", "mtime", "modified", "created", "modificationTime")
    when = next((info[name] for name in times if info.get(name)), "")
    if isinstance(when, datetime):
        when = when.timestamp()
    return f"{tag or when}:{info.get('size')}" if tag or when else ""
