"""What every run does, whatever it trains: the stages in order, each one a folder that is done when its manifest lies in it.

`lode/pipeline/rows.py` is the work on rows with outputs, `lode/pipeline/documents.py` that on documents; both share the data stage.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl

from lode.core.errors import DataError, DiskFullError
from lode.core.spec import InputSpec, OutputSpec, Spec
from lode.core.types import Component
from lode.data import snapshot as snapshots
from lode.data.bounds import Bounds
from lode.data.ingest import ingest
from lode.data.place import Place
from lode.data.quality import verdict as quality
from lode.data.quality.profile import profile
from lode.data.quality.withheld import without_cells
from lode.data.reduce import Reduce
from lode.data.select import Select
from lode.data.storage.keys import Key
from lode.data.store import Store
from lode.model.contracts import Progress
from lode.model.training import Training
from lode.pipeline import loading, package
from lode.pipeline.artifact import canonical
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import Manifest, hash_json, perform, read_manifest, stage_folder, stage_key
from lode.pipeline.origins import Origins, last_data
from lode.pipeline.quality import html as quality_page
from lode.pipeline.quality import render as render_quality
from lode.pipeline.snapshots import forget_clear
from lode.pipeline.state import read_json, write_bytes, write_json

_NO_MATTER = ("require", "memory", "store", "select", "reduce")
"""Keys of `data` that change nothing in a snapshot: it is read again for another one of them."""

Stage = Literal["data", "tokens", "train", "evaluate", "package"]
STAGES: tuple[Stage, ...] = ("data", "tokens", "train", "evaluate", "package")
"""All there are; a model of rows has no tokens."""

_SPARE_BYTES = 50_000_000
"""Reports, models and the catalogue, whatever the data."""


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
    def findings(self) -> list[dict[str, Any]]:
        """What was found in the data, the worst first (the finding `memory` of the way they were read), once the data stage is done."""
        if "data" not in self.manifests:
            return []
        found = [*self.manifests["data"].result["findings"], *quality.look({"memory": self.memory}, [Component("memory")])]
        return sorted(found, key=lambda item: quality.SEVERITIES.index(item["severity"]))

    @property
    def memory(self) -> dict[str, int]:
        """What the data stage came to when it was done, and what it was allowed: `peak_bytes`, `allowed_bytes`, `before_bytes`."""
        data = self.manifests["data"]
        # A snapshot that is there already was made under the bound of then; whoever allows more since has no reason to complain.
        bound = max(data.result.get("memory_bytes", 0), Bounds(**self.spec.data.bounds).memory)
        before = data.before_memory_bytes
        return {
            "peak_bytes": data.peak_memory_bytes, "before_bytes": before,
            "allowed_bytes": bound + before if 2 * before > bound else bound,
        }  # fmt: skip

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
    def model(self) -> loading.Loaded:
        """The packaged model."""
        result = self.manifests["package"].result
        return loading.load(result["name"], self.runs, result["version"])

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        stages = {
            name: {
                "folder": str(self.folders[name]), "key": manifest.key, "cached": manifest.cached, "seconds": manifest.seconds,
                "peak_memory_bytes": manifest.peak_memory_bytes, "result": dict(manifest.result),
            }
            for name, manifest in self.manifests.items()
        }  # fmt: skip
        if "data" in stages:
            stages["data"]["memory"] = self.memory
        return {"run": self.id, "name": self.spec.name, "runs": str(self.runs), "headline": self.headline,
                "changed_sources": self.changed, "findings": self.findings, "stages": stages}  # fmt: skip


class Work(ABC):
    """The stages of one run, in order. Each method reads the ones before through `self.run`.

    stages: what is done, in order; each word is a method `_<word>`.
    """

    stages: ClassVar[tuple[Stage, ...]]

    def __init__(self, spec: Spec, runs: Path, data: Path | None, progress: Progress, say: Callable[[str], None]):
        self.spec, self.runs, self.progress, self.say = spec, runs, progress, say
        # Made here, so that a mistake that only these see is told before hours are spent.
        self.training = Training(**spec.train)
        for make, options in ((Select, spec.data.select), (Reduce, spec.data.reduce)):
            if options is not None:
                make(**options)
        self.store = Store(**spec.data.store)
        self.place = Place(spec.path.parent, data, runs / "landing", progress)
        self.prepare()
        self.resolved = canonical(spec.resolved())
        self.origins = Origins(spec.data.sources, self.place)
        self.sources = self.origins.fingerprints
        self.run = Run(f"{spec.name}-{hash_json([self.resolved, self.sources])[:8]}", spec, runs)
        self.catalog = Catalog(runs)
        # Before this run notes itself: it may be one that was there before.
        self.before = last_data(runs, spec.name, spec.path)

    @abstractmethod
    def prepare(self) -> None:
        """What else the file says, read and looked up before anything runs."""

    @abstractmethod
    def columns(self) -> tuple[Sequence[InputSpec] | None, Sequence[OutputSpec], Mapping[str, str]]:
        """What the data stage reads: inputs (None for all), outputs, and columns to carry along as they are, with the key that asks."""

    def until(self, last: Stage) -> Run:
        """Do the stages up to `last` and keep the run's own folder."""
        run = self.run
        folder = run.runs / "runs" / run.id
        write_bytes(folder / "lode.yaml", self.spec.path.read_bytes())
        write_json(folder / "spec.json", self.resolved)
        self.catalog.start_run(run.id, self.spec.name, self.spec.path)
        status = "failed"
        try:
            for stage in self.stages[: self.stages.index(last) + 1]:
                run.folders[stage], run.manifests[stage] = getattr(self, f"_{stage}")()
                self.catalog.note_stages(run.id, {name: manifest.key for name, manifest in run.manifests.items()})
                self._said(stage, last)
                if stage == "data":
                    self._require()
            status = "done"
        finally:
            # What stopped a stage counts, not that there is no room to note it.
            with nullcontext() if status == "done" else suppress(OSError, sqlite3.Error, DiskFullError):
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
        return [f"{item['finding']}: {item['text']} {item['advice']}" for item in self.run.findings if item["severity"] != "info"]

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
        return perform(self.run.runs, stage, canonical(inputs), parents, seed, work, needed_bytes)

    def _data(self) -> tuple[Path, Manifest]:
        """Raw data -> typed, cleaned, split snapshot."""
        spec = self.spec
        data = {word: part for word, part in self.resolved["data"].items() if word not in _NO_MATTER}
        columns, outputs, extra = self.columns()
        inputs = {"data": data, "inputs": _features(columns), "outputs": self.resolved["outputs"], "sources": self.sources,
                  "extra": list(extra)}  # fmt: skip
        pretrains = self.training.pretrain is not None
        if pretrains:
            inputs["unlabelled"] = "kept"

        def work(folder: Path) -> Mapping[str, Any]:
            snapshots.begin(folder, key)
            try:
                made = ingest(
                    spec.data, columns, outputs, self.place, folder, self.progress, extra=extra,
                    keep_unlabelled=pretrains,
                )  # fmt: skip
            except (DataError, pl.exceptions.PolarsError, OSError):
                self.origins.check_unchanged()  # a file that somebody writes to explains the rest
                raise
            self.origins.check_unchanged([entry["sha256"] for entry in made.raw])
            return {
                **asdict(made), "inputs": _json(made.inputs), "outputs": _json(made.outputs), "findings": self._look(folder),
                "within": self.origins.within, "memory_bytes": Bounds(**spec.data.bounds).memory,
            }  # fmt: skip

        seed = int(self.resolved["data"]["split"].get("seed", 0))
        stage = stage_key("data", canonical(inputs), {}, seed)
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
        memory = Bounds(**self.spec.data.bounds).memory
        found = profile(folder, self.resolved["data"]["split"], self.progress, memory)
        found = without_cells(found) if snapshots.is_sealed(folder) else found
        findings = quality.look(found)
        page = render_quality(found, findings, folder, self.spec.name)
        self.say(f"data: looked at the quality in {time.monotonic() - begin_s:.1f} s ({page})")
        return findings

    def _require(self) -> None:
        """Keep the page beside the run, then hold the profile against `data.require`. Errors: DataError."""
        folder, kept = self.run.folders["data"], self.run.runs / "runs" / self.run.id / "quality.html"
        found, findings = read_json(folder / "profile.json"), self.run.findings
        if len(findings) == len(self.run.manifests["data"].result["findings"]):
            shutil.copyfile(folder / "quality.html", kept)
        else:
            write_bytes(kept, quality_page(found, findings, self.spec.name).encode("utf-8", "replace"))
        if self.spec.data.require:
            quality.require({**found, "memory": self.run.memory}, self.spec.data.require, kept)

    def _say_changes(self, key: str) -> None:
        """Name the sources that are not what they were in the last run of the file."""
        run = self.run
        is_done = read_manifest(stage_folder(run.runs, "data", key)) is not None
        then = "these bytes were read before, that result is used" if is_done else "the data stage runs again"
        run.changed = self.origins.changed(self.before, self.resolved["data"]["source"])
        for line in run.changed:
            self.say(f"data: {line}: {then}")

    def _packaged(self, before: Sequence[Stage]) -> tuple[Path, Manifest]:
        """The package stage. before: the stages that it comes from."""
        run = self.run
        parents: dict[str, str] = {name: run.manifests[name].key for name in before}
        package.forget_if_lost(run.runs, self.spec.name, parents)

        def work(folder: Path) -> Mapping[str, Any]:
            made = package.package(self.spec.name, run.runs, run.id, run.folders, run.manifests, self.catalog, self.spec.serve)
            write_json(folder / "package.json", made)
            return made

        return self._perform("package", {"name": self.spec.name, "serve": self.resolved["serve"]}, parents, 0, work)


def _features(columns: Sequence[InputSpec] | None) -> dict[str, Any] | None:
    """What the data stage needs of the inputs: not their encoders, so that another encoder reads the same snapshot."""
    if columns is None:
        return None
    return {entry.name: None if entry.feature is None else entry.feature.to_json() for entry in columns}


def _json(components: Mapping[str, Component]) -> dict[str, Any]:
    return {name: component.to_json() for name, component in components.items()}
