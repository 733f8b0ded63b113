"""The training loop: epochs -> order of the rows -> batches -> augment -> loss -> backward -> clip -> step -> judge -> keep the best.

It knows modules, losses and rows, and nothing of networks. Read `fit` first, then `_Loop` from top to bottom.
Everything random is drawn from (seed, epoch, position), so that a fit killed anywhere goes on exactly where its last checkpoint was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from lode.core.errors import ArtifactError, ModelError
from lode.model import checkpoint as files
from lode.model import explain, machine, memory, schedules
from lode.model.allocator import kept_memory
from lode.model.average import Average
from lode.model.choices import Choices
from lode.model.contracts import Context, Fitted
from lode.model.feed import Feed, Piece
from lode.model.logs import Logs
from lode.model.loop_state import LoopState
from lode.model.measure import Pace, settle, with_look
from lode.model.optim import Optimizer, inner_weights
from lode.model.parallel import Team
from lode.model.parts import Parts
from lode.model.recompute import blocks_again
from lode.model.rounds import Rounds, spread
from lode.model.scaling import Scaler
from lode.model.throughput import Meter
from lode.model.training import Training

Augmentation = Callable[[Iterator[list[Any]], torch.Generator], Iterator[list[Any]]]

_STRETCH_STEPS, _STRETCH_S = 64, 0.5
"""The host looks at the losses after so many steps, or so many seconds: it waits for the device then, never in a step."""
_GOOD_STEPS = 256
"""A state to go back to is copied at most so often."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One loss and the parameters that it moves, every so many steps. Most families have one, an adversarial one has two.

    loss: the mean over a batch; where the batch is a piece of a larger one, of the piece (see `Piece.share`).
    """

    parameters: Sequence[torch.nn.Parameter]
    loss: Callable[[Any], torch.Tensor]
    every: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be fitted, and on what. augment changes batches on their way; layer_name says a submodule's name in an error.

    on_progress: told the share of the steps done, before each of them (for a dropout that falls, and the like).
    figures: what the history tells of the stop rows beside their loss, means over a batch. meter: how fast it learns, for texts.
    fixed: weights of the module that nobody changes and every start brings again (a frozen base): no copy holds them.
    """

    module: torch.nn.Module
    objectives: Sequence[Objective]
    train: Feed
    stop: Feed | None
    rows_per_forward: int = 1024
    augment: Augmentation | None = None
    layer_name: Callable[[str], str] = str
    on_progress: Callable[[float], None] | None = None
    figures: Callable[[Any], dict[str, torch.Tensor]] | None = None
    meter: Meter | None = None
    fixed: Collection[str] = ()


def fit(job: Job, choices: Choices, training: Training, context: Context) -> Fitted:
    """Fit `job.module` in place and leave it in its best state: the one with the least loss on the stop rows, else the last.

    Resumes from `context.folder`. Errors: ModelError where a loss is not finite, naming epoch, batch and layer, and where memory does
    not suffice for one row; ArtifactError where the folder's checkpoint is of another network.
    """
    started_s = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(kept_memory())
        stack.enter_context(machine.own_randomness(choices.device, training.deterministic))
        if training.checkpoint_activations:
            stack.enter_context(blocks_again(job.module))
        team = context.team or Team()
        place = context if team.is_first else replace(context, folder=None)
        if context.survey is not None:
            told = context.survey(job, choices, training, partial(_try, job, training, None, choices))
            if told is not None:
                return told
        choices = settle(choices, place, Rounds(job.train, choices).steps, partial(_try, job, training, context.team))
        choices = with_look(replace(choices, steps=team.first_number(choices.steps)))
        stack.enter_context(machine.running(job.module, choices))
        # What is measured before the first step is part of the time that the fit has.
        loop = _Loop(job, choices, training, context, started_s)
        loop.run()
    state = loop.state
    done = {**asdict(choices), "measure": list(choices.measure), "steps": state.step, "most_steps": 0, "accumulate": state.pieces}
    done |= {} if job.meter is None else job.meter.total()
    return Fitted(state.best_epoch or state.epoch, tuple(state.history), done)


class _Loop:
    def __init__(self, job: Job, choices: Choices, training: Training, context: Context, started_s: float | None = None) -> None:
        self.job, self.choices, self.training, self.context = job, choices, training, context
        self.team: Team = context.team or Team()
        self.state = LoopState(pieces=choices.accumulate)
        self.best: dict[str, torch.Tensor] = {}
        inner = inner_weights(job.module) if choices.optimizer == "muon" else ()
        self.optimizers = [Optimizer(objective.parameters, choices, inner) for objective in job.objectives]
        self.average = None if choices.ema is None else Average(job.module, choices.ema, job.fixed)
        self.scaler = Scaler(choices.device) if choices.precision == "fp16" else None
        self.parts = Parts(job.module, self.optimizers, self.average, self.scaler, self.team, job.fixed)
        self.parameters = list(job.module.parameters())
        self.rounds = Rounds(job.train, choices)
        if not len(self.rounds.index):
            raise ModelError("training: no training row has a target, at least one is needed. Check the output's column.")
        self.stop_index = np.zeros(0, np.int64) if job.stop is None else spread(job.stop.trainable, choices.judge_rows)
        self.num_rows, self.steps_per_epoch = self.rounds.num_rows, self.rounds.steps
        self.steps = choices.steps or self.steps_per_epoch * choices.epochs
        self.least_rows = memory.least_rows(job.module, choices.batch, choices.accumulate if self.team.is_alone else 1)
        self.chunk_rows = job.train.chunk_batches(choices.batch) * choices.batch
        self.generator = torch.Generator(device=choices.device)
        self.autocast = machine.autocast(choices)
        self.writer = self.parts.writer(context.folder)
        self.logs = Logs((training.log or ()) if self.team.is_first else (), context.log_folder)
        self.good: files.Checkpoint | None = None
        self.saved_s = time.monotonic()
        self.pace = Pace(context.deadline_s, choices.most_steps, self.saved_s if started_s is None else started_s)

    def run(self) -> None:
        """All that is left of the fit."""
        self.resume()
        try:
            while not self.state.stopped and self.state.step < self.steps:
                self.train_epoch()
                self.judge_epoch()
                self.checkpoint_if_due()
        finally:
            self.logs.close()
            if self.writer is not None:
                self.writer.join()
        if self.writer is not None:
            self.writer.wait()
        self.keep_best()

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if there is one."""
        found = self.parts.read(self.context.folder)
        if found is None:
            return
        try:
            self.restore(found)
        except (RuntimeError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{self.context.folder}: found a checkpoint of another network ({error}), allowed is one of this file. "
                "Delete it to train from the start."
            ) from error
        self.steps = self.state.steps or self.steps
        self.pace.resume(self.state.left_s, self.state.step)

    def train_epoch(self) -> None:
        """The rest of an epoch, a stretch of steps at a time."""
        order = self.rounds.order(self.state.epoch)
        self.job.module.train()
        self.good = None
        while self.state.position < self.num_rows and self.state.step < self.steps and not self.state.stopped:
            if self.good is None or self.state.step - self.good.record["step"] >= _GOOD_STEPS:
                self.good = None  # the older copy makes room for the newer one
                self.good = self.parts.capture(asdict(self.state))
            start_s = time.monotonic()
            try:
                losses, rows = self.train_stretch(order)
            except (RuntimeError, MemoryError) as error:
                if not memory.is_out(error) or not self.team.is_alone:
                    raise
                del error  # and with it the frames that hold what filled the memory
                self.cut_batches()
                continue
            self.look_at(losses, rows, order, start_s)
            if self.context.deadline_s is not None:
                self.state.stopped = self.team.agrees(self.pace.is_late)
                self.state.left_s = self.pace.left_s
                self.steps = self.state.steps = self.team.first_number(self.pace.steps(self.state.step, self.steps))
            if self.state.position < self.num_rows:
                self.checkpoint_if_due()

    def train_stretch(self, order: np.ndarray) -> tuple[list[torch.Tensor], list[int]]:
        """Steps over the next chunks: losses (on the device) and rows of each. Ends with a chunk; where there is a deadline, anywhere."""
        losses: list[torch.Tensor] = []
        counts: list[int] = []
        until_s = time.monotonic() + _STRETCH_S
        # A chunk may take long, and the plan must follow the pace; a team leaves a chunk together. Without a plan, what is drawn for
        # a chunk must not depend on time.
        leave_s = until_s if self.team.is_alone and self.context.deadline_s is not None else math.inf
        while self.state.position < self.num_rows and self.state.step < self.steps:
            for batch in self.chunk(order):
                losses.append(self.train_step(batch))
                counts.append(min(self.choices.batch, self.num_rows - self.state.position))
                self.state.step += 1
                self.state.position += counts[-1]
                if time.monotonic() >= leave_s:
                    return losses, counts
            if self.team.agrees(len(losses) >= _STRETCH_STEPS or time.monotonic() >= until_s):
                break
        return losses, counts

    def chunk(self, order: np.ndarray) -> Iterator[list[Any]]:
        """The next batches, each as a list of its pieces. Dropout and augmentation depend on where they are, not on what came before."""
        state, choices = self.state, self.choices
        num_rows = min(self.chunk_rows, (self.steps - state.step) * choices.batch)
        # Each process drops and augments its rows in its own way
        share = self.team.own_share
        place = [choices.seed, state.step] + [share] * (share > 0)
        machine.seed_all(int(np.random.SeedSequence(place).generate_state(2, np.uint32)[0]), self.generator)
        return self.batches(order[state.position : state.position + num_rows])

    def batches(self, rows: np.ndarray) -> Iterator[list[Any]]:
        """Batches of these rows, each as a list of its pieces, changed at random where the job says so."""
        found = self.job.train.pieces(rows, self.choices.batch, self.state.pieces, self.team)
        return found if self.job.augment is None else self.job.augment(found, self.generator)

    def train_step(self, batch: Sequence[Piece]) -> torch.Tensor:
        """One update of every objective whose turn it is; the first objective's loss."""
        step, first = self.state.step, None
        if self.job.on_progress is not None:
            self.job.on_progress(step / self.steps)
        for objective, optimizer in zip(self.job.objectives, self.optimizers, strict=True):
            if step % objective.every:
                continue
            loss = self.backward(objective, batch)
            self.update(optimizer, step)
            first = loss if first is None else first
        if self.average is not None:
            self.average.update(step)
        assert first is not None, "the first objective takes part in every step"
        return first

    def backward(self, objective: Objective, batch: Sequence[Piece]) -> torch.Tensor:
        """Gradients of a batch's loss, summed over its pieces; the loss."""
        total = None
        for number, piece in enumerate(batch, 1):
            with self.team.adding_up(self.job.module, is_last=number == len(batch)):
                with self.autocast():
                    loss = objective.loss(piece)
                if piece.share != 1.0:
                    loss = loss * piece.share
                # Gradients are averaged over the processes, and each has its share of the loss
                scaled = loss if self.team.num_shares == 1 else loss * self.team.num_shares
                (scaled if self.scaler is None else scaled * self.scaler.scale).backward()
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None, "a batch has a piece"
        return total

    def update(self, optimizer: Optimizer, step: int) -> None:
        """Penalties, clipping and the step itself; no gradient is left, also not where another objective's loss has reached."""
        training, choices = self.training, self.choices
        found_inf = None if self.scaler is None else self.scaler.unscale(optimizer.gradients())
        if training.l1 or training.l2:
            optimizer.add_penalties(training.l1, training.l2)
        optimizer.clip(choices.clip, training.clip_value)
        rate = self.state.rate_factor * schedules.learning_rate(step, self.steps, self.steps_per_epoch, choices)
        optimizer.step(rate, schedules.decay_share(step, self.steps, choices.decay_schedule), found_inf)
        if self.scaler is not None:
            self.scaler.update()
        for parameter in self.parameters:
            parameter.grad = None

    def look_at(self, losses: list[torch.Tensor], rows: list[int], order: np.ndarray, start_s: float) -> None:
        """The losses of a stretch that began at `start_s`. Errors: ModelError where one is not finite or exploded, or a weight is not."""
        state = self.state
        values = self.team.sum(torch.stack(losses)).tolist()
        is_lost = any(state.is_lost(value, values[0]) for value in values)
        # What the last step breaks no later loss may tell, and no checkpoint may hold
        if is_lost or self.team.anywhere(bool(self.parts.broken())):
            self.explain(order)
        state.add(values, rows)
        speed = {} if self.job.meter is None else self.job.meter.add(sum(rows), time.monotonic() - start_s)
        self.context.progress("train", state.step, self.steps, {"epoch": state.epoch + 1, "loss": values[-1], **speed})
        self.logs.write(state.step, {"loss": values[-1], **speed})

    def judge_epoch(self) -> None:
        """Loss on the stop rows; a copy of the best state; the end after `patience` epochs without a better one."""
        state = self.state
        entry = state.close_epoch()
        entry |= {} if self.job.meter is None else self.job.meter.round()
        if len(self.stop_index):
            with nullcontext() if self.average is None else self.average.in_place():
                entry |= memory.smaller(self.job.rows_per_forward, self.judge)
                if state.is_best(entry["stop_loss"], self.choices.patience):
                    self.best = machine.copied(self.parts.weights())
            ends = self.context.watch is not None and self.context.watch(state.epoch, entry["stop_loss"])
            state.stopped |= self.team.agrees(ends)  # of several processes the first one is told
        if self.choices.schedule == "plateau":
            state.drop_rate(entry.get("stop_loss", entry["train_loss"]), self.choices.decay, self.choices.decay_epochs)
        state.stopped |= 0 < self.choices.last_epoch <= state.epoch
        self.logs.write(state.step, {name: value for name, value in entry.items() if name != "epoch"})

    @torch.inference_mode()
    def judge(self, size: int) -> dict[str, float]:
        """Mean of the first objective's loss over the stop rows, `size` at a time, and of what else the job tells of them."""
        rows, index = self.job.stop, self.stop_index
        assert rows is not None, "there is something to judge by"
        self.job.module.eval()
        found, weights = [], []
        for start, is_own in self.team.turns(range(0, len(index), size)):
            for batch in rows.batches(index[start : start + size], size):
                with self.autocast():
                    figures = {"stop_loss": self.job.objectives[0].loss(batch).float()}
                    figures |= {} if self.job.figures is None else self.job.figures(batch)
                found.append(torch.stack(list(figures.values())))
                weights.append(batch.weight * is_own)
        own = [sum(value * weight for value, weight in zip(each, weights, strict=True)) for each in torch.stack(found).T.tolist()]
        *totals, number = self.team.sum(torch.tensor([*own, float(sum(weights))], dtype=torch.float64)).tolist()
        return {name: total / number for name, total in zip(figures, totals, strict=True)}

    def keep_best(self) -> None:
        """The module gets its best state back and is ready to predict."""
        if self.best:
            self.parts.put(self.best)
        elif self.average is not None:
            self.average.put(self.average.means)
        self.job.module.eval()

    def restore(self, found: files.Checkpoint) -> None:
        """Back to what was captured or a file holds; no gradient is left."""
        for parameter in self.parameters:
            parameter.grad = None
        self.parts.restore(found)
        self.best = found.part("best") or self.best
        self.state = LoopState(**found.record)
        self.state.pieces = max(self.state.pieces, self.choices.accumulate)  # memory may have been short since

    def checkpoint_if_due(self) -> None:
        """A file every `checkpoint_seconds`, and when time is up; where exactly has no influence on the result."""
        due = self.state.stopped or time.monotonic() - self.saved_s >= self.training.checkpoint_seconds
        if self.context.folder is None or not self.team.agrees(due):
            return
        self.parts.submit(self.writer, asdict(self.state), self.best)
        self.saved_s = time.monotonic()

    def cut_batches(self) -> None:
        """Out of memory: go back to the last good state and on with twice as many pieces, kept in checkpoints from here on."""
        assert self.good is not None, "a state is captured before every stretch"
        pieces = memory.more_pieces(self.choices.batch, self.state.pieces, self.least_rows)
        self.restore(self.good)
        self.state.pieces, self.good = pieces, None
        if self.choices.device.startswith("cuda"):
            torch.cuda.empty_cache()
        self.context.progress(memory.cut_text(self.choices.batch, pieces), self.state.step, self.steps, {"accumulate": pieces})

    def explain(self, order: np.ndarray) -> None:
        """Repeat the steps since the last good state, looking at each, and say where the first wrong value came up."""
        assert self.good is not None, "a state is captured before every stretch"
        self.restore(self.good)
        state = self.state
        while state.position < self.num_rows and state.step < self.steps:
            for batch in self.chunk(order):
                watch = explain.Watch(self.job.module)
                try:
                    own = self.train_step(batch).item()
                finally:
                    watch.close()
                loss = self.team.sum(torch.tensor(own, dtype=torch.float64)).item()
                broken, place = self.parts.broken(), state.place(self.steps_per_epoch, self.choices.judge_steps and self.steps)
                if state.is_lost(loss):
                    self.team.speaks(not math.isfinite(own))
                    raise ModelError(explain.message(loss, place, batch, watch.first, self.job.layer_name))
                if self.team.speaks(bool(broken)):
                    raise ModelError(explain.broken_message(place, broken, self.job.module, self.job.layer_name))
                state.add([loss], [0])
                state.step += 1
                state.position += min(self.choices.batch, self.num_rows - state.position)
        raise ModelError(f"training: the loss is not finite in epoch {state.epoch + 1}, and finite when the steps are repeated.")


def _try(job: Job, training: Training, team: Team | None, choices: Choices, number: int) -> list[float]:
    """Seconds of each of some steps on the first rows; afterwards everything is as it was, also where memory did not suffice."""
    with machine.running(job.module, choices):
        loop = _Loop(job, choices, replace(training, log=None), Context(team=team))
        before = loop.parts.capture(asdict(loop.state))
        job.module.train()
        seconds, rows = [], loop.rounds.order(0)[: choices.batch]
        try:
            for _ in range(number):
                start_s = time.perf_counter()
                loop.train_step(next(loop.batches(rows))).item()
                seconds.append(time.perf_counter() - start_s)
        finally:
            loop.restore(before)
    return seconds
