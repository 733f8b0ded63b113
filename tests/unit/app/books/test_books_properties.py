"""The books under hostile delivery (T3) and random acts (T5); the full counts are in `prove` and in benchmarks/books_proofs.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.app.books.delivery import deliver
from tests.unit.app.books.machine import Books


def _sequences(count: int) -> settings:
    return settings(
        max_examples=count, stateful_step_count=12, deadline=None, database=None, derandomize=count < 500,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def test_events_sent_again_shuffled_and_months_apart_are_their_set(tmp_path: Path) -> None:
    told = deliver(str(tmp_path / "books.sqlite"), 150, seed=3)
    assert told.repeated > 100 and told.refused > 5 and told.restarts > 0 and told.recorded <= 150


def test_books_agree_with_a_model_after_every_act() -> None:
    run_state_machine_as_test(Books, settings=_sequences(60))


@pytest.mark.prove
def test_hostile_delivery_at_full_count(tmp_path: Path) -> None:
    for seed in range(10):
        deliver(str(tmp_path / f"{seed}.sqlite"), 5000, seed)


@pytest.mark.prove
def test_ten_thousand_sequences_of_acts() -> None:
    for _ in range(20):  # Hypothesis remembers all that it tried in one go
        run_state_machine_as_test(Books, settings=_sequences(500))
