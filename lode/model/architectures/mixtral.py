"""Mixtral: Llama with a mixture of experts instead of each MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch

from lode.core.types import Range
from lode.model.language import names
from lode.model.language.contracts import Architecture, Shape


class Mixtral(Architecture):
    """Each token goes through `used` of `experts` MLPs, which a router chooses (Jiang 2024, arXiv 2401.04088).

    Args:
        layers: Blocks.
        heads: Query heads of each layer.
        groups: Key and value heads; fewer than heads saves memory while generating; left open, as many as heads.
        width: Numbers that stand for a token.
        head_width: Numbers of a head; left open, width / heads.
        hidden: Width inside the MLPs; left open, 3.5 times the width (of each expert).
        context: Most tokens of one sequence.
        window: Positions that a query sees, its own included; left open, all before it.
        experts: MLPs of a layer.
        used: Experts that each token goes through.
        balance: How much it costs to use experts unevenly: this times the load-balancing loss is added to the loss in training.
        dropout: Share of numbers set to 0 in training, in attention and on what blocks add.
        rotary_base: Wavelengths of positions go up to about 2 pi times this.
        rotary_scaling: How positions are stretched, as config.json has it: rope_type linear, dynamic, yarn or llama3, and its numbers.
        norm_eps: Keeps norms from dividing by 0.
        tied: Whether the head is the embedding.
    """

    model_types = ("mixtral",)
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
        experts: Annotated[int, Range(1, search=(4, 16), log=True)] = 8,
        used: Annotated[int, Range(1)] = 2,
        balance: Annotated[float, Range(0)] = 0.01,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.3))] = 0.0,
        rotary_base: Annotated[float, Range(1, open_low=True)] = 1_000_000.0,
        rotary_scaling: dict[str, Any] | None = None,
        norm_eps: Annotated[float, Range(0, open_low=True)] = 1e-5,
        tied: bool = True,
    ) -> None:
        sizes = names.sizes(
            vocabulary, layers=layers, heads=heads, groups=groups, width=width, head_width=head_width, hidden=hidden,
            ratio=3.5, context=context,
        )  # fmt: skip
        self.shape = Shape(
            **sizes,
            dropout=dropout,
            rotary_base=rotary_base,
            rotary_scaling=rotary_scaling or {},
            norm_eps=norm_eps,
            tied=tied,
            window=window,
            local=() if window is None else (True,) * layers,
            experts=experts,
            experts_used=used,
            balance=balance,
        )

    def config(self) -> dict[str, Any]:
        shape = self.shape
        return {
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            **names.common_config(shape),
            "hidden_act": "silu",
            "sliding_window": shape.window,
            "num_local_experts": shape.experts,
            "num_experts_per_tok": shape.experts_used,
            "router_aux_loss_coef": shape.balance,
        }

    @classmethod
    def options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        names.refuse(config, {"hidden_act": ("silu",), "router_jitter_noise": (0, None)})
        return {
            **names.common_options(config, base=1_000_000.0, tied=False),
            "window": config.get("sliding_window"),
            "experts": config.get("num_local_experts", 8),
            "used": config.get("num_experts_per_tok", 2),
            "balance": float(config.get("router_aux_loss_coef", 0.001)),
        }

    def to_theirs(self, ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = {}
        for name, tensor in ours.items():
            layer, dot, inner = name.partition(".mlp.")
            if not dot:
                made[names.LLAMA.theirs(name)] = tensor
                continue
            moe = layer.replace("layers", "model.layers", 1) + ".block_sparse_moe."
            if inner in _THEIRS:
                made |= {f"{moe}experts.{number}.{_THEIRS[inner]}.weight": one for number, one in enumerate(tensor)}
            else:
                made[moe + "gate.weight"] = tensor
        return made

    def to_ours(self, theirs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        meta = names.meta_state(self.shape)
        found = names.checked(theirs, self.to_theirs(meta), self.naming, self.shape.tied)
        made: dict[str, torch.Tensor] = {}
        for name, tensor in meta.items():
            theirs_of = list(self.to_theirs({name: tensor}))
            made[name] = found[theirs_of[0]] if len(tensor.shape) < 3 else torch.stack([found[one] for one in theirs_of])
        return made


_THEIRS = {"gate_EFD": "w1", "down_EDF": "w2", "up_EFD": "w3"}
