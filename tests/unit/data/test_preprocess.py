from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from lode.core.errors import DataError
from lode.core.types import Component, TensorSpec
from lode.data import arrays as on_disk
from lode.data.arrays import open_arrays
from lode.data.preprocess import Preprocessor

FEATURES = {
    "limit": Component("number"),
    "city": Component("category", {"min_count": 1}),
    "since": Component("date"),
    "owner": Component("binary"),
}
FRAME = pl.DataFrame(
    {
        "__row__": pl.Series(range(6), dtype=pl.UInt64),
        "limit": [" 1", "2.5", None, "4", "5", "6"],
        "city": ["Rome", "Oslo", "Rome", None, "Rome", "Bonn"],
        "since": ["2024-01-31", "2024-02-01", None, "2023-01-01", "2022-01-01", "2021-01-01"],
        "owner": ["yes", "no", "no", "no", None, "yes"],
        "target": [0, 1, 0, 1, 0, 1],
    }
)


@pytest.fixture
def fitted() -> Preprocessor:
    preprocessor = Preprocessor(FEATURES)
    preprocessor.fit(FRAME)
    return preprocessor


def test_arrays_match_their_specs(fitted: Preprocessor) -> None:
    arrays = fitted.arrays(FRAME)
    assert fitted.inputs == tuple(arrays) == tuple(FEATURES)
    for name, spec in fitted.specs.items():
        assert arrays[name].shape == (6, *spec.shape) and arrays[name].dtype == spec.dtype


def test_flat_has_a_named_column_for_every_part(fitted: Preprocessor) -> None:
    names = fitted.flat_spec.names
    assert names[:2] == ("limit", "city") and "since.year" in names and names[-1] == "owner"
    assert fitted.flat(FRAME).shape == (6, len(names))
    assert fitted.flat_spec.cardinalities[1] == 4


def test_texts_make_the_flat_matrix_sparse_and_keep_missing_numbers() -> None:
    frame = pl.DataFrame({"n": [1.0, None, 0.0], "t": ["a b", "b", None]})
    preprocessor = Preprocessor({"n": Component("number"), "t": Component("text")})
    preprocessor.fit(frame)
    flat = preprocessor.flat(frame)
    assert sparse.issparse(flat) and flat.format == "csr" and flat.dtype == np.float32
    assert flat.shape == (3, len(preprocessor.flat_spec.names)) and np.isnan(flat[1, 0]) and flat[2].nnz == 0


def test_a_restored_preprocessor_is_the_fitted_one(fitted: Preprocessor) -> None:
    restored = Preprocessor.from_state(fitted.state())
    assert restored.specs == fitted.specs and restored.flat_spec == fitted.flat_spec and restored.columns == fitted.columns
    for name, array in fitted.arrays(FRAME).items():
        assert restored.arrays(FRAME)[name].tobytes() == array.tobytes()
    assert restored.flat(FRAME).tobytes() == fitted.flat(FRAME).tobytes()


def test_a_restored_preprocessor_keeps_the_order_of_inputs_though_json_sorts_keys(fitted: Preprocessor) -> None:
    state = fitted.state()
    features = [{**record, "state": None} for record in state["features"]]
    written = json.loads(json.dumps(features, sort_keys=True))
    state["features"] = [{**record, "state": state["features"][place]["state"]} for place, record in enumerate(written)]
    assert Preprocessor.from_state(state).inputs == fitted.inputs


def test_problems_name_row_cell_and_what_is_allowed(fitted: Preprocessor) -> None:
    frame = FRAME.with_columns(
        limit=pl.Series(["1", "x" * 100, None, "inf", "", "3"]), since=pl.Series(["31.12.2024"] * 5 + ["soon"])
    )
    found = [(problem.row, problem.column, problem.found, problem.allowed) for problem in fitted.problems(frame)]
    assert found == [
        (1, "limit", "'" + "x" * 56 + "...", "a number"),
        (3, "limit", "'inf'", "a number"),
        (5, "since", "'soon'", "a date such as 2024-01-31 or 2024-01-31T12:30:00Z"),
    ]


def test_empty_cells_and_unseen_values_are_no_problem(fitted: Preprocessor) -> None:
    frame = pl.DataFrame({"limit": [None, float("nan")], "city": [None, "Kyiv"], "since": [None, None], "owner": [None, "perhaps"]})
    assert fitted.problems(frame) == []
    assert fitted.unseen(frame) == {"limit": 0, "city": 1, "since": 0, "owner": 1}
    assert all(np.isfinite(array).all() for array in fitted.arrays(frame).values())


def test_missing_columns_are_problems_with_their_near_miss(fitted: Preprocessor) -> None:
    (problem,) = fitted.problems(FRAME.rename({"limit": "limits"}))
    assert (problem.row, problem.column, problem.found) == (None, "limit", "no such column")
    assert problem.allowed == 'a column "limit" (a number). Did you mean "limits"?'


def test_unknown_columns_are_problems_only_for_requests(fitted: Preprocessor) -> None:
    frame = FRAME.with_columns(citty=pl.lit("x")).drop("target")
    assert fitted.problems(frame) == []
    (problem,) = fitted.problems(frame, strict=True)
    assert problem.column == "citty" and problem.allowed.endswith('Did you mean "city"?')


def test_a_missing_column_is_an_error_when_arrays_are_asked_for(fitted: Preprocessor) -> None:
    for ask in (fitted.arrays, fitted.flat, fitted.unseen):
        with pytest.raises(DataError, match=r'column "limit": not in the table, .*Did you mean "limits"\?'):
            ask(FRAME.rename({"limit": "limits"}))


def test_columns_describe_a_request_by_a_real_cell(fitted: Preprocessor) -> None:
    assert [(column.name, column.type, column.kind, column.example) for column in fitted.columns] == [
        ("limit", "number", "number", 1),
        ("city", "category", "string", "Rome"),
        ("since", "date", "datetime", "2024-01-31"),
        ("owner", "binary", "string", "yes"),
    ]


def test_long_examples_are_cut() -> None:
    preprocessor = Preprocessor({"t": Component("text")})
    preprocessor.fit(pl.DataFrame({"t": [None, "word " * 100]}))
    assert len(preprocessor.columns[0].example) == 80


@pytest.mark.parametrize("as_file", [False, True])
def test_written_arrays_are_the_arrays_mapped(
    fitted: Preprocessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_file: bool
) -> None:
    monkeypatch.setattr("lode.data.preprocess._CHUNK_BYTES", 1)
    frame, seen = pl.concat([FRAME] * 40), []
    frame.write_parquet(tmp_path / "rows.parquet")
    rows = tmp_path / "rows.parquet" if as_file else frame
    written = fitted.write_arrays(rows, tmp_path / "arrays", lambda what, done, total, figures: seen.append((done, total)))
    assert seen[-1] == (240, 240) and len(seen) > 1
    for name, array in fitted.arrays(frame).items():
        assert isinstance(written[name], np.memmap) and not written[name].flags.writeable
        assert written[name].tobytes() == array.tobytes()
    assert sorted(path.name for path in (tmp_path / "arrays").iterdir()) == [
        "0000.npy",
        "0001.npy",
        "0002.npy",
        "0003.npy",
        "index.json",
    ]


def test_arrays_that_were_not_finished_are_not_opened(
    fitted: Preprocessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(frames: Iterator[object]) -> Iterator[object]:
        yield next(iter(frames))
        raise KeyboardInterrupt

    fitted.write_arrays(FRAME, tmp_path)
    write = on_disk.write_chunks
    monkeypatch.setattr("lode.data.preprocess.write_chunks", lambda chunks, *rest: write(killed(chunks), *rest))
    with pytest.raises(KeyboardInterrupt):
        fitted.write_arrays(FRAME, tmp_path)
    with pytest.raises(DataError, match="no finished arrays"):
        open_arrays(tmp_path)


def test_a_thread_that_is_late_makes_no_file_again(tmp_path: Path) -> None:
    late: list[Callable[[], object]] = []

    def together(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        late.extend(partial(work, item) for item in items)
        raise OSError(28, "No space left on device")

    spec = TensorSpec("float32", (1,))
    with pytest.raises(OSError, match="No space left"):
        on_disk.write_chunks([{"x": np.zeros((3, 1), np.float32)}], {"x": spec}, 3, tmp_path, together)
    with pytest.raises(FileNotFoundError):
        late[0]()
    assert not list(tmp_path.iterdir())


def test_tables_without_rows_can_be_written(fitted: Preprocessor, tmp_path: Path) -> None:
    assert fitted.write_arrays(FRAME.head(0), tmp_path)["limit"].shape == (0, 2)


def test_cleaners_of_cells_are_fitted_applied_and_restored() -> None:
    frame = pl.DataFrame({"n": ["1", "?", "3", "8"]})
    preprocessor = Preprocessor(
        {"n": Component("number")},
        [Component("types"), Component("missing", {"numbers": "median"}), Component("duplicates")],
    )
    preprocessor.fit(frame)
    assert [record["type"] for record in preprocessor.state()["cleaners"]] == ["types", "missing"]
    restored = Preprocessor.from_state(preprocessor.state())
    assert preprocessor.flat(frame).ravel().tolist() == restored.flat(frame).ravel().tolist() == [1.0, 3.0, 3.0, 8.0]
    assert preprocessor.problems(frame) == []
