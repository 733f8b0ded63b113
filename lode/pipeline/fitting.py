"""What the train stage is made of, from a file and its snapshot: the rows to learn from, what is built, what decides the result.

`lode/pipeline/run.py` fits it once, `lode/pipeline/study.py` many times with other options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lode.core import spec as specs
from lode.core.registry import REGISTRIES
from lode.core.spec import Spec
from lode.core.types import Component
from lode.data.reduce import Reduce
from lode.data.select import Select
from lode.model.training import Training
from lode.pipeline import development, portfolio, train
from lode.pipeline.artifact import canonical
from lode.pipeline.assets import Assets, wanted
from lode.pipeline.evaluate import Evaluation
from lode.pipeline.fewer import Share
from lode.value.worth import Worth


class Read(Protocol):
    """Reads the rows to learn from, or a share of them."""

    def __call__(self, share: Share | None = None) -> development.Development: ...


@dataclass(frozen=True, slots=True)
class Fitting:
    """inputs: what decides the result, as JSON; read: the rows to learn from."""

    inputs: Mapping[str, Any]
    plan: train.Plan
    read: Read


def fitting(spec: Spec, snapshot: Mapping[str, Any], folder: Path, assets: Assets, log_folder: Path) -> Fitting:
    """snapshot: the result of the data stage, which lies in `folder`. assets: files that encoders of the file name."""
    training, resolved, recipe = Training(**spec.train), canonical(spec.resolved()), _recipe(spec, snapshot)
    encoders = {entry.name: entry.encoder for entry in spec.inputs or ()}
    features = {name: wanted(Component.from_json(entry), encoders.get(name)) for name, entry in snapshot["inputs"].items()}
    cleaners = [component for component in spec.data.clean if REGISTRIES["cleaner"].create(component).scope == "cells"]
    policy, device = policy_of(spec, snapshot), train.default_device(training.device)
    currency = None if spec.value is None else Worth(**spec.value.options).currency
    split, folds = resolved["data"]["split"], Evaluation(**spec.evaluate).folds
    inputs = {
        "snapshot": snapshot["content_hash"], "inputs": {name: part.to_json() for name, part in features.items()},
        "cleaners": [component.to_json() for component in cleaners], "learnt": snapshot["learnt"], "recipe": recipe,
        "model": resolved["model"], "train": resolved["train"], "device": device, "currency": currency,
        "policy": None if policy is None else policy.to_json(), "split": split, "select": resolved["data"]["select"],
        "reduce": resolved["data"]["reduce"], **({"files": assets.fingerprints} if assets.fingerprints else {}),
        **({} if folds is None else {"folds": folds}),
    }  # fmt: skip
    recipe = assets.located_recipe(recipe)
    placed = {name: assets.located("feature", part) for name, part in features.items()}
    plan = train.Plan(spec.model, training, recipe, policy, currency, device, training.seed, training.budget_s, log_folder)

    def read(share: Share | None = None) -> development.Development:
        select, reduce = spec.data.select, spec.data.reduce
        outputs = {entry["output"]: Component.from_json(entry["task"]) for entry in recipe["outputs"]}
        return development.read(
            folder, placed, cleaners, outputs, split, training.seed, None if select is None else Select(**select),
            None if reduce is None else Reduce(**reduce), snapshot["learnt"],
            share=share, **_division(spec.model, training, split, folds, snapshot["rows"], features),
        )  # fmt: skip

    return Fitting(inputs, plan, read)


def policy_of(spec: Spec, snapshot: Mapping[str, Any]) -> Component | None:
    """The policy that values the first output; None without a value block."""
    return None if spec.value is None else specs.policy_for(spec, snapshot["outputs"][spec.outputs[0].name]["type"])


def _recipe(spec: Spec, snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """See `Model.recipe`; without the family."""
    chosen = {entry.name: entry for entry in spec.inputs or ()}
    return {
        "outputs": [{"output": entry.name, "task": snapshot["outputs"][entry.name]} for entry in spec.outputs],
        "encoders": {name: entry.encoder.to_json() for name, entry in chosen.items() if entry.encoder is not None},
        "augments": {name: [part.to_json() for part in entry.augment] for name, entry in chosen.items() if entry.augment},
    }


def _division(
    model: Component, training: Training, split: Mapping[str, Any], asked: int | None, rows: Mapping[str, int],
    features: Mapping[str, Component],
) -> dict[str, Any]:  # fmt: skip
    """How `development.read` divides the rows: as the file says, else as the model wants."""
    whole = rows["train"] + rows["validation"]
    budgeted, by_time = training.budget_s is not None, split["by"] == "time"
    cross = portfolio.folds_for(model, development.is_table(features), whole, budgeted, by_time)
    told = asked is not None or split["folds"] is not None or split["fold_column"] is not None
    return {"cross": asked or cross, "told": told or model.type == portfolio.ENSEMBLE}
