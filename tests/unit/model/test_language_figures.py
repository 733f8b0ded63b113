"""N-gram models are distributions, told tokens cost what the decoder says, repeated passages are found, intervals hold."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from lode.model.language.memorised import longest_passages
from lode.model.language.ngrams import ngram_nats
from lode.model.language.resample import ratio, wilson
from lode.model.language.scoring import nats_of_document, nats_of_documents, told
from lode.testing.speaker import small_speaker

SPEAKER = small_speaker(["abcdefgh"], context=8)


def _random(size: int, vocabulary: int, seed: int) -> np.ndarray:
    """Tokens of which each leans on the one before."""
    random = np.random.default_rng(seed)
    steps = random.integers(0, 3, size)
    return np.cumsum(steps) % vocabulary


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_every_next_token_add_up_to_one(order: int) -> None:
    train, vocabulary = _random(400, 7, 0), 7
    for context in ([0, 1, 2, 3], [6, 6, 6, 6], [0, 0]):
        last = [ngram_nats(train, np.array([*context, token]), order, vocabulary)[order - 1, -1] for token in range(vocabulary)]
        assert np.exp(-np.array(last, np.float64)).sum() == pytest.approx(1.0, abs=1e-5)


def test_a_bigram_model_is_kneser_ney_as_counted_by_hand() -> None:
    train, vocabulary, discount = [0, 1, 0, 1, 0, 2, 0, 1], 3, 0.75
    pairs = Counter(itertools.pairwise(train))
    begun = Counter(train[:-1])
    different = Counter(second for _, second in pairs)
    total = sum(different.values())

    def unigram(token: int) -> float:
        return (max(different[token] - discount, 0) + discount * len(different) / vocabulary) / total

    def bigram(first: int, second: int) -> float:
        kinds = sum(1 for one, _ in pairs if one == first)
        return (max(pairs[first, second] - discount, 0) + discount * kinds * unigram(second)) / begun[first]

    found = np.exp(-ngram_nats(np.array(train), np.array([0, 1, 2, 2]), 2, vocabulary)[1].astype(np.float64))
    assert found[1] == pytest.approx(bigram(0, 1), abs=1e-6)
    assert found[2] == pytest.approx(bigram(1, 2), abs=1e-6), "after 1, 2 was never seen, but 1 was"
    assert found[0] == pytest.approx(unigram(0), abs=1e-6), "nothing stands before the first"


def test_longer_contexts_help_where_there_is_something_to_learn_from_them() -> None:
    train = np.array([0, 1, 0, 2] * 200)
    mean = ngram_nats(train, np.array([0, 1, 0, 2] * 20), 4, 3).mean(axis=1)
    assert mean[0] > mean[1] > mean[2] and mean[3] < 0.2


def test_tokens_that_training_never_had_are_unlikely_not_impossible() -> None:
    nats = ngram_nats(np.zeros(100, int), np.array([0, 5, 0]), 3, 6)
    assert np.isfinite(nats).all() and (nats[:, 1] > 2).all()


def test_told_tokens_cost_what_the_decoder_says_whatever_they_are_batched_with() -> None:
    pieces = [np.array([1, 2, 3]), np.array([4]), np.array([5, 0, 1, 2, 3, 4, 5, 6, 7])]
    found = told(SPEAKER.decoder, pieces)
    for piece, item in zip(pieces, found, strict=True):
        tokens = torch.from_numpy(piece)[None]
        if len(piece) < 2:
            assert not len(item.nats)
            continue
        logits = SPEAKER.decoder.logits(SPEAKER.decoder(tokens[:, :-1]))[0].log_softmax(-1)
        assert np.allclose(item.nats, -logits[torch.arange(len(piece) - 1), tokens[0, 1:]].detach().numpy(), atol=1e-6)
        assert np.array_equal(item.first, (logits.argmax(-1) == tokens[0, 1:]).numpy())


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_every_token_of_a_long_document_is_told_once(stride: int) -> None:
    tokens = np.arange(29) % 8
    nats = nats_of_document(SPEAKER.decoder, tokens, 8, stride)
    assert np.isnan(nats[0]) and np.isfinite(nats[1:]).all()
    last = {1: 20, 3: 20, 8: 16}[stride]  # a window that ends there as its last target, and of which `stride` count
    window = told(SPEAKER.decoder, [tokens[last - 8 : last + 1]])[0].nats
    assert np.allclose(nats[last - stride + 1 : last + 1], window[8 - stride :], atol=1e-6)


def test_documents_do_not_see_one_another() -> None:
    tokens, documents = np.arange(14) % 8, np.array([2, 5, 5, 6, 14])
    nats = nats_of_documents(SPEAKER.decoder, tokens, documents, 8, 8)
    alone = [nats_of_document(SPEAKER.decoder, tokens[a:b], 8, 8) for a, b in itertools.pairwise(documents)]
    assert np.isnan(nats[:2]).all() and np.allclose(nats[2:], np.concatenate(alone), atol=1e-6, equal_nan=True)
    assert np.isnan(nats[documents[:-1][np.diff(documents) > 0]]).all()


def _brute(text: list[int], other: list[int]) -> int:
    return max(
        (size for size in range(len(text) + 1) if any(_has(other, text[at : at + size]) for at in range(len(text) - size + 1))),
        default=0,
    )


def _has(other: list[int], part: list[int]) -> bool:
    return any(other[at : at + len(part)] == part for at in range(len(other) - len(part) + 1))


def test_the_longest_passage_is_the_one_that_a_plain_search_finds() -> None:
    random = np.random.default_rng(0)
    other = random.integers(0, 4, 200).astype(np.uint16)
    texts = [random.integers(0, 4, size) for size in (0, 1, 12, 30)] + [other[70:110], np.array([9, 9])]
    for text, passage in zip(texts, longest_passages(texts, other), strict=True):
        assert passage.length == _brute(text.tolist(), other.tolist())
        assert np.array_equal(text[passage.begin :][: passage.length], other[passage.place :][: passage.length])


def test_a_passage_over_the_border_of_two_blocks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lode.model.language.memorised._BLOCK", 10)
    other = np.arange(100)
    assert longest_passages([np.arange(37, 62)], other) == [(0, 37, 25)]


def test_the_interval_of_a_ratio_covers_its_truth_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        counts = random.integers(1, 20, 80)
        found = ratio(counts * random.exponential(2.0, 80), counts, 200, seed)
        hits += found.low <= 2.0 <= found.high
    assert hits >= 50
    assert math.isnan(ratio(np.zeros(0), np.zeros(0), 100, 0).value)
    one = ratio(np.array([6.0]), np.array([3]), 100, 0)
    assert one.value == 2.0 and math.isnan(one.low)


def test_wilsons_interval_is_the_published_one() -> None:
    found = wilson(81, 263)  # Newcombe 1998, table I
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20).low == 0.0 and wilson(20, 20).high == 1.0 and wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)
