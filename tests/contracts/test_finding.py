"""Every finding passes the suite of lode.testing. A new finding needs one line in CASES: how its trouble is planted into clean rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.testing.finding import check_finding, snapshot_of

NUM_ROWS = 1_000
COLUMNS = {"y": ("output", "binary"), "age": ("input", "number"), "city": ("input", "category")}
PARTS = {"train": (0, 700), "validation": (700, 800), "test": (800, 1_000)}


def clean_rows() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    told = rng.normal(size=NUM_ROWS)
    return pl.DataFrame(
        {
            "y": np.where(told + rng.normal(size=NUM_ROWS) > 0, "yes", "no"),
            "age": 40 + 10 * told + rng.normal(size=NUM_ROWS),
            "city": rng.choice(["Rome", "Oslo", "Lima"], NUM_ROWS),
        }
    )


def profiled(frame: pl.DataFrame, folder: Path, **more: str) -> dict[str, Any]:
    columns = COLUMNS | {name: ("input", word) for name, word in more.items()}
    parts = {part: frame[low:high] for part, (low, high) in PARTS.items()}
    return snapshot_of(parts, columns, folder)


def plant(**columns: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(**columns)


ORDER = np.arange(NUM_ROWS)
DAYS = [datetime(2024, 1, 1) + timedelta(hours=int(hour)) for hour in (ORDER * 7919) % NUM_ROWS]


def rise(frame: pl.DataFrame) -> pl.DataFrame:
    """Later rows are nearly all "yes"; training and test are drawn from everywhere."""
    late = pl.Series((ORDER * 7919) % NUM_ROWS > 500)
    return frame.with_columns(day=pl.Series(DAYS), y=pl.when(late).then(pl.lit("yes")).otherwise("y"))


def copied(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame[:960], frame[:40]])


# word, options, how the trouble gets into clean rows, types of the columns that this adds
CASES: list[tuple[str, dict[str, Any], Callable[[pl.DataFrame], pl.DataFrame], dict[str, str]]] = [
    ("leakage", {}, plant(told=pl.col("y").replace({"yes": "A", "no": "B"})), {"told": "category"}),
    ("leakage", {}, plant(told=pl.when(pl.col("y") == "yes").then(pl.col("age")).otherwise(-pl.col("age"))), {"told": "number"}),
    ("leakage", {"auc": 0.6}, plant(), {}),
    ("id_like", {}, plant(customer=pl.Series([f"c{n * 7919}" for n in ORDER])), {"customer": "category"}),
    ("id_like", {}, plant(customer=pl.Series((ORDER * 7919 % 10_007).astype(float))), {"customer": "number"}),
    ("time_leak", {}, rise, {"day": "date"}),
    ("imbalance", {}, plant(y=pl.Series(["yes" if n % 40 == 0 else "no" for n in ORDER])), {}),
    ("rare_classes", {}, plant(y=pl.Series(["odd" if n % 300 == 0 else "yes" if n % 2 else "no" for n in ORDER])), {}),
    ("rare_classes", {}, plant(y=pl.Series(["late" if n > 900 else "yes" if n % 2 else "no" for n in ORDER])), {}),
    ("drift", {}, plant(age=pl.col("age") + pl.Series(np.where(ORDER >= 800, 12.0, 0.0))), {}),
    ("drift", {}, plant(city=pl.when(pl.Series(ORDER >= 900)).then(pl.lit("Kyiv")).otherwise("city")), {}),
    ("constant", {}, plant(same=pl.lit(3.0)), {"same": "number"}),
    ("constant", {}, plant(none=pl.lit(None, pl.String)), {"none": "category"}),
    ("duplicate_columns", {}, plant(years=pl.col("age")), {"years": "number"}),
    ("duplicate_columns", {}, plant(code=pl.col("city").replace_strict({"Rome": 5.0, "Oslo": 3.0, "Lima": 9.0})), {"code": "number"}),
    ("duplicates_across_split", {}, copied, {}),
    ("missing", {}, plant(age=pl.when(pl.Series(ORDER % 5 > 0)).then("age")), {}),
    ("pii", {}, plant(mail=pl.Series([f"ann.{n}@example.org" if n % 9 else "none" for n in ORDER])), {"mail": "text"}),
    ("few_rows", {"train": 5_000}, plant(), {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return profiled(clean_rows(), tmp_path_factory.mktemp("clean"))


@pytest.mark.parametrize(("word", "options", "trouble", "more"), CASES)
def test_a_finding_keeps_its_contract(
    word: str,
    options: dict[str, Any],
    trouble: Callable[[pl.DataFrame], pl.DataFrame],
    more: dict[str, str],
    tmp_path: Path,
    clean: dict[str, Any],
) -> None:
    troubled = profiled(trouble(clean_rows()), tmp_path, **more)
    check_finding(
        lambda: REGISTRIES["finding"].create(Component(word, options)), troubled, clean if not options else _nothing(clean)
    )


def _nothing(profile: dict[str, Any]) -> dict[str, Any]:
    """A profile in which even stricter limits find nothing: no relation at all, and many rows."""
    columns = {name: {**record, "relation": None} for name, record in profile["columns"].items()}
    return {**profile, "columns": columns, "rows": dict.fromkeys(profile["rows"], 1000000)}


def test_every_finding_is_tested() -> None:
    assert {*(word for word, _, _, _ in CASES), "memory"} == set(REGISTRIES["finding"].names())


def test_the_finding_of_the_run_keeps_the_contract_too(clean: dict[str, Any]) -> None:
    """`memory` is not planted into rows: a run adds what it measured to the profile."""
    measured = {"allowed_bytes": 2_000_000_000, "before_bytes": 200_000_000}
    troubled, calm = ({**clean, "memory": {**measured, "peak_bytes": peak}} for peak in (2_100_000_000, 2_000_000_000))
    check_finding(lambda: REGISTRIES["finding"].create(Component("memory")), troubled, calm)
    assert REGISTRIES["finding"].create(Component("memory")).look(clean) == []


def test_near_copies_of_texts_across_the_split_are_found(tmp_path: Path) -> None:
    words = [f"message number {n * 7919} about parcel {n * 31} sent from town {n * 17} on day {n}" for n in ORDER]
    texts = [*words[:950], *(f"{text}!" for text in words[:50])]
    found = profiled(clean_rows().with_columns(note=pl.Series(texts)), tmp_path, note="text")
    observations = REGISTRIES["finding"].create(Component("duplicates_across_split")).look(found)
    assert [item.columns for item in observations] == [("note",)]
    assert "25.0% of the test texts" in observations[0].text
