"""Everything that steps change, as one: what is copied before steps that may go wrong, written to a checkpoint, and put back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lode.model import checkpoint as files
from lode.model import machine, shards
from lode.model.average import Average
from lode.model.checkpoint import Checkpoint
from lode.model.divide import locals_of
from lode.model.optim import Optimizer
from lode.model.parallel import Team
from lode.model.scaling import Scaler

Writer = files.Writer | shards.ShardWriter


@dataclass(frozen=True, slots=True)
class Parts:
    """The tensors of training; the loop's own numbers (`LoopState`) go with them as the record.

    fixed: names of the module's weights that no step changes (see `Job.fixed`).
    """

    module: torch.nn.Module
    optimizers: Sequence[Optimizer]
    average: Average | None
    scaler: Scaler | None
    team: Team
    fixed: Collection[str] = ()

    def capture(self, record: Mapping[str, Any]) -> Checkpoint:
        """A copy; of divided tensors this process's part."""
        return Checkpoint(machine.copied(self._tensors()), record)

    def writer(self, folder: Path | None) -> Writer | None:
        """What `submit` writes with: processes that divide the weights write their own parts each, otherwise the first one writes."""
        if folder is None:
            return None
        if not self.team.divides_weights:
            return files.Writer(folder, lambda: shards.remove(folder)) if self.team.is_first else None
        made = shards.ShardWriter(folder, self.team.rank, self.team.size)
        self.team.wait()  # nobody writes before the first one has cleaned up
        return made

    def submit(self, writer: Writer | None, record: Mapping[str, Any], best: Mapping[str, torch.Tensor]) -> None:
        """Start writing a checkpoint. best: a state that is replaced as a whole and never changed, so that it needs no copy."""
        if writer is not None:
            found = self.capture(record)
            writer.submit(Checkpoint({**found.tensors, **{f"best.{name}": tensor for name, tensor in best.items()}}, record))

    def read(self, folder: Path | None) -> Checkpoint | None:
        """A folder's checkpoint, whoever wrote it: this process's part of it. Errors: ArtifactError for files that cannot be read."""
        if folder is None:
            return None
        own = self._tensors() if self.team.divides_weights else {}
        return shards.read(
            folder, lambda name: own.get("model." + name.removeprefix("best.") if name.startswith("best.") else name)
        )

    def restore(self, found: Checkpoint) -> None:
        """Back to what `capture` copied or a file holds. Errors: RuntimeError or KeyError where it is of another network."""
        self.put(found.part("model"))
        for number, optimizer in enumerate(self.optimizers):
            optimizer.restore(found.part(f"optimizer{number}"))
        if self.average is not None:
            self.average.restore(found.part("average"))
        if self.scaler is not None:
            self.scaler.restore(found.part("scaler"))

    def weights(self) -> dict[str, torch.Tensor]:
        """The module's state, without what is fixed."""
        return {name: tensor for name, tensor in self.module.state_dict().items() if name not in self.fixed}

    def broken(self) -> list[str]:
        """Names of the learned weights that are not finite; of divided ones, by this process's part."""
        learned = [(name, weight) for name, weight in self.module.named_parameters() if weight.requires_grad]
        if not learned:
            return []
        own = locals_of([weight.detach() for _, weight in learned])
        finite = torch.stack([norm.float() for norm in torch._foreach_norm(own)]).isfinite()
        if bool(finite.all()):
            return []
        return [name for (name, _), is_finite in zip(learned, finite.tolist(), strict=True) if not is_finite]

    def put(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Give the module what `weights` gave. Errors: RuntimeError where it is of another network."""
        own = self.module.state_dict()
        self.module.load_state_dict({**{name: own[name] for name in self.fixed}, **weights})

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {f"model.{name}": tensor for name, tensor in self.weights().items()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= {f"optimizer{number}.{name}": tensor for name, tensor in optimizer.state().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.means.items()}
        if self.scaler is not None:
            tensors |= {f"scaler.{name}": tensor for name, tensor in self.scaler.state().items()}
        return tensors
