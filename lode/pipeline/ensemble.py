"""Several fitted models that answer as one: the mean of each candidate's models, then weights or a learner over the candidates.

An ensemble is one artifact (format 2): `ensemble.json`, `preprocess-0.json` ..., `members/0/` ..., and `meta/` where it is stacked.
`lode/pipeline/blend.py` finds weights and learner on rows that none of the models saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component, FlatSpec, Problem
from lode.data.preprocess import Preprocessor
from lode.model.contracts import Cost, Examples, Family, Shapes, Task
from lode.model.pooling import pooled
from lode.pipeline import assets
from lode.pipeline.member import Member, build, examples, total_cost
from lode.pipeline.state import load_state, read_json, save_state, write_json

META = Component("linear")
"""What is learnt over the candidates' scores where they are stacked."""

Weights = Mapping[str, float]
"""Candidate -> its share of the mean."""


@dataclass(slots=True)
class Ensemble:
    """Fitted members and how their scores become one. weights: output -> share of each candidate, unless `meta` decides.

    method: "greedy", "voting", "bagging" or "stacking". names: candidates in the order in which `meta` reads their scores.
    """

    method: str
    preprocessors: Sequence[Preprocessor]
    members: Sequence[Member]
    tasks: Mapping[str, Task]
    weights: Mapping[str, Weights]
    names: Sequence[str]
    meta: Family | None = None

    def scores(self, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        """Raw scores per output, float32 (N, K). Each preprocessor sees the rows once."""
        arrays: dict[tuple[int, str], Examples] = {}
        found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in self.names}
        for member in self.members:
            at = member.place, member.family.needs
            if at not in arrays:
                arrays[at] = examples(frame, self.preprocessors[member.place], member.family.needs)
            found[member.candidate].append(member.family.predict(arrays[at]))
        return combined(self.tasks, {name: bagged(self.tasks, each) for name, each in found.items()}, self.weights, self.meta)

    def cost(self) -> Cost:
        """The sum over the members, and the learner over them."""
        own = [member.family.cost() for member in self.members]
        return total_cost(own if self.meta is None else [*own, self.meta.cost()])

    @property
    def columns(self) -> tuple[ColumnSchema, ...]:
        """Columns of a request: every one that any member reads."""
        found: dict[str, ColumnSchema] = {}
        for preprocessor in self.preprocessors:
            for column in preprocessor.columns:
                found.setdefault(column.name, column)
        return tuple(found.values())

    def problems(self, frame: pl.DataFrame) -> list[Problem]:
        """What keeps rows from being predicted, each problem once."""
        found = [problem for preprocessor in self.preprocessors for problem in preprocessor.problems(frame)]
        return list(dict.fromkeys(found))

    def to_json(self) -> dict[str, Any]:
        """How it is put together, for the card and the report."""
        counts = {name: sum(member.candidate == name for member in self.members) for name in self.names}
        return {"method": self.method, "models": counts, "weights": {name: dict(each) for name, each in self.weights.items()}}

    def save(self, folder: Path) -> None:
        """Write everything but the tasks. Same state, same bytes."""
        for place, preprocessor in enumerate(self.preprocessors):
            save_state(assets.nameless_features(preprocessor.state()), folder, f"preprocess-{place}")
        for number, member in enumerate(self.members):
            target = folder / "members" / str(number)
            target.mkdir(parents=True, exist_ok=True)
            member.family.save(target)
        if self.meta is not None:
            (folder / "meta").mkdir(exist_ok=True)
            self.meta.save(folder / "meta")
        members = [
            {"candidate": member.candidate, "family": assets.nameless(member.component.to_json()), "preprocess": member.place}
            for member in self.members
        ]
        weights = {name: dict(each) for name, each in self.weights.items()}
        record = {"method": self.method, "names": list(self.names), "weights": weights, "members": members,
                  "preprocessors": len(self.preprocessors), "stacked": self.meta is not None}  # fmt: skip
        write_json(folder / "ensemble.json", record)

    @classmethod
    def load(cls, folder: Path, recipe: Mapping[str, Any], tasks: Mapping[str, Task]) -> Ensemble:
        """Read it back."""
        record = read_json(folder / "ensemble.json")
        preprocessors = [
            Preprocessor.from_state(load_state(folder, f"preprocess-{place}")) for place in range(record["preprocessors"])
        ]
        members = []
        for number, entry in enumerate(record["members"]):
            family = build({**recipe, "family": entry["family"]}, preprocessors[entry["preprocess"]], tasks)
            family.load(folder / "members" / str(number))
            members.append(Member(entry["candidate"], Component.from_json(entry["family"]), entry["preprocess"], family))
        meta = None
        if record["stacked"]:
            meta = learner(tasks, record["names"])
            meta.load(folder / "meta")
        return cls(record["method"], preprocessors, members, tasks, record["weights"], record["names"], meta)


def bagged(tasks: Mapping[str, Task], found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The plain mean of one candidate's models."""
    if len(found) == 1:
        return dict(found[0])
    return {name: pooled(task, [each[name] for each in found], [1.0] * len(found)) for name, task in tasks.items()}


def combined(
    tasks: Mapping[str, Task], by_candidate: Mapping[str, Mapping[str, np.ndarray]], weights: Mapping[str, Weights],
    meta: Family | None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """One score from those of the candidates."""
    if meta is not None:
        return meta.predict(stacked(tasks, by_candidate))
    made = {}
    for name, task in tasks.items():
        shares = weights[name]
        made[name] = pooled(task, [by_candidate[word][name] for word in shares], list(shares.values()))
    return made


def stacked(
    tasks: Mapping[str, Task], by_candidate: Mapping[str, Mapping[str, np.ndarray]], targets: Mapping[str, np.ndarray] | None = None
) -> Examples:
    """The candidates' scores side by side, as the flat matrix of the learner over them."""
    flat = np.concatenate([scores[name] for scores in by_candidate.values() for name in tasks], axis=1).astype(np.float32)
    return Examples(len(flat), {}, flat, targets or {})


def learner(tasks: Mapping[str, Task], names: Sequence[str]) -> Family:
    """An unfitted learner over the candidates' scores."""
    columns = tuple(f"{word}.{name}.{at}" for word in names for name, task in tasks.items() for at in range(task.num_scores))
    made: Family = REGISTRIES["family"].create(META, Shapes({}, FlatSpec(columns, (0,) * len(columns))), tasks)
    return made
