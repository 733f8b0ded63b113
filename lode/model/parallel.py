"""Several processes that fit one model together: which rows of a batch are whose, what is added up, who holds which part.

`Team()` is one process alone: every method then does nothing and costs nothing. `lode/model/launch.py` starts the processes,
`lode/model/worker.py` is one of them; the loop (`lode/model/fit.py`) asks its team.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from lode.model import divide
from lode.model.sync_norm import with_shared_statistics


class Team:
    """rank: number of this process, from 0; size: how many there are. strategy: "ddp", "fsdp" or "tensor" (see `Training.strategy`).

    All processes must call the methods that add up or agree in the same order, else they wait for one another for ever.
    """

    def __init__(self, rank: int = 0, size: int = 1, strategy: str = "ddp") -> None:
        self.rank, self.size, self.strategy = rank, size, strategy
        self._copies: nn.parallel.DistributedDataParallel | None = None
        self._divided: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.size == 1

    @property
    def num_shares(self) -> int:
        """Among how many processes a batch's rows are divided: 1 where all take every row (tensor) and divide the products instead."""
        return 1 if self.strategy == "tensor" else self.size

    @property
    def own_share(self) -> int:
        """Which of the shares this process takes."""
        return 0 if self.strategy == "tensor" else self.rank

    @property
    def divides_weights(self) -> bool:
        """Whether each process holds a part of the weights only."""
        return not self.is_alone and self.strategy != "ddp"

    def cut(self, rows: np.ndarray) -> np.ndarray:
        """This process's run of a batch's rows (N,). It is never empty: with fewer rows than processes some repeat the last one."""
        start, end = (len(rows) * at // self.num_shares for at in (self.own_share, self.own_share + 1))
        return rows[start:end] if end > start else rows[-1:]

    def counts(self, num_rows: int) -> bool:
        """Whether this process's run of so many rows counts; False where it repeats a row that another process has."""
        shares = self.num_shares
        return shares == 1 or num_rows * self.own_share // shares < num_rows * (self.own_share + 1) // shares

    def num_pieces(self, num_rows: int, wanted: int) -> int:
        """Into how many pieces each process cuts its run of a batch: as many in all of them, because they meet in every forward pass."""
        return min(wanted, max(1, num_rows // self.num_shares))

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Added up over the shares of a batch, the same bits in each process."""
        if self.num_shares > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def agrees(self, first_says: bool) -> bool:
        """What the first process says: clocks differ, and all must do the same."""
        return first_says if self.is_alone else bool(self.first_number(int(first_says)))

    def first_number(self, number: int) -> int:
        """The first process's number."""
        if self.is_alone:
            return number
        said = torch.tensor([number])
        dist.broadcast(said, src=0)
        return int(said.item())

    def anywhere(self, says: bool) -> bool:
        """Whether any of the processes says so; all hear the same."""
        if self.is_alone:
            return says
        said = torch.tensor(int(says))
        dist.all_reduce(said)
        return bool(said.item())

    def turns(self, starts: Sequence[int]) -> Iterator[tuple[int, int]]:
        """This process's share of the blocks that begin at `starts`: (start, 1), and (start, 0) where it only keeps the others company.

        All take the same number of turns, because a forward pass of divided weights needs all.
        """
        for turn in range(0, len(starts), self.num_shares):
            own = turn + self.own_share
            yield (starts[own], 1) if own < len(starts) else (starts[0], 0)

    def speaks(self, knows: bool) -> bool:
        """Lets those go on that know more, all where nobody does (False then); the others wait here until they are ended."""
        somebody = self.anywhere(knows)
        if somebody and not knows:
            dist.barrier()
        return somebody

    def wait(self) -> None:
        """Until all processes are here."""
        if not self.is_alone:
            dist.barrier()

    def first_before_others(self, work: Callable[[], Any]) -> Any:
        """The result of `work`, which writes a file or finds it: the others wait until the first process has written it."""
        if self.is_alone:
            return work()
        found = work() if self.is_first else None
        dist.barrier()
        return found if self.is_first else work()

    def share(self, module: nn.Module) -> nn.Module:
        """What to call for a forward pass. ddp: a copy in each process; else `module` itself, its weights divided in place.

        Batch norm sees the whole batch in all of them. Errors: ModelError where the module cannot be divided in this way.
        """
        if self.is_alone:
            return module
        if self.strategy == "tensor":
            divide.by_products(module, self.size)
            return module
        with_shared_statistics(module)
        if self.strategy == "fsdp":
            self._divided = divide.by_blocks(module, self.size)
            return module
        # Some weights may be reached by no loss (an encoder's own pooler). Statistics of batch norm are equal in all processes
        self._copies = nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)
        return self._copies

    @contextmanager
    def adding_up(self, module: nn.Module, is_last: bool) -> Iterator[None]:
        """Around forward and backward of a piece: gradients are added up over the processes after the last piece only."""
        if is_last or self.num_shares == 1:
            yield
        elif self._copies is not None:
            with self._copies.no_sync():
                yield
        else:
            self._divided.set_requires_gradient_sync(False)
            yield
            self._divided.set_requires_gradient_sync(True)

    def gathered(self, module: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
        """The module with all its weights in this process; make: a new one, whose weights are replaced."""
        if not self.divides_weights:
            return module
        made = make()
        made.load_state_dict({name: tensor.cpu() for name, tensor in self.whole(module.state_dict()).items()})
        return made.eval()

    def whole(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Divided tensors put together, as one process would hold them; every process takes part."""
        return {name: _whole(tensor) for name, tensor in tensors.items()}


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
