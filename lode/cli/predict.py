"""Predict every row of a file with a packaged model; rejected rows go beside the output with their reasons."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lode.cli.options import add_runs, runs_folder
from lode.cli.progress import ProgressBar


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="model name, or the path of an artifact folder")
    parser.add_argument("rows", help="file or folder with rows: csv, tsv, parquet, jsonl, pictures in a folder, zip or tar")
    parser.add_argument("-o", "--output", required=True, type=Path, help="where answers go: .csv, .parquet or .jsonl")
    parser.add_argument("--source", default="{}", help="options of the source as YAML: --source \"{type: csv, separator: ';'}\"")
    parser.add_argument("--version", type=int, help="version of the model (default: the one in production)")
    parser.add_argument("--keep", action="store_true", help="write the input columns beside the answers")
    add_runs(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lode.data.place import Place
    from lode.pipeline.loading import load
    from lode.pipeline.predict import predict_file, source_of

    options = _source_options(args.source)
    model = load(args.name, runs_folder(args), args.version)
    with ProgressBar(silent=args.json) as progress:
        result = predict_file(model, source_of(args.rows, options), args.output, Place(Path.cwd(), None), args.keep, progress)
    return {"model": model.name, "version": model.version, "hash": model.hash, **result}


def _source_options(text: str) -> dict[str, Any]:
    """`--source`, read as lode.yaml is. Errors: DataError for what is no mapping of options, or names the path again."""
    from lode.core.errors import DataError
    from lode.core.yaml_lines import read_yaml

    document = read_yaml(text.encode())
    if document.problems:
        raise DataError(f"--source: {document.problems[0][2]} Write it as {{type: csv, separator: ';'}}.")
    options = {} if document.tree is None else document.tree
    if not isinstance(options, dict):
        raise DataError(f"--source: found {text!r}, allowed: a mapping such as {{type: csv}}.")
    if "path" in options:
        raise DataError("--source: found path, allowed: other options of the source. The path is the argument before -o.")
    return options


def show(result: dict[str, Any]) -> str:
    who = f"{result['model']} version {result['version']}"
    where = f": {result['output']}" if result["output"] else ", so no output was written"
    lines = [f"{result['predicted']:,} of {result['rows']:,} rows predicted with {who}{where}"]
    if result["rejected"]:
        lines.append(f"{result['rejected']:,} rows rejected, with their reasons: {result['rejected_output']}")
    for name, count in result["unseen"].items():
        lines.append(f"{count:,} cells of {name} hold a value that training never saw")
    return "\n".join(lines)
