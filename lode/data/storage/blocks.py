"""Packed snapshots: Parquet files as lists of blocks, which lie once for all snapshots that hold the same column chunks.

    <runs>/blocks/<2 hex>/<sha256>                a block, named by its content
    <runs>/data/<key>/train.parquet.blocks        the list: {"format", "bytes", "sha256", "blocks": [[sha256, bytes], ...]}

Packing writes blocks, then the list, proves that the list gives the file, and only then removes the file; unpacking goes the other way.
At any moment a part is there as a whole file or as a whole list, or as both, which are equal. One writer at a time, who holds
pipeline.manifest.lock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from lode.core import disk
from lode.core.errors import ArtifactError
from lode.data.storage.parquet_footer import chunk_borders

SUFFIX = ".blocks"
FOLDER = "blocks"
FORMAT = 1
_MIN_BYTES = 1 << 14
"""Column chunks that are smaller share a block with their neighbours: a file for each would cost more than it saves."""
_COPY_BYTES = 1 << 20


def list_of(path: Path) -> Path:
    """Where the list of a packed file lies."""
    return path.with_name(path.name + SUFFIX)


def read_list(path: Path) -> dict[str, Any]:
    """A list of blocks. Errors: ArtifactError where it is damaged."""
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if record["format"] == FORMAT and sum(size for _, size in record["blocks"]) == record["bytes"]:
            return record
    except (ValueError, KeyError, TypeError):
        pass
    raise ArtifactError(
        f"{path}: damaged, no list of blocks. Remove the folder {path.parent} and run the command that made it again."
    )


def cut(path: Path) -> list[tuple[str, int]]:
    """sha256 and bytes of each block of a Parquet file, in order: its column chunks, small neighbours together."""
    with path.open("rb") as file:
        return [(_hash(file, begin, end), end - begin) for begin, end in _spans(file, path.stat().st_size)]


def pack(path: Path, store: Path) -> None:
    """Turn a Parquet file into a list of blocks in `store`. Errors: OSError; the file then lies there as before."""
    digest, blocks = hashlib.sha256(), []
    with path.open("rb") as file:
        for begin, end in _spans(file, path.stat().st_size):
            sha256 = _hash(file, begin, end, digest)
            blocks.append((sha256, end - begin))
            if not _holds(_place(store, sha256), sha256):
                file.seek(begin)
                disk.write_whole(_place(store, sha256), _read(file, end - begin))
    record = {"format": FORMAT, "bytes": path.stat().st_size, "sha256": digest.hexdigest(), "blocks": blocks}
    disk.write_whole(list_of(path), [(json.dumps(record) + "\n").encode()])
    for _ in pieces(list_of(path), store):
        pass  # every block is read again and held against its name before the file goes
    path.unlink()
    disk.sync_folder(path.parent)


def unpack(listing: Path, target: Path, store: Path) -> None:
    """Write the file of a list again, bitwise. The list stays. Errors: ArtifactError for a block that is missing or damaged."""
    disk.write_whole(target, pieces(listing, store))


def pieces(listing: Path, store: Path) -> Iterator[bytes]:
    """The bytes of a packed file, a block at a time, each held against its name. Errors: ArtifactError."""
    record, digest = read_list(listing), hashlib.sha256()
    for sha256, size in record["blocks"]:
        path = _place(store, sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise _lost(path, "missing", listing) from None
        if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
            raise _lost(path, "damaged", listing)
        digest.update(content)
        yield content
    if digest.hexdigest() != record["sha256"]:
        raise _lost(listing, "damaged", listing)


def named_by(listings: Iterable[Path]) -> set[str]:
    """sha256 of the blocks that lists name. Errors: ArtifactError for a damaged list."""
    return {sha256 for path in listings for sha256, _ in read_list(path)["blocks"]}


def unnamed(store: Path, named: set[str]) -> list[Path]:
    """Blocks, and what was being written when a process died, that no list names."""
    return sorted(path for path in store.glob("*/*") if path.is_file() and path.name not in named)


def _spans(file: IO[bytes], num_bytes: int) -> Iterator[tuple[int, int]]:
    """Where blocks begin and end. A large chunk is a block whatever lies beside it, so that it is shared whatever changes there."""
    start = 0
    for begin, end in pairwise(chunk_borders(file, num_bytes)):
        if end - begin >= _MIN_BYTES:
            if begin > start:
                yield start, begin
            yield begin, end
            start = end
        elif end - start >= _MIN_BYTES:
            yield start, end
            start = end
    if num_bytes > start:
        yield start, num_bytes


def _hash(file: IO[bytes], begin: int, end: int, *also: Any) -> str:
    digest = hashlib.sha256()
    file.seek(begin)
    for piece in _read(file, end - begin):
        for one in (digest, *also):
            one.update(piece)
    return digest.hexdigest()


def _read(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size and (piece := file.read(min(size, _COPY_BYTES))):
        size -= len(piece)
        yield piece


def _holds(path: Path, sha256: str) -> bool:
    """Whether a block is there and is what its name says."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _place(store: Path, sha256: str) -> Path:
    return store / sha256[:2] / sha256


def _lost(path: Path, what: str, listing: Path) -> ArtifactError:
    return ArtifactError(
        f"{path}: {what}, so {listing.name.removesuffix(SUFFIX)} of the snapshot {listing.parent.name} cannot be unpacked. "
        f"Remove the folder {listing.parent} and run the command that made it again."
    )
