"""READ FIRST: the stages in order. data -> train -> evaluate -> package; each one a folder that is done when its manifest lies in it.

A stage's key is the hash of what decides its result, so nothing is done twice, and a killed run goes on with the same command.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from lode.core import spec as specs
from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.spec import Spec
from lode.core.types import Component
from lode.data import snapshot as snapshots
from lode.data.ingest import ingest
from lode.data.place import Place
from lode.data.quality import verdict as quality
from lode.data.quality.profile import profile
from lode.data.quality.withheld import without_cells
from lode.data.reduce import Reduce
from lode.data.select import Select
from lode.data.storage.keys import Key
from lode.data.store import Store
from lode.model.contracts import Progress, no_progress
from lode.model.training import Training
from lode.pipeline import artifact, package, train
from lode.pipeline.assets import Assets
from lode.pipeline.catalog import Catalog
from lode.pipeline.evaluate import Evaluation, evaluate
from lode.pipeline.fitting import Fitting, fitting
from lode.pipeline.manifest import Manifest, hash_json, lock, lock_in_turn, perform, read_manifest, stage_folder, stage_key
from lode.pipeline.origins import Origins, last_data
from lode.pipeline.plane import plane
from lode.pipeline.quality import render as render_quality
from lode.pipeline.report import render
from lode.pipeline.snapshots import forget_clear
from lode.pipeline.state import read_json, write_bytes, write_json
from lode.value.worth import Worth

_NO_MATTER = ("require", "memory", "store", "select", "reduce")
"""Keys of `data` that change nothing in a snapshot: it is read again for another one of them."""

Stage = Literal["data", "train", "evaluate", "package"]
STAGES: tuple[Stage, ...] = ("data", "train", "evaluate", "package")


_SPARE_BYTES = 50_000_000
"""Reports, models and the catalogue, whatever the data."""


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
    changed: list[str] = field(default_factory=list)
    """Sources with other bytes than in the last run of the file, a sentence each."""

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
        return {"run": self.id, "name": self.spec.name, "runs": str(self.runs), "headline": self.headline,
                "changed_sources": self.changed, "stages": stages}  # fmt: skip


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
        return Work(spec, folder, None if data is None else Path(data), progress, say).until(until)


def begin(path: Path, data: Path | None, runs: Path, progress: Progress, say: Callable[[str], None]) -> Work:
    """The work of a file whose data stage is done, without its lock; `Work.fitting` goes on from here."""
    work = Work(specs.load(path, data), runs, data, progress, say)
    with lock_in_turn(runs, f"lode tune {path}", say):
        work.until("data")
    return work


class Work:
    """The stages of one run, in order. Each method reads the ones before through `self.run`."""

    def __init__(self, spec: Spec, runs: Path, data: Path | None, progress: Progress, say: Callable[[str], None]):
        self.spec, self.progress, self.say = spec, progress, say
        # Made here, so that a mistake that only these see is told before hours are spent.
        self.training, self.evaluation = Training(**spec.train), Evaluation(**spec.evaluate)
        worth = None if spec.value is None else spec.value.options
        for make, options in ((Select, spec.data.select), (Reduce, spec.data.reduce), (Worth, worth)):
            if options is not None:
                make(**options)
        self.store = Store(**spec.data.store)
        self.place = Place(spec.path.parent, data, runs / "landing", progress)
        self.assets = Assets(spec.inputs or (), self.place)
        self.resolved = artifact.canonical(spec.resolved())
        self.origins = Origins(spec.data.sources, self.place)
        self.sources = self.origins.fingerprints
        self.run = Run(f"{spec.name}-{hash_json([self.resolved, self.sources])[:8]}", spec, runs)
        self.catalog = Catalog(runs)
        # Before this run notes itself: it may be one that was there before.
        self.before = last_data(runs, spec.name, spec.path)

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
                self._said(stage, last)
                if stage == "data":
                    self._require()
            status = "done"
        finally:
            self.catalog.end_run(run.id, status, run.headline if status == "done" else None)
        write_json(folder / "run.json", run.to_json())
        if "evaluate" in run.folders:
            shutil.copyfile(run.folders["evaluate"] / "report.html", folder / "report.html")
        return run

    def _said(self, stage: str, last: Stage) -> None:
        manifest = self.run.manifests[stage]
        if manifest.cached:
            self.say(f"{stage}: done already ({manifest.key[:16]})")
        else:
            memory = manifest.peak_memory_bytes / 2**20
            self.say(f"{stage}: {manifest.seconds:.1f} s, {memory:,.0f} MiB at most")
        for note in manifest.result.get("notes", ()):
            self.say(f"  {note}")
        if stage == "data" and last != "data":  # `lode data` prints them with its table
            for line in self._warnings():
                self.say(f"  {line}")

    def _warnings(self) -> list[str]:
        """What the findings say of the data, remarks left out."""
        findings = self.run.manifests["data"].result["findings"]
        return [f"{item['finding']}: {item['text']} {item['advice']}" for item in findings if item["severity"] != "info"]

    def _perform(
        self,
        stage: str,
        inputs: Mapping[str, Any],
        parents: Mapping[str, str],
        seed: int,
        work: Callable[[Path], Mapping[str, Any]],
    ) -> tuple[Path, Manifest]:
        # The data stage spools raw rows, keeps typed columns and writes the snapshot; later ones write arrays and models.
        snapshot = self.run.manifests.get("data")
        written = sum(facts["bytes"] for facts in snapshot.outputs.values()) if snapshot else self.origins.num_bytes
        needed_bytes = 3 * written + _SPARE_BYTES
        return perform(self.run.runs, stage, artifact.canonical(inputs), parents, seed, work, needed_bytes)

    def _data(self) -> tuple[Path, Manifest]:
        """Raw data -> typed, cleaned, split snapshot."""
        spec = self.spec
        data = {word: part for word, part in self.resolved["data"].items() if word not in _NO_MATTER}
        inputs = {"data": data, "inputs": self._features(), "outputs": self.resolved["outputs"], "sources": self.sources,
                  "extra": self._value_columns()}  # fmt: skip
        pretrains = self.training.pretrain is not None
        if pretrains:
            inputs["unlabelled"] = "kept"

        def work(folder: Path) -> Mapping[str, Any]:
            snapshots.begin(folder, key)
            try:
                made = ingest(
                    spec.data, spec.inputs, spec.outputs, self.place, folder, self.progress, extra=self._value_columns(),
                    keep_unlabelled=pretrains,
                )  # fmt: skip
            except (DataError, pl.exceptions.PolarsError, OSError):
                self.origins.check_unchanged()  # a file that somebody writes to explains the rest
                raise
            self.origins.check_unchanged([entry["sha256"] for entry in made.raw])
            return {**asdict(made), "inputs": _json(made.inputs), "outputs": _json(made.outputs), "findings": self._look(folder)}

        seed = int(self.resolved["data"]["split"].get("seed", 0))
        stage = stage_key("data", artifact.canonical(inputs), {}, seed)
        key = self._key(stage_folder(self.run.runs, "data", stage))
        self._say_changes(stage)
        return self._perform("data", inputs, {}, seed, work)

    def _key(self, folder: Path) -> Key | None:
        """The key of `data.store`; a snapshot that lies in clear and should not is made again."""
        key = self.store.key(self.place)
        if read_manifest(folder) is not None and not snapshots.agrees(folder, key):
            forget_clear(self.run.runs, folder)
            self.say("data: this snapshot lies in clear, it is made again and encrypted")
        return key

    def _look(self, folder: Path) -> list[dict[str, Any]]:
        """Profile the snapshot, ask every finding, write quality.html."""
        begin_s = time.monotonic()
        found = profile(folder, self.resolved["data"]["split"], self.progress)
        found = without_cells(found) if snapshots.is_sealed(folder) else found
        findings = quality.look(found)
        page = render_quality(found, findings, folder, self.spec.name)
        self.say(f"data: looked at the quality in {time.monotonic() - begin_s:.1f} s ({page})")
        return findings

    def _require(self) -> None:
        """Keep the page beside the run, then hold the profile against `data.require`. Errors: DataError."""
        folder, kept = self.run.folders["data"], self.run.runs / "runs" / self.run.id / "quality.html"
        shutil.copyfile(folder / "quality.html", kept)
        if self.spec.data.require:
            quality.require(read_json(folder / "profile.json"), self.spec.data.require, kept)

    def _say_changes(self, key: str) -> None:
        """Name the sources that are not what they were in the last run of the file."""
        run = self.run
        is_done = read_manifest(stage_folder(run.runs, "data", key)) is not None
        then = "these bytes were read before, that result is used" if is_done else "the data stage runs again"
        run.changed = self.origins.changed(self.before, self.resolved["data"]["source"])
        for line in run.changed:
            self.say(f"data: {line}: {then}")

    def fitting(self, spec: Spec) -> Fitting:
        """What the train stage is made of, for this file or one with other options of training."""
        assets = self.assets if spec is self.spec else Assets(spec.inputs or (), self.place)
        logs = self.run.runs / "runs" / self.run.id / "logs"
        return fitting(spec, self.run.manifests["data"].result, self.run.folders["data"], assets, logs)

    def _train(self) -> tuple[Path, Manifest]:
        """Snapshot -> fitted candidates, the chosen one, its temperature and threshold."""
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
            report = evaluate(models[chosen], baselines, self._test(), self.spec.value, options, self._facts())
            if options.map != "none":
                report["plane"] = plane(models[chosen], self._test(), options.map, options.map_rows, options.seed)
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
        return snapshots.read(self.run.folders["data"], "test")

    def _features(self) -> Any:
        """What the data stage needs of the inputs: not their encoders, so that another encoder reads the same snapshot."""
        if self.spec.inputs is None:
            return None
        return {entry.name: None if entry.feature is None else entry.feature.to_json() for entry in self.spec.inputs}

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
            "name": self.spec.name, "run": self.run.id, "rows": data.result["rows"], "notes": [*data.result["notes"], *self._warnings()],
            "inferred": {name: entry["type"] for name, entry in data.result["inputs"].items() if self._left_open(name)},
            "inputs_kept": _scores(trained.result["selection"]), "directions": trained.result["reduction"],
            "selection": trained.result["table"], "judged_by": trained.result["judged_by"],
            "judged_rows": trained.result["judged_rows"], "chosen": chosen, "metric": trained.result["metric"],
            "cross_validation": trained.result["cross_validation"], "fitted": trained.result["fitted"],
            "history": {word: fit["history"] for word, entry in models.items() for fit in entry["fits"][:1] if fit["history"]},
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


def _scores(selection: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Every input with what `data.select` gave it, best first."""
    if selection is None:
        return []
    ranked = sorted(selection["scores"].items(), key=lambda pair: -pair[1])
    return [{"input": name, selection["by"]: score, "kept": name in selection["kept"]} for name, score in ranked]


def _json(components: Mapping[str, Component]) -> dict[str, Any]:
    return {name: component.to_json() for name, component in components.items()}
