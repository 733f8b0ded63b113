"""What `lode data --list`, `--diff`, `--export` and `--new-key` do and print."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lode.cli.options import runs_folder

_PARTS = ("train", "validation", "test")
_MAX_LINES = 40
_MAX_WORD = 40


def add(parser: argparse.ArgumentParser) -> None:
    """Options that look at snapshots instead of making one."""
    parser.add_argument("--list", action="store_true", help="show the snapshots that are kept, and who uses them")
    parser.add_argument(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="show how two snapshots differ: keys or their beginnings, run ids, NAME or NAME@VERSION",
    )
    parser.add_argument("--export", metavar="KEY", help="write the rows of a snapshot to a file: see -o")
    parser.add_argument("-o", "--output", type=Path, help="with --export: where to, .csv, .parquet, .jsonl or .arrow")
    parser.add_argument("--part", choices=_PARTS, help="with --export: only this part")
    parser.add_argument("--new-key", type=Path, metavar="FILE", help="make a key for data.store.key_file that only you may read")


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """What one of these options asks for, None where there is none of them. Errors: DataError, ArtifactError."""
    from lode.core.errors import DataError

    asked = [word for word in ("list", "diff", "export", "new_key") if getattr(args, word)]
    if len(asked) > 1:
        raise DataError(f"lode data: found {' and '.join(_flag(word) for word in asked)}, allowed: one of them at a time.")
    for word in ("output", "part"):
        if getattr(args, word) is not None and asked != ["export"]:
            raise DataError(f"lode data: found {_flag(word)} without --export, which it goes with. Add --export KEY.")
    return _ACTIONS[asked[0]](args) if asked else None


def show(result: Mapping[str, Any]) -> str:
    """Plain lines."""
    if "snapshots" in result:
        return _list(result["snapshots"])
    if "key_file" in result:
        made = f"key {result['key_id']} is in {result['key_file']}"
        return f"{made}\nKeep a copy elsewhere: without it nothing that it encrypted can be read."
    if "output" in result:
        return f"{result['rows']:,} rows of the snapshot {result['key']}: {result['output']} ({_size(result['bytes'])})"
    return _diff(result)


def _do_list(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.snapshots import list_snapshots

    return {"snapshots": list_snapshots(runs_folder(args))}


def _do_diff(args: argparse.Namespace) -> dict[str, Any]:
    from lode.pipeline.snapshot_diff import diff

    return diff(runs_folder(args), *args.diff)


def _do_export(args: argparse.Namespace) -> dict[str, Any]:
    from lode.core.errors import DataError
    from lode.pipeline.snapshots import export

    if args.output is None:
        raise DataError("lode data --export: found no -o FILE, needed: a name that ends in .csv, .parquet, .jsonl or .arrow.")
    return export(runs_folder(args), args.export, args.output, [args.part] if args.part else _PARTS)


def _do_new_key(args: argparse.Namespace) -> dict[str, Any]:
    from lode.data.storage.keys import new_key

    return {"key_id": new_key(args.new_key).id, "key_file": str(args.new_key)}


_ACTIONS = {"list": _do_list, "diff": _do_diff, "export": _do_export, "new_key": _do_new_key}


def _flag(word: str) -> str:
    return f"--{word.replace('_', '-')}"


def _list(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return "no snapshots yet: lode data"
    rows = [("key", "name", "made", "train", "validation", "test", "own", "shared", "kept", "used by")]
    for item in found:
        users = ", ".join([*item["artifacts"], *item["runs"]]) or "nobody"
        counts = [f"{item['rows'][part]:,}" for part in _PARTS]
        size, shared = _size(item["bytes"]), _size(item["shared_bytes"])
        rows.append((item["key"], item["name"] or "", item["when"][:16], *counts, size, shared, item["kept_as"], users))
    return table(rows)


def _diff(result: Mapping[str, Any]) -> str:
    lines = [f"{side}  {result[side]['key']}  {_counts(result[side]['rows'])}" for side in ("a", "b")]
    if result["same"]:
        lines.append("the same rows in the same parts, bit by bit")
    if result["file"]:
        lines += ["", "file", *_side_by_side(result["file"], "key")]
    if result["schema"]:
        lines += ["", "columns", *_side_by_side(result["schema"], "column")]
    if not result["same"]:
        lines += ["", *_rows(result["rows"])]
    if result["columns"]:
        entries = [{**entry, "what": f"{entry['column']} {entry['figure']}"} for entry in result["columns"]]
        lines += ["", "figures", *_side_by_side(entries, "what")]
    return "\n".join(lines)


def _rows(rows: Mapping[str, Any]) -> list[str]:
    moved = ", ".join(f"{count:,} {way}" for way, count in rows["moved"].items())
    lines = [f"rows      {rows['unchanged']:,} the same, {rows['added']:,} added, {rows['removed']:,} removed"]
    lines += [f"moved     {moved}"] if moved else []
    if rows.get("cells_changed"):
        lines.append(
            f"          {rows['cells_changed']:,} of the added are removed ones with other cells: the same rows of the raw data"
        )
    for what, samples in rows["samples"].items():
        lines += [f"  {what:<8}{_sample(sample)}" for sample in samples]
    return lines


def _sample(sample: Mapping[str, Any]) -> str:
    return _word(", ".join(f"{name}={cell}" for name, cell in sample.items()), 160)


def _side_by_side(entries: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    rows = [(f"  {_word(entry[key])}", _word(_plain(entry["a"])), _word(_plain(entry["b"]))) for entry in entries[:_MAX_LINES]]
    more = len(entries) - len(rows)
    return [table(rows), *([f"  and {more:,} more, see --json"] if more else [])]


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _word(text: str, limit: int = _MAX_WORD) -> str:
    """Words of the data that a terminal can show."""
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _counts(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in rows.items())


def _size(num_bytes: int) -> str:
    from lode.core.disk import size_text

    return size_text(num_bytes)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
