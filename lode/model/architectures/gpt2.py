"""GPT-2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch

from lode.core.errors import ArtifactError
from lode.core.types import Range
from lode.model.language import names
from lode.model.language.contracts import Architecture, Shape

_QKV = ("q", "k", "v")
_LAYER = {
    "attention_norm": "ln_1",
    "attention.q": "attn.c_attn",  # their three lie side by side in one matrix
    "attention.k": "attn.c_attn",
    "attention.v": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
_OUTSIDE = {"embed": "transformer.wte", "position_embed": "transformer.wpe", "norm": "transformer.ln_f", "unembed": "lm_head"}


class Gpt2(Architecture):
    """Learned positions, layer norms, an MLP with GELU (Radford 2019, "Language models are unsupervised multitask learners").

    Hugging Face's config.json cannot say that there are no biases: those of such a model are written as zeros.

    Args:
        layers: Blocks.
        heads: Heads of each layer, a divisor of width.
        width: Numbers that stand for a token.
        hidden: Width inside the MLPs; left open, 4 times the width.
        context: Most tokens of one sequence; there is no position beyond.
        dropout: Share of numbers set to 0 in training: of embeddings, in attention, and on what blocks add.
        bias: Whether layers and norms have biases.
        norm_eps: Keeps norms from dividing by 0.
        tied: Whether the head is the embedding.
    """

    model_types = ("gpt2",)
    naming = names.Names(_LAYER, _OUTSIDE, "transformer.h", "transformer.", (".attn.bias", ".attn.masked_bias"))

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: Annotated[int, Range(1, search=(2, 24), log=True)] = 6,
        heads: Annotated[int, Range(1, search=(2, 16), log=True)] = 6,
        width: Annotated[int, Range(8, search=(128, 1024), log=True)] = 384,
        hidden: Annotated[int, Range(1)] | None = None,
        context: Annotated[int, Range(1, search=(64, 4096), log=True)] = 256,
        dropout: Annotated[float, Range(0, 1, open_high=True, search=(0.0, 0.3))] = 0.0,
        bias: bool = True,
        norm_eps: Annotated[float, Range(0, open_low=True)] = 1e-5,
        tied: bool = True,
    ) -> None:
        self.shape = Shape(
            vocabulary=vocabulary,
            layers=layers,
            heads=heads,
            groups=heads,
            width=width,
            head_width=names.head_width_of(width, heads, None),
            hidden=4 * width if hidden is None else hidden,
            context=context,
            norm="layer",
            norm_eps=norm_eps,
            positions="learned",
            activation="gelu_tanh",
            gated=False,
            bias_qkv=bias,
            bias_out=bias,
            bias_mlp=bias,
            bias_norm=bias,
            tied=tied,
            dropout=dropout,
        )

    def config(self) -> dict[str, Any]:
        shape = self.shape
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": shape.vocabulary,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_embd": shape.width,
            "n_inner": shape.hidden,
            "n_positions": shape.context,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": shape.norm_eps,
            "tie_word_embeddings": shape.tied,
            "embd_pdrop": shape.dropout,
            "attn_pdrop": shape.dropout,
            "resid_pdrop": shape.dropout,
            "initializer_range": 0.02,
            "bias": shape.bias_norm,  # transformers passes over it: its biases are zeros then
            **names.no_special_tokens(),
        }

    @classmethod
    def options(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        only: dict[str, tuple[Any, ...]] = {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        }
        names.refuse(config, only)
        return {
            "layers": config.get("n_layer", 12),
            "heads": config.get("n_head", 12),
            "width": config.get("n_embd", 768),
            "hidden": config.get("n_inner"),
            "context": config.get("n_positions", 1024),
            "dropout": float(config.get("resid_pdrop", 0.1)),
            "bias": bool(config.get("bias", True)),
            "norm_eps": float(config.get("layer_norm_epsilon", 1e-5)),
            "tied": bool(config.get("tie_word_embeddings", True)),
        }

    def to_theirs(self, ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = {}
        whole = _with_biases(ours)
        for name, tensor in whole.items():
            if ".attention.q." in name:
                parts = [tensor, *(whole[name.replace(".q.", f".{other}.")] for other in _QKV[1:])]
                made[self.naming.theirs(name)] = torch.cat([_turned(name, part) for part in parts], dim=-1)
            elif ".attention.k." not in name and ".attention.v." not in name:
                made[self.naming.theirs(name)] = _turned(name, tensor)
        return made

    def to_ours(self, theirs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        meta = names.meta_state(self.shape)
        found = names.checked(theirs, self.to_theirs(meta), self.naming, self.shape.tied)
        lost = [] if self.shape.bias_norm else [name for name in found if name.endswith(".bias") and _holds_something(found[name])]
        if lost:
            raise ArtifactError(
                f"weights: found {lost[0]} with numbers other than 0, allowed beside bias: false are zeros. It was trained elsewhere: "
                'write "bias": true into config.json.'
            )
        made: dict[str, torch.Tensor] = {}
        for name in meta:
            tensor = found[self.naming.theirs(name)]
            if ".attention." in name and ".out." not in name:
                tensor = tensor.chunk(3, dim=-1)[_QKV.index(name.split(".")[-2])]
            made[name] = _turned(name, tensor)
        return made


def _holds_something(tensor: torch.Tensor) -> bool:
    return not tensor.is_meta and bool(tensor.any())


def _turned(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Their layers keep (in, out) where torch keeps (out, in)."""
    return tensor.t() if tensor.ndim == 2 and name.startswith("layers.") else tensor


def _with_biases(ours: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Zeros where a layer or norm has no bias, because theirs all have one."""
    made = dict(ours)
    for name, tensor in ours.items():
        stem, _, end = name.rpartition(".")
        if end == "weight" and "embed" not in stem:
            made.setdefault(f"{stem}.bias", tensor.new_zeros(tensor.shape[0]))
    return made
