"""Rows of a table from files that lode/data/formats/archives.py found: a label, a path, and what the file holds, read only when it
is needed.

Used by the sources of pictures, texts and sounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

import polars as pl
from polars.io.plugins import register_io_source

from lode.core.errors import DataError, listed, near_miss
from lode.data.formats.archives import Archive, shown

_BATCH_ROWS = 1_024
_BATCH_BYTES = 1 << 25


def under(names: Sequence[str], split: str | None, where: str) -> list[str]:
    """Names under a folder called `split`, or all.

    Errors: DataError where nothing is left.
    """
    if split is None:
        return list(names)
    chosen = [name for name in names if split in PurePosixPath(name).parts[:-1]]
    if not chosen:
        folders = sorted({PurePosixPath(name).parts[0] for name in names if "/" in name})
        raise DataError(
            f'{where}: no folder "{split}" (`split`), found {listed(folders)}.{near_miss(split, folders)} Name one of them.'
        )
    return chosen


def labelled(names: Sequence[str], label: str, split: str | None, pattern: str | None, where: str) -> pl.DataFrame:
    """Columns `label` and `path`. The label is what `pattern` finds in the path, else the folder that the file lies in.

    Errors: DataError where the pattern is no regular expression, has no group, or finds nothing.
    """
    paths = pl.Series("path", list(names), dtype=pl.String)
    if pattern is None:
        parents = [PurePosixPath(name).parent.name for name in names]
        classes = [parent if parent and parent != split else None for parent in parents]
        return pl.DataFrame([pl.Series(label, classes, dtype=pl.String), paths])
    found = _matched(lambda: paths.str.extract(pattern, 1).rename(label), f"{where}: label_pattern {pattern!r}")
    if found.null_count() == len(found):
        raise DataError(
            f"{where}: label_pattern {pattern!r} finds no label in {len(names):,} names ({shown(names)}). "
            "Put the part that is the label in brackets, for example '^([a-z]+)_'."
        )
    return pl.DataFrame([found, paths])


def named(table: pl.DataFrame, fields: Mapping[str, str], parts: Mapping[str, str], where: str) -> pl.DataFrame:
    """A table with `path` and more columns that its paths tell.

    fields: column -> regular expression whose first group is the cell, null where it finds nothing. parts: with any, a column `part`:
    the first of them whose regular expression is found in the path, else train.
    Errors: DataError where a pattern is no regular expression, has no group or finds nothing, or a column is there already.
    """
    paths = table["path"]
    for name, pattern in fields.items():
        found = _matched(partial(paths.str.extract, pattern, 1), f"{where}: fields.{name} {pattern!r}")
        if found.null_count() == len(found):
            raise DataError(
                f"{where}: fields.{name} {pattern!r} finds nothing in {len(paths):,} names ({shown(paths.to_list())}). "
                "Put the part that is meant in brackets, for example '_([a-z]+)_'."
            )
        table = _with_new(table, found.rename(name), where)
    if not parts:
        return table
    part = pl.Series("part", ["train"] * len(paths), dtype=pl.String)
    for word, pattern in reversed(list(parts.items())):
        hit = _matched(partial(paths.str.contains, pattern), f"{where}: parts.{word} {pattern!r}")
        if not hit.any():
            raise DataError(
                f"{where}: parts.{word} {pattern!r} is found in none of {len(paths):,} names ({shown(paths.to_list())})."
            )
        part = part.zip_with(~hit, pl.Series([word]))
    return _with_new(table, part, where)


def _matched(match: Callable[[], pl.Series], where: str) -> pl.Series:
    """Errors: DataError where the pattern is no regular expression."""
    try:
        return match()
    except pl.exceptions.ComputeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
        raise DataError(f"{where} is no regular expression ({reason}). Mend it, or leave it out.") from error


def _with_new(table: pl.DataFrame, column: pl.Series, where: str) -> pl.DataFrame:
    if column.name in table.columns:
        raise DataError(f'{where}: two columns would be called "{column.name}". Give the one in `fields` another name.')
    return table.with_columns(column)


def with_contents(
    archive: Archive, table: pl.DataFrame, name: str, dtype: pl.DataType, decode: Callable[[bytes], bytes | str]
) -> pl.LazyFrame:
    """The rows of a table (with `path`) and, first, a column of what the files hold: read batch by batch, and only if it is asked for."""
    schema = {name: dtype, **table.schema}

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = with_columns if with_columns is not None else list(schema)
        rows = table if n_rows is None else table.head(n_rows)
        if name not in wanted:
            frame = rows.select(wanted)
            yield frame if predicate is None else frame.filter(predicate)
            return
        for part, cells in _contents(archive, rows, decode):
            frame = part.with_columns(pl.Series(name, cells, dtype=dtype)).select(wanted)
            yield frame if predicate is None else frame.filter(predicate)

    return register_io_source(batches, schema=schema)


def _contents(
    archive: Archive, table: pl.DataFrame, decode: Callable[[bytes], bytes | str]
) -> Iterator[tuple[pl.DataFrame, list[bytes | str]]]:
    cells: list[bytes | str] = []
    num_bytes = start = 0
    for stop, path in enumerate(table["path"], start=1):
        data = archive.read(path)
        cells.append(decode(data))
        num_bytes += len(data)
        if len(cells) >= _BATCH_ROWS or num_bytes >= _BATCH_BYTES:
            yield table[start:stop], cells
            cells, num_bytes, start = [], 0, stop
    if cells:
        yield table[start:], cells
