"""Contrastive learning: two views of one row are to be alike, those of different rows are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import nn
from torch.nn import functional

from lode.core.registry import REGISTRIES
from lode.core.types import Component, Range, TensorSpec
from lode.model.blocks import is_codes, is_image, is_numbers, is_tokens
from lode.model.contracts import Shapes
from lode.model.mixing import Changes
from lode.model.network import build_augments
from lode.model.pretraining import Pretrain


class Contrastive(Pretrain):
    """NT-Xent between two views of every row of a batch (Chen 2020, SimCLR, arXiv 2002.05709).

    A picture's views are made by the input's own `augment:` (without one: crop, zoom and erase), a text's by dropping words. A table has
    one view as it is and one in which a share of the cells come from other rows (Bahri 2022, SCARF, arXiv 2106.15147).

    Args:
        epochs: Passes over the rows.
        share: Share of the cells of a table that a view replaces; of a text each view leaves out half that share of the words.
        temperature: What similarities are divided by; left open, 0.5, for tables 1.0 as SCARF has it.
        width: Numbers of the vectors that are compared.
        first: Which view of a table is the first one: plain, or corrupted like the second.
    """

    reads = ("number", "binary", "category", "date", "text", "image", "vector", "set")
    least_rows = 64

    def __init__(
        self,
        specs: Mapping[str, TensorSpec],
        width_in: int,
        shapes: Shapes,
        *,
        epochs: Annotated[int, Range(1)] = 50,
        share: Annotated[float, Range(0, 1, open_low=True, open_high=True)] = 0.6,
        temperature: Annotated[float, Range(0, open_low=True)] | None = None,
        width: Annotated[int, Range(2)] = 128,
        first: Literal["plain", "corrupted"] = "plain",
    ) -> None:
        super().__init__()
        tables = all(is_numbers(spec) or is_codes(spec) for spec in specs.values())
        self.epochs, self.share, self.first = epochs, share, first
        self.temperature = temperature or (1.0 if tables else 0.5)
        self.specs = dict(specs)
        made = {name: _augments(name, spec, shapes) for name, spec in specs.items() if is_image(spec)}
        self.steps = nn.ModuleList(step for steps in made.values() for step in steps)  # they move to the device with the task
        self.changes = {name: Changes({name: steps}) for name, steps in made.items()}
        self.head = nn.Sequential(nn.Linear(width_in, width_in), nn.ReLU(), nn.Linear(width_in, width))

    @staticmethod
    def accepts(spec: TensorSpec) -> bool:
        return is_numbers(spec) or is_codes(spec) or is_tokens(spec) or is_image(spec)

    def change(self, inputs: Mapping[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Both views of each input, one below the other: (2 B, ...)."""
        return {name: torch.cat([self._view(name, inputs[name], generator, number) for number in (0, 1)]) for name in self.specs}

    def forward(self, network: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return nt_xent(self.head(network.represent(batch)).float(), self.temperature)

    def _view(self, name: str, x: torch.Tensor, generator: torch.Generator, number: int) -> torch.Tensor:
        spec = self.specs[name]
        if is_image(spec):
            return self.changes[name].alone_changed(name, x, generator)
        if is_tokens(spec):
            gone = torch.rand(x.shape, generator=generator, device=x.device) < self.share / 2
            return torch.where(gone, torch.zeros_like(x), x)
        if number == 0 and self.first == "plain":
            return x
        replaced = torch.rand(x.shape, generator=generator, device=x.device) < self.share
        flat = x.reshape(len(x), -1)
        others = torch.randint(len(x), flat.shape, generator=generator, device=x.device)
        return torch.where(replaced, flat.gather(0, others).view_as(x), x)


def nt_xent(z_2BD: torch.Tensor, temperature: float) -> torch.Tensor:
    """The normalised, temperature-scaled cross-entropy: row i and row i + B are views of one row, all others of other rows."""
    z_2BD = functional.normalize(z_2BD, dim=1)
    similarity = z_2BD @ z_2BD.T / temperature
    own = torch.eye(len(z_2BD), dtype=torch.bool, device=z_2BD.device)
    partner = torch.arange(len(z_2BD), device=z_2BD.device).roll(len(z_2BD) // 2)
    return functional.cross_entropy(similarity.masked_fill(own, float("-inf")), partner)


def _augments(name: str, spec: TensorSpec, shapes: Shapes) -> list[Any]:
    """The file's own changes of a picture, without those that mix rows; else some that leave its class as it is."""
    chosen = shapes.augments.get(name) or (Component("crop"), Component("zoom"), Component("erase"))
    made = build_augments({name: spec}, {name: chosen}, {})[name]
    return [step for step in made if not step.mixes] or [REGISTRIES["augment"].create(Component("crop"), spec)]
