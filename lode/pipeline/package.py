"""The package stage: the chosen model becomes a version in the catalogue, after its copy has answered as the original did."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lode.pipeline import artifact, loading
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import Manifest, hash_file, read_manifest
from lode.pipeline.state import read_json, write_json


def package(
    name: str,
    runs: Path,
    run: str,
    folders: Mapping[str, Path],
    manifests: Mapping[str, Manifest],
    catalog: Catalog,
    serve: Mapping[str, Any],
) -> dict[str, Any]:
    """Copy, prove, name. The same content under the same name keeps its version. serve: the file's section, for the card.

    Returns {"name", "version", "hash", "folder", "parity", "new"}. Errors: ArtifactError where the parity check differs.
    """
    chosen = manifests["train"].result["chosen"]
    incoming = runs / "artifacts" / name / ".incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    shutil.copytree(folders["train"] / "models" / chosen, incoming, ignore=shutil.ignore_patterns(".*"))
    for file in ("report.html", "report.json"):
        shutil.copyfile(folders["evaluate"] / file, incoming / file)
    model = loading.read(incoming)
    parity = model.verify()
    version = catalog.next_version(name, model.hash)
    report = read_json(folders["evaluate"] / "report.json")
    write_json(incoming / "card.json", {**_card(name, version, run, model, report, manifests), "serve": dict(serve)})
    write_json(incoming / "lineage.json", _lineage(name, version, model.hash, run, manifests))
    seal(incoming, model.hash)
    folder = artifact.artifact_folder(runs, name, version)
    # A folder without a row in the catalogue is what a killed try left; one with a row holds the same content.
    shutil.rmtree(folder, ignore_errors=True)
    incoming.rename(folder)
    version, new = catalog.add_artifact(name, model.hash, run, report["headline"])
    return {"name": name, "version": version, "hash": model.hash, "folder": str(folder), "parity": parity, "new": new}


def forget_if_lost(runs: Path, name: str, parents: Mapping[str, str]) -> None:
    """Package again where the manifest says done but the artifact folder is gone."""
    for folder in (runs / "package").glob("*"):
        manifest = read_manifest(folder)
        if manifest is None or dict(manifest.parents) != dict(parents) or manifest.inputs["name"] != name:
            continue
        if not (artifact.artifact_folder(runs, name, manifest.result["version"]) / "hash.json").is_file():
            (folder / "manifest.json").unlink()


def seal(folder: Path, content_hash: str) -> None:
    """Write hash.json last: what every file must hash to."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != "hash.json")
    write_json(folder / "hash.json", {"hash": content_hash, "files": {name: hash_file(folder / name) for name in names}})


def _card(
    name: str, version: int, run: str, model: loading.Loaded, report: Mapping[str, Any], manifests: Mapping[str, Manifest]
) -> dict[str, Any]:
    """The model card: what it is, for what, how good, on which data, at what cost."""
    trained, data = manifests["train"], manifests["data"]
    result = trained.result["models"][trained.result["chosen"]]
    assert model.folder is not None, "it was just read"
    written = read_json(model.folder / "artifact.json")
    return {
        "name": name, "version": version, "hash": model.hash, "format": written["format"], "run": run,
        "created": datetime.now(UTC).isoformat(timespec="seconds"), "headline": report["headline"],
        "family": trained.result["chosen"], "chosen_because": next(row["reason"] for row in trained.result["table"] if row["chosen"]),
        "inputs": [column.to_json() for column in model.columns], "outputs": [column.to_json() for column in model.answers],
        "rows": data.result["rows"], "raw": data.result["raw"], "report": report.get("outputs"), "value": report.get("value"),
        "cost": result["cost"], "seconds_per_1000": result["seconds_per_1000"], "training_seconds": trained.seconds,
        "versions": trained.versions, "hardware": trained.hardware,
        "limits": "Measured on the test rows of the snapshot only. Not tested for people or times that those rows do not cover.",
    }  # fmt: skip


def _lineage(name: str, version: int, content_hash: str, run: str, manifests: Mapping[str, Manifest]) -> dict[str, Any]:
    """How it came about, back to the hash of the raw bytes."""
    stages = [
        {
            "stage": stage, "key": manifest.key, "parents": manifest.parents, "started": manifest.started, "seconds": manifest.seconds,
            "seed": manifest.seed, "versions": manifest.versions, "hardware": manifest.hardware,
        }
        for stage, manifest in manifests.items()
    ]  # fmt: skip
    data = manifests["data"].result
    return {
        "name": name, "version": version, "hash": content_hash, "run": run, "stages": stages,
        "snapshot": data["content_hash"], "rows": data["rows"], "raw": data["raw"],
    }  # fmt: skip
