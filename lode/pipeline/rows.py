"""The work on rows with outputs: data -> train -> evaluate -> package. Read `lode/pipeline/work.py` first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lode.core.spec import InputSpec, OutputSpec, Spec
from lode.data import snapshot as snapshots
from lode.pipeline import artifact, curve, curve_page, forecasts, train
from lode.pipeline.assets import Assets
from lode.pipeline.carried import carried, check_groups, numbered
from lode.pipeline.evaluate import Evaluation, audited, evaluate
from lode.pipeline.fitting import Fitting, fitting
from lode.pipeline.manifest import Manifest
from lode.pipeline.plane import plane
from lode.pipeline.report import render
from lode.pipeline.work import Stage, Work
from lode.value.worth import Worth


class RowsWork(Work):
    """Rows -> candidates -> the chosen one, judged beside baselines and valued -> artifact."""

    stages: ClassVar[tuple[Stage, ...]] = ("data", "train", "evaluate", "package")

    def prepare(self) -> None:
        spec = self.spec
        self.evaluation = Evaluation(**spec.evaluate)
        if spec.value is not None:
            Worth(**spec.value.options)
        self.assets = Assets(spec.inputs or (), self.place)

    def columns(self) -> tuple[Sequence[InputSpec] | None, Sequence[OutputSpec], Mapping[str, str]]:
        return self.spec.inputs, self.spec.outputs, carried(self.spec)

    def fitting(self, spec: Spec) -> Fitting:
        """What the train stage is made of, for this file or one with other options of training."""
        assets = self.assets if spec is self.spec else Assets(spec.inputs or (), self.place)
        logs = self.run.runs / "runs" / self.run.id / "logs"
        return fitting(spec, self.run.manifests["data"].result, self.run.folders["data"], assets, logs)

    def _train(self) -> tuple[Path, Manifest]:
        """Snapshot -> fitted candidates, the chosen one, its temperature and threshold."""
        check_groups(self.spec, self.run.manifests["data"].result)
        made, rows = self.fitting(self.spec), self.run.manifests["data"].result["rows"]

        def work(folder: Path) -> Mapping[str, Any]:
            begun_s = time.monotonic()
            self.say(f"train: {self.spec.model.type} on {rows['train']:,} rows, with baselines")
            return train.train(made.read(), self._test(), made.plan, folder, self.progress, begun_s)

        return self._perform("train", made.inputs, {"data": self.run.manifests["data"].key}, self.training.seed, work)

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
            facts = {**self._facts(), "learning_curve": self._learning_curve(chosen, models[chosen], folder / ".scratch" / "curve")}
            report = evaluate(models[chosen], baselines, self._test(), self.spec.value, options, facts)
            if options.map != "none":
                report["plane"] = plane(models[chosen], self._test(), options.map, options.map_rows, options.seed)
            render(report, folder)
            return {"headline": report["headline"], **audited(report)}

        return self._perform("evaluate", inputs, {name: run.manifests[name].key for name in ("data", "train")}, options.seed, work)

    def _learning_curve(self, chosen: str, model: artifact.Model, folder: Path) -> dict[str, Any] | None:
        """What more rows are worth, where the file asks for it."""
        if self.evaluation.learning_curve is None:
            return None
        made, test = self.fitting(self.spec), self._test()
        found = curve.learning_curve(made, chosen, model, test, self.evaluation, folder, self.progress, self.say)
        found["sentence"] = curve_page.sentence(
            found, None if self.spec.value is None else Worth(**self.spec.value.options).decisions
        )
        self.say(f"evaluate: {found['sentence']}")
        return found

    def _package(self) -> tuple[Path, Manifest]:
        """The chosen model -> a versioned artifact that passed its parity check, in the catalogue."""
        return self._packaged(("data", "train", "evaluate"))

    def _test(self) -> pl.DataFrame:
        return numbered(snapshots.read(self.run.folders["data"], "test"), self.spec)

    def _facts(self) -> dict[str, Any]:
        """What the report shows beside the test figures."""
        data, trained = self.run.manifests["data"], self.run.manifests["train"]
        models, chosen = trained.result["models"], trained.result["chosen"]
        return {
            "name": self.spec.name, "run": self.run.id, "rows": data.result["rows"],
            "notes": [*data.result["notes"], *trained.result.get("notes", ()), *self._warnings()],
            "inferred": {name: entry["type"] for name, entry in data.result["inputs"].items() if self._left_open(name)},
            "inputs_kept": _scores(trained.result["selection"]), "directions": trained.result["reduction"],
            "selection": trained.result["table"], "judged_by": trained.result["judged_by"],
            "judged_rows": trained.result["judged_rows"], "chosen": chosen, "metric": trained.result["metric"],
            "cross_validation": trained.result["cross_validation"], "fitted": trained.result["fitted"],
            "history": {word: fit["history"] for word, entry in models.items() for fit in entry["fits"][:1] if fit["history"]},
            "choices": {word: fit["choices"] for word, entry in models.items() for fit in entry["fits"][:1] if fit["choices"]},
            "costs": {word: {**entry["cost"], "seconds_per_1000": entry["seconds_per_1000"]} for word, entry in models.items()},
            "training_seconds": trained.seconds, "serving_seconds": models[chosen]["seconds_per_1000"] / 1000,
            "profit_curve": trained.result["profit_curve"], "seconds": {"data": data.seconds, "train": trained.seconds},
            "peak_memory_bytes": {"data": data.peak_memory_bytes, "train": trained.peak_memory_bytes},
            "hardware": trained.hardware, "versions": trained.versions, "raw": data.result["raw"],
            "forecast": self._forecast(models[chosen], trained.peak_memory_bytes),
        }  # fmt: skip

    def _forecast(self, model: Mapping[str, Any], peak_memory_bytes: int) -> list[dict[str, Any]]:
        """Forecast against actual of the chosen model's first fit; none of an ensemble, or of one without a loop."""
        if not model["fits"]:
            return []
        worth = None if self.spec.value is None else Worth(**self.spec.value.options)
        paid = (None, None) if worth is None else (worth.compute_hour, worth.currency)
        return forecasts.reconciled(model["fits"][0], model["cost"]["parameters"], peak_memory_bytes, *paid)

    def _left_open(self, name: str) -> bool:
        """Whether the file leaves it to the data what this input is."""
        named = {entry.name: entry.feature for entry in self.spec.inputs or ()}
        return named.get(name) is None


def _scores(selection: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Every input with what `data.select` gave it, best first."""
    if selection is None:
        return []
    ranked = sorted(selection["scores"].items(), key=lambda pair: -pair[1])
    return [{"input": name, selection["by"]: score, "kept": name in selection["kept"]} for name, score in ranked]
