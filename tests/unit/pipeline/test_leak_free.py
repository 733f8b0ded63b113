"""A category that learns from the target gives nothing away: on random labels, nothing is learnt from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from lode.core.types import Component
from lode.data.preprocess import Preprocessor
from lode.data.select import Select
from lode.model.contracts import no_progress
from lode.pipeline import development
from lode.pipeline.development import Development, prepare

ROWS = 3_000
TARGET_ENCODED = {"shop": Component("category", {"encode": "target", "smooth": 1.0})}


@pytest.fixture
def random_labels(tmp_path: Path) -> Development:
    """3,000 rows, 1,500 different words, labels by coin."""
    generator = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "__row__": pl.Series(range(ROWS), dtype=pl.UInt64),
            "shop": [f"s{code}" for code in generator.integers(0, ROWS // 2, ROWS)],
            "y": generator.choice(["no", "yes"], ROWS),
        }
    )
    frame.head(2_000).write_parquet(tmp_path / "train.parquet")
    frame.tail(1_000).write_parquet(tmp_path / "validation.parquet")
    outputs = {"y": Component("binary", {"positive": "yes"})}
    return development.read(tmp_path, TARGET_ENCODED, [], outputs, {"by": "random"}, 0)


def _auc(values: np.ndarray, labels: np.ndarray) -> float:
    return float(roc_auc_score(labels, values))


def test_training_values_of_random_labels_rank_nothing(random_labels: Development) -> None:
    labels = random_labels.targets["y"]
    for part in random_labels.plan.rounds:
        prepared = prepare(random_labels, part.fit, None, no_progress)
        for needs in ("flat", "arrays"):
            trained, judged = (prepared.examples(needs, rows) for rows in (part.fit, part.judge))
            values = [found.flat[:, 0] if needs == "flat" else found.arrays["shop"][:, 0] for found in (trained, judged)]
            # A value that a row's own label went into would rank far above a half; out of fold it may only rank a little below.
            assert 0.35 < _auc(values[0], labels[part.fit]) < 0.54
            assert _auc(values[1], labels[part.judge]) == pytest.approx(0.5, abs=0.06)
        leaked = prepared.preprocessor.flat(random_labels.frame[part.fit])[:, 0]
        assert _auc(leaked, labels[part.fit]) > 0.7, "the test could not fail"


def test_arrays_on_disk_are_out_of_fold_too(random_labels: Development, tmp_path: Path) -> None:
    rows = random_labels.plan.rounds[0].fit
    there = prepare(random_labels, rows, tmp_path / "arrays", no_progress).examples("arrays", rows).arrays["shop"]
    here = prepare(random_labels, rows, None, no_progress).examples("arrays", rows).arrays["shop"]
    assert np.array_equal(there, here)


def test_rows_of_one_group_share_a_fold(random_labels: Development) -> None:
    groups = np.arange(ROWS) // 6
    grouped = Development(**{name: getattr(random_labels, name) for name in Development.__slots__} | {"groups": groups})
    rows = np.arange(0, ROWS - 600)
    folds = grouped.learning_folds(rows)
    assert (folds[ROWS - 600 :] == -1).all() and set(folds[rows]) == set(range(5))
    assert (
        pl.DataFrame({"group": groups[rows], "fold": folds[rows]}).group_by("group").agg(pl.col("fold").n_unique())["fold"].max()
        == 1
    )


def test_selection_does_not_fall_for_a_word_that_names_the_row() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 2_000)
    frame = pl.DataFrame(
        {
            "shop": [f"s{code}" for code in generator.integers(0, 1_000, 2_000)],
            "weak": labels + generator.normal(0, 3, 2_000),
        }
    )
    preprocessor = Preprocessor({**TARGET_ENCODED, "weak": Component("number")}, select=Select(keep=1))
    preprocessor.fit(frame, labels, generator.integers(0, 5, 2_000))
    assert preprocessor.inputs == ("weak",)
