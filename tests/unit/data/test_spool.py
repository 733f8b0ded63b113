"""Rows that are written beside the work: all of them, in order, or the error that stopped them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from lode.data.storage.spool import Spool

SCHEMA = {"row": pl.Int64()}


def rows_of(start: int) -> pl.DataFrame:
    return pl.DataFrame({"row": range(start + 99, start - 1, -1)}, schema=SCHEMA)


def test_everything_is_written_in_the_order_it_came(tmp_path: Path) -> None:
    spool = Spool(lambda rows: rows.sink_parquet(tmp_path / "rows.parquet"), SCHEMA, lambda frame: frame.sort("row"))
    for start in range(0, 2_000, 100):
        spool.put(rows_of(start))
    spool.close()
    assert pl.read_parquet(tmp_path / "rows.parquet")["row"].to_list() == list(range(2_000))
    spool.stop()


def test_an_error_of_the_writer_reaches_who_puts_and_nobody_waits_for_ever(tmp_path: Path) -> None:
    def broken(rows: pl.LazyFrame) -> None:
        raise OSError(28, "No space left on device")

    spool = Spool(broken, SCHEMA, lambda frame: frame)
    with pytest.raises(OSError, match="No space left"):
        for start in range(10):
            spool.put(rows_of(start))
    with pytest.raises(OSError, match="No space left"):
        spool.close()
    spool.stop()


def test_a_spool_that_is_stopped_lets_its_thread_go(tmp_path: Path) -> None:
    spool = Spool(lambda rows: rows.sink_parquet(tmp_path / "rows.parquet"), SCHEMA, lambda frame: frame)
    spool.put(rows_of(0))
    spool.stop()
    assert spool._done.done()
