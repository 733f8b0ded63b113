"""Programs of clean.py's peer, pandas: the bare work, and the same work as ours. What each does and leaves out: clean.py's docstring."""

BARE = r"""
import sys
import numpy as np
import pandas as pd
from pathlib import Path
from sklearn.model_selection import train_test_split

source, out = sys.argv[1], Path(sys.argv[2])
frame = pd.read_csv(source, na_values=["?"], dtype={"gain": str, "LIMIT_BAL": str}, skipinitialspace=True)
for name in ("gain", "LIMIT_BAL"):
    frame[name] = pd.to_numeric(frame[name].str.replace(r"[$,\s]", "", regex=True), errors="coerce")
frame = frame.drop_duplicates()
rest, test = train_test_split(frame, test_size=0.2, stratify=frame["income"], random_state=0)
train, validation = train_test_split(rest, test_size=0.125, stratify=rest["income"], random_state=0)
del frame, rest
numbers = [name for name in train if train[name].dtype.kind in "if"]
words = [name for name in train if name not in numbers and name != "income"]
medians = train[numbers].median()
modes = {name: train[name].mode()[0] for name in words}
low, high = train[numbers].fillna(medians).quantile(0.25), train[numbers].fillna(medians).quantile(0.75)
bounds = (low - 1.5 * (high - low), high + 1.5 * (high - low))
profile = {}
for part, rows in (("train", train), ("validation", validation), ("test", test)):
    rows = rows.copy()
    rows[numbers] = rows[numbers].fillna(medians).clip(*bounds, axis=1)
    for name in words:
        rows[name] = rows[name].fillna(modes[name])
    rows.to_parquet(out / f"{part}.parquet")
    target = (rows["income"] == ">50K").to_numpy()
    profile[part] = {"describe": rows[numbers].describe().to_dict(), "missing": rows.isna().sum().to_dict()}
    profile[part]["distinct"] = rows.nunique().to_dict()
    for name in numbers:
        counts, edges = np.histogram(rows[name], bins=20)
        profile[part][name] = (counts.tolist(), edges.tolist(), float(np.corrcoef(rows[name], target)[0, 1]))
    for name in words:
        shares = pd.Series(target).groupby(rows[name].to_numpy()).mean().to_dict()
        profile[part][name] = (rows[name].value_counts().head(20).to_dict(), shares)
print({part: len(rows) for part, rows in (("train", train), ("validation", validation), ("test", test))})
"""

SAME = r"""
import hashlib
import json
import sys
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pathlib import Path
from sklearn.model_selection import train_test_split

source, out = sys.argv[1], Path(sys.argv[2])
word = pa.dictionary(pa.int8(), pa.string())
types = {"row": pa.uint64(), "column": word, "before": pa.string(), "after": pa.string(), "cleaner": word, "why": word, "split": word}
log = pq.ParquetWriter(out / "changes.parquet", pa.schema(types), compression="lz4", write_statistics=False)
tallies = []

def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256")

def same(text, size):
    return pa.nulls(size, word) if text is None else coded(np.zeros(size, np.int8), [text])

def coded(codes, texts):
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(texts))

def texts(cells, size):
    if isinstance(cells, pd.Series):
        return pa.array(cells, from_pandas=True).cast(pa.string())
    return pa.nulls(size, pa.string()) if cells is None else pa.repeat(pa.scalar(cells).cast(pa.string()), size)

def note(rows, column, before, after, cleaner, why, split=None):
    size = len(rows)
    why = why if isinstance(why, pa.Array) else same(why, size)
    columns = [pa.array(rows.to_numpy(), pa.uint64()), same(column, size), texts(before, size), texts(after, size)]
    table = pa.table([*columns, same(cleaner, size), why, same(split, size)], schema=log.schema)
    log.write_table(table)
    lost = size - int(table["after"].is_valid().to_numpy().sum()) if column else 0
    samples = table.slice(0, 5).to_pylist()
    tallies.append({"cleaner": cleaner, "column": column, "split": split, "changed": size, "lost": lost, "samples": samples})

raw = digest(source).hexdigest()
frame = pd.read_csv(source, na_values=["?"], dtype={"gain": str, "LIMIT_BAL": str}, engine="pyarrow")
read = len(frame)
for name in ("gain", "LIMIT_BAL"):
    old = frame[name]
    frame[name] = pd.to_numeric(old.str.replace(r"[$,\s]", "", regex=True), errors="coerce")
    changed = old.str.contains(r"[$,\s]", na=False) | (frame[name].isna() & old.notna())
    before, after = old[changed], frame.loc[changed, name]
    why = np.where(after.isna(), 2, before.str.startswith("$"))
    note(before.index, name, before, after, "types", coded(why, ["marks of a number", "currency", "not a number"]))
    del old, changed, before, after, why
gone = frame.duplicated()
note(frame.index[gone], None, None, None, "duplicates", "repeats an earlier row")
frame = frame[~gone]
rest, test = train_test_split(frame, test_size=0.2, stratify=frame["income"], random_state=0)
train, validation = train_test_split(rest, test_size=0.125, stratify=rest["income"], random_state=0)
del frame, rest, gone
numbers = [name for name in train if train[name].dtype.kind in "if"]
words = [name for name in train if name not in numbers and name != "income"]
fills = {name: float(train[name].median()) for name in numbers} | {name: train[name].mode()[0] for name in words}
edges = {}
for name in numbers:
    low, high = train[name].fillna(fills[name]).quantile([0.25, 0.75])
    if low < high:
        edges[name] = (low - 1.5 * (high - low), high + 1.5 * (high - low))
profile = {}
content = hashlib.sha256()
for part, rows in (("train", train), ("validation", validation), ("test", test)):
    rows = rows.copy()
    for name in numbers + words:
        empty = rows[name].isna()
        filled = rows[name].fillna(fills[name])
        note(rows.index[empty], name, None, fills[name], "missing", "median" if name in numbers else "mode", part)
        if name in edges:
            low, high = edges[name]
            clipped = filled.clip(low, high)
            far = clipped != filled
            why = coded(clipped[far] == low, [f"above {high:.6g} (iqr)", f"below {low:.6g} (iqr)"])
            note(rows.index[far], name, filled[far], clipped[far], "outliers", why, part)
            filled = clipped
        rows[name] = filled
    rows.to_parquet(out / f"{part}.parquet")
    content.update(digest(out / f"{part}.parquet").digest())
    target = (rows["income"] == ">50K").to_numpy()
    profile[part] = {"describe": rows[numbers].describe().to_dict(), "missing": rows.isna().sum().to_dict()}
    profile[part]["distinct"] = rows.nunique().to_dict()
    for name in numbers:
        counts, bins = np.histogram(rows[name], bins=20)
        profile[part][name] = (counts.tolist(), bins.tolist(), float(np.corrcoef(rows[name], target)[0, 1]))
    for name in words:
        shares = pd.Series(target).groupby(rows[name].to_numpy()).mean().to_dict()
        profile[part][name] = (rows[name].value_counts().head(20).to_dict(), shares)
log.close()
cells = {word: sum(line["changed"] for line in tallies if line["cleaner"] == word) for word in ("types", "missing", "outliers")}
rows = {part: len(rows) for part, rows in (("train", train), ("validation", validation), ("test", test))}
kept = {"read": read, "kept": sum(rows.values()), **rows}
report = {"rows": kept, "cells_changed": cells, "cleaning": tallies, "raw": raw, "content": content.hexdigest()}
(out / "report.json").write_text(json.dumps(report, default=str))
print(rows)
"""
