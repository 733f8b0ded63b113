"""The work on somebody else's model: one stage, package. Read `lode/pipeline/work.py` first."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from lode.core.errors import SpecError
from lode.core.spec import InputSpec, OutputSpec
from lode.pipeline import artifact, package
from lode.pipeline.manifest import Manifest
from lode.pipeline.providers import notes_of, options_of, providers_of
from lode.pipeline.state import write_json
from lode.pipeline.upstream import FORMAT, write
from lode.pipeline.work import Run, Stage, Work


class UpstreamWork(Work):
    """One stage: the model is packaged as it stands in the file."""

    stages: ClassVar[tuple[Stage, ...]] = ("package",)

    def prepare(self) -> None:
        self.providers = providers_of(self.spec.model, self.place)

    def columns(self) -> tuple[Sequence[InputSpec] | None, Sequence[OutputSpec], Mapping[str, str]]:
        return None, (), {}

    def until(self, last: Stage) -> Run:
        if last not in self.stages:
            raise SpecError(
                f"{self.spec.path}:model: found somebody else's model, which has no stage {last}, allowed: package. Use `lode run`."
            )
        return super().until(last)

    def _package(self) -> tuple[Path, Manifest]:
        """The providers and their prices -> a version in the catalogue."""
        name, run = self.spec.name, self.run
        inputs = {
            "name": name, "model": self.resolved["model"], "serve": self.resolved["serve"],
            "prices": [item.text for item in self.providers],
        }  # fmt: skip
        package.forget_if_lost(run.runs, name, {})

        def work(folder: Path) -> Mapping[str, Any]:
            made = self._packaged_as(Path(run.runs / "artifacts" / name / ".incoming"))
            write_json(folder / "package.json", made)
            return {**made, "notes": notes_of(self.providers)}

        return self._perform("package", inputs, {}, 0, work)

    def _packaged_as(self, incoming: Path) -> dict[str, Any]:
        name, run = self.spec.name, self.run
        shutil.rmtree(incoming, ignore_errors=True)
        content_hash = write(self.providers, options_of(self.spec.model), incoming)
        version = self.catalog.next_version(name, content_hash)
        headline = "; ".join(notes_of(self.providers))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        card = {
            "name": name, "version": version, "hash": content_hash, "format": FORMAT, "run": run.id, "created": created,
            "headline": headline, "family": "upstream", "inputs": [], "outputs": [], "serve": dict(self.spec.serve),
            "limits": "Trained and run by somebody else: nothing here was measured.",
        }  # fmt: skip
        write_json(incoming / "card.json", card)
        lineage = {"name": name, "version": version, "hash": content_hash, "run": run.id, "stages": [], "rows": {}, "raw": []}
        write_json(incoming / "lineage.json", {**lineage, "providers": notes_of(self.providers)})
        package.seal(incoming, content_hash)
        folder = artifact.artifact_folder(run.runs, name, version)
        # A folder without a row in the catalogue is what a killed try left; one with a row holds the same content.
        shutil.rmtree(folder, ignore_errors=True)
        incoming.rename(folder)
        version, new = self.catalog.add_artifact(name, content_hash, run.id, headline)
        return {"name": name, "version": version, "hash": content_hash, "folder": str(folder), "new": new}
