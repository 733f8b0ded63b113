"""Which fits are made: all of them, those that the file pins, or those that a budget allows. What was made is recorded before it is used.

Within a budget every candidate is fitted on the first fold; then those that the greedy ensemble of these takes are fitted on the others,
while there is time. Fits that need no more than a thread of their own (`Family.aside`) run beside the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lode.model.contracts import Progress
from lode.model.pooling import greedy, row_losses
from lode.pipeline.blend import can_blend
from lode.pipeline.portfolio import BASELINES, Slate
from lode.pipeline.state import read_json, write_json
from lode.pipeline.trials import Trial

_RESERVED_SHARE, _RESERVED_S = 0.06, 1.0
"""Of a budget, kept for judging, saving and timing what was fitted."""
_RECORD, _CLOCK = "fitted.json", "clock.json"
_SURELY = 2.0
"""Standard errors by which a candidate must be behind the best to be given up after its first fold."""
_CHEAP = 0.1
"""Share of the time that is left which all folds of a candidate may take so that they come before anything else."""
_LEAST = 0.02
"""Share of a budget with less of which left no further candidate is begun: it would learn nothing."""
_NOTED_EACH_S = 2.0
_LATER = 1.15
"""A further fold may take this much longer than the longest one so far."""


class Clock:
    """Seconds of a budget that are left, over all tries of a killed run. begun_s: when this try began, on the monotonic clock."""

    def __init__(self, scratch: Path, budget_s: float, begun_s: float) -> None:
        self._path, self._begin_s = scratch / _CLOCK, begun_s
        self._before_s = float(read_json(self._path)["spent_s"]) if self._path.is_file() else 0.0
        self._lock, self._noted_s = threading.Lock(), 0.0
        self.least_s = _LEAST * budget_s
        self._usable_s = budget_s - min(budget_s / 2, _RESERVED_S + _RESERVED_SHARE * budget_s)

    def left_s(self) -> float:
        """Never below 0."""
        return max(0.0, self._usable_s - self._spent_s())

    def note(self) -> None:
        """Keep what was spent: a killed run goes on with the rest. Two threads may call it."""
        with self._lock:
            self._noted_s = self._spent_s()
            write_json(self._path, {"spent_s": self._noted_s})

    def noting(self, progress: Progress) -> Progress:
        """The same progress, during which the clock is noted now and then: a fit that is killed after minutes has spent them."""

        def told(what: str, done: int, total: int, figures: dict[str, float]) -> None:
            if self._spent_s() - self._noted_s > _NOTED_EACH_S:
                self.note()
            progress(what, done, total, figures)

        return told

    def _spent_s(self) -> float:
        return self._before_s + time.monotonic() - self._begin_s


def fit_all(trials: Mapping[str, Trial], scratch: Path, clock: Clock | None, slate: Slate) -> dict[str, int]:
    """Fit, and return on how many rounds each candidate was fitted (those without any are left out). clock: None without a budget."""
    path = scratch / _RECORD
    if path.is_file():
        found: dict[str, int] = read_json(path)
        return found
    num_rounds = len(next(iter(trials.values())).development.plan.rounds)
    if slate.pinned is not None or clock is None:
        wanted = {name: _wanted(name, num_rounds, slate.pinned) for name in trials}
        for number in range(num_rounds):
            for name, trial in trials.items():
                if number < wanted[name]:
                    trial.judge(number)
            _release(trials, number, num_rounds)
    else:
        _Lanes(trials, num_rounds, clock, slate).run()
        wanted = {name: _in_a_row(trial, num_rounds) for name, trial in trials.items()}
    fitted = {name: count for name, count in wanted.items() if count}
    write_json(path, fitted, sort_keys=False)
    return fitted


def _wanted(name: str, num_rounds: int, pinned: Mapping[str, int] | None) -> int:
    if pinned is None:
        return num_rounds
    return min(num_rounds, pinned.get(name, 1 if name in BASELINES else 0))


def _release(trials: Mapping[str, Trial], number: int, num_rounds: int) -> None:
    if num_rounds > 1:
        next(iter(trials.values())).rounds.release(number)


def _in_a_row(trial: Trial, num_rounds: int) -> int:
    """Rounds done without a gap: only rows of whole rounds are compared."""
    return next((number for number in range(num_rounds) if not trial.is_done(number)), num_rounds)


def _behind(loss_N: np.ndarray, least_N: np.ndarray) -> float:
    """By how many standard errors a candidate's mean loss is above the least."""
    more_N = loss_N - least_N
    return float(more_N.mean() / max(more_N.std() / np.sqrt(len(more_N)), 1e-12))


Job = tuple[Trial, int]


class _Lanes:
    """Two lanes of work until the budget ends: the calling thread takes anything, a second one what may run aside."""

    def __init__(self, trials: Mapping[str, Trial], num_rounds: int, clock: Clock, slate: Slate) -> None:
        self._trials, self._num_rounds, self._clock, self._named = trials, num_rounds, clock, slate.named
        # Begun whatever the budget: what is compared with, and something that may be packaged.
        self._must = {*BASELINES, *(self._named or slate.allowed)[:1]}
        self._taken: set[tuple[str, int]] = set()
        self._seconds: dict[str, float] = {}
        self._change = threading.Condition()
        self._running, self._failed = 0, False
        self._weighed: tuple[list[str], list[Trial]] = ([], [])  # first folds that were compared, and the order that came of it
        for trial in trials.values():
            for number in range(_in_a_row(trial, num_rounds)):
                self._taken.add((trial.name, number))
                self._seconds[trial.name] = max(self._seconds.get(trial.name, 0.0), trial.seconds(number))

    def run(self) -> None:
        """Errors: whatever a fit raises, in either lane."""
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(self._work, True)
            self._work(False)
            second.result()

    def _work(self, aside: bool) -> None:
        ended = False
        try:
            while (job := self._next(aside)) is not None:
                trial, number = job
                trial.judge(number, time.monotonic() + self._share_s(trial, number))
                with self._change:
                    self._seconds[trial.name] = max(self._seconds.get(trial.name, 0.0), trial.seconds(number))
                    self._running -= 1
                    self._clock.note()
                    self._change.notify_all()
            ended = True
        finally:
            self._clock.note()
            with self._change:
                self._failed = self._failed or not ended
                self._change.notify_all()

    def _next(self, aside: bool) -> Job | None:
        """The next fit of a lane; waits where another lane's fit may bring one. None where there is none any more."""
        with self._change:
            while not self._failed:
                job = next(self._open(aside), None)
                if job is not None:
                    self._taken.add((job[0].name, job[1]))
                    self._running += 1
                    return job
                if not self._running:
                    self._change.notify_all()
                    return None
                self._change.wait()
        return None

    def _open(self, aside: bool) -> Iterator[Job]:
        """What a lane may take, the best first."""
        left_s = self._clock.left_s()
        first = [trial for trial in self._trials.values() if (trial.name, 0) not in self._taken]
        # The calling thread leaves to the other one what that can do.
        first = [trial for trial in first if left_s > self._clock.least_s or trial.name in self._must]
        for trial in sorted(first, key=lambda trial: trial.aside):
            if trial.aside or not aside:
                yield trial, 0
        kept = [trial for trial in self._kept() if trial.aside or not aside]
        # Candidates whose folds take almost nothing come first, then fold by fold.
        cheap = [trial for trial in kept if self._expected_s(trial) * self._num_rounds < _CHEAP * left_s]
        jobs = [(trial, number) for trial in cheap for number in range(1, self._num_rounds)]
        named = [trial for trial in kept if trial.name in self._named]
        jobs += [(trial, number) for number in range(1, self._num_rounds) for trial in named]
        jobs += [(trial, number) for number in range(1, self._num_rounds) for trial in kept]
        for trial, number in jobs:
            new = (trial.name, number) not in self._taken and (trial.name, number - 1) in self._taken
            if new and self._expected_s(trial) < left_s:
                yield trial, number

    def _expected_s(self, trial: Trial) -> float:
        """What a further fold takes."""
        return self._seconds.get(trial.name, 0.0) * _LATER

    def _kept(self) -> Sequence[Trial]:
        """Candidates that are fitted further: those that the file names.

        Then those that the greedy ensemble of the first round takes, by weight, then those that it leaves but that are not surely worse
        than the best: of few rows it cannot tell.
        """
        ready = [trial for trial in self._trials.values() if trial.is_done(0) and trial.name != "constant"]
        if not ready or not can_blend(ready[0].development.tasks):
            return ready
        names = [trial.name for trial in ready]
        if self._weighed[0] != names:
            self._weighed = names, self._by_weight(ready)
        return self._weighed[1]

    def _by_weight(self, ready: Sequence[Trial]) -> list[Trial]:
        development = ready[0].development
        name, task = development.first, development.tasks[development.first]
        scores = {trial.name: trial.scores(1)[name] for trial in ready}
        rows = development.plan.judged[: len(next(iter(scores.values())))]
        known = task.known(development.targets[name][rows])
        scores, target = {word: found[known] for word, found in scores.items()}, development.targets[name][rows[known]]
        shares = greedy(task, scores, target)
        losses = {word: row_losses(task, found, target) for word, found in scores.items()}
        least = min(losses.values(), key=lambda loss_N: float(loss_N.mean()))
        behind = {word: _behind(loss_N, least) for word, loss_N in losses.items()}
        named = self._named
        kept = [trial for trial in ready if trial.name in named or shares[trial.name] > 0 or behind[trial.name] < _SURELY]
        return sorted(kept, key=lambda trial: (trial.name not in named, -shares[trial.name], behind[trial.name]))

    def _share_s(self, trial: Trial, number: int) -> float:
        """Of what is left: a first fit leaves time to the others of its lane, and to one more fold where there are folds."""
        left_s = self._clock.left_s()
        if number or trial.aside:
            return left_s
        with self._change:
            waiting = sum(1 for other in self._trials.values() if other.loop and (other.name, 0) not in self._taken)
        if trial.loop and self._num_rounds == 1:
            return left_s / (waiting + 1)
        return left_s / (waiting + 2)
