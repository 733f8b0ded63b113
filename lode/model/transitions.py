"""Which tag may follow which (BIO, BMES), the best legal sequence, and the entities in it.

Shared by the task `tagging`, its metrics and its part of the report.

Shape letters: N rows, T steps, K tags.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FORBIDDEN = -1e30
_INSIDE = frozenset("IME")
_MARKS = {"O": 0, "B": 1, "I": 2, "M": 2, "E": 3, "S": 4}


def scheme_of(tags: Sequence[str]) -> str:
    """How tags mark entities: "bmes" (B- M- E- S-, also with I- for M-), "bio" (B- I-), or "none"."""
    marks = {tag[0] for tag in tags if len(tag) > 2 and tag[1] in "-_"}
    if not marks or not marks <= set("BIMES"):
        return "none"
    return "bmes" if marks & set("ME") else "bio"


def legal(tags: Sequence[str], scheme: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first_K, next_KK, last_K): log-weights, 0 where a tag may come first, second after the first, or last, else -1e30."""
    size = len(tags)
    first, following, last = (np.zeros(shape) for shape in (size, (size, size), size))
    if scheme == "none":
        return first, following, last
    parsed = [_parsed(tag) for tag in tags]
    for code, (mark, _) in enumerate(parsed):
        if mark in _INSIDE:
            first[code] = _FORBIDDEN
        if scheme == "bmes" and mark in ("B", "M", "I"):
            last[code] = _FORBIDDEN
    for before, one in enumerate(parsed):
        for after, two in enumerate(parsed):
            if not _may_follow(one, two, scheme):
                following[before, after] = _FORBIDDEN
    return first, following, last


def _parsed(tag: str) -> tuple[str, str]:
    """(mark, type); ("O", "") outside of entities."""
    return (tag[0], tag[2:]) if len(tag) > 2 and tag[1] in "-_" else ("O", "")


def _may_follow(before: tuple[str, str], after: tuple[str, str], scheme: str) -> bool:
    inside = after[0] in _INSIDE
    if scheme == "bio":
        return not inside or (before[0] in ("B", "I") and before[1] == after[1])
    is_open = before[0] in ("B", "M", "I")
    return inside == is_open and (not inside or before[1] == after[1])


def best(scores_NTK: np.ndarray, moves: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """The legal sequence with the highest sum of scores, int64 (N, T); -1 at steps whose scores are NaN (Viterbi 1967).

    scores_NTK: log-probabilities or logits; the real steps of a row come first.
    """
    num_rows, num_steps, _ = scores_NTK.shape
    real_NT = ~np.isnan(scores_NTK).any(axis=2)
    first_K, next_KK, last_K = moves
    found = np.full((num_rows, num_steps), -1, np.int64)
    if not num_rows or not num_steps:
        return found
    plain = np.where(real_NT[:, :, None], scores_NTK, 0.0).astype(np.float64)
    came = np.zeros(scores_NTK.shape, np.int64)
    sums = plain[:, 0] + first_K
    for step in range(1, num_steps):
        paths = sums[:, :, None] + next_KK
        came[:, step] = paths.argmax(axis=1)
        moved = np.take_along_axis(paths, came[:, step][:, None, :], axis=1)[:, 0] + plain[:, step]
        # A row that has ended keeps its sums.
        sums = np.where(real_NT[:, step][:, None], moved, sums)
    return _traced(sums, came, real_NT, last_K, found)


def _traced(sums: np.ndarray, came: np.ndarray, real_NT: np.ndarray, last_K: np.ndarray, found: np.ndarray) -> np.ndarray:
    length_N = real_NT.sum(axis=1)
    code_N = (sums + last_K).argmax(axis=1)
    for step in range(real_NT.shape[1] - 1, -1, -1):
        inside_N = step < length_N
        found[inside_N, step] = code_N[inside_N]
        back_N = np.take_along_axis(came[:, step], code_N[:, None], axis=1)[:, 0]
        code_N = np.where(inside_N, back_N, code_N)
    return found


def marks(tags: Sequence[str], scheme: str) -> np.ndarray:
    """int64 (K + 1, 2): what each tag marks (0 outside, 1 begins, 2 inside, 3 ends, 4 is whole) and of which type; the last row, which a
    code of -1 finds, is (-1, -1).

    Without a scheme every tag but "O" is inside an entity of its own type.
    """
    parsed = [_read(tag, scheme) for tag in tags]
    place = {kind: place for place, kind in enumerate(types(tags, scheme))}
    found = [(_MARKS[mark], place.get(kind, -1) if mark != "O" else -1) for mark, kind in parsed]
    return np.array([*found, (-1, -1)], dtype=np.int64)


def types(tags: Sequence[str], scheme: str) -> list[str]:
    """Names of the types in `marks`."""
    return sorted({kind for mark, kind in (_read(tag, scheme) for tag in tags) if mark != "O"})


def _read(tag: str, scheme: str) -> tuple[str, str]:
    return _parsed(tag) if scheme != "none" else ("O" if tag == "O" else "I", tag)


def spans(marked_NT2: np.ndarray) -> np.ndarray:
    """Every entity, int64 (E, 4): row, start, end (not included), type. marked_NT2: what `marks` says of each step.

    Faulty sequences are read as the evaluation of CoNLL does: an inner mark after another type starts an entity.
    """
    mark, kind = marked_NT2[:, :, 0], marked_NT2[:, :, 1]
    num_steps = mark.shape[1]
    before = np.pad(mark, ((0, 0), (1, 0)), constant_values=0)[:, :-1]
    kind_before = np.pad(kind, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    inside = mark > 0
    starts = inside & (np.isin(mark, (1, 4)) | (before <= 0) | np.isin(before, (3, 4)) | (kind != kind_before))
    # One step more in each row ends what is still open there.
    stops = np.pad(starts | ~inside, ((0, 0), (0, 1)), constant_values=True).ravel()
    row_E, start_E = np.nonzero(starts)
    places = np.flatnonzero(stops)
    begin_E = row_E * (num_steps + 1) + start_E
    end_E = places[np.searchsorted(places, begin_E, side="right")] - row_E * (num_steps + 1)
    return np.stack([row_E, start_E, end_E, kind[row_E, start_E]], axis=1)


def matched(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which entities of `one` are in `other` with the same row, ends and type, bool (E,)."""
    if not len(one) or not len(other):
        return np.zeros(len(one), dtype=bool)
    sizes = np.maximum(one.max(axis=0), other.max(axis=0)) + 1
    keys = [np.ravel_multi_index(tuple(found.T), tuple(sizes)) for found in (one, other)]
    return np.isin(keys[0], keys[1])


def aligned(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The prediction int64 with the steps (N, T, 3) of the target: -1 where it has none, and where the target has none."""
    steps = target.shape[1]
    found = np.full(target.shape, -1, np.int64)
    width = min(steps, prediction.shape[1])
    found[:, :width] = prediction[:, :width]
    found[target[:, :, 0] < 0] = -1
    return found
