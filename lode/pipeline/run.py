"""READ FIRST: the stages in order. data -> train -> evaluate -> package; each one a folder that is done when its manifest lies in it.

A stage's key is the hash of what decides its result, so nothing is done twice, and a killed run goes on with the same command.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from lode.core import spec as specs
from lode.core.registry import REGISTRIES
from lode.core.spec import Spec
from lode.core.types import Component
from lode.data.ingest import ingest
from lode.data.place import Place
from lode.model.contracts import Progress, no_progress
from lode.model.training import Training
from lode.pipeline import artifact, development, package, train
from lode.pipeline.catalog import Catalog
from lode.pipeline.evaluate import Evaluation, evaluate
from lode.pipeline.manifest import Manifest, hash_json, lock, perform
from lode.pipeline.report import render
from lode.pipeline.state import read_json, write_bytes, write_json
from lode.value.worth import Worth

Stage = Literal["data", "train", "evaluate", "package"]
STAGES: tuple[Stage, ...] = ("data", "train", "evaluate", "package")


def silent(line: str) -> None:
    """Says nothing."""


@dataclass(slots=True)
class Run:
    """One execution of a file: what was done, where it lies, what came out."""

    id: str
    spec: Spec
    runs: Path
    folders: dict[str, Path] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)

    @property
    def report(self) -> dict[str, Any]:
        """The evaluation as JSON (report.json)."""
        found: dict[str, Any] = read_json(self.folders["evaluate"] / "report.json")
        return found

    @property
    def headline(self) -> str | None:
        """The one sentence."""
        return self.report["headline"] if "evaluate" in self.folders else None

    @property
    def model(self) -> artifact.Model:
        """The packaged model."""
        result = self.manifests["package"].result
        return artifact.load(result["name"], self.runs, result["version"])

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        stages = {
            name: {
                "folder": str(self.folders[name]), "key": manifest.key, "cached": manifest.cached, "seconds": manifest.seconds,
                "peak_memory_bytes": manifest.peak_memory_bytes, "result": dict(manifest.result),
            }
            for name, manifest in self.manifests.items()
        }  # fmt: skip
        return {"run": self.id, "name": self.spec.name, "runs": str(self.runs), "headline": self.headline, "stages": stages}


def run(
    path: str | Path = "lode.yaml",
    *,
    data: str | Path | None = None,
    runs: str | Path | None = None,
    until: Stage = "package",
    progress: Progress = no_progress,
    say: Callable[[str], None] = silent,
) -> Run:
    """Do the stages of a file up to `until`; what is done already is not done again.

    data: folder where relative paths are looked for first. runs: where results go (default: `runs` beside the file).
    say: gets one line for each thing a person should know while it happens.
    Errors: SpecError, DataError, ModelError, ArtifactError, BusyError.

    Example:
        run = lode.run("lode.yaml")
        print(run.headline)
    """
    spec = specs.load(Path(path), None if data is None else Path(data))
    folder = Path(runs) if runs is not None else spec.path.parent / "runs"
    with lock(folder, f"lode run {spec.path}"):
        return _Work(spec, folder, None if data is None else Path(data), progress, say).until(until)


class _Work:
    """The stages of one run, in order. Each method reads the ones before through `self.run`."""

    def __init__(self, spec: Spec, runs: Path, data: Path | None, progress: Progress, say: Callable[[str], None]):
        self.spec, self.progress, self.say = spec, progress, say
        self.place = Place(spec.path.parent, data)
        self.resolved = artifact.canonical(spec.resolved())
        self.sources = {
            part: [REGISTRIES["source"].create(component, self.place).fingerprint() for component in components]
            for part, components in spec.data.sources.items()
        }
        # Made here, so that a mistake that only these see is told before hours are spent.
        self.training, self.evaluation = Training(**spec.train), Evaluation(**spec.evaluate)
        self.currency = None if spec.value is None else Worth(**spec.value.options).currency
        self.run = Run(f"{spec.name}-{hash_json([self.resolved, self.sources])[:8]}", spec, runs)
        self.catalog = Catalog(runs)

    def until(self, last: Stage) -> Run:
        """Do the stages up to `last` and keep the run's own folder."""
        run = self.run
        folder = run.runs / "runs" / run.id
        write_bytes(folder / "lode.yaml", self.spec.path.read_bytes())
        write_json(folder / "spec.json", self.resolved)
        self.catalog.start_run(run.id, self.spec.name, self.spec.path)
        status = "failed"
        try:
            for stage in STAGES[: STAGES.index(last) + 1]:
                run.folders[stage], run.manifests[stage] = getattr(self, f"_{stage}")()
                self.catalog.note_stages(run.id, {name: manifest.key for name, manifest in run.manifests.items()})
                self._said(stage)
            status = "done"
        finally:
            self.catalog.end_run(run.id, status, run.headline if status == "done" else None)
        write_json(folder / "run.json", run.to_json())
        if "evaluate" in run.folders:
            shutil.copyfile(run.folders["evaluate"] / "report.html", folder / "report.html")
        return run

    def _said(self, stage: str) -> None:
        manifest = self.run.manifests[stage]
        if manifest.cached:
            self.say(f"{stage}: done already ({manifest.key[:16]})")
        else:
            memory = manifest.peak_memory_bytes / 2**20
            self.say(f"{stage}: {manifest.seconds:.1f} s, {memory:,.0f} MiB at most")
        for note in manifest.result.get("notes", ()):
            self.say(f"  {note}")

    def _perform(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        parents: Mapping[str, str],
        seed: int,
        work: Callable[[Path], Mapping[str, Any]],
    ) -> tuple[Path, Manifest]:
        return perform(self.run.runs, stage, artifact.canonical(inputs), parents, seed, work)

    def _data(self) -> tuple[Path, Manifest]:
        """Raw data -> typed, cleaned, split snapshot."""
        spec = self.spec
        inputs = {"data": self.resolved["data"], "inputs": self._features(), "outputs": self.resolved["outputs"], "sources": self.sources,
                  "extra": self._value_columns()}  # fmt: skip

        def work(folder: Path) -> Mapping[str, Any]:
            made = ingest(spec.data, spec.inputs, spec.outputs, self.place, folder, self.progress, extra=self._value_columns())
            return {**asdict(made), "inputs": _json(made.inputs), "outputs": _json(made.outputs)}

        return self._perform("data", inputs, {}, int(self.resolved["data"]["split"].get("seed", 0)), work)

    def _train(self) -> tuple[Path, Manifest]:
        """Snapshot -> fitted candidates, the chosen one, its temperature and threshold."""
        snapshot, recipe = self.run.manifests["data"].result, self._recipe()
        features = {name: self._wanted(name, Component.from_json(entry)) for name, entry in snapshot["inputs"].items()}
        outputs = {entry["output"]: Component.from_json(entry["task"]) for entry in recipe["outputs"]}
        cleaners = [component for component in self.spec.data.clean if REGISTRIES["cleaner"].create(component).scope == "cells"]
        policy = self._policy()
        inputs = {
            "snapshot": snapshot["content_hash"], "inputs": _json(features), "cleaners": [component.to_json() for component in cleaners],
            "recipe": recipe, "model": self.resolved["model"], "train": self.resolved["train"],
            "device": train.default_device(self.training.device), "currency": self.currency,
            "policy": None if policy is None else policy.to_json(), "split": self.resolved["data"]["split"],
        }  # fmt: skip
        plan = train.Plan(
            self.spec.model, self.training, recipe, policy, self.currency, train.default_device(self.training.device), self.training.seed,
        )  # fmt: skip

        def work(folder: Path) -> Mapping[str, Any]:
            self.say(f"train: {self.spec.model.type} on {snapshot['rows']['train']:,} rows, with baselines")
            split = self.resolved["data"]["split"]
            rows = development.read(self.run.folders["data"], features, cleaners, outputs, split, self.training.seed)
            return train.train(rows, self._test(), plan, folder, self.progress)

        return self._perform("train", inputs, {"data": self.run.manifests["data"].key}, self.training.seed, work)

    def _evaluate(self) -> tuple[Path, Manifest]:
        """Test rows -> metrics with intervals beside the baselines, value, report."""
        run, options = self.run, self.evaluation
        inputs = {"name": self.spec.name, "evaluate": self.resolved["evaluate"], "value": self.resolved.get("value")}

        def work(folder: Path) -> Mapping[str, Any]:
            chosen = run.manifests["train"].result["chosen"]
            models = {
                word: artifact.read(run.folders["train"] / "models" / word) for word in run.manifests["train"].result["models"]
            }
            baselines = {word: model for word, model in models.items() if word != chosen}
            report = evaluate(models[chosen], baselines, self._test(), self.spec.value, options, self._facts())
            render(report, folder)
            return {"headline": report["headline"]}

        return self._perform("evaluate", inputs, {name: run.manifests[name].key for name in ("data", "train")}, options.seed, work)

    def _package(self) -> tuple[Path, Manifest]:
        """The chosen model -> a versioned artifact that passed its parity check, in the catalogue."""
        run = self.run
        parents = {name: run.manifests[name].key for name in ("data", "train", "evaluate")}
        package.forget_if_lost(run.runs, self.spec.name, parents)

        def work(folder: Path) -> Mapping[str, Any]:
            made = package.package(self.spec.name, run.runs, run.id, run.folders, run.manifests, self.catalog, self.spec.serve)
            write_json(folder / "package.json", made)
            return made

        return self._perform("package", {"name": self.spec.name, "serve": self.resolved["serve"]}, parents, 0, work)

    def _test(self) -> pl.DataFrame:
        return pl.read_parquet(self.run.folders["data"] / "test.parquet")

    def _features(self) -> Any:
        """What the data stage needs of the inputs: not their encoders, so that another encoder reads the same snapshot."""
        if self.spec.inputs is None:
            return None
        return {entry.name: None if entry.feature is None else entry.feature.to_json() for entry in self.spec.inputs}

    def _recipe(self) -> dict[str, Any]:
        outputs = self.run.manifests["data"].result["outputs"]
        chosen = {entry.name: entry for entry in self.spec.inputs or ()}
        return {
            "outputs": [{"output": entry.name, "task": outputs[entry.name]} for entry in self.spec.outputs],
            "encoders": {name: entry.encoder.to_json() for name, entry in chosen.items() if entry.encoder is not None},
            "augments": {name: [part.to_json() for part in entry.augment] for name, entry in chosen.items() if entry.augment},
        }

    def _wanted(self, name: str, feature: Component) -> Component:
        """The feature with what its encoder asks of it where the user says nothing."""
        encoder = next((entry.encoder for entry in self.spec.inputs or () if entry.name == name), None)
        asked = None if encoder is None else REGISTRIES["encoder"].constant(encoder.type, "feature_defaults")
        return Component(feature.type, {**(asked or {}), **feature.options})

    def _policy(self) -> Component | None:
        if self.spec.value is None:
            return None
        first = self.run.manifests["data"].result["outputs"][self.spec.outputs[0].name]["type"]
        return specs.policy_for(self.spec, first)

    def _value_columns(self) -> list[str]:
        """Columns that the value block names: kept in the snapshot beside inputs and outputs."""
        value = self.spec.value
        if value is None or value.policy is None:
            return []
        return list(REGISTRIES["policy"].create(value.policy).columns)

    def _facts(self) -> dict[str, Any]:
        """What the report shows beside the test figures."""
        data, trained = self.run.manifests["data"], self.run.manifests["train"]
        models, chosen = trained.result["models"], trained.result["chosen"]
        return {
            "name": self.spec.name, "run": self.run.id, "rows": data.result["rows"], "notes": data.result["notes"],
            "inferred": {name: entry["type"] for name, entry in data.result["inputs"].items() if self._left_open(name)},
            "selection": trained.result["table"], "judged_by": trained.result["judged_by"],
            "judged_rows": trained.result["judged_rows"], "chosen": chosen, "metric": trained.result["metric"],
            "history": {word: entry["fits"][0]["history"] for word, entry in models.items() if entry["fits"][0]["history"]},
            "costs": {word: {**entry["cost"], "seconds_per_1000": entry["seconds_per_1000"]} for word, entry in models.items()},
            "training_seconds": trained.seconds, "serving_seconds": models[chosen]["seconds_per_1000"] / 1000,
            "profit_curve": trained.result["profit_curve"], "seconds": {"data": data.seconds, "train": trained.seconds},
            "peak_memory_bytes": {"data": data.peak_memory_bytes, "train": trained.peak_memory_bytes},
            "hardware": trained.hardware, "versions": trained.versions, "raw": data.result["raw"],
        }  # fmt: skip

    def _left_open(self, name: str) -> bool:
        """Whether the file leaves it to the data what this input is."""
        named = {entry.name: entry.feature for entry in self.spec.inputs or ()}
        return named.get(name) is None


def _json(components: Mapping[str, Component]) -> dict[str, Any]:
    return {name: component.to_json() for name, component in components.items()}
