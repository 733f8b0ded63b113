"""A snapshot on disk: train, validation and test, what cleaners changed, the schema and the counts. `scan` and `read` are the one way in.

A part lies as Parquet, as Parquet that is encrypted (lode/data/storage/sealed.py), or as a list of blocks
(lode/data/storage/blocks.py). Files appear
whole or not at all, and equal rows give equal bytes. Read lode/data/ingest.py first.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

import polars as pl

from lode.core import disk
from lode.core.errors import ArtifactError
from lode.data.split import PARTS
from lode.data.storage import blocks, keys, sealed
from lode.data.storage.keys import Key

CHANGES = "changes"
FILES = (*PARTS, CHANGES)
"""What `scan` reads: the parts, and what cleaners changed."""
UNLABELLED = "unlabelled"
"""A part of rows without a label, which only pretraining reads; most snapshots have none."""
WITHHELD = "(not kept: the snapshot is encrypted)"
_ROW_GROUP_ROWS = 1 << 17
_COPY_BYTES = 1 << 20
_PROBE_BYTES = 1 << 20
_UNSAID = "transport error"


def scan(folder: Path, part: str) -> pl.LazyFrame:
    """The rows of a part ("train", "validation", "test") or of "changes". A packed one is unpacked, an encrypted one read in memory.

    Errors: ArtifactError for a file that is missing or damaged; DataError for a key that is missing or wrong.
    """
    path = folder / f"{part}.parquet"
    lies = kept_as(path)
    if lies == "encrypted":
        return pl.scan_parquet(io.BytesIO(b"".join(_pieces(path))))
    if lies == "packed":
        blocks.unpack(blocks.list_of(path), path, store_of(folder))
        blocks.list_of(path).unlink(missing_ok=True)
    return pl.scan_parquet(path, glob=False)


def read_unlabelled(folder: Path) -> pl.DataFrame | None:
    """The rows without a label, where the snapshot has kept some."""
    path = folder / f"{UNLABELLED}.parquet"
    return read(folder, UNLABELLED) if path.is_file() or sealed_path(path).is_file() else None


def read(folder: Path, part: str) -> pl.DataFrame:
    """As `scan`, in memory."""
    return scan(folder, part).collect()


def kept_as(path: Path) -> Literal["plain", "encrypted", "packed"]:
    """How the file `<part>.parquet` lies on disk. Errors: ArtifactError where it does not."""
    if sealed_path(path).is_file():
        return "encrypted"
    if path.is_file():
        return "plain"
    if blocks.list_of(path).is_file():
        return "packed"
    raise ArtifactError(f"{path}: missing. The snapshot is incomplete; remove its folder and run the command that made it again.")


def sealed_path(path: Path) -> Path:
    """Where the encrypted file of `<part>.parquet` lies."""
    return path.with_name(path.name + sealed.SUFFIX)


def part_bytes(folder: Path, part: str) -> int:
    """Bytes of a part as Parquet, however it lies."""
    path = folder / f"{part}.parquet"
    lies = kept_as(path)
    if lies == "packed":
        return int(blocks.read_list(blocks.list_of(path))["bytes"])
    return path.stat().st_size if lies == "plain" else sealed.plain_bytes(sealed_path(path))


def store_of(folder: Path) -> Path:
    """Where the blocks of a snapshot `<runs>/data/<key>` lie."""
    return folder.parent.parent / blocks.FOLDER


def is_sealed(folder: Path) -> bool:
    """Whether the rows of a snapshot are encrypted, or will be."""
    return (folder / keys.RECORD).is_file() or any(folder.glob(f"*{sealed.SUFFIX}"))


def begin(folder: Path, key: Key | None) -> None:
    """Get a folder ready for a snapshot: with a key, what is written from now on is encrypted, and nothing plain of another try stays."""
    if key is None and not is_sealed(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if key is not None:
        keys.note(key, folder)


def agrees(folder: Path, key: Key | None) -> bool:
    """Whether a snapshot lies as the file asks: false where it is plain and should be encrypted. An encrypted one stays so.

    Errors: DataError where it is encrypted with another key, or the file names none and the one that it had is not there.
    """
    if not is_sealed(folder):
        return key is None
    if key is None:
        keys.key_of(folder)
        return True
    keys.check(key, sealed.key_id(sealed_path(folder / "train.parquet")), f"snapshot {folder.name}")
    keys.note(key, folder)  # the key may lie elsewhere now
    return True


def write_rows(frame: pl.LazyFrame, path: Path) -> None:
    """Write a table batch by batch: all of it or nothing. The order of rows, and with the fixed group size the bytes, do not depend on
    threads.
    """
    key = keys.key_of(path.parent) if is_sealed(path.parent) else None
    target = path if key is None else sealed_path(path)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        if key is None:
            sink(frame, temporary)
        else:
            with temporary.open("wb") as file:
                sealing = sealed.Sealing(file, key, _known_as(path))
                sink(frame, cast("IO[bytes]", sealing))
                sealing.finish()
                file.flush()
                os.fsync(file.fileno())
        _put(temporary, target, path)
    finally:
        temporary.unlink(missing_ok=True)


def adopt(file: Path, path: Path) -> None:
    """A Parquet file that `sink` wrote elsewhere in the folder becomes a part, encrypted where the snapshot is."""
    if is_sealed(path.parent):
        write_rows(pl.scan_parquet(file, glob=False), path)
    else:
        _put(file, path, path)


def _put(file: Path, target: Path, path: Path) -> None:
    """Give a whole file its name, and remove the part as it lay before."""
    os.replace(file, target)
    for other in {path, sealed_path(path), blocks.list_of(path)} - {target}:
        other.unlink(missing_ok=True)


def write_json(record: Mapping[str, Any], path: Path) -> None:
    """Write JSON that a person can read."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def content_hash(folder: Path) -> str:
    """sha256 over the Parquet bytes of the three split files, in order; the same however they lie."""
    return hash_of([part_digest(folder / f"{part}.parquet") for part in PARTS])


def part_digest(path: Path) -> bytes:
    """sha256 of the Parquet bytes of one part."""
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.digest()


def hash_of(digests: Iterable[bytes]) -> str:
    """`content_hash` from the digests of train, validation and test."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def sink(frame: pl.LazyFrame, target: Path | IO[bytes], group_rows: int = _ROW_GROUP_ROWS) -> None:
    """Write Parquet as the parts of a snapshot are written."""
    # LZ4 without statistics: written once and read whole, so speed counts more than the last byte.
    with _full_disk_told(target):
        frame.sink_parquet(
            target, compression="lz4", statistics=False, row_group_size=group_rows, maintain_order=True, engine="streaming"
        )


def sink_plain(frame: pl.LazyFrame, target: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write Parquet for others to read, with statistics and small. Errors: OSError where the disk is full."""
    with _full_disk_told(target):
        frame.sink_parquet(target, metadata=None if metadata is None else dict(metadata))


@contextmanager
def _full_disk_told(target: Path | IO[bytes]) -> Iterator[None]:
    """Around polars writing Parquet, which tells a full disk in its own words; where the disk fills up while it writes what describes the
    columns, it says "transport error" and no more, and whether there is room for another block tells.

    Errors: OSError (no space) where the disk is full; else what polars raised.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        if disk.is_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        if isinstance(target, Path) and _UNSAID in str(error):
            with target.open("ab") as file:
                file.write(bytes(_PROBE_BYTES))
        raise


def _pieces(path: Path) -> Iterator[bytes]:
    """The Parquet bytes of a part, however they lie."""
    lies = kept_as(path)
    if lies == "encrypted":
        yield from sealed.opened(sealed_path(path), keys.key_of(path.parent), _known_as(path))
    elif lies == "packed":
        yield from blocks.pieces(blocks.list_of(path), store_of(path.parent))
    else:
        with path.open("rb") as file:
            while piece := file.read(_COPY_BYTES):
                yield piece


def _known_as(path: Path) -> str:
    """The name that an encrypted part is bound to: neither another part nor another snapshot's can stand in for it."""
    return f"{path.parent.name}/{path.name}"
