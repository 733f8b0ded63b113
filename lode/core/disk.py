"""A full disk, whoever runs into it: libraries say it in different ways, a person is told once, with the space that is needed.

And the files below a folder, without those of runs.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from lode.core.errors import DiskFullError

LOCK = ".lock"
"""The first file in a folder of runs."""
HELD_BY = "process "
"""What stands first in it: by both a folder of runs is known."""
_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("no space left on device", "not enough free space", "disk quota exceeded", "database or disk is full")
"""polars, numpy and SQLite give no error number."""


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that the disk is full."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in _NUMBERS:
            return True
        if any(words in str(current).lower() for words in _WORDS):
            return True
        current = current.__cause__ or current.__context__
    return False


def full_error(folder: Path, needed_bytes: int | None) -> DiskFullError:
    """What to tell. needed_bytes: about how much the step writes in all, where that is known."""
    try:
        free = f", {size_text(shutil.disk_usage(folder).free)} are free"
    except OSError:
        free = ""
    needs = f", about {size_text(needed_bytes)} are needed" if needed_bytes else ""
    return DiskFullError(
        f"{folder}: the disk is full{needs}{free}. Free some (`lode gc` shows what lode can free), or name another place with --runs DIR; "
        "the same command then goes on."
    )


def write_whole(path: Path, pieces: Iterable[bytes], mark: str | None = None) -> None:
    """Write through a temporary neighbour, flushed to disk, then renamed, and the name flushed too: all of it or nothing.

    Makes the folder. mark: stands in the neighbour's name, of whoever may write the same file at the same time (None: this process;
    "": nobody else, so that what a killed one left is written over).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(".".join(["", path.name, *filter(None, [str(os.getpid()) if mark is None else mark]), "tmp"]))
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """A name is on disk when its folder is."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def size_text(num_bytes: int) -> str:
    """An amount of bytes for a reader, in steps of a thousand: "2.1 MB"."""
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} B" if unit == "B" else f"{size:,.1f} {unit}"


def walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder from this one down, with the names of its files. Links to folders are not followed: they may lead in a circle. Folders
    of runs are left out: where lode.yaml stands beside what it reads (`path: .`), what a run writes is not among its own rows.
    """
    for parent, inner, names in os.walk(folder, followlinks=False):
        inner[:] = [name for name in inner if not _holds_runs(Path(parent, name))]
        yield parent, names


def _holds_runs(folder: Path) -> bool:
    """A file of the same name that others wrote says nothing: whoever has rows beside it keeps them."""
    try:
        with (folder / LOCK).open("rb") as file:
            return file.read(len(HELD_BY)) == HELD_BY.encode()
    except OSError:
        return False
