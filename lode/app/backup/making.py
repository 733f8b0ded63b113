"""`lode backup`: one snapshot of a runs folder and its books, while the server runs. READ `repository.py` first."""

from __future__ import annotations

import fcntl
import hashlib
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lode.app.audit.checkpoint import head
from lode.app.audit.evidence import evidence, store_path
from lode.app.backup import contents, cutting, entries
from lode.app.backup.presence import Presence
from lode.app.backup.pruning import prune
from lode.app.backup.repository import Repository, Writer, new_id
from lode.app.books.contracts import Session, Store
from lode.core import disk
from lode.core.errors import BackupError, BusyError

BOOKS, JOURNAL = "books.sqlite", "books.journal"
_PAGES_LISTED, _CHUNKS_LISTED = 16, 256
"""Names in one list: small for databases, where a few pages here and there change."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is backed up. books: None where there are none. what: words of `contents.WORDS`."""

    runs: Path
    books: Store | None
    what: tuple[str, ...] = contents.DEFAULT


def backup(source: Source, repository: Repository, *, now_us: Callable[[], int], keep: int | None = None) -> dict[str, Any]:
    """Make a snapshot, then forget all but the newest `keep`.

    Returns {"snapshot", "files", "bytes" (of the files), "stored_bytes" (new at the target), "chunks", "new_chunks", "books"
    ({"sequence", "hash", "at_us", "form"} or None), "removed" (snapshots)}. Errors: BackupError, BusyError, DiskFullError.
    """
    if keep is not None and keep < 1:
        raise BackupError(f"--keep: found {keep}, wanted 1 or more. Leave it out to keep all.")
    id = new_id(now_us())
    with _alone(source.runs) as own, _workplace(source.runs) as place:
        presence = Presence.of(repository, own)
        with presence.marked("backup", now_us()):
            if presence.others(("prune",), now_us()):
                raise BackupError(
                    f"{repository.target.where}: another machine removes old backups there. Try again in a few minutes."
                )
            repository.load_present()
            found, making = _snapshot(source, repository, id, place, now_us)
        removed = prune(presence, id, making.writer.new, keep, now_us())
    return {
        "snapshot": id, "files": len(making.files), "bytes": sum(item["size"] for item in making.files),
        "stored_bytes": making.writer.num_bytes, "chunks": making.writer.num_chunks, "new_chunks": making.writer.num_new,
        "books": found, "removed": removed,
    }  # fmt: skip


def _snapshot(
    source: Source, repository: Repository, id: str, place: Path, now_us: Callable[[], int]
) -> tuple[dict[str, Any] | None, _Making]:
    """Everything that is new, and at last the snapshot; what it says of the books, and its files."""
    making = _Making(repository, Writer(repository, id), place)
    found = making.books(source.books) if "books" in source.what and source.books is not None else None
    for path in contents.files(source.runs, source.what, store_path(source.books)):
        making.file(path, str(path.relative_to(source.runs)))
    making.writer.finish()
    repository.unchanged()
    snapshot = {"format": 1, "at_us": now_us(), "what": source.what, "books": found, "files": making.files}
    making.writer.num_bytes += repository.put_object(f"snapshots/{id}", orjson.dumps(snapshot))
    return found, making


class _Making:
    """One snapshot on its way. place: an empty folder for copies of databases."""

    def __init__(self, repository: Repository, writer: Writer, place: Path):
        self.writer, self.files = writer, list[dict[str, Any]]()
        self._place = place
        self._books = ""
        self._gear = cutting.table(repository.sealing.cut_seed)

    def books(self, store: Store) -> dict[str, Any]:
        """The books: a SQLite file as it is, others as lines of the journal."""
        path, self._books = store_path(store), store.where
        if path is None:
            with store.view() as session:
                return self._lines(session)
        copy = self._copied(path)
        with evidence(copy, copy.parent) as session:
            sequence, at_us, hash = head(session)
        self._add(copy, BOOKS, 0o600)
        return {"sequence": sequence, "at_us": at_us, "hash": hash, "form": BOOKS}

    def file(self, path: Path, name: str) -> None:
        """Any file; databases by way of a copy. One that went away meanwhile is no part of the snapshot."""
        if self._books and name in (BOOKS, JOURNAL):
            raise BackupError(
                f"{path}: lies where a restore puts the books, which are kept at {self._books}. Move it out of the runs folder."
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise BackupError(f"{str(path)!a}: its name is no UTF-8, so it could not be brought back. Rename it.") from None
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            self._add(self._copied(path) if cutting.is_database(path) else path, name, mode)
        except FileNotFoundError:
            return
        except OSError as error:
            raise BackupError(
                f"{path}: cannot be read ({(error.strerror or str(error)).lower()}). Nothing was added to the backup."
            ) from None

    def _copied(self, path: Path) -> Path:
        copy = self._place / "copy.sqlite"
        for old in self._place.iterdir():
            old.unlink()
        contents.copy_database(path, copy)
        return copy

    def _add(self, path: Path, name: str, mode: int) -> None:
        is_database = cutting.is_database(path)
        cut = cutting.pages(path) if is_database else cutting.chunks(path, self._gear)
        self._entry(name, mode, cut, _PAGES_LISTED if is_database else _CHUNKS_LISTED)

    def _lines(self, session: Session) -> dict[str, Any]:
        sequence, at_us, hash = head(session)
        self._entry(JOURNAL, 0o600, entries.lines(session, 0, sequence), _CHUNKS_LISTED)
        return {"sequence": sequence, "at_us": at_us, "hash": hash, "form": JOURNAL}

    def _entry(self, name: str, mode: int, cut: Iterable[bytes], listed: int) -> None:
        digest, size, names, lists = hashlib.sha256(), 0, list[bytes](), list[str]()
        for chunk in cut:
            digest.update(chunk)
            size += len(chunk)
            names.append(self.writer.put(chunk))
            if len(names) == listed:
                lists.append(self._list(names))
                names = []
        if names:
            lists.append(self._list(names))
        self.files.append({"path": name, "mode": mode, "size": size, "sha256": digest.hexdigest(), "lists": lists})

    def _list(self, names: Sequence[bytes]) -> str:
        return self.writer.put(b"".join(names)).hex()


@contextmanager
def _workplace(runs: Path) -> Iterator[Path]:
    """A folder beside the books, for their owner only: a copy of them needs as much room as they do. Left ones are cleared away."""
    for old in runs.glob(".backup-*"):
        shutil.rmtree(old, ignore_errors=True)
    try:
        place = Path(tempfile.mkdtemp(prefix=".backup-", dir=runs))
    except OSError as error:
        if disk.is_full(error):
            raise disk.full_error(runs, None) from None
        raise BackupError(
            f"{runs}: no copy can be made here ({(error.strerror or str(error)).lower()}). May you write to it?"
        ) from None
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _alone(runs: Path) -> Iterator[str]:
    """One backup of a runs folder at a time: another could remove chunks that this one counts on. Gives the folder's own id.

    It lies in the lock's file, which no backup holds. Names of machines and paths would not tell folders apart: containers and clones
    share them.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / ".backup.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{runs}: another backup of it is running. Wait for it, or stop it.") from None
        file.seek(0)
        own = file.read()
        if not own:
            own = secrets.token_hex(16)
            file.write(own)
            file.flush()
        yield own
