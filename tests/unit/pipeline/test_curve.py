"""What more rows are worth: which rows are left, what the next doubling brings, how it is said."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from lode.pipeline.curve import _expected, _noise, next_gain
from lode.pipeline.curve_page import blocks, sentence
from lode.pipeline.fewer import Share

TARGET = np.tile([0, 0, 0, 1], 250)


def test_a_share_keeps_the_share_of_each_class_and_of_the_validation_rows() -> None:
    rows, train_rows = Share(0.25, 0).rows(800, TARGET, True, None, None)
    assert (len(rows), train_rows) == (250, 200) and len(np.unique(rows)) == 250
    assert (rows[:200] < 800).all() and (rows[200:] >= 800).all()
    assert TARGET[rows[:200]].sum() == 50 and TARGET[rows].sum() == pytest.approx(250 / 4, abs=1)


def test_a_smaller_share_is_a_part_of_a_larger_one_and_another_seed_draws_others() -> None:
    small, large, other = (
        set(Share(size, seed).rows(800, TARGET, True, None, None)[0].tolist()) for size, seed in ((0.125, 3), (0.5, 3), (0.125, 4))
    )
    assert small < large and len(small & other) < len(small) / 2


def test_a_class_of_one_row_is_never_lost() -> None:
    target = np.array([0] * 99 + [1] * 1)
    assert 99 in Share(0.125, 0).rows(100, target, True, None, None)[0]


def test_groups_are_kept_whole() -> None:
    groups = np.arange(1000) // 20
    rows, train_rows = Share(0.5, 1).rows(800, TARGET, True, groups, None)
    assert (np.bincount(groups[rows], minlength=50)[np.unique(groups[rows])] == 20).all()
    assert train_rows == 400 and len(rows) == 500


def test_of_rows_in_time_the_latest_are_kept_in_order() -> None:
    moments = np.arange(1000)[::-1]
    rows, train_rows = Share(0.25, 9).rows(800, TARGET, True, None, moments)
    assert moments[rows].tolist() == list(range(750, 1000)) and train_rows == 200


def test_the_next_doubling_of_a_known_curve() -> None:
    """Gains of 0.04, 0.02, 0.01 halve each time: 0.005 follows."""
    assert next_gain(np.array([[0.80], [0.84], [0.86], [0.87]])) == pytest.approx([0.005], abs=1e-9)


@pytest.mark.parametrize("exponent", [0.1, 0.35, 0.5, 1.0, 2.0])
def test_a_power_law_goes_on_as_it_is(exponent: float) -> None:
    def score(rows: float) -> float:
        return 0.9 - 3.0 * rows**-exponent

    sizes = [score(rows) for rows in (1000, 2000, 4000, 8000)]
    assert next_gain(np.array(sizes)[:, None])[0] == pytest.approx(score(16000) - score(8000), rel=0.01)


def test_losses_shrink_toward_nothing_and_flat_curves_stay_flat() -> None:
    falling, flat = [0.9, 0.8, 0.7, 0.6], [0.7, 0.7, 0.7, 0.7]
    found = next_gain(np.array([falling, flat]).T)
    assert found == pytest.approx([-0.1, 0.0], abs=1e-9)  # the factor is never above 1: no acceleration is foretold


@pytest.mark.parametrize("exponent", [0.1, 0.5, 2.0])
def test_sizes_need_not_double(exponent: float) -> None:
    """Whole groups make sizes of their own: taken for doublings, these three would foretell another gain."""
    rows_N = np.array([750.0, 1250.0, 2500.0, 5000.0])
    values = 0.9 - 3.0 * rows_N**-exponent
    found = next_gain(values[:-1, None], np.log2(rows_N))[0]
    assert found == pytest.approx(values[3] - values[2], rel=0.01)
    assert next_gain(np.array([[0.5], [0.5 + np.log2(5 / 3)], [1.5 + np.log2(5 / 3)]]), np.log2(rows_N))[0] == pytest.approx(1.0)


def test_two_different_sizes_tell_nothing() -> None:
    place_N = np.log2([100.0, 100.0, 200.0, 400.0])
    assert _expected(place_N, np.array([0.8, 0.81, 0.9]), np.ones((3, 5)), np.zeros((4, 5))) is None


def test_an_undefined_resample_stays_undefined() -> None:
    values = np.array([[0.8, np.nan], [0.84, 0.8], [0.86, 0.8], [0.87, 0.8]])
    found = next_gain(values)
    assert found[0] == pytest.approx(0.005, abs=1e-9) and np.isnan(found[1])


def _curve(**changes: Any) -> dict[str, Any]:
    sizes = ((500, 0.8), (1000, 0.84))
    points = [{"rows": rows, "fits": 2, "value": value, "low": value - 0.01, "high": value + 0.01} for rows, value in sizes]
    shown = {"higher_is_better": True, "points": points, "last": {"value": 0.03, "low": 0.01, "high": 0.05, "measured": 0.02}}
    output = {"metric": "auc", "title": "AUC", **shown, "gain": {"rows": 1000, "value": 0.02, "low": 0.01, "high": 0.03}}
    money = {"currency": "EUR", **shown, "gain": {"rows": 1000, "value": 50.0, "low": 20.0, "high": 80.0}}
    return {"outputs": {"bought": output}, "money": money, "notes": [], **changes}


def test_money_is_told_per_row_by_hand() -> None:
    """50 EUR more per 1,000 decisions are 5,000 EUR over 100,000; a thousand rows more bring them: 5 EUR each."""
    said = sentence(_curve(), 100_000)
    assert "Twice the rows (1,000 more) are expected to bring +0.020 (0.010 to 0.030) AUC and +50 (20 to 80) EUR" in said
    assert "more rows would help" in said and said.endswith("Over 100,000 decisions a further row is worth +5.0 (2.0 to 8.0) EUR.")


def test_without_money_or_sizes_it_says_less() -> None:
    assert sentence(_curve(money=None), 100) == (
        "Twice the rows (1,000 more) are expected to bring +0.020 (0.010 to 0.030) AUC: more rows would help."
    )
    unsure = _curve(money=None)
    unsure["outputs"]["bought"]["gain"] = {"rows": 1000, "value": 0.001, "low": -0.01, "high": 0.01}
    assert sentence(unsure, None).endswith("not surely more than nothing.")
    unsure["outputs"]["bought"]["gain"] = None
    assert sentence(unsure, None) == "There are too few rows to tell what more of them would bring."


def test_an_undefined_metric_is_told_as_one() -> None:
    """It said "+undefined (undefined to undefined) AUC: not surely more than nothing"."""
    for nothing in (None, float("nan")):
        curve = _curve(money=None)
        curve["outputs"]["bought"] |= {
            word: {"rows": 9, "value": nothing, "low": nothing, "high": nothing} for word in ("gain", "last")
        }
        assert sentence(curve, None) == "AUC is undefined at some size, so nothing tells what more rows would bring."
        assert "undefined" not in str(blocks({**curve, "sentence": ""}))


def test_the_page_shows_every_size_and_the_expected_one() -> None:
    shown = blocks({**_curve(notes=["12 rows are too few"]), "sentence": "More rows would help."})
    tables = [block for block in shown if block["kind"] == "table"]
    assert len(tables) == 2 and [row["cells"][0] for row in tables[0]["rows"]] == ["500", "1,000", "2,000, expected"]
    words = " ".join(str(block.get("text")) for block in shown)
    assert "expected to bring +0.030 (0.010 to 0.050); it brought 0.020" in words
    assert sum(block["kind"] == "pictures" for block in shown) == 2 and any("too few" in str(block.get("text")) for block in shown)


def test_chance_of_the_fits_is_told_by_hand() -> None:
    """Two fits of 100 rows that lie 0.02 apart: variance 0.0002 of one fit, 0.0001 of their mean, half of both for twice the rows."""
    rows_K, values = np.array([100.0, 200.0, 400.0]), [[0.80, 0.82], [0.85, 0.85 + 0.02 / 2**0.5], [0.9]]
    noise_KR = _noise(rows_K, values, 200_000, 0)
    assert noise_KR.shape == (4, 200_000)
    # Student's t of two degrees of freedom has no variance; its quartiles lie at 0.8165 standard errors.
    found = np.quantile(noise_KR, 0.75, axis=1)
    assert found == pytest.approx(0.8165 * np.sqrt([0.0001, 0.00005, 0.00005, 0.000025]), rel=0.02)


def test_single_fits_tell_nothing_of_chance() -> None:
    assert not _noise(np.array([100.0, 200.0]), [[0.8], [0.9]], 10, 0).any()


def test_what_is_known_badly_is_drawn_toward_the_usual_factor() -> None:
    """Gains of 0.02 and 0.002: exact ones fall by the least factor there is; ones of which nothing is known by the root of a half."""
    values = np.array([[0.80], [0.82], [0.822]])
    exact, unknown = (next_gain(values, None, np.full(2, variance))[0] for variance in (1e-12, 1.0))
    assert exact == pytest.approx(next_gain(values)[0])
    mean_gain = (0.02 + 0.002 * 0.5**0.5) / 1.5  # least squares of one size over both gains, by hand
    assert unknown == pytest.approx(mean_gain * 0.5, rel=0.01) and exact < 0.002 < unknown


def test_a_gain_that_is_known_well_counts_more() -> None:
    values = np.array([[0.80], [0.84], [0.85]])
    first, second = (next_gain(values, None, np.array(variance))[0] for variance in ([1e-8, 1.0], [1.0, 1e-8]))
    assert first == pytest.approx(0.04 * 0.5, rel=0.01) and second == pytest.approx(0.01 * 0.5**0.5, rel=0.01)


def test_a_metric_that_no_resample_defines_is_undefined_without_a_warning() -> None:
    values_KR = np.full((4, 50), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _expected(np.arange(-3.0, 2.0), np.full(4, np.nan), values_KR, np.zeros((5, 50)))
    assert found is not None and np.isnan(list(found.values())).all()
