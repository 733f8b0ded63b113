"""Targets that fsspec speaks to; s3 and gs through `obstore`, whose put is whole or not at all.

Credentials: as their own tools find them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import fsspec  # type: ignore[import-untyped]
from obstore.exceptions import BaseError
from obstore.fsspec import FsspecStore

from lode.app.targets.contracts import AbsentError, Target
from lode.core.errors import BackupError

_T = TypeVar("_T")
_OBJECT_STORES = ("s3", "gs", "gcs", "az", "abfs")
_RETRIES: Any = {"max_retries": 6, "retry_timeout": timedelta(seconds=60), "backoff": {"init_backoff": timedelta(seconds=0.2)}}
"""Of one call, with growing pauses: a store that is busy (503) is asked again, one that is gone must be told of within a minute."""


class RemoteTarget(Target):
    """A folder behind a url. url: protocol://place/folder."""

    def __init__(self, url: str):
        self.where = url.rstrip("/")
        scheme, _, path = self.where.partition("://")
        try:
            if scheme in _OBJECT_STORES:
                make: Any = FsspecStore  # its overloads know no plain names of protocols
                self._system, self._base = make(scheme, retry_config=_RETRIES, skip_instance_cache=True), path
            else:
                self._system, self._base = fsspec.core.url_to_fs(self.where)
        except ImportError as error:
            raise BackupError(
                f"{url}: the protocol {scheme} needs a package that is missing ({error}). Install it with pip."
            ) from None
        except (ValueError, BaseError) as error:
            raise BackupError(f"{url}: found no place ({_first_line(error)}). Write a path, or s3://bucket/folder.") from None

    def write(self, name: str, content: bytes) -> None:
        path = self._path(name)

        def work() -> None:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(path, content)

        self._told(name, work)

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        end = None if length is None else start + length
        whole = start == 0 and end is None
        path = self._path(name)
        return bytes(
            self._told(name, lambda: self._system.cat_file(path) if whole else self._system.cat_file(path, start=start, end=end))
        )

    def names(self, folder: str) -> list[str]:
        self._system.invalidate_cache()
        try:
            found = self._told(folder, lambda: self._system.ls(self._path(folder), detail=True))
        except AbsentError:
            return []
        return sorted(str(entry["name"]).rstrip("/").rpartition("/")[2] for entry in found if entry["type"] == "file")

    def remove(self, name: str) -> None:
        try:
            self._told(name, lambda: self._system.rm_file(self._path(name)))
        except AbsentError:
            return

    def _path(self, name: str) -> str:
        return f"{self._base.rstrip('/')}/{name}"

    def _told(self, name: str, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except FileNotFoundError:
            raise AbsentError(f"{self.where}: found no {name}. Was it removed, or is another place meant?") from None
        except (OSError, BaseError) as error:
            raise BackupError(
                f"{self.where}: cannot be used ({_first_line(error)}). Is the target there, and may you write to it?"
            ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
