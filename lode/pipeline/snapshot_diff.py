"""How two snapshots differ: columns, rows, figures per column, and what the files said.

Read lode/pipeline/snapshots.py first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lode.data import snapshot
from lode.data.contracts import ROW
from lode.data.split import PARTS
from lode.pipeline.manifest import Manifest
from lode.pipeline.snapshots import find, opened
from lode.pipeline.state import read_json

_NUM_SAMPLES = 5
_MAX_CHARS = 80
_FIGURES = (("missing", "share"), ("distinct", "values"), ("low",), ("high",), ("mean",), ("std",))
"""Of the profile, what is compared for each column; all of them are exact or estimated in the same way on both sides."""


def diff(runs: Path, first: str, second: str) -> dict[str, Any]:
    """What the second snapshot has that the first has not, and the other way round. Words as in `snapshots.find`.

    Rows are equal where their cells are, in the columns that both have; their number in the raw data does not count.
    Returns {"a", "b", "same", "schema", "rows", "columns", "file"}.
    """
    (folder_a, manifest_a), (folder_b, manifest_b) = find(runs, first), find(runs, second)
    with opened(runs, folder_a) as a, opened(runs, folder_b) as b:
        rows = _rows(a, b, _raw(manifest_a) == _raw(manifest_b))
        schema = _schema(_columns(a), _columns(b))
        columns = _figures(_columns(a), _columns(b), read_json(a / "profile.json"), read_json(b / "profile.json"))
    file = [{"key": key, "a": old, "b": new} for key, old, new in _changes(_file(manifest_a), _file(manifest_b), "")]
    return {
        "a": _about(first, folder_a, manifest_a), "b": _about(second, folder_b, manifest_b),
        "same": manifest_a.result["content_hash"] == manifest_b.result["content_hash"],
        "schema": schema, "rows": rows, "columns": columns, "file": file,
    }  # fmt: skip


def _about(word: str, folder: Path, manifest: Manifest) -> dict[str, Any]:
    return {"word": word, "key": folder.name, "hash": manifest.result["content_hash"], "rows": dict(manifest.result["rows"])}


def _raw(manifest: Manifest) -> list[str]:
    return [entry["sha256"] for entry in manifest.result["raw"]]


def _file(manifest: Manifest) -> dict[str, Any]:
    """What decided the snapshot: the data section with every default, inputs, outputs, sha256 of the raw bytes."""
    return {"data": manifest.inputs["data"], "inputs": manifest.inputs["inputs"], "outputs": manifest.inputs["outputs"],
            "raw": manifest.inputs["sources"]}  # fmt: skip


def _columns(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(folder / "schema.json")["columns"]
    return found


def _schema(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns that only one has, or that are something else in the other."""
    found = []
    for name in dict.fromkeys([*a, *b]):
        old, new = (_role(side[name]) if name in side else None for side in (a, b))
        if old != new:
            found.append({"column": name, "a": old, "b": new})
    return found


def _role(entry: Mapping[str, Any]) -> str:
    return " ".join(str(entry[word]) for word in ("role", "type") if entry.get(word))


def _changes(a: Any, b: Any, at: str) -> list[tuple[str, Any, Any]]:
    """Dotted key, value in a, value in b, wherever two trees of JSON differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = dict.fromkeys([*a, *b])
        return [line for key in keys for line in _changes(a.get(key), b.get(key), f"{at}.{key}" if at else str(key))]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [line for place, (old, new) in enumerate(zip(a, b, strict=True)) for line in _changes(old, new, f"{at}[{place}]")]
    return [] if a == b else [(at, a, b)]


def _figures(
    schema_a: Mapping[str, Any], schema_b: Mapping[str, Any], a: Mapping[str, Any], b: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Figures that differ, of the columns that both have."""
    found = []
    for name in a["columns"]:
        if name not in b["columns"]:
            continue
        for path in _FIGURES:
            old, new = (_at(side["columns"][name], path) for side in (a, b))
            if old != new:
                found.append({"column": name, "figure": " ".join(path), "a": old, "b": new})
    return found


def _at(record: Any, path: Sequence[str]) -> Any:
    for word in path:
        record = record.get(word) if isinstance(record, Mapping) else None
    return record


def _rows(a: Path, b: Path, same_raw: bool) -> dict[str, Any]:
    """Rows in both, added, removed, in another part; a few of each. Equal rows are counted, so that one of two copies can be removed."""
    names = _common(a, b)
    hashed = pl.concat([_hashed(folder, part, names, side) for side, folder in (("a", a), ("b", b)) for part in PARTS])
    counts = [
        ((pl.col("side") == side) & (pl.col("part") == part)).sum().cast(pl.Int64).alias(f"{side}_{part}")
        for side in "ab"
        for part in PARTS
    ]
    first = [pl.col(ROW).filter(pl.col("side") == side).min().alias(f"row_{side}") for side in "ab"]
    table = hashed.group_by("hash").agg(*counts, *first).collect(engine="streaming")
    found: dict[str, Any] = {"compared_columns": [name for name, _ in names], "unchanged": 0, "moved": {}}
    for part in PARTS:
        table, found["unchanged"] = _matched(table, part, part, found["unchanged"])
    moved_rows = pl.Series("moved", [False] * table.height)
    for old in PARTS:
        for new in PARTS:
            before = table["a_" + old]
            table, count = _matched(table, old, new, 0)
            if count:
                found["moved"][f"{old} to {new}"] = count
                moved_rows = moved_rows | (before != table["a_" + old])
    left = table.with_columns(
        removed=pl.sum_horizontal(f"a_{part}" for part in PARTS), added=pl.sum_horizontal(f"b_{part}" for part in PARTS)
    )
    removed, added = left.filter(pl.col("removed") > 0), left.filter(pl.col("added") > 0)
    found |= {"added": int(left["added"].sum()), "removed": int(left["removed"].sum())}
    if same_raw:
        found["cells_changed"] = added.join(removed, left_on="row_b", right_on="row_a", how="semi").height
    samples = {"added": (b, added["row_b"]), "removed": (a, removed["row_a"]), "moved": (b, table.filter(moved_rows)["row_b"])}
    found["samples"] = {word: _sample(folder, rows) for word, (folder, rows) in samples.items() if len(rows)}
    return found


def _matched(table: pl.DataFrame, old: str, new: str, total: int) -> tuple[pl.DataFrame, int]:
    """Take rows of part `old` of a together with equal ones of part `new` of b, as many as both have."""
    matched = table.select(pl.min_horizontal(f"a_{old}", f"b_{new}")).to_series()
    left = table.with_columns((table[f"a_{old}"] - matched).alias(f"a_{old}"), (table[f"b_{new}"] - matched).alias(f"b_{new}"))
    return left, total + int(matched.sum())


def _common(a: Path, b: Path) -> list[tuple[str, bool]]:
    """Columns that both have, and whether they must be compared as text, for their types differ."""
    schemas = [snapshot.scan(folder, "train").collect_schema() for folder in (a, b)]
    plain = [{name: _plain_type(dtype) for name, dtype in schema.items() if name != ROW} for schema in schemas]
    return sorted((name, plain[0][name] != plain[1][name]) for name in plain[0] if name in plain[1])


def _plain_type(dtype: pl.DataType) -> pl.DataType:
    return pl.String() if dtype == pl.Enum else dtype


def _hashed(folder: Path, part: str, names: Sequence[tuple[str, bool]], side: str) -> pl.LazyFrame:
    scan = snapshot.scan(folder, part)
    schema = scan.collect_schema()
    cells = [
        pl.col(name).cast(pl.String, strict=False) if as_text or schema[name] == pl.Enum else pl.col(name)
        for name, as_text in names
    ]
    return scan.select(pl.struct(cells).hash(1).alias("hash"), ROW, pl.lit(side).alias("side"), pl.lit(part).alias("part"))


def _sample(folder: Path, rows: pl.Series) -> list[dict[str, Any]]:
    """The first few of these rows, their part and their cells as short words."""
    wanted = rows.sort().head(_NUM_SAMPLES).to_list()
    found = []
    for part in PARTS:
        frame = snapshot.scan(folder, part).filter(pl.col(ROW).is_in(wanted)).collect(engine="streaming")
        found += [{"split": part, **{name: shown(cell) for name, cell in row.items()}} for row in frame.iter_rows(named=True)]
    return sorted(found, key=lambda row: int(row[ROW]))


def shown(cell: Any) -> Any:
    """A cell as JSON can have it: numbers as they are, else short text; bytes as their number."""
    if cell is None or isinstance(cell, bool | int | float):
        return cell
    text = f"{len(cell):,} bytes" if isinstance(cell, bytes) else str(cell)
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 3] + "..."
