"""A provider is left alone after failures in a row, and probed by one request at a time."""

from __future__ import annotations

from lode.app.upstream.breaker import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    made = Breaker(clock)
    for _ in range(FAILURES):
        assert made.may_try()
        made.failed()
    return made


def test_it_opens_after_failures_in_a_row_only() -> None:
    made = Breaker(Clock())
    for _ in range(3):
        for _ in range(FAILURES - 1):
            made.failed()
        made.succeeded()
    assert made.may_try() and not made.is_open
    assert not opened(Clock()).may_try()


def test_half_open_lets_one_probe_through_and_closes_when_it_succeeds() -> None:
    clock = Clock()
    made = opened(clock)
    clock.now += FIRST_PAUSE_S
    assert made.may_try() and not made.may_try() and made.is_open
    made.succeeded()
    assert made.may_try() and made.may_try() and not made.is_open


def test_each_failed_probe_doubles_the_pause_up_to_a_ceiling() -> None:
    clock, pauses = Clock(), []
    made = opened(clock)
    for _ in range(9):
        pauses.append(made.wait_s)
        clock.now += made.wait_s
        assert made.may_try()
        made.failed()
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0] and max(pauses) == LONGEST_PAUSE_S


def test_a_probe_that_nobody_waits_for_any_more_leaves_the_place_to_the_next() -> None:
    clock = Clock()
    made = opened(clock)
    clock.now += FIRST_PAUSE_S
    assert made.may_try()
    made.abandoned()
    assert made.may_try()


def test_a_pause_that_the_provider_asks_for_is_kept_but_not_for_ever() -> None:
    clock = Clock()
    made = Breaker(clock)
    made.paused(7.0)
    assert not made.may_try() and made.wait_s == 7.0
    clock.now += 7.0
    assert made.may_try() and made.may_try(), "that was no failure"
    made.paused(1e9)
    assert made.wait_s == 300.0
