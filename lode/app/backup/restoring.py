"""`lode restore`: a snapshot brought back, whole and proved or not at all. READ `repository.py` first."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from lode.app.audit.checkpoint import head, moment
from lode.app.audit.command import told
from lode.app.audit.evidence import evidence, storage
from lode.app.audit.verify import verify
from lode.app.backup import entries
from lode.app.backup.making import BOOKS, JOURNAL
from lode.app.backup.repository import FORMAT, Repository
from lode.app.books.contracts import Session, Store
from lode.app.books.schema import FIRST_HASH
from lode.app.books.sqlite import SqliteStore
from lode.core import disk
from lode.core.errors import AuditError, BackupError, BooksError


def snapshots(repository: Repository) -> list[dict[str, Any]]:
    """{"snapshot", "at", "files", "bytes", "entries", "damaged"} of each, oldest first. entries: of the journal, with shipped ones."""
    found = []
    for id in repository.snapshots():
        try:
            item = repository.snapshot(id)
        except BackupError:  # the others can be restored nevertheless
            found.append({"snapshot": id, "at": "", "files": 0, "bytes": 0, "entries": None, "damaged": True})
            continue
        shipped = [last for _, last, _ in _pieces(repository, id)]
        books = item["books"]
        found.append({
            "snapshot": id, "at": moment(item["at_us"]), "files": len(item["files"]), "bytes": sum(file["size"] for file in item["files"]),
            "entries": None if books is None else max([books["sequence"], *shipped]), "damaged": False,
        })  # fmt: skip
    return found


def restore(
    repository: Repository, to: Path | None, *, at: str | None = None, check: bool = False, books: Store | None = None
) -> dict[str, Any]:
    """Bring back the newest snapshot and the entries that were shipped after it, or exactly the snapshot `at`.

    to: a folder that is not there yet, or empty; None rehearses in a temporary one. check: count the journal again, replay it, look
    at every page. books: an empty store for the journal's entries, instead of the file in `to`.
    Returns {"snapshot", "at", "to", "files", "bytes", "books", "checked"}. Errors: BackupError; nothing is left half-restored.
    """
    to = None if to is None else to.resolve()
    if to is not None and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise BackupError(f"{to}: is there already, and nothing is overwritten. Name a folder that is not there.")
    repository.load()
    id = _wanted(repository, at)
    snapshot = repository.snapshot(id)
    if snapshot.get("format") != FORMAT:
        raise BackupError(
            f"{id}: a snapshot of format {snapshot.get('format')}, this lode knows {FORMAT}. Restore it with the lode that made it."
        )
    with _partial(to, sum(item["size"] for item in snapshot["files"])) as place:
        for item in snapshot["files"]:
            _file(repository, place, item)
        found = _books(repository, id, snapshot["books"], place, books, shipped=at is None)
        checked = _checked(place, found, books) if check else None
        if to is not None:
            _publish(place, to)
    return {
        "snapshot": id, "at": moment(snapshot["at_us"]), "to": None if to is None else str(to), "files": len(snapshot["files"]),
        "bytes": sum(item["size"] for item in snapshot["files"]), "books": found, "checked": checked,
    }  # fmt: skip


def _wanted(repository: Repository, at: str | None) -> str:
    ids = repository.snapshots()
    if not ids:
        raise BackupError(f"{repository.target.where}: holds no snapshot. Make one with `lode backup`.")
    found = [id for id in ids if at is None or id.startswith(at)]
    if not found or (at is not None and len(found) > 1):
        raise BackupError(
            f'--at: found "{at}", which begins the names of {len(found) or "no"} snapshots of {repository.target.where}, wanted one. '
            "See `lode restore TARGET --list`."
        )
    return found[-1]


@contextmanager
def _partial(to: Path | None, num_bytes: int) -> Iterator[Path]:
    """A folder beside `to` that goes away unless it was published. What a killed restore left there goes first: it holds secrets."""
    base = Path(tempfile.gettempdir()) if to is None else to.parent
    name = "lode-restore" if to is None else to.name
    place = base / f".{name}.{secrets.token_hex(4)}.partial"
    try:
        for old in base.glob(f".{glob.escape(name)}.*.partial"):
            with suppress(OSError), _locked(old):
                shutil.rmtree(old, ignore_errors=True)
        place.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise BackupError(f"{to}: cannot be made ({(error.strerror or str(error)).lower()}). Name another folder.") from None
    try:
        with _locked(place):
            if shutil.disk_usage(place).free < num_bytes:
                raise disk.full_error(place.parent, num_bytes)
            yield place
    except (OSError, BooksError) as error:
        if disk.is_full(error):
            raise disk.full_error(place.parent, num_bytes) from None
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """As long as the process lives. Errors: BlockingIOError where another holds it."""
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


def _file(repository: Repository, place: Path, item: dict[str, Any]) -> None:
    """One file, its bytes compared with the hash that was taken when it was read."""
    path = place / _inside(item["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for name in repository.names_in(item["lists"]):
            chunk = repository.chunk(name)
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(item["mode"] & 0o777)
    if digest.hexdigest() != item["sha256"]:
        raise BackupError(f"{item['path']}: the restored bytes are not those that were backed up. Take another snapshot.")


def _inside(path: str) -> PurePosixPath:
    """A path that stays below the folder, whoever wrote the snapshot."""
    found = PurePosixPath(path)
    if found.is_absolute() or ".." in found.parts or not found.parts or "\0" in path:
        raise BackupError(f"{path}: leads out of the folder. This is no snapshot of lode.")
    return found


def _pieces(repository: Repository, id: str) -> list[tuple[int, int, str]]:
    """First and last sequence, and object, of what was shipped after a snapshot."""
    spans = re.compile(re.escape(id) + r"\.(\d{12,18})-(\d{12,18})", re.ASCII)
    named = (spans.fullmatch(name) for name in repository.target.names("journal"))
    return sorted((int(name[1]), int(name[2]), f"journal/{name[0]}") for name in named if name)


def _lines(repository: Repository, names: list[str]) -> Iterator[entries.Line]:
    for name in names:
        yield from entries.parsed(repository.object(name))


def _books(
    repository: Repository, id: str, found: dict[str, Any] | None, place: Path, store: Store | None, *, shipped: bool
) -> dict[str, Any] | None:
    """The books as they were, then the entries that were shipped after them. Returns {"sequence", "hash", "at", "shipped"}."""
    if found is None:
        return None
    names = [name for _, _, name in _pieces(repository, id)] if shipped else []
    journal = place / JOURNAL
    file = place / BOOKS
    if store is not None and found["form"] == BOOKS:
        raise BackupError("--books: this snapshot holds the books as a file. Restore it with --to DIR alone.")
    if names or found["form"] == JOURNAL:
        with _opened(store, file) as target:
            if found["form"] == JOURNAL:
                _rebuild(target, journal, lambda: _lines(repository, names))
            entries.rebuild(target, _lines(repository, names), repository.target.where)
        journal.unlink(missing_ok=True)
    with _looked(store, file) as session:
        sequence, at_us, hash = head(session)
        row = (
            session.rows("SELECT hash FROM journal WHERE sequence = ?", (found["sequence"],))
            if found["sequence"]
            else [(found["hash"],)]
        )
    if not row or row[0][0] != found["hash"] or sequence < found["sequence"]:
        raise BackupError(
            f"{repository.target.where}: the restored journal does not reach what was backed up. Take another snapshot."
        )
    return {"sequence": sequence, "hash": hash, "at": moment(at_us), "shipped": sequence - found["sequence"]}


def _rebuild(store: Store, journal: Path, shipped: Callable[[], Iterator[entries.Line]]) -> None:
    """The journal of a snapshot into an empty store; the whole chain is counted first, so that a broken one writes nothing."""
    _empty(store)
    last = entries.check(_read_lines(journal), (0, FIRST_HASH), journal.name)
    entries.check(shipped(), last, "journal")
    entries.rebuild(store, _read_lines(journal), journal.name)


def _read_lines(path: Path) -> Iterator[entries.Line]:
    with path.open("rb") as file:
        for text in file:
            yield from entries.parsed(text)


@contextmanager
def _opened(store: Store | None, file: Path) -> Iterator[Store]:
    if store is not None:
        yield store
        return
    own = SqliteStore(file)
    try:
        yield own
    finally:
        own.close()


@contextmanager
def _looked(store: Store | None, file: Path) -> Iterator[Session]:
    if store is None:
        with evidence(file, file.parent) as session:
            yield session
    else:
        with store.view() as session:
            yield session


def _empty(store: Store) -> None:
    with store.view() as session:
        if head(session)[0]:
            raise BackupError(f"{store.where}: holds books already, and nothing is overwritten. Name an empty database.")


def _checked(place: Path, found: dict[str, Any] | None, store: Store | None) -> dict[str, Any]:
    """The rehearsal: the journal's chain, everything that follows from it, the pages, and that the books balance."""
    if found is None:
        return {"entries": 0, "accounts": 0, "looked": "no books"}
    with _looked(store, place / BOOKS) as session:
        result = verify(session)
        pages, looked = storage(session)
        result["problems"] += [{"table": "storage", "sequence": None, "what": what} for what in pages]
        amounts = [int(amount) for (amount,) in session.rows("SELECT amount FROM balances")]
    if sum(amounts):
        result["problems"].append({"table": "balances", "sequence": None, "what": f"they add up to {sum(amounts)}, not to 0"})
    if result["problems"]:
        raise AuditError(f"restored, and then found wrong, so nothing was kept. {told(result)}")
    return {"entries": result["entries"], "accounts": len(amounts), "looked": looked}


def _publish(place: Path, to: Path) -> None:
    log = place / f"{BOOKS}-wal"
    if log.is_file() and not log.stat().st_size:  # left by a look at the books
        log.unlink()
        (place / f"{BOOKS}-shm").unlink(missing_ok=True)
    try:
        if to.exists():
            to.rmdir()
        os.replace(place, to)
    except OSError as error:
        raise BackupError(
            f"{to}: was made by another meanwhile ({(error.strerror or str(error)).lower()}), and nothing is overwritten. Name another."
        ) from None


def compared(live: Session, found: dict[str, Any]) -> str:
    """What the restored entries are to books that are in use: their "beginning", "ahead" of them, or of "other" books."""
    rows = live.rows("SELECT hash FROM journal WHERE sequence = ?", (found["sequence"],))
    if not rows:
        return "ahead"
    return "beginning" if rows[0][0] == found["hash"] else "other"
