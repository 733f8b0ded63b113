from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW, Cleaner
from lode.data.mending.label_quality import calibrated, confident_joint, label_quality, number_quality

NUM_ROWS = 160


def make(**options: Any) -> Cleaner:
    made: Cleaner = REGISTRIES["cleaner"].create(Component("labels", {"folds": 2, **options}))
    return made


@pytest.fixture
def frame() -> pl.DataFrame:
    """`y` is the sign of `x`; rows 3, 50 and 99 say otherwise."""
    x = np.random.default_rng(0).normal(size=NUM_ROWS)
    yes = x > 0
    yes[[3, 50, 99]] ^= True
    rows = pl.Series(range(100, 100 + NUM_ROWS), dtype=pl.UInt64)
    return pl.DataFrame({ROW: rows, "x": x, "y": np.where(yes, "yes", "no")})


TYPES = {"x": "number", "y": "binary"}
WRONG = {103, 150, 199}


def fitted(frame: pl.DataFrame, types: dict[str, str], **options: Any) -> Cleaner:
    cleaner = make(**options)
    cleaner.fit(frame.lazy(), types)
    return cleaner


def test_rows_with_a_wrong_label_are_dropped_and_the_reason_is_told(frame: pl.DataFrame) -> None:
    cleaner = fitted(frame, TYPES)
    gone = set(frame[ROW]) - set(cleaner.apply(frame)[ROW])
    assert gone >= WRONG
    assert len(gone) <= 6
    why = cleaner.why(pl.DataFrame({"row": pl.Series([103], dtype=pl.UInt64)}))
    assert why is not None
    assert f'"{frame["y"][3]}" given, ' in why[0]


def test_fix_writes_the_other_class_and_report_changes_nothing(frame: pl.DataFrame) -> None:
    mended = fitted(frame, TYPES, action="fix").apply(frame)
    assert mended.height == frame.height
    assert all(mended["y"][row] != frame["y"][row] for row in (3, 50, 99))
    reporting = fitted(frame, TYPES, action="report")
    assert reporting.apply(frame).equals(frame)
    assert "labels of y look wrong (row " in reporting.notes[0]


def test_at_most_the_share_that_was_named_is_doubted(frame: pl.DataFrame) -> None:
    assert fitted(frame, TYPES, limit=0.0125).apply(frame).height == NUM_ROWS - 2


def test_the_same_seed_doubts_the_same_rows_and_few_rows_of_many_are_a_sample(frame: pl.DataFrame) -> None:
    first, second = (fitted(frame, TYPES, max_rows=120).apply(frame) for _ in range(2))
    assert first.equals(second)
    assert "of 120 labels" in fitted(frame, TYPES, max_rows=120).notes[0]


def test_small_classes_and_single_classes_are_left_alone(frame: pl.DataFrame) -> None:
    rare = frame.with_columns(y=pl.when(pl.col(ROW) < 105).then(pl.lit("rare")).otherwise("y"))
    assert set(fitted(rare, TYPES).apply(rare)[ROW]) >= set(range(100, 105))
    one = frame.with_columns(y=pl.lit("no"))
    assert fitted(one, TYPES).apply(one).equals(one)


def test_labels_of_texts_are_judged_by_their_words(frame: pl.DataFrame) -> None:
    texts = frame.with_columns(x=pl.when(pl.col("x") > 0).then(pl.lit("good very fine")).otherwise(pl.lit("bad and dull")))
    cleaner = fitted(texts, {"x": "text", "y": "binary"})
    assert set(frame[ROW]) - set(cleaner.apply(texts)[ROW]) == WRONG


def test_words_of_an_enum_and_mixed_inputs(frame: pl.DataFrame) -> None:
    mixed = frame.with_columns(
        pl.col("y").cast(pl.Enum(["no", "yes"])),
        word=pl.when(pl.col("x") > 0).then(pl.lit("a")).otherwise(pl.lit("b")),
        text=pl.lit("some words"),
        empty=pl.lit(None, pl.Float64),
    )
    types = {"x": "number", "word": "category", "text": "text", "empty": "number", "y": "binary"}
    after = fitted(mixed, types, action="fix").apply(mixed)
    assert after.schema == mixed.schema
    assert after["y"][3] != mixed["y"][3]


def test_pictures_are_judged_by_a_few_of_their_pixels() -> None:
    random = np.random.default_rng(0)
    light = np.arange(200) % 2 == 0
    pictures = [_png(random.integers(0, 60, (9, 9)) + 180 * bright) for bright in light]
    labels = np.where(light, "light", "dark")
    labels[[4, 7]] = ["dark", "light"]
    frame = pl.DataFrame({ROW: pl.Series(range(200), dtype=pl.UInt64), "scan": pictures, "label": labels})
    cleaner = fitted(frame, {"scan": "image", "label": "binary"})
    assert set(range(200)) - set(cleaner.apply(frame)[ROW]) == {4, 7}


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_numbers_far_from_what_the_rest_says(frame: pl.DataFrame) -> None:
    numbers = frame.with_columns(y=pl.col("x") * 0 + pl.Series(np.random.default_rng(1).normal(size=NUM_ROWS)))
    numbers[7, "y"] = 90.0
    types = {"x": "number", "y": "number"}
    assert set(frame[ROW]) - set(fitted(numbers, types).apply(numbers)[ROW]) == {107}
    assert abs(fitted(numbers, types, action="fix").apply(numbers)["y"][7]) < 20


def test_faults_of_the_user_are_named(frame: pl.DataFrame) -> None:
    with pytest.raises(DataError, match='no column "z", found x, y'):
        fitted(frame, TYPES, output="z")
    with pytest.raises(DataError, match="no column is left to judge y by"):
        fitted(frame.select(ROW, "y"), {"y": "binary"})


def test_the_confident_joint_of_the_paper() -> None:
    """Thresholds are 0.7 and 0.6: the last row is given 0 and confidently 1; the third is confidently of neither."""
    probabilities = np.array([[0.95, 0.05], [0.9, 0.1], [0.55, 0.45], [0.4, 0.6], [0.4, 0.6]])
    joint = confident_joint(probabilities, np.array([0, 0, 0, 1, 0]))
    assert joint.tolist() == [[2, 1], [0, 1]]


def test_label_quality_ranks_and_doubts() -> None:
    probabilities = np.array([[0.99, 0.01]] * 20 + [[0.01, 0.99]] * 20)
    labels = np.array([0] * 19 + [1] + [1] * 20)
    found = label_quality(probabilities, labels)
    assert found.scores.argmin() == 19
    assert found.suspects.nonzero()[0].tolist() == [19]
    assert found.suggested[19] == 0
    assert found.joint.sum() <= 40


def test_calibration_sharpens_careful_models_and_leaves_others() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 600)
    careful = np.full((600, 3), 0.3)
    careful[np.arange(600), labels] = 0.4
    assert calibrated(careful, labels)[np.arange(600), labels].min() > 0.9
    honest = random.dirichlet([1, 1, 1], 600)
    drawn = np.array([random.choice(3, p=row) for row in honest])
    assert calibrated(honest, drawn) == pytest.approx(honest, abs=1e-5)


def test_rows_are_ordered_halfway_to_calibration_only_where_they_are_few() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 3_000)
    probabilities = random.dirichlet([1, 1, 1], 3_000)
    probabilities[np.arange(3_000), labels] += 1.0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    many, few = label_quality(probabilities, labels), label_quality(probabilities[:1_500], labels[:1_500])
    assert np.array_equal(many.scores, probabilities[np.arange(3_000), labels]), "as they came: calibration orders them worse"
    own = np.arange(1_500), labels[:1_500]
    between = np.stack([probabilities[:1_500][own], few.probabilities[own]])
    assert (few.scores >= between.min(axis=0) - 1e-9).all() and (few.scores <= between.max(axis=0) + 1e-9).all()
    assert not np.array_equal(few.scores, probabilities[:1_500][own])


def test_robust_deviations_of_numbers() -> None:
    given = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
    assert number_quality(np.zeros(5), given).argmax() == 4
    assert number_quality(given, given).tolist() == [0.0] * 5
