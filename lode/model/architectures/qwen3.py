"""Qwen 3 (the dense ones)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch

from lode.core.types import Range
from lode.model.language import names
from lode.model.language.contracts import Architecture, Shape


class Qwen3(Architecture):
    """Llama with a norm over each query and key head (Qwen team 2025, arXiv 2505.09388).

    Args:
        layers: Blocks.
        heads: Query heads of each layer.
        groups: Key and value heads; fewer than heads saves memory while generating; left open, as many as heads.
        width: Numbers that stand for a token.
        head_width: Numbers of a head; left open, width / heads.
        hidden: Width inside the MLPs; left open, 3 times the width.
        context: Most tokens of one sequence.
        window: Positions that a query sees in layers from `global_layers` on, its own included; left open, all before it everywhere.
        global_layers: With window, the first so many layers see everything.
        bias: Whether queries, keys, values and their output have a bias.
        dropout: Share of numbers set to 0 in training, in attention and on what blocks add.
        rotary_base: Wavelengths of positions go up to about 2 pi times this.
        rotary_scaling: How positions are stretched, as config.json has it: rope_type linear, dynamic, yarn or llama3, and its numbers.
        norm_eps: Keeps norms from dividing by 0.
        tied: Whether the head is the embedding.
    """

    model_types = ("qwen3",)
    naming = names.LLAMA

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: Annotated[int, Range(1, search=(2, 24), log=True)] = 6,
        heads: Annotated[int, Range(1, search=(2, 16), log=True)] = 6,
        groups: Annotated[int, Range(1)] | None = None,
        width: Annotated[int, Range(8, search=(128, 1024), log=True)] = 384,
        head_width: Annotated[int, Range(2)] | None = None,
        hidden: Annotated[int, Range(1)] | None = None,
        context: Annotated[int, Range(1, search=(64, 4096), log=True)] = 256,
        window: Annotated[int, Range(1)] | None = None,
        global_layers: Annotated[int, Range(0)] = 0,
        bias: bool = False,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.3))] = 0.0,
        rotary_base: Annotated[float, Range(1, open_low=True)] = 1_000_000.0,
        rotary_scaling: dict[str, Any] | None = None,
        norm_eps: Annotated[float, Range(0, open_low=True)] = 1e-6,
        tied: bool = True,
    ) -> None:
        sizes = names.sizes(
            vocabulary, layers=layers, heads=heads, groups=groups, width=width, head_width=head_width, hidden=hidden,
            ratio=3, context=context,
        )  # fmt: skip
        self.shape = Shape(
            **sizes,
            dropout=dropout,
            rotary_base=rotary_base,
            rotary_scaling=rotary_scaling or {},
            norm_eps=norm_eps,
            tied=tied,
            qk_norm=True,
            bias_qkv=bias,
            bias_out=bias,
            window=window,
            local=() if window is None else tuple(layer >= global_layers for layer in range(layers)),
        )

    def config(self) -> dict[str, Any]:
        shape = self.shape
        common = {**names.common_config(shape), "hidden_act": "silu", "attention_bias": shape.bias_qkv}
        return {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **names.later_windows_config(shape), **common}

    @classmethod
    def options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        names.refuse(config, {"hidden_act": ("silu",), "use_mrope": (False, None)})
        bias = bool(config.get("attention_bias"))
        common = names.common_options(config, base=10_000.0, tied=False)
        return {**common, **names.later_windows(config, common["layers"]), "bias": bias}

    def to_theirs(self, ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return names.renamed(ours, self.naming)

    def to_ours(self, theirs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        expected = self.to_theirs(names.meta_state(self.shape))
        found = names.checked(theirs, expected, self.naming, self.shape.tied)
        return names.named_back(found, self.shape, self.naming)
