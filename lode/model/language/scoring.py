"""How well a decoder foretells given tokens: nats of each, without a gradient. Training's loss is the objective's own.

Legend: B rows, T positions, D width, V vocabulary, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from lode.model.language.decoder import Decoder

_LOGIT_BYTES = 64 * 2**20
"""Logits are computed for so many positions at once that they stay below this, whatever the vocabulary."""
_ROW_TOKENS = 8192


class Told(NamedTuple):
    """Of each token but the first of a piece: nats (float32) and whether it was the likeliest (bool)."""

    nats: np.ndarray
    first: np.ndarray


def told(decoder: Decoder, pieces: Sequence[np.ndarray]) -> list[Told]:
    """What the decoder says of pieces of tokens, each from its own beginning.

    pieces: int (T + 1,) each, T of at most the context; shorter ones are padded behind, which a causal decoder does not see.
    """
    found: list[Told | None] = [None] * len(pieces)
    was_training, device = decoder.training, next(decoder.parameters()).device
    decoder.eval()
    with torch.inference_mode():
        for batch in _batches(pieces):
            width = max(len(pieces[place]) for place in batch)
            tokens_BT = np.zeros((len(batch), width), np.int64)
            for row, place in enumerate(batch):
                tokens_BT[row, : len(pieces[place])] = pieces[place]
            nats_BT, first_BT = _told(decoder, torch.from_numpy(tokens_BT).to(device))
            for row, place in enumerate(batch):
                length = len(pieces[place]) - 1
                found[place] = Told(nats_BT[row, :length], first_BT[row, :length])
    decoder.train(was_training)
    return [item for item in found if item is not None]


def _batches(pieces: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Places of pieces of like lengths, longest first; pieces without a token to foretell make rows of width 1 as well."""
    batch: list[int] = []
    for place in np.argsort([-len(piece) for piece in pieces], kind="stable"):
        if batch and (len(batch) + 1) * len(pieces[batch[0]]) > _ROW_TOKENS:
            yield batch
            batch = []
        batch.append(int(place))
    if batch:
        yield batch


def _told(decoder: Decoder, tokens_BT: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """float32 and bool (B, T - 1)."""
    rows, width = tokens_BT.shape
    if width < 2:
        return np.zeros((rows, 0), np.float32), np.zeros((rows, 0), bool)
    h_ND = decoder(tokens_BT[:, :-1]).flatten(0, 1)
    targets_N = tokens_BT[:, 1:].flatten()
    nats, first = [], []
    step = max(1, _LOGIT_BYTES // (4 * decoder.head.shape[0]))
    for begin in range(0, len(h_ND), step):
        logits_NV = decoder.logits(h_ND[begin : begin + step]).float()
        target_N = targets_N[begin : begin + step]
        nats.append(functional.cross_entropy(logits_NV, target_N, reduction="none"))
        first.append(logits_NV.argmax(1) == target_N)
    shape = (rows, width - 1)
    return torch.cat(nats).reshape(shape).cpu().numpy(), torch.cat(first).reshape(shape).cpu().numpy()


def nats_of_document(decoder: Decoder, tokens: np.ndarray, context: int, stride: int) -> np.ndarray:
    """float32 (N,): nats of every token of one text, NaN for the first one, which nothing stands before."""
    return nats_of_documents(decoder, tokens, np.array([0, len(tokens)], np.int64), context, stride)


def nats_of_documents(decoder: Decoder, tokens: np.ndarray, documents: np.ndarray, context: int, stride: int) -> np.ndarray:
    """float32 (N,): nats of every token, told from what stands before it in its document; NaN for the first of each.

    A document longer than the context is read in windows that begin `stride` tokens apart, each token told in the first window
    that has it as a target: with `stride` = `context` each window begins without a past, as training's do.
    tokens: (N,) ids. documents: (D + 1,) offsets into them.
    """
    nats_N = np.full(int(documents[-1]), np.nan, np.float32)
    for group in _groups(documents, context):
        windows = [
            window for document in group for window in _windows(documents[document], documents[document + 1], context, stride)
        ]
        pieces = [np.asarray(tokens[begin : end + 1]) for begin, end, _ in windows]
        for (_, end, wanted), item in zip(windows, told(decoder, pieces), strict=True):
            nats_N[end - wanted + 1 : end + 1] = item.nats[len(item.nats) - wanted :]
    return nats_N


def _groups(documents: np.ndarray, context: int) -> Iterator[list[int]]:
    """Documents, so many at once that like lengths meet and memory stays small."""
    group: list[int] = []
    held = 0
    for document in range(len(documents) - 1):
        group.append(document)
        held += int(documents[document + 1] - documents[document])
        if held > 64 * max(_ROW_TOKENS, context):
            yield group
            group, held = [], 0
    if group:
        yield group


def _windows(begin: int, end: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(first input, last target, how many of the last targets count) of each window of a document."""
    last = int(begin)
    while last < end - 1:
        is_first = last == begin
        until = min(last + (context if is_first else min(stride, context)), int(end) - 1)
        yield max(int(begin), until - context), until, until - last
        last = until
