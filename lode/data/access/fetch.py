"""Remote files onto this machine, once: kept by version, resumed by position, whole or not there, within a bound.

    <folder>/files/<name>       whole files, named as on the server
    <folder>/parts/             files that are not whole yet, and which version they are of
    <folder>/index.json         name -> version, size and sha256 of the whole ones; what is not in it does not count

Read lode/data/access/pieces.py next: it reads them as one table.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from lode.core import disk
from lode.core.errors import DataError
from lode.data.access.landing import write_whole
from lode.data.access.remote import Remote
from lode.data.access.remote_file import LostError, RemoteFile
from lode.data.place import Place

_BACKOFF_S, _MAX_BACKOFF_S = 0.5, 30.0
_UNSAFE = re.compile(r"[\x00-\x1f\\:]")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """max_bytes: of all files together. retries: in a row, without a new byte in between."""

    max_bytes: int
    retries: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is here. name: as on the server, below the url. shown: for messages."""

    name: str
    path: Path
    shown: str
    sha256: str
    num_bytes: int


def folder_for(place: Place, key: dict[str, Any]) -> Path:
    """Where the files of a source land: the same for the same options; without a run, a folder that goes with the process."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
    known = place.landed.get(digest)
    if known is None:
        landings = place.landing
        if landings is None:
            landings = Path(tempfile.mkdtemp(prefix="lode-files-"))
            atexit.register(shutil.rmtree, landings, ignore_errors=True)
        known = place.landed[digest] = landings / f"files-{digest}"
    return known


def fetch_once(place: Place, key: dict[str, Any], limits: Limits, connect: Callable[[], Remote]) -> list[Fetched]:
    """The files of a remote, which is asked once in a run, however often its source is made: all see the same bytes.

    Errors: as `Fetcher.fetch`, and those of `connect`.
    """
    folder = folder_for(place, key)
    listing = folder / "listing.json"
    if place.landed.get(f"{folder.name} asked") != listing:
        found = Fetcher(folder, limits, place).fetch(connect())
        write_whole(listing, json.dumps([[file.name, file.shown, file.sha256, file.num_bytes] for file in found]).encode())
        place.landed[f"{folder.name} asked"] = listing
    records = json.loads(listing.read_bytes())
    return [Fetched(name, folder / "files" / name, shown, sha256, num_bytes) for name, shown, sha256, num_bytes in records]


def digest_of(files: Sequence[Fetched]) -> str:
    """sha256 over names and contents."""
    return hashlib.sha256(json.dumps([[file.name, file.sha256] for file in files]).encode()).hexdigest()


class Fetcher:
    """Brings files into `folder`.

    wait: sleeps so many seconds; tests give their own.
    """

    def __init__(self, folder: Path, limits: Limits, place: Place, wait: Callable[[float], None] = time.sleep) -> None:
        self.folder, self.limits, self.place, self.wait = folder, limits, place, wait
        self.index: dict[str, dict[str, Any]] = _read_json(folder / "index.json")
        self._num_bytes = 0

    def fetch(self, remote: Remote, choose: Callable[[RemoteFile], bool] = lambda file: True) -> list[Fetched]:
        """Every file of a remote that is chosen, in order; those that have not changed are not read again.

        Errors: DataError where there are more bytes than allowed, a name leads out of the folder, the disk is full, or the
        server fails for good; what is whole, and the start of what is not, is kept for the next time.
        """
        files = [file for file in self._again(remote.files) if choose(file)]
        self._check(files)
        found = []
        for index, file in enumerate(files):
            self.place.progress("fetch files", index, len(files), {})
            found.append(self._one(remote, file))
        self.place.progress("fetch files", len(files), len(files), {})
        return found

    def _check(self, files: Sequence[RemoteFile]) -> None:
        known = sum(file.num_bytes or 0 for file in files)
        if known > self.limits.max_bytes:
            raise self._too_large(files[0].shown, f"{known:,} bytes in {len(files):,} files")
        for file in files:
            parts = file.name.split("/")
            if not all(parts) or ".." in parts or "." in parts or _UNSAFE.search(file.name):
                raise DataError(
                    f"{file.shown}: the name {file.name!r} cannot be a file's name here. Rename it, or leave it out by a glob."
                )

    def _one(self, remote: Remote, file: RemoteFile) -> Fetched:
        path, known = self.folder / "files" / file.name, self.index.get(file.name)
        is_same = known is not None and file.version != "" and known["version"] == file.version
        if known is None or not is_same or not path.is_file() or path.stat().st_size != known["num_bytes"]:
            try:
                known = self._landed(remote, file, path)
            except OSError as error:
                if not disk.is_full(error):
                    raise
                raise self._full(file) from error
            self.index[file.name] = known
            write_whole(self.folder / "index.json", json.dumps(self.index, indent=1, sort_keys=True).encode())
        self._num_bytes += known["num_bytes"]
        self._check_bound(file, 0)
        return Fetched(file.name, path, file.shown, known["sha256"], known["num_bytes"])

    def _landed(self, remote: Remote, file: RemoteFile, path: Path) -> dict[str, Any]:
        """The bytes into a part, then under the file's name at once."""
        part = self.folder / "parts" / hashlib.sha256(file.name.encode()).hexdigest()[:32]
        label = part.with_suffix(".json")
        if not file.version or _read_json(label).get("version") != file.version:
            part.unlink(missing_ok=True)
            write_whole(label, json.dumps({"version": file.version}).encode())
        self._again(lambda: self._append(remote, file, part), lambda: _size(part))
        digest = _flushed_sha256(part)
        num_bytes = part.stat().st_size
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, path)
        label.unlink(missing_ok=True)
        return {"version": file.version, "sha256": digest, "num_bytes": num_bytes}

    def _append(self, remote: Remote, file: RemoteFile, part: Path) -> None:
        """What is missing of a file. Errors: LostError where less comes than the server said."""
        if not file.version:
            part.unlink(missing_ok=True)  # nothing tells whether its start is still the same
        done, total = _size(part), file.num_bytes
        with part.open("ab") as sink:
            if total is None or done < total or not total:
                for chunk in remote.read(file, done):
                    done += len(chunk)
                    self._check_bound(file, done)
                    if total is not None and done > total:
                        raise DataError(f"{file.shown}: the file grew while it was read. Run again when nobody writes it.")
                    sink.write(chunk)
        if total is not None and done < total:
            raise LostError(f"{file.shown}: the server said {total:,} bytes and sent {done:,}")

    def _again(self, act: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Act, and once more after a pause while the fault may pass; a try that brought something starts the count anew."""
        tries, before = 0, progress()
        while True:
            try:
                return act()
            except LostError as error:
                now = progress()
                tries = 0 if now > before else tries
                before = now
                if tries >= self.limits.retries:
                    kept = f" {now:,} bytes are kept; the same command goes on after them." if now else ""
                    raise DataError(f"{error}; gave up after {tries + 1} tries in a row.{kept}") from error
                self.wait(max(error.wait_s, min(_BACKOFF_S * 2**tries, _MAX_BACKOFF_S)))
                tries += 1

    def _check_bound(self, file: RemoteFile, more: int) -> None:
        if self._num_bytes + more > self.limits.max_bytes:
            raise self._too_large(file.shown, f"more than {self.limits.max_bytes:,} bytes")

    def _too_large(self, shown: str, found: str) -> DataError:
        return DataError(f"{shown}: found {found}, allowed: {self.limits.max_bytes:,} (max_bytes). Raise it, or name fewer files.")

    def _full(self, file: RemoteFile) -> DataError:
        free = shutil.disk_usage(self.folder).free
        needed = "an unknown number of" if file.num_bytes is None else f"{file.num_bytes:,}"
        return DataError(
            f"{file.shown}: the disk of {self.folder} is full. This file needs {needed} bytes, {free:,} are free. Free some, or name "
            "another folder with --runs DIR; the same command goes on where it stopped."
        )


def _flushed_sha256(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _read_json(path: Path) -> dict[str, Any]:
    """A record; an empty one where there is none that can be read: then the work is done again."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def hive(name: str) -> Iterator[tuple[str, str | None]]:
    """(column, cell) of the folders `column=cell` in a file's name, in order."""
    for part in name.split("/")[:-1]:
        column, mark, cell = part.partition("=")
        if mark and column:
            yield unquote(column), None if cell == "__HIVE_DEFAULT_PARTITION__" else unquote(cell)
