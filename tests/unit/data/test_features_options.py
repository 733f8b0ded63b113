"""Options of features against scikit-learn on real columns, and what they promise beside that."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import preprocessing
from sklearn.datasets import load_breast_cancer, load_diabetes

from lode.core.errors import DataError, SpecError
from lode.data.encoding import encodings
from lode.data.features.category import Category
from lode.data.features.date import Date
from lode.data.features.number import Number
from lode.data.features.text import Text

REAL = [np.ascontiguousarray(column) for data in (load_breast_cancer().data, load_diabetes().data) for column in data.T]
"""40 real columns: sizes from 1e-3 to 4e3, both signs, ties."""


@pytest.mark.parametrize(
    ("scale", "theirs"),
    [
        ("standard", preprocessing.StandardScaler()),
        ("minmax", preprocessing.MinMaxScaler()),
        ("robust", preprocessing.RobustScaler()),
        ("power", preprocessing.PowerTransformer()),
    ],
)
def test_scalings_give_the_figures_of_scikit_learn(scale: str, theirs: object) -> None:
    for values in REAL:
        ours = Number(scale=scale).fit_transform(pl.Series("x", values), None, None)[:, 0].astype(np.float64)
        expected = theirs.fit_transform(values.reshape(-1, 1))[:, 0]
        expected = expected / np.sqrt(1 + (expected / 3) ** 2) if scale == "robust" else expected  # our tails are bent
        # An optimum of the likelihood is found to about 1e-5 of its place by either search.
        tolerance = 2e-4 if scale == "power" else 1e-6
        np.testing.assert_allclose(ours, expected, rtol=tolerance, atol=tolerance)


def test_quantile_scaling_is_close_to_scikit_learn_between_its_knots() -> None:
    theirs = preprocessing.QuantileTransformer(n_quantiles=400, output_distribution="normal")
    for values in REAL[:10]:
        ours = Number(scale="quantile").fit_transform(pl.Series("x", values), None, None)[:, 0]
        expected = theirs.fit_transform(values.reshape(-1, 1))[:, 0]
        inner = np.abs(expected) < 2
        assert np.abs(ours - expected)[inner].max() < 0.05


def test_power_keeps_the_order_of_numbers_far_from_zero() -> None:
    longitudes = np.linspace(-124.35, -114.31, 5_000)
    array = Number(scale="power").fit_transform(pl.Series("x", longitudes), None, None)[:, 0]
    assert len(np.unique(array)) > 4_900 and (np.diff(array) >= 0).all()


@pytest.mark.parametrize("scale", ["minmax", "power", "log", "quantile", "none", "robust"])
def test_numbers_come_back_from_every_scaling_and_from_bins(scale: str) -> None:
    values = pl.Series("x", [*np.linspace(-5, 900, 400).tolist(), None])
    for bins in (None, 8):
        feature = Number(scale=scale, bins=bins)
        found = feature.inverse(feature.fit_transform(values, None, None))
        assert found[400] is None
        np.testing.assert_allclose(found.head(400).to_numpy(), values.head(400).to_numpy(), rtol=2e-3, atol=0.1)


def test_bins_follow_the_formula_of_gorishniy_2022() -> None:
    values = REAL[0]
    array = Number(scale="none", bins=8).fit_transform(pl.Series("x", values), None, None)
    borders = np.quantile(values, np.linspace(0, 1, 9))
    for value, row in zip(values[:50], array[:50], strict=True):
        expected = [
            0.0 if value < low else 1.0 if value >= high else (value - low) / (high - low) for low, high in pairwise(borders)
        ]
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_numbers_beyond_training_stay_in_their_last_bin_and_missing_ones_are_flagged() -> None:
    feature = Number(bins=4)
    feature.fit(pl.Series("x", [*map(float, range(100)), None]))
    array = feature.transform(pl.Series("x", [-1e9, 1e9, None]))
    assert array[0].tolist() == [0, 0, 0, 0, 0] and array[1].tolist() == [1, 1, 1, 1, 0] and array[2, 4] == 1
    flat = feature.flat(pl.Series("x", [5.0, None], dtype=pl.Float64))
    assert feature.flat_spec.names == ("bin1", "bin2", "bin3", "bin4")
    assert np.isfinite(flat[0]).all() and np.isnan(flat[1]).all()


def test_baselines_see_curved_scalings_and_raw_numbers_otherwise() -> None:
    column = pl.Series("x", [1.0, 10.0, 100.0, None])
    for scale in ("robust", "standard", "minmax", "none"):
        feature = Number(scale=scale)
        feature.fit(column)
        assert feature.flat(column)[:3, 0].tolist() == [1, 10, 100]
    for scale in ("quantile", "power", "log"):
        feature = Number(scale=scale)
        array, flat = feature.fit_transform(column, None, None), feature.flat(column)
        assert flat[:3, 0].tolist() == array[:3, 0].tolist() and np.isnan(flat[3, 0])
        old = {key: value for key, value in feature.state().items() if key != "flat_curved"}
        feature.restore(old)
        assert feature.flat(column)[:3, 0].tolist() == [1, 10, 100], "an artifact of the first format gave raw numbers"


def _words(num_rows: int, num_words: int, seed: int = 0) -> tuple[pl.Series, np.ndarray]:
    generator = np.random.default_rng(seed)
    codes = np.minimum(generator.geometric(3 / num_words, num_rows), num_words)
    return pl.Series("x", [f"w{code}" for code in codes]), codes


@pytest.mark.parametrize("kind", ["binary", "multiclass", "continuous"])
def test_target_encoding_gives_the_figures_of_scikit_learn_whole_and_out_of_fold(kind: str) -> None:
    column, codes = _words(3_000, 40)
    generator = np.random.default_rng(1)
    noise = generator.normal(size=len(codes))
    target = (codes / 40 + noise).astype(np.float32)
    if kind != "continuous":
        target = np.digitize(target, [0.3] if kind == "binary" else [0.0, 0.8]).astype(np.int64)
    folds = generator.integers(0, 5, len(codes))
    feature = Category(encode="target", smooth=10.0)
    feature.fit(column, target, folds)
    table = column.to_numpy().reshape(-1, 1)

    def theirs(rows: np.ndarray) -> np.ndarray:
        encoder = preprocessing.TargetEncoder(smooth=10.0, target_type=kind)
        encoder.fit(table[rows], target[rows].astype(np.float64) if kind == "continuous" else target[rows])
        return encoder.transform(table)

    everything = np.arange(len(codes))
    np.testing.assert_allclose(feature.flat(column), theirs(everything), atol=1e-6)
    for fold in range(5):
        np.testing.assert_allclose(feature.without(fold).flat(column), theirs(everything[folds != fold]), atol=1e-6)


def test_unknown_and_rare_words_get_the_mean_and_missing_cells_a_value_of_their_own() -> None:
    column = pl.Series("x", ["a"] * 50 + ["b"] * 49 + ["c"] + [None] * 50)
    target = np.array([1] * 50 + [0] * 50 + [1] * 40 + [0] * 10)
    feature = Category(encode="target", smooth=0.0, min_count=2)
    feature.fit(column, target)
    flat = feature.flat(pl.Series("x", ["a", "b", "c", "new", None]))
    np.testing.assert_allclose(flat[:, 0], [1.0, 0.0, 90 / 150, 90 / 150, 0.8], atol=1e-6)
    assert feature.unseen(pl.Series("x", ["a", "c", "new", None])) == 2


def test_hashed_codes_are_the_same_everywhere_and_need_no_training() -> None:
    feature = Category(encode="hash", buckets=1000)
    feature.fit(pl.Series("x", [], dtype=pl.String))
    words = ["Rome", "\u6771\u4eac", "", "a" * 500]
    expected = [1 + int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") % 1000 for word in words]
    assert feature.transform(pl.Series("x", words)).tolist() == expected
    assert feature.transform(pl.Series("x", words * 100, dtype=pl.Enum(words))).tolist() == expected * 100
    assert feature.transform(pl.Series("x", [None] * 3, dtype=pl.String)).tolist() == [0, 0, 0]
    assert feature.state() == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"buckets": 256}, "feature category:buckets: found 256 with `encode: code`"),
        ({"encode": "frequency", "smooth": 1.0}, "feature category:smooth: found 1.0 with `encode: frequency`"),
        ({"encode": "hash", "min_count": 5}, "feature category:min_count: found 5 with `encode: hash`"),
        ({"encode": "target", "rare": "group"}, "feature category:rare: found group with `encode: target`"),
    ],
)
def test_an_option_that_the_encoding_does_not_use_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        Category(**options)


def test_a_group_of_rare_words_is_neither_missing_nor_known() -> None:
    feature = Category(min_count=2, rare="group")
    feature.fit(pl.Series("x", ["a", "a", "b", "b", "c", None]))
    for times in (1, 100):
        codes = feature.transform(pl.Series("x", ["a", "b", "c", "new", None] * times))
        assert codes[:5].tolist() == [1, 2, 3, 3, 0]
    assert feature.spec.cardinality == 4 and feature.inverse(codes[:5]).to_list() == ["a", "b", None, None, None]


def test_frequencies_are_shares_of_the_training_rows() -> None:
    feature = Category(encode="frequency")
    feature.fit(pl.Series("x", ["a"] * 6 + ["b"] * 2 + [None] * 2))
    column = pl.Series("x", ["a", "b", "c", None])
    np.testing.assert_allclose(feature.flat(column)[:, 0], [0.6, 0.2, 0.0, 0.2], atol=1e-7)
    assert feature.transform(column)[0, 0] == pytest.approx(np.log(7) / np.log(11)) and feature.transform(column)[2, 0] == 0


def test_log_odds_of_a_certain_word_stay_finite() -> None:
    means = encodings.Means(1, 100, 0.0)
    means.fit(pl.Series("x", ["a", "b"] * 50), np.array([1, 0] * 50), None)
    assert np.isfinite(means.transform(pl.Series("x", ["a", "b", "c"]))).all()


def test_parts_of_dates_are_those_of_polars() -> None:
    moments = pl.Series("x", pl.datetime_range(pl.datetime(1899, 12, 25), pl.datetime(2040, 1, 9), "97h13m", eager=True))
    moments = moments.cast(pl.Datetime("us"))
    parts = {
        "year": moments.dt.year(), "quarter": moments.dt.quarter(), "month": moments.dt.month(), "week": moments.dt.week(),
        "day": moments.dt.day(), "weekday": moments.dt.weekday() - 1, "weekend": moments.dt.weekday() >= 6,
        "yearday": moments.dt.ordinal_day(), "hour": moments.dt.hour(), "minute": moments.dt.minute(),
    }  # fmt: skip
    feature = Date(parts=list(parts))
    feature.fit(moments)
    flat = feature.flat(moments)
    assert feature.flat_spec.names == tuple(parts)
    for place, (word, expected) in enumerate(parts.items()):
        assert flat[:, place].tolist() == expected.cast(pl.Float64).to_list(), word


def test_cycles_close_and_ages_count_back_from_the_reference() -> None:
    days = pl.Series("x", ["2023-12-31", "2024-01-01", "2014-01-31", None])
    feature = Date(cycles=["month", "weekday"], reference="2024-01-31")
    column = feature.parse(days)
    array = feature.fit_transform(column, None, None)
    assert feature.spec.shape == (1 + 4 + 1 + 1,) and array[3].tolist() == [0, 0, 0, 0, 0, 0, 1]
    december, january = array[0, 1:3], array[1, 1:3]
    assert np.linalg.norm(december - january) == pytest.approx(2 * np.sin(np.pi / 12), abs=1e-6)
    flat = dict(zip(feature.flat_spec.names, feature.flat(column)[2].tolist(), strict=True))
    assert flat["age"] == pytest.approx(10, abs=0.01) and {"month_sin", "weekday_cos"} <= flat.keys()
    assert array[2, 5] == pytest.approx(np.log1p(flat["age"]))


def test_a_reference_that_is_no_day_is_an_error() -> None:
    with pytest.raises(DataError, match=r'reference: found "soon", allowed: a date such as'):
        Date(reference="soon")


TEXTS = ["Die Stra\u00dfe war na\u00df", "\u9152\u5e97\u5f88\u597d, iPhone!", "", None, "na\u00df \u9152\u5e97"]


def test_bytes_need_no_vocabulary_and_keep_any_script() -> None:
    feature = Text(tokens="byte", length=64)
    column = feature.parse(pl.Series("x", TEXTS))
    array = feature.fit_transform(column, None, None)
    assert feature.inverse(array).to_list() == [text.lower() if text else None for text in TEXTS]
    assert feature.spec.cardinality == 258 and array[0, 0] == ord("d") + 2


def test_byte_pairs_keep_any_script_and_are_learnt_the_same_way_every_time() -> None:
    pytest.importorskip("tokenizers")
    column = Text().parse(pl.Series("x", TEXTS * 40))
    first, second = Text(tokens="bpe", vocabulary=300), Text(tokens="bpe", vocabulary=300)
    array = first.fit_transform(column, None, None)
    second.fit(column)
    assert first.state()["tokens"] == second.state()["tokens"] and first.state()["merges"] == second.state()["merges"]
    assert first.inverse(array[:5]).to_list() == [text.lower() if text else None for text in TEXTS]
    assert " \u9152\u5e97" in first.flat_spec.names, "a frequent Chinese word became one token"
    new = "\u0436\u0443\u043a \U0001f600"
    codes = first._tokenizer.tokens(pl.Series("x", [new])).codes
    assert codes.min() > 0 and first._tokenizer.text(codes.tolist()) == new, "nothing is unknown"


@pytest.mark.data
def test_target_encoding_of_a_real_column_is_that_of_scikit_learn(lode_data: Path) -> None:
    frame = pl.read_csv(lode_data / "tabular" / "telco_churn.csv.gz")
    target = (frame["Churn"] == "Yes").to_numpy().astype(np.int64)
    column = Category().parse(frame["PaymentMethod"])
    feature = Category(encode="target", smooth=20.0)
    feature.fit(column, target)
    theirs = preprocessing.TargetEncoder(smooth=20.0).fit(column.to_numpy().reshape(-1, 1), target)
    np.testing.assert_allclose(feature.flat(column), theirs.transform(column.to_numpy().reshape(-1, 1)), atol=1e-6)
