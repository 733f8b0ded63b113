"""`data.select` and `data.reduce` inside a preprocessor, against scikit-learn, on real tables."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.metrics import mutual_info_score

from lode.core.errors import DataError
from lode.core.types import Component, FlatSpec
from lode.data import select as selecting
from lode.data.preprocess import Preprocessor
from lode.data.reduce import MAX_COLUMNS, Components, Reduce
from lode.data.select import Select

CANCER = load_breast_cancer()
NAMES = [name.replace(" ", "_") for name in CANCER.feature_names]
FRAME = pl.DataFrame(dict(zip(NAMES, CANCER.data.T.copy(), strict=True))).with_columns(
    noise=pl.Series(np.random.default_rng(0).normal(size=569)),
    id=pl.Series([f"row-{place}" for place in range(569)]),
    constant=pl.lit("same"),
)
FEATURES = {name: Component("number") for name in (*NAMES, "noise")} | {
    "id": Component("category"),
    "constant": Component("category"),
}
TARGET = CANCER.target.astype(np.int64)


def _fitted(**options: object) -> Preprocessor:
    preprocessor = Preprocessor(FEATURES, **options)
    preprocessor.fit(FRAME, TARGET)
    return preprocessor


def test_mutual_information_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    left = generator.integers(0, 30, 500)
    right = (left + generator.integers(0, 9, 500)) % 4
    assert selecting.mutual_information(left, right) == pytest.approx(mutual_info_score(left, right), abs=1e-12)


def test_terms_have_the_mutual_information_of_their_presence() -> None:
    there = np.random.default_rng(0).random((400, 5)) < 0.3
    target = np.where(there[:, 2], np.random.default_rng(1).integers(0, 3, 400), 0)
    found = selecting._presence(sparse.csr_matrix(there.astype(np.float64)), target)
    expected = [mutual_info_score(column, target) for column in there.T]
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_ids_noise_and_constants_say_nothing_and_what_tells_the_classes_apart_comes_first() -> None:
    selection = _fitted(select=Select(keep=5)).selection
    scores = selection["scores"]
    assert max(scores[name] for name in ("noise", "id", "constant")) < 0.03
    best = sorted(scores, key=lambda name: -scores[name])[:5]
    assert {"worst_perimeter", "worst_area", "worst_radius"} <= set(best)
    assert sorted(selection["kept"]) == sorted(best)


def test_numbers_can_be_what_is_learnt() -> None:
    data = load_diabetes()
    frame = pl.DataFrame(dict(zip(data.feature_names, data.data.T.copy(), strict=True)))
    preprocessor = Preprocessor({name: Component("number") for name in frame.columns}, select=Select(keep=3))
    preprocessor.fit(frame, data.target.astype(np.float32))
    assert {"bmi", "s5"} <= set(preprocessor.inputs)


def test_variance_does_not_depend_on_units() -> None:
    spec = FlatSpec(("",), (0,))
    values = np.random.default_rng(0).normal(size=(1000, 1)).astype(np.float32)
    first, second = (selecting.score("variance", spec, values * factor, None) for factor in (1, 1e-6))
    assert first > 0 and first == pytest.approx(second, rel=1e-5)
    assert selecting.score("variance", spec, np.ones((9, 1), np.float32), None) == 0
    codes = np.array([[1], [1], [2], [2]], np.float32)
    assert selecting.score("variance", FlatSpec(("",), (3,)), codes, None) == 0.5
    preprocessor = _fitted(select=Select(by="variance", keep=31))
    assert "constant" not in preprocessor.inputs


def test_an_input_that_was_dropped_is_not_needed_and_not_refused() -> None:
    preprocessor = _fitted(select=Select(keep=3))
    kept, dropped = list(preprocessor.inputs), "noise"
    assert [column.name for column in preprocessor.columns] == kept and len(kept) == 3
    assert preprocessor.problems(FRAME.select(kept), strict=True) == []
    assert preprocessor.problems(FRAME.select([*kept, dropped]), strict=True) == []
    (problem,) = preprocessor.problems(FRAME.select(kept).with_columns(nois=pl.lit(1.0)), strict=True)
    assert problem.column == "nois"
    assert preprocessor.flat(FRAME).tobytes() == preprocessor.flat(FRAME.select(kept)).tobytes()


def test_what_is_selected_is_what_a_preprocessor_of_these_inputs_alone_gives() -> None:
    cleaners = [Component("missing", {"numbers": "median"})]
    frame = FRAME.with_columns(pl.when(pl.col("worst_area") > 900).then(None).otherwise(pl.col("worst_area")).alias("worst_area"))
    chosen = Preprocessor(FEATURES, cleaners, select=Select(keep=4))
    chosen.fit(frame, TARGET)
    alone = Preprocessor({name: FEATURES[name] for name in chosen.inputs}, cleaners)
    alone.fit(frame, TARGET)
    assert chosen.flat(frame).tobytes() == alone.flat(frame).tobytes()


def test_mutual_information_needs_an_output() -> None:
    with pytest.raises(DataError, match=r"data\.select\.by: .*allowed: variance"):
        Preprocessor(FEATURES, select=Select()).fit(FRAME)


@pytest.mark.parametrize("components", [3, 0.9, 0.99])
def test_directions_are_those_of_scikit_learn(components: float) -> None:
    preprocessor = Preprocessor({name: FEATURES[name] for name in NAMES}, reduce=Reduce(components=components))
    plain = Preprocessor({name: FEATURES[name] for name in NAMES})
    for made in (preprocessor, plain):
        made.fit(FRAME)
    scaled = np.concatenate(list(plain.arrays(FRAME).values()), axis=1).astype(np.float64)
    theirs = PCA(components, whiten=True, svd_solver="full").fit(scaled)
    ours = preprocessor.arrays(FRAME)["pca"]
    expected = theirs.transform(scaled)
    assert ours.shape == expected.shape
    signs = np.sign((ours * expected).sum(axis=0))
    np.testing.assert_allclose(ours, expected * signs, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(preprocessor.reduction["explained"], theirs.explained_variance_ratio_, rtol=1e-9)


def test_many_chunks_give_the_directions_of_one() -> None:
    matrix = np.random.default_rng(0).normal(size=(5_000, 6)) @ np.diag([9, 5, 3, 1, 0.1, 0]) + 1e4
    found = []
    for size in (5_000, 7):
        components = Components()
        components.fit((matrix[start : start + size] for start in range(0, 5_000, size)), 6)
        found.append(components.transform(matrix))
    assert found[0].shape[1] == 5, "a direction without variance is left out"
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_a_reduced_table_keeps_its_other_inputs_and_needs_all_numbers() -> None:
    preprocessor = _fitted(reduce=Reduce(components=4))
    assert list(preprocessor.specs) == ["id", "constant", "pca"] and preprocessor.specs["pca"].shape == (4,)
    assert preprocessor.flat_spec.names == ("id", "constant", "pca.1", "pca.2", "pca.3", "pca.4")
    assert preprocessor.inputs == tuple(FEATURES)
    holes = FRAME.with_columns(pl.lit(None, dtype=pl.Float64).alias("worst_area"))
    assert np.isfinite(preprocessor.arrays(holes)["pca"]).all()


@pytest.mark.parametrize(
    "options", [{"select": Select(keep=6)}, {"reduce": Reduce()}, {"select": Select(keep=6), "reduce": Reduce()}]
)
def test_a_restored_preprocessor_gives_the_same_bits_and_the_same_state(options: dict[str, object], tmp_path) -> None:
    preprocessor = _fitted(**options)
    restored = Preprocessor.from_state(preprocessor.state())
    assert restored.specs == preprocessor.specs and restored.flat_spec == preprocessor.flat_spec
    assert restored.columns == preprocessor.columns and restored.selection == preprocessor.selection
    assert restored.flat(FRAME).tobytes() == preprocessor.flat(FRAME).tobytes()
    written = restored.write_arrays(FRAME, tmp_path)
    for name, array in preprocessor.arrays(FRAME).items():
        assert written[name].tobytes() == array.tobytes()
    assert repr(restored.state()) == repr(preprocessor.state())
    alone, whole = restored.flat(FRAME.slice(7, 1)), restored.flat(FRAME)
    np.testing.assert_allclose(alone, whole[7:8], rtol=1e-5)


def test_fitting_again_starts_from_all_inputs() -> None:
    preprocessor = Preprocessor(FEATURES, select=Select(keep=2))
    preprocessor.fit(FRAME, (FRAME["mean_texture"] > 19).to_numpy().astype(np.int64))
    assert "mean_texture" in preprocessor.inputs
    preprocessor.fit(FRAME, (FRAME["noise"] > 0).to_numpy().astype(np.int64))
    assert "noise" in preprocessor.inputs


def test_a_table_with_one_number_is_not_reduced() -> None:
    preprocessor = Preprocessor({name: FEATURES[name] for name in ("noise", "id")}, reduce=Reduce())
    with pytest.raises(DataError, match=r"found 1 inputs of type number, at least 2 are needed"):
        preprocessor.fit(FRAME)


def test_too_many_columns_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(DataError, match="at most 4,096"):
        Components().fit([np.zeros((2, MAX_COLUMNS + 1), np.float32)], 3)


def test_an_array_of_directions_never_takes_the_name_of_an_input() -> None:
    frame = FRAME.select("noise", "mean_texture").with_columns(pca=FRAME["noise"] * 2)
    preprocessor = Preprocessor({name: Component("number") for name in frame.columns}, reduce=Reduce(components=1))
    preprocessor.fit(frame)
    assert list(preprocessor.specs) == ["pca_"]
