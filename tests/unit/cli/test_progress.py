from __future__ import annotations

import io

import pytest

from lode.cli.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that the test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_plain_stream_gets_a_line_every_ten_seconds(clock: Clock) -> None:
    stream = io.StringIO()
    with ProgressBar(stream=stream, clock=clock) as progress:
        for second in range(26):
            clock.now_s = float(second)
            progress("train", 4 * second, 1000, {"loss": 0.31234})
    assert stream.getvalue().splitlines() == [
        "train: 40/1,000 (4 %), 4/s, 4 min 00 s left, loss 0.3123",
        "train: 80/1,000 (8 %), 4/s, 3 min 50 s left, loss 0.3123",
    ]


def test_short_work_says_nothing(clock: Clock) -> None:
    for stream in (io.StringIO(), Terminal()):
        with ProgressBar(stream=stream, clock=clock) as progress:
            for step in range(10):
                clock.now_s += 0.15
                progress("read", step, 10, {})
        assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_after_two_seconds(clock: Clock) -> None:
    stream = Terminal()
    with ProgressBar(stream=stream, clock=clock) as progress:
        progress("train", 0, 100, {})
        assert stream.getvalue() == ""
        clock.now_s = 4.0
        progress("train", 40, 100, {"auc": 0.9})
        progress.say("[a] note")
    shown = stream.getvalue()
    assert "train" in shown and "10/s" in shown and "6 s left" in shown and "auc 0.9" in shown
    assert "[a] note" in shown


def test_an_unknown_total_has_no_share_and_no_time_left(clock: Clock) -> None:
    stream = io.StringIO()
    progress = ProgressBar(stream=stream, clock=clock)
    progress("read", 0, 0, {})
    clock.now_s = 10.0
    progress("read", 5000, 0, {})
    assert stream.getvalue() == "read: 5,000, 500/s\n"


def test_quiet_says_nothing(clock: Clock) -> None:
    stream = io.StringIO()
    with ProgressBar(silent=True, stream=stream, clock=clock) as progress:
        progress("read", 0, 10, {})
        clock.now_s = 60.0
        progress("read", 5, 10, {})
        progress.say("note")
    assert stream.getvalue() == ""


def test_notes_are_lines_on_a_plain_stream(clock: Clock) -> None:
    stream = io.StringIO()
    ProgressBar(stream=stream, clock=clock).say("a note")
    assert stream.getvalue() == "a note\n"
