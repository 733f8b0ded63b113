"""Tokens become rows: nothing is lost, no document sees another, and shares say what a piece of a batch counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lode.core.errors import ModelError
from lode.model.language.rows import TokenRows
from lode.model.parallel import Team
from tests.unit.model.language.corpus_samples import documents


def test_every_pair_of_neighbours_is_learned_once() -> None:
    corpus = documents([5, 1, 30, 2, 12, 13, 7, 3])
    rows = TokenRows(corpus, "documents", 12, "cpu")
    offsets, tokens = corpus.arrays["documents"], corpus.arrays["tokens"]
    wanted = sorted((int(a), int(b)) for at, end in itertools.pairwise(offsets)
                    for a, b in itertools.pairwise(tokens[at:end]))  # fmt: skip
    found = []
    for batch in rows.batches(rows.trainable, 3):
        learned = batch.targets_BT >= 0
        found += list(zip(batch.tokens_BT[learned].tolist(), batch.targets_BT[learned].tolist(), strict=True))
        assert batch.weight == int(learned.sum()) and batch.tokens_BT.shape[1] <= 12
    assert sorted(found) == wanted and rows.num_positions == len(wanted)


def test_a_row_says_where_its_documents_are() -> None:
    rows = TokenRows(documents([4, 5, 3]), "documents", 16, "cpu")
    batch = next(rows.batches(rows.trainable, 1))
    assert batch.documents_BT is not None and batch.positions_BT is not None
    numbers = batch.documents_BT[0].tolist()
    assert sorted(numbers) == [0] * numbers.count(0) + [1] * numbers.count(1) + [2] * numbers.count(2) and len(numbers) == 9
    for number in range(3):
        assert batch.positions_BT[0][batch.documents_BT[0] == number].tolist() == list(range(numbers.count(number)))


def test_rows_of_one_document_each_need_no_mask() -> None:
    rows = TokenRows(documents([13, 13, 9]), "documents", 12, "cpu")
    batches = list(rows.batches(np.sort(rows.trainable), 3))
    assert batches and all(batch.documents_BT is None and batch.positions_BT is None for batch in batches)


def test_windows_of_a_stream_read_it_from_end_to_end() -> None:
    corpus = documents([20, 30])
    tokens = corpus.arrays["tokens"]
    rows = TokenRows(corpus, "stream", 12, "cpu", shifts=False)
    batches = list(rows.batches(rows.trainable, 2))
    learned = torch.cat([batch.targets_BT[batch.targets_BT >= 0] for batch in batches])
    assert learned.tolist() == tokens[1:].tolist()


def test_a_stream_is_shifted_anew_in_every_pass() -> None:
    corpus = documents([200])
    rows = TokenRows(corpus, "stream", 12, "cpu")
    passes = [rows.by_length(rows.trainable, 4, np.random.default_rng(seed)) for seed in range(30)]
    assert len({int(order[0]) for order in passes}) > 5
    tokens = corpus.arrays["tokens"]
    for order in passes:
        assert order.min() >= 0 and order.max() + 12 < 200 and (np.diff(np.sort(order)) == 12).all()
    batch = next(rows.batches(passes[0], 100))
    for start, row, target in zip(passes[0], batch.tokens_BT, batch.targets_BT, strict=True):
        assert row.tolist() == tokens[start : start + 12].tolist() and target.tolist() == tokens[start + 1 : start + 13].tolist()


def test_what_is_not_to_be_learned_is_no_target() -> None:
    corpus = documents([9, 6, 8], learned=0.4)
    rows = TokenRows(corpus, "documents", 12, "cpu")
    learned = int(corpus.arrays["learned"].sum() - corpus.arrays["learned"][corpus.arrays["documents"][:-1]].sum())
    assert sum(batch.weight for batch in rows.batches(rows.trainable, 2)) == learned


def test_rows_without_anything_to_learn_are_left_out() -> None:
    corpus = documents([13] * 6, learned=1.0)
    corpus.arrays["learned"][13:39] = 0
    rows = TokenRows(corpus, "documents", 12, "cpu")
    assert len(rows.trainable) == 4 and rows.trainable is rows.trainable, "the corpus is read for it once"


def test_pairs_stand_below_one_another() -> None:
    corpus = documents([5, 7, 30, 3, 4, 4])
    extra = {"reference": np.arange(6, dtype=np.float32)}
    rows = TokenRows(corpus, "pairs", 12, "cpu", extra=extra)
    batch = next(rows.batches(np.array([1, 0]), 2))
    assert batch.extra["reference"].tolist() == [2.0, 3.0, 0.0, 1.0] and batch.weight == 2 and batch.num_rows == 2
    assert (batch.targets_BT >= 0).sum(1).tolist() == [12, 2, 4, 6] and batch.documents_BT is None


@pytest.mark.parametrize("unit", ["documents", "stream", "pairs"])
def test_shares_of_pieces_add_up_to_the_batch(unit: str) -> None:
    corpus = documents([9, 6, 8, 30, 5, 5, 11, 2] * 4, learned=0.5)
    rows = TokenRows(corpus, unit, 12, "cpu")  # type: ignore[arg-type]
    index = rows.trainable[:7]
    whole = list(rows.batches(index, 4))
    assert len(whole) == 2
    for batch, pieces in zip(whole, rows.pieces(index, 4, 3), strict=True):
        assert sum(piece.share for piece in pieces) == pytest.approx(1.0)
        assert sum(piece.weight for piece in pieces) == batch.weight
        assert [row for piece in pieces for row in piece.tokens_BT[:, 0].tolist()] == batch.tokens_BT[:, 0].tolist()


def test_processes_share_a_batch() -> None:
    rows = TokenRows(documents([9, 6, 8, 30, 5] * 4, learned=0.5), "documents", 12, "cpu")
    index = rows.trainable[:5]
    parts = [list(rows.pieces(index, 4, 1, Team(rank, 2))) for rank in range(2)]
    assert [len(part) for part in parts] == [2, 2]
    for number, batch in enumerate(rows.batches(index, 4)):
        both = [piece for part in parts for piece in part[number]]
        assert sum(piece.share for piece in both) == pytest.approx(1.0)
        assert sum(piece.weight for piece in both if piece.share) == batch.weight


@pytest.mark.parametrize("batch", [1, 3, 5, 7])
def test_processes_cut_a_batch_into_as_many_pieces(batch: int) -> None:
    rows = TokenRows(documents([9, 6, 8, 30, 5] * 6, learned=0.5), "documents", 12, "cpu")
    index = rows.trainable[: 2 * batch + 1]
    parts = [list(rows.pieces(index, batch, 3, Team(rank, 2))) for rank in range(2)]
    assert [len(part) for part in parts] == [3, 3]
    for one, other in zip(*parts, strict=True):
        assert len(one) == len(other), "with divided weights all processes meet in every forward pass"
        assert sum(piece.share for piece in (*one, *other)) == pytest.approx(1.0)


@pytest.mark.parametrize(("unit", "lengths"), [("stream", [12]), ("documents", [1, 1]), ("pairs", [3])])
def test_too_little_text_is_an_error(unit: str, lengths: list[int]) -> None:
    with pytest.raises(ModelError, match="Give it more text"):
        TokenRows(documents(lengths), unit, 12, "cpu")  # type: ignore[arg-type]
