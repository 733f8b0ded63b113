"""Why a loss is not finite: the first input or layer whose values are not. Used by `lode/model/fit.py` when it repeats the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lode.model.feed import Piece

_ADVICE = "Try a lower train.learning_rate, train.clip: 1.0, or look for extreme values in the inputs."


class Watch:
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
        """Take the hooks away."""
        for hook in self.hooks:
            hook.remove()


def message(loss: float, where: str, batches: Sequence[Piece], layer: str | None, layer_name: Callable[[str], str]) -> str:
    """What to tell. where: epoch and batch; layer: the first module whose output was not finite."""
    found = f"has exploded to {loss:.3g}" if math.isfinite(loss) else "is not finite"
    return f"training: the loss {found} in {where}; {_source(batches, layer, layer_name)}. {_ADVICE}"


def broken_message(where: str, weights: Sequence[str], module: torch.nn.Module, layer_name: Callable[[str], str]) -> str:
    """What to tell of a step with a finite loss whose gradients were not. weights: names of those in `module` that it broke.

    A gradient comes from the loss: the broken weight nearest to it is where that began, unless a common norm has spread it to all.
    """
    learned = sum(weight.requires_grad for weight in module.parameters())
    layer = "all layers" if len(weights) == learned else layer_name(weights[-1].rpartition(".")[0])
    return f"training: the gradients are not finite in {where}, though the loss is; found in {layer}. {_ADVICE}"


def _source(batches: Sequence[Piece], layer: str | None, layer_name: Callable[[str], str]) -> str:
    """What was found first: an input, a layer's output, or nothing before the loss itself."""
    for batch in batches:
        for name, tensor in batch.inputs.items():
            # Series are padded with NaN at the end: only infinite values are wrong there
            wrong = torch.isinf(tensor) if tensor.ndim == 3 else ~torch.isfinite(tensor)
            if tensor.is_floating_point() and bool(wrong.any()):
                return f'input "{name}" holds values that are not finite'
    return "every layer's output was finite" if layer is None else f"first in {layer_name(layer)}"
