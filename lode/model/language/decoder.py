"""One decoder for GPT-2, Llama, Qwen, Gemma, Mixtral and what lies between them. Read `Decoder.forward` first, then `Block`.

Legend: B rows, T positions, D width, H query heads, G key/value heads, K head width, F hidden width, V vocabulary.
Queries, keys and values are layers of their own (`layers.0.attention.q`), and so are `gate`, `up` and `down` of an MLP: adapters, int8 and
tensor parallel replace them one by one, and fusing them made no step faster (attention forward and backward at width 384, 8 x 256
tokens, one thread: 115.9 ms fused, 113.7 ms apart). Everything but `attend` works position by position.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from lode.core.errors import ModelError
from lode.model.language.activations import activation_of
from lode.model.language.attend import Causal
from lode.model.language.contracts import Attend, Look, Shape
from lode.model.language.experts import Experts
from lode.model.language.products import Linear, linear, product_dtype, rms_norm, rotate
from lode.model.language.rotary import Rotary

Angles = tuple[torch.Tensor, torch.Tensor] | None
"""Cosines and sines of the positions; None with learned positions."""
START_SPREAD = 0.02
"""Standard deviation of first weights (GPT-2; also `initializer_range` of every config here)."""


class Norm(nn.Module):
    """Root-mean-square norm times (shift + weight) (Zhang 2019, arXiv 1910.07467), computed in float32."""

    def __init__(self, width: int, eps: float, shift: float) -> None:
        super().__init__()
        self.eps, self.shift = eps, shift
        self.weight = nn.Parameter(torch.full((width,), 1.0 - shift))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.shift or x.dtype != self.weight.dtype:
            weight = self.weight.float()
            return rms_norm(x.float(), weight + self.shift if self.shift else weight, self.eps).to(x.dtype)
        return rms_norm(x, self.weight, self.eps)


class Attention(nn.Module):
    """Queries, keys and values of one layer, what `attend` makes of them, and the way back to the width.

    Several processes may have some of the heads each (`lode/model/divide.py`): `tensor_plan`, `tensor_parts`, `tensor_sums`.
    """

    tensor_plan: ClassVar[Mapping[str, str]] = {"q": "columns", "k": "columns", "v": "columns", "out": "rows"}
    tensor_sums = ("q_norm", "k_norm")

    def __init__(self, shape: Shape, layer: int) -> None:
        super().__init__()
        self.tensor_parts = {"heads": shape.heads, "groups": shape.groups}
        self.layer, self.head_width = layer, shape.head_width
        wide, narrow = shape.heads * shape.head_width, shape.groups * shape.head_width
        self.q = Linear(shape.width, wide, bias=shape.bias_qkv)
        self.k = Linear(shape.width, narrow, bias=shape.bias_qkv)
        self.v = Linear(shape.width, narrow, bias=shape.bias_qkv)
        self.out = Linear(wide, shape.width, bias=shape.bias_out)
        self.q_norm = Norm(shape.head_width, shape.norm_eps, shape.norm_shift) if shape.qk_norm else None
        self.k_norm = Norm(shape.head_width, shape.norm_eps, shape.norm_shift) if shape.qk_norm else None
        scale = shape.head_width**-0.5 if shape.attention_scale is None else shape.attention_scale
        window = shape.window if is_local(shape, layer) else None
        self.look = Look(scale, window, shape.softcap_scores)
        self.look_training = Look(scale, window, shape.softcap_scores, shape.dropout)

    def forward(self, x_BTD: torch.Tensor, angles: Angles, attend: Attend) -> torch.Tensor:
        size = (*x_BTD.shape[:-1], -1, self.head_width)
        q_BTHK, k_BTGK, v_BTGK = self.q(x_BTD).view(size), self.k(x_BTD).view(size), self.v(x_BTD).view(size)
        if self.q_norm is not None and self.k_norm is not None:
            q_BTHK, k_BTGK = self.q_norm(q_BTHK), self.k_norm(k_BTGK)
        if angles is not None:
            q_BTHK, k_BTGK = rotate(q_BTHK, *angles), rotate(k_BTGK, *angles)
        look = self.look_training if self.training else self.look
        made: torch.Tensor = self.out(attend(self.layer, q_BTHK, k_BTGK, v_BTGK, look).flatten(-2))
        return made


class Mlp(nn.Module):
    """activation(gate) * up, then down; without a gate down(activation(up))."""

    tensor_plan: ClassVar[Mapping[str, str]] = {"gate": "columns", "up": "columns", "down": "rows"}

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tensor_parts = {"hidden": shape.hidden}
        self.activation = activation_of(shape.activation)
        self.gate = Linear(shape.width, shape.hidden, bias=shape.bias_mlp) if shape.gated else None
        self.up = Linear(shape.width, shape.hidden, bias=shape.bias_mlp)
        self.down = Linear(shape.hidden, shape.width, bias=shape.bias_mlp)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        h_BTF = self.activation(self.up(x_BTD)) if self.gate is None else self.activation(self.gate(x_BTD)) * self.up(x_BTD)
        made: torch.Tensor = self.down(h_BTF)
        return made


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); with `post_norms` what is added is normed too."""

    computed_twice = True
    """`train.checkpoint_activations` keeps only what goes in here (`lode/model/recompute.py`)."""

    def __init__(self, shape: Shape, layer: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = norm_of(shape), norm_of(shape)
        self.attention = Attention(shape, layer)
        self.mlp: nn.Module = Mlp(shape)
        if shape.experts:
            self.mlp = Experts(shape.width, shape.hidden, shape.experts, shape.experts_used, activation_of(shape.activation))
        self.attention_post_norm = norm_of(shape) if shape.post_norms else None
        self.mlp_post_norm = norm_of(shape) if shape.post_norms else None
        self.dropout = shape.dropout

    def forward(self, x_BTD: torch.Tensor, angles: Angles, attend: Attend) -> torch.Tensor:
        h_BTD = self.attention(_for_products(self.attention_norm(x_BTD)), angles, attend)
        x_BTD = x_BTD + self._added(h_BTD, self.attention_post_norm)
        h_BTD = self.mlp(_for_products(self.mlp_norm(x_BTD)))
        return x_BTD + self._added(h_BTD, self.mlp_post_norm)

    def _added(self, h_BTD: torch.Tensor, norm: nn.Module | None) -> torch.Tensor:
        h_BTD = h_BTD if norm is None else norm(h_BTD)
        return functional.dropout(h_BTD, self.dropout, self.training) if self.dropout else h_BTD


class Decoder(nn.Module):
    """Tokens to hidden states to logits.

    First weights: normal with spread 0.02, of what writes into the residual stream (`out`, `down`) 0.02 / sqrt(2 * layers); norms pass
    everything on, biases are 0 (GPT-2, Radford 2019, section 2.3).

    Args:
        shape: What it is made of. Errors: ModelError where its numbers do not fit together.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        _check(shape)
        self.shape = shape
        self.embed = nn.Embedding(shape.vocabulary, shape.width)
        self.position_embed = nn.Embedding(shape.context, shape.width) if shape.positions == "learned" else None
        rotary = shape.positions == "rotary"
        other = rotary and shape.rotary_base_local is not None and any(shape.local)
        self.rotary = Rotary(shape.head_width, shape.rotary_base, shape.rotary_scaling, shape.context) if rotary else None
        self.rotary_local = Rotary(shape.head_width, shape.rotary_base_local or 0.0, {}, shape.context) if other else None
        self.layers = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.norm = norm_of(shape)
        self.unembed = None if shape.tied else Linear(shape.width, shape.vocabulary, bias=False)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """First weights, from torch's default generator; nothing on the meta device, where there are none."""
        if self.embed.weight.is_meta:
            return
        small = START_SPREAD / math.sqrt(2 * self.shape.layers)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            elif weight.ndim > 1:
                is_residual = name.endswith((".out.weight", ".down.weight", ".down_EDF"))
                weight.normal_(0.0, small if is_residual else START_SPREAD)

    @property
    def head(self) -> torch.Tensor:
        """What hidden states are multiplied by, (V, D): the embedding where the head is tied."""
        return self.embed.weight if self.unembed is None else self.unembed.weight

    def forward(
        self, tokens_BT: torch.Tensor, positions_BT: torch.Tensor | None = None, attend: Attend | None = None
    ) -> torch.Tensor:
        """Hidden states after the last norm, (B, T, D).

        positions_BT: None for 0 .. T-1 in every row. attend: None for `Causal()`.
        Errors: ModelError for more positions than a decoder with learned ones has.
        """
        attend = Causal() if attend is None else attend
        if positions_BT is None:
            positions_BT = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        x_BTD = self._embedded(tokens_BT, positions_BT)
        dtype = product_dtype(x_BTD)
        angles = None if self.rotary is None else self.rotary(positions_BT, dtype)
        angles_local = angles if self.rotary_local is None else self.rotary_local(positions_BT, dtype)
        for number, block in enumerate(self.layers):
            x_BTD = block(x_BTD, angles_local if is_local(self.shape, number) else angles, attend)
        made: torch.Tensor = self.norm(x_BTD)
        return made

    def logits(self, h_BTD: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, (..., V), of hidden states (..., D)."""
        return self.capped(linear(h_BTD, self.head))

    def capped(self, logits_BTV: torch.Tensor) -> torch.Tensor:
        """Logits as the architecture caps them; for losses that multiply with `head` themselves."""
        cap = self.shape.softcap_logits
        return logits_BTV if cap is None else cap * torch.tanh(logits_BTV / cap)

    def balance_loss(self) -> torch.Tensor | None:
        """`shape.balance` times the mean load-balancing loss of the experts in the last forward pass, (); None without."""
        if not self.shape.balance:
            return None
        found = [block.mlp.balance for block in self.layers if isinstance(block, Block) and isinstance(block.mlp, Experts)]
        kept = [loss for loss in found if loss is not None]
        return self.shape.balance * torch.stack(kept).mean() if kept else None

    def _embedded(self, tokens_BT: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        x_BTD: torch.Tensor = self.embed(tokens_BT)
        if self.shape.embedding_scale != 1.0:
            # Rounded to the weights' type first, as Gemma was trained
            x_BTD = x_BTD * torch.tensor(self.shape.embedding_scale, dtype=self.embed.weight.dtype).item()
        if self.position_embed is not None:
            length = tokens_BT.shape[1]
            if length > self.shape.context:
                raise ModelError(
                    f"architecture.context: found a row of {length} tokens, allowed are {self.shape.context}, for which there are "
                    "learned positions. Cut the text, or train with a larger context."
                )
            x_BTD = x_BTD + self.position_embed(positions_BT)
        return functional.dropout(x_BTD, self.shape.dropout, self.training) if self.shape.dropout else x_BTD


def is_local(shape: Shape, layer: int) -> bool:
    """Whether a layer looks back `window` positions only."""
    return bool(shape.local) and shape.local[layer]


def norm_of(shape: Shape) -> nn.Module:
    """A norm over the width."""
    if shape.norm == "layer":
        return nn.LayerNorm(shape.width, eps=shape.norm_eps, bias=shape.bias_norm)
    return Norm(shape.width, shape.norm_eps, shape.norm_shift)


def _for_products(x: torch.Tensor) -> torch.Tensor:
    """As the layers after a norm read it: turned once, not by each of them."""
    return x.to(product_dtype(x))


def _check(shape: Shape) -> None:
    """Errors: ModelError where heads, groups, layers or experts do not fit together."""
    wrong = {
        f"groups: found {shape.groups} for {shape.heads} heads, allowed is a divisor of the heads": shape.heads % shape.groups,
        f"local: found {len(shape.local)} entries for {shape.layers} layers, allowed is one each": len(shape.local)
        not in (0, shape.layers),
        "window: found none with layers that look back, allowed is a number of positions": any(shape.local)
        and shape.window is None,
        f"experts_used: found {shape.experts_used} of {shape.experts}, allowed are 1 to all of them": shape.experts
        and not 1 <= shape.experts_used <= shape.experts,
    }
    for text, found in wrong.items():
        if found:
            raise ModelError(f"architecture.{text}. Change one of them.")
