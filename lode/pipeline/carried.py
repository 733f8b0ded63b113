"""Columns that come to the test rows beside inputs and outputs: money, and groups that a model is judged by without seeing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.spec import Spec

_GROUPS = ("slices", "protected")
"""Options of `evaluate` that name columns."""


def carried(spec: Spec) -> dict[str, str]:
    """Column -> the key of the file that asks for it.

    Columns that the snapshot has anyway are left out, so that a file that judges by one of them reads the snapshot that is there. Where
    no inputs are named every column that can be one is there.
    """
    found = dict.fromkeys(_money(spec), "value")
    if spec.inputs is None:
        return found
    there = {item.name for item in spec.inputs} | {item.name for item in spec.outputs} | _of_rows(spec)
    for key in _GROUPS:
        for name in spec.evaluate.get(key) or ():
            if name not in there:
                found.setdefault(name, f"evaluate.{key}")
    return found


def numbered(test: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Carried columns of groups as numbers where all their cells are some: the snapshot holds what is no input as text."""
    names = [name for name, key in carried(spec).items() if key != "value" and test[name].dtype == pl.String]
    casts = [test[name].cast(pl.Float64, strict=False) for name in names]
    return test.with_columns(numbers for numbers in casts if numbers.null_count() == test[numbers.name].null_count() < len(numbers))


def check_groups(spec: Spec, data: Mapping[str, Any]) -> None:
    """Before anything is trained: the columns to judge by are there. data: what the data stage found.

    Errors: DataError for a column that no snapshot holds, or of files or lists.
    """
    known = list(dict.fromkeys([*data["inputs"], *data["outputs"], *carried(spec), *_of_rows(spec)]))
    for key in _GROUPS:
        for name in spec.evaluate.get(key) or ():
            if name not in known:
                raise DataError(
                    f'evaluate.{key}: found "{name}", which is not among the test rows, allowed: {listed(known)}.{near_miss(name, known)} '
                    "A column that was left out as an input is kept where `inputs` names the others."
                )
            word = data["inputs"].get(name, {"type": "category"})["type"]
            if REGISTRIES["feature"].constant(word, "kind") in ("binary", "list"):
                raise DataError(f'evaluate.{key}: found "{name}" of type {word}, allowed: words or numbers. Name another column.')


def _money(spec: Spec) -> tuple[str, ...]:
    if spec.value is None or spec.value.policy is None:
        return ()
    columns: tuple[str, ...] = REGISTRIES["policy"].create(spec.value.policy).columns
    return columns


def _of_rows(spec: Spec) -> set[str]:
    """What the split and the outputs cut rows by; the snapshot holds it."""
    asked = [spec.data.split.get(word) for word in ("column", "stratify", "fold_column")]
    asked += [item.task.options.get("group") for item in spec.outputs if item.task is not None]
    return {name for name in asked if name is not None}
