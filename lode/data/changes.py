"""What a cleaner changed, found by comparing the rows before and after it. Cleaners need no code for their reports.

`diff` compares one batch; a `ChangeLog` gathers what many batches of many cleaners changed, in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.data import snapshot
from lode.data.contracts import ROW
from lode.data.split import PARTS
from lode.data.storage.shelf import Shelf
from lode.data.storage.spool import Spool

SCHEMA: dict[str, pl.DataType] = {"row": pl.UInt64(), "column": pl.String(), "before": pl.String(), "after": pl.String()}
"""One line per changed cell. `column`, `before` and `after` are null where the whole row was dropped."""
LOG_SCHEMA = {**SCHEMA, "cleaner": pl.String(), "why": pl.String(), "split": pl.String()}
"""A line of changes.parquet. why: the cleaner's reason, its word where it gives none. split: null before rows are split."""
REDACTED = "(not kept: personal data)"

Why = Callable[[pl.DataFrame], pl.Series | None]
"""`Cleaner.why`."""

_MAX_CHARS = 200
_NUM_SAMPLES = 5
_GROUP_ROWS = 1 << 15
"""Lines that are encoded together: of more, the different cells no longer fit the processor's cache."""
_LOOK = 50
"""So many changes of a column are looked through for samples that differ, the first ones: a column that is filled with one value has no
more than one to give, and whatever the size of a batch, the samples are the same.
"""


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
    """A difference as lines (SCHEMA): dropped rows, then the cells of one column after the other, each by row."""
    num_gone, numbers = len(found.gone), found.kept[ROW].cast(pl.UInt64)
    rows = [pl.Series(found.gone, dtype=pl.UInt64), *(numbers.filter(mask) for mask in found.masks.values())]
    names = [_repeated(name, len(own)) for name, own in zip((None, *found.masks), rows, strict=True)]
    cells = ([_text(frame[name].filter(mask)) for name, mask in found.masks.items()] for frame in (found.kept, after))
    # One frame for all columns: making one for each took longer than its cells.
    columns = (rows, names, *([_repeated(None, num_gone), *texts] for texts in cells))
    return pl.DataFrame([pl.concat(parts).alias(key) for key, parts in zip(SCHEMA, columns, strict=True)])


def no_reason(changed: pl.DataFrame) -> pl.Series | None:
    """Says nothing: the cleaner's word says it all."""
    return None


def reasoned(changed: pl.DataFrame, why: Why) -> pl.DataFrame:
    """Lines with a column `why`, null where there is no more to say than the cleaner's word."""
    told = why(changed) if changed.height else None
    return changed.with_columns(pl.lit(None, pl.String).alias("why") if told is None else told.cast(pl.String).alias("why"))


def diff(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Dropped rows and changed cells (SCHEMA), by row and then by column."""
    return lines(compare(before, after), after).sort("row", maintain_order=True)


def _changed(old: pl.Series, new: pl.Series) -> pl.Series:
    return _text(old).ne_missing(_text(new)) if old.dtype != new.dtype else old.ne_missing(new)


def _repeated(word: str | None, size: int) -> pl.Series:
    return pl.Series([word], dtype=pl.String).new_from_index(0, size)


def _text(column: pl.Series) -> pl.Series:
    """Cells as short strings; bytes as their number."""
    if column.dtype == pl.Binary:
        return column.bin.size().cast(pl.String) + " bytes"
    texts = column.cast(pl.String, strict=False)
    if column.dtype.is_numeric() or not (texts.str.len_bytes() > _MAX_CHARS).any():
        return texts
    return texts.str.slice(0, _MAX_CHARS)


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

    def see(self, kept: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
        """Keep a few of these changes, each different one once (of dropped rows each)."""
        known = {(sample["before"], sample["after"]) for sample in kept}
        for sample in new:
            change = (sample["before"], sample["after"])
            if len(kept) < _NUM_SAMPLES and (self.column is None or change not in known):
                known.add(change)
                kept.append(sample)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _runs(names: pl.Series) -> Iterator[tuple[str | None, int, int]]:
    """Each name, where its run begins and where it ends."""
    runs = names.rle()
    ends = np.cumsum(runs.struct.field("len").to_numpy()).tolist()
    return zip(runs.struct.field("value").to_list(), [0, *ends], ends, strict=False)


@dataclass(slots=True)
class ChangeLog:
    """Every change of every cleaner, in order. tallies: counts and samples; the lines themselves may lie on disk."""

    shelf: Shelf
    tallies: dict[tuple[str, str | None, str | None], Tally] = field(default_factory=dict)
    _lines: list[pl.DataFrame] = field(default_factory=list)
    _spool: Spool | None = None
    _file: Path = Path()

    def add(self, word: str, part: str | pl.Series | None, found: pl.DataFrame, hides: str | None = None) -> None:
        """found: lines of one batch with `why`. part: of all of them, or of each, as an Enum of PARTS.

        hides: "before" or "both" where cells may hold personal data.
        """
        if not found.height:
            return
        for name in {None: (), "before": ("before",), "both": ("before", "after")}[hides]:
            found = found.with_columns(pl.when(pl.col(name).is_not_null()).then(pl.lit(REDACTED)).alias(name))
        reasons = pl.col("why").fill_null(word)
        parts = part.cast(pl.String).alias("split") if isinstance(part, pl.Series) else pl.lit(part, pl.String).alias("split")
        full = found.select(*SCHEMA, pl.lit(word).alias("cleaner"), reasons, parts)
        self._count(word, part, full)
        if self.shelf.on_disk:
            self._opened().put(full)
        else:
            self._lines.append(full)

    def rows_dropped(self, word: str, part: str | None) -> int:
        """Rows that a cleaner dropped from a part so far."""
        tally = self.tallies.get((word, part, None))
        return 0 if tally is None else tally.changed

    def every(self) -> list[Tally]:
        """All tallies so far, by cleaner as these began, then by part and column: whatever the size of a batch, the order is the same."""
        places = {word: place for place, word in enumerate(dict.fromkeys(tally.cleaner for tally in self.tallies.values()))}
        return sorted(self.tallies.values(), key=lambda tally: (places[tally.cleaner], tally.split or "", tally.column or ""))

    def cells_of(self, word: str, part: str | None) -> list[Tally]:
        """What a cleaner did to the columns of a part so far."""
        return [tally for tally in self.every() if (tally.cleaner, tally.split) == (word, part) and tally.column is not None]

    def write(self, path: Path) -> None:
        """All lines, as Parquet."""
        if self._spool is None:
            empty = pl.DataFrame(schema=LOG_SCHEMA)
            snapshot.write_rows(pl.concat([empty, *map(_by_row, self._lines)]).lazy(), path)
            return
        self._spool.close()
        snapshot.adopt(self._file, path)

    def stop(self) -> None:
        """Write no more."""
        if self._spool is not None:
            self._spool.stop()

    def _count(self, word: str, part: str | pl.Series | None, found: pl.DataFrame) -> None:
        """Count the lines of each column, which stand together, and look at the first of them for samples."""
        lost = (found["after"].is_null() & found["before"].is_not_null()).to_numpy()
        names: Sequence[str | None] = PARTS if isinstance(part, pl.Series) else (part,)
        codes = part.to_physical().to_numpy() if isinstance(part, pl.Series) else np.zeros(found.height, np.uint8)
        runs = [(name, *run) for run in _runs(found["column"]) for name in names]
        for name, column, start, end in sorted(runs, key=lambda item: (item[0] or "", item[1] or "")):
            own = codes[start:end] == names.index(name)
            num_changed = int(np.count_nonzero(own))
            if not num_changed:
                continue
            tally = self.tallies.setdefault((word, name, column), Tally(word, name, column))
            own_lost = own & lost[start:end]
            looked = ((tally.samples, own, tally.changed), (tally.lost_samples, own_lost, tally.lost))
            for kept, seen, num_before in looked:
                if len(kept) < _NUM_SAMPLES and num_before < _LOOK and seen.any():
                    rows = start + np.flatnonzero(seen)[: _LOOK - num_before]
                    tally.see(kept, self._quotable(found[rows]).select("row", "before", "after", "why").to_dicts())
            tally.changed += num_changed
            tally.lost += int(np.count_nonzero(own_lost))

    def _quotable(self, found: pl.DataFrame) -> pl.DataFrame:
        """The lines as reports may quote them: without cells where the snapshot is encrypted."""
        if not snapshot.is_sealed(self.shelf.folder):
            return found
        cells = ("before", "after", "why")
        return found.with_columns(pl.when(pl.col(name).is_not_null()).then(pl.lit(snapshot.WITHHELD)).alias(name) for name in cells)

    def _opened(self) -> Spool:
        """Where lines go as they come, for as many as there may be."""
        if self._spool is None:
            self._file = self.shelf.scratch_file("changes")
            self._spool = Spool(lambda rows: snapshot.sink(rows, self._file, _GROUP_ROWS), LOG_SCHEMA, _by_row)
        return self._spool


def _by_row(found: pl.DataFrame) -> pl.DataFrame:
    """Lines by row, and then by column: whatever the size of a batch, the log is the same."""
    return found.sort("row", maintain_order=True)
