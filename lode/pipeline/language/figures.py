"""What each token of held-out texts costs, in nats: under the model, and under baselines that read the same tokens."""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lode.data.corpus import store
from lode.data.corpus.contracts import Tokenizer
from lode.model.bootstrap import Interval
from lode.model.language.contracts import DOCUMENTS, LEARNED, TOKENS
from lode.model.language.ngrams import ngram_nats
from lode.model.language.resample import ratio
from lode.model.language.scoring import nats_of_documents
from lode.pipeline.language.contracts import Speaker
from lode.pipeline.language.questions import spread
from lode.pipeline.state import read_json

_BLOCKS = 200
"""Into so many blocks one long text is cut, for want of documents: enough for an interval, long enough to be nearly independent."""
_COMPRESSED_BYTES, _READ_BYTES = 500_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Corpus:
    """Held-out tokens to judge on.

    tokens: int (N,); documents: offsets (D + 1,); learned: bool (N,), what is to be foretold. numbers: which documents of the split
    they are, (D,). edges: offsets (U + 1,) of the units that a bootstrap draws; unit: what one is. bytes_per_token: UTF-8 of what is
    learned.
    """

    tokens: np.ndarray
    documents: np.ndarray
    learned: np.ndarray
    numbers: np.ndarray
    edges: np.ndarray
    unit: str
    bytes_per_token: float

    def sums(self, nats_N: np.ndarray, edges: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Nats and tokens of each unit, float64 (U,). nats_N: NaN where a token is not judged."""
        edges = self.edges if edges is None else edges
        is_judged_N = self.learned & np.isfinite(nats_N)
        parts = [
            np.concatenate(([0.0], np.cumsum(part, dtype=np.float64))) for part in (np.where(is_judged_N, nats_N, 0), is_judged_N)
        ]
        return parts[0][edges[1:]] - parts[0][edges[:-1]], parts[1][edges[1:]] - parts[1][edges[:-1]]

    def bits_per_byte(self, loss: float) -> float:
        """Nats a token in bits a byte of the text: comparable among tokenizers."""
        return loss / math.log(2) / self.bytes_per_token if self.bytes_per_token else math.nan


def read(folder: Path, packing: str, context: int, most: int) -> Corpus:
    """The tokens of a split; of more than `most` tokens evenly spaced documents. packing: "documents", "stream" or "pairs"."""
    arrays, about = store.read(folder), read_json(folder / "about.json")
    offsets = np.asarray(arrays[DOCUMENTS], np.int64)
    numbers = _chosen(offsets, most, 2 if packing == "pairs" else 1)
    places = np.concatenate([np.arange(offsets[number], offsets[number + 1]) for number in numbers] or [np.zeros(0, np.int64)])
    lengths = offsets[numbers + 1] - offsets[numbers]
    documents = np.concatenate(([0], np.cumsum(lengths)))
    learned = np.asarray(arrays[LEARNED][places], bool) if LEARNED in arrays else np.ones(len(places), bool)
    units, word = documents, "document"
    if packing == "stream":
        step = max(context, -(-len(places) // _BLOCKS))
        units, word = np.append(np.arange(0, len(places), step), len(places)), f"block of {step:,} tokens"
    elif packing == "pairs":
        units, word = documents[::2], "pair"
    per_token = about["bytes"] / max(about["learned_tokens"], 1)
    return Corpus(np.asarray(arrays[TOKENS][places]), documents, learned, numbers, units, word, per_token)


def _chosen(offsets: np.ndarray, most: int, together: int) -> np.ndarray:
    """Numbers of evenly spaced documents with about `most` tokens, `together` side by side."""
    groups = (len(offsets) - 1) // together
    total = int(offsets[-1] - offsets[0])
    kept = spread(groups, None if total <= most else max(1, groups * most // total))
    return (kept[:, None] * together + np.arange(together)).ravel()


def told_by(model: Speaker, corpus: Corpus, packing: str, stride: int | None) -> np.ndarray:
    """float32 (N,): what the model needs for each token, NaN for the first of each document (of the stream)."""
    context = model.architecture.shape.context
    edges = corpus.documents if packing != "stream" else corpus.documents[[0, -1]]
    return nats_of_documents(model.decoder, corpus.tokens, edges, context, min(stride or context, context))


def told_by_counts(corpus: Corpus, train: Path, order: int, most: int, vocabulary: int) -> dict[str, np.ndarray]:
    """The same of n-gram models of the training tokens, shortest first."""
    arrays = store.read(train)
    if not order or not len(corpus.tokens):
        return {}
    nats = ngram_nats(arrays[TOKENS][:most], corpus.tokens, order, vocabulary)
    return {f"{length}-gram": nats[length - 1] for length in range(1, order + 1)}


def figure(corpus: Corpus, nats_N: np.ndarray, resamples: int, seed: int) -> Interval:
    """Nats a token with its interval."""
    return ratio(*corpus.sums(nats_N), resamples, seed)


def gain(corpus: Corpus, nats_N: np.ndarray, other_N: np.ndarray, resamples: int, seed: int) -> Interval:
    """By how many nats a token the first needs less than the other, both on the same drawn units."""
    both = np.where(np.isfinite(nats_N), other_N - nats_N, np.nan)
    return ratio(*corpus.sums(both), resamples, seed)


def compressed(corpus: Corpus, train: Path, tokenizer: Tokenizer) -> dict[str, float]:
    """Bits a byte that programs for packing files need for a part of the held-out text, alone and after some of the training text."""
    text = tokenizer.decode(corpus.tokens[:_COMPRESSED_BYTES]).encode()[:_COMPRESSED_BYTES]
    if not text:
        return {}
    read_before = tokenizer.decode(store.read(train)[TOKENS][-_READ_BYTES:]).encode()[-_READ_BYTES:]
    after = len(lzma.compress(read_before + text)) - len(lzma.compress(read_before))
    sizes = {"zlib": len(zlib.compress(text, 9)), "lzma": len(lzma.compress(text)), "lzma after the training text": after}
    return {name: 8 * size / len(text) for name, size in sizes.items()}


def by_group(corpus: Corpus, nats_N: np.ndarray, groups: np.ndarray, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Loss of each value of a column, most tokens first. groups: object (documents of the split,)."""
    sums, counts = corpus.sums(nats_N, corpus.documents)
    own = groups[corpus.numbers]
    found = []
    for group in sorted({item for item in own if item is not None}, key=str):
        here = own == group
        loss = ratio(sums[here], counts[here], resamples, seed)
        found.append({"group": str(group), "documents": int(here.sum()), "tokens": int(counts[here].sum()), **loss._asdict()})
    return sorted(found, key=lambda item: -item["tokens"])


def record(found: Interval, **more: Any) -> Mapping[str, Any]:
    """An interval as the report keeps it."""
    return {**found._asdict(), **more}
