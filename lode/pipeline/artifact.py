"""The artifact: one folder that holds everything between a raw row and an answer, and proves that it answers as in training.

artifact.json          format version, what was built (inputs, outputs, family and options), temperatures, shifts, policy, schema
preprocess.json/.safetensors    cleaners and features, fitted
tasks.json             classes, scalings
model/                 the family's own files
preprocess-0.json ..., members/, ensemble.json, meta/    instead of preprocess and model, where it is an ensemble (format 2)
parity.parquet, parity.safetensors    held-out rows and the scores of the model as it was in training
card.json, lineage.json, hash.json    what is known about it, where it comes from, what it must hash to
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save

from lode.core.errors import ArtifactError, DataError
from lode.core.registry import REGISTRIES
from lode.core.types import ColumnSchema, Component, Problem
from lode.data.preprocess import Preprocessor
from lode.model.calibrate import shifted
from lode.model.contracts import Cost, Examples, Family, Task
from lode.pipeline import assets
from lode.pipeline.ensemble import Ensemble
from lode.pipeline.manifest import hash_file, hash_json
from lode.pipeline.member import build, examples
from lode.pipeline.scoring import figures, kind_of
from lode.pipeline.state import load_state, read_json, save_state, write_bytes, write_json
from lode.value.contracts import Policy

FORMAT = 2
"""Latest format of the folder: 1 holds one model, 2 an ensemble. A lode that knows format N reads every format up to N."""

TOLERANCE = 1e-5
"""Largest difference of a probability or a standardised number where devices, versions or batch shapes differ (promise 2)."""

_LISTS: Mapping[str, pl.DataType] = {"list": pl.List(pl.String), "vector": pl.List(pl.Float64)}
"""Answers that are lists, by the kind of their column: an empty list must not leave the type open."""

_NOT_HASHED = frozenset(
    {"card.json", "lineage.json", "hash.json", "parity.parquet", "parity.safetensors", "report.html", "report.json"}
)


@dataclass(slots=True)
class Model:
    """A fitted model with its preprocessing: frames in, frames out. Of an ensemble, `preprocessor` is its first member's.

    recipe: what was built, as JSON: {"outputs": [{"output", "task"}], "family", "encoders", "augments", "policy"}.
    temperatures: output -> temperature that its scores are divided by. shifts: output -> what is added to its quantiles (K,).
    policy: turns the first output's prediction into the action that earns most; None without a `value:` block.
    """

    preprocessor: Preprocessor
    family: Family | None
    tasks: Mapping[str, Task]
    recipe: Mapping[str, Any]
    temperatures: dict[str, float] = field(default_factory=dict)
    policy: Policy | None = None
    currency: str | None = None
    name: str = ""
    version: int | None = None
    hash: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    ensemble: Ensemble | None = None
    shifts: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[ColumnSchema, ...]:
        """Columns of a request."""
        return self.preprocessor.columns if self.ensemble is None else self.ensemble.columns

    @property
    def ignored(self) -> frozenset[str]:
        """Columns that a request may have and nothing reads: inputs that `data.select` left out."""
        selection = self.preprocessor.selection
        if selection is None:
            return frozenset()
        return frozenset(selection["scores"]) - {column.name for column in self.columns}

    @property
    def answers(self) -> tuple[ColumnSchema, ...]:
        """Columns of a prediction."""
        found: list[ColumnSchema] = []
        words = {entry["output"]: entry["task"]["type"] for entry in self.recipe["outputs"]}
        for name, task in self.tasks.items():
            found += [
                replace(column, name=f"{name}.{column.name}" if column.name else name, type=column.type or words[name])
                for column in task.answers()
            ]
            decides = self.policy is not None and name == self._first
            if kind_of(task) == "binary":
                found.append(ColumnSchema(f"{name}.decision", "decision", "boolean", "true or false"))
            elif decides:
                found.append(ColumnSchema(f"{name}.decision", "decision", "number", "a quantity"))
        return tuple(found)

    @property
    def _first(self) -> str:
        return next(iter(self.tasks))

    def problems(self, frame: pl.DataFrame) -> list[Problem]:
        """Everything that keeps rows from being predicted: cells, missing and unknown columns."""
        return self.preprocessor.problems(frame) if self.ensemble is None else self.ensemble.problems(frame)

    def unseen(self, frame: pl.DataFrame) -> dict[str, int]:
        """Per input, how many cells hold a value that training never saw."""
        return self.preprocessor.unseen(frame)

    def examples(self, frame: pl.DataFrame) -> Examples:
        """The rows as the family's arrays."""
        assert self.family is not None, "an ensemble makes the arrays of each of its members"
        return examples(frame, self.preprocessor, self.family.needs)

    def scores(self, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        """Scores before any temperature, float32 (N, K) per output; quantiles sorted and shifted."""
        if self.ensemble is not None:
            found = self.ensemble.scores(frame)
        else:
            assert self.family is not None, "a model has a family or is an ensemble"
            found = self.family.predict(self.examples(frame))
        return {name: shifted(scores, self.shifts.get(name)) for name, scores in found.items()}

    def cost(self) -> Cost:
        """What a row takes; of an ensemble the sum over its members."""
        if self.ensemble is not None:
            return self.ensemble.cost()
        assert self.family is not None, "a model has a family or is an ensemble"
        return self.family.cost()

    def predict(self, frame: pl.DataFrame, *, check: bool = True) -> pl.DataFrame:
        """Columns `<output>`, `<output>.probability.<class>`, `<output>.decision`; one row for each row of `frame`.

        check: look at `problems` first; without it, a cell that cannot be read counts as missing.
        Errors: DataError naming the first problems.

        Example:
            model = lode.load("breast-cancer")
            answers = model.predict(frame)
        """
        problems = self.problems(frame) if check else []
        if problems:
            said = [f"row {entry.row}, {entry.column}: found {entry.found}, allowed: {entry.allowed}" for entry in problems[:8]]
            more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
            raise DataError("; ".join(said) + f"{more}. Mend the cells, or leave these rows out (`problems` lists them all).")
        return self.decode(self.scores(frame))

    def decode(self, scores: Mapping[str, np.ndarray]) -> pl.DataFrame:
        """Answers from scores."""
        columns: dict[str, Any] = {}
        for name, task in self.tasks.items():
            answers = task.decode(scores[name], self.temperatures.get(name, 1.0))
            kinds = {column.name: column.kind for column in task.answers()}
            for part, values in answers.items():
                title, dtype = f"{name}.{part}" if part else name, _LISTS.get(kinds[part])
                plain = values.tolist() if values.dtype.hasobject else values
                columns[title] = plain if dtype is None else pl.Series(title, plain, dtype=dtype)
            policy = self.policy if name == self._first else None
            if kind_of(task) == "binary":
                positive = answers[f"probability.{task.classes[1]}"]
                columns[f"{name}.decision"] = (positive >= 0.5) if policy is None else policy.act(positive) == 1
            elif policy is not None:
                columns[f"{name}.decision"] = policy.act(answers[""])
        return pl.DataFrame(columns)

    def figures(self, scores: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        """What metrics and policies read: P(positive) (N,), P (N, K) or numbers (N,)."""
        return figures(self.tasks[name], scores[name], self.temperatures.get(name, 1.0))

    def save(self, folder: Path) -> str:
        """Write what is hashed; returns the content hash. Same state, same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        save_state({name: task.state() for name, task in self.tasks.items()}, folder, "tasks")
        if self.ensemble is not None:
            self.ensemble.save(folder)
        else:
            assert self.family is not None, "a model has a family or is an ensemble"
            save_state(assets.nameless_features(self.preprocessor.state()), folder, "preprocess")
            (folder / "model").mkdir(exist_ok=True)
            self.family.save(folder / "model")
        policy = None if self.policy is None else {**self.recipe["policy"], "state": self.policy.state()}
        record = {
            "format": 1 if self.ensemble is None else FORMAT,
            "recipe": {**assets.nameless(self.recipe), "policy": policy},
            "temperatures": self.temperatures,
            # Only outputs that an older lode cannot read either have any.
            **({"shifts": {name: shift_K.tolist() for name, shift_K in self.shifts.items()}} if self.shifts else {}),
            "currency": self.currency,
            "columns": [column.to_json() for column in self.columns],
            "answers": [column.to_json() for column in self.answers],
        }
        write_json(folder / "artifact.json", record)
        return content_hash(folder)

    def keep_parity(self, rows: pl.DataFrame, folder: Path) -> None:
        """Store held-out rows and the scores that the model in memory gives them: what a copy must reproduce."""
        rows = rows.select([column.name for column in self.columns])
        scores = {name: np.ascontiguousarray(values, np.float32) for name, values in self.scores(rows).items()}
        rows.write_parquet(folder / "parity.parquet")
        write_bytes(folder / "parity.safetensors", save(scores))

    def verify(self) -> dict[str, Any]:
        """Predict the stored held-out rows again and compare with the scores of training.

        Returns {"rows", "largest_difference", "bitwise"}. Errors: ArtifactError where the difference passes the tolerance.
        """
        if self.folder is None or not (self.folder / "parity.parquet").is_file():
            raise ArtifactError(
                f"{self.folder}: no parity rows, so nothing proves that it answers as in training. Package it again: lode package."
            )
        rows, expected = pl.read_parquet(self.folder / "parity.parquet"), load_file(self.folder / "parity.safetensors")
        found, largest = self.scores(rows), 0.0
        bitwise = all(np.array_equal(found[name], expected[name], equal_nan=True) for name in expected)
        for name, scores in expected.items():
            with np.errstate(invalid="ignore"):
                difference = np.abs(self.figures(found, name) - self.figures({name: scores}, name))
            # Numbers in the data's unit are held against their spread, probabilities and codes are as they are.
            spread = 1.0 if self.tasks[name].classes else float(np.std(self.figures({name: scores}, name)))
            # np.maximum, unlike max, lets no NaN pass for a small number.
            largest = float(np.maximum(largest, np.max(difference, initial=0.0) / (spread or 1.0)))
        if not bitwise and not largest <= TOLERANCE:
            raise ArtifactError(
                f"{self.folder}: parity check failed on {rows.height} held-out rows: answers differ from training by up to {largest:.3g}, "
                f"allowed is {TOLERANCE:g}. It is not served; make it again with `lode run`."
            )
        return {"rows": rows.height, "largest_difference": largest, "bitwise": bitwise}


def read(folder: Path) -> Model:
    """Load a model folder. Errors: ArtifactError where it is damaged, incomplete or of a later format."""
    record = read_json(folder / "artifact.json")
    if record.get("format", 0) > FORMAT:
        raise ArtifactError(f"{folder}: artifact format {record['format']}, this lode reads up to {FORMAT}. Upgrade lode.")
    recipe = record["recipe"]
    tasks: dict[str, Task] = {
        entry["output"]: REGISTRIES["task"].create(Component.from_json(entry["task"])) for entry in recipe["outputs"]
    }
    for name, state in load_state(folder, "tasks").items():
        tasks[name].restore(state)
    family, ensemble = None, None
    if record["format"] == 1:
        preprocessor = Preprocessor.from_state(load_state(folder, "preprocess"))
        family = build(recipe, preprocessor, tasks)
        family.load(folder / "model")
    else:
        ensemble = Ensemble.load(folder, recipe, tasks)
        preprocessor = ensemble.preprocessors[0]
    policy: Policy | None = None
    if recipe.get("policy"):
        options = {key: value for key, value in recipe["policy"].items() if key != "state"}
        policy = REGISTRIES["policy"].create(Component.from_json(options))
        policy.restore(recipe["policy"]["state"])
        recipe = {**recipe, "policy": options}
    return Model(
        preprocessor, family, tasks, recipe, dict(record["temperatures"]), policy, record["currency"],
        hash=content_hash(folder), folder=folder, ensemble=ensemble,
        shifts={name: np.array(shift, np.float32) for name, shift in record.get("shifts", {}).items()},
    )  # fmt: skip


def artifact_folder(runs: Path, name: str, version: int) -> Path:
    """Where a version lies."""
    return runs / "artifacts" / name / str(version)


def content_hash(folder: Path) -> str:
    """sha256 over weights, fitted state, schema, thresholds and format: nothing that was measured, no name, no time."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    names = sorted(name for name in names if name not in _NOT_HASHED and not Path(name).name.startswith("."))
    return hash_json([[name, hash_file(folder / name)] for name in names])


def check_files(folder: Path) -> None:
    """Compare every file with hash.json. Errors: ArtifactError naming the first file that is missing or changed."""
    expected = read_json(folder / "hash.json")
    for name, digest in expected["files"].items():
        path = folder / name
        if not path.is_file() or hash_file(path) != digest:
            what = "changed since it was packaged" if path.is_file() else "missing"
            raise ArtifactError(f"{path}: {what}. Restore the folder from a copy, or make it again with `lode run`.")


def canonical(record: Any) -> Any:
    """A record as it comes back from JSON (tuples as lists, Decimals as strings), so that hashes do not depend on the reader."""
    return json.loads(json.dumps(record, default=str))
