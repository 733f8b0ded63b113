"""Arrow's stream format, cut into pieces of a few record batches, so that a stream larger than memory can be read.

A stream is a schema, dictionaries and record batches, each a length, a flatbuffer and a body:
https://arrow.apache.org/docs/format/Columnar.html
(IPC streaming format; Message.fbs). Only lengths and kinds are looked at here; polars reads the pieces. Used by lode/data/sources/arrow.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lode.core.errors import DataError
from lode.data.formats import files

PIECE_BYTES = 1 << 25
MAX_MESSAGE_BYTES = 1 << 30
"""A record batch is read into memory whole."""

_CONTINUATION = b"\xff\xff\xff\xff"
_END = _CONTINUATION + b"\0\0\0\0"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3


@dataclass(frozen=True, slots=True)
class _Message:
    """kind: of the header. num_bytes: of the body. head: prefix and flatbuffer as they stand in the file."""

    kind: int
    num_bytes: int
    head: bytes


def is_stream(path: Path) -> bool:
    """Whether a file starts like a stream."""
    with path.open("rb") as file:
        return file.read(4) == _CONTINUATION


def pieces(path: Path, where: str) -> Iterator[bytes]:
    """Whole streams of a few record batches each, in order; at least one, which then holds the schema alone.

    Errors: DataError where the stream is damaged or cut short, or one batch is too large.
    """
    with files.Unpacked(path) as file:
        before, piece, num_bytes, is_any = b"", [], 0, False
        while (message := _message(file, where)) is not None:
            whole = message.head + _exactly(file, message.num_bytes, where)
            if message.kind in (_SCHEMA, _DICTIONARY):
                before += whole
                continue
            piece.append(whole)
            num_bytes += len(whole)
            if num_bytes >= PIECE_BYTES:
                yield b"".join((before, *piece, _END))
                piece, num_bytes, is_any = [], 0, True
        if not before:
            raise _damaged(where, "it holds no schema")
        if piece or not is_any:
            yield b"".join((before, *piece, _END))


def check(path: Path, where: str) -> None:
    """Look at every message's length, not at its body. Errors: as `pieces`."""
    size = path.stat().st_size
    with files.Unpacked(path) as file:
        while (message := _message(file, where)) is not None:
            end = file.tell() + message.num_bytes
            if end > size:
                raise _cut(where)
            file.seek(end)


def _cut(where: str) -> DataError:
    """The error for a stream that ends within a message."""
    return DataError(f"{where}: the Arrow stream is cut short. Get the file again.")


def _message(file: files.Unpacked, where: str) -> _Message | None:
    """The next message, up to its body; None at the end."""
    prefix = file.read(8)
    if not prefix or prefix == _END:
        return None
    if len(prefix) < 8:
        raise _cut(where)
    if prefix[:4] != _CONTINUATION:
        raise _damaged(where, "a message does not start with FF FF FF FF")
    length = struct.unpack("<i", prefix[4:])[0]
    if not 0 < length <= MAX_MESSAGE_BYTES:
        raise _damaged(where, f"a message claims {length:,} bytes")
    metadata = _exactly(file, length, where)
    try:
        kind, num_bytes = _fields(metadata)
    except (struct.error, IndexError) as error:
        raise _damaged(where, "a message's header is no flatbuffer") from error
    if kind not in (_SCHEMA, _DICTIONARY, _BATCH) or num_bytes < 0:
        raise _damaged(where, f"a message is of the unknown kind {kind}")
    if num_bytes > MAX_MESSAGE_BYTES:
        raise DataError(
            f"{where}: one record batch has {num_bytes >> 20:,} MiB, at most {MAX_MESSAGE_BYTES >> 20:,} are allowed. "
            "Write it in smaller batches, or as Parquet."
        )
    return _Message(kind, num_bytes, prefix + metadata)


def _fields(metadata: bytes) -> tuple[int, int]:
    """(header type, body length) of a flatbuffer of table Message: its fields 1 and 3."""
    table = struct.unpack_from("<I", metadata, 0)[0]
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if vtable < 0:
        raise IndexError
    num_bytes = struct.unpack_from("<H", metadata, vtable)[0]

    def place(field: int) -> int:
        entry = 4 + 2 * field
        offset: int = struct.unpack_from("<H", metadata, vtable + entry)[0] if entry < num_bytes else 0
        return table + offset if offset else 0

    kind, body = place(1), place(3)
    return (metadata[kind] if kind else 0), (struct.unpack_from("<q", metadata, body)[0] if body else 0)


def _exactly(file: files.Unpacked, num_bytes: int, where: str) -> bytes:
    data = file.read(num_bytes) if num_bytes else b""
    if len(data) < num_bytes:
        raise _cut(where)
    return data


def _damaged(where: str, what: str) -> DataError:
    return DataError(f"{where}: not readable as an Arrow stream, {what}. Get the file again.")
