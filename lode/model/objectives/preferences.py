"""The objective of preference tuning: of two answers the chosen one becomes likelier than the rejected one.

Legend: P pairs, B = 2 P rows (2i the chosen answer behind its prompt, 2i + 1 the rejected one), T positions, D documents, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lode.core.errors import SpecError
from lode.core.types import ColumnName, Range
from lode.model.language import adapters, scoring
from lode.model.language.attend import attend_to
from lode.model.language.contracts import DOCUMENTS, LEARNED, TOKENS, Objective, TokenBatch
from lode.model.language.loss import IGNORED, token_losses

_WHOLE_BYTES = 64 << 20
"""Logits (float32) up to this size are kept for the gradient, else those of one row at a time are made again."""
_GROUP_DOCUMENTS = 4096
"""So many documents are read from their file at once."""


class Preferences(Objective):
    """Prefer the chosen answer to the rejected one, measured against the weights at the start (DPO, Rafailov 2023, arXiv 2305.18290).

    What the starting weights say of every answer is computed once before training; beside an adapter these are the weights without it.
    Prompt and answer together may fill the context; what lies behind is cut off.

    Args:
        chosen: The column with the better answer.
        rejected: The column with the worse one.
        prompt: The column with the question, or a list of columns, joined by line ends; empty cells are left out.
        messages: A column with the conversation before the answer instead: a list of {role, content}.
        beta: How firmly the model is held to the weights at the start: small moves far.
        loss: sigmoid is DPO's; ipo (Azar 2023, arXiv 2310.12036) draws the margin to 1 / (2 beta) and no further.
        label_smoothing: Share of the pairs that are taken to be the wrong way round, with sigmoid (Mitchell 2023).
        normalised: Compare log-probabilities per token instead of those of whole answers, so that length alone wins nothing.
        system: What stands before every conversation; left open, nothing.
    """

    reads = "pairs"

    def __init__(
        self,
        *,
        chosen: ColumnName,
        rejected: ColumnName,
        prompt: ColumnName | list[ColumnName] | None = None,
        messages: ColumnName | None = None,
        beta: Annotated[float, Range(0, open_low=True)] = 0.1,
        loss: Literal["sigmoid", "ipo"] = "sigmoid",
        label_smoothing: Annotated[float, Range(0, 0.5, open_high=True)] = 0.0,
        normalised: bool = False,
        system: str | None = None,
    ) -> None:
        if (messages is None) == (prompt is None):
            raise SpecError(
                "objective preferences: found neither or both of prompt and messages, allowed is one of them. "
                "Name columns: {type: preferences, prompt: question, chosen: better, rejected: worse}."
            )
        self.prompt, self.messages, self.chosen, self.rejected, self.system = prompt, messages, chosen, rejected, system
        self.beta, self.kind, self.label_smoothing, self.normalised = beta, loss, label_smoothing, normalised

    def prepare(self, decoder: nn.Module, tokens: Mapping[str, np.ndarray], device: str) -> dict[str, np.ndarray]:
        """What the starting weights give each answer, as "reference", nats, float32 (D,)."""
        with adapters.bare(decoder):
            return {"reference": _answers_logprobs(decoder, tokens)}

    def loss(self, decoder: nn.Module, batch: TokenBatch) -> torch.Tensor:
        """Mean over the pairs, float32 ()."""
        gained_B = self._gained(decoder, batch)
        return preference_loss(gained_B[0::2] - gained_B[1::2], self.beta, self.kind, self.label_smoothing).mean()

    def figures(self, decoder: nn.Module, batch: TokenBatch) -> dict[str, torch.Tensor]:
        """accuracy: share of the pairs whose chosen answer gained more than the rejected one; margin and rewards: beta times the gains."""
        reward_B = self.beta * self._gained(decoder, batch)
        chosen_P, rejected_P = reward_B[0::2], reward_B[1::2]
        return {
            "accuracy": (chosen_P > rejected_P).float().mean(),
            "margin": (chosen_P - rejected_P).mean(),
            "chosen_reward": chosen_P.mean(),
            "rejected_reward": rejected_P.mean(),
        }

    def _gained(self, decoder: nn.Module, batch: TokenBatch) -> torch.Tensor:
        """By how much each answer became likelier than with the starting weights, float32 (B,), nats (per token)."""
        gained_B = -_losses(decoder, batch).sum(dim=1) - batch.extra["reference"].float()
        return gained_B / (batch.targets_BT != IGNORED).sum(dim=1).clamp_min(1) if self.normalised else gained_B


def preference_loss(ahead: torch.Tensor, beta: float, kind: str, label_smoothing: float) -> torch.Tensor:
    """Loss of each pair. ahead: by how many nats more the chosen answer gained over the reference than the rejected one.

    sigmoid: -(1 - e) log s(beta h) - e log s(-beta h), with h = ahead, e = label_smoothing; ipo: (h - 1 / (2 beta))^2.
    """
    if kind == "ipo":
        return (ahead - 1 / (2 * beta)).square()
    right, wrong = functional.logsigmoid(beta * ahead), functional.logsigmoid(-beta * ahead)
    return -(1 - label_smoothing) * right - label_smoothing * wrong


def _losses(decoder: nn.Module, batch: TokenBatch) -> torch.Tensor:
    """Nats of each learned token, float32 (B, T), 0 elsewhere, with gradients."""
    taught: Any = decoder
    h_BTD = taught(batch.tokens_BT, batch.positions_BT, attend_to(batch.documents_BT))
    head_VD, softcap = taught.head, taught.shape.softcap_logits
    if batch.targets_BT.numel() * len(head_VD) * 4 <= _WHOLE_BYTES or not torch.is_grad_enabled():
        return token_losses(h_BTD, head_VD, batch.targets_BT, softcap)
    rows = zip(h_BTD, batch.targets_BT, strict=True)
    made = [checkpoint(token_losses, h_TD, head_VD, targets_T, softcap, use_reentrant=False) for h_TD, targets_T in rows]
    return torch.stack(made)


def _answers_logprobs(decoder: Any, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Log-probability of each document's learned tokens as far as rows of pairs hold them, float32 (D,)."""
    offsets, learned = np.asarray(arrays[DOCUMENTS], np.int64), arrays.get(LEARNED)
    ends = np.minimum(offsets[1:], offsets[:-1] + decoder.shape.context + 1)
    made = np.zeros(len(ends), np.float32)
    for first in range(0, len(ends), _GROUP_DOCUMENTS):
        group = range(first, min(first + _GROUP_DOCUMENTS, len(ends)))
        pieces = [np.asarray(arrays[TOKENS][offsets[at] : ends[at]]) for at in group]
        for at, found in zip(group, scoring.told(decoder, pieces), strict=True):
            kept = slice(None) if learned is None else np.asarray(learned[offsets[at] + 1 : ends[at]], bool)
            made[at] = -found.nats[kept].sum(dtype=np.float64)
    return made
