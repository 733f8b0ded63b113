"""The contract suite of families: `check_family(make, folder)` for each file in lode/model/families, and for others.

Read `lode.model.contracts.Family` first: every check below is one of its sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lode.core.registry import REGISTRIES
from lode.core.types import Component, FlatSpec, TensorSpec
from lode.model.contracts import Context, Examples, Family, Shapes, Task
from lode.model.training import Training

Make = Callable[[Shapes, Mapping[str, Task]], Family]
NUM_ROWS = 300
ROUNDS = 2
SHAPES = Shapes(
    inputs={"size": TensorSpec("float32", (2,)), "kind": TensorSpec("int32", (), cardinality=5)},
    flat=FlatSpec(("size.a", "size.b", "kind"), (0, 0, 5)),
)


def check_family(make: Make, folder: Path) -> None:
    """Everything below. make: the class, or what makes it with options; folder: an empty place for saved models."""
    check_scores(make)
    check_same_seed_same_bytes(make, folder / "seed")
    check_saved_and_loaded(make, folder / "saved")
    check_rows_do_not_depend_on_the_batch(make)
    check_rounds(make, folder / "rounds")
    check_missing_values(make)
    check_rows_without_target(make)
    check_it_learns(make)
    check_cost(make)


def tasks() -> dict[str, Task]:
    """One task of every kind, fitted."""
    wanted = {
        "flag": (Component("binary", {"positive": "yes"}), ["no", "yes"]),
        "class": (Component("multiclass"), ["a", "b", "c"]),
        "number": (Component("number"), [-1.0, 0.0, 1.0]),
    }
    made = {}
    for name, (component, values) in wanted.items():
        made[name] = REGISTRIES["task"].create(component)
        made[name].fit(np.array(values, dtype=object))
    return made


def examples(num_rows: int = NUM_ROWS, seed: int = 0) -> Examples:
    """Rows in which every target depends on the inputs; the flat matrix and the arrays say the same."""
    generator = np.random.default_rng(seed)
    size = generator.normal(size=(num_rows, 2)).astype(np.float32)
    kind = generator.integers(1, 5, num_rows).astype(np.int32)
    signal = size[:, 0] + (kind == 2)
    targets = {
        "flag": (signal + generator.normal(0, 0.3, num_rows) > 0).astype(np.int64),
        "class": np.digitize(signal + generator.normal(0, 0.3, num_rows), [-0.5, 0.8]).astype(np.int64),
        "number": (signal + generator.normal(0, 0.3, num_rows)).astype(np.float32),
    }
    flat = np.column_stack([size, kind]).astype(np.float32)
    return Examples(num_rows, {"size": size, "kind": kind}, flat, targets)


def context(rounds: int | None = None, seed: int = 3) -> Context:
    """A short and quick fit."""
    return Context(seed=seed, rounds=rounds, training=Training(epochs=ROUNDS, batch=32, threads=1, precision="fp32"))


def fitted(make: Make, rounds: int | None = None) -> Family:
    """A family fitted on sample rows."""
    family = make(SHAPES, tasks())
    stop = None if rounds is not None else examples(100, seed=1)
    family.fit(examples(), stop, context(rounds))
    return family


def check_scores(make: Make) -> None:
    """Scores are finite float32 (N, K) for every output, for no rows too."""
    family = fitted(make)
    for num_rows in (50, 1, 0):
        scores = family.predict(examples(num_rows, seed=2))
        for name, task in tasks().items():
            assert scores[name].dtype == np.float32 and scores[name].shape == (num_rows, task.num_scores)
            assert np.isfinite(scores[name]).all()


def check_same_seed_same_bytes(make: Make, folder: Path) -> None:
    """Two fits with one seed save the same bytes."""
    fitted(make).save(folder / "one")
    fitted(make).save(folder / "two")
    assert _bytes(folder / "one") == _bytes(folder / "two"), "the same seed gave another model"


def check_saved_and_loaded(make: Make, folder: Path) -> None:
    """What is loaded predicts bit for bit what was saved, and saves the same bytes again."""
    family, rows = fitted(make), examples(50, seed=2)
    family.save(folder / "one")
    other = make(SHAPES, tasks())
    other.load(folder / "one")
    for name, scores in family.predict(rows).items():
        assert np.array_equal(scores, other.predict(rows)[name]), f'output "{name}" changed by saving and loading'
    other.save(folder / "two")
    assert _bytes(folder / "one") == _bytes(folder / "two")
    assert not any(path.suffix in (".pkl", ".pickle", ".joblib", ".pt") for path in folder.rglob("*")), "no pickle"


def check_rows_do_not_depend_on_the_batch(make: Make) -> None:
    """One row at a time gives what all rows give at once, within 1e-5."""
    family, rows = fitted(make), examples(40, seed=2)
    whole = family.predict(rows)
    for row in range(0, 40, 5):
        for name, scores in family.predict(rows.take(np.array([row]))).items():
            np.testing.assert_allclose(scores[0], whole[name][row], rtol=1e-5, atol=1e-5)


def check_rounds(make: Make, folder: Path) -> None:
    """With `Context.rounds` a fit needs no stop rows, does exactly so many rounds, and is deterministic."""
    family = make(SHAPES, tasks())
    assert family.fit(examples(), None, context(ROUNDS)).rounds in (None, ROUNDS)
    family.save(folder / "one")
    fitted(make, ROUNDS).save(folder / "two")
    assert _bytes(folder / "one") == _bytes(folder / "two")


def check_missing_values(make: Make) -> None:
    """NaN in the flat matrix (numbers) and code 0 (categories) are values that were missing: fitted and predicted."""
    rows = examples()
    flat, kind = rows.flat.copy(), rows.arrays["kind"].copy()
    flat[::7, 0], flat[::5, 2], kind[::5] = np.nan, 0, 0
    holes = Examples(rows.num_rows, {**rows.arrays, "kind": kind}, flat, rows.targets)
    family = make(SHAPES, tasks())
    family.fit(holes, None, context(ROUNDS))
    everything_missing = Examples(2, {"size": np.zeros((2, 2), np.float32), "kind": np.zeros(2, np.int32)}, flat[:2] * 0)
    everything_missing.flat[:, :2] = np.nan
    for part in (holes, everything_missing):
        assert all(np.isfinite(scores).all() for scores in family.predict(part).values())


def check_rows_without_target(make: Make) -> None:
    """A target of -1 or NaN teaches nothing, and does not hinder."""
    rows = examples()
    targets = {name: target.copy() for name, target in rows.targets.items()}
    targets["flag"][::3], targets["class"][::4], targets["number"][::5] = -1, -1, np.nan
    family = make(SHAPES, tasks())
    family.fit(Examples(rows.num_rows, rows.arrays, rows.flat, targets), None, context(ROUNDS))
    assert all(np.isfinite(scores).all() for scores in family.predict(rows).values())


def check_it_learns(make: Make) -> None:
    """On the rows of the fit it is no worse than knowing nothing."""
    rows = examples()
    scores = fitted(make, 20).predict(rows)
    sign = np.where(rows.targets["flag"] == 1, 1.0, -1.0)
    assert np.logaddexp(0, -sign * scores["flag"][:, 0]).mean() < np.log(2) + 0.02
    number = rows.targets["number"]
    assert ((scores["number"][:, 0] - number) ** 2).mean() < number.var() * 1.02


def check_cost(make: Make) -> None:
    """Parameters, operations and bytes are counted."""
    cost = fitted(make, ROUNDS).cost()
    assert cost.parameters > 0 and cost.flops_per_row >= 0 and cost.weight_bytes > 0


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
