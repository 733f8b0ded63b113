"""Gemma 3, text only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch

from lode.core.errors import ModelError
from lode.core.types import Range
from lode.model.language import names
from lode.model.language.contracts import Architecture, Shape


class Gemma3(Architecture):
    """Five local layers to one global one, each with its own rotary base, norms on queries and keys (Gemma team 2025, arXiv 2503.19786).

    Checkpoints with pictures (`model_type` gemma3) are refused: take their text part, saved as `Gemma3ForCausalLM`.

    Args:
        layers: Blocks.
        heads: Query heads of each layer.
        groups: Key and value heads; fewer than heads saves memory while generating; left open, as many as heads.
        width: Numbers that stand for a token.
        head_width: Numbers of a head; left open, width / heads.
        hidden: Width inside the MLPs; left open, 4 times the width.
        context: Most tokens of one sequence.
        window: Positions that a query sees in local layers, its own included.
        pattern: Every so many-th layer sees everything, the others look back `window` positions.
        dropout: Share of numbers set to 0 in training, in attention and on what blocks add.
        rotary_base: Wavelengths of positions go up to about 2 pi times this.
        rotary_scaling: How positions are stretched, as config.json has it: rope_type linear, dynamic, yarn or llama3, and its numbers.
        norm_eps: Keeps norms from dividing by 0.
        tied: Whether the head is the embedding.
        attention_width: Scores are divided by its square root; left open, head_width.
        rotary_base_local: As rotary_base, in local layers.
    """

    model_types = ("gemma3_text",)
    naming = names.GEMMA

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
        window: Annotated[int, Range(1)] = 128,
        pattern: Annotated[int, Range(1)] = 6,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.3))] = 0.0,
        rotary_base: Annotated[float, Range(1, open_low=True)] = 1_000_000.0,
        rotary_scaling: dict[str, Any] | None = None,
        norm_eps: Annotated[float, Range(0, open_low=True)] = 1e-6,
        tied: bool = True,
        attention_width: Annotated[float, Range(0, open_low=True)] | None = None,
        rotary_base_local: Annotated[float, Range(1, open_low=True)] = 10_000.0,
    ) -> None:
        sizes = names.sizes(
            vocabulary, layers=layers, heads=heads, groups=groups, width=width, head_width=head_width, hidden=hidden,
            ratio=4, context=context,
        )  # fmt: skip
        self.shape = Shape(
            **names.gemma_shape(sizes, pattern, attention_width),
            dropout=dropout,
            rotary_base=rotary_base,
            rotary_scaling=rotary_scaling or {},
            norm_eps=norm_eps,
            tied=tied,
            qk_norm=True,
            rotary_base_local=rotary_base_local,
            window=window,
        )

    def config(self) -> dict[str, Any]:
        shape = self.shape
        assert shape.attention_scale is not None, "Gemma always says how scores are scaled"
        return {
            "architectures": ["Gemma3ForCausalLM"],
            "model_type": "gemma3_text",
            **names.common_config(shape),
            "rope_local_base_freq": shape.rotary_base_local,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": names.as_whole(shape.attention_scale**-2),
            "sliding_window": shape.window,
            "layer_types": names.layer_words(shape.local),
        }

    @classmethod
    def options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        both = config.get("rope_parameters") or {}
        whole = {**config, "rope_parameters": both.get("full_attention")} if both else config
        near, scaled = names.rotary_of(
            {"rope_parameters": both.get("sliding_attention")}, config.get("rope_local_base_freq", 10_000.0)
        )
        if scaled:
            raise ModelError(
                "config.json: found scaled positions in local layers, allowed in global ones only. Choose other weights."
            )
        names.refuse(
            config,
            {
                "hidden_activation": ("gelu_pytorch_tanh",),
                "use_bidirectional_attention": (False, None),
                "attention_bias": (False,),
                "attn_logit_softcapping": (None,),
                "final_logit_softcapping": (None,),
            },
        )
        common = names.common_options(whole, base=1_000_000.0, tied=True)
        local = names.layer_kinds(config, common["layers"])
        said = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
        pattern = said if local is None else _pattern_of(local)
        return {
            **common,
            "window": config.get("sliding_window") or 4096,
            "pattern": pattern,
            "attention_width": float(config.get("query_pre_attn_scalar", 256)),
            "rotary_base_local": near,
        }

    def to_theirs(self, ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return names.renamed(ours, self.naming)

    def to_ours(self, theirs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        expected = self.to_theirs(names.meta_state(self.shape))
        found = names.checked(theirs, expected, self.naming, self.shape.tied)
        return names.named_back(found, self.shape, self.naming)


def _pattern_of(local: tuple[bool, ...]) -> int:
    """Every which layer sees everything. Errors: ModelError where there is no such number."""
    first = local.index(False) + 1 if False in local else len(local) + 1
    if local != tuple(bool((layer + 1) % first) for layer in range(len(local))):
        raise ModelError("config.json: found layer_types without a period, allowed is full_attention at every so many-th layer.")
    return first
