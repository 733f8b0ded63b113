"""The update rules, one class each: how parameters move along their gradients. `lode/model/optim.py` groups parameters and calls them.

They call torch's kernels without `torch.optim`, whose first use loads torch._dynamo (over a second) and whose every step costs as much
as the arithmetic of a small network. Tests compare each with `torch.optim` or its paper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from lode.model.choices import Choices
from lode.model.divide import locals_of, part_like, whole_like

Tensors = list[torch.Tensor]


@dataclass(frozen=True, slots=True)
class Move:
    """One update. rate: learning rate; decay: weight decay; count: updates with this one, float32 (); found_inf: see `Rule.skips`."""

    rate: float
    decay: float
    count: torch.Tensor
    found_inf: torch.Tensor | None = None


class Rule(ABC):
    """One update of a group of parameters. `slots` are tensors kept for each parameter, zero at the start.

    skips: True where the kernel itself leaves everything as it is when `found_inf` holds 1 (fp16), so that the host need not look.
    whole: True where numbers do not move one by one, so that of divided weights the rule gets the whole (DTensors), not a process's part.
    """

    slot_names: ClassVar[tuple[str, ...]] = ()
    skips: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    def __init__(self, choices: Choices) -> None:
        self.choices = choices

    @abstractmethod
    def update(self, parameters: Tensors, gradients: Tensors, slots: list[Tensors], move: Move) -> None:
        """In place. slots: one list for each of slot_names."""


class Sgd(Rule):
    """Gradient descent with momentum (Polyak 1964) or Nesterov's, as Sutskever 2013 has it. The decay is part of the gradient."""

    slot_names = ("momentum",)
    skips = True

    def update(self, parameters: Tensors, gradients: Tensors, slots: list[Tensors], move: Move) -> None:
        momentum = self.choices.momentum
        torch._fused_sgd_(
            parameters, gradients, slots[0] if momentum else [],
            weight_decay=move.decay, momentum=momentum, lr=move.rate, dampening=0.0,
            nesterov=self.choices.nesterov, maximize=False, is_first_step=False, found_inf=move.found_inf,
        )  # fmt: skip


class Adam(Rule):
    """Kingma and Ba 2015, arXiv 1412.6980; the decay is part of the gradient."""

    slot_names = ("mean", "square")
    skips = True
    kernel: ClassVar[Callable[..., None]] = staticmethod(torch._fused_adam_)

    def update(self, parameters: Tensors, gradients: Tensors, slots: list[Tensors], move: Move) -> None:
        self.kernel(
            parameters, gradients, slots[0], slots[1], [], [move.count] * len(parameters),
            lr=move.rate, beta1=self.choices.beta1, beta2=self.choices.beta2, weight_decay=move.decay, eps=1e-8,
            amsgrad=False, maximize=False, found_inf=move.found_inf,
        )  # fmt: skip


class Adamw(Adam):
    """Decoupled weight decay: Loshchilov and Hutter 2019, arXiv 1711.05101."""

    kernel = staticmethod(torch._fused_adamw_)


class Rmsprop(Rule):
    """Tieleman and Hinton 2012; with momentum as in Graves 2013, arXiv 1308.0850. beta2: memory of the squared gradient."""

    slot_names = ("square", "momentum")

    def update(self, parameters: Tensors, gradients: Tensors, slots: list[Tensors], move: Move) -> None:
        gradients = _with_decay(parameters, gradients, move.decay)
        square, speed = slots
        torch._foreach_mul_(square, self.choices.beta2)
        torch._foreach_addcmul_(square, gradients, gradients, 1.0 - self.choices.beta2)
        below = torch._foreach_sqrt(square)
        torch._foreach_add_(below, 1e-8)
        if self.choices.momentum:
            torch._foreach_mul_(speed, self.choices.momentum)
            torch._foreach_addcdiv_(speed, gradients, below)
            torch._foreach_add_(parameters, speed, alpha=-move.rate)
        else:
            torch._foreach_addcdiv_(parameters, gradients, below, -move.rate)


class Adagrad(Rule):
    """Duchi 2011, JMLR 12: each number's rate falls with the squares of all its gradients."""

    slot_names = ("squares",)

    def update(self, parameters: Tensors, gradients: Tensors, slots: list[Tensors], move: Move) -> None:
        gradients = _with_decay(parameters, gradients, move.decay)
        torch._foreach_addcmul_(slots[0], gradients, gradients)
        below = torch._foreach_sqrt(slots[0])
        torch._foreach_add_(below, 1e-10)
        torch._foreach_addcdiv_(parameters, gradients, below, -move.rate)


class Lion(Rule):
    """Chen 2023, arXiv 2302.06675, algorithm 2: the sign of a mean of gradients; decoupled weight decay."""

    slot_names = ("mean",)

    def update(self, parameters: Tensors, gradients: Tensors, slots: list[Tensors], move: Move) -> None:
        step = torch._foreach_lerp(slots[0], gradients, 1.0 - self.choices.beta1)
        torch._foreach_sign_(step)
        if move.decay:
            torch._foreach_mul_(parameters, 1.0 - move.rate * move.decay)
        torch._foreach_add_(parameters, step, alpha=-move.rate)
        torch._foreach_lerp_(slots[0], gradients, 1.0 - self.choices.beta2)


class Muon(Rule):
    """Momentum made orthogonal, for weights of linear layers and convolutions (Jordan 2024, kellerjordan.github.io/posts/muon).

    Its size is matched to that of AdamW's steps (Liu 2025, arXiv 2502.16982), so that both take one learning rate; decoupled decay.
    Of divided weights each process keeps its part of the momentum, and makes the whole step orthogonal to take its part of that.
    """

    slot_names = ("momentum",)
    whole = True

    def update(self, parameters: Tensors, gradients: Tensors, slots: list[Tensors], move: Move) -> None:
        momentum, own = self.choices.momentum, locals_of(slots[0])
        torch._foreach_lerp_(own, locals_of(gradients), 1.0 - momentum)
        parts = torch._foreach_lerp(locals_of(gradients), own, momentum) if self.choices.nesterov else own
        steps = [whole_like(part, parameter) for part, parameter in zip(parts, parameters, strict=True)]
        if move.decay:
            torch._foreach_mul_(locals_of(parameters), 1.0 - move.rate * move.decay)
        by_shape: dict[torch.Size, list[int]] = {}
        for at, parameter in enumerate(parameters):
            by_shape.setdefault(parameter.shape, []).append(at)
        for shape, places in by_shape.items():
            matrices_PRC = torch.stack([steps[at].flatten(1) for at in places])
            size = 0.2 * max(matrices_PRC.shape[1:]) ** 0.5
            moved = orthogonal(matrices_PRC).to(matrices_PRC.dtype).unbind(0)
            step_of = [part_like(step.view(shape), parameters[at]) for at, step in zip(places, moved, strict=True)]
            torch._foreach_add_(locals_of([parameters[at] for at in places]), step_of, alpha=-move.rate * size)


def orthogonal(matrices_PRC: torch.Tensor) -> torch.Tensor:
    """Close to U V' of each matrix's singular value decomposition U S V', in bf16: five steps of Newton and Schulz."""
    tall = matrices_PRC.shape[1] > matrices_PRC.shape[2]
    x_PRC = (matrices_PRC.mT if tall else matrices_PRC).bfloat16()
    x_PRC = x_PRC / torch.linalg.vector_norm(x_PRC, dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram_PRR = x_PRC @ x_PRC.mT
        change_PRR = torch.baddbmm(gram_PRR, gram_PRR, gram_PRR, beta=-4.7750, alpha=2.0315)
        x_PRC = torch.baddbmm(x_PRC, change_PRR, x_PRC, beta=3.4445)
    return x_PRC.mT if tall else x_PRC


def _with_decay(parameters: Tensors, gradients: Tensors, decay: float) -> Tensors:
    return list(torch._foreach_add(gradients, parameters, alpha=decay)) if decay else gradients


RULES: dict[str, type[Rule]] = {
    "sgd": Sgd,
    "rmsprop": Rmsprop,
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": Adamw,
    "lion": Lion,
    "muon": Muon,
}
