"""Parameters in groups that one kernel call moves, their slots, and what happens to gradients before: L1, L2, clipping.

A parameter may carry `rate_factor: float` (multiplies the learning rate) and `decay_factor: float` (multiplies the weight decay; without
it matrices have 1, biases, norms and other vectors 0). The rules are in `lode/model/rules.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lode.model.choices import Choices
from lode.model.divide import locals_of
from lode.model.rules import RULES, Move, Rule, Tensors

Parameters = Sequence[torch.nn.Parameter]


class Optimizer:
    """Moves parameters along their gradients."""

    def __init__(self, parameters: Parameters, choices: Choices, inner: Collection[int] = ()) -> None:
        """inner: ids of the parameters that muon moves; it leaves the others to adamw."""
        own, rest = RULES[choices.optimizer](choices), RULES["adamw" if choices.optimizer == "muon" else choices.optimizer](choices)
        groups: dict[tuple[bool, float, float], list[torch.nn.Parameter]] = {}
        for parameter in parameters:
            decay = choices.weight_decay * getattr(parameter, "decay_factor", float(parameter.ndim >= 2))
            key = (id(parameter) in inner, float(getattr(parameter, "rate_factor", 1.0)), decay)
            groups.setdefault(key, []).append(parameter)
        self.groups = [
            _Group(members, own if is_inner else rest, rate_factor, decay)
            for (is_inner, rate_factor, decay), members in groups.items()
        ]
        self.matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
        self.parameters = list(parameters)
        self.skips = all(group.rule.skips for group in self.groups)
        self.count = torch.zeros((), device=parameters[0].device)
        self.is_divided = any(hasattr(parameter, "to_local") for parameter in parameters)

    @torch.no_grad()
    def step(self, rate: float, decay_share: float = 1.0, found_inf: torch.Tensor | None = None) -> None:
        """One update; parameters without a gradient stay as they are.

        rate: the learning rate. decay_share: what is left of the weight decay. found_inf: float32 (1,), 1 where no update may happen.
        """
        if found_inf is not None and not self.skips and bool(found_inf):
            return  # the one place where the host waits for the device: fp16 with a rule whose kernel cannot skip
        self.count += 1
        for group in self.groups:
            parameters, slots = group.parameters, group.slots
            gradients = [parameter.grad for parameter in parameters]
            if any(gradient is None for gradient in gradients):
                used = [at for at, gradient in enumerate(gradients) if gradient is not None]
                parameters, gradients = [parameters[at] for at in used], [gradients[at] for at in used]
                slots = [[slot[at] for at in used] for slot in slots]
            if self.is_divided and not group.rule.whole:
                parameters, gradients, slots = locals_of(parameters), locals_of(gradients), [locals_of(slot) for slot in slots]
            if parameters:
                move = Move(rate * group.rate_factor, decay_share * group.decay, self.count, found_inf)
                group.rule.update(parameters, gradients, slots, move)
        if found_inf is not None and self.skips:
            self.count -= found_inf.squeeze()

    @torch.no_grad()
    def add_penalties(self, l1: float, l2: float) -> None:
        """Add the gradient of l1 * sum |w| + l2 * sum w^2 over the matrices."""
        used: Tensors = [parameter for parameter in self.matrices if parameter.grad is not None]
        gradients: Tensors = locals_of([parameter.grad for parameter in used])  # type: ignore[misc]
        used = locals_of(used)
        if l2 and used:
            torch._foreach_add_(gradients, used, alpha=2.0 * l2)
        if l1 and used:
            torch._foreach_add_(gradients, torch._foreach_sign(used), alpha=l1)

    def clip(self, norm: float | None, value: float | None) -> None:
        """Bound each number of the gradients by `value`, then their common norm by `norm`."""
        if self.is_divided:
            self._clip_divided(norm, value)
            return
        if value is not None:
            nn.utils.clip_grad_value_(self.parameters, value, foreach=True)
        if norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, norm, foreach=True)

    def _clip_divided(self, norm: float | None, value: float | None) -> None:
        """As torch does it, which knows no mixture of divided and whole gradients."""
        gradients = self.gradients()
        if value is not None:
            for gradient in locals_of(gradients):
                gradient.clamp_(-value, value)
        if norm is not None:
            found = nn.utils.get_total_norm([gradient for gradient in gradients if not hasattr(gradient, "to_local")])
            divided = [gradient for gradient in gradients if hasattr(gradient, "to_local")]
            if divided:
                total: Any = nn.utils.get_total_norm(divided)
                found = torch.hypot(found.to(divided[0].device), total.full_tensor())
            torch._foreach_mul_(locals_of(gradients), (norm / (found + 1e-6)).clamp(max=1.0))

    def gradients(self) -> Tensors:
        """Those that there are."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a resumed run needs."""
        tensors = {"count": self.count}
        for number, group in enumerate(self.groups):
            for name, slot in zip(group.rule.slot_names, group.slots, strict=True):
                tensors |= {f"{number}.{name}.{at}": tensor for at, tensor in enumerate(slot)}
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over what `state` gave."""
        for name, own in self.state().items():
            own.copy_(tensors[name])


class _Group:
    def __init__(self, parameters: Parameters, rule: Rule, rate_factor: float, decay: float) -> None:
        self.parameters: list = list(parameters)
        self.rule, self.rate_factor, self.decay = rule, rate_factor, decay
        self.slots = [[torch.zeros_like(p, memory_format=torch.preserve_format) for p in parameters] for _ in rule.slot_names]


def inner_weights(module: nn.Module) -> set[int]:
    """Ids of the weights of linear layers and convolutions but for the heads: what muon is for."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    found = {name: child for name, child in module.named_modules() if isinstance(child, kinds)}
    return {id(child.weight) for name, child in found.items() if not {"head", "heads", "unembed"} & set(name.split("."))}
