"""Everything that steps change, as one: what is copied before steps that may go wrong, written to a checkpoint, and put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lode.model import machine
from lode.model.average import Average
from lode.model.checkpoint import Checkpoint
from lode.model.optim import Optimizer
from lode.model.parallel import Team
from lode.model.scaling import Scaler


@dataclass(frozen=True, slots=True)
class Parts:
    """The tensors of training; the loop's own numbers (`LoopState`) go with them as the record."""

    module: torch.nn.Module
    optimizers: Sequence[Optimizer]
    average: Average | None
    scaler: Scaler | None
    team: Team

    def capture(self, record: Mapping[str, Any], whole: bool = False) -> Checkpoint:
        """A copy. whole: what the processes have divided among them is put together."""
        tensors = {f"model.{name}": tensor for name, tensor in self.module.state_dict().items()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= {f"optimizer{number}.{name}": tensor for name, tensor in optimizer.state().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.means.items()}
        if self.scaler is not None:
            tensors |= {f"scaler.{name}": tensor for name, tensor in self.scaler.state().items()}
        return Checkpoint(machine.copied(self.team.whole(tensors) if whole else tensors), record)

    def divided(self, found: Checkpoint) -> Checkpoint:
        """This process's part of a checkpoint that holds the whole."""
        if self.team.is_alone:
            return found
        best = {f"best.{name}": tensor for name, tensor in self.module.state_dict().items()}
        like = {**self.capture({}).tensors, **best}
        return Checkpoint(self.team.divided(found.tensors, like), found.record)

    def restore(self, found: Checkpoint) -> None:
        """Back to what `capture` copied or a file holds. Errors: RuntimeError or KeyError where it is of another network."""
        self.module.load_state_dict(found.part("model"))
        for number, optimizer in enumerate(self.optimizers):
            optimizer.restore(found.part(f"optimizer{number}"))
        if self.average is not None:
            self.average.restore(found.part("average"))
        if self.scaler is not None:
            self.scaler.restore(found.part("scaler"))
