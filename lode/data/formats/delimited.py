"""Looks at delimited text before polars reads it: which separator, which header, and is every line as wide as the first.

Vectorised over chunks of bytes, about a gigabyte a second. Used by lode/data/sources/csv.py.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lode.core.errors import DataError
from lode.data.formats import files

SEPARATORS = (",", ";", "\t", "|")
_SAMPLE_LINES = 100
_NEWLINE = 10
CARRIAGE_RETURN = "A bare carriage return (CR) stands in it, with which old Macs end lines: turn each CR into a line feed (LF)."


@dataclass(frozen=True, slots=True)
class Dialect:
    """How cells stand in a line. quote: one character, or "" where quotes mean nothing."""

    separator: str
    quote: str

    def records(self, sample: str) -> Iterator[list[str]]:
        """The records of a text, as far as they can be read."""
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE
        quotechar = self.quote or None
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=self.separator, quotechar=quotechar, quoting=quoting)
        while True:
            try:
                yield next(reader)
            except (StopIteration, csv.Error):
                return


def sniff(sample: str, quote: str) -> str | None:
    """The separator that cuts the first line and most of the next ones into the same number (> 1) of cells; None where none does."""
    best: tuple[float, int] = (0.0, 1)
    found = None
    for separator in SEPARATORS:
        records = [
            record for record, _ in zip(Dialect(separator, quote).records(sample), range(_SAMPLE_LINES), strict=False) if record
        ]
        if not records or len(records[0]) < 2:
            continue
        alike = sum(len(record) == len(records[0]) for record in records) / len(records)
        # The last line of the sample may be cut, so one line may always differ.
        if alike >= 1.0 - 1.5 / len(records) and (alike, len(records[0])) > best:
            best, found = (alike, len(records[0])), separator
    return found


def utf8_chunks(chunks: Iterable[bytes], encoding: str, where: str) -> Iterator[bytes]:
    """The same text as UTF-8.

    Errors: DataError with the line where the bytes are no text of that encoding.
    """
    parts = iter(chunks)
    first = next(parts, b"")
    is_bare = encoding == "utf-16" and not first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # Without a byte order mark it is what Windows writes.
    decoder = codecs.getincrementaldecoder("utf-16-le" if is_bare else encoding)()
    num_lines = 0
    for chunk in itertools.chain([first], parts):
        try:
            text = decoder.decode(chunk)
            yield text.encode()
        except UnicodeDecodeError as error:
            raise _undecodable(where, num_lines + error.object.count(b"\n", 0, error.start) + 1, encoding) from error
        except UnicodeEncodeError as error:
            # Half of a character, which UTF-16 can hold and no text can.
            raise _undecodable(where, num_lines + text.count("\n", 0, error.start) + 1, encoding) from error
        num_lines += text.count("\n")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _undecodable(where, num_lines + 1, encoding) from error


def _undecodable(where: str, line: int, encoding: str) -> DataError:
    others = [f"`encoding: {name}`" for name in ("gb18030", "windows-1252", "latin-1") if name != encoding][:2]
    return DataError(
        f"{where}: line {line} is not {encoding}. Name the encoding, for example {' or '.join(others)}, or save the file as UTF-8."
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """Records (the header is one) and blank lines of a text.

    loose_quotes: whether a quote opens in the middle of a cell, which parsers read in different ways.
    marked: the first line that begins with a byte order mark behind the first one; 0 where none does.
    """

    records: int
    blank: int
    loose_quotes: bool
    marked: int


def survey(chunks: Iterable[bytes], dialect: Dialect, num_columns: int, where: str) -> Counts:
    """Reads all bytes and counts their lines.

    Errors: DataError for the first line that is wider or narrower than `num_columns`, is not UTF-8, or holds a quote that never closes.
    """
    lines = _Lines(dialect, num_columns, where)
    for chunk in chunks:
        lines.add(chunk)
    lines.end()
    return Counts(lines.num_records - lines.num_blank, lines.num_blank, lines.loose_quotes, lines.marked)


def separators(chunks: Iterable[bytes], dialect: Dialect) -> int:
    """How many separators stand outside of quotes: a tenth of the work of `survey`."""
    mark, quote = dialect.separator.encode(), dialect.quote.encode()
    found, inside = 0, 0
    for chunk in chunks:
        if not quote or (not inside and quote not in chunk):
            found += chunk.count(mark)
            continue
        block = np.frombuffer(chunk, dtype=np.uint8)
        # A doubled quote closes and opens again. What stands between quotes is little: all separators are counted, less those.
        quotes = np.flatnonzero(block == quote[0])
        edges = np.concatenate(([-1], quotes) if inside else (quotes,)).astype(np.int32)
        edges = edges if len(edges) % 2 == 0 else np.append(edges, np.int32(len(block)))
        lengths = edges[1::2] - edges[::2] - 1
        ends = np.cumsum(lengths, dtype=np.int32)
        between = np.arange(lengths.sum(), dtype=np.int32) + np.repeat(edges[1::2] - ends, lengths)
        found += int(np.count_nonzero(block == mark[0]) - np.count_nonzero(block[between] == mark[0]))
        inside = (inside + len(quotes)) % 2
    return found


class _Lines:
    """Counts the cells of every line, chunk by chunk. A chunk may end anywhere."""

    def __init__(self, dialect: Dialect, num_columns: int, where: str) -> None:
        self.separator = ord(dialect.separator)
        self.quote = dialect.quote.encode()
        self.num_columns, self.where = num_columns, where
        self.num_records = self.num_blank = 0
        self.loose_quotes = False
        self.marked = 0
        self._last_byte = _NEWLINE
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._decoding = False
        self._num_newlines = self._num_open = 0
        """_num_open: bytes of the line that the last chunk left open."""
        self._inside = 0
        """1 where the last chunk ended between two quotes."""
        self._opened_line = 0
        self._num_separators = 0
        """Separators of the line that the last chunk left open."""
        self._tail = b""
        """The last bytes of the last chunk."""
        self._head = b""
        """The start of that line, as far as it matters: is it blank?"""

    def add(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        self._check_text(chunk)
        if b"\0" in chunk:
            raise files.holds_nul(self.where, self._num_newlines + chunk.count(b"\n", 0, chunk.index(b"\0")) + 1)
        block = np.frombuffer(chunk, dtype=np.uint8)
        newline = block == _NEWLINE
        token = newline | (block == self.separator)
        if self.quote and (self._inside or self.quote in chunk):
            token &= self._outside(block, newline)
        positions = np.flatnonzero(token)
        ends = np.flatnonzero(newline[positions])
        widths = np.diff(ends, prepend=-1 - self._num_separators)
        for index in np.flatnonzero(widths != self.num_columns).tolist():
            start = int(positions[ends[index - 1]]) + 1 if index else 0
            content = chunk[start : int(positions[ends[index]])]
            self._check_line(content if index else self._head + content, int(widths[index]), chunk.count(b"\n", 0, start))
        self.num_records += len(ends)
        if not self.marked:
            self._find_mark(chunk)
        self._num_open += int(positions[ends[0]]) if len(ends) else len(chunk)
        if self._num_open > files.MAX_LINE_BYTES:
            raise self._endless()
        if len(ends):
            self._num_open = len(chunk) - int(positions[ends[-1]]) - 1
            self._num_separators = len(positions) - int(ends[-1]) - 1
            self._head = chunk[int(positions[ends[-1]]) + 1 :][:256]
        else:
            self._num_separators += len(positions)
            self._head = (self._head + chunk)[:256]
        self._num_newlines += int(np.count_nonzero(newline))
        self._last_byte = chunk[-1]

    def _find_mark(self, chunk: bytes) -> None:
        """Look for a byte order mark at the start of a line; the bytes before the chunk's end stand in the next one, too."""
        around = self._tail + chunk
        place = around.find(b"\n" + codecs.BOM_UTF8)
        if place >= 0:
            self.marked = self._num_newlines - self._tail.count(b"\n") + around.count(b"\n", 0, place + 1) + 1
        self._tail = around[-len(codecs.BOM_UTF8) :]

    def _endless(self) -> DataError:
        """The error for a line that does not end."""
        return self._never_closes() if self._inside else files.too_long(self.where, self._num_newlines + 1)

    def _never_closes(self) -> DataError:
        return DataError(
            f"{self.where}: the quote that opens in line {self._opened_line} never closes. "
            'Close it, or write `quote: ""` if quotes do not enclose cells in this file.'
        )

    def end(self) -> None:
        """Look at a last line without a newline."""
        if self._inside:
            raise self._never_closes()
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise _undecodable(self.where, self._num_newlines + 1, "utf-8") from error
        if self._head or self._num_separators:
            self.num_records += 1
            if self._num_separators + 1 != self.num_columns:
                self._check_line(self._head, self._num_separators + 1, 0)

    def _outside(self, block: np.ndarray, newline: np.ndarray) -> np.ndarray:
        """Bool (n,): where a byte is not between quotes. A doubled quote closes and opens again."""
        is_quote = block == self.quote[0]
        inside = (np.cumsum(is_quote, dtype=np.uint8) + np.uint8(self._inside)) & 1
        if inside[-1] and (opened := np.flatnonzero(is_quote)).size:
            self._opened_line = self._num_newlines + int(np.count_nonzero(newline[: opened[-1]])) + 1
        self._inside = int(inside[-1])
        opening = np.flatnonzero(is_quote & (inside == 1))
        before = np.where(opening > 0, block[opening - 1], self._last_byte)
        self.loose_quotes |= not np.isin(before, (self.separator, _NEWLINE, self.quote[0])).all()
        return inside == 0

    def _check_line(self, content: bytes, width: int, num_newlines: int) -> None:
        if width == 1 and not content.strip():
            self.num_blank += 1
            return
        line = self._num_newlines + num_newlines + 1
        found, needed = _counted(width), _counted(self.num_columns)
        quote = (
            f' If {self.quote.decode()} does not enclose cells in this file, write `quote: ""`.' if self.quote in content else ""
        )
        advice = "Mend the line, or quote a cell that holds the separator."
        if width == self.num_columns + 1 and content.rstrip(b"\r").endswith(bytes([self.separator])):
            advice = "It ends with a separator, as the first line does not: end all lines alike."
        if b"\r" in content.rstrip(b"\r"):
            advice = CARRIAGE_RETURN
        raise DataError(
            f"{self.where}: line {line} has {found}, the first line has {needed}. {advice}{quote if self.quote else ''}"
        )

    def _check_text(self, chunk: bytes) -> None:
        if not self._decoding and chunk.isascii():
            return
        try:
            self._decoder.decode(chunk)
        except UnicodeDecodeError as error:
            raise _undecodable(self.where, self._num_newlines + error.object.count(b"\n", 0, error.start) + 1, "utf-8") from error
        self._decoding = bool(self._decoder.getstate()[0])


def _counted(num: int) -> str:
    return "1 column" if num == 1 else f"{num} columns"


def whole_records(chunks: Iterable[bytes], quote: str, num_bytes: int, where: str) -> Iterator[bytes]:
    """The same bytes, cut at ends of records, about `num_bytes` at a time.

    Errors: DataError where a record is longer than a line may be.
    """
    mark = quote.encode()
    rest = b""
    for chunk in chunks:
        rest += chunk
        if len(rest) < num_bytes:
            continue
        cut = _last_end(rest, mark)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > num_bytes + files.MAX_LINE_BYTES:
            raise DataError(
                f"{where}: a line is longer than {files.MAX_LINE_BYTES >> 20} MiB, or a quote never closes. Check that the file is a "
                'table with one row a line, or write `quote: ""` if quotes do not enclose cells in it.'
            )
    if rest:
        yield rest


def whole_lines(path: Path, num_bytes: int) -> Iterator[bytes]:
    """The bytes of a file, cut at ends of lines, about `num_bytes` at a time."""
    with path.open("rb") as file:
        start, size = 0, path.stat().st_size
        while start < size:
            file.seek(start + num_bytes)
            file.readline()
            end = file.tell()
            # polars swallows blank lines and a byte order mark at the start of a text.
            while (line := file.readline()) and (not line.strip() or line.startswith(codecs.BOM_UTF8)):
                end = file.tell()
            file.seek(start)
            yield file.read(end - start)
            start = end


def _last_end(text: bytes, mark: bytes) -> int:
    """Where the last whole record ends; 0 where none does."""
    if not mark or mark not in text:
        return text.rfind(b"\n") + 1
    block = np.frombuffer(text, dtype=np.uint8)
    outside = np.cumsum(block == mark[0], dtype=np.uint8) & 1 == 0
    ends = np.flatnonzero((block == _NEWLINE) & outside)
    return int(ends[-1]) + 1 if len(ends) else 0
