"""CSV to trained-on tensors: lode's data path against pandas and scikit-learn doing the same work.

    python benchmarks/table_path.py [--quick]

The table is UCI Adult (tabular/adult_train.csv.gz under LODE_DATA) with its rows repeated to 1,000,000 (100,000 with --quick).
Ours: `ingest` (hash, read, infer types, stratified split, snapshot in Parquet), `Preprocessor.fit`, `write_arrays` for the three parts.
Peer: `read_csv`, two stratified `train_test_split`, median imputation and `StandardScaler` for numbers, `OrdinalEncoder` with unknowns for
words, float32 and int32 arrays saved as .npy. All start as a fresh process and end with arrays on disk that can be memory-mapped. Ours has
hashed the raw file besides, written the three parts as Parquet, hashed them, and reads them back as training does; so the peer runs twice:
"bare", which leaves all that out, and "same", which does it too (sha256, to_parquet, read_parquet). Time is that of the whole process,
imports included; processor seconds are those of all its threads; memory is the highest RssAnon (files that are mapped do not count), polled
every 5 ms. Runs alternate. Each peer lives in an environment of its own under ~/.cache/lode-bench (pandas writes Parquet with pyarrow, and
keeps words in another way where that is installed); all sides have their bytecode cached, as installed packages have.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PEER_HOME = Path.home() / ".cache" / "lode-bench"
PEER_PACKAGES = {
    "table-path": ("pandas==3.*", "scikit-learn==1.*"),
    "table-path-same": ("pandas==3.*", "scikit-learn==1.*", "pyarrow"),
}
COLUMNS = "age,workclass,fnlwgt,education,education_num,marital,occupation,relationship,race,sex,gain,loss,hours,country,income"
AIM_SECONDS, AIM_MEMORY = 5.0, 2.0

PEER = r"""
import sys
import numpy as np
import pandas as pd
from pathlib import Path
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

source, out = sys.argv[1], Path(sys.argv[2])
frame = pd.read_csv(source, skipinitialspace=True, na_values=["?"])
target = (frame.pop("income") == ">50K").to_numpy(np.int64)
rest, test, y_rest, y_test = train_test_split(frame, target, test_size=0.2, stratify=target, random_state=0)
train, validation, y_train, y_validation = train_test_split(rest, y_rest, test_size=0.125, stratify=y_rest, random_state=0)
numbers = [name for name in frame if frame[name].dtype.kind in "if"]
words = [name for name in frame if name not in numbers]
scale = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(train[numbers])
encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1).fit(train[words])
for part, rows, y in (("train", train, y_train), ("validation", validation, y_validation), ("test", test, y_test)):
    np.save(out / f"{part}-numbers.npy", scale.transform(rows[numbers]).astype(np.float32))
    np.save(out / f"{part}-words.npy", encode.transform(rows[words]).astype(np.int32))
    np.save(out / f"{part}-target.npy", y)
"""

PEER_SAME = r"""
import hashlib
import sys
import numpy as np
import pandas as pd
from pathlib import Path
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

source, out = sys.argv[1], Path(sys.argv[2])
with open(source, "rb") as file:
    raw = hashlib.file_digest(file, "sha256").hexdigest()
frame = pd.read_csv(source, skipinitialspace=True, na_values=["?"])
target = (frame["income"] == ">50K").to_numpy(np.int64)
rest, test, y_rest, _ = train_test_split(frame, target, test_size=0.2, stratify=target, random_state=0)
train, validation, _, _ = train_test_split(rest, y_rest, test_size=0.125, stratify=y_rest, random_state=0)
content = hashlib.sha256()
for part, rows in (("train", train), ("validation", validation), ("test", test)):
    rows.to_parquet(out / f"{part}.parquet", compression="lz4")
    with open(out / f"{part}.parquet", "rb") as file:
        content.update(hashlib.file_digest(file, "sha256").digest())
del frame, rest, train, validation, test, rows
for part in ("train", "validation", "test"):
    rows = pd.read_parquet(out / f"{part}.parquet")
    y = (rows.pop("income") == ">50K").to_numpy(np.int64)
    if part == "train":
        numbers = [name for name in rows if rows[name].dtype.kind in "if"]
        words = [name for name in rows if name not in numbers]
        scale = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(rows[numbers])
        encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1).fit(rows[words])
    np.save(out / f"{part}-numbers.npy", scale.transform(rows[numbers]).astype(np.float32))
    np.save(out / f"{part}-words.npy", encode.transform(rows[words]).astype(np.int32))
    np.save(out / f"{part}-target.npy", y)
"""

OURS = r"""
import sys
import numpy as np
import polars as pl
from pathlib import Path
from lode.core.spec_records import DataSpec, OutputSpec
from lode.core.types import Component
from lode.data.ingest import ingest
from lode.data.place import Place
from lode.data.preprocess import Preprocessor

source, out = Path(sys.argv[1]), Path(sys.argv[2])
data = DataSpec({"all": (Component("csv", {"path": source.name}),)}, (), {"validation": 0.1, "test": 0.2})
outputs = (OutputSpec("income", Component("binary", {"positive": ">50K"})),)
made = ingest(data, None, outputs, Place(source.parent), out)
preprocessor = Preprocessor(made.inputs)
for part in ("train", "validation", "test"):
    frame = pl.read_parquet(out / f"{part}.parquet")
    if part == "train":
        preprocessor.fit(frame)
    arrays = preprocessor.write_arrays(frame, out / part)
    np.save(out / f"{part}-target.npy", (frame["income"] == ">50K").to_numpy().astype(np.int64))
    assert len(arrays) == 14 and all(len(array) == made.rows[part] for array in arrays.values())
"""


class Figures(NamedTuple):
    """Of one process. cpu_seconds: of all its threads."""

    seconds: float
    cpu_seconds: float
    memory_mib: float


def table(folder: Path, num_rows: int) -> Path:
    """The CSV: real rows, repeated."""
    data = Path(os.environ.get("LODE_DATA", ROOT.parent / "shared" / "data"))
    source = data / "tabular" / "adult_train.csv.gz"
    if not source.is_file():
        sys.exit(f"{source}: not there. Set LODE_DATA to a folder with tabular/adult_train.csv.gz (UCI Adult).")
    lines = [line for line in gzip.decompress(source.read_bytes()).splitlines(keepends=True) if line.strip()]
    path = folder / "rows.csv"
    with path.open("wb") as file:
        file.write(f"{COLUMNS}\n".encode())
        for start in range(0, num_rows, len(lines)):
            file.writelines(lines[: num_rows - start])
    return path


def peer_python(name: str) -> str:
    """A peer's interpreter; made once."""
    home = PEER_HOME / name
    python = home / "bin" / "python"
    if not python.is_file():
        print(f"making {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEER_PACKAGES[name]], check=True)
    return str(python)


def measured(command: list[str], bytecode: Path, every_s: float = 0.005) -> Figures:
    """What a process took. every_s: how often its memory is looked at, which takes time from who uses every core."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(bytecode)}
    for own in ("PYTHONDONTWRITEBYTECODE", "_RJEM_MALLOC_CONF"):  # the second is what polars has set for this process
        env.pop(own, None)
    start, peak, before = time.perf_counter(), 0, resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(command, env=env) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            try:
                found = re.search(r"RssAnon:\s+(\d+)", status.read_text())
            except OSError:
                found = None
            peak = max(peak, int(found.group(1)) if found else 0)
            time.sleep(every_s)
        if process.returncode:
            sys.exit(f"{command[0]}: exit code {process.returncode}")
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Figures(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak / 1024)


def runs(source: Path, folder: Path, repeats: int) -> dict[str, list[Figures]]:
    """Alternating runs of all sides, the first of each (cold files, no bytecode) left out."""
    sides = {
        "ours": [sys.executable, "-c", OURS],
        "bare": [peer_python("table-path"), "-c", PEER],
        "same": [peer_python("table-path-same"), "-c", PEER_SAME],
    }
    found: dict[str, list[Figures]] = {side: [] for side in sides}
    for repeat in range(repeats + 1):
        for side, command in sides.items():
            out = folder / side
            out.mkdir()
            figures = measured([*command, str(source), str(out)], folder / "bytecode")
            shutil.rmtree(out)
            if repeat:
                found[side].append(figures)
    return found


def record(name: str, peer_name: str, unit: str, ours: list[float], peer: list[float], aim: float | None) -> dict[str, object]:
    """Medians and the ratio of each pair of runs. aim: None for what is only reported."""
    ratios = sorted(theirs / own for own, theirs in zip(ours, peer, strict=True))
    ratio = statistics.median(peer) / statistics.median(ours)
    return {
        "name": name,
        "ours": round(statistics.median(ours), 3),
        "peer": round(statistics.median(peer), 3),
        "peer_name": f"pandas + scikit-learn, {peer_name}",
        "unit": unit,
        "ratio": round(ratio, 2),
        "spread": [round(ratios[0], 2), round(ratios[-1], 2)],
        "aim": aim,
        "holds": aim is None or ratio >= aim,
    }


def main() -> int:
    """Measure, print a table and one line of JSON; 1 where an aim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 rows, 3 runs")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = table(folder, 100_000 if quick else 1_000_000)
        found = runs(source, folder, repeats=3 if quick else 5)
    aims = {"seconds": ("s", AIM_SECONDS), "cpu_seconds": ("s", None), "memory_mib": ("MiB", AIM_MEMORY)}
    records = [
        record(
            f"table_path {key} {peer}", peer, unit, *([getattr(run, key) for run in found[side]] for side in ("ours", peer)), aim
        )
        for key, (unit, aim) in aims.items()
        for peer in ("bare", "same")
    ]
    print(f"{'':28}{'ours':>10}{'peer':>10}{'ratio':>8}  spread            aim")
    for line in records:
        low, high = line["spread"]
        print(f"{line['name']:28}{line['ours']:>10}{line['peer']:>10}{line['ratio']:>8}  {low} to {high:<12} {line['aim'] or ''}")
    print(json.dumps(records))
    return 0 if all(line["holds"] for line in records) else 1


if __name__ == "__main__":
    sys.exit(main())
