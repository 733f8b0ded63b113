"""What every cleaner must do. Third parties run the same checks: `check_cleaner(lambda: Mine(), frame, types)`.

Read lode/data/contracts.py first.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from polars import selectors as cs

from lode.data.changes import diff
from lode.data.contracts import ROW, Cleaner

_PLAIN = cs.by_dtype(pl.Enum).cast(pl.String)


def check_cleaner(make: Callable[[], Cleaner], frame: pl.DataFrame, types: Mapping[str, str]) -> None:
    """Run every check. frame: rows with `__row__` on which the cleaner does something; types: column -> feature or task word.

    Errors: AssertionError with what is wrong.
    """
    check_declaration(make)
    check_rows(make, frame, types)
    check_state(make, frame, types)
    check_requests(make, frame, types)


def check_declaration(make: Callable[[], Cleaner]) -> None:
    """Scope and stage are known words; options are keyword-only."""
    cleaner = make()
    assert cleaner.scope in ("source", "cells", "training"), f"scope {cleaner.scope!r}"
    assert cleaner.on in ("raw", "typed"), f"on {cleaner.on!r}"
    for parameter in list(inspect.signature(type(cleaner).__init__).parameters.values())[1:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{parameter.name} must be keyword-only"


def check_rows(make: Callable[[], Cleaner], frame: pl.DataFrame, types: Mapping[str, str]) -> None:
    """Something is changed, the given frame is not; rows keep their number and order; columns stay; cells cleaners drop no row."""
    cleaner, given = make(), frame.clone()
    cleaner.fit(frame.lazy(), types)
    after = cleaner.apply(frame)
    assert frame.equals(given, null_equal=True), "the given frame was changed"
    assert not after.equals(frame, null_equal=True), "nothing was changed: give rows with something to clean"
    assert after.columns == frame.columns, "columns must stay, in their order"
    assert after[ROW].is_sorted() and after[ROW].is_in(frame[ROW].implode()).all(), f"{ROW} must be carried along, in order"
    if cleaner.scope == "cells":
        assert after.height == frame.height, "a cleaner of cells drops no rows"
    again = cleaner.apply(after)
    assert again.equals(after, null_equal=True), "what is clean must stay as it is"
    pieces = pl.concat([cleaner.apply(frame[start : start + 2]).with_columns(_PLAIN) for start in range(0, frame.height, 2)])
    assert pieces.equals(after.with_columns(_PLAIN), null_equal=True), "batches must give what the whole gives"
    told = cleaner.why(diff(frame, after))
    assert told is None or (len(told) == diff(frame, after).height and not told.has_nulls()), "a reason per change, or none at all"


def check_state(make: Callable[[], Cleaner], frame: pl.DataFrame, types: Mapping[str, str]) -> None:
    """What requests need goes through JSON and comes back as the same cleaner; other scopes keep nothing."""
    fitted, restored = make(), make()
    fitted.fit(frame.lazy(), types)
    if fitted.scope != "cells":
        assert fitted.state() == {}, "only a cleaner of cells is part of the artifact"
        return
    restored.restore(_saved(fitted.state()))
    assert restored.apply(frame).equals(fitted.apply(frame), null_equal=True), "a restored cleaner works in another way"
    assert _written(restored.state()) == _written(fitted.state()), "a restored cleaner has another state"


def _saved(value: Any) -> Any:
    """What a state is after it was written and read: arrays as they are, everything else through JSON."""
    if isinstance(value, np.ndarray):
        assert not value.dtype.hasobject, "a state must hold no object arrays; keep words in lists"
        return value.copy()
    if isinstance(value, Mapping):
        assert all(isinstance(key, str) for key in value), "keys of a state must be strings"
        return {key: _saved(entry) for key, entry in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_saved(entry) for entry in value]
    return json.loads(json.dumps(value, allow_nan=False))


def _written(state: Mapping[str, Any]) -> str:
    return json.dumps(state, default=lambda array: array.tolist(), sort_keys=True)


def check_requests(make: Callable[[], Cleaner], frame: pl.DataFrame, types: Mapping[str, str]) -> None:
    """Columns that were not fitted, and a table without `__row__`, are no trouble; one row gives what it gave among others."""
    cleaner = make()
    cleaner.fit(frame.lazy(), types)
    more = frame.with_columns(pl.lit("?").alias("unknown"))
    assert cleaner.apply(more)["unknown"].unique().to_list() == ["?"], "a column that was not fitted was changed"
    assert ROW not in cleaner.apply(frame.drop(ROW)).columns, f"{ROW} must not be needed"
    if cleaner.scope == "cells":
        whole = cleaner.apply(frame).with_columns(_PLAIN)
        alone = pl.concat([cleaner.apply(frame[index]).with_columns(_PLAIN) for index in range(frame.height)])
        assert alone.equals(whole, null_equal=True), "a row alone is cleaned in another way"
