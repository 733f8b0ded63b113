"""Rows that come over a connection land on disk first: Parquet parts, each with the position after it, and a hash over all of them.

    <landing>/<key>.incoming/   a read that is not done: 000000.parquet, ..., state.json (the parts that count, and the position)
    <landing>/<sha256>/         a read that is done: the parts and landed.json; never changed again
    <landing>/<key>.json        which of those a source has now

A part counts from the moment `state.json` names it together with its position, so a killed read goes on from there and ends with the
very bytes of an undisturbed one. The old landing stays until the new one is whole. Read lode/data/sources/sql.py next: who lands.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from lode.core import disk
from lode.core.disk import is_full, size_text
from lode.core.errors import DataError
from lode.data.access import typed_rows
from lode.data.place import Place

_FORMAT = 1
LANDED = "landed.json"
"""Lies in a landing that is whole."""
_STATE = "state.json"
_ONE_AT_A_TIME = threading.Lock()
"""Reading asks a source for its fingerprint and its rows in two threads."""


class ConnectionLostError(DataError):
    """The server went away in mid-read. `land` adds what was kept."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one part. position: JSON from which a read goes on after them; None where it cannot."""

    frame: pl.DataFrame
    position: Any = None
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Feed:
    """What a source gives to `land`.

    name: for messages and the progress bar. key: JSON of all that decides which rows come; no credentials.
    read: the batches after a position (None: from the start). The same rows must come in the same batches, wherever it starts.
    version: asks the server for a short text that changes whenever the rows do; None: only reading tells.
    keep: a finished landing is used as it is, for ever.
    advice: what would make the read resumable, for the error of one that cannot go on.
    """

    name: str
    key: Mapping[str, Any]
    read: Callable[[Any], Iterator[Batch]]
    version: Callable[[], str] | None = None
    keep: bool = False
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Landing:
    """A finished read. sha256: over the parts, in order. num_bytes: of the rows in memory."""

    folder: Path
    sha256: str
    parts: tuple[str, ...]
    num_rows: int
    num_bytes: int
    notes: tuple[str, ...]

    def scan(self) -> pl.LazyFrame:
        """The rows, lazily, in the order in which they came."""
        return pl.scan_parquet([self.folder / name for name in self.parts], glob=False)


def land(place: Place, feed: Feed) -> Landing:
    """The rows of a feed on disk. Asks the server at most once in the life of a Place; goes on where a killed read stopped.

    Errors: DataError where the server fails (with what was kept), the disk is full (with the space needed), or no rows come.
    """
    key = hashlib.sha256(json.dumps(feed.key, sort_keys=True, default=str).encode()).hexdigest()[:16]
    with _ONE_AT_A_TIME:
        known = place.landed.get(key)
        if known is None:
            known = place.landed[key] = _landed(place.landing or _temporary(), key, place, feed)
    return _read_landing(known)


def _temporary() -> Path:
    """A folder that goes with the process, for reads that belong to no run."""
    folder = Path(tempfile.mkdtemp(prefix="lode-landing-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _landed(landings: Path, key: str, place: Place, feed: Feed) -> Path:
    """The folder of the finished landing, read now if need be."""
    pointer = landings / f"{key}.json"
    current = _read_json(pointer)
    present = None if current is None else landings / current["folder"]
    has_whole = present is not None and (present / LANDED).is_file()
    if current is not None and present is not None and has_whole and feed.keep:
        return present
    version = None if feed.version is None else feed.version()
    if current is not None and present is not None and has_whole and version is not None and current["version"] == version:
        return present
    reader = _Reader(landings / f"{key}.incoming", pointer, place, feed, version)
    try:
        return reader.read()
    except OSError as error:
        if not is_full(error):
            raise
        raise reader.full() from error


@dataclass(slots=True)
class _State:
    """The parts that count. sizes: bytes on disk of each."""

    version: str | None
    started: float = field(default_factory=time.time)
    position: Any = None
    sizes: list[int] = field(default_factory=list)
    num_rows: int = 0
    num_bytes: int = 0
    notes: list[str] = field(default_factory=list)
    format: int = _FORMAT


class _Reader:
    """One read into `folder`, from where an earlier one stopped. pointer: the file that will name the finished folder."""

    def __init__(self, folder: Path, pointer: Path, place: Place, feed: Feed, version: str | None) -> None:
        self.folder, self.pointer, self.place, self.feed = folder, pointer, place, feed
        self.state = self._resumed(version)
        self._needed_bytes = 0

    def _resumed(self, version: str | None) -> _State:
        """What an earlier read left, if it can go on; else nothing, and the folder is empty."""
        record = _read_json(self.folder / _STATE)
        fits = (
            record is not None and record["format"] == _FORMAT and record["version"] == version and record["position"] is not None
        )
        state = _State(**record) if fits and record is not None else _State(version)
        whole = [self._part(index) for index in range(len(state.sizes))]
        if any(not path.is_file() or path.stat().st_size != size for path, size in zip(whole, state.sizes, strict=True)):
            state, whole = _State(version), []
        if not whole:
            self._remove()
        elif version is None:
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(state.started))
            state.notes.append(f"an earlier read stopped after row {state.num_rows:,}; rows up to it are as they were on {when}")
        return state

    def read(self) -> Path:
        """Every batch, then the hash over all; returns the finished folder."""
        state, what = self.state, f"read {self.feed.name}"
        self.place.progress(what, state.num_rows, 0, {})
        try:
            for batch in self.feed.read(state.position):
                self._keep(batch)
                self.place.progress(what, state.num_rows, 0, {})
        except ConnectionLostError as error:
            raise DataError(f"{error} {self._kept()}") from error
        if not state.num_rows:
            self._remove()
            raise DataError(f"{self.feed.name}: gives no rows. Name another table, or change the query or the filter.")
        return self._finish()

    def _keep(self, batch: Batch) -> None:
        """A part and its position, together: the part is nothing before `state.json` names it."""
        if batch.frame.is_empty():
            return
        state = self.state
        content = _parquet(batch.frame)
        self._write(self._part(len(state.sizes)), content)
        state.sizes.append(len(content))
        state.position = batch.position
        state.num_rows += batch.frame.height
        state.num_bytes += int(batch.frame.estimated_size())
        state.notes = list(dict.fromkeys([*state.notes, *batch.notes]))
        self._write_state()

    def _write_state(self) -> None:
        self._write(self.folder / _STATE, _json(asdict(self.state)))

    def _write(self, path: Path, content: bytes) -> None:
        self._needed_bytes = len(content)
        write_whole(path, content)

    def _finish(self) -> Path:
        """Columns of one type in all parts, the hash over them, and the folder under its name."""
        state = self.state
        parts = [self._part(index) for index in range(len(state.sizes))]
        notes = list(state.notes)
        schemas = [pl.read_parquet_schema(path) for path in parts]
        schema = typed_rows.common_schema(schemas, notes)
        for path, found in zip(parts, schemas, strict=True):
            if list(found.items()) != list(schema.items()):
                self._replace(path, typed_rows.conform(pl.read_parquet(path, glob=False), schema))
        digest = hashlib.sha256()
        for path in parts:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        sha256 = digest.hexdigest()
        record = {
            "sha256": sha256, "parts": [path.name for path in parts], "num_rows": state.num_rows, "num_bytes": state.num_bytes,
            "notes": list(dict.fromkeys(f"{self.feed.name}: {note}." for note in notes)),
        }  # fmt: skip
        finished = self.folder.parent / sha256[:16]
        self._write(self.folder / LANDED, _json(record))
        # The pointer first: killed between the two, the next read finds all its parts and ends here again.
        self._write(self.pointer, _json({"folder": finished.name, "version": state.version}))
        if (finished / LANDED).is_file():
            self._remove()  # the same rows as ever
            return finished
        shutil.rmtree(finished, ignore_errors=True)
        os.replace(self.folder, finished)
        disk.sync_folder(finished.parent)
        (finished / _STATE).unlink()
        return finished

    def _replace(self, path: Path, frame: pl.DataFrame) -> None:
        """A part with the same rows in other types."""
        content = _parquet(frame)
        self._write(path, content)
        self.state.sizes[int(path.stem)] = len(content)
        self._write_state()

    def full(self) -> DataError:
        """The error for a disk without space."""
        free = shutil.disk_usage(self.folder.parent).free
        on_disk = sum(self.state.sizes)
        return DataError(
            f"{self.feed.name}: the disk of {self.folder.parent} is full after row {self.state.num_rows:,} "
            f"({size_text(on_disk)} so far). The next part needs {size_text(self._needed_bytes)}, {size_text(free)} are free. "
            f"Free some, or name another folder with --runs DIR. {self._kept()}"
        )

    def _kept(self) -> str:
        state = self.state
        if not state.sizes:
            return "Nothing was kept, nothing is half-written."
        if state.position is None:
            return f"The same command reads again from the start. {self.feed.advice}".rstrip()
        return f"{state.num_rows:,} rows are kept; the same command goes on after them."

    def _part(self, index: int) -> Path:
        return self.folder / f"{index:06d}.parquet"

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _read_landing(folder: Path) -> Landing:
    record = _read_json(folder / LANDED)
    assert record is not None, f"{folder} vanished while it was in use"
    return Landing(
        folder, record["sha256"], tuple(record["parts"]), record["num_rows"], record["num_bytes"], tuple(record["notes"])
    )


def write_whole(path: Path, content: bytes) -> None:
    """All of it under its name at once. Only one process writes here, so what a killed one left is written over."""
    disk.write_whole(path, [content], "")


def _parquet(frame: pl.DataFrame) -> bytes:
    """Equal rows give equal bytes."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="lz4", statistics=False, row_group_size=frame.height)
    return buffer.getvalue()


def _json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any] | None:
    """A record, or None where there is none that can be read: then the work is done again."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found
