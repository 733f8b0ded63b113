from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import chdtrc
from scipy.stats import ks_2samp
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.metrics import roc_auc_score

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW
from lode.data.folds import FOLD
from lode.data.mending import personal
from lode.data.quality import counting, crossing, drift, figures, relation
from lode.data.quality import verdict as quality
from lode.data.quality.counting import PART
from lode.data.quality.figures import Column
from lode.data.quality.profile import profile
from lode.data.split import PARTS
from lode.testing.finding import snapshot_of

NUMBER = pl.Float64()


def parts_of(frame: pl.DataFrame, seed: int = 0) -> dict[str, pl.DataFrame]:
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    first, second = int(0.7 * frame.height), int(0.8 * frame.height)
    return {"train": shuffled[:first], "validation": shuffled[first:second], "test": shuffled[second:]}


def profile_of(frame: pl.DataFrame, columns: dict[str, tuple[str, str]], folder: Path) -> dict[str, Any]:
    return snapshot_of(parts_of(frame), columns, folder)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, dict[str, Any]]:
    rng = np.random.default_rng(1)
    n = 2_000
    frame = pl.DataFrame(
        {
            "y": rng.choice(["no", "yes"], n),
            "x": pl.Series(np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)), nan_to_null=True),
            "count": rng.integers(0, 5, n).astype(float),
            "when": [datetime(2024, 1, 1) + timedelta(hours=int(hours)) for hours in rng.integers(0, 9_000, n)],
            "city": pl.Series(rng.choice(["Rome", "Oslo", "Lima"], n, p=[0.6, 0.3, 0.1])).cast(pl.Enum(["Lima", "Oslo", "Rome"])),
            "note": [f"about {word} and {number}" for word, number in zip(rng.choice(["tea", "milk"], n), range(n), strict=True)],
            "scan": [bytes(int(size)) for size in rng.integers(10, 90, n)],
            "paid": rng.integers(1, 10**6, n),
        }
    )
    words = {"x": "number", "count": "number", "when": "date", "city": "category", "note": "text", "scan": "image"}
    columns = {"y": ("output", "binary"), **{name: ("input", word) for name, word in words.items()}}
    return frame, profile_of(frame, columns, tmp_path_factory.mktemp("mixed"))


def test_a_profile_is_plain_json(mixed: tuple[pl.DataFrame, dict[str, Any]]) -> None:
    assert json.loads(json.dumps(mixed[1], allow_nan=False)) == mixed[1]


def test_figures_of_a_number_are_those_of_numpy(mixed: tuple[pl.DataFrame, dict[str, Any]]) -> None:
    frame, found = mixed
    record, x = found["columns"]["x"], frame["x"].drop_nulls().to_numpy()
    assert record["missing"]["rows"] == frame["x"].null_count() == sum(record["missing"][part] for part in PARTS)
    assert [record[key] for key in ("low", "high", "mean", "std")] == pytest.approx([x.min(), x.max(), x.mean(), x.std(ddof=1)])
    assert record["quantiles_exact"] and record["quantiles"]["0.25"] == pytest.approx(np.quantile(x, 0.25))
    assert record["distinct"] == {"values": len(np.unique(x)), "exact": True}
    counts, _ = np.histogram(x, record["histogram"]["edges"])
    counted = np.sum([record["histogram"]["rows"][part] for part in PARTS], axis=0)
    assert counted.tolist() == counts.tolist()


def test_few_values_are_counted_in_every_part(mixed: tuple[pl.DataFrame, dict[str, Any]]) -> None:
    frame, found = mixed
    top = found["columns"]["city"]["top"]
    assert [(entry["value"], sum(entry["rows"].values())) for entry in top] == [
        (word, frame.filter(pl.col("city") == word).height) for word in ("Rome", "Oslo", "Lima")
    ]
    assert found["columns"]["count"]["whole"] and len(found["columns"]["count"]["histogram"]["edges"]) == 6


def test_dates_texts_pictures_and_other_columns_have_their_figures(mixed: tuple[pl.DataFrame, dict[str, Any]]) -> None:
    frame, found = mixed
    columns = found["columns"]
    assert columns["when"]["low"] == frame["when"].min().timestamp() * 1e6  # type: ignore[union-attr]
    assert columns["note"]["low"] == frame["note"].str.len_chars().min()
    assert {entry["value"] for entry in columns["note"]["top"]} == {"about", "and", "tea", "milk"}
    assert columns["scan"]["high"] == frame["scan"].bin.size().max()
    assert columns["scan"]["pictures"]["unreadable"] == columns["scan"]["pictures"]["looked_at"]
    assert columns["paid"]["role"] == "kept" and "relation" not in columns["paid"]


def test_far_out_cells_are_counted_beside_the_histogram(tmp_path: Path) -> None:
    values = np.append(np.random.default_rng(0).normal(size=1_999), 1e9)
    found = profile_of(pl.DataFrame({"x": values}), {"x": ("input", "number")}, tmp_path)["columns"]["x"]
    assert found["high"] == 1e9 and found["histogram"]["edges"][-1] < 20
    assert sum(found["histogram"]["above"].values()) == 1


def test_a_table_of_empty_strange_and_endless_cells_is_no_trouble(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "none": pl.Series([None] * 40, dtype=pl.Float64),
            "endless": [float("inf"), float("nan"), -float("inf"), 1.0] * 10,
            "lists": [[1, 2]] * 40,
            "</script>\x1b[31m": ["<b>" * 1_000, None] * 20,
        }
    )
    columns = dict.fromkeys(("none", "endless"), ("input", "number")) | {"</script>\x1b[31m": ("input", "category")}
    found = profile_of(frame, columns, tmp_path)
    assert found["columns"]["endless"]["missing"]["rows"] == 30
    assert found["columns"]["lists"]["kind"] == "other"
    assert len(found["columns"]["</script>\x1b[31m"]["top"][0]["value"]) <= figures.MAX_CHARS
    json.dumps(found, allow_nan=False)


def test_more_columns_than_are_looked_at_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lode.data.quality.profile.MAX_COLUMNS", 3)
    frame = pl.DataFrame({f"c{n}": [float(n), 1.0] * 20 for n in range(5)})
    found = profile_of(frame, dict.fromkeys(frame.columns, ("input", "number")), tmp_path)
    assert list(found["columns"]) == ["c0", "c1", "c2"] and found["not_looked_at"] == ["c3", "c4"]


def test_long_columns_are_estimated_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lode.data.quality.figures._EXACT_ROWS", "lode.data.quality.figures._COUNTED_VALUES"):
        monkeypatch.setattr(name, 10)
    monkeypatch.setattr("lode.data.quality.figures._VALUE_BYTES", 2_000_000)  # three rounds of a third
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=3_000), "id": [f"i{n}" for n in range(3_000)], "k": rng.integers(0, 90, 3_000) / 2})
    words = {"x": ("input", "number"), "id": ("input", "category"), "k": ("input", "number")}
    found = profile_of(frame, words, tmp_path)["columns"]
    assert not found["x"]["distinct"]["exact"] and found["x"]["distinct"]["values"] == pytest.approx(3_000, rel=0.25)
    assert found["id"]["distinct"] == {"values": 3_000, "exact": True}
    assert not found["k"]["top_exact"]


def test_what_lode_itself_adds_to_a_snapshot_is_not_looked_at() -> None:
    schema = {ROW: pl.UInt64(), PART: pl.UInt8(), FOLD: pl.UInt32(), "x": pl.Float64()}
    assert [column.name for column in figures.columns_of(schema, {})] == ["x"]


def judge_of(x: np.ndarray, y: np.ndarray, task: str) -> tuple[relation.Judge, Column]:
    frame = pl.DataFrame({"x": x, "y": y, PART: np.zeros(len(x), np.uint8)})
    target = Column("y", "output", task, frame.schema["y"], "number" if task == "number" else "word")
    return relation.Judge(frame, target, {"positive": 1}), Column("x", "input", "number", NUMBER, "number")


def test_power_of_a_number_is_its_auc() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 20_000)
    x = rng.normal(size=20_000) + 0.8 * y
    judge, column = judge_of(x, y, "binary")
    assert judge.relation(column)["power"] == pytest.approx(roc_auc_score(y, x), abs=0.01)  # type: ignore[index]


def test_power_of_noise_and_of_ids_is_that_of_chance() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 5_000)
    for x in (rng.normal(size=5_000), np.arange(5_000.0)):
        judge, column = judge_of(x, y, "binary")
        assert judge.relation(column)["power"] == pytest.approx(0.5, abs=0.03)  # type: ignore[index]
    ids = Column("x", "input", "category", pl.String(), "word")
    frame = pl.DataFrame({"x": [f"i{n}" for n in range(5_000)], "y": y, PART: np.zeros(5_000, np.uint8)})
    judge = relation.Judge(frame, Column("y", "output", "binary", pl.Int64(), "word"), {})
    assert judge.relation(ids)["power"] == pytest.approx(0.5, abs=0.03)  # type: ignore[index]


def test_power_for_a_number_is_r2() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=10_000)
    y = x + rng.normal(scale=np.sqrt(1 / 12), size=10_000)
    judge, column = judge_of(x, y, "number")
    assert judge.relation(column)["power"] == pytest.approx(0.5, abs=0.02)  # type: ignore[index]


@pytest.mark.parametrize(
    ("x", "how"),
    [
        (np.tile([0.0, 1.0], 100), "target"),
        (np.tile([0.0, 1.0, 2.0, 3.0], 50), "value"),
        (np.array([(-1.0) ** n * (n + 1) for n in range(200)]), "threshold"),
        (np.append(np.tile([0.0, 1.0], 99), [1.0, 0.0]), None),
    ],
)
def test_how_a_column_gives_classes_away(x: np.ndarray, how: str | None) -> None:
    judge, column = judge_of(x, np.tile([0, 1], 100), "binary")
    scan = pl.DataFrame({"x": x, "y": np.tile([0, 1], 100)}).lazy()
    assert judge.tells(column, scan) == how


def test_a_straight_line_of_the_target_is_named_only_if_it_holds_in_all_rows() -> None:
    y = np.random.default_rng(0).normal(size=300)
    judge, column = judge_of(3 * y + 1, y, "number")
    assert judge.tells(column, pl.DataFrame({"x": 3 * y + 1, "y": y}).lazy()) == "line"
    assert judge.tells(column, pl.DataFrame({"x": np.append(3 * y + 1, 9.0), "y": np.append(y, 0.0)}).lazy()) is None


def drifts(train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    frame = pl.DataFrame({"x": np.concatenate([train, test]), PART: pl.Series([0] * len(train) + [2] * len(test), dtype=pl.UInt8)})
    train, _, other = drift.parted(frame, [Column("x", "input", "number", NUMBER, "number")])
    found = drift.between(train["x"], other["x"])
    assert found is not None
    return found


def test_drift_is_measured_as_others_measure_it() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=4_000), rng.normal(0.5, size=2_000)
    found = drifts(a, b)
    assert found["distance"] == pytest.approx(ks_2samp(a, b).statistic)
    assert 0.2 < found["psi"] < 0.3 and found["p"] < 1e-12


def test_the_drift_of_words_counts_the_most_frequent_and_the_rest() -> None:
    words = [*"aaab", None, *"abbb"]
    frame = pl.DataFrame({"x": pl.Series(words, dtype=pl.String), PART: pl.Series([0] * 5 + [2] * 4, dtype=pl.UInt8)})
    train, _, other = drift.parted(frame, [Column("x", "input", "category", pl.String(), "word")])
    found = drift.between(train["x"], other["x"])
    assert found is not None and found["distance"] == pytest.approx((abs(3 / 5 - 1 / 4) + abs(1 / 5 - 3 / 4) + 1 / 5) / 2)


def test_the_distance_of_numbers_is_the_largest_between_their_shares() -> None:
    rng = np.random.default_rng(1)
    for kinds in (1, 2, 5, 1_000):
        cells = [np.sort(rng.integers(0, kinds, size).astype(float)) for size in (31, 17)]
        shares = [[(own <= value).mean() for value in np.concatenate(cells)] for own in cells]
        assert drift._kolmogorov(*cells) == np.abs(np.subtract(*shares)).max()


@pytest.mark.parametrize("freedom", [1, 2, 5, 8, 21])
def test_the_tail_of_chi_squared_is_that_of_scipy(freedom: int) -> None:
    values = (0.0, 1e-6, 0.5, 7.0, 60.0, 400.0)
    assert [drift._chi_squared_tail(value, freedom) for value in values] == pytest.approx(
        chdtrc(freedom, values).tolist(), rel=1e-12
    )


def test_small_parts_of_the_same_rows_do_not_drift() -> None:
    rng = np.random.default_rng(0)
    tried = [drifts(rng.normal(size=200), rng.normal(size=60)) for _ in range(200)]
    assert np.mean([found["psi"] for found in tried]) == pytest.approx(tried[0]["chance"], rel=0.3)
    assert 0.02 < np.mean([found["p"] < 0.1 for found in tried]) < 0.2


def test_rows_on_both_sides_are_found_with_their_places() -> None:
    a = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "w": ["a", "b", None, "d"], "t": [1.0, 1.0, 1.0, 1.0]})
    b = pl.DataFrame({"x": [3.0, 2.0, 4.0], "w": [None, "c", "d"], "t": [1.0, 1.0, 1.0]})
    rows = pl.concat([a, b]).with_columns(
        pl.Series(PART, [0] * 4 + [2] * 3, dtype=pl.UInt8), pl.Series(ROW, range(7), dtype=pl.UInt64)
    )
    columns = figures.columns_of(rows.schema, {name: {"role": "input", "type": "category"} for name in "xwt"})
    known = figures.basics(rows.lazy(), columns, 7, rows, 10**9)
    found = crossing.crossing(rows.lazy(), columns, [], known, {"train": 4, "validation": 0, "test": 3}, 10**9)
    assert found["rows"] == {"validation": 0, "test": 2}
    assert sorted(found["samples"]) == [[4, 2], [6, 3]]


CLEAN_SETS = [
    (load_breast_cancer, "binary", set()),
    (load_wine, "multiclass", {"few_rows"}),
    (load_diabetes, "number", {"few_rows"}),
]


@pytest.mark.parametrize(("load", "task", "right"), CLEAN_SETS)
def test_well_kept_tables_are_left_in_peace(load: Any, task: str, right: set[str], tmp_path: Path) -> None:
    made = load()
    names = [str(name) for name in made.feature_names]
    frame = pl.DataFrame({**dict(zip(names, made.data.T, strict=True)), "target": made.target})
    columns = dict.fromkeys(names, ("input", "number")) | {"target": ("output", task)}
    found = quality.look(profile_of(frame, columns, tmp_path))
    assert {item["finding"] for item in found} == right, [item["text"] for item in found]


def test_every_finding_is_asked_and_the_worst_comes_first(mixed: tuple[pl.DataFrame, dict[str, Any]], monkeypatch: Any) -> None:
    found = quality.look(mixed[1])
    assert [quality.SEVERITIES.index(item["severity"]) for item in found] == sorted(
        quality.SEVERITIES.index(item["severity"]) for item in found
    )
    assert {item["finding"] for item in found} <= set(REGISTRIES["finding"].names())


def test_the_same_finding_may_be_asked_twice(mixed: tuple[pl.DataFrame, dict[str, Any]]) -> None:
    asked = [Component("missing", {"share": share}) for share in (0.01, 0.02)]
    assert len(quality.look(mixed[1], asked)) == 2


def test_the_most_frequent_values_stand_in_the_order_of_their_words(tmp_path: Path) -> None:
    values = [*range(100, 0, -1), *range(100, 0, -1), 7, None]
    found = profile_of(pl.DataFrame({"x": values}, schema={"x": NUMBER}), {"x": ("input", "number")}, tmp_path)["columns"]["x"]
    ties = sorted(f"{value:.1f}" for value in range(1, 101) if value != 7)[: figures.MAX_TOP - 1]
    assert [entry["value"] for entry in found["top"]] == ["7", *(word.removesuffix(".0") for word in ties)]
    assert found["distinct"]["values"] == 100 and found["once"] == 0


def test_zero_is_called_zero_whatever_its_sign(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [-0.0, 0.0, 1.5] * 40})
    found = profile_of(frame, {"x": ("input", "number")}, tmp_path)["columns"]["x"]
    assert [entry["value"] for entry in found["top"]] == ["0", "1.5"]
    all_negative = snapshot_of(parts_of(frame.filter(pl.col("x") == 0) * -1.0), {"x": ("input", "number")}, tmp_path)
    assert [entry["value"] for entry in all_negative["columns"]["x"]["top"]] == ["0"]


@pytest.mark.parametrize("number", [2**61, -(2**61), 2.0**53, 1e300])
def test_one_large_number_in_every_row_is_drawn(number: float, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [number] * 40})
    found = profile_of(frame, {"x": ("input", "number")}, tmp_path)["columns"]["x"]["histogram"]
    assert sum(sum(found["rows"][part]) for part in PARTS) == 40


@pytest.mark.parametrize("number", [4111111111111111, 2.0**40, float("inf"), -(10.0**8)])
def test_columns_of_short_numbers_are_told_from_those_that_are_looked_at(number: float) -> None:
    short = pl.Series([1.0, None, -99_999_999.0, 99_999_999.5])
    assert personal._are_short(short) and personal._are_short(short[1:2])
    assert not personal._are_short(pl.Series([1.0, number], dtype=NUMBER))
    assert personal.find_pii(pl.Series([1, 4111111111111111])) == {"card": 1}


def test_copies_under_new_ids_are_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"id": [f"i{n}" for n in range(300)], "x": [*rng.normal(size=270), *([0.5] * 30)]})
    parts = {"train": frame[:270].vstack(frame[270:280]), "validation": frame[280:290], "test": frame[290:]}
    found = snapshot_of(parts, {"id": ("input", "category"), "x": ("input", "number")}, tmp_path)
    assert found["crossing"]["rows"] == {"validation": 10, "test": 10}


def test_rows_that_meet_by_chance_are_no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing, "_HASH_BYTES", 10**7)  # four rounds
    rng = np.random.default_rng(0)
    x = np.append(rng.normal(size=500), np.repeat(rng.normal(size=50), 2))
    frame = pl.DataFrame({"x": x, "y": rng.choice(["a", "b"], 600)})
    parts = {"train": frame[:500].vstack(frame[500::2]), "validation": frame[:0], "test": frame[501::2]}
    columns = {"x": ("input", "number"), "y": ("output", "binary")}
    finding = REGISTRIES["finding"].create(Component("duplicates_across_split"))
    assert finding.look(snapshot_of(parts, columns, tmp_path)) == []
    parts["test"] = parts["test"].with_columns(y=parts["train"]["y"].tail(50))
    found = snapshot_of(parts, columns, tmp_path)
    assert [item.severity for item in finding.look(found)] == ["error"]
    assert found["crossing"]["rows"]["test"] == found["crossing"]["agree"]["test"] == 50


def test_a_profile_has_the_same_bytes_whatever_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer columns and fewer values at a time, and rows from disk instead of memory."""
    rng, n = np.random.default_rng(0), 20_000
    frame = pl.DataFrame({"id": rng.permutation(n).astype(float), "x": rng.normal(5, 1, n), "y": rng.choice(["no", "yes"], n)})
    columns = {"y": ("output", "binary"), "id": ("input", "number"), "x": ("input", "number")}
    snapshot_of(parts_of(frame), columns, tmp_path)
    monkeypatch.setattr(figures, "_EXACT_ROWS", 1_000)
    monkeypatch.setattr("lode.data.quality.profile.LEAST_MEMORY", 1)
    whole, batched = (profile(tmp_path, {}, lambda what, done, total, figures: None, memory) for memory in (2 * 10**9, 10**5))
    assert json.dumps(whole) == json.dumps(batched)
    assert whole["columns"]["id"]["distinct"] == {"values": n, "exact": True}


def test_values_are_counted_a_share_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pl.DataFrame({"x": np.random.default_rng(0).permutation(20_000).astype(float)})
    column, held, ordered = figures.columns_of(rows.schema, {"x": {"role": "input", "type": "number"}})[0], list[int](), np.sort
    monkeypatch.setattr(np, "sort", lambda values: (held.append(len(values)), ordered(values))[1])
    assert figures._distinct(rows.lazy(), column, 20_000, 100_000) == 20_000
    assert len(held) == 20 and max(held) < 1_500


def test_the_bound_says_how_many_columns_are_read_at_once() -> None:
    assert [counting.columns_at_once(1_000, memory) for memory in (8 * 10**9, 2 * 10**9, 5 * 10**8, 10**6)] == [16, 16, 4, 1]
    assert counting.columns_at_once(10**8, 2 * 10**9) == 2


@pytest.mark.parametrize("values", [3, 10])
def test_few_rows_are_held_at_a_time_however_many_meet(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of columns with few values every row meets another; nothing that is found depends on how much memory there is."""
    rng = np.random.default_rng(0)
    batches = [pl.DataFrame({name: rng.integers(0, values, 500) for name in "abcdef"}) for _ in range(24)]
    marked = [
        batch.with_columns(
            pl.lit(place // 20, pl.UInt8).alias(PART), pl.Series(ROW, range(place * 500, place * 500 + 500), dtype=pl.UInt64)
        )
        for place, batch in enumerate(batches)
    ]
    rows = pl.concat(marked)
    columns = figures.columns_of(rows.schema, {name: {"role": "input", "type": "category"} for name in "abcdef"})
    known = figures.basics(rows.lazy(), columns, rows.height, rows, 10**9)
    counts = {"train": 10_000, "validation": 2_000, "test": 0}
    whole = crossing.crossing(rows.lazy(), columns, ["f"], known, counts, 10**9)
    batched, held = pl.LazyFrame.collect_batches, list[int]()
    monkeypatch.setattr(pl.LazyFrame, "collect_batches", lambda self, **options: batched(self, chunk_size=500, **options))
    unique = pl.DataFrame.unique

    def noted(self: pl.DataFrame, *options: Any, **more: Any) -> pl.DataFrame:
        held.append(self.height)
        return unique(self, *options, **more)

    monkeypatch.setattr(pl.DataFrame, "unique", noted)
    found = crossing.crossing(rows.lazy(), columns, ["f"], known, counts, 1_000 * crossing._ROW_BYTES)
    assert found == whole and found["rows"]["validation"] > 0
    assert held and max(held) <= 1_000 + 500 + min(values**6, 1_500)
