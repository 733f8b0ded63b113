"""What every source must do. Third parties run the same checks: `check_source(lambda: Mine(place, path="x"))`.

Read lode/data/contracts.py first.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import polars as pl

from lode.core.errors import DataError
from lode.data import cells
from lode.data.contracts import ROW, Source
from lode.data.enums import cleaned


def check_source(make: Callable[[], Source]) -> None:
    """Run every check on sources that `make` gives; each call must give a new one. Errors: AssertionError with what is wrong."""
    check_signature(type(make()))
    check_fingerprint(make)
    check_rows(make)
    check_projection(make)
    check_hints(make)


def check_signature(kind: type[Source]) -> None:
    """`__init__(self, place, *, options)`: the user's options are keyword-only and there is no catch-all."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    assert parameters and parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, f"{kind.__name__} takes the place first"
    for parameter in parameters[1:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{kind.__name__}: {parameter.name} must be keyword-only"


def check_fingerprint(make: Callable[[], Source]) -> None:
    """sha256 in hex, the same for the same bytes, before and after a scan."""
    source = make()
    first = source.fingerprint()
    assert re.fullmatch(r"[0-9a-f]{64}", first), f"fingerprint {first!r} is no sha256 in hex"
    source.scan().collect()
    assert source.fingerprint() == first == make().fingerprint(), "the fingerprint of the same bytes changes"


def check_rows(make: Callable[[], Source]) -> None:
    """A lazy frame with rows, the same ones in the same order every time; notes are sentences."""
    source = make()
    frame = source.scan()
    assert isinstance(frame, pl.LazyFrame), "scan must give a LazyFrame"
    rows = frame.collect()
    assert rows.height > 0 and rows.width > 0, "scan gives no rows"
    assert ROW not in rows.columns, f"{ROW} is added later"
    assert rows.equals(source.scan().collect(), null_equal=True), "a second scan gives other rows"
    assert rows.equals(make().scan().collect(engine="streaming"), null_equal=True), "streaming gives other rows"
    assert all(isinstance(note, str) and note for note in source.notes), "notes are sentences"
    assert source.num_bytes >= 0, "num_bytes is a number"


def check_projection(make: Callable[[], Source]) -> None:
    """Single columns and the first rows can be asked for."""
    rows = make().scan().collect()
    for name in rows.columns:
        alone = make().scan().select(name).collect().to_series()
        assert alone.equals(rows[name], null_equal=True), f"column {name!r} alone has other cells"
    assert make().head(2).columns == rows.columns and make().head(2).height == min(2, rows.height), "head gives other rows"
    assert make().scan().head(2).collect().equals(rows.head(2), null_equal=True), "the first rows are other ones"


def check_hints(make: Callable[[], Source]) -> None:
    """`scan_as` with `clean_words` gives what `scan` gives."""
    source = make()
    plain = source.scan().collect()
    types: dict[str, pl.DataType] = {}
    for name in plain.columns:
        if plain[name].dtype == pl.String:
            numbers = not plain[name].has_nulls() and not cells.numbers(plain[name]).has_nulls()
            types[name] = pl.Float64() if numbers else pl.Categorical()
    hinted = source.scan_as(types).collect()
    for name in plain.columns:
        column, expected = hinted[name], plain[name]
        if isinstance(column.dtype, pl.Categorical):
            column = cleaned(column, source.clean_words).cast(pl.String)
        elif column.dtype == pl.Float64 and expected.dtype == pl.String:
            expected = cells.numbers(expected)
        assert column.equals(expected, null_equal=True), f"column {name!r}: scan_as gives other cells than scan"


def check_missing(make: Callable[[], Source], name: str) -> None:
    """A file that is not there is a DataError that names it and the next step."""
    for act in ("scan", "fingerprint"):
        try:
            getattr(make(), act)()
        except DataError as error:
            assert name in str(error), f"the message does not name {name}: {error}"
            assert "put it at" in str(error), f"the message names no next step: {error}"
        else:
            raise AssertionError(f"{act}: no error for a missing file")
