"""fp16's narrow range: the loss is multiplied before the gradients are made, so that small ones do not vanish.

Micikevicius 2018, arXiv 1710.03740.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

_START, _GROWTH, _BACKOFF, _EVERY = 65536.0, 2.0, 0.5, 2000


class Scaler:
    """torch's GradScaler, by the same kernels, for our optimizers: the host never looks at what it decides."""

    def __init__(self, device: str) -> None:
        self.scale = torch.full((), _START, device=device)
        self.good_steps = torch.zeros((), dtype=torch.int32, device=device)
        self.found_inf = torch.zeros(1, device=device)

    def unscale(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Divide gradients by the scale, in place. Returns float32 (1,): 1 where any of them is not finite."""
        self.found_inf.zero_()
        if gradients:
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, self.found_inf, self.scale.reciprocal())
        return self.found_inf

    def update(self) -> None:
        """Halve the scale after a step that was left out, double it after 2,000 good ones."""
        torch._amp_update_scale_(self.scale, self.good_steps, self.found_inf, _GROWTH, _BACKOFF, _EVERY)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a resumed run needs."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        for name, own in self.state().items():
            own.copy_(tensors[name])
