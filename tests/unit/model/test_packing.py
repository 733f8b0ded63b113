"""Rows of packed documents: every position once, never too long, full, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from lode.model.language import packing


def rows_of(packed: packing.Packed) -> list[int]:
    """Positions in each row."""
    return [int(packed.length_P[begin:end].sum()) for begin, end in zip(packed.rows_R, packed.rows_R[1:], strict=False)]


@pytest.mark.parametrize("seed", range(30))
def test_every_position_stands_in_exactly_one_row_and_none_is_too_long(seed: int) -> None:
    random = np.random.default_rng(seed)
    context = int(random.integers(1, 50))
    lengths_D = random.integers(0, int(random.integers(1, 200)), size=int(random.integers(0, 300)))
    packed = packing.pack(lengths_D, context, seed)
    seen = np.zeros(int(lengths_D.sum()), np.int64)
    starts_D = np.cumsum(lengths_D) - lengths_D
    for document, offset, length in zip(packed.document_P, packed.offset_P, packed.length_P, strict=True):
        assert 0 < length <= context and offset + length <= lengths_D[document]
        seen[starts_D[document] + offset : starts_D[document] + offset + length] += 1
    assert (seen == 1).all()
    assert all(0 < length <= context for length in rows_of(packed)) and sum(rows_of(packed)) == lengths_D.sum()
    if len(lengths_D):
        fewest = -(-int(lengths_D.sum()) // context)
        assert packed.num_rows <= 11 / 9 * fewest + 6 / 9 + np.count_nonzero(lengths_D % context > context / 2)


def best_fit_by_hand(lengths: list[int], context: int) -> int:
    """Rows of best fit decreasing, one piece after the other."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
            rooms.append(min(fitting) - length)
        else:
            rooms.append(context - length)
    return len(rooms)


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
def test_documents_without_a_position_give_no_row(lengths: list[int]) -> None:
    packed = packing.pack(np.array(lengths, np.int64), 8)
    assert packed.num_rows == 0 and not len(packed.document_P)


@pytest.mark.parametrize("seed", range(10))
def test_as_many_rows_as_best_fit_one_piece_after_the_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths_D = random.integers(1, 64, size=400)
    assert packing.pack(lengths_D, 64, seed).num_rows == best_fit_by_hand(lengths_D.tolist(), 64)


def test_real_lengths_fill_the_rows() -> None:
    lengths_D = np.random.default_rng(0).lognormal(5.5, 1.2, 200_000).astype(np.int64)  # as web pages are, in tokens
    for context in (128, 1024, 4096):
        assert packing.pack(lengths_D, context).fill > 0.99


def test_a_seed_gives_the_same_rows_and_another_one_others() -> None:
    lengths_D = np.random.default_rng(1).integers(1, 40, size=500)
    first, again, other = (packing.pack(lengths_D, 64, seed) for seed in (3, 3, 4))
    for name in ("rows_R", "document_P", "offset_P", "length_P"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.document_P, other.document_P)
