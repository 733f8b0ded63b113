"""Gemma 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch

from lode.core.errors import ModelError
from lode.core.types import Range
from lode.model.language import names
from lode.model.language.contracts import Architecture, Shape


class Gemma2(Architecture):
    """Local and global layers in turn, capped scores and logits, norms before and after (Gemma team 2024, arXiv 2408.00118).

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
        cap_scores: Attention scores are kept within plus and minus this; left open, they are not.
        cap_logits: Logits are kept within plus and minus this; left open, they are not.
    """

    model_types = ("gemma2",)
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
        pattern: Annotated[int, Range(1)] = 2,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.3))] = 0.0,
        rotary_base: Annotated[float, Range(1, open_low=True)] = 10_000.0,
        rotary_scaling: dict[str, Any] | None = None,
        norm_eps: Annotated[float, Range(0, open_low=True)] = 1e-6,
        tied: bool = True,
        attention_width: Annotated[float, Range(0, open_low=True)] | None = None,
        cap_scores: Annotated[float, Range(0, open_low=True)] | None = 50.0,
        cap_logits: Annotated[float, Range(0, open_low=True)] | None = 30.0,
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
            window=window,
            softcap_scores=cap_scores,
            softcap_logits=cap_logits,
        )

    def config(self) -> dict[str, Any]:
        shape = self.shape
        assert shape.attention_scale is not None, "Gemma always says how scores are scaled"
        return {
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            **names.common_config(shape),
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": names.as_whole(shape.attention_scale**-2),
            "sliding_window": shape.window,
            "layer_types": names.layer_words(shape.local),
            "attn_logit_softcapping": shape.softcap_scores,
            "final_logit_softcapping": shape.softcap_logits,
        }

    @classmethod
    def options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        names.refuse(
            config,
            {"hidden_activation": ("gelu_pytorch_tanh",), "use_bidirectional_attention": (False, None), "attention_bias": (False,)},
        )
        common = names.common_options(config, base=10_000.0, tied=True)
        local = names.layer_kinds(config, common["layers"])
        said = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 2
        pattern = said if local is None else _pattern_of(local)
        return {
            **common,
            "window": config.get("sliding_window") or 4096,
            "pattern": pattern,
            "attention_width": float(config.get("query_pre_attn_scalar", 256)),
            "cap_scores": config.get("attn_logit_softcapping", 50.0),
            "cap_logits": config.get("final_logit_softcapping", 30.0),
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
