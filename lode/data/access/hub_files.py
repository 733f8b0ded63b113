"""Which files of a data set repository are the rows of a subset and split: by its card, else by how folders and files are called.

The rules of https://huggingface.co/docs/hub/datasets-data-files-configuration. Used by lode/data/sources/huggingface.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import yaml

from lode.core.errors import DataError, listed, near_miss

READERS: Mapping[str, str] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
}
"""How a file is read, by its name's end (before .gz or .zst)."""
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_CARD = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})")
_NOT_ROWS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json")


@dataclass(frozen=True, slots=True)
class Chosen:
    """files: relative names, in order. reader: the word of the source that reads them. subset, split: what was taken, and its peers."""

    files: list[str]
    reader: str
    subset: str | None
    split: str
    splits: list[str]


def reader_of(name: str) -> str | None:
    """The source's word for a file, or None for one that holds no rows."""
    base = name.rpartition("/")[2].lower()
    hidden = any(part.startswith((".", "_")) for part in name.split("/"))
    if hidden or base in _NOT_ROWS:
        return None
    stem = base.removesuffix(".gz").removesuffix(".zst")
    return next((word for end, word in READERS.items() if stem.endswith(end)), None)


def choose(where: str, names: Sequence[str], card: str, subset: str | None, split: str | None) -> Chosen:
    """The files of a subset and split.

    names: every file of the repository, relative. card: its README.md. subset, split: what the user asked for.
    Errors: DataError where there are none, or several subsets or splits and none was asked for.
    """
    rows = sorted(name for name in names if reader_of(name))
    if not rows:
        raise _no_rows(where, names)
    subsets = _of_card(where, rows, card) or _of_folders(rows, subset)
    taken = _subset(where, subsets, subset)
    splits = subsets[taken]
    if split is not None and split not in splits:
        raise DataError(f'{where}: found no split "{split}", allowed: {listed(splits)}.{near_miss(split, splits)}')
    if split is None:
        split = "train" if "train" in splits or len(splits) > 1 else next(iter(splits))
        if split not in splits:
            raise DataError(f"{where}: has the splits {listed(splits)}. Write `split:` with one of them.")
    files = splits[split]
    readers = sorted({str(reader_of(name)) for name in files})
    if len(readers) > 1:
        raise DataError(f"{where}: split {split} mixes {listed(readers)} files. Write `subset:` with the folder of one kind.")
    _check_shards(where, files)
    return Chosen(files, readers[0], taken, split, list(splits))


def _check_shards(where: str, files: Sequence[str]) -> None:
    """A shard that is missing would be a shorter table that nobody notices."""
    numbers: dict[tuple[str, int], set[int]] = {}
    for name in files:
        match = _SHARD.match(name)
        if match is not None:
            numbers.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
    for (stem, total), found in numbers.items():
        if len(found) < total:
            raise DataError(f"{where}: {stem} has {len(found):,} of {total:,} shards. Fetch the others, or the whole set again.")


def _no_rows(where: str, names: Sequence[str]) -> DataError:
    scripts = [name for name in names if name.endswith(".py")]
    if scripts:
        return DataError(
            f"{where}: holds a script ({scripts[0]}) and no files of rows; lode never runs code of a data set. "
            "Try `revision: refs/convert/parquet`, where the hub keeps many such sets as Parquet."
        )
    return DataError(f"{where}: found no files of rows, allowed: {', '.join(READERS)}, also .gz and .zst. Check the id or path.")


def _subset(where: str, subsets: Mapping[str | None, dict[str, list[str]]], subset: str | None) -> str | None:
    named = [name for name in subsets if name is not None]
    if subset is not None:
        if subset not in subsets:
            raise DataError(f'{where}: found no subset "{subset}", allowed: {listed(named) or "none"}.{near_miss(subset, named)}')
        return subset
    if len(subsets) > 1 and "default" not in subsets:
        raise DataError(f"{where}: has the subsets {listed(named)}. Write `subset:` with one of them.")
    return "default" if "default" in subsets else next(iter(subsets))


def _of_card(where: str, rows: Sequence[str], card: str) -> dict[str | None, dict[str, list[str]]]:
    """Subset -> split -> files, as the card's `configs` say; empty where it says nothing."""
    match = _CARD.match(card)
    if match is None:
        return {}
    try:
        head = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise DataError(f"{where}: the head of its README.md is no YAML ({str(error).splitlines()[0]}).") from error
    configs = head.get("configs") if isinstance(head, dict) else None
    found: dict[str | None, dict[str, list[str]]] = {}
    for config in configs if isinstance(configs, list) else ():
        if isinstance(config, dict) and "data_files" in config:
            splits = _card_splits(config["data_files"], rows, str(config.get("data_dir") or ""))
            if splits:
                found[str(config.get("config_name", "default"))] = splits
    return found


def _card_splits(data_files: Any, rows: Sequence[str], folder: str) -> dict[str, list[str]]:
    entries = data_files if isinstance(data_files, list) else [data_files]
    found: dict[str, list[str]] = {}
    for entry in entries:
        split, paths = (str(entry.get("split", "train")), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        for pattern in paths if isinstance(paths, list) else [paths]:
            wanted = f"{folder}/{pattern}".lstrip("/")
            found.setdefault(split, []).extend(name for name in rows if _fits(name, wanted))
    return {split: sorted(set(names)) for split, names in found.items() if names}


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or ("**/" in pattern and fnmatchcase(name, pattern.replace("**/", "")))


def _of_folders(rows: Sequence[str], subset: str | None) -> dict[str | None, dict[str, list[str]]]:
    """Subset -> split -> files, by names alone: `SUBSET/train-00000-of-00002.parquet`, `data/test.csv`, `train/data-00000.arrow`."""
    own = rows if subset is None else [name for name in rows if name.startswith(f"{subset}/")]
    splits: dict[str, list[str]] = {}
    for name in own:
        splits.setdefault(_split_of(name.removeprefix(f"{subset}/")), []).append(name)
    return {subset: splits} if splits else {None: {}}


def _split_of(name: str) -> str:
    """By the file's name, else by the folders above it, from the inside out; "train" where nothing says."""
    for part in reversed(name.lower().split("/")):
        words = re.split(r"[^a-z]+", part)
        for split, names in _SPLITS.items():
            if any(word in names for word in words):
                return split
    return "train"
