"""Cross-entropy of a vocabulary from hidden vectors, without ever holding all logits. N positions, D width, V vocabulary.

Logits of large vocabularies are the largest tensor of a language model's step (N * V * 4 bytes, three times with their gradient).
Here a run of positions at a time goes through the head; its share of both gradients is made at once, while its logits are in the cache
(Hsu 2024, arXiv 2410.10989, section 3.2). Small vocabularies take torch's own path, which is as fast and may be compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from lode.model.language.attend import attend_to
from lode.model.language.contracts import TokenBatch
from lode.model.language.products import product

IGNORED = -100
"""A target that is not learned."""

_WHOLE_BYTES = 8 << 20
"""Logits (float32) up to this size are made at once."""
_RUN_BYTES = 8 << 20
"""Else so much of them at a time on a processor: what its caches hold."""
_RUN_BYTES_GPU = 256 << 20
"""On a GPU large enough products to fill it."""
_LEAST_ROWS = 256
"""But at least so many positions, for each run reads and writes the head's whole gradient (2,048 positions, 32,768 tokens, width 384, bf16:
runs of 32 rows 1,053 ms, of 256 rows 518 ms)."""


def batch_loss(decoder: Any, batch: TokenBatch) -> torch.Tensor:
    """Mean negative log-likelihood of a batch's learned tokens, float32 (); in training with what keeps a mixture's experts in balance."""
    h_BTD = decoder(batch.tokens_BT, batch.positions_BT, attend_to(batch.documents_BT))
    found = mean_loss(h_BTD, decoder.head, batch.targets_BT, decoder.shape.softcap_logits)
    balance = decoder.balance_loss() if decoder.training else None
    return found if balance is None else found + balance


def mean_loss(h_BTD: torch.Tensor, head_VD: torch.Tensor, targets_BT: torch.Tensor, softcap: float | None = None) -> torch.Tensor:
    """Mean negative log-likelihood (natural logarithm) over the learned positions, float32 (); 0 where there are none.

    softcap: logits are cap * tanh(logits / cap) (Gemma 2); None for none.
    """
    h_ND, targets_N = h_BTD.flatten(0, -2), targets_BT.flatten()
    if len(h_ND) * len(head_VD) * 4 <= _WHOLE_BYTES:
        total = functional.cross_entropy(logits(h_ND, head_VD, softcap).float(), targets_N, ignore_index=IGNORED, reduction="sum")
    else:
        total = _InRuns.apply(h_ND, head_VD, targets_N, softcap)
    return total / (targets_N >= 0).sum().clamp_min(1)


def logits(h_ND: torch.Tensor, head_VD: torch.Tensor, softcap: float | None) -> torch.Tensor:
    """(N, V), in the precision of the products."""
    z_NV = functional.linear(h_ND, head_VD)
    return z_NV if softcap is None else softcap * torch.tanh(z_NV / softcap)


def token_losses(
    h_BTD: torch.Tensor, head_VD: torch.Tensor, targets_BT: torch.Tensor, softcap: float | None = None
) -> torch.Tensor:
    """Negative log-likelihood of each position, float32 (B, T), 0 where nothing is learned; a run of positions at a time.

    Gradients flow through it, and hold all logits: training with `mean_loss` does not.
    """
    h_ND, targets_N = h_BTD.flatten(0, -2), targets_BT.flatten()
    size = _run_rows(h_ND, head_VD)
    parts = [
        functional.cross_entropy(logits(h_RD, head_VD, softcap).float(), targets_R, ignore_index=IGNORED, reduction="none")
        for h_RD, targets_R in zip(h_ND.split(size), targets_N.split(size), strict=True)
    ]
    return torch.cat(parts).view_as(targets_BT)


def _run_rows(h_ND: torch.Tensor, head_VD: torch.Tensor) -> int:
    most = _RUN_BYTES_GPU if h_ND.is_cuda else _RUN_BYTES
    return max(_LEAST_ROWS, most // (4 * len(head_VD)))


class _InRuns(torch.autograd.Function):
    """Sum of the losses; both gradients are made on the way forward, a run of positions at a time."""

    @staticmethod
    def forward(
        ctx: Any, h_ND: torch.Tensor, head_VD: torch.Tensor, targets_N: torch.Tensor, softcap: float | None
    ) -> torch.Tensor:
        kind = h_ND.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else h_ND.dtype
        wants_h, wants_head = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        with torch.autocast(kind, enabled=False):
            h, head = h_ND.to(dtype), head_VD.to(dtype)
            d_h = torch.empty_like(h) if wants_h else None
            d_head = torch.zeros_like(head_VD, dtype=torch.float32) if wants_head else None
            total = torch.zeros((), device=h.device)
            size = _run_rows(h_ND, head_VD)
            for start in range(0, len(h), size):
                run = slice(start, start + size)
                loss, d_z = _run(h[run], head, targets_N[run], softcap, wants_h or wants_head)
                total += loss
                if d_h is not None and d_z is not None:
                    d_h[run] = product(d_z, head)
                if d_head is not None and d_z is not None:
                    d_head += product(d_z.t(), h[run])  # in float32 whatever the products are made in
        ctx.save_for_backward(*(gradient for gradient in (d_h, d_head) if gradient is not None))
        ctx.wants, ctx.dtypes = (wants_h, wants_head), (h_ND.dtype, head_VD.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        saved = iter(ctx.saved_tensors)
        found = [
            next(saved).to(dtype) * gradient.to(dtype) if wants else None
            for wants, dtype in zip(ctx.wants, ctx.dtypes, strict=True)
        ]
        return (*found, None, None)


def _run(
    h_RD: torch.Tensor, head_VD: torch.Tensor, targets_R: torch.Tensor, softcap: float | None, wants_gradient: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Sum of the losses of a run, and their gradient to what comes out of the head (R, V), in the precision of the products."""
    z_RV = product(h_RD, head_VD.t())
    capped_RV = z_RV.float() if softcap is None else softcap * torch.tanh(z_RV.float() / softcap)
    learned_R = targets_R >= 0
    safe_R1 = targets_R.clamp_min(0)[:, None]
    p_RV = torch.softmax(capped_RV, dim=1)
    # The likeliest token's p is exp(its logit - the logarithm of the sum), and never small: no second pass of exponentials. Its distance
    # to the target's comes first: logits may be large, and what they differ by small
    behind_R = capped_RV.amax(1) - capped_RV.gather(1, safe_R1)[:, 0]
    loss = ((behind_R - p_RV.amax(1).log()) * learned_R).sum()
    if not wants_gradient:
        return loss, None
    d_RV = p_RV
    d_RV.scatter_add_(1, safe_R1, d_RV.new_full(safe_R1.shape, -1.0))
    d_RV *= learned_R[:, None]
    if softcap is not None:
        d_RV *= 1.0 - (capped_RV / softcap).square()
    return loss, d_RV.to(z_RV.dtype)
