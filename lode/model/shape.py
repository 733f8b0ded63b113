"""The shape of a decoder: plain numbers, no torch. `lode/model/language` builds from it, `lode/model/planning` counts by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a decoder is made of: everything that its parameters, operations and memory follow from, and nothing learned.

    groups: key/value heads (heads: each query head has its own; 1: all share one). hidden: width of each MLP (of each expert).
    context: most positions of one sequence. window: positions that a layer with `local` True looks back; None for all.
    local: per layer, whether it looks back `window` positions only; empty where no layer does.
    rotary_base: of layers that see everything; rotary_base_local: of the others, where it differs. rotary_scaling: as
    Hugging Face's config has it ({"rope_type": "linear" | "dynamic" | "yarn" | "llama3", ...}); empty for none.
    attention_scale: what scores are multiplied by; None for head_width ** -0.5. embedding_scale: what embeddings are multiplied by.
    bias_norm: of layer norms. norm_shift: 1.0 where a norm multiplies with 1 + weight. post_norms: whether what a block adds is normed too.
    softcap_logits, softcap_scores: cap * tanh(x / cap); None for none. experts: MLPs of a layer of which each token uses
    `experts_used`; 0 for one plain MLP. balance: weight of the load-balancing loss of experts (`Decoder.balance_loss`); 0 for none.
    """

    vocabulary: int
    layers: int
    width: int
    heads: int
    groups: int
    head_width: int
    hidden: int
    context: int
    norm: Literal["layer", "rms"] = "rms"
    norm_eps: float = 1e-6
    norm_shift: float = 0.0
    post_norms: bool = False
    positions: Literal["learned", "rotary"] = "rotary"
    rotary_base: float = 10_000.0
    rotary_base_local: float | None = None
    rotary_scaling: Mapping[str, Any] = field(default_factory=dict)
    activation: Literal["gelu", "gelu_tanh", "silu", "relu_squared"] = "silu"
    gated: bool = True
    bias_qkv: bool = False
    bias_out: bool = False
    bias_mlp: bool = False
    bias_norm: bool = True
    qk_norm: bool = False
    tied: bool = True
    window: int | None = None
    local: tuple[bool, ...] = ()
    attention_scale: float | None = None
    embedding_scale: float = 1.0
    softcap_logits: float | None = None
    softcap_scores: float | None = None
    experts: int = 0
    experts_used: int = 0
    balance: float = 0.0
    dropout: float = 0.0
