"""The update rules and the learning rate of a step: one fused kernel per group of parameters, on CPU and GPU.

They call torch's kernels without `torch.optim`, whose first use loads torch._dynamo (over a second) and whose every step costs as much
as the arithmetic of a small network. A test compares them with `torch.optim`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from lode.model.training import Training

Parameters = Sequence[torch.nn.Parameter]


class Optimizer:
    """Moves parameters along their gradients. `slots` are the tensors that it keeps for each parameter, by name."""

    slot_names: tuple[str, ...] = ()

    def __init__(self, parameters: Parameters, *, weight_decay: float) -> None:
        self.groups = [_Group(group, decay, self.slot_names) for group, decay in _decayed(parameters, weight_decay)]
        device = parameters[0].device
        self.count = torch.zeros((), device=device)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One update; parameters without a gradient stay as they are. rate: the learning rate."""
        self.count += 1
        for group in self.groups:
            parameters, slots = group.parameters, group.slots
            gradients = [parameter.grad for parameter in parameters]
            if any(gradient is None for gradient in gradients):
                used = [at for at, gradient in enumerate(gradients) if gradient is not None]
                parameters, gradients = [parameters[at] for at in used], [gradients[at] for at in used]
                slots = [[slot[at] for at in used] for slot in slots]
            if parameters:
                self.update(parameters, gradients, slots, rate, group.weight_decay)

    def update(self, parameters: list, gradients: list, slots: list[list], rate: float, weight_decay: float) -> None:
        """The kernel. slots: one list of tensors for each of `slot_names`."""
        raise NotImplementedError

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a resumed run needs."""
        tensors = {"count": self.count}
        for number, group in enumerate(self.groups):
            for name, slot in zip(self.slot_names, group.slots, strict=True):
                tensors |= {f"{number}.{name}.{at}": tensor for at, tensor in enumerate(slot)}
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        for name, own in self.state().items():
            own.copy_(tensors[name])


class _Group:
    def __init__(self, parameters: Parameters, weight_decay: float, slot_names: Sequence[str]) -> None:
        self.parameters = list(parameters)
        self.weight_decay = weight_decay
        self.slots = [[torch.zeros_like(p, memory_format=torch.preserve_format) for p in parameters] for _ in slot_names]


class _Adam(Optimizer):
    """Kingma and Ba 2015, arXiv 1412.6980."""

    slot_names = ("mean", "square")

    def update(self, parameters: list, gradients: list, slots: list[list], rate: float, weight_decay: float) -> None:
        self._kernel(parameters, gradients, slots, rate, weight_decay, torch._fused_adam_)

    def _kernel(self, parameters: list, gradients: list, slots: list, rate: float, weight_decay: float, kernel) -> None:  # type: ignore[no-untyped-def]
        counts = [self.count] * len(parameters)
        kernel(
            parameters, gradients, slots[0], slots[1], [], counts,
            lr=rate, beta1=0.9, beta2=0.999, weight_decay=weight_decay, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip


class _AdamW(_Adam):
    """Decoupled weight decay: Loshchilov and Hutter 2019, arXiv 1711.05101."""

    def update(self, parameters: list, gradients: list, slots: list[list], rate: float, weight_decay: float) -> None:
        self._kernel(parameters, gradients, slots, rate, weight_decay, torch._fused_adamw_)


class _Sgd(Optimizer):
    """Nesterov momentum, as Sutskever 2013 has it; plain gradient descent where momentum is 0."""

    slot_names = ("momentum",)

    def __init__(self, parameters: Parameters, *, weight_decay: float, momentum: float) -> None:
        super().__init__(parameters, weight_decay=weight_decay)
        self.momentum = momentum

    def update(self, parameters: list, gradients: list, slots: list[list], rate: float, weight_decay: float) -> None:
        torch._fused_sgd_(
            parameters, gradients, slots[0] if self.momentum else [],
            weight_decay=weight_decay, momentum=self.momentum, lr=rate, dampening=0.0,
            nesterov=self.momentum > 0, maximize=False, is_first_step=False,
        )  # fmt: skip


def build(parameters: Parameters, training: Training, *, weight_decay: float) -> Optimizer:
    """The update rule of `train.optimizer`; biases, norms and other vectors get no weight decay."""
    if training.optimizer == "sgd":
        return _Sgd(parameters, weight_decay=weight_decay, momentum=training.momentum)
    rule = _Adam if training.optimizer == "adam" else _AdamW
    return rule(parameters, weight_decay=weight_decay)


def learning_rate(step: int, steps: int, *, peak: float, schedule: str, warmup: float) -> float:
    """Rate of step 0 to steps - 1: linear up to `peak` in the first `warmup` share, then constant or a half cosine to 0."""
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    if schedule == "constant":
        return peak
    done = (step - rising) / max(1, steps - rising)
    return peak * 0.5 * (1.0 + math.cos(math.pi * done))


def _decayed(parameters: Parameters, weight_decay: float) -> list[tuple[list[torch.nn.Parameter], float]]:
    """Groups of parameters with their decay. One group is one kernel call a step, so there are no more than needed."""
    if not weight_decay:
        return [(list(parameters), 0.0)]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    return [(group, decay) for group, decay in ((matrices, weight_decay), (vectors, 0.0)) if group]
