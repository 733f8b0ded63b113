from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_diabetes

from lode.core.errors import DataError, SpecError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW, Cleaner
from lode.data.preprocess import Preprocessor


def missing(**options: object) -> Cleaner:
    made: Cleaner = REGISTRIES["cleaner"].create(Component("missing", options))
    return made


def filled(frame: pl.DataFrame, types: dict[str, str], **options: object) -> pl.DataFrame:
    cleaner = missing(**options)
    cleaner.fit(frame.lazy(), types)
    return cleaner.apply(frame)


def diabetes() -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Whole rows, the same with a tenth of `s1` missing, and where."""
    raw = load_diabetes()
    whole = pl.DataFrame(dict(zip(raw.feature_names, raw.data.T, strict=True)))
    gone = np.random.default_rng(0).random(whole.height) < 0.1
    return whole, whole.with_columns(s1=pl.when(pl.Series(gone)).then(None).otherwise("s1")), gone


def error(whole: pl.DataFrame, after: pl.DataFrame, gone: np.ndarray) -> float:
    return float(np.sqrt(np.mean((whole["s1"].to_numpy() - after["s1"].to_numpy())[gone] ** 2)))


@pytest.mark.parametrize(("method", "expected"), [("mean", 4.0), ("median", 2.0), ("mode", 1.0), ("zero", 0.0), ("constant", -7.0)])
def test_a_number_becomes_what_its_column_says(method: str, expected: float) -> None:
    frame = pl.DataFrame({"x": [1.0, 1.0, None, 3.0, 11.0]})
    assert filled(frame, {"x": "number"}, numbers=method, constant=-7.0)["x"][2] == expected


def test_similar_rows_and_a_model_guess_better_than_the_mean() -> None:
    whole, holes, gone = diabetes()
    types = dict.fromkeys(whole.columns, "number")
    errors = {method: error(whole, filled(holes, types, numbers=method), gone) for method in ("mean", "nearest", "model")}
    assert errors["nearest"] < 0.8 * errors["mean"]
    assert errors["model"] < 0.5 * errors["mean"]


def test_a_guess_never_depends_on_the_rows_beside_it() -> None:
    _, holes, _ = diabetes()
    types = dict.fromkeys(holes.columns, "number")
    for method in ("nearest", "model"):
        cleaner = missing(numbers=method)
        cleaner.fit(holes.lazy(), types)
        alone = pl.concat([cleaner.apply(holes[row]) for row in range(60)])
        assert alone.equals(cleaner.apply(holes)[:60], null_equal=True)


def test_words_are_guessed_from_the_other_columns() -> None:
    rng = np.random.default_rng(1)
    size = rng.normal(size=400)
    frame = pl.DataFrame({"size": size, "kind": np.where(size > 0, "big", "small")})
    holes = frame.with_columns(kind=pl.when(pl.Series(rng.random(400) < 0.2)).then(None).otherwise("kind"))
    for method in ("nearest", "model"):
        after = filled(holes, {"size": "number", "kind": "category"}, categories=method)
        assert (after["kind"] == frame["kind"]).mean() > 0.97


def test_a_curve_joins_the_points_of_training_and_ends_flat() -> None:
    cleaner = missing(numbers="interpolate", along="day")
    train = pl.DataFrame({"day": [1.0, 2.0, 4.0, None], "x": [10.0, 20.0, 40.0, 5.0]})
    cleaner.fit(train.lazy(), {"day": "number", "x": "number"})
    rows = pl.DataFrame({"day": [3.0, 9.0, 0.0, None], "x": pl.Series([None] * 4, dtype=pl.Float64)})
    assert cleaner.apply(rows)["x"].to_list() == [30.0, 40.0, 10.0, 15.0]


def test_a_curve_along_dates() -> None:
    day = pl.Series(["2024-01-01", "2024-01-03"]).str.to_datetime(time_unit="us")
    cleaner = missing(numbers="interpolate", along="day")
    cleaner.fit(pl.DataFrame({"day": day, "x": [0.0, 10.0]}).lazy(), {"day": "date", "x": "number"})
    rows = pl.DataFrame(
        {"day": pl.Series(["2024-01-02"]).str.to_datetime(time_unit="us"), "x": pl.Series([None], dtype=pl.Float64)}
    )
    assert cleaner.apply(rows)["x"].to_list() == [5.0]


def test_columns_may_be_filled_in_another_way_than_their_group() -> None:
    frame = pl.DataFrame({"a": [1.0, None, 3.0], "b": [1.0, None, 3.0], "c": ["x", None, "x"]})
    types = {"a": "number", "b": "number", "c": "category"}
    after = filled(frame, types, numbers="median", columns={"b": "keep", "c": "word"}, word="none")
    assert after.row(1) == (2.0, None, "none")


def test_rows_with_too_little_in_them_are_dropped() -> None:
    frame = pl.DataFrame({ROW: [0, 1, 2], "a": [1.0, None, None], "b": [1.0, 2.0, None]}, schema_overrides={ROW: pl.UInt64})
    types = {"a": "number", "b": "number"}
    assert filled(frame, types, drop=True)[ROW].to_list() == [0]
    assert filled(frame, types, drop=True, above=0.5)[ROW].to_list() == [0, 1]


def test_faults_are_told_all_at_once() -> None:
    frame = pl.DataFrame({"age": [1.0], "city": ["a"], "day": ["x"]})
    types = {"age": "number", "city": "category", "day": "text"}
    with pytest.raises(DataError) as raised:
        missing(columns={"agee": "mean", "city": "mean", "day": "mode"}).fit(frame.lazy(), types)
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert 'Did you mean "age"?' in lines[0]
    assert '"mean" for a category, allowed: keep, mode, word' in lines[1]
    with pytest.raises(SpecError, match="missing:along"):
        missing(numbers="interpolate")
    with pytest.raises(SpecError, match="without `drop: true`"):
        missing(above=0.5)
    with pytest.raises(DataError, match='along names "city"'):
        missing(numbers="interpolate", along="city").fit(frame.lazy(), types)


def test_an_indicator_keeps_telling_models_what_was_missing() -> None:
    frame = pl.DataFrame({"a": [1.0, None, 3.0, 5.0] * 5, "b": [1.0, 2.0, 3.0, 4.0] * 5})
    made = Preprocessor(
        {"a": Component("number"), "b": Component("number")}, [Component("missing", {"numbers": "median", "indicator": True})]
    )
    made.fit(frame)
    assert made.arrays(frame)["missing"][:3].tolist() == [[0.0], [1.0], [0.0]]
    assert made.flat_spec.names == ("a", "b", "missing.a")
    assert made.flat(frame)[1].tolist() == [3.0, 2.0, 1.0]
    assert made.inputs == ("a", "b")
    again = Preprocessor.from_state(made.state())
    assert np.array_equal(again.flat(frame[:2]), made.flat(frame)[:2])


def test_an_artifact_of_before_fills_as_it_did() -> None:
    cleaner = missing(numbers="median", categories="mode")
    cleaner.restore({"fill": {"x": 2.5, "c": "b"}, "columns": ["x", "c"]})
    frame = pl.DataFrame({"x": [None, 1.0], "c": pl.Series([None, "a"], dtype=pl.Enum(["a"]))}, schema_overrides={"x": pl.Float64})
    assert cleaner.apply(frame).rows() == [(2.5, "b"), (1.0, "a")]
