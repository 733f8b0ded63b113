"""Where columns lie on their way to the snapshot: in memory while the data are small, else one file per column, read back when asked for.

One column of numbers or codes is read at a time; what may be long (texts, pictures) and rows of many columns go by batches.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

_SCRATCH = ".columns"
_PART_OF_MEMORY = 32
"""A batch takes so small a part of the bound: readers and writers hold several of them, before and after each step."""
_MIN_ROWS, _MAX_ROWS = 1 << 12, 1 << 18
_IN_MEMORY = 8
"""Raw data up to an eighth of the bound stay in memory: cells take two to four times the bytes of their text, and steps copy them."""

Stored = pl.Series | pl.LazyFrame
"""A column in memory, or one that is read from its files."""


@dataclass(slots=True)
class Shelf:
    """folder: where files may lie. memory_bytes: the bound. on_disk: whether columns go into files."""

    folder: Path
    memory_bytes: int
    on_disk: bool = False
    batch_rows: int = _MAX_ROWS
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def scratch_file(self, stem: str) -> Path:
        """A new file that goes when the stage is done."""
        self._scratch.mkdir(exist_ok=True)
        return self._scratch / f"{next(self._numbers):06d}-{stem}.arrow"

    def keep(self, stem: str, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Write rows that stream into a new file, and read them from there. Errors: what polars raises; the file is gone then."""
        path = self.scratch_file(stem)
        try:
            # Opened here: polars would open it twice and cut it the second time, and of a file that was cut ext4 sends all to the
            # disk when it is closed.
            with path.open("xb") as file:
                rows.sink_ipc(file, compression="uncompressed")
        except (pl.exceptions.PolarsError, OSError):
            path.unlink(missing_ok=True)
            raise
        return pl.scan_ipc(path, glob=False)

    @property
    def _scratch(self) -> Path:
        return self.folder / _SCRATCH

    def fits(self, raw_bytes: int) -> bool:
        """Whether raw data of this size (decompressed) may stay in memory."""
        return raw_bytes <= self.memory_bytes // _IN_MEMORY

    def use_disk(self, row_bytes: float) -> None:
        """From now on columns go into files. row_bytes: of the text of a row, for the size of batches."""
        self.on_disk = True
        rows = int(self.memory_bytes / _PART_OF_MEMORY / max(row_bytes * 4, 1))
        self.batch_rows = min(max(rows, _MIN_ROWS), _MAX_ROWS)

    def put(self, column: pl.Series) -> Stored:
        """Keep a whole column."""
        if not self.on_disk:
            return column
        return self.put_parts(column.name, column.dtype, [column])

    def put_parts(self, name: str, dtype: pl.DataType, parts: Iterable[pl.Series]) -> Stored:
        """Keep a column that comes slice by slice."""
        if not self.on_disk:
            return pl.concat([pl.Series(name, [], dtype=dtype), *parts])
        # Words lie there as their codes: IPC would hold a dictionary in every batch, and refuses a null whose code is out of range.
        stored = _code_type(dtype) if isinstance(dtype, pl.Enum) else dtype
        frames = (part.to_physical().to_frame(name) if stored is not dtype else part.to_frame(name) for part in parts)
        lazy = self.keep("column", from_batches(frames, {name: stored}))
        return lazy if stored is dtype else lazy.select(pl.col(name).cat.to(dtype))

    def clear(self) -> None:
        """Remove every file."""
        shutil.rmtree(self._scratch, ignore_errors=True)


def _code_type(dtype: pl.Enum) -> pl.DataType:
    """How polars holds the codes of an Enum."""
    return pl.Series([], dtype=dtype).to_physical().dtype


def series(stored: Stored) -> pl.Series:
    """The whole column, in memory."""
    return stored if isinstance(stored, pl.Series) else stored.collect().to_series()


def from_batches(batches: Iterable[pl.DataFrame], schema: dict[str, pl.DataType]) -> pl.LazyFrame:
    """Frames that come one after another as one that streams; may be read once."""

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        for batch in batches:
            frame = batch if with_columns is None else batch.select(with_columns)
            yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(read, schema=schema)
