"""Where the training loop is: with the tensors, all that a checkpoint holds. JSON values only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from lode.core.errors import ModelError

_EXPLODED = 1e6
"""A loss so many times its first value is as lost as one that is not finite."""


@dataclass(slots=True)
class LoopState:
    """epoch: epochs done; position: rows done in this one; step: updates done. steps: in all, where time decides, else 0; left_s: of it.

    pieces: into how many each batch is cut. first_loss: of the first step. rate_factor: what plateau has left of the learning rate.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    steps: int = 0
    left_s: float = math.inf
    loss_sum: float = 0.0
    loss_rows: int = 0
    best_epoch: int | None = None
    best_loss: float = math.inf
    stopped: bool = False
    pieces: int = 1
    first_loss: float | None = None
    rate_factor: float = 1.0
    watched_loss: float = math.inf
    watched_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def is_lost(self, loss: float, first: float | None = None) -> bool:
        """Whether a step's loss is not finite or has exploded. first: the first step's, where it is not known yet; else the loss itself."""
        known = self.first_loss if self.first_loss is not None else loss if first is None else first
        return not math.isfinite(loss) or abs(loss) > _EXPLODED * (1.0 + abs(known))

    def add(self, losses: Sequence[float], rows: Sequence[int]) -> None:
        """Losses of steps, one after the other, so that the sum has the same bits wherever the host looks at them."""
        if self.first_loss is None:
            self.first_loss = losses[0]
        for loss, count in zip(losses, rows, strict=True):
            self.loss_sum += loss * count
            self.loss_rows += count

    def place(self, steps_per_epoch: int, steps: int = 0) -> str:
        """Epoch and batch of the step at hand, for an error; its number too, where `steps` says how many there are in all."""
        found = f"epoch {self.epoch + 1}, batch {self.step % steps_per_epoch + 1} of {steps_per_epoch}"
        return f"{found} (step {self.step + 1} of {steps})" if steps else found

    def close_epoch(self) -> dict[str, float]:
        """Begin the next epoch; the entry of this one, which is in the history already."""
        self.epoch += 1
        entry = {"epoch": self.epoch, "train_loss": self.loss_sum / max(1, self.loss_rows)}
        self.position, self.loss_sum, self.loss_rows = 0, 0.0, 0
        self.history.append(entry)
        return entry

    def is_best(self, loss: float, patience: int) -> bool:
        """Whether a stop loss is the least so far; training stops after `patience` epochs without (0: never).

        Errors: ModelError where it is not finite.
        """
        if not math.isfinite(loss):
            raise ModelError(
                f"training: the loss on the stop rows is not finite after epoch {self.epoch}, and was finite in its batches. "
                "Try a lower train.learning_rate, train.clip: 1.0, or look for extreme values in the inputs of validation rows."
            )
        best = loss < self.best_loss
        if best:
            self.best_loss, self.best_epoch = loss, self.epoch
        self.stopped |= 0 < patience <= self.epoch - (self.best_epoch or 0)
        return best

    def drop_rate(self, loss: float, decay: float, decay_epochs: int) -> None:
        """Multiply the learning rate with `decay` after `decay_epochs` without a better loss."""
        if loss < self.watched_loss:
            self.watched_loss, self.watched_epoch = loss, self.epoch
        elif self.epoch - self.watched_epoch >= decay_epochs:
            self.rate_factor *= decay
            self.watched_epoch = self.epoch
