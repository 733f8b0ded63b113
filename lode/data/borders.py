"""Proof, from the rows as they were divided, that no group and no later time crosses the border between two parts or two folds.

That no row stands on both sides is looked at by the quality report (the finding `duplicates_across_split`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from lode.data import folds
from lode.data.split import PARTS, TRAIN, VALIDATION, Split, gap_of, groups, times
from lode.data.table import Table


def prove(table: Table, masks: Mapping[str, np.ndarray], split: Split) -> tuple[dict[str, Any], list[str]]:
    """What was found, as JSON, and as sentences. masks: part -> bool (N,).

    by group: {"groups": part -> number, "in_two_parts": number}. by time: {"first": part -> text, "last": part -> text, "overlaps":
    number of rows of an earlier part that are as late as a later one, or nearer to it than the gap}. With folds further "folds":
    {"folds": number, "in_two_folds": number of groups} or {"folds": number, "overlaps": number of rows that a fold's model learns from
    and that are as late as a row it is judged on, or nearer than the gap}. Others: nothing.
    """
    if split.column is None or split.by not in ("group", "time"):
        return {}, []
    column = table.column(split.column)
    if split.by == "group":
        record, told = _of_groups(groups(column), masks, split.column)
    else:
        record, told = _of_times(column, masks, split)
    if not folds.asked(split):
        return record, told
    developed = pl.Series(masks[PARTS[TRAIN]] | masks[PARTS[VALIDATION]])
    rows = pl.DataFrame({split.column: column, folds.FOLD: table.column(folds.FOLD)}).filter(developed)
    of_folds, more = (_groups_of_folds if split.by == "group" else _times_of_folds)(rows, split)
    return {**record, "folds": of_folds}, [*told, *more]


def _of_groups(codes: np.ndarray, masks: Mapping[str, np.ndarray], name: str) -> tuple[dict[str, Any], list[str]]:
    sides = {part: np.unique(codes[mask]) for part, mask in masks.items()}
    _, times_met = np.unique(np.concatenate(list(sides.values())), return_counts=True)
    shared = int(np.count_nonzero(times_met > 1))
    counts = {part: len(found) for part, found in sides.items()}
    shown = ", ".join(f"{count:,} in {part}" for part, count in counts.items())
    return {"groups": counts, "in_two_parts": shared}, [f'split: groups of "{name}": {shown}; {shared:,} stand in two parts.']


def _of_times(column: pl.Series, masks: Mapping[str, np.ndarray], split: Split) -> tuple[dict[str, Any], list[str]]:
    kept = np.logical_or.reduce(list(masks.values()))
    moments = np.zeros(len(column), dtype=np.float64)
    known = column.filter(pl.Series(kept))
    moments[kept], gap = times(known), gap_of(split, known)
    present = {part: mask for part, mask in masks.items() if mask.any()}
    first, last, overlaps = {}, {}, 0
    for part, mask in present.items():
        rows = np.flatnonzero(mask)
        first[part] = _shown(column[int(rows[np.argmin(moments[rows])])])
        last[part] = _shown(column[int(rows[np.argmax(moments[rows])])])
    starts = {part: moments[mask].min() for part, mask in present.items()}
    for place, part in enumerate(list(present)[:-1]):
        overlaps += _too_late(moments[present[part]], min(list(starts.values())[place + 1 :]), gap)
    shown = ", ".join(f"{part} {first[part]} to {last[part]}" for part in present)
    return (
        {"first": first, "last": last, "overlaps": overlaps},
        [f'split: by "{split.column}": {shown}; {overlaps:,} rows are as late as a later part{_nearer(split)}.'],
    )


def _too_late(moments: np.ndarray, border: float, gap: float) -> int:
    """How many of the moments do not lie before the border, by the gap at least."""
    return int(np.count_nonzero(moments > border - gap if gap else moments >= border))


def _nearer(split: Split) -> str:
    return f", or less than {split.gap} before it" if split.gap else ""


def _groups_of_folds(rows: pl.DataFrame, split: Split) -> tuple[dict[str, Any], list[str]]:
    pairs = np.stack([groups(rows[str(split.column)]), rows[folds.FOLD].to_numpy()])
    shared = int(np.count_nonzero(np.bincount(np.unique(pairs, axis=1)[0]) > 1))
    count = len(np.unique(pairs[1]))
    return {"folds": count, "in_two_folds": shared}, [
        f'split: {count:,} folds: {shared:,} groups of "{split.column}" stand in two.'
    ]


def _times_of_folds(rows: pl.DataFrame, split: Split) -> tuple[dict[str, Any], list[str]]:
    column = rows[str(split.column)]
    moments, gap = times(column), gap_of(split, column)
    rounds = folds.rounds(rows, split)
    overlaps = sum(_too_late(moments[learn], moments[judge].min(), gap) for learn, judge in rounds)
    told = f"{overlaps:,} rows that a fold learns from are as late as one that it is judged on{_nearer(split)}"
    return {"folds": len(rounds), "overlaps": overlaps}, [f"split: {len(rounds):,} folds: {told}."]


def _shown(moment: Any) -> str:
    return str(moment).removesuffix(" 00:00:00")
