"""Delta Lake tables, of today or of an earlier version. The log is read by `deltalake`, the rows by polars."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, DeltaProtocolError, TableNotFoundError

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import ByteSize, ColumnName, FilePath, Range
from lode.data.access import watch
from lode.data.access.credentials import read_credentials
from lode.data.access.fetch import Fetcher, Limits, folder_for
from lode.data.access.remote import Access, Remote, open_remote
from lode.data.access.remote_file import RemoteFile
from lode.data.contracts import Source
from lode.data.formats import files
from lode.data.place import Place

_LOG = "_delta_log"
_READABLE = frozenset(("timestampNtz", "vacuumProtocolCheck", "v2Checkpoint", "deletionVectors", "columnMapping"))
"""Features that need nothing of a reader, or whose use is looked for below."""
_PARTITION = "partition."


@dataclass(frozen=True, slots=True)
class _Table:
    """One version. folder: where its files are. parts: file (relative) -> partition column -> cell. when: of its commit."""

    folder: Path
    version: int
    when: str
    schema: pl.Schema
    parts: dict[str, dict[str, Any]]


class Delta(Source):
    """A Delta Lake table: a local folder by `path`, or one in an object store by `url`. Columns keep their types.

    Args:
        path: the table's folder, relative to lode.yaml or to `--data DIR`.
        url: instead of `path`, a table in an object store (s3, gs, hdfs); its files are fetched to this machine once.
        version: the version to read; by default the newest.
        timestamp: instead of `version`, a moment (`2026-01-31` or `2026-01-31T12:00:00`, UTC): the version of that time.
        columns: only these; by default all.
        endpoint: address of a server that speaks S3 without being Amazon's.
        region: region of the S3 bucket.
        key_env: environment variable that holds the S3 access key.
        secret_env: environment variable that holds the S3 secret key.
        token_env: environment variable that holds the S3 session token.
        secrets: instead of them, a JSON file with `key`, `secret`, `token`, or the file of a Google service account.
        max_bytes: all files of a `url` together; more is an error before it is fetched.
        retries: how often a failing request is made again before giving up.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath | None = None,
        url: str | None = None,
        version: Annotated[int, Range(0)] | None = None,
        timestamp: str | None = None,
        columns: list[ColumnName] | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        key_env: str | None = None,
        secret_env: str | None = None,
        token_env: str | None = None,
        secrets: FilePath | None = None,
        max_bytes: ByteSize = 100_000_000_000,  # type: ignore[assignment]
        retries: Annotated[int, Range(0, 20)] = 5,
    ) -> None:
        if (path is None) == (url is None):
            raise DataError("delta: found both or none of path and url, allowed: one of them. Name where the table is.")
        if version is not None and timestamp is not None:
            raise DataError("delta: found version beside timestamp, allowed: one of them. Remove one.")
        self.place, self.path, self.url, self.version, self.timestamp, self.columns = place, path, url, version, timestamp, columns
        self.endpoint, self.region, self.secrets = endpoint, region, secrets
        self.environment = {"key": key_env, "secret": secret_env, "token": token_env}
        self.limits = Limits(int(max_bytes), retries)
        self.name = str(path or url)
        self.notes: list[str] = []
        self._table: _Table | None = None
        self._opening = threading.Lock()

    def fingerprint(self) -> str:
        table = self._opened()
        parts = [[name, files.sha256_of(self._file(table, name))] for name in sorted(table.parts)]
        return hashlib.sha256(json.dumps([table.version, parts]).encode()).hexdigest()

    def scan(self) -> pl.LazyFrame:
        table = self._opened()
        names = self.columns or table.schema.names()
        for name in names:
            if name not in table.schema:
                have = table.schema.names()
                raise DataError(f'{self.name}: columns names "{name}", found {listed(have)}.{near_miss(name, have)}')
        paths = {name: self._file(table, name) for name in sorted(table.parts)}
        sizes = {path: path.stat().st_size for path in paths.values()}
        self.num_bytes = sum(sizes.values())
        self.unpacked_bytes = sum(watch.unpacked(path.name, size) for path, size in sizes.items())
        frames = [self._part(table, path, table.parts[name]) for name, path in paths.items()]
        return (frames[0] if len(frames) == 1 else pl.concat(frames)).select(names)

    def _part(self, table: _Table, path: Path, cells: dict[str, Any]) -> pl.LazyFrame:
        """The rows of one file; its partition's cells stand in the log, and columns that came later are empty."""
        stored = {name: dtype for name, dtype in table.schema.items() if name not in cells}
        frame = pl.scan_parquet(path, glob=False, schema=stored, missing_columns="insert", extra_columns="ignore")
        constants = [pl.lit(cell).cast(table.schema[name]).alias(name) for name, cell in cells.items()]
        return frame.with_columns(constants).select(table.schema.names())

    def _opened(self) -> _Table:
        """Read the log, once in the life of this source (hashing and reading may ask at the same time)."""
        with self._opening:
            if self._table is None:
                self._table = self._located()
                told = f"version {self._table.version} of {self._table.when}, {len(self._table.parts):,} files"
                self.notes.append(f"{self.name}: Delta table, {told}.")
            return self._table

    def _located(self) -> _Table:
        """The table; of a remote one, the files that its log names are fetched. A run stays at the version that it saw first."""
        remote = fetcher = None
        if self.url is None:
            folder = self.place.resolve(str(self.path))
        else:
            fetcher = Fetcher(folder_for(self.place, {"delta": self.url, "endpoint": self.endpoint}), self.limits, self.place)
            remote, log = (self._remote(self.url.rstrip("/") + below) for below in ("", f"/{_LOG}"))
            fetcher.fetch(_Log(log))
            folder = fetcher.folder / "files"
        key = f"delta {folder} {self.version} {self.timestamp}"
        seen = self.place.landed.get(key)
        table = self._read(folder, None if seen is None else int(seen.stem))
        self.place.landed[key] = folder / _LOG / f"{table.version:020d}.json"
        if remote is not None and fetcher is not None:
            fetcher.fetch(remote, lambda file: file.name in table.parts)
        return table

    def _remote(self, url: str) -> Remote:
        credentials = read_credentials(self.place, f"delta {url}", self.environment, self.secrets)
        return open_remote(self.place, url, Access(credentials, self.endpoint, self.region))

    def _read(self, folder: Path, seen: int | None) -> _Table:
        """The log. seen: the version that this run has read before.

        Errors: DataError for what is no table, a version that is not there, and features that polars does not read.
        """
        try:
            table = DeltaTable(folder)
            history = sorted(table.history(), key=lambda commit: int(commit["version"]))
            wanted = self._wanted(history) if seen is None else seen
            if wanted is not None:
                table = DeltaTable(folder, version=wanted)
            self._check_features(table)
            actions = pl.DataFrame(table.get_add_actions(flatten=True))
            schema = pl.Schema(table.schema().to_arrow())
        except TableNotFoundError as error:
            raise DataError(f"{self.name}: found no Delta table, a folder with {_LOG} is needed. Check the path.") from error
        except DeltaProtocolError as error:
            raise DataError(f"{self.name}: uses a feature of Delta that is not supported ({_first(error)}).") from error
        except DeltaError as error:
            raise DataError(f"{self.name}: not readable as a Delta table ({_first(error)}). Check the table.") from error
        if not actions.height or (actions["num_records"].sum() == 0 and not actions["num_records"].has_nulls()):
            raise DataError(f"{self.name}: version {table.version()} has no rows. Name another version.")
        when = next((commit["timestamp"] for commit in history if commit["version"] == table.version()), None)
        return _Table(folder, table.version(), _moment(when), schema, dict(self._parts(actions)))

    def _parts(self, actions: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
        partitions = [name for name in actions.columns if name.startswith(_PARTITION)]
        for row in actions.select("path", *partitions).iter_rows(named=True):
            name = unquote(row["path"])
            if "://" in name or name.startswith("/") or ".." in name.split("/"):
                raise DataError(
                    f"{self.name}: the log names the file {name}, which is not in the table. Shallow clones are not supported."
                )
            yield name, {column.removeprefix(_PARTITION): row[column] for column in partitions}

    def _wanted(self, history: list[dict[str, Any]]) -> int | None:
        """The version to read; None for the newest."""
        versions = [int(commit["version"]) for commit in history]
        if self.version is not None and self.version not in versions:
            raise DataError(
                f"{self.name}: found no version {self.version}, there are {versions[0]} to {versions[-1]}. Name one of them."
            )
        if self.timestamp is None:
            return self.version
        try:
            moment = datetime.fromisoformat(self.timestamp)
        except ValueError:
            raise DataError(
                f'{self.name}: found the timestamp "{self.timestamp}", allowed: 2026-01-31 or 2026-01-31T12:00:00.'
            ) from None
        limit_ms = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
        before = [int(commit["version"]) for commit in history if commit["timestamp"] <= limit_ms]
        if not before:
            raise DataError(
                f"{self.name}: the oldest version in the log ({versions[0]}) is of {_moment(history[0]['timestamp'])}, after "
                f"{self.timestamp}. Name a later moment."
            )
        return before[-1]

    def _check_features(self, table: DeltaTable) -> None:
        unknown = sorted(set(table.protocol().reader_features or ()) - _READABLE)
        if unknown:
            raise DataError(
                f"{self.name}: uses the Delta feature {listed(unknown)}, which is not supported. Rewrite the table without it."
            )
        if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
            raise DataError(f"{self.name}: uses column mapping, which is not supported. Copy it to a table without it.")
        if "deletionVectors" in (table.protocol().reader_features or ()) and pl.DataFrame(table.deletion_vectors()).height:
            raise DataError(
                f"{self.name}: version {table.version()} has deletion vectors, which are not supported. "
                "Rewrite its files: REORG TABLE ... APPLY (PURGE)."
            )

    def _file(self, table: _Table, name: str) -> Path:
        path = table.folder / name
        if not path.is_file():
            raise DataError(
                f"{self.name}: version {table.version} names the file {name}, which is not there; `vacuum` may have removed it. "
                "Name a later version."
            )
        return path


@dataclass(frozen=True, slots=True)
class _Log:
    """The log's folder, its files named as they lie below the table."""

    remote: Remote

    def files(self) -> list[RemoteFile]:
        return [replace(file, name=f"{_LOG}/{file.name}") for file in self.remote.files()]

    def read(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        return self.remote.read(file, start)


def _moment(milliseconds: int | None) -> str:
    return (
        "unknown time" if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    )


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
