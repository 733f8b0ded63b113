"""How a long verb shows that it lives: a bar on a terminal, a line now and then elsewhere, nothing with --json. All on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_PATIENCE_S = 2.0
"""What is over sooner needs no bar."""
_EVERY_S = 10.0
"""Between two lines where there is no terminal."""


class ProgressBar:
    """A `lode.model.contracts.Progress`: call it with (what, done, total, figures), from any thread. Use it in a `with` block.

    silent: say nothing at all (--json). stream: stderr if None. clock: seconds, monotonic.

    Example:
        with ProgressBar(silent=args.json) as progress:
            run(path, progress=progress, say=progress.say)
    """

    def __init__(self, silent: bool = False, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._silent, self._clock = silent, clock
        self._lock = threading.RLock()
        self._stream = sys.stderr if stream is None else stream
        self._what: str | None = None
        self._started_s = self._said_s = clock()
        self._first = 0
        self._bar: RichProgress | None = None

    def __call__(self, what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Done so far of a total (0: unknown), with figures such as the loss."""
        if self._silent:
            return
        now_s = self._clock()
        with self._lock:
            if what != self._what or done < self._first:
                self._begin(what, done, now_s)
            if self._stream.isatty():
                self._draw(done, total, figures, now_s)
            elif now_s - self._said_s >= _EVERY_S:
                self._said_s = now_s
                self._write(self._line(done, total, figures, now_s))

    def say(self, line: str) -> None:
        """One line for the reader, above the bar if there is one."""
        if self._silent:
            return
        with self._lock:
            if self._bar is not None:
                self._bar.console.print(line, markup=False, highlight=False)
            else:
                self._write(line)

    def close(self) -> None:
        """Take the bar away."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _begin(self, what: str, done: int, now_s: float) -> None:
        self.close()
        if self._what is None:
            self._said_s = now_s
        self._what, self._started_s, self._first = what, now_s, done

    def _draw(self, done: int, total: int, figures: Mapping[str, float], now_s: float) -> None:
        if self._bar is None:
            if now_s - self._started_s < _PATIENCE_S:
                return
            self._bar = _rich_bar(self._stream)
            self._bar.add_task(str(self._what), total=total or None, told="")
            self._bar.start()
        speed = self._speed(done, now_s)
        told = "  ".join(part for part in (_rate(speed), _left(speed, done, total), _figures(figures)) if part)
        self._bar.update(self._bar.task_ids[0], completed=done, total=total or None, told=told)

    def _line(self, done: int, total: int, figures: Mapping[str, float], now_s: float) -> str:
        speed = self._speed(done, now_s)
        reached = f"{done:,}/{total:,} ({100 * done // total} %)" if total else f"{done:,}"
        parts = (f"{self._what}: {reached}", _rate(speed), _left(speed, done, total), _figures(figures))
        return ", ".join(part for part in parts if part)

    def _speed(self, done: int, now_s: float) -> float:
        """Steps per second since this work began."""
        passed_s = now_s - self._started_s
        return (done - self._first) / passed_s if passed_s > 0 else 0.0

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def _rich_bar(stream: TextIO) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    return Progress(*columns, console=Console(file=stream), transient=True, refresh_per_second=4)


def _rate(speed: float) -> str:
    if speed <= 0:
        return ""
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s"


def _left(speed: float, done: int, total: int) -> str:
    """Time left in words: "1 h 05 min left"."""
    if speed <= 0 or not total or done >= total:
        return ""
    seconds = round((total - done) / speed)
    if seconds < 60:
        return f"{seconds} s left"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s left"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min left"


def _figures(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:,.0f}" if value >= 1e4 else f"{name} {value:.4g}" for name, value in figures.items())
