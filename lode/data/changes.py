"""What a cleaner changed, found by comparing the rows before and after it. Cleaners need no code for their reports.

`diff` compares one batch; a `ChangeLog` gathers what many batches of many cleaners changed, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.data import snapshot
from lode.data.contracts import ROW
from lode.data.storage.shelf import Shelf, from_batches

SCHEMA: dict[str, pl.DataType] = {"row": pl.UInt64(), "column": pl.String(), "before": pl.String(), "after": pl.String()}
"""One line per changed cell. `column`, `before` and `after` are null where the whole row was dropped."""
LOG_SCHEMA = {**SCHEMA, "cleaner": pl.String(), "why": pl.String(), "split": pl.String()}
"""A line of changes.parquet. why: the cleaner's reason, its word where it gives none. split: null before rows are split."""
REDACTED = "(not kept: personal data)"

Why = Callable[[pl.DataFrame], pl.Series | None]
"""`Cleaner.why`."""

_MAX_CHARS = 200
_NUM_SAMPLES = 5
_MAX_LOOKS = 3
"""A column that is filled with one value has no more than one sample to give."""
_LOOK = 50
"""So many changes of a batch are looked through for samples that differ."""
_LINES_IN_MEMORY = 1 << 18


@dataclass(frozen=True, slots=True)
class Difference:
    """gone: uint64 (D,) `__row__` of dropped rows. kept: the other rows as they were. masks: column -> bool (n,), changed cells."""

    gone: np.ndarray
    kept: pl.DataFrame
    masks: dict[str, pl.Series]


def compare(before: pl.DataFrame, after: pl.DataFrame) -> Difference:
    """Both frames carry `__row__`, ascending."""
    gone, kept = np.empty(0, dtype=np.uint64), before
    if after.height != before.height:
        numbers = before[ROW].to_numpy()
        is_gone = np.isin(numbers, after[ROW].to_numpy(), invert=True, assume_unique=True)
        gone, kept = numbers[is_gone], before.filter(pl.Series(~is_gone))
    masks = {}
    for name in kept.columns:
        if name != ROW and name in after.columns:
            mask = _changed(kept[name], after[name])
            if mask.any():
                masks[name] = mask
    return Difference(gone, kept, masks)


def lines(found: Difference, after: pl.DataFrame) -> pl.DataFrame:
    """A difference as lines (SCHEMA), by row and then by column."""
    dropped = pl.DataFrame({"row": found.gone}).with_columns(pl.lit(None, SCHEMA[name]).alias(name) for name in list(SCHEMA)[1:])
    parts = [_cells(found.kept, after, name, mask) for name, mask in found.masks.items()]
    return pl.concat([dropped.cast({"row": pl.UInt64}), *parts]).sort("row", maintain_order=True)


def no_reason(changed: pl.DataFrame) -> pl.Series | None:
    """Says nothing: the cleaner's word says it all."""
    return None


def reasoned(changed: pl.DataFrame, why: Why) -> pl.DataFrame:
    """Lines with a column `why`, null where there is no more to say than the cleaner's word."""
    told = why(changed) if changed.height else None
    return changed.with_columns(pl.lit(None, pl.String).alias("why") if told is None else told.cast(pl.String).alias("why"))


def diff(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Dropped rows and changed cells (SCHEMA), by row and then by column."""
    return lines(compare(before, after), after)


def _changed(old: pl.Series, new: pl.Series) -> pl.Series:
    return _text(old).ne_missing(_text(new)) if old.dtype != new.dtype else old.ne_missing(new)


def _cells(before: pl.DataFrame, after: pl.DataFrame, name: str, mask: pl.Series) -> pl.DataFrame:
    columns = {
        "row": before[ROW].filter(mask),
        "before": _text(before[name].filter(mask)),
        "after": _text(after[name].filter(mask)),
    }
    return pl.DataFrame(columns).with_columns(pl.lit(name).alias("column")).select(list(SCHEMA)).cast({"row": pl.UInt64})


def _text(column: pl.Series) -> pl.Series:
    """Cells as short strings; bytes as their number."""
    if column.dtype == pl.Binary:
        return column.bin.size().cast(pl.String) + " bytes"
    return column.cast(pl.String, strict=False).str.slice(0, _MAX_CHARS)


@dataclass(slots=True)
class Tally:
    """What one cleaner did to one column (None: rows dropped) of one part. lost: cells that became missing.

    samples: a few different changes, {"row", "before", "after", "why"}; lost_samples: of those that became missing.
    """

    cleaner: str
    split: str | None
    column: str | None
    changed: int = 0
    lost: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    lost_samples: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    """Batches that were looked through for samples."""

    def see(self, kept: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
        """Keep a few of these changes, each different one once (of dropped rows each)."""
        known = {(sample["before"], sample["after"]) for sample in kept}
        for sample in new:
            change = (sample["before"], sample["after"])
            if len(kept) < _NUM_SAMPLES and (self.column is None or change not in known):
                known.add(change)
                kept.append(sample)

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        del record["looks"]
        return record


@dataclass(slots=True)
class ChangeLog:
    """Every change of every cleaner, in order. tallies: counts and samples; the lines themselves may lie on disk."""

    shelf: Shelf
    tallies: dict[tuple[str, str | None, str | None], Tally] = field(default_factory=dict)
    _lines: list[pl.DataFrame] = field(default_factory=list)
    _files: list[Path] = field(default_factory=list)

    def add(self, word: str, part: str | pl.Series | None, found: pl.DataFrame, hides: str | None = None) -> None:
        """found: lines of one batch with `why`. part: of all of them, or of each.

        hides: "before" or "both" where cells may hold personal data.
        """
        if not found.height:
            return
        for name in {None: (), "before": ("before",), "both": ("before", "after")}[hides]:
            found = found.with_columns(pl.when(pl.col(name).is_not_null()).then(pl.lit(REDACTED)).alias(name))
        reasons = pl.col("why").fill_null(word)
        parts = part.cast(pl.String).alias("split") if isinstance(part, pl.Series) else pl.lit(part, pl.String).alias("split")
        full = found.with_columns(pl.lit(word).alias("cleaner"), reasons, parts)
        self._count(word, self._quotable(full))
        self._lines.append(full.select(list(LOG_SCHEMA)))
        if self.shelf.on_disk and sum(frame.height for frame in self._lines) > _LINES_IN_MEMORY:
            self._flush()

    def rows_dropped(self, word: str, part: str | None) -> int:
        """Rows that a cleaner dropped from a part so far."""
        tally = self.tallies.get((word, part, None))
        return 0 if tally is None else tally.changed

    def cells_of(self, word: str, part: str | None) -> list[Tally]:
        """What a cleaner did to the columns of a part so far."""
        return [tally for key, tally in self.tallies.items() if key[:2] == (word, part) and key[2] is not None]

    def write(self, path: Path) -> None:
        """All lines, as Parquet."""
        empty = pl.DataFrame(schema=LOG_SCHEMA)
        stored = [pl.scan_ipc(file, glob=False) for file in self._files]
        snapshot.write_rows(pl.concat([empty.lazy(), *stored, *(frame.lazy() for frame in self._lines)]), path)

    def _count(self, word: str, found: pl.DataFrame) -> None:
        is_lost = pl.col("after").is_null() & pl.col("before").is_not_null()
        counts = found.group_by("split", "column").agg(pl.len(), is_lost.sum()).sort("split", "column")
        for part, column, changed, lost in counts.iter_rows():
            tally = self.tallies.setdefault((word, part, column), Tally(word, part, column))
            tally.changed += changed
            tally.lost += lost
            tally.looks += 1
            wanted = [(tally.samples, pl.lit(True))] if tally.looks <= _MAX_LOOKS else []
            wanted += [(tally.lost_samples, is_lost)] if lost else []
            for kept, condition in wanted:
                if len(kept) < _NUM_SAMPLES:
                    of_it = pl.col("column").eq_missing(pl.lit(column)) & pl.col("split").eq_missing(pl.lit(part)) & condition
                    tally.see(kept, found.filter(of_it).head(_LOOK).select("row", "before", "after", "why").to_dicts())

    def _quotable(self, found: pl.DataFrame) -> pl.DataFrame:
        """The lines as reports may quote them: without cells where the snapshot is encrypted."""
        if not snapshot.is_sealed(self.shelf.folder):
            return found
        cells = ("before", "after", "why")
        return found.with_columns(pl.when(pl.col(name).is_not_null()).then(pl.lit(snapshot.WITHHELD)).alias(name) for name in cells)

    def _flush(self) -> None:
        path = self.shelf.scratch_file("changes")
        from_batches(iter(self._lines), dict(LOG_SCHEMA)).sink_ipc(path, compression="lz4")
        self._files.append(path)
        self._lines = []
