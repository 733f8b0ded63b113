"""Whole texts at once, without a cache: their vectors and the log-probabilities of their tokens.

Legend: B texts of one batch, T positions, D width, V vocabulary. Texts are padded on the right, where no causal position looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional

from lode.model.language.decoder import Decoder
from lode.model.language.engine.checks import check_tokens
from lode.model.language.engine.errors import BadRequestError, ContextOverflowError
from lode.model.language.products import linear

_BATCH_TOKENS = 4096
_LOGIT_NUMBERS = 1 << 24
"""Logits that are held at a time: 64 MiB of float32."""


def logits(decoder: Decoder, h_ND: torch.Tensor) -> torch.Tensor:
    """Scores of the next token (N, V); through the head's own layer, which may be int8."""
    unembed = decoder.unembed
    return decoder.capped(linear(h_ND, decoder.embed.weight) if unembed is None else unembed(h_ND))


@torch.inference_mode()
def embed(decoder: Decoder, token_lists: Sequence[Sequence[int]]) -> np.ndarray:
    """Mean hidden states of length 1, float32 (N, D)."""
    made_ND = np.zeros((len(token_lists), decoder.shape.width), dtype=np.float32)
    for index, tokens_BT, length_B in _batches(decoder, token_lists):
        h_BTD = decoder(tokens_BT).float()
        is_there_BT = torch.arange(h_BTD.shape[1], device=h_BTD.device) < length_B[:, None]
        mean_BD = h_BTD.masked_fill(~is_there_BT[:, :, None], 0.0).sum(1) / length_B[:, None]
        made_ND[index] = functional.normalize(mean_BD, dim=-1).cpu().numpy()
    return made_ND


@torch.inference_mode()
def logprobs(decoder: Decoder, token_lists: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Log-probabilities of each text's tokens from the second on, float32."""
    made: list[np.ndarray] = [np.zeros(0, dtype=np.float32)] * len(token_lists)
    for index, tokens_BT, length_B in _batches(decoder, token_lists):
        h_MD = decoder(tokens_BT)[:, :-1].flatten(0, 1)
        target_M = tokens_BT[:, 1:].flatten()
        at_a_time = max(1, _LOGIT_NUMBERS // decoder.shape.vocabulary)
        found_M = [
            -functional.cross_entropy(logits(decoder, h).float(), target, reduction="none")
            for h, target in zip(h_MD.split(at_a_time), target_M.split(at_a_time), strict=True)
        ]
        found_BT = torch.cat(found_M).view(len(index), -1).cpu().numpy() if found_M else np.zeros((len(index), 0), np.float32)
        for row, (number, length) in enumerate(zip(index, length_B.tolist(), strict=True)):
            made[number] = found_BT[row, : length - 1].copy()
    return made


def _batches(decoder: Decoder, token_lists: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """(which texts, tokens int64 (B, T), lengths (B,)), texts of like length together."""
    shape, device = decoder.shape, decoder.embed.weight.device
    for number, tokens in enumerate(token_lists):
        if not len(tokens):
            raise BadRequestError(f"input[{number}]: found no tokens, at least one is needed. Leave empty texts out.")
        check_tokens(tokens, shape.vocabulary, f"input[{number}]")
        if len(tokens) > shape.context:
            raise ContextOverflowError(len(tokens), shape.context, "the context")
    order = sorted(range(len(token_lists)), key=lambda number: len(token_lists[number]))
    while order:
        longest = len(token_lists[order[-1]])
        index = order[-max(1, _BATCH_TOKENS // longest) :]
        del order[-len(index) :]
        tokens_BT = np.zeros((len(index), longest), dtype=np.int64)
        for row, number in enumerate(index):
            tokens_BT[row, : len(token_lists[number])] = token_lists[number]
        lengths = torch.tensor([len(token_lists[number]) for number in index], device=device)
        yield index, torch.from_numpy(tokens_BT).to(device), lengths
