"""Families without a loop under a deadline: they do as much as there is time for, and say so; far from it nothing depends on the clock."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from lode.core.types import FlatSpec
from lode.model import pace
from lode.model.contracts import Context, Examples, Shapes, Task
from lode.model.families import linear, trees
from lode.model.families.linear import Linear
from lode.model.families.trees import Trees
from lode.model.pace import ENDED_BY_CLOCK
from lode.model.tasks.multiclass import Multiclass
from lode.model.tasks.number import Number
from lode.model.tasks.quantiles import Quantiles

NUM_ROWS, NUM_TERMS = 300, 80
SHAPES = Shapes({}, FlatSpec(tuple(f"c{place}" for place in range(NUM_TERMS)), (-1,) * NUM_TERMS))


def learnt(kind: str) -> tuple[Task, Examples]:
    """Sparse terms, and a target that depends on three of them."""
    generator = np.random.default_rng(0)
    flat = sparse.random_array((NUM_ROWS, NUM_TERMS), density=0.2, rng=generator, format="csr").astype(np.float32)
    value = flat[:, :3].toarray() @ [3.0, -2.0, 1.0] + generator.normal(0, 0.3, NUM_ROWS)
    task: Task = {"classes": Multiclass, "number": Number, "quantiles": Quantiles}[kind]()
    raw = np.digitize(value, [-0.2, 0.0, 0.2]) if kind == "classes" else value
    task.fit(raw)
    return task, Examples(NUM_ROWS, {}, flat, {"y": task.encode(raw)})


def dear(monkeypatch: pytest.MonkeyPatch, gradient_s: float) -> None:
    """A gradient of all rows takes so long; the clock itself stands still."""
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: 5000.0))
    monkeypatch.setattr(pace.Pace, "measure", lambda self, *_: setattr(self, "_gradient_s", gradient_s))


@pytest.mark.parametrize("kind", ["classes", "number", "quantiles"])
def test_far_from_a_deadline_nothing_depends_on_it(kind: str) -> None:
    task, examples = learnt(kind)
    free, bound = Linear(SHAPES, {"y": task}), Linear(SHAPES, {"y": task})
    told = free.fit(examples, None, Context()), bound.fit(examples, None, Context(deadline_s=1e6))
    assert told[0] == told[1]
    np.testing.assert_array_equal(free.predict(examples)["y"], bound.predict(examples)["y"])


@pytest.mark.parametrize("kind", ["classes", "number", "quantiles"])
def test_a_dear_solution_takes_as_many_steps_as_there_is_time_for(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task, examples = learnt(kind)
    dear(monkeypatch, 1.0)
    asked: list[int] = []
    whole = pace.Pace.iterations

    def iterations(self: Any, row_share: float, most: int) -> int:
        asked.append(whole(self, row_share, most))
        return asked[-1]

    monkeypatch.setattr(pace.Pace, "iterations", iterations)
    fitted = Linear(SHAPES, {"y": task}).fit(examples, None, Context(deadline_s=30.0))
    assert fitted.choices[ENDED_BY_CLOCK]
    assert {value for name, value in fitted.choices.items() if name.startswith("penalty")} == {1.0}, "no time to choose one"
    # The clock stands still: what one part leaves is there for the next. Ten steps are never too many.
    assert asked == [max(10, int(30 / left / 1.3)) for left in range(len(task.parts()), 0, -1)]


def test_the_penalty_is_chosen_on_as_many_folds_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    task, examples = learnt("classes")
    dear(monkeypatch, 0.001)
    now = [5000.0]
    for module in (pace, linear):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    solved: list[float] = []
    whole = linear._logistic

    def logistic(*words: Any) -> Any:
        solved.append(words[3])
        now[0] += 1.0
        return whole(*words)

    monkeypatch.setattr(linear, "_logistic", logistic)
    fitted = Linear(SHAPES, {"y": task}).fit(examples, None, Context(deadline_s=20.0))
    # 12 of the 20 seconds are the choice's: a second fold of six would end with them, a third one after them.
    assert len(solved) == 2 * 6 + 1 and solved[:6] == solved[6:12]
    assert fitted.choices[ENDED_BY_CLOCK]


def test_parts_of_an_output_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    task, examples = learnt("quantiles")
    given: list[float | None] = []

    class Report(trees._Report):
        def __init__(self, progress: Any, total: int, deadline_s: float | None = None) -> None:
            given.append(deadline_s)
            super().__init__(progress, total, deadline_s)

    monkeypatch.setattr(trees, "_Report", Report)
    monkeypatch.setattr(trees, "time", SimpleNamespace(monotonic=lambda: 5000.0))
    fitted = Trees(SHAPES, {"y": task}, rounds=3).fit(examples, None, Context(deadline_s=60.0, rounds=3))
    parts = len(task.parts())
    assert given == [60.0 / left for left in range(parts, 0, -1)]
    assert ENDED_BY_CLOCK not in fitted.choices
    Trees(SHAPES, {"y": task}, rounds=3).fit(examples, None, Context(rounds=3))
    assert given[parts:] == [None] * parts


def test_trees_that_a_deadline_ends_say_so(tmp_path: Path) -> None:
    task, examples = learnt("number")
    fitted = Trees(SHAPES, {"y": task}, rounds=50).fit(examples, examples, Context(deadline_s=0.0))
    assert fitted.choices[ENDED_BY_CLOCK] and fitted.rounds == 1
