"""Proof, from the rows as they were divided, that no group and no later time crosses the border between two parts of a split.

That no row stands on both sides is looked at by the quality report (the finding `duplicates_across_split`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from lode.data.split import Split, groups, times
from lode.data.table import Table


def prove(table: Table, masks: Mapping[str, np.ndarray], split: Split) -> tuple[dict[str, Any], list[str]]:
    """What was found, as JSON, and as sentences. masks: part -> bool (N,).

    by group: {"groups": part -> number, "in_two_parts": number}. by time: {"first": part -> text, "last": part -> text, "overlaps":
    number of rows of an earlier part that are as late as a later one}. Others: nothing.
    """
    if split.column is None or split.by not in ("group", "time"):
        return {}, []
    column = table.column(split.column)
    if split.by == "group":
        return _of_groups(groups(column), masks, split.column)
    return _of_times(column, masks, split.column)


def _of_groups(codes: np.ndarray, masks: Mapping[str, np.ndarray], name: str) -> tuple[dict[str, Any], list[str]]:
    sides = {part: np.unique(codes[mask]) for part, mask in masks.items()}
    shared = sum(len(np.intersect1d(sides[a], sides[b], assume_unique=True)) for a, b in combinations(sides, 2))
    counts = {part: len(found) for part, found in sides.items()}
    shown = ", ".join(f"{count:,} in {part}" for part, count in counts.items())
    return {"groups": counts, "in_two_parts": shared}, [f'split: groups of "{name}": {shown}; {shared:,} stand in two parts.']


def _of_times(column: pl.Series, masks: Mapping[str, np.ndarray], name: str) -> tuple[dict[str, Any], list[str]]:
    kept = np.logical_or.reduce(list(masks.values()))
    moments = np.zeros(len(column), dtype=np.float64)
    moments[kept] = times(column.filter(pl.Series(kept)))
    present = {part: mask for part, mask in masks.items() if mask.any()}
    first, last, overlaps = {}, {}, 0
    for part, mask in present.items():
        rows = np.flatnonzero(mask)
        first[part] = _shown(column[int(rows[np.argmin(moments[rows])])])
        last[part] = _shown(column[int(rows[np.argmax(moments[rows])])])
    for earlier, later in combinations(present, 2):
        overlaps += int(np.count_nonzero(moments[present[earlier]] >= moments[present[later]].min()))
    shown = ", ".join(f"{part} {first[part]} to {last[part]}" for part in present)
    return (
        {"first": first, "last": last, "overlaps": overlaps},
        [f'split: by "{name}": {shown}; {overlaps:,} rows are as late as a later part.'],
    )


def _shown(moment: Any) -> str:
    return str(moment).removesuffix(" 00:00:00")
