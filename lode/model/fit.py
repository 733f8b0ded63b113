"""The training loop: epochs -> order of the rows -> batches -> augment -> loss -> backward -> clip -> step -> judge -> keep the best.

It knows modules, losses and rows, and nothing of networks. Read `fit` first, then `_Loop` from top to bottom.
Everything random is drawn from (seed, epoch, position), so that a fit killed anywhere goes on exactly where its last checkpoint was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from lode.core.errors import ModelError
from lode.model import checkpoint as files
from lode.model import optim
from lode.model.batches import Batch, Rows
from lode.model.choices import Choices
from lode.model.contracts import Context, Fitted
from lode.model.training import Training

Augmentation = Callable[[Batch, torch.Generator], None]


@dataclass(frozen=True, slots=True)
class Objective:
    """One loss and the parameters that it moves, every so many steps. Most families have one, an adversarial one has two."""

    parameters: Sequence[torch.nn.Parameter]
    loss: Callable[[Batch], torch.Tensor]
    every: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be fitted, and on what. augment changes a batch in place; layer_name says a submodule's name in an error."""

    module: torch.nn.Module
    objectives: Sequence[Objective]
    train: Rows
    stop: Rows | None
    rows_per_forward: int = 1024
    augment: Augmentation | None = None
    layer_name: Callable[[str], str] = str


def fit(job: Job, choices: Choices, training: Training, context: Context) -> Fitted:
    """Fit `job.module` in place and leave it in its best state: the one with the least loss on the stop rows, else the last.

    Resumes from `context.folder`. Errors: ModelError where a loss is not finite, naming epoch, batch and layer.
    """
    with _threads(choices.threads), _own_randomness(choices.device):
        loop = _Loop(job, choices, training, context)
        loop.resume()
        while loop.state.epoch < choices.epochs and not loop.state.stopped:
            loop.train_epoch()
            loop.judge_epoch()
            loop.checkpoint_if_due()
        loop.keep_best()
    state = loop.state
    return Fitted(state.best_epoch or state.epoch, tuple(state.history), asdict(choices))


@dataclass(slots=True)
class _State:
    """Where the loop is; with the tensors, all that a checkpoint holds. epoch: epochs done; position: rows done in this one."""

    epoch: int = 0
    position: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_rows: int = 0
    best_epoch: int | None = None
    best_loss: float = math.inf
    stopped: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


class _Loop:
    def __init__(self, job: Job, choices: Choices, training: Training, context: Context) -> None:
        self.job, self.choices, self.training, self.context = job, choices, training, context
        self.state = _State()
        self.best: dict[str, torch.Tensor] = {}
        self.optimizers = [
            optim.build(objective.parameters, training, weight_decay=choices.weight_decay) for objective in job.objectives
        ]
        self.parameters = list(job.module.parameters())
        self.index = job.train.trainable
        if not len(self.index):
            raise ModelError("training: no training row has a target, at least one is needed. Check the output's column.")
        self.stop = job.stop if job.stop is not None and len(job.stop.trainable) else None
        # One row alone has no spread, which batch norm needs: a last batch of one row is left out
        alone = len(self.index) > 1 and len(self.index) % choices.batch == 1 and choices.batch > 1
        self.num_rows = len(self.index) - int(alone)
        self.steps_per_epoch = math.ceil(self.num_rows / choices.batch)
        self.chunk_rows = job.train.chunk_batches(choices.batch) * choices.batch
        self.generator = torch.Generator(device=choices.device)
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if there is one."""
        found = files.read(self.context.folder) if self.context.folder else None
        if found is not None:
            self.restore(found)

    def train_epoch(self) -> None:
        """The rest of an epoch, a chunk of batches at a time. The host waits for the device once a chunk, never in a step."""
        order = self.order(self.state.epoch)
        self.job.module.train()
        while self.state.position < self.num_rows:
            before = self.capture()
            losses, rows = self.train_chunk(order)
            values = torch.stack(losses).tolist()
            if not all(map(math.isfinite, values)):
                self.restore(before)
                self.explain(order)
            self.state.loss_sum += sum(value * count for value, count in zip(values, rows, strict=True))
            self.state.loss_rows += sum(rows)
            self.report(values[-1])
            if self.state.position < self.num_rows:
                self.checkpoint_if_due()

    def order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch, int64."""
        random = np.random.default_rng([self.choices.seed, epoch])
        order = self.index[random.permutation(len(self.index))][: self.num_rows]
        return self.job.train.by_length(order, self.choices.batch, random)

    def train_chunk(self, order: np.ndarray) -> tuple[list[torch.Tensor], list[int]]:
        """Steps over the next chunk: losses (on the device) and rows of each."""
        state = self.state
        rows = order[state.position : state.position + self.chunk_rows]
        self.reseed()
        losses, counts = [], []
        for batch in self.job.train.batches(rows, self.choices.batch):
            losses.append(self.train_step(batch))
            counts.append(batch.num_rows)
            state.step += 1
        state.position += len(rows)
        return losses, counts

    def train_step(self, batch: Batch) -> torch.Tensor:
        """One update of every objective whose turn it is; the first objective's loss."""
        if self.job.augment is not None:
            self.job.augment(batch, self.generator)
        step, first = self.state.step, None
        rate = self.learning_rate(step)
        for objective, optimizer in zip(self.job.objectives, self.optimizers, strict=True):
            if step % objective.every:
                continue
            with self.autocast():
                loss = objective.loss(batch)
            loss.backward()
            if self.training.clip is not None:
                torch.nn.utils.clip_grad_norm_(objective.parameters, self.training.clip, foreach=True)
            optimizer.step(rate)
            self.clear_gradients()
            first = loss.detach() if first is None else first
        assert first is not None, "the first objective takes part in every step"
        return first

    def clear_gradients(self) -> None:
        """Also of parameters that another objective's loss has reached."""
        for parameter in self.parameters:
            parameter.grad = None

    def learning_rate(self, step: int) -> float:
        steps = self.steps_per_epoch * self.choices.epochs
        training = self.training
        return optim.learning_rate(step, steps, peak=self.choices.learning_rate, schedule=training.schedule, warmup=training.warmup)

    def autocast(self) -> AbstractContextManager[Any]:
        if self.choices.precision == "fp32":
            return nullcontext()
        return torch.autocast(torch.device(self.choices.device).type, torch.bfloat16)

    def reseed(self) -> None:
        """Dropout and augmentation of the next chunk depend on where it is, not on what came before."""
        seed = int(np.random.SeedSequence([self.choices.seed, self.state.step]).generate_state(2, np.uint32)[0])
        torch.default_generator.manual_seed(seed)
        if self.choices.device.startswith("cuda"):
            torch.cuda.manual_seed(seed)
        self.generator.manual_seed(seed)

    def judge_epoch(self) -> None:
        """Loss on the stop rows; a copy of the best state; the end after `patience` epochs without a better one."""
        state = self.state
        state.epoch += 1
        entry = {"epoch": state.epoch, "train_loss": state.loss_sum / max(1, state.loss_rows)}
        state.position, state.loss_sum, state.loss_rows = 0, 0.0, 0
        if self.stop is not None:
            entry["stop_loss"] = loss = self.stop_loss(self.stop)
            if loss < state.best_loss:
                state.best_loss, state.best_epoch = loss, state.epoch
                self.best = _copied(self.job.module.state_dict())
            waited = state.epoch - (state.best_epoch or 0)
            state.stopped = 0 < self.choices.patience <= waited
        state.history.append(entry)

    @torch.inference_mode()
    def stop_loss(self, rows: Rows) -> float:
        """Mean of the first objective's loss over the stop rows."""
        self.job.module.eval()
        index, size = rows.trainable, self.job.rows_per_forward
        losses, counts = [], []
        for start in range(0, len(index), size):
            for batch in rows.batches(index[start : start + size], size):
                with self.autocast():
                    losses.append(self.job.objectives[0].loss(batch).float())
                counts.append(batch.num_rows)
        values = torch.stack(losses).tolist()
        return sum(value * count for value, count in zip(values, counts, strict=True)) / sum(counts)

    def keep_best(self) -> None:
        """The module gets its best state back and is ready to predict."""
        if self.best:
            self.job.module.load_state_dict(self.best)
        self.job.module.eval()

    def report(self, loss: float) -> None:
        steps = self.steps_per_epoch * self.choices.epochs
        figures = {"epoch": self.state.epoch + 1, "loss": loss}
        self.context.progress("train", self.state.step, steps, figures)

    def capture(self) -> files.Checkpoint:
        """A copy of everything that the next chunk changes."""
        tensors = {f"model.{name}": tensor for name, tensor in self.job.module.state_dict().items()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= {f"optimizer{number}.{name}": tensor for name, tensor in optimizer.state().items()}
        return files.Checkpoint(_copied(tensors), asdict(self.state))

    def restore(self, found: files.Checkpoint) -> None:
        """Back to what `capture` copied or a file holds."""
        self.job.module.load_state_dict(found.part("model"))
        for number, optimizer in enumerate(self.optimizers):
            optimizer.restore(found.part(f"optimizer{number}"))
        self.best = found.part("best") or self.best
        self.state = _State(**found.record)

    def checkpoint_if_due(self) -> None:
        """A file every `checkpoint_seconds`; where exactly has no influence on the result."""
        if self.context.folder is None or time.monotonic() - self.saved_at < self.training.checkpoint_seconds:
            return
        found = self.capture()
        best = {f"best.{name}": tensor for name, tensor in self.best.items()}
        files.write(self.context.folder, files.Checkpoint({**found.tensors, **best}, found.record))
        self.saved_at = time.monotonic()

    def explain(self, order: np.ndarray) -> None:
        """Repeat the chunk, looking at each step, and say where the first value that is not finite came up."""
        state = self.state
        rows = order[state.position : state.position + self.chunk_rows]
        self.reseed()
        for batch in self.job.train.batches(rows, self.choices.batch):
            layers = _Watch(self.job.module)
            try:
                loss = self.train_step(batch)
            finally:
                layers.close()
            number = state.step % self.steps_per_epoch + 1
            state.step += 1
            if not math.isfinite(loss.item()):
                where = f"epoch {state.epoch + 1}, batch {number} of {self.steps_per_epoch}"
                raise ModelError(
                    f"training: the loss is not finite in {where}; {_source(batch, layers.first, self.job.layer_name)}. "
                    "Try a lower train.learning_rate, train.clip: 1.0, or look for extreme values in the inputs."
                )
        raise ModelError(f"training: the loss is not finite in epoch {state.epoch + 1}, and finite when the steps are repeated.")


class _Watch:
    """Forward hooks on the innermost modules; `first` is the name of the first one whose output is not finite."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.first: str | None = None
        inner = [(name, child) for name, child in module.named_modules() if not any(child.children())]
        self.hooks = [child.register_forward_hook(self._hook(name)) for name, child in inner]

    def _hook(self, name: str) -> Callable[..., None]:
        def look(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            finite = not isinstance(output, torch.Tensor) or bool(torch.isfinite(output).all())
            if not finite and self.first is None:
                self.first = name

        return look

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


def _source(batch: Batch, layer: str | None, layer_name: Callable[[str], str]) -> str:
    """What was found first: an input, a layer's output, or nothing before the loss itself."""
    for name, tensor in batch.inputs.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return f'input "{name}" holds values that are not finite'
    return "every layer's output was finite" if layer is None else f"first in {layer_name(layer)}"


def _copied(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _own_randomness(device: str) -> Iterator[None]:
    """Leaves torch's own generators as they were, whatever dropout draws; a GPU takes its repeatable kernels where it has them."""
    on_gpu = device.startswith("cuda")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if on_gpu:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[torch.device(device)] if on_gpu else []):
            yield
    finally:
        if on_gpu:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
