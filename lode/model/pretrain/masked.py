"""Masked learning: part of every row is hidden, and the network learns to say what was there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn import functional

from lode.core.types import Range, TensorSpec
from lode.model.blocks import Standardize, is_codes, is_image, is_numbers, is_tokens
from lode.model.contracts import Shapes
from lode.model.pretraining import Pretrain

_UNKNOWN = 1
"""The code of an unknown word, which an encoder with a mask of its own takes for that; 0 would be padding."""
_WORDS = 4096
"""Codes of a text are told apart up to so many; rarer ones are not asked for."""


class Masked(Pretrain):
    """Hide cells, words or patches, and rebuild them from the rest (Devlin 2019, arXiv 1810.04805; for tables Yoon 2020, VIME).

    A hidden number takes the value of another row of the batch, a code and a word become unknown, a patch becomes the picture's mean.
    Numbers and patches (their mean colour) are rebuilt under squared error, codes and words (whether they occur) under cross-entropy.

    Args:
        epochs: Passes over the rows.
        share: Share of the cells, words or patches of a row that are hidden.
        patches: Patches along each side of a picture.
    """

    reads = ("number", "binary", "category", "date", "text", "image", "vector", "set")

    def __init__(
        self,
        specs: Mapping[str, TensorSpec],
        width: int,
        shapes: Shapes,
        *,
        epochs: Annotated[int, Range(1)] = 20,
        share: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.3,
        patches: Annotated[int, Range(2)] = 7,
    ) -> None:
        super().__init__()
        self.epochs, self.share, self.patches = epochs, share, patches
        self.specs = dict(specs)
        self.scalers = nn.ModuleList(Standardize(spec) for spec in specs.values())
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self._answers(spec))) for spec in specs.values()
        )

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_numbers(spec) or is_codes(spec) or is_tokens(spec) or is_image(spec)

    def change(self, inputs: Mapping[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        changed: dict[str, torch.Tensor] = {}
        for number, (name, spec) in enumerate(self.specs.items()):
            x = inputs[name]
            hide = self._hide_patches if is_image(spec) else self._hide_cells
            changed[f"seen {number}"], changed[f"hidden {number}"] = hide(x, spec, generator)
            changed[f"true {number}"] = x
        return changed

    def forward(self, network: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        h_BD = network.represent({name: batch[f"seen {number}"] for number, name in enumerate(self.specs)})
        total = h_BD.new_zeros(())
        for number, (spec, head, scale) in enumerate(zip(self.specs.values(), self.heads, self.scalers, strict=True)):
            told = head(h_BD).float()
            true, hidden = batch[f"true {number}"], batch[f"hidden {number}"]
            if is_image(spec):
                total = total + _squared(told, self._means(scale(true)), hidden.flatten(1))
            elif is_tokens(spec):
                total = total + _occurrence(told, true, hidden)
            elif is_codes(spec):
                total = total + _codes(told, true.reshape(len(true), -1).long(), hidden.reshape(len(true), -1), spec)
            else:
                total = total + _squared(told, scale(true).flatten(1), hidden.flatten(1))
        return total / len(self.specs)

    def _answers(self, spec: TensorSpec) -> int:
        size = int(torch.Size(spec.shape).numel())
        if is_image(spec):
            return self.patches**2 * spec.shape[2]
        if is_tokens(spec):
            return min(spec.cardinality or 0, _WORDS)
        return size * (spec.cardinality or 1)

    def _hide_cells(self, x: torch.Tensor, spec: TensorSpec, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.rand(x.shape, generator=generator, device=x.device) < self.share
        if is_tokens(spec):
            return x.masked_fill(hidden & (x != 0), _UNKNOWN), hidden
        if spec.cardinality is not None:
            return torch.where(hidden, torch.zeros_like(x), x), hidden
        order = torch.randperm(len(x), generator=generator, device=x.device)
        return torch.where(hidden, x[order], x), hidden

    def _hide_patches(self, x: torch.Tensor, spec: TensorSpec, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        hidden_BPP = torch.rand(len(x), self.patches, self.patches, generator=generator, device=x.device) < self.share
        wide = functional.interpolate(hidden_BPP[:, None].float(), size=spec.shape[:2], mode="nearest")[:, 0, :, :, None] > 0.5
        mean = x.float().mean(dim=(1, 2), keepdim=True).to(x.dtype)
        return torch.where(wide, mean, x), hidden_BPP[..., None].expand(-1, -1, -1, spec.shape[2])

    def _means(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        means = functional.adaptive_avg_pool2d(x_BHWC.permute(0, 3, 1, 2), self.patches)
        return means.permute(0, 2, 3, 1).flatten(1)


def _squared(told: torch.Tensor, true: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Mean squared error over what was hidden, values that are not finite left out."""
    counts = hidden & torch.isfinite(true)
    error = torch.where(counts, told - torch.nan_to_num(true), 0.0)
    return error.square().sum() / counts.sum().clamp_min(1)


def _codes(told: torch.Tensor, true_BF: torch.Tensor, hidden_BF: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    """Mean cross-entropy over the hidden codes that are known."""
    assert spec.cardinality is not None, "codes have a cardinality"
    scores = told.view(*true_BF.shape, spec.cardinality)
    each = functional.cross_entropy(scores.flatten(0, 1), true_BF.flatten(), reduction="none").view_as(true_BF)
    counts = hidden_BF & (true_BF > 0)
    return (each * counts).sum() / counts.sum().clamp_min(1)


def _occurrence(told_BV: torch.Tensor, tokens_BL: torch.Tensor, hidden_BL: torch.Tensor) -> torch.Tensor:
    """Cross-entropy to the hidden words of a text, equally likely each."""
    counts = hidden_BL & (tokens_BL > 0) & (tokens_BL < told_BV.shape[1])
    logs_BV = functional.log_softmax(told_BV, dim=1)
    each = -logs_BV.gather(1, torch.where(counts, tokens_BL, 0).long())
    return (each * counts).sum() / counts.sum().clamp_min(1)
