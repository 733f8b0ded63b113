"""Where the column chunks of a Parquet file begin and end, from its footer: just enough of Thrift's compact protocol to find them.

Formats: parquet-format's parquet.thrift (FileMetaData 4 row_groups, RowGroup 1 columns, ColumnChunk 3 meta_data, ColumnMetaData
7 total_compressed_size, 9 data_page_offset, 11 dictionary_page_offset) and Thrift's compact protocol specification.
"""

from __future__ import annotations

import struct
from typing import IO, Any

_MAGIC = b"PAR1"
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
_MAX_DEPTH = 32


def chunk_borders(file: IO[bytes], num_bytes: int) -> list[int]:
    """Byte positions, ascending from 0 to num_bytes, between which whole column chunks lie; [0, num_bytes] where the footer tells none."""
    borders = {0, num_bytes}
    for begin, end in _chunks(file, num_bytes):
        if 0 <= begin <= end <= num_bytes:
            borders |= {begin, end}
    return sorted(borders)


def _chunks(file: IO[bytes], num_bytes: int) -> list[tuple[int, int]]:
    if num_bytes < 12:
        return []
    file.seek(num_bytes - 8)
    (size,), magic = struct.unpack("<I", file.read(4)), file.read(4)
    if magic != _MAGIC or size > num_bytes - 12:
        return []
    file.seek(num_bytes - 8 - size)
    try:
        footer = _Reader(file.read(size)).read_struct(0)
        metas = [chunk[3] for group in footer[4] for chunk in group[1]]
        return [(begin, begin + meta[7]) for meta in metas for begin in (min(meta[9], meta.get(11, meta[9])),)]
    except (IndexError, KeyError, ValueError, TypeError):
        # Borders only decide what is shared: without them the file is one block.
        return []


class _Reader:
    """One value after another from bytes; structs are {field id: value}. Errors: IndexError, ValueError for what is no Thrift."""

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    def read_struct(self, depth: int) -> dict[int, Any]:
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._integer()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._integer()
        if kind == _BINARY:
            return self._take(self._varint())
        if kind == _STRUCT:
            return self.read_struct(depth + 1)
        if kind in (_LIST, _SET):
            head = self._byte()
            size = self._varint() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15, depth + 1) for _ in range(self._checked(size))]
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._take(8)
        if kind == _MAP:
            size = self._varint()
            kinds = self._byte() if size else 0
            return [(self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1)) for _ in range(self._checked(size))]
        raise ValueError(f"no type {kind}")

    def _checked(self, size: int) -> int:
        if size > len(self.content):
            raise ValueError("longer than the footer")
        return size

    def _byte(self) -> int:
        value = self.content[self.place]
        self.place += 1
        return value

    def _take(self, size: int) -> bytes:
        if size > len(self.content) - self.place:
            raise ValueError("longer than the footer")
        self.place += size
        return self.content[self.place - size : self.place]

    def _varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("no number")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
