"""Which column decides which: the city of a postcode, the name of a product code. Majorities of groups, and finding such pairs of columns.

A pair is taken for a dependency where the key's groups nearly always agree, so that the few cells that do not are likely wrong; several
keys vote on a cell (in the spirit of HoloClean, Rekatsinas et al. 2017, without its learning). Used by lode/data/cleaners/rules.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from lode.data.mending.fitting import random_rows

MAX_GROUPS = 1_000_000
_SAMPLE_ROWS = 50_000
_MAX_COLUMNS = 60
_MIN_GROUP = 3
_MIN_AGREEMENT = 0.9
_MIN_GAIN = 0.5
_MAX_KEYS = 9
_MIN_COMMON = 5
_MIN_ALIKE = 0.6


@dataclass(frozen=True, slots=True)
class Majority:
    """Key cells -> the cell that most rows of the group have. Groups of one row, and those without a winner, are left out.

    keys: columns. target: the column that they decide. groups: a column per key, and "target".
    """

    keys: tuple[str, ...]
    target: str
    groups: pl.DataFrame

    def of(self, frame: pl.DataFrame) -> pl.Series:
        """What each row (N,) should have; null where nothing is known."""
        own = frame.select(plain_word(frame, key).alias(f"key{place}") for place, key in enumerate(self.keys))
        return own.join(self.groups, on=own.columns, how="left", maintain_order="left")["target"]


def plain_word(frame: pl.DataFrame | pl.LazyFrame, name: str) -> pl.Expr:
    """A column as strings, to be a key: the same for an Enum and for strings."""
    return pl.col(name).cast(pl.String) if frame.collect_schema()[name] != pl.String else pl.col(name)


def _plain(schema: pl.Schema, name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String) if isinstance(schema[name], pl.Enum | pl.Categorical) else pl.col(name)


def majority(rows: pl.LazyFrame, keys: Sequence[str], target: str, min_rows: int = 2) -> Majority:
    """The winners of all groups. Memory grows with the number of different keys: the caller bounds it (`num_groups`)."""
    names = [f"key{place}" for place in range(len(keys))]
    schema = rows.collect_schema()
    chosen = rows.select(
        *(plain_word(rows, key).alias(name) for key, name in zip(keys, names, strict=True)), _plain(schema, target).alias("target")
    ).drop_nulls()
    counts = chosen.group_by(*names, "target").agg(pl.len().alias("rows"))
    top = pl.col("rows") == pl.col("rows").max()
    groups = counts.group_by(names).agg(
        pl.col("target").filter(top).first(), top.sum().alias("winners"), pl.col("rows").sum().alias("size")
    )
    found = groups.filter((pl.col("winners") == 1) & (pl.col("size") >= min_rows)).select(*names, "target").sort(names)
    return Majority(tuple(keys), target, found.collect(engine="streaming"))


def num_groups(rows: pl.LazyFrame, keys: Sequence[str]) -> int:
    """About how many different keys there are, in little memory."""
    return int(rows.select(pl.struct(keys).hash().approx_n_unique()).collect(engine="streaming").item())


def discover(rows: pl.LazyFrame, columns: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Per target the keys that decide it, the surest first; from a sample of the rows."""
    names = list(columns)[:_MAX_COLUMNS]
    sample = random_rows(rows, names, _SAMPLE_ROWS, seed)
    codes = {name: _codes(sample[name]) for name in names}
    found: dict[str, list[tuple[float, str]]] = {}
    for key in names:
        groups = _Groups(codes[key])
        if not groups.is_key:
            continue
        for target in names:
            if target != key and (agreement := groups.agreement(codes[target])) is not None:
                found.setdefault(target, []).append((-agreement, key))
    return {target: [key for _, key in sorted(keys)[:_MAX_KEYS]] for target, keys in found.items()}


def _codes(column: pl.Series) -> np.ndarray:
    """int64 (N,): equal cells have equal codes, a missing one has -1."""
    codes = column.rank("dense").cast(pl.Int64) - 1
    return codes.fill_null(-1).to_numpy()


class _Groups:
    """The rows grouped by a key column."""

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = codes
        sizes = np.bincount(codes[codes >= 0]) if (codes >= 0).any() else np.zeros(0, dtype=np.int64)
        self.big = np.flatnonzero(sizes >= _MIN_GROUP)
        self.is_key = len(self.big) >= 2 and sizes[self.big].sum() >= 0.5 * len(codes)

    def agreement(self, target: np.ndarray) -> float | None:
        """The share of rows that have their group's most frequent target; None where the key says too little about the target."""
        rows = (self.codes >= 0) & (target >= 0) & np.isin(self.codes, self.big)
        if not rows.any():
            return None
        keys, values = self.codes[rows], target[rows]
        pairs, counts = np.unique(keys * (values.max() + 1) + values, return_counts=True)
        best = np.zeros(keys.max() + 1, dtype=np.int64)
        np.maximum.at(best, pairs // (values.max() + 1), counts)
        agreement = best.sum() / len(keys)
        most = np.bincount(values).max() / len(values)
        gain = (agreement - most) / (1.0 - most) if most < 1.0 else 0.0
        return float(agreement) if agreement >= _MIN_AGREEMENT and gain >= _MIN_GAIN else None


class Votes:
    """Dependencies that were found: what the keys of a cell say it should be.

    A word is changed where at least half of its keys agree on another one that it looks like a misspelling of, and it is rare itself; an
    empty cell (of words or whole numbers) is filled where all keys agree. Everything else is left alone.

    keys: target -> majorities. common: target -> its words that are too frequent to be misspellings.
    """

    def __init__(self, keys: dict[str, list[Majority]], common: dict[str, list[str]]) -> None:
        self.keys, self.common = keys, common

    @classmethod
    def of(cls, rows: pl.LazyFrame, columns: Sequence[str], seed: int) -> Votes:
        """From all rows; columns: words and whole numbers."""
        found = discover(rows, columns, seed)
        small = {key for key in {key for keys in found.values() for key in keys} if num_groups(rows, [key]) <= MAX_GROUPS}
        keys = {
            target: [majority(rows, [key], target, _MIN_GROUP) for key in names if key in small] for target, names in found.items()
        }
        keys = {target: made for target, made in keys.items() if made}
        schema = rows.collect_schema()
        return cls(keys, {target: _common(rows, schema, target) for target in keys if not schema[target].is_numeric()})

    def corrections(self, frame: pl.DataFrame) -> dict[str, tuple[pl.Series, pl.Series]]:
        """Per column that changes: which rows (N,), and what the cells (N,) should be."""
        found = {}
        for target, keys in self.keys.items():
            known = [key for key in keys if key.keys[0] in frame.columns]
            if target in frame.columns and known:
                rows, wanted = self._correction(frame, target, known)
                if rows.any():
                    found[target] = (rows, wanted)
        return found

    def _correction(self, frame: pl.DataFrame, target: str, keys: Sequence[Majority]) -> tuple[pl.Series, pl.Series]:
        votes = [key.of(frame) for key in keys]
        own = frame.select(_plain(frame.schema, target)).to_series()
        wanted, num_for = votes[0], _equal(votes, votes[0])
        for vote in votes[1:]:
            num = _equal(votes, vote)
            better = num > num_for
            wanted, num_for = vote.zip_with(better, wanted), num.zip_with(better, num_for)
        num_votes = pl.DataFrame([vote.is_not_null().alias(str(place)) for place, vote in enumerate(votes)]).sum_horizontal()
        rows = own.is_null() & (num_for == num_votes) & wanted.is_not_null()
        if target in self.common:
            other = own.is_not_null() & (own != wanted).fill_null(False) & (num_for * 2 >= num_votes)
            other &= ~own.is_in(self.common[target])
            rows |= other & _alike(own, wanted, other)
        return rows, wanted

    def state(self) -> dict[str, object]:
        keys = {
            target: [{"key": item.keys[0], **item.groups.to_dict(as_series=False)} for item in made]
            for target, made in self.keys.items()
        }
        return {"keys": keys, "common": self.common}

    @classmethod
    def from_state(cls, state: dict[str, dict[str, list]]) -> Votes:
        keys = {
            target: [
                Majority((item["key"],), target, pl.DataFrame({"key0": item["key0"], "target": item["target"]})) for item in made
            ]
            for target, made in state["keys"].items()
        }
        return cls(keys, dict(state["common"]))


def _equal(votes: Sequence[pl.Series], vote: pl.Series) -> pl.Series:
    """How many votes are the same as this one, 0 where it is null."""
    return pl.DataFrame([(other == vote).fill_null(False).alias(str(place)) for place, other in enumerate(votes)]).sum_horizontal()


def _common(rows: pl.LazyFrame, schema: pl.Schema, target: str) -> list[str]:
    """Words with at least five rows and a fifth of the mean number."""
    counts = rows.select(_plain(schema, target).alias("word")).drop_nulls().group_by("word").agg(pl.len().alias("rows"))
    found = counts.filter(pl.col("rows") >= _MIN_COMMON).collect(engine="streaming")
    least = 0.2 * float(found["rows"].sum()) / max(found.height, 1)
    return found.filter(pl.col("rows") >= least)["word"].sort().to_list()


def _alike(own: pl.Series, wanted: pl.Series, rows: pl.Series) -> pl.Series:
    """Of these rows, those whose cell looks like a misspelling of the wanted one."""
    pairs = pl.DataFrame({"own": own.filter(rows), "wanted": wanted.filter(rows)}).unique()
    alike = [one for one in pairs.rows() if difflib.SequenceMatcher(None, one[0], one[1], autojunk=False).ratio() >= _MIN_ALIKE]
    kept = pl.DataFrame(alike, schema={"own": pl.String, "wanted": pl.String}, orient="row").with_columns(
        pl.lit(True).alias("alike")
    )
    both = pl.DataFrame({"own": own, "wanted": wanted})
    return both.join(kept, on=["own", "wanted"], how="left", maintain_order="left")["alike"].fill_null(False)
