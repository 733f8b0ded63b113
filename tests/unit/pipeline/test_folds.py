"""Rows that fit, stop and judge are never the same rows; groups stay together; classes keep their shares."""

from __future__ import annotations

import numpy as np
import pytest

from lode.core.errors import DataError
from lode.pipeline.folds import FOLDS, plan

TARGET = np.tile([0, 0, 0, 1], 250)


@pytest.mark.parametrize("small", [True, False])
def test_no_row_has_two_roles(small: bool) -> None:
    made = plan(800, 200, TARGET, True, small, None, seed=3)
    for part in made.rounds:
        roles = np.concatenate([part.fit, part.stop, part.judge])
        assert len(np.unique(roles)) == len(roles)
        assert len(part.stop) and len(part.judge)


def test_out_of_fold_judges_every_row_once() -> None:
    made = plan(800, 200, TARGET, True, True, None, seed=0)
    assert made.kind == "out of fold" and len(made.rounds) == FOLDS
    assert sorted(made.judged) == list(range(1000))


def test_holdout_learns_from_the_training_split_only() -> None:
    made = plan(800, 200, TARGET, True, False, None, seed=0)
    (part,) = made.rounds
    assert list(part.fit) == list(range(800))
    assert sorted([*part.stop, *part.judge]) == list(range(800, 1000))


def test_every_fold_has_the_share_of_each_class() -> None:
    rounds = plan(800, 200, TARGET, True, True, None, seed=1).rounds
    assert len(rounds) == FOLDS
    for part in rounds:
        assert np.mean(TARGET[part.judge]) == pytest.approx(0.25, abs=0.01)
        assert np.mean(TARGET[part.stop]) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("small", [True, False])
def test_groups_stay_together(small: bool) -> None:
    groups = np.arange(1000) // 5
    rounds = plan(800, 200, TARGET, True, small, groups, seed=2).rounds
    assert len(rounds) == (FOLDS if small else 1)
    for part in rounds:
        fit, stop, judge = (set(groups[rows]) for rows in (part.fit, part.stop, part.judge))
        assert not stop & judge and (not small or (not fit & stop and not fit & judge))


def test_the_same_seed_gives_the_same_plan() -> None:
    one, two, other = (plan(800, 200, TARGET, True, True, None, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(one.judged, two.judged) and not np.array_equal(one.judged, other.judged)


def test_too_few_validation_rows_are_named() -> None:
    with pytest.raises(DataError, match=r"data.split.validation: 10 validation rows, at least 32"):
        plan(800, 10, TARGET[:810], True, False, None, seed=0)


def test_too_few_groups_are_named() -> None:
    with pytest.raises(DataError, match="groups are left for training, at least 3 are needed"):
        plan(90, 10, TARGET[:100], True, True, np.arange(100) // 50, seed=0)
