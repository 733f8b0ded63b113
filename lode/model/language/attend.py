"""How queries meet keys while training or scoring: causal, and within documents. The engine has its own (`lode/model/language/engine`).

Legend: B rows, T positions, H query heads, G key/value heads (a divisor of H), K head width. One object serves one batch: what it
derives from the batch (a mask) is made at its first use and shared by all layers.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from lode.model.language import scores
from lode.model.language.contracts import Attend, Look


class Causal:
    """Every position sees itself and all before it in its row (or the last `window` of them)."""

    def __init__(self) -> None:
        self._masks: dict[tuple[int | None, torch.dtype], torch.Tensor] = {}

    def __call__(self, layer: int, q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, look: Look) -> torch.Tensor:
        length = q_BTHK.shape[1]
        sees_all = look.window is None or look.window >= length
        if look.softcap is None and sees_all and not scores.suits(q_BTHK, k_BTGK, look):
            # No mask at all: kernels then skip the half that is not seen
            return _attention(q_BTHK, k_BTGK, v_BTGK, look, None)
        found = self._masks.get((look.window, q_BTHK.dtype))
        if found is None:
            found = additive(seen(length, look.window, q_BTHK.device), q_BTHK.dtype)
            self._masks[look.window, q_BTHK.dtype] = found
        return _attention(q_BTHK, k_BTGK, v_BTGK, look, found)


class Documents:
    """Every position sees itself and all before it in its document (or the last `window` of them).

    documents_BT: a number for each document of a row, int32; padding (-1) sees padding only.
    """

    def __init__(self, documents_BT: torch.Tensor) -> None:
        self.documents_BT = documents_BT
        self._masks: dict[tuple[int | None, torch.dtype], torch.Tensor] = {}

    def __call__(self, layer: int, q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, look: Look) -> torch.Tensor:
        found = self._masks.get((look.window, q_BTHK.dtype))
        if found is None:
            of_BT = self.documents_BT
            same_BTT = of_BT[:, :, None] == of_BT[:, None, :]
            found = additive((same_BTT & seen(of_BT.shape[1], look.window, of_BT.device))[:, None], q_BTHK.dtype)
            self._masks[look.window, q_BTHK.dtype] = found
        return _attention(q_BTHK, k_BTGK, v_BTGK, look, found)


def attend_to(documents_BT: torch.Tensor | None) -> Attend:
    """The fast way for rows of one document each (None), the mask for others."""
    return Causal() if documents_BT is None else Documents(documents_BT)


def seen(length: int, window: int | None, device: torch.device) -> torch.Tensor:
    """Which keys (columns) a query (row) may see, bool (T, T)."""
    at_T = torch.arange(length, device=device)
    behind_TT = at_T[:, None] - at_T[None, :]
    return behind_TT >= 0 if window is None else (behind_TT >= 0) & (behind_TT < window)


def additive(seen_TT: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where seen, else minus infinity: what kernels add to scores. They would turn a mask of bools into this in every layer."""
    return torch.zeros(seen_TT.shape, dtype=dtype, device=seen_TT.device).masked_fill_(~seen_TT, float("-inf"))


def _attention(
    q_BTHK: torch.Tensor, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, look: Look, mask: torch.Tensor | None
) -> torch.Tensor:
    """Softmax attention, (B, T, H, K).

    Torch's own kernel nearly everywhere (see `scores.py`): flash or memory-efficient on GPUs, flash on processors, with views for its
    layout (no copy).
    `flex_attention` has no backward on processors and `varlen_attn` runs on GPUs only (torch 2.13), so neither is one path for both.
    """
    if mask is not None and scores.suits(q_BTHK, k_BTGK, look):
        return scores.attention(q_BTHK, k_BTGK, v_BTGK, mask, look.scale)
    q, k, v = (x.transpose(1, 2) for x in (q_BTHK, k_BTGK, v_BTGK))
    grouped = q.shape[1] != k.shape[1]
    if look.softcap is not None:
        made = _softcapped(q, k, v, look, mask)
    else:
        made = functional.scaled_dot_product_attention(
            q, k, v, mask, dropout_p=look.dropout, is_causal=mask is None, scale=look.scale, enable_gqa=grouped
        )
    return made.transpose(1, 2)


def _softcapped(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, look: Look, mask: torch.Tensor | None) -> torch.Tensor:
    """Attention with capped scores (Gemma 2), which torch's kernel does not know, (B, H, T, K)."""
    assert look.softcap is not None and mask is not None, "capped scores come with a mask"
    times = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(times, dim=1) for x in (k, v))
    score = torch.matmul(q, k.transpose(2, 3)) * look.scale
    capped = look.softcap * torch.tanh(score / look.softcap) + mask
    weights = functional.softmax(capped, dim=-1, dtype=torch.float32).to(q.dtype)
    return torch.matmul(functional.dropout(weights, look.dropout), v)
