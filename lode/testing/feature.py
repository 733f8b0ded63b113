"""The contract of features, as checks for every feature, ours and others'.

    @pytest.mark.parametrize("check", feature.CHECKS)
    def test_my_feature(check):
        check(lambda: MyFeature(), feature.Samples(good=pl.Series("x", ["1", "2"]), bad=pl.Series("x", ["?"])))

Read lode/data/contracts.py first; tests/contracts/test_feature.py runs these over the registry.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from lode.core.types import FlatSpec, TensorSpec
from lode.data.contracts import Feature, State

Make = Callable[[], Feature]
"""Makes a new, unfitted feature."""

_KINDS = ("number", "string", "datetime", "binary", "boolean", "list")
_MANY = 200  # beyond any light path for few rows


@dataclass(frozen=True, slots=True)
class Samples:
    """Raw cells of one column, as a source or a request gives them.

    good: training cells that can all be read; some may be null.
    later: cells that can be read but were not in training; num_unseen of them must count as unseen.
    bad: cells that must be rejected.
    """

    good: pl.Series
    later: pl.Series = field(default_factory=lambda: pl.Series("x", [], dtype=pl.String))
    num_unseen: int = 0
    bad: pl.Series = field(default_factory=lambda: pl.Series("x", [], dtype=pl.String))


def fitted(make: Make, samples: Samples) -> tuple[Feature, pl.Series]:
    """A feature that learnt from the good cells, and those cells parsed."""
    feature = make()
    column = feature.parse(samples.good)
    feature.fit_transform(column, None, None)
    return feature, column


def check_declarations(make: Make, samples: Samples) -> None:
    """`kind` is a known word; `expects` can end a sentence."""
    feature = make()
    assert feature.kind in _KINDS, f"kind is {feature.kind!r}, allowed: {', '.join(_KINDS)}"
    assert feature.expects and not feature.expects.endswith("."), "expects must be words that end an error message"


def check_good_cells_are_read(make: Make, samples: Samples) -> None:
    """No good cell is rejected, and parsing twice is parsing once."""
    for raw in (samples.good, samples.later):
        feature = make()
        once = feature.parse(raw)
        assert len(once) == len(raw) and once.name == raw.name
        assert once.null_count() == raw.null_count(), f"rejected: {_rejected(raw, once)}"
        assert once.equals(feature.parse(once), check_dtypes=True, null_equal=True), "parse must be idempotent"


def check_few_and_many_cells_are_read_alike(make: Make, samples: Samples) -> None:
    """A cell means the same in a request and in a large table."""
    for raw in (samples.good, samples.later, samples.bad):
        feature = make()
        few, many = feature.parse(raw), feature.parse(_repeated(raw))
        assert few.equals(many.head(len(raw)), check_dtypes=True, null_equal=True)


def check_bad_cells_become_null(make: Make, samples: Samples) -> None:
    """Rejected cells are null, good neighbours stay, nothing raises."""
    feature, _ = fitted(make, samples)
    parsed = feature.parse(samples.bad)
    assert parsed.null_count() == len(parsed), f"not rejected: {parsed.drop_nulls().to_list()!r}"
    _check_arrays(feature, parsed)


def check_arrays_match_specs(make: Make, samples: Samples) -> None:
    """dtype, shape, codes below the cardinality, finite values; `flat` as its spec says."""
    feature, column = fitted(make, samples)
    for cells in (column, feature.parse(samples.later), column.head(0), column.clear(3)):
        _check_arrays(feature, cells)


def check_fitting_is_transforming(make: Make, samples: Samples) -> None:
    """`fit` and `fit_transform` learn the same, and the training rows transformed are what `fit_transform` gave."""
    first, second = make(), make()
    column = first.parse(samples.good)
    array = first.fit_transform(column, None, None)
    second.fit(column)
    assert _same(array, first.transform(column)), "transform differs from fit_transform on the training rows"
    assert _same(array, second.transform(column)), "fit differs from fit_transform"


def check_fitting_is_deterministic(make: Make, samples: Samples) -> None:
    """The same cells give the same state, bit for bit."""
    states = [_written(fitted(make, samples)[0].state()) for _ in range(2)]
    assert states[0] == states[1]


def check_state_restores_bitwise(make: Make, samples: Samples) -> None:
    """State is JSON and plain arrays; a restored feature is the fitted one."""
    feature, column = fitted(make, samples)
    restored = make()
    restored.restore(_through_json(feature.state()))
    assert restored.spec == feature.spec and restored.flat_spec == feature.flat_spec
    assert TensorSpec.from_json(json.loads(json.dumps(feature.spec.to_json()))) == feature.spec
    assert FlatSpec.from_json(json.loads(json.dumps(feature.flat_spec.to_json()))) == feature.flat_spec
    for cells in (column, feature.parse(samples.later)):
        assert _same(feature.transform(cells), restored.transform(cells))
        assert _same(feature.flat(cells), restored.flat(cells))
        assert feature.unseen(cells) == restored.unseen(cells)
    assert _written(restored.state()) == _written(feature.state())


def check_rows_do_not_depend_on_neighbours(make: Make, samples: Samples) -> None:
    """A row alone, among few and among many has the same bits."""
    feature, column = fitted(make, samples)
    rows = pl.concat([column, feature.parse(samples.later).cast(column.dtype)])
    many = _repeated(rows)
    for transform in (feature.transform, feature.flat):
        whole, few = transform(many), transform(rows)
        for place in range(len(rows)):
            alone = transform(rows.slice(place, 1))
            assert _same(alone, whole[place : place + 1]), f"row {place} alone differs from the same row among many"
            assert _same(alone, few[place : place + 1]), f"row {place} alone differs from the same row among few"


def check_empty_columns(make: Make, samples: Samples) -> None:
    """A column without any value, or without rows, can be fitted and transformed."""
    for dtype in (samples.good.dtype, pl.Null):
        for num_rows in (0, 1, 5, _MANY):
            feature = make()
            column = feature.parse(pl.Series("x", [None] * num_rows, dtype=dtype))
            feature.fit_transform(column, None, None)
            _check_arrays(feature, column)
            _check_arrays(feature, feature.parse(samples.good))


def check_any_column_is_survived(make: Make, samples: Samples) -> None:
    """Cells of any type give typed cells or nulls, never an exception; a server sees all of these."""
    feature, column = fitted(make, samples)
    for raw in _hostile_columns():
        parsed = feature.parse(raw)
        assert parsed.dtype == column.dtype and len(parsed) == len(raw), f"{raw.dtype} became {parsed.dtype}"
        _check_arrays(feature, parsed)
        many = feature.parse(_repeated(raw)) if raw.dtype != pl.Object else parsed
        assert parsed.equals(many.head(len(raw)), null_equal=True), f"{raw.dtype}: few and many cells are read differently"


def check_unseen_values_are_counted(make: Make, samples: Samples) -> None:
    """Training values are not unseen, null is not unseen, new ones are."""
    feature, column = fitted(make, samples)
    assert feature.unseen(column) == 0
    for times, later in ((1, samples.later), (_times(samples.later), _repeated(samples.later))):
        assert feature.unseen(feature.parse(later)) == samples.num_unseen * times


def check_inverse_gives_cells(make: Make, samples: Samples) -> None:
    """`inverse` gives cells that `parse` reads, one per row."""
    feature, column = fitted(make, samples)
    cells = feature.inverse(feature.transform(column))
    assert len(cells) == len(column)
    assert feature.parse(cells).null_count() == cells.null_count()


def check_targets_can_be_learnt_from(make: Make, samples: Samples) -> None:
    """With classes, numbers and missing targets: arrays as the spec says, and a restored feature is the fitted one."""
    for target in _targets(samples):
        feature, restored = make(), make()
        column = _repeated(feature.parse(samples.good))
        array = feature.fit_transform(column, target, _folds(column))
        assert array.shape == (len(column), *feature.spec.shape) and array.dtype == np.dtype(feature.spec.dtype)
        _check_arrays(feature, column)
        restored.restore(_through_json(feature.state()))
        assert restored.spec == feature.spec and restored.flat_spec == feature.flat_spec
        for cells in (column, feature.parse(samples.later)):
            assert _same(feature.transform(cells), restored.transform(cells))
            assert _same(feature.flat(cells), restored.flat(cells))


def check_no_training_row_sees_its_own_target(make: Make, samples: Samples) -> None:
    """Out of fold, what a row becomes stays the same whatever its own target is; without folds a learner would show it."""
    for target in _targets(samples):
        before, after = make(), make()
        column = _repeated(before.parse(samples.good))
        row = int(np.argmax(np.isfinite(target) & (target >= 0)))
        changed = target.copy()
        changed[row] = 1 - target[row] if target.dtype.kind == "i" else target[row] + 9
        folds = _folds(column)
        arrays = [feature.fit_transform(column, given, folds) for feature, given in ((before, target), (after, changed))]
        assert _same(arrays[0][row], arrays[1][row]), "the array of a training row depends on its own target"
        mine = [feature.without(int(folds[row])).flat(column.slice(row, 1)) for feature in (before, after)]
        assert _same(mine[0], mine[1]), "the plain columns of a training row depend on its own target"
        assert before.learns_target or _same(before.transform(column), after.transform(column)), "set learns_target"


CHECKS = (
    check_declarations,
    check_good_cells_are_read,
    check_few_and_many_cells_are_read_alike,
    check_bad_cells_become_null,
    check_arrays_match_specs,
    check_fitting_is_transforming,
    check_fitting_is_deterministic,
    check_state_restores_bitwise,
    check_rows_do_not_depend_on_neighbours,
    check_empty_columns,
    check_any_column_is_survived,
    check_unseen_values_are_counted,
    check_inverse_gives_cells,
    check_targets_can_be_learnt_from,
    check_no_training_row_sees_its_own_target,
)


def _targets(samples: Samples) -> list[np.ndarray]:
    """Two classes, three classes with missing ones, numbers with missing ones; a row for each of the repeated good cells."""
    size = len(samples.good) * _times(samples.good)
    generator = np.random.default_rng(0)
    two, three = (generator.integers(0, classes, size) for classes in (2, 3))
    three[::7] = -1
    numbers = generator.normal(size=size).astype(np.float32)
    numbers[::5] = np.nan
    return [two, three, numbers]


def _folds(column: pl.Series) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, len(column))


def _check_arrays(feature: Feature, column: pl.Series) -> None:
    spec, array = feature.spec, feature.transform(column)
    assert array.dtype == np.dtype(spec.dtype), f"the array is {array.dtype}, its spec says {spec.dtype}"
    assert array.shape == (len(column), *spec.shape), f"the array is {array.shape[1:]} per row, its spec says {spec.shape}"
    assert all(0 <= axis < len(spec.shape) for axis in spec.ragged)
    if spec.cardinality is not None:
        assert array.size == 0 or (array.min() >= 0 and array.max() < spec.cardinality)
    elif spec.ragged == (0,):
        _check_padding(array)
    else:
        assert np.isfinite(array).all()
    if spec.offset or spec.scale:
        channels = 1 if spec.dtype == "int16" else spec.shape[-1]
        assert len(spec.offset) == len(spec.scale) == channels
        assert all(math.isfinite(value) and value > 0 for value in spec.scale)
    _check_flat(feature.flat_spec, feature.flat(column), len(column))


def _check_padding(array_NTC: np.ndarray) -> None:
    """A step is finite or NaN in all channels, and nothing real stands behind padding."""
    assert not np.isinf(array_NTC).any()
    real_NT = np.isfinite(array_NTC).all(axis=2)
    assert (real_NT | np.isnan(array_NTC).all(axis=2)).all(), "a step is padding in some channels only"
    assert (np.diff(real_NT.astype(np.int8), axis=1) <= 0).all(), "a real step stands behind padding"


def _check_flat(spec: FlatSpec, flat: Any, num_rows: int) -> None:
    assert len(spec.names) == len(spec.cardinalities) == len(set(spec.names)), "names must be distinct, one cardinality each"
    assert flat.dtype == np.float32 and flat.shape == (num_rows, len(spec.names)), f"flat is {flat.dtype} {flat.shape}"
    dense = flat.toarray() if sparse.issparse(flat) else flat
    if sparse.issparse(flat):
        assert flat.format == "csr" and set(spec.cardinalities) <= {-1}
    assert not np.isinf(dense).any()
    for place, cardinality in enumerate(spec.cardinalities):
        if cardinality:
            assert (dense[:, place] >= 0).all()
        if cardinality > 0:
            codes = dense[:, place]
            assert (codes < cardinality).all() and (codes == np.floor(codes)).all()


def _same(left: Any, right: Any) -> bool:
    """Bitwise, NaN included."""
    if sparse.issparse(left):
        return left.shape == right.shape and _same(left.toarray(), right.toarray())
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def _times(column: pl.Series) -> int:
    return -(-_MANY // max(len(column), 1))


def _repeated(column: pl.Series) -> pl.Series:
    return pl.concat([column] * _times(column))


def _rejected(raw: pl.Series, parsed: pl.Series) -> list[Any]:
    return raw.filter(parsed.is_null() & raw.is_not_null()).to_list()


def _through_json(value: Any) -> Any:
    """What a state is after it was written and read: keys sorted, tuples as lists. Raises where it is no JSON with plain arrays."""
    if isinstance(value, np.ndarray):
        assert not value.dtype.hasobject, "a state must hold no object arrays; keep words in lists"
        return value.copy()
    if isinstance(value, Mapping):
        assert all(isinstance(key, str) for key in value), "keys of a state must be strings"
        return {key: _through_json(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_through_json(entry) for entry in value]
    return json.loads(json.dumps(value, allow_nan=False))


def _written(state: State) -> str:
    return json.dumps(_as_text(_through_json(state)), sort_keys=True)


def _as_text(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), value.tobytes().hex()]
    if isinstance(value, dict):
        return {key: _as_text(entry) for key, entry in value.items()}
    return [_as_text(entry) for entry in value] if isinstance(value, list) else value


def _hostile_columns() -> list[pl.Series]:
    words = [
        "",
        " ",
        "a",
        "\u4e2d\u6587",
        "1",
        "-1.50",
        "1e999",
        "nan",
        "inf",
        "2024-01-31",
        "true",
        "\x00",
        "x" * 5_000,
    ]
    return [
        pl.Series("x", words),
        pl.Series("x", [None, None]),
        pl.Series("x", [0, -1, 2**62, None]),
        pl.Series("x", [0, 255], dtype=pl.UInt8),
        pl.Series("x", [0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 1e308, 5e-324, None]),
        pl.Series("x", [1.1, math.nan], dtype=pl.Float32),
        pl.Series("x", ["1.10", None]).cast(pl.Decimal(10, 2)),
        pl.Series("x", [True, False, None]),
        pl.Series("x", [b"", b"\x00\xff", b"\x89PNG\r\n\x1a\n", b"a", None]),
        pl.Series("x", [date(2024, 1, 31), None]),
        pl.Series("x", [datetime(2024, 1, 31, 12), None]),
        pl.Series("x", [datetime(2024, 1, 31, 12), None], dtype=pl.Datetime("ns", "Asia/Kolkata")),
        pl.Series("x", [[1], [], None]),
        pl.Series("x", [{"a": 1}, None]),
        pl.Series("x", ["a", "b", None], dtype=pl.Categorical),
        pl.Series("x", ["a", 1, 2.5, None, b"a"], dtype=pl.Object),
    ]
