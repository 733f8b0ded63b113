"""Ten million dirty rows to clean, split, profiled ones, within two gigabytes: lode's data stage against pandas and ydata-profiling.

    python benchmarks/clean.py [--quick] [--rows 50000000 --ours-only] [--peer bare | --peer same]
                               [--profile ROWS] [--repeats N] [--keep FOLDER]

The table has 20 columns: UCI Adult (15) beside five of the UCI credit-default set, rows repeated, with noise (seeded): numbers shaken by
1 %, 2 % of the cells missing, 0.1 % outliers (a hundred times too large), 1 % of the rows repeated, thousands separators and dollar signs
in two columns. 10,000,000 rows (300,000 with --quick).

(a) All sides: read, mend numbers that were written for people, drop repeated rows, split 70/10/20, fill missing cells with the training
median or mode, clip outliers at 1.5 interquartile ranges of the training rows, profile every column (missing, distinct, mean, deviation,
quantiles, histogram of 20 bins, most frequent words, relation to the target), write three parts as Parquet. pandas runs twice:
"bare" does that and nothing else, and does not notice that two columns (gain, loss) have no scale: it clips all of both to 0.
"same" also does what we do on the way: sha256 of the raw file and of the parts, a reader that refuses lines of another width (pyarrow's,
on all cores), every changed cell as a line of a log in Parquet (row, column, before, after, cleaner, why, split; words as dictionaries),
a report of counts and samples per cleaner, column and part; columns without a scale are left alone. Rows kept and cells changed are held
against ours: equal, but for outliers, whose edges come from another random split (1 % apart at most), and for one cell in two
thousand of two columns that says "$1991,300": no number to us, who fill it as missing, and read on by the peer.
What neither peer does: a type guessed for each column (they are told which two are written for people), which earlier row a repeated one
repeats, bounded memory, and in the profile leaks, drift, rows on both sides of the split and personal data. What we do not: our parts
hold the mended cells, and fills and clips are logged and done again for each reader; the peers' parts hold them filled and clipped.
The peers do it in memory, with the bound that the machine sets (10,000,000 rows: 7 GB); ours is given `memory: 2GB`.
(b) The profile alone, of the same rows as Parquet, 1,000,000 of them (30,000 with --quick), against ydata-profiling with `minimal=True`.

Time is that of the whole process; processor seconds are those of all its threads; memory is the highest RssAnon (mapped files apart),
polled every 20 ms. Peers live in environments of their own under ~/.cache/lode-bench.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from clean_peers import BARE, SAME
from table_path import COLUMNS, ROOT, Figures, measured

HOME = Path.home() / ".cache" / "lode-bench"
PEERS = {"clean": ("pandas==3.*", "pyarrow", "scikit-learn==1.*"), "ydata": ("ydata-profiling==4.*", "pyarrow", "setuptools<81")}
CREDIT = ("LIMIT_BAL", "BILL_AMT1", "BILL_AMT2", "PAY_AMT1", "PAY_AMT2")
NUMBERS = ("age", "fnlwgt", "education_num", "gain", "loss", "hours", *CREDIT)
WRITTEN = ("gain", "LIMIT_BAL")
"""Numbers with thousands separators and a dollar sign."""
MEMORY_BYTES = 2_000_000_000
CHUNK_ROWS = 250_000
SMALL_ROWS = 20_000
POLL_S = 0.02

OURS = r"""
import sys
from pathlib import Path
from lode.core.allocation import keep_freed_memory
keep_freed_memory()  # as the command does
from lode.core.spec_records import DataSpec, OutputSpec
from lode.core.types import Component
from lode.data.ingest import ingest
from lode.data.place import Place
from lode.data.arrays import no_progress
from lode.data.quality.profile import profile

source, out = Path(sys.argv[1]), Path(sys.argv[2])
clean = (
    Component("types"), Component("duplicates"), Component("missing", {"numbers": "median", "categories": "mode"}),
    Component("outliers", {"method": "iqr", "limit": 1.5, "action": "clip"}),
)
data = DataSpec(
    {"all": (Component("csv", {"path": source.name}),)}, clean, {"validation": 0.1, "test": 0.2}, bounds={"memory": int(sys.argv[3])}
)
made = ingest(data, None, (OutputSpec("income", Component("binary", {"positive": ">50K"})),), Place(source.parent), out)
profile(out, {"by": "random"}, no_progress)
print(made.rows)
"""

PROFILE_OURS = r"""
import sys
from pathlib import Path
from lode.core.allocation import keep_freed_memory
keep_freed_memory()  # as the command does
from lode.data.arrays import no_progress
from lode.data.quality.profile import profile
from lode.data.quality.verdict import look
from lode.pipeline.quality import render

found = profile(Path(sys.argv[1]).parent, {"by": "random"}, no_progress)
render(found, look(found), Path(sys.argv[2]), "table")
"""

PROFILE_PEER = r"""
import sys
import pandas as pd
from ydata_profiling import ProfileReport
ProfileReport(pd.read_parquet(sys.argv[1]), minimal=True, progress_bar=False).to_file(sys.argv[2] + "/report.html")
"""

PANDAS = {"bare": BARE, "same": SAME}
MEASURES = (
    ("seconds", "seconds", "s", 5.0),
    ("processor seconds", "cpu_seconds", "s", None),
    ("memory", "memory_mib", "MiB", None),
)
"""What is reported: name, field of Figures, unit, aim."""
OUTLIERS_APART = 0.01
"""Edges come from training rows, and the two sides draw these differently."""


def real_rows(num_rows: int) -> pl.DataFrame:
    """So many rows of the two real tables side by side."""
    data = Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data")) / "tabular"
    adult, credit = data / "adult_train.csv.gz", data / "uci_credit_default_30k.csv.gz"
    for path in (adult, credit):
        if not path.is_file():
            sys.exit(f"{path}: not there. Set LODE_DATA to a folder with tabular/{path.name}.")
    left = pl.read_csv(gzip.decompress(adult.read_bytes()), has_header=False, new_columns=COLUMNS.split(","), infer_schema=False)
    left = left.select(pl.all().str.strip_chars()).filter(pl.col("income").is_in(["<=50K", ">50K"]))
    right = pl.read_csv(gzip.decompress(credit.read_bytes()), infer_schema=False).select(CREDIT)
    rows = np.arange(num_rows)
    both = pl.concat([left[rows % left.height], right[rows * 7 % right.height]], how="horizontal")
    return both.with_columns(pl.col(name).cast(pl.Float64, strict=False) for name in NUMBERS)


def dirty(rows: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Noise, outliers, missing cells, repeated rows, numbers as people write them."""
    count = rows.height
    made = []
    for name in rows.columns:
        column = rows[name]
        if name in NUMBERS:
            values = np.round(column.to_numpy() * (1 + 0.01 * rng.standard_normal(count)), 1)
            values[rng.random(count) < 0.001] *= 100
            column = pl.Series(name, values)
        if name in WRITTEN:
            whole = pl.Series(name, np.nan_to_num(column.to_numpy()).astype(np.int64).astype(str))
            column = whole.str.replace_all(r"(\d)(\d{3})$", "$1,$2")
            column = "$" + column if name == "LIMIT_BAL" else column
        if name != "income":
            missing = pl.Series(rng.random(count) < 0.02)
            column = (
                column.set(missing, None)
                if column.dtype != pl.String
                else column.to_frame().select(pl.when(missing).then(None).otherwise(pl.first())).to_series()
            )
        made.append(column.rename(name))
    frame = pl.DataFrame(made)
    repeated = np.where(rng.random(count) < 0.01, rng.integers(0, count, count), np.arange(count))
    return frame[repeated]


def table(path: Path, num_rows: int) -> Path:
    """The CSV, written in chunks; the same for the same number of rows."""
    if path.is_file():
        return path
    rng = np.random.default_rng(0)
    base = real_rows(CHUNK_ROWS)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        for start in range(0, num_rows, CHUNK_ROWS):
            dirty(base.head(num_rows - start), rng).write_csv(file, include_header=start == 0)
    os.replace(temporary, path)
    return path


def peer_python(name: str) -> Path:
    """The interpreter of a peer; made once."""
    python = HOME / name / "bin" / "python"
    if not python.is_file():
        print(f"making {HOME / name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(HOME / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS[name]], check=True)
    return python


def alternate(
    sides: Mapping[str, list[str]], warm: Mapping[str, list[str]], folder: Path, repeats: int
) -> tuple[dict[str, list[Figures]], dict[str, dict[str, Any]]]:
    """Alternating runs of all sides, and the last `report.json` of each that wrote one.

    warm: the same on something small, run once and not counted: all sides have their bytecode cached, as installed packages have.
    """
    for side, command in warm.items():
        measured([part.replace("{out}", str(_fresh(folder / side))) for part in command], folder / "bytecode", POLL_S)
    found: dict[str, list[Figures]] = {side: [] for side in sides}
    reports: dict[str, dict[str, Any]] = {}
    for _ in range(repeats):
        for side, command in sides.items():
            out = _fresh(folder / side)
            found[side].append(measured([part.replace("{out}", str(out)) for part in command], folder / "bytecode", POLL_S))
            print(f"{side}: {found[side][-1]}", file=sys.stderr)
            report = out / "report.json"
            if report.is_file():
                reports[side] = json.loads(report.read_text(encoding="utf-8"))
    return found, reports


def _fresh(folder: Path) -> Path:
    """An empty folder of this name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def check_same_work(ours: Mapping[str, Any], peer: Mapping[str, Any]) -> None:
    """End the program where the two have not kept as many rows, or not changed as many cells. Both: what is in `report.json`."""
    lost = sum(line["lost"] for line in ours["cleaning"] if line["cleaner"] == "types")
    allowed = {"read": 0, "kept": 0, "types": 0, "missing": lost, "outliers": OUTLIERS_APART * ours["cells_changed"]["outliers"]}
    for what, apart in allowed.items():
        left, right = ({**report["rows"], **report["cells_changed"]}[what] for report in (ours, peer))
        said = f"{what}: ours {left:,}, pandas {right:,}"
        print(said, file=sys.stderr)
        if abs(left - right) > apart:
            sys.exit(f"{said}; the two do not do the same")


def record(name: str, peer: str, unit: str, ours: list[float], theirs: list[float], aim: float | None) -> dict[str, object]:
    """Medians and the ratio of each pair of runs."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    ratio = statistics.median(theirs) / statistics.median(ours)
    return {
        "name": name, "ours": round(statistics.median(ours), 3), "peer": round(statistics.median(theirs), 3), "peer_name": peer,
        "unit": unit,
        "ratio": round(ratio, 2), "spread": [round(ratios[0], 2), round(ratios[-1], 2)], "aim": aim, "holds": aim is None or ratio >= aim,
    }  # fmt: skip


def bound(name: str, ours: list[float]) -> dict[str, object]:
    """Peak memory against the bound that the file sets."""
    peak = max(ours)
    return {
        "name": name, "ours": round(peak), "peer": round(MEMORY_BYTES / 2**20), "peer_name": "the bound", "unit": "MiB",
        "ratio": round(MEMORY_BYTES / 2**20 / peak, 2), "spread": [], "aim": 1.0, "holds": peak <= MEMORY_BYTES / 2**20,
    }  # fmt: skip


def cleaning(folder: Path, source: Path, repeats: int, peers: Sequence[str]) -> list[dict[str, object]]:
    """Part (a), against these of PANDAS."""
    small = table(folder / "small.csv", SMALL_ROWS)
    sides, warm = (
        {"ours": [sys.executable, "-c", OURS, str(rows), "{out}", str(MEMORY_BYTES)]}
        | {peer: [str(peer_python("clean")), "-c", PANDAS[peer], str(rows), "{out}"] for peer in peers}
        for rows in (source, small)
    )
    found, reports = alternate(sides, warm, folder, repeats)
    if "same" in peers:
        check_same_work(reports["ours"], reports["same"])
    ours = found["ours"]
    records = [bound("clean memory within the bound", [run.memory_mib for run in ours])]
    for peer in peers:
        for what, key, unit, aim in MEASURES:
            pair = [[float(getattr(run, key)) for run in runs] for runs in (ours, found[peer])]
            records.append(record(f"clean {what}, {peer}", f"pandas, {peer}", unit, *pair, aim=aim))
    return records


def profiling(folder: Path, num_rows: int, repeats: int) -> dict[str, object]:
    """Part (b): our snapshot of a table, and the same rows as one Parquet file for the peer."""
    source = table(folder / f"profile-{num_rows}.csv", num_rows)
    snapshot = folder / "snapshot"
    snapshot.mkdir()
    command = [sys.executable, "-c", OURS, str(source), str(snapshot), str(MEMORY_BYTES)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    whole = folder / "whole.parquet"
    pl.concat(pl.read_parquet(snapshot / f"{part}.parquet") for part in ("train", "validation", "test")).drop(
        "__row__"
    ).with_columns(pl.selectors.by_dtype(pl.Enum).cast(pl.String)).write_parquet(whole)
    sides = {
        "ours": [sys.executable, "-c", PROFILE_OURS, str(snapshot / "train.parquet"), "{out}"],
        "ydata": [str(peer_python("ydata")), "-c", PROFILE_PEER, str(whole), "{out}"],
    }
    found, _ = alternate(sides, sides, folder, repeats)
    seconds = [[run.seconds for run in found[side]] for side in sides]
    return record("profile seconds", "ydata-profiling, minimal", "s", *seconds, aim=10.0)


def main() -> int:
    """Measure, print a table and one line of JSON; 1 where an aim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="300,000 rows")
    parser.add_argument("--rows", type=int, default=None, help="rows of part (a)")
    parser.add_argument("--ours-only", action="store_true", help="only whether the bound holds")
    parser.add_argument("--peer", choices=tuple(PANDAS), default=None, help="part (a) alone, against this pandas")
    parser.add_argument("--profile", type=int, default=None, metavar="ROWS", help="part (b) alone, of so many rows")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, default=None, help="a folder where the tables stay for the next time")
    options = parser.parse_args()
    num_rows = options.rows or (300_000 if options.quick else 10_000_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = options.keep or folder
        home.mkdir(parents=True, exist_ok=True)
        peers = () if options.ours_only else (options.peer,) if options.peer else tuple(PANDAS)
        records = []
        if options.profile is None:
            records += cleaning(folder, table(home / f"dirty-{num_rows}.csv", num_rows), options.repeats, peers)
        if not options.ours_only and options.peer is None:
            records.append(profiling(folder, options.profile or (30_000 if options.quick else 1_000_000), options.repeats))
    print(f"{'':32}{'ours':>10}{'peer':>10}{'ratio':>8}  spread         aim")
    for line in records:
        spread = " to ".join(str(value) for value in line["spread"])
        figures = f"{line['ours']:>10}{line['peer']:>10}{line['ratio']:>8}"
        print(f"{line['name']:32}{figures}  {spread:<14} {line['aim'] or ''}  {line['peer_name']}")
    print(json.dumps(records))
    return 0 if all(line["holds"] for line in records) else 1


if __name__ == "__main__":
    sys.exit(main())
