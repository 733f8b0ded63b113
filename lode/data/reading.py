"""Sources -> one table of raw columns, with the part each row came from. In memory while it is small, else spooled to disk.

Large text is read straight into numbers and categories where a look at its first rows says that this loses nothing.
Read lode/data/ingest.py first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from lode.core import disk
from lode.core.errors import DataError, listed
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data import cells
from lode.data.access import watch
from lode.data.contracts import Source
from lode.data.enums import cleaned
from lode.data.place import Place
from lode.data.split import PARTS
from lode.data.storage.shelf import Shelf, Stored
from lode.data.threads import side_by_side

HINT_ROWS = 10_000
_SIZE_ROWS = 1_000
_ORIGIN = "__origin__"
_MAX_CATEGORY_SHARE = 0.05
_MAX_RETRIES = 8
"""So many columns may turn out to hold other things than numbers before all are read as text."""
_BAD_COLUMN = re.compile(r"at column '.*' \(column number (\d+)\)", re.DOTALL)
"""Where polars says which column it could not parse."""

_Made = tuple[str, Component, Source]
"""Part, what the file says, and the source."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Columns as the sources gave them.

    frame: rows in order of the sources; lazy where they are spooled to disk. words: columns of few words, as Enum.
    finite: columns that were read as numbers, none of them NaN or infinite.
    parts: uint8 (N,) index into PARTS, or None where one source gives all rows.
    raw: {"path", "sha256", "bytes", "rows"} per source. sources: their words, for messages.
    """

    frame: pl.DataFrame | pl.LazyFrame
    names: tuple[str, ...]
    available: tuple[str, ...]
    words: dict[str, Stored]
    finite: frozenset[str]
    num_rows: int
    parts: np.ndarray | None
    raw: list[dict[str, Any]]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the file says about columns, as far as reading can use it.

    columns: only these are read; None for all. numbers: named as numbers. words: named as categories or classes; these keep
    their spelling. plain: never to be read in another type (columns to split by, money). hints: whether columns may be read in another
    type than text; number_hints: whether as numbers too.
    """

    columns: tuple[str, ...] | None
    numbers: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()
    hints: bool = True
    number_hints: bool = True


def read(sources: Mapping[str, Sequence[Component]], place: Place, wanted: Wanted, shelf: Shelf) -> Raw:
    """Read every source; parts are concatenated in the order train, validation, test. Large data are spooled to the shelf.

    Errors: DataError where a source cannot be read, or sources have different columns.
    """
    made = [
        (part, component, REGISTRIES["source"].create(component, place))
        for part in ("all", *PARTS)
        for component in sources.get(part, ())
    ]
    with ThreadPoolExecutor(max_workers=1) as pool:
        # Hashing releases the interpreter's lock: it runs beside the parsing.
        hashes = [pool.submit(source.fingerprint) for _, _, source in made]
        frame, names, finite = _materialised(made, wanted, shelf, pool)
        raw = [_record(component, source, done.result()) for (_, component, source), done in zip(made, hashes, strict=True)]
    words = _words(frame, [source for _, _, source in made], shelf)
    if words is None:
        return read(sources, place, replace(wanted, hints=False), shelf)
    frame = frame.drop(words)
    origins = frame.select(_ORIGIN).lazy().collect().to_series().to_numpy()
    part_of = np.array([PARTS.index(part) if part in PARTS else 0 for part, _, _ in made], np.uint8)
    parts = None if "all" in sources else part_of[origins]
    raw = [{**entry, "rows": int(rows)} for entry, rows in zip(raw, cells.code_counts(origins, len(made)), strict=True)]
    notes = [note for _, _, source in made for note in source.notes]
    available = tuple(made[0][2].scan_as({}).collect_schema().names())
    return Raw(frame.drop(_ORIGIN), names, available, words, finite, len(origins), parts, raw, notes)


def _record(component: Component, source: Source, sha256: str) -> dict[str, Any]:
    return {"path": watch.label(component), "sha256": sha256, "bytes": source.num_bytes}


def _materialised(
    made: Sequence[_Made], wanted: Wanted, shelf: Shelf, pool: ThreadPoolExecutor
) -> tuple[pl.DataFrame | pl.LazyFrame, tuple[str, ...], frozenset[str]]:
    """All rows, read in the fastest way that loses nothing; `Raw.names`, `Raw.finite`. pool: for what can be done beside reading."""
    sources = [source for _, _, source in made]
    frames = [source.scan_as({}) for source in sources]
    names = _common_columns(frames, made, wanted)
    num_bytes = sum(_size(component, source) for _, component, source in made)
    if not shelf.fits(num_bytes):
        shelf.use_disk(_row_bytes(sources[0]))
    hints = _hints(frames, sources[0], names, wanted)  # the last look at the first rows: it says where words mean "missing"
    for source in sources:
        pool.submit(source.look_ahead)
    found = _hinted(hints, names, made, shelf)
    if found is not None:
        # What was read as numbers was looked through for others, and is read as text where there are any.
        schema = found.lazy().collect_schema()
        return found, names, frozenset(name for name, hint in hints.items() if hint == schema[name] == pl.Float64)
    try:
        return _stored([source.scan() for source in sources], names, shelf), names, frozenset()
    except (pl.exceptions.PolarsError, OSError) as error:
        if disk.is_full(error):
            raise
        raise DataError(f"{_sources(made)}: not readable ({str(error).splitlines()[0]}). Check the file.") from error


def _hinted(
    hints: dict[str, pl.DataType], names: Sequence[str], made: Sequence[_Made], shelf: Shelf
) -> pl.DataFrame | pl.LazyFrame | None:
    """The rows with as many hints as hold; None where plain reading must tell what the cells are."""
    for _ in range(_MAX_RETRIES):
        found, bad = _tried(hints, names, made, shelf)
        if found is not None:
            return found
        if hints.get(bad) != pl.Float64:
            break
        widened = [source.read_missing() for _, _, source in made]
        if not any(widened):
            hints = {name: dtype for name, dtype in hints.items() if name != bad}
    return _tried({name: dtype for name, dtype in hints.items() if dtype != pl.Float64}, names, made, shelf)[0]


def _tried(
    hints: Mapping[str, pl.DataType], names: Sequence[str], made: Sequence[_Made], shelf: Shelf
) -> tuple[pl.DataFrame | pl.LazyFrame | None, str]:
    """The rows with these hints; or None and the column of numbers that holds something else, "" where that is not known.

    What else can be wrong with a file is told by reading it plainly.
    """
    if not hints:
        return None, ""
    try:
        found = _read_as(hints, names, made, shelf)
    except (pl.exceptions.PolarsError, OSError) as error:
        if disk.is_full(error):
            raise
        bad, columns = _BAD_COLUMN.search(str(error)), made[0][2].scan_as({}).collect_schema().names()
        place = int(bad[1]) - 1 if bad else len(columns)
        return None, columns[place] if place < len(columns) else ""
    # NaN and infinity are judged like any other cell that is no number: as text.
    odd = _odd_numbers(found, [name for name, dtype in hints.items() if dtype == pl.Float64])
    return (None, odd) if odd else (found, "")


def _read_as(
    types: Mapping[str, pl.DataType], names: Sequence[str], made: Sequence[_Made], shelf: Shelf
) -> pl.DataFrame | pl.LazyFrame:
    """The rows with hints."""
    sources = [source for _, _, source in made]
    frames = _scanned_as(types, sources)
    found = _stored(frames, names, shelf)
    last = {frame.collect_schema().names()[-1] for frame in frames}
    if not last <= set(names) or any(found.lazy().select(pl.col(last).is_null().any()).collect(engine="streaming").row(0)):
        num_rows = found.lazy().select(pl.len()).collect().item() if len(sources) == 1 else None
        again = [source.check(num_rows) for source in sources]
        if any(again):
            found = _stored(_scanned_as(types, sources), names, shelf)
    return found


def _scanned_as(types: Mapping[str, pl.DataType], sources: Sequence[Source]) -> list[pl.LazyFrame]:
    """`scan_as` of every source, without the hints that one of them does not follow: words as they stand must not meet clean ones."""
    frames = [source.scan_as(types) for source in sources]
    schemas = [frame.collect_schema() for frame in frames]
    followed = {name: dtype for name, dtype in types.items() if all(schema[name] == dtype for schema in schemas)}
    return frames if len(followed) == len(types) else [source.scan_as(followed) for source in sources]


def _words(frame: pl.DataFrame | pl.LazyFrame, sources: Sequence[Source], shelf: Shelf) -> dict[str, Stored] | None:
    """The Categorical columns with clean words; None where two sources would clean a word in different ways."""

    def clean(name: str) -> Stored | None:
        column = frame[name] if isinstance(frame, pl.DataFrame) else frame.select(name).collect().to_series()
        if len(sources) > 1:
            words = column.unique().cast(pl.String)
            first = sources[0].clean_words(words)
            if not all(source.clean_words(words).equals(first, null_equal=True) for source in sources[1:]):
                return None
        return shelf.put(cleaned(column, sources[0].clean_words))

    names = [name for name, dtype in frame.lazy().collect_schema().items() if isinstance(dtype, pl.Categorical)]
    num_rows = frame.select(pl.len()).lazy().collect().item()
    made = dict(zip(names, side_by_side(clean, names, num_rows), strict=True))
    words = {name: column for name, column in made.items() if column is not None}
    return words if len(words) == len(made) else None


def _stored(frames: Sequence[pl.LazyFrame], names: Sequence[str], shelf: Shelf) -> pl.DataFrame | pl.LazyFrame:
    """The columns of all sources and which of them each row is from, in memory or on disk."""
    labelled = [frame.select(names).with_columns(pl.lit(place, pl.UInt16).alias(_ORIGIN)) for place, frame in enumerate(frames)]
    stacked = labelled[0] if len(labelled) == 1 else pl.concat(labelled, how="vertical_relaxed")
    if not shelf.on_disk:
        return stacked.collect(engine="streaming")
    return shelf.keep("raw", stacked)


def _row_bytes(source: Source) -> float:
    """About how many bytes of text a row has."""
    try:
        head = source.head(_SIZE_ROWS)
    except pl.exceptions.PolarsError:
        return 1.0  # reading tells what is wrong
    return head.estimated_size() / max(head.height, 1)


def _size(component: Component, source: Source) -> int:
    known = source.unpacked_bytes
    return watch.unpacked(component.options.get("path", ""), source.num_bytes) if known is None else known


def _sources(made: Sequence[_Made]) -> str:
    return listed(watch.label(component) for _, component, _ in made)


def _common_columns(frames: Sequence[pl.LazyFrame], made: Sequence[_Made], wanted: Wanted) -> tuple[str, ...]:
    """Column names of the first source, which every other one must have too."""
    first = frames[0].collect_schema().names()
    needed = first if wanted.columns is None else [name for name in first if name in wanted.columns]
    for frame, (part, component, _) in zip(frames[1:], made[1:], strict=True):
        have = frame.collect_schema().names()
        lacking = [name for name in needed if name not in have]
        if lacking:
            where = component.options.get("path", component.type)
            raise DataError(
                f"{where} ({part}): no column {listed(repr(name) for name in lacking)}, which {_sources(made[:1])} has. "
                "Sources that are read together need the same columns."
            )
    return tuple(needed if wanted.columns is not None else first)


def _hints(frames: Sequence[pl.LazyFrame], first: Source, names: Sequence[str], wanted: Wanted) -> dict[str, pl.DataType]:
    """Columns of text that may be read as numbers or categories, by their first rows. None for small data: it is read as it is."""
    schemas = [frame.collect_schema() for frame in frames]
    texts = [name for name in names if name not in wanted.plain and all(schema[name] == pl.String for schema in schemas)]
    if not wanted.hints or not texts:
        return {}
    try:
        head = first.head(HINT_ROWS)
    except pl.exceptions.PolarsError:
        return {}  # plain reading tells what is wrong
    if head.height < HINT_ROWS:
        return {}
    return {name: hint for name in texts if (hint := _hint(head[name], name, wanted)) is not None}


def _hint(column: pl.Series, name: str, wanted: Wanted) -> pl.DataType | None:
    few = column.n_unique() <= _MAX_CATEGORY_SHARE * len(column)
    if name in wanted.words:
        return _categorical() if few else None
    known = column.drop_nulls()
    is_number = len(known) > 0 and not cells.numbers(known).has_nulls()
    # Two values may be a yes-or-no column, whose spelling counts.
    if is_number and wanted.number_hints and (name in wanted.numbers or column.n_unique() > 2):
        return pl.Float64()
    return _categorical() if few and name not in wanted.numbers else None


def _categorical() -> pl.DataType:
    """Words of its own and two bytes per cell; reading fails, and goes on as text, where there are more than 65,535."""
    return pl.Categorical(pl.Categories.random("lode", pl.UInt16))


def _odd_numbers(frame: pl.DataFrame | pl.LazyFrame, names: Collection[str]) -> str:
    """The first column that was read as numbers and holds NaN or infinity, "" where none does: sums tell, without a copy."""
    schema = frame.lazy().collect_schema()
    sums = frame.select(pl.col(name).sum() for name in names if schema[name] == pl.Float64).lazy().collect()
    return next((column.name for column in sums if not np.isfinite(column.item())), "")
