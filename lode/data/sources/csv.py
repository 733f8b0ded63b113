"""Tables as delimited text: .csv and .tsv, also .gz and .zst. Reads with polars after lode/data/formats/delimited.py has looked at
every line.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import FilePath
from lode.data.contracts import Source
from lode.data.formats import beginnings, delimited, files
from lode.data.formats.delimited import Dialect
from lode.data.place import Place
from lode.data.threads import in_turn

_BLOCK_BYTES = 1 << 23
"""Text is read so much at a time where it can be cut: polars would read a hundred megabytes ahead."""

_HEAD_BYTES = 1 << 18

_EXCEL_HINT = re.compile(r'"?sep=(.)"?[,;\t|]*', re.IGNORECASE)
_ONLY_WINDOWS = re.compile("[\x80-\x9f]")
_JOINED = "\n\ufeff"
"""A byte order mark at the start of a line."""
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True, slots=True)
class _Table:
    """What is known about a file. has_blank_lines: known once every line was looked at."""

    path: Path
    dialect: Dialect
    names: tuple[str, ...]
    num_skipped: int
    """Lines before the first row: the header and blank lines above it."""
    has_blank_lines: bool


class Csv(Source):
    """A delimited text file, also compressed (.gz, .zst). Cells stay text, without the blanks around them.

    Args:
        path: the file, relative to lode.yaml or to `--data DIR`.
        separator: one character between cells; by default the one of comma, semicolon, tab and bar that fits the first lines.
        header: whether the first line holds the column names.
        columns: column names of a file without a header.
        null_values: words that mean "missing".
        encoding: how characters are written; windows-1252 is what Windows calls ANSI in the West, gb18030 reads GBK too.
        quote: the character around cells that hold a separator; "" where quotes mean nothing.
        replace: per column, cells that are written differently in this file: `{income: {"<=50K.": "<=50K"}}`.
        sha256: the expected sha256 of the file; checked before it is read.
        origin: where the file comes from; repeated in the error when it is missing.
    """

    def __init__(
        self,
        place: Place,
        *,
        path: FilePath,
        separator: str | None = None,
        header: bool = True,
        columns: list[str] | None = None,
        null_values: list[str] = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"),  # type: ignore[assignment]
        encoding: Literal["utf-8", "latin-1", "windows-1252", "gb18030", "utf-16"] = "utf-8",
        quote: str = '"',
        replace: dict[str, dict[str, str]] | None = None,
        sha256: str | None = None,
        origin: str | None = None,
    ) -> None:
        self.place, self.path, self.separator, self.header, self.columns = place, path, separator, header, columns
        self.null_values, self.encoding, self.quote, self.replace = list(null_values), encoding, quote, replace or {}
        self.sha256, self.origin = sha256, origin
        self.notes: list[str] = []
        self._table: _Table | None = None
        self._is_checked = self._is_bounded = self._is_plain = False
        """_is_plain: no quote stands in the file, so that it may be cut at the end of any line."""
        self._with_missing: frozenset[str] | None = None
        """Columns with words that mean "missing" in the first rows; None for any column."""
        self._ends_empty = False
        """Whether the last cell of one of the first rows is empty: then `check` will be asked."""
        self._num_separators: int | None = None
        self._counting = threading.Lock()
        self._fingerprint: str | None = None

    def fingerprint(self) -> str:
        if self._fingerprint is None:
            path = files.find(self.place, self.path, None, self.origin)
            self._fingerprint = files.sha256_of(path)
        return self._fingerprint

    def scan(self) -> pl.LazyFrame:
        self.check()
        return self.scan_as({})

    def check(self, num_rows: int | None = None) -> bool:
        """Look at every line. Before that, nothing is known about blank lines, and polars fills short ones up.

        No line can be too long without an error, so where there are as many separators as the rows need, none is too short.
        """
        table = self._opened()
        if num_rows is not None and not self._is_checked:
            lines = num_rows + int(self.header)
            self._is_checked = self._separators(table) == lines * (len(table.names) - 1) > 0
        if not self._is_checked:
            self._table = self._surveyed(table)
            self._is_checked = True
        return self._table is not table

    def look_ahead(self) -> None:
        if self._ends_empty and not self._is_checked:
            self._separators(self._opened())

    def _separators(self, table: _Table) -> int:
        """How many separators stand outside of quotes; counted once."""
        with self._counting:
            if self._num_separators is None:
                self._num_separators = delimited.separators(self._chunks(table.path), table.dialect)
            return self._num_separators

    def read_missing(self) -> bool:
        was_known, self._with_missing = self._with_missing is not None, None
        return was_known

    def scan_as(self, types: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        table = self._bounded()
        schema = {name: types.get(name, pl.String()) for name in table.names}
        # Cells to replace must be seen as they stand, so must words like "-999", and polars reads "nan" as a number.
        no_floats = not {"NaN", "nan"} <= set(self.null_values) or any(_is_number(word) for word in self.null_values)
        unfit = [name for name in table.names if name in self.replace or (no_floats and schema[name] == pl.Float64)]
        schema |= dict.fromkeys(unfit, pl.String())
        rows = self._rows(table, schema).select(self._cell(name, dtype) for name, dtype in schema.items())
        if table.has_blank_lines or len(table.names) == 1:
            rows = rows.filter(~pl.all_horizontal(pl.all().is_null()))
        return rows

    def _opened(self) -> _Table:
        """Find the file and look at its first lines."""
        if self._table is not None:
            return self._table
        path = files.find(self.place, self.path, None, self.origin)
        if self.sha256 is not None:
            files.check_sha256(path, self.fingerprint(), self.sha256, self.origin)
        self.num_bytes = path.stat().st_size
        self._check_options()
        dialect, sample = self._dialect(path)
        names = self._column_names(dialect, sample)
        files.check_width(self.path, len(names))
        self._check_replace(names)
        num_skipped = len(sample) - len(sample.lstrip("\n")) + 1
        self._table = _Table(path, dialect, names, num_skipped if self.header else 0, has_blank_lines=False)
        return self._table

    def _bounded(self) -> _Table:
        """The file, after a look for what would fill the memory: polars must not meet a line without end, or a bomb."""
        table = self._opened()
        if not self._is_bounded and not self._is_checked:
            if files.is_compressed(table.path) or self.encoding == "utf-16":
                # Unpacking costs more than looking at every cell. Half of the bytes of UTF-16 are zero.
                self.check()
            else:
                found = files.check_lines(table.path, self.path, table.dialect.quote, _JOINED)
                self._is_plain = table.dialect.quote not in found and self.encoding == "utf-8"
                if _JOINED in found:
                    self.check()  # which names the line
        self._is_bounded = True
        return self._table or table

    def _surveyed(self, table: _Table) -> _Table:
        """Look at every line, so that what is wrong is told by line."""
        counts = delimited.survey(self._chunks(table.path), table.dialect, len(table.names), self.path)
        if counts.records == int(self.header):
            raise DataError(f"{self.path}: the file has a header but no rows. If the first line holds data, write `header: false`.")
        if counts.blank:
            self.notes.append(f"{self.path}: skipped {counts.blank:,} blank line{'s' if counts.blank > 1 else ''}.")
        if counts.marked:
            self.notes.append(
                f"{self.path}: line {counts.marked:,} begins with a byte order mark, as where files were joined. It stays in the cell; "
                "remove it, and a second header."
            )
        if counts.loose_quotes:
            self._try(table)
        return replace(table, has_blank_lines=True) if counts.blank else table

    def _try(self, table: _Table) -> None:
        """A quote in the middle of a cell may be read as text or not at all: find out now.

        Errors: DataError where the file cannot be read.
        """
        try:
            self._rows(table, dict.fromkeys(table.names, pl.String())).select(pl.all().null_count()).collect(engine="streaming")
        except (pl.exceptions.ComputeError, pl.exceptions.SchemaError) as error:
            raise DataError(
                f"{self.path}: a {self.quote} stands inside a cell that it does not enclose, so the lines cannot be told apart "
                f'({str(error).splitlines()[0]}). Double it and enclose the cell, or write `quote: ""` if quotes enclose no cells.'
            ) from error

    def _check_options(self) -> None:
        for name, mark in (("separator", self.separator), ("quote", self.quote)):
            if mark and (len(mark) != 1 or not mark.isascii()):
                raise DataError(f'{self.path}: {name} "{mark}", one ASCII character is allowed. Write "\\t" for a tab.')
        if self.separator == "":
            raise DataError(f'{self.path}: separator "", one ASCII character is allowed. Leave it out to have it found.')
        if self.header and self.columns is not None:
            raise DataError(
                f"{self.path}: `columns` names the columns of a file without a header. Add `header: false`, or leave it out."
            )

    def _check_replace(self, names: tuple[str, ...]) -> None:
        for name in self.replace:
            if name not in names:
                raise DataError(f'{self.path}: replace names the column "{name}", found {listed(names)}.{near_miss(name, names)}')

    def _chunks(self, path: Path) -> Iterator[bytes]:
        """The text as UTF-8, decompressed."""
        chunks = files.byte_chunks(path)
        return chunks if self.encoding == "utf-8" else delimited.utf8_chunks(chunks, self.encoding, self.path)

    def _dialect(self, path: Path) -> tuple[Dialect, str]:
        """How the file separates cells, and its first lines."""
        if self.encoding == "utf-16":
            beginnings.check_utf16(path, self.path)
        else:
            beginnings.check(path, self.path, "Write `encoding: utf-16`, or save it as UTF-8.")
        sample = _first_lines(self._chunks(path), self.path)
        if "\0" in sample:
            raise files.holds_nul(self.path, sample.count("\n", 0, sample.index("\0")) + 1)
        if not sample.strip():
            raise DataError(f"{self.path}: the file holds no text. Get it again, or name another one.")
        self._check_first(sample.lstrip("\n").partition("\n")[0])
        if self.encoding == "latin-1" and _ONLY_WINDOWS.search(sample):
            self.notes.append(
                f"{self.path}: holds bytes that are no characters in latin-1 (80 to 9F). Was it written on Windows, "
                "`encoding: windows-1252` reads them."
            )
        likely = delimited.sniff(sample.lstrip("\n"), self.quote)
        if self.separator is None:
            separator = likely or ","
            if separator != ",":
                self.notes.append(f"{self.path}: the separator was found to be a {_NAMES[separator]} (`separator` not given).")
            return Dialect(separator, self.quote), sample
        dialect = Dialect(self.separator, self.quote)
        if likely and len(next(dialect.records(sample.lstrip("\n")), [])) == 1:
            raise DataError(
                f'{self.path}: separator "{self.separator}" gives one column, but the lines hold a {_NAMES[likely]} each. '
                f"Write `separator: {likely!r}`, or leave it out."
            )
        return dialect, sample

    def _check_first(self, line: str) -> None:
        """Errors: DataError where the first line is a hint for Excel, or holds many lines."""
        if (hint := _EXCEL_HINT.fullmatch(line.strip())) and self.header:
            raise DataError(
                f'{self.path}: the first line is "{line.strip()}", which tells Excel the separator. Delete it, and write '
                f"`separator: {hint[1]!r}` if it is not found."
            )
        outside = "".join(line.split(self.quote)[::2]) if self.quote else line
        # At the end it is one too many, as of a program that writes CRLF as CR CRLF: no cell keeps it.
        if "\r" in outside.rstrip("\r"):
            raise DataError(f"{self.path}: line 1 is many lines in one. {delimited.CARRIAGE_RETURN}")

    def _column_names(self, dialect: Dialect, sample: str) -> tuple[str, ...]:
        first = next(dialect.records(sample.lstrip("\n")), [])
        if not self.header:
            return self._given_names(len(first))
        names = tuple(name.strip() or f"column_{index}" for index, name in enumerate(first, start=1))
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            places = [str(index) for index, name in enumerate(names, start=1) if name == twice[0]]
            raise DataError(
                f'{self.path}: the header names "{twice[0]}" twice (columns {" and ".join(places)}). Rename one of them.'
            )
        return names

    def _given_names(self, width: int) -> tuple[str, ...]:
        if self.columns is None:
            self.notes.append(f"{self.path}: no column names, they are column_1 to column_{width}. Give `columns` to name them.")
            return tuple(f"column_{index}" for index in range(1, width + 1))
        if len(self.columns) != width:
            raise DataError(
                f"{self.path}: `columns` has {len(self.columns)} names, the file has {width} columns. Name each column once."
            )
        return tuple(self.columns)

    def _rows(self, table: _Table, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        if self.encoding == "utf-8" and not (self._is_plain and self.num_bytes > _BLOCK_BYTES):
            return pl.scan_csv(table.path, skip_rows=table.num_skipped, glob=False, **self._options(table, schema))

        def batches(
            with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
        ) -> Iterator[pl.DataFrame]:
            wanted = pl.all() if with_columns is None else pl.col(with_columns)
            left = n_rows
            for frame in in_turn(lambda block: block.select(wanted).collect(), self._blocks(table, schema, _BLOCK_BYTES)):
                some = frame if left is None else frame.head(left)
                yield some if predicate is None else some.filter(predicate)
                left = None if left is None else left - some.height
                if left == 0:
                    return

        return register_io_source(batches, schema=dict(schema))

    def _blocks(self, table: _Table, schema: Mapping[str, pl.DataType], num_bytes: int) -> Iterator[pl.LazyFrame]:
        """The rows as they stand, about `num_bytes` of text at a time."""
        texts = (
            delimited.whole_lines(table.path, num_bytes)
            if self._is_plain
            else delimited.whole_records(self._chunks(table.path), self.quote, num_bytes, self.path)
        )
        for index, text in enumerate(texts):
            yield pl.scan_csv(text, skip_rows=0 if index else table.num_skipped, **self._options(table, schema))

    def _options(self, table: _Table, schema: Mapping[str, pl.DataType]) -> dict[str, Any]:
        # Known before a cell is parsed, so that a column of numbers with "NA" in it can be read as numbers. Where cells are replaced
        # the word may mean something else: then it is looked at afterwards. To hold every cell against every word is a quarter of the
        # parser's work: not done where the first rows show no such column.
        numbers = {name for name, dtype in schema.items() if dtype == pl.Float64}
        likely = numbers if self._with_missing is None or table.has_blank_lines else numbers & self._with_missing
        knows_missing = bool(likely) and not self.replace
        return {
            "null_values": [word for word in self.null_values if word] if knows_missing else None,
            "has_header": False,
            "separator": table.dialect.separator,
            "quote_char": table.dialect.quote or None,
            "schema": schema,
            # A blank line is a row of nulls; lines that are too short or too long are told by `check`.
            "missing_columns": "insert",
            "extra_columns": "raise",
        }

    def head(self, num_rows: int) -> pl.DataFrame:
        # polars would parse tens of megabytes to give the first rows.
        table = self._opened()
        schema = dict.fromkeys(table.names, pl.String())
        frames: list[pl.DataFrame] = []
        left = num_rows
        for block in self._blocks(table, schema, _HEAD_BYTES):
            frames.append(block.head(left).collect())
            left -= frames[-1].height
            if left <= 0:
                break
        if not frames:
            return pl.DataFrame(schema=schema)
        raw = pl.concat(frames)
        rows = raw.select(self._cell(name, dtype) for name, dtype in schema.items())
        # Cells that are empty are missing to the parser too.
        self._with_missing = frozenset(name for name in schema if rows[name].null_count() > raw[name].null_count())
        self._ends_empty = rows[:, -1].has_nulls()
        return rows

    def clean_words(self, words: pl.Series) -> pl.Series:
        return words.to_frame("word").select(self._clean(pl.col("word"), "")).to_series()

    def _cell(self, name: str, dtype: pl.DataType) -> pl.Expr:
        return self._clean(pl.col(name), name) if dtype == pl.String else pl.col(name)

    def _clean(self, column: pl.Expr, name: str) -> pl.Expr:
        """A text cell without blanks around it, null where it means "missing"."""
        cell = column.str.strip_chars()
        if name in self.replace:
            cell = cell.replace(self.replace[name])
        return pl.when(cell.is_in(list({"": None, **dict.fromkeys(self.null_values)}))).then(None).otherwise(cell).alias(name)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _first_lines(chunks: Iterator[bytes], where: str) -> str:
    """The start of a text, at least one whole line of it."""
    parts: list[bytes] = []
    num_bytes = 0
    for chunk in chunks:
        parts.append(chunk)
        num_bytes += len(chunk)
        if b"\n" in chunk.lstrip():
            break
        if num_bytes > files.MAX_LINE_BYTES:
            raise files.too_long(where, 1)
    return b"".join(parts).decode("utf-8", errors="replace").removeprefix("\ufeff").replace("\r\n", "\n")
