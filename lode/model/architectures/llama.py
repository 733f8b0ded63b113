"""Llama 1 to 3, and with `window` Mistral 7B, which is the same but for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch

from lode.core.types import Range
from lode.model.language import names
from lode.model.language.contracts import Architecture, Shape


class Llama(Architecture):
    """Rotary positions, grouped queries, a gated MLP with SiLU, RMS norms (Touvron 2023, arXiv 2302.13971 and 2307.09288).

    With `window` every layer looks back so many positions: that is Mistral (Jiang 2023, arXiv 2310.06825), and config.json says so.

    Args:
        layers: Blocks.
        heads: Query heads of each layer.
        groups: Key and value heads; fewer than heads saves memory while generating; left open, as many as heads.
        width: Numbers that stand for a token.
        head_width: Numbers of a head; left open, width / heads.
        hidden: Width inside the MLPs; left open, 8/3 of the width (as many weights as an MLP without a gate has, Shazeer 2020).
        context: Most tokens of one sequence.
        window: Positions that a query sees, its own included; left open, all before it.
        bias: Whether queries, keys, values and their output have a bias.
        bias_mlp: Whether the MLPs have biases.
        dropout: Share of numbers set to 0 in training, in attention and on what blocks add.
        rotary_base: Wavelengths of positions go up to about 2 pi times this.
        rotary_scaling: How positions are stretched, as config.json has it: rope_type linear, dynamic, yarn or llama3, and its numbers.
        norm_eps: Keeps norms from dividing by 0.
        tied: Whether the head is the embedding.
    """

    model_types = ("llama", "mistral")
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
        bias: bool = False,
        bias_mlp: bool = False,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.3))] = 0.0,
        rotary_base: Annotated[float, Range(1, open_low=True)] = 10_000.0,
        rotary_scaling: dict[str, Any] | None = None,
        norm_eps: Annotated[float, Range(0, open_low=True)] = 1e-5,
        tied: bool = True,
    ) -> None:
        sizes = names.sizes(
            vocabulary, layers=layers, heads=heads, groups=groups, width=width, head_width=head_width, hidden=hidden,
            ratio=8 / 3, context=context,
        )  # fmt: skip
        self.shape = Shape(
            **sizes,
            dropout=dropout,
            rotary_base=rotary_base,
            rotary_scaling=rotary_scaling or {},
            norm_eps=norm_eps,
            tied=tied,
            bias_qkv=bias,
            bias_out=bias,
            bias_mlp=bias_mlp,
            window=window,
            local=() if window is None else (True,) * layers,
        )

    def config(self) -> dict[str, Any]:
        shape = self.shape
        common = {**names.common_config(shape), "hidden_act": "silu"}
        if shape.window is not None and not (shape.bias_qkv or shape.bias_mlp):
            return {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": shape.window, **common}
        biases = {"attention_bias": shape.bias_qkv, "mlp_bias": shape.bias_mlp}
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **biases, **common}

    @classmethod
    def options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        names.refuse(config, {"hidden_act": ("silu",), "pretraining_tp": (1, None)})
        window = config.get("sliding_window") if config.get("model_type") == "mistral" else None
        biases = {"bias": bool(config.get("attention_bias")), "bias_mlp": bool(config.get("mlp_bias"))}
        return {**names.common_options(config, base=10_000.0, tied=False), "window": window, **biases}

    def to_theirs(self, ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return names.renamed(ours, self.naming)

    def to_ours(self, theirs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        expected = self.to_theirs(names.meta_state(self.shape))
        found = names.checked(theirs, expected, self.naming, self.shape.tied)
        return names.named_back(found, self.shape, self.naming)
