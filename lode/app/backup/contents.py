"""What a backup holds: which files of a runs folder, and how a database is copied while others write to it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lode.core import disk
from lode.core.errors import BackupError, listed, near_miss

WORDS = {
    "books": "customers, keys, usage, money",
    "artifacts": "packaged models and their catalogue",
    "settings": "all else that lies in the runs folder: pepper, audit key, checkpoints, access.toml, plans, ...",
    "stages": "what training left: data, train, evaluate, ... It can be made again, and is large",
}
DEFAULT = ("books", "artifacts", "settings")
_STAGES = {"data", "train", "tune", "evaluate", "package", "landing", "runs", "pretrain", "ensemble", "plan"}
_ARTIFACTS = {"artifacts", "catalog.sqlite"}
_PASSING = ("-wal", "-shm", "-journal", ".tmp", ".lock", ".incoming")
_STEP_PAGES = 1024
_PAUSE_S = 0.001


def chosen(text: str | None) -> tuple[str, ...]:
    """The words of --what. Errors: BackupError for others."""
    words = tuple(word.strip() for word in text.split(",")) if text else DEFAULT
    for word in words:
        if word not in WORDS:
            raise BackupError(f'--what: found "{word}", allowed: {listed(WORDS)}.{near_miss(word, WORDS)} Write them with commas.')
    return words


def files(runs: Path, what: tuple[str, ...], books: Path | None) -> Iterator[Path]:
    """Files to keep, the catalogue before the artifacts: what it names is then surely there. books: the file that is kept apart."""
    if not runs.is_dir():
        return
    tops = sorted(runs.iterdir(), key=lambda path: (path.name != "catalog.sqlite", path.name))
    for top in tops:
        word = "stages" if top.name in _STAGES else "artifacts" if top.name in _ARTIFACTS else "settings"
        if word in what:
            yield from _below(top, books)


def _below(path: Path, books: Path | None) -> Iterator[Path]:
    # Links are left out: they may lead out of the folder, or in circles.
    if path.is_symlink() or path.name.endswith(_PASSING) or path.name.startswith(".backup"):
        return
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            yield from _below(entry, books)
    elif path.is_file() and (books is None or path.resolve() != books.resolve()):
        yield path


def copy_database(source: Path, copy: Path) -> None:
    """One moment of a database that others may write to meanwhile, by SQLite's online backup, in steps.

    An open read transaction holds the moment: otherwise every write of another process would start the copy again. In WAL mode
    neither waits for the other. Errors: BackupError, DiskFullError.
    """
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=10, isolation_level=None)) as reader,
            closing(sqlite3.connect(copy, isolation_level=None)) as writer,
        ):
            writer.execute("PRAGMA synchronous=OFF")
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            reader.backup(writer, pages=_STEP_PAGES, progress=lambda *_: time.sleep(_PAUSE_S))
    except sqlite3.Error as error:
        if disk.is_full(error):
            raise disk.full_error(copy.parent, source.stat().st_size) from None
        raise BackupError(f"{source}: cannot be copied ({error}). Run `lode audit verify`; older snapshots are whole.") from None
