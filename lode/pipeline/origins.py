"""The sources of a run as they are now: their hashes, what changed since the last run, and whether they stay as they are while read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lode.core import disk
from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.access import watch
from lode.data.place import Place
from lode.data.split import PARTS
from lode.pipeline.catalog import Catalog
from lode.pipeline.manifest import Manifest, read_manifest, stage_folder

_SHOWN = 8
"""Digits of a hash in a message."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """One source. stamps: of its files, taken before they were hashed. within: as lode.data.contracts.Source has it."""

    part: str
    index: int
    component: Component
    stamps: Mapping[Path, watch.Stamp | None]
    sha256: str
    num_bytes: int
    within: Mapping[str, Mapping[str, Any]]


class Origins:
    """Hashes every source; rows that come over a connection land on disk for that (lode.data.access.landing).

    sources: part -> components.
    Errors: DataError where a source cannot be read.
    """

    def __init__(self, sources: Mapping[str, Sequence[Component]], place: Place) -> None:
        self._all = [
            _origin(part, index, component, place)
            for part in ("all", *PARTS)
            for index, component in enumerate(sources.get(part, ()))
        ]
        self.fingerprints = {part: [item.sha256 for item in self._all if item.part == part] for part in sources}

    @property
    def within(self) -> dict[str, dict[str, Any]]:
        """What `changed` reads in the manifest of the last run: "PART INDEX" of each source made of others -> these."""
        return {f"{item.part} {item.index}": dict(item.within) for item in self._all if item.within}

    @property
    def num_bytes(self) -> int:
        """Size of all raw data, compressed ones as they would be unpacked (about eight times as large)."""
        packed = (".gz", ".zst", ".xz", ".zip", ".parquet")
        return sum(
            (item.num_bytes or 0) * (8 if str(item.component.options.get("path", "")).endswith(packed) else 1) for item in self._all
        )

    def changed(self, before: Manifest | None, resolved: Mapping[str, Any]) -> list[str]:
        """A sentence (without its end) for every source that the file still names and that has other bytes than before.

        before: the data stage of the last run. resolved: the file's sources with all defaults: part -> list.
        """
        if before is None:
            return []
        then = _then(before)
        found = []
        for item in self._all:
            old = then.get((item.part, item.index))
            if old is not None and old["component"] == resolved[item.part][item.index] and old["sha256"] != item.sha256:
                named = _sides(old["within"], item.within) or [_figures(old, item.sha256, item.num_bytes)]
                found.append(f"{watch.label(item.component)} changed since the last run ({'; '.join(named)})")
        return found

    def check_unchanged(self, read: Sequence[str] = ()) -> None:
        """Hold the files against what they were when they were hashed. read: sha256 of each source as it was read, in order.

        Errors: DataError naming the file that somebody writes to.
        """
        for item in self._all:
            for path, stamp in item.stamps.items():
                now = watch.stamp(path)
                if now != stamp:
                    sizes = _sizes(stamp[0], now[0], " (") if stamp and now else ""
                    name = f"{path.name} of {watch.label(item.component)}" if len(item.stamps) > 1 else watch.label(item.component)
                    raise _written_to(name, f"{sizes})" if sizes else "")
        for item, sha256 in zip(self._all, read, strict=False):
            if sha256 != item.sha256:
                raise _written_to(watch.label(item.component), f" (sha256 {item.sha256[:_SHOWN]}.. -> {sha256[:_SHOWN]}..)")


def last_data(runs: Path, name: str, spec_path: Path) -> Manifest | None:
    """The data stage of the last run of this file that came so far, as far as it is kept."""
    folders = [
        (row["started"], stage_folder(runs, "data", row["stages"]["data"]))
        for row in Catalog(runs).runs()
        if row["name"] == name and row["spec_path"] == str(spec_path) and "data" in row["stages"]
    ]
    kept = [(started, folder.stat().st_mtime_ns, folder) for started, folder in folders if folder.is_dir()]
    return read_manifest(max(kept)[2]) if kept else None


def _origin(part: str, index: int, component: Component, place: Place) -> _Origin:
    stamps = {path: watch.stamp(path) for path in watch.files_of(component, place)}
    source = REGISTRIES["source"].create(component, place)
    sha256 = source.fingerprint()
    on_disk = sum(stamp[0] for stamp in stamps.values() if stamp)
    return _Origin(part, index, component, stamps, sha256, on_disk or source.num_bytes, source.within)


def _then(manifest: Manifest) -> dict[tuple[str, int], dict[str, Any]]:
    """What the sources were: (part, index) -> component, sha256, bytes, within."""
    components, hashes = manifest.inputs["data"]["source"], manifest.inputs["sources"]
    within = manifest.result.get("within", {})
    order = [(part, index) for part in ("all", *PARTS) for index in range(len(hashes.get(part, ())))]
    num_bytes = [entry["bytes"] for entry in manifest.result["raw"]]
    return {
        (part, index): {
            "component": components[part][index],
            "sha256": hashes[part][index],
            "bytes": size,
            "within": within.get(f"{part} {index}", {}),
        }
        for (part, index), size in zip(order, num_bytes, strict=False)
    }


def _sides(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which of the sources that one is made of changed, and how; nothing where that is not known."""
    return [
        f"{side}, {facts['name']}: {_figures(before[side], facts['sha256'], facts['bytes'])}"
        for side, facts in now.items()
        if side in before and before[side]["sha256"] != facts["sha256"]
    ]


def _figures(before: Mapping[str, Any], sha256: str, num_bytes: int) -> str:
    return f"sha256 {before['sha256'][:_SHOWN]}.. -> {sha256[:_SHOWN]}..{_sizes(before['bytes'], num_bytes, ', ')}"


def _written_to(name: str, how: str) -> DataError:
    return DataError(f"data: {name} changed while it was read{how}. Nothing was kept; run again when nobody writes to it.")


def _sizes(before: int, now: int, between: str) -> str:
    """`, 2.1 MB -> 2.3 MB` where both are known and look different."""
    texts = disk.size_text(before), disk.size_text(now)
    return f"{between}{texts[0]} -> {texts[1]}" if before and now and texts[0] != texts[1] else ""
