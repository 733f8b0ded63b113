"""One JSON document -> its records, one a line, block by block: a document larger than memory streams through.

Strings and brackets are told apart with numpy, about 80 MB a second; polars then parses the lines. Used by the sources that read JSON;
read lode/data/formats/json_lines.py next.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lode.core.errors import DataError, listed, near_miss
from lode.data.formats import files

BLOCK_BYTES = 1 << 23
"""Records are handed on about so much at a time."""
MAX_DEPTH = 64
"""Deeper nesting is no table, and parsers that call themselves run out of stack."""
MAX_MAPPING_BYTES = 1 << 26
"""A mapping of columns has its first row's last cell at its end, so it is held in memory, about ten times this size."""

_QUOTE, _BACKSLASH, _COMMA, _COLON, _NEWLINE, _BLANK = 34, 92, 44, 58, 10, 32
_OPEN, _CLOSE = (ord("["), ord("{")), (ord("]"), ord("}"))
_KEY_BYTES = 1 << 12
_STEP = np.zeros(256, dtype=np.int32)
_STEP[list(_OPEN)], _STEP[list(_CLOSE)] = 1, -1
_IS_MARK = _STEP != 0
_IS_MARK[[_COMMA, _COLON]] = True


@dataclass(slots=True)
class _Marks:
    """Brackets, commas and colons outside strings, chunk by chunk. A chunk may end anywhere."""

    depth: int = 0
    inside: int = 0
    """1 where the last chunk ended in a string."""
    escaped: bool = False
    """Whether the first byte of the next chunk stands behind a backslash."""

    def of(self, chunk: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions, bytes and depths; a bracket has the depth of what it opens or closes, a comma that of what it stands in."""
        block = np.frombuffer(chunk, dtype=np.uint8)
        quotes = np.flatnonzero(block == _QUOTE)
        if self.escaped or b"\\" in chunk:
            quotes = quotes[~np.isin(quotes, self._behind_backslash(block))]
        positions = np.flatnonzero(_IS_MARK[block])
        outside = (np.searchsorted(quotes, positions) + self.inside) & 1 == 0
        positions = positions[outside]
        marks = block[positions]
        steps = _STEP[marks]
        after = self.depth + np.cumsum(steps, dtype=np.int32)
        self.inside = (self.inside + len(quotes)) & 1
        self.depth = int(after[-1]) if len(after) else self.depth
        return positions, marks, after + (steps < 0)

    def _behind_backslash(self, block: np.ndarray) -> np.ndarray:
        """Positions whose byte is escaped: those behind an odd run of backslashes."""
        slashes = np.flatnonzero(block == _BACKSLASH)
        escaped = [np.zeros(1, dtype=np.int64)] if self.escaped else []
        if self.escaped:
            slashes = slashes[slashes > 0]
        first = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
        lengths = np.diff(first, append=len(slashes))
        odd = (slashes[first] + lengths)[lengths % 2 == 1]
        self.escaped = bool(len(odd) and odd[-1] == len(block))
        return np.concatenate([*escaped, odd])


@dataclass(slots=True)
class _Walk:
    """Looks for the value under a dotted key, reading only what lies on the way to it."""

    keys: tuple[str, ...]
    where: str
    matched: int = 0
    pending: bool = False
    """Whether the next value is the one that a key of the path names."""
    seen: list[str] = field(default_factory=list)
    before: bytes = b""

    def find(self, chunk: bytes, marks: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[int, int, int] | None:
        """(position, byte, depth) of the bracket that opens it, None where it is not in this chunk."""
        near = np.flatnonzero(marks[2] <= self.matched + 2 if self.keys else marks[2] <= 1)
        for position, mark, depth in zip(*(part[near].tolist() for part in marks), strict=True):
            if mark in _OPEN and depth == 1 and not self.keys:
                return position, mark, depth
            if mark in _OPEN and self.pending and depth == self.matched + 2:
                self.pending, self.matched = False, self.matched + 1
                self.seen.clear()
                if self.matched == len(self.keys):
                    return position, mark, depth
                return self.find(chunk, tuple(part[marks[0] > position] for part in marks))  # type: ignore[arg-type]
            if depth == self.matched + 1:
                self._step(mark, chunk, position)
        self.before = (self.before + chunk)[-_KEY_BYTES:]
        return None

    def _step(self, mark: int, chunk: bytes, position: int) -> None:
        """A mark in the container that the path has reached."""
        name = ".".join(self.keys[: self.matched + 1])
        if mark == _COLON:
            key = _key_before(self.before + chunk[:position])
            self.seen += [key] if key is not None and len(self.seen) < MAX_DEPTH else []
            self.pending = key == self.keys[self.matched]
        elif self.pending:
            raise DataError(f"{self.where}: `records: {name}` names a single value, a list of records is needed. Name another key.")
        elif mark in _CLOSE:
            found = f"found {listed(self.seen)}" if self.seen else "found none"
            raise DataError(
                f'{self.where}: no key "{name}" (`records`), {found}.{near_miss(self.keys[self.matched], self.seen)} Name one of them.'
            )
        elif mark in _OPEN:
            self.seen.clear()


def _key_before(text: bytes) -> str | None:
    """The string that a text ends with; None for a key too long to be meant."""
    text = text[-_KEY_BYTES:].rstrip()
    start = text.rfind(b'"', 0, -1)
    while start > 0 and (len(text[:start]) - len(text[:start].rstrip(b"\\"))) % 2:
        start = text.rfind(b'"', 0, start)
    try:
        return str(json.loads(text[start:])) if start >= 0 else None
    except ValueError:
        return None


def blocks(path: Path, where: str, records: str | None) -> Iterator[bytes]:
    """The records of an array, one a line; or the one object that maps columns to cells, whole.

    records: dotted key of the array, None where the document is the array. An object comes as one block that starts with "{" and
    is marked by a leading newline.
    Errors: DataError where there is no such key, the document is cut short, or one record is larger than a line may be.
    """
    reader = _Reader(where, tuple(records.split(".")) if records else ())
    rest, is_any = b"", False
    for chunk in files.byte_chunks(path):
        rest += reader.add(chunk)
        if len(rest) < BLOCK_BYTES:
            continue
        cut = 0 if reader.is_mapping else rest.rfind(b"\n") + 1
        reader.check_size(len(rest) - cut)
        if cut:
            yield rest[:cut]
            rest, is_any = rest[cut:], True
    reader.end()
    if reader.is_mapping:
        yield b"\n" + rest
    elif rest.strip() or is_any:
        # Behind the last comma stands a record, or an empty line: a comma too many.
        yield (rest or b" ") + b"\n"


class _Reader:
    """Bytes of a document in, lines with one record each out."""

    def __init__(self, where: str, keys: tuple[str, ...]) -> None:
        self.where = where
        self.marks = _Marks()
        self.walk = _Walk(keys, where)
        self.depth = 0
        """Depth of the container that holds the records, 0 before it is found."""
        self.is_done = self.is_mapping = False
        self._is_first = True

    def add(self, chunk: bytes) -> bytes:
        """What the next bytes add to the lines."""
        if self._is_first and chunk.strip():
            self._is_first = False
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
            self._check_start(chunk)
        was_closed = self.is_done and self.marks.depth == 0
        marks = self.marks.of(chunk)
        self._check_depths(chunk, marks, was_closed)
        start = 0
        if not self.depth:
            found = self.walk.find(chunk, marks)
            if found is None:
                return b""
            start, mark, self.depth = found
            self.is_mapping = mark == ord("{")
            start += not self.is_mapping
        return b"" if self.is_done else self._lines(chunk, marks, start)

    def _lines(self, chunk: bytes, marks: tuple[np.ndarray, np.ndarray, np.ndarray], start: int) -> bytes:
        positions, kinds, depths = marks
        own = (depths == self.depth) & (positions >= start)
        ends = positions[own & np.isin(kinds, _CLOSE)]
        stop = len(chunk)
        if len(ends):
            self.is_done = True
            if self.is_mapping != (chunk[int(ends[0])] == ord("}")):
                raise DataError(
                    f"{self.where}: brackets of different kinds close one another, so it is no JSON. Get the file again."
                )
            stop = int(ends[0]) + int(self.is_mapping)
            if self.depth == 1:
                self._check_rest(chunk[int(ends[0]) + 1 :])
        if self.is_mapping:
            return chunk[start:stop]
        block = np.frombuffer(chunk, dtype=np.uint8).copy()
        # A newline cannot stand in a string of JSON, so every one of them is a blank.
        block[(block == _NEWLINE) | (block == 13)] = _BLANK
        block[positions[own & (kinds == _COMMA)]] = _NEWLINE
        return block[start:stop].tobytes()

    def _check_start(self, chunk: bytes) -> None:
        first = chunk.lstrip()[:1]
        if first not in (b"[", b"{"):
            raise DataError(
                f"{self.where}: starts with {first.decode('latin-1')!a}, which begins no JSON list or object. "
                "Save it as JSON in UTF-8, or name another `type`."
            )

    def _check_depths(self, chunk: bytes, marks: tuple[np.ndarray, np.ndarray, np.ndarray], was_closed: bool) -> None:
        if was_closed and self.depth == 1:
            self._check_rest(chunk)
        if len(marks[2]) and int(marks[2].max()) > MAX_DEPTH:
            raise DataError(
                f"{self.where}: nested more than {MAX_DEPTH} levels deep, which is no table. Name the list of records with `records`."
            )
        if len(marks[2]) and int(marks[2].min()) < 1:
            raise DataError(f"{self.where}: more brackets are closed than opened, so it is no JSON. Get the file again.")

    def _check_rest(self, rest: bytes) -> None:
        if rest.strip():
            hint = " Write `type: jsonl` if each line holds one object." if self.is_mapping else " Get the file again."
            raise DataError(f"{self.where}: more follows after the end of the JSON document.{hint}")

    def check_size(self, num_bytes: int) -> None:
        """Errors: DataError where one record (or a mapping) is too large to be held in memory."""
        if self.is_mapping and num_bytes > MAX_MAPPING_BYTES:
            raise DataError(
                f"{self.where}: a mapping of columns of more than {MAX_MAPPING_BYTES >> 20} MiB cannot be read in bounded memory. "
                "Write it as a list of records, or as Parquet."
            )
        if not self.is_mapping and num_bytes > files.MAX_LINE_BYTES:
            raise DataError(
                f"{self.where}: one record is longer than {files.MAX_LINE_BYTES >> 20} MiB. Check that the list holds records."
            )

    def end(self) -> None:
        """Errors: DataError where the document is not complete."""
        if self.depth and self.is_done and self.marks.depth == 0:
            return
        if self.marks.inside or self.marks.depth:
            num = self.marks.depth
            open_brackets = "a bracket that never closes" if num == 1 else f"{num} brackets that never close"
            what = "a string that never closes" if self.marks.inside else open_brackets
            raise DataError(f"{self.where}: the JSON document is cut short, it ends with {what}. Get the file again.")
        raise DataError(f"{self.where}: the JSON document holds no list of records. Name it with `records`.")
