"""The clock of a budget: it runs from when the stage began, and over every try of it."""

from __future__ import annotations

import time
from pathlib import Path

from lode.pipeline.schedule import Clock


def test_what_was_before_the_first_fit_counts(tmp_path: Path) -> None:
    now_s = time.monotonic()
    fresh, late = Clock(tmp_path, 100.0, now_s), Clock(tmp_path, 100.0, now_s - 40.0)
    assert 90.0 < fresh.left_s() < 100.0, "some is kept for what comes after the fits"
    assert fresh.left_s() - late.left_s() > 39.0
    assert Clock(tmp_path, 100.0, now_s - 1000.0).left_s() == 0.0


def test_a_killed_try_counts(tmp_path: Path) -> None:
    now_s = time.monotonic()
    Clock(tmp_path, 100.0, now_s - 30.0).note()
    assert Clock(tmp_path, 100.0, now_s).left_s() < 70.0


def test_a_fit_that_is_killed_has_spent_its_time(tmp_path: Path) -> None:
    now_s = time.monotonic()
    clock, told = Clock(tmp_path, 100.0, now_s - 30.0), []
    clock.noting(lambda *words: told.append(words))("trees", 1, 9, {"loss": 0.5})
    assert told == [("trees", 1, 9, {"loss": 0.5})]
    assert Clock(tmp_path, 100.0, now_s).left_s() < 70.0, "its first word of progress noted the clock"
