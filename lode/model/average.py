"""A running mean of the weights (EMA), which predicts more steadily than the weights of one step (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch


class Average:
    """mean = decay * mean + (1 - decay) * weights after each step; floating buffers (batch norm) too.

    At the start the decay is (1 + step) / (10 + step) where that is less, so that the first weights are soon forgotten.
    """

    def __init__(self, module: torch.nn.Module, decay: float, fixed: Collection[str] = ()) -> None:
        """fixed: names of weights that never change."""
        tensors = dict(module.state_dict(keep_vars=True))
        self.live = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point() and name not in fixed}
        self.means = {name: tensor.detach().clone() for name, tensor in self.live.items()}
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """step: number of the update, from 0."""
        share = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        torch._foreach_lerp_(list(self.means.values()), list(self.live.values()), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module holds the mean inside the block, and its own weights again after it."""
        own = {name: tensor.detach().clone() for name, tensor in self.live.items()}
        self.put(self.means)
        try:
            yield
        finally:
            self.put(own)

    @torch.no_grad()
    def put(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Give the module these values."""
        torch._foreach_copy_(list(self.live.values()), [tensors[name] for name in self.live])

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `means` held."""
        torch._foreach_copy_(list(self.means.values()), [tensors[name] for name in self.means])
