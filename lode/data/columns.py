"""Which feature reads which column, which task which output: named in the file, or inferred with a note.

Read lode/data/infer.py for the guesses and lode/data/ingest.py for what comes next.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from lode.core.errors import DataError, listed, near_miss
from lode.core.types import Component
from lode.data import cells, infer
from lode.data.table import Table
from lode.data.targets import cells_of
from lode.data.threads import side_by_side

if TYPE_CHECKING:
    from lode.core.spec import InputSpec, OutputSpec


RESERVED = frozenset(f"__{word}__" for word in ("row", "fold", "part", "origin", "keep", "place", "hash", "output", "block"))
"""Names of columns that lode adds while it works; those of a table are left out."""
_FEW_ROWS = 1 << 10
_FIRST_ROWS = 1 << 18
"""What a column is, is judged by so many rows; that all its cells are that is looked at when they are parsed."""


@dataclass(slots=True)
class Columns:
    """What is known about every column. ignored: name -> why. why: reasons of what was inferred."""

    inputs: dict[str, Component] = field(default_factory=dict)
    outputs: dict[str, Component] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def types(self) -> dict[str, str]:
        """Column -> word of its feature or task, as cleaners get it."""
        return {name: component.type for name, component in {**self.inputs, **self.outputs}.items()}

    def notes(self) -> list[str]:
        """What was inferred and what was left out, as sentences."""
        inferred = [name for name in self.inputs if name in self.why]
        words = list(dict.fromkeys(self.inputs[name].type for name in inferred))
        lines = [f"inputs: {_named(self, inferred, word)}." for word in words]
        lines += [f"inputs: {name} is not used, it {why}." for name, why in list(self.ignored.items())[:20]]
        if len(self.ignored) > 20:
            lines.append(f"inputs: {len(self.ignored) - 20} more columns are not used (schema.json says why).")
        outputs = [name for name in self.outputs if name in self.why]
        return lines + [f"outputs: {name} was inferred as {self.outputs[name].type}, {self.why[name]}." for name in outputs]

    def to_json(self) -> dict[str, Any]:
        """Per column: its role, type, options, and whether and why it was inferred."""
        record: dict[str, Any] = {}
        for role, components in (("input", self.inputs), ("output", self.outputs)):
            for name, component in components.items():
                record[name] = {"role": role, **component.to_json(), "inferred": name in self.why, "why": self.why.get(name)}
        return record | {name: {"role": "ignored", "inferred": True, "why": why} for name, why in self.ignored.items()}


def _named(columns: Columns, inferred: Sequence[str], word: str) -> str:
    names = [name for name in inferred if columns.inputs[name].type == word]
    return f"{listed(names, 12)} {'was' if len(names) == 1 else 'were'} inferred as {word}"


def check_names(names: Sequence[str], asked: Sequence[tuple[str, str]]) -> None:
    """asked: (key in the file, column). Errors: DataError naming every column that does not exist, or has a name of lode's own."""
    problems = [
        f'{key}: "{name}" is a name that lode keeps for itself. Give the column another one.'
        for key, name in asked
        if name in RESERVED
    ]
    problems += [
        f'{key}: no column "{name}" in the data, found {listed(names)}.{near_miss(name, names)} Correct the name.'
        for key, name in asked
        if name not in names and name not in RESERVED
    ]
    if problems:
        raise DataError("\n".join(problems))


def resolve_inputs(
    table: Table,
    names: Sequence[str],
    inputs: Sequence[InputSpec] | None,
    apart: Collection[str],
    repair: infer.Repair | None,
    columns: Columns,
) -> None:
    """Fill in columns.inputs. apart: outputs and columns with another purpose, inputs only if they are named.

    Errors: DataError with one line for every column that cannot be inferred, or where no input is left.
    """
    asked = (
        [(item.name, item.feature) for item in inputs]
        if inputs is not None
        else [(name, None) for name in names if name not in apart and name not in RESERVED]
    )
    columns.ignored |= {name: "has a name that lode keeps for itself" for name in names if name in RESERVED}
    open_names = [name for name, feature in asked if feature is None]
    guesses = dict(zip(open_names, side_by_side(lambda name: _guess(table, name, repair), open_names, table.num_rows), strict=True))
    problems = []
    for name, feature in asked:
        guess = guesses.get(name)
        if feature is not None:
            columns.inputs[name] = feature
        elif not isinstance(guess, infer.Guess):
            problems.append(str(guess))
        elif guess.component is None:
            columns.ignored[name] = guess.why
        else:
            columns.inputs[name], columns.why[name] = guess.component, guess.why
    if problems:
        raise DataError("\n".join(problems))
    if not columns.inputs:
        reasons = listed((f"{name} {why}" for name, why in columns.ignored.items()), 4)
        raise DataError(f"inputs: no column is left to learn from ({reasons or 'there is none'}). Name the inputs and their types.")


def _guess(table: Table, name: str, repair: infer.Repair | None) -> infer.Guess | DataError:
    """The guess, or what is wrong: all columns are looked at before anything is raised."""
    try:
        first = table.first(name, _FIRST_ROWS)
        if len(first) < table.num_rows and first.head(_FEW_ROWS).n_unique() <= 1 and first.n_unique() <= 1:
            first = table.column(name)  # one value so far: only the whole column tells whether that is all
        return infer.infer_input(first, repair)
    except DataError as error:
        return error


def resolve_outputs(table: Table, outputs: Sequence[OutputSpec], columns: Columns) -> None:
    """Fill in columns.outputs and hold them against the data.

    Errors: DataError with one line for every output that cannot be learnt as asked.
    """
    problems = []
    for item in outputs:
        try:
            columns.outputs[item.name] = _output(table.column(item.name), item, columns)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))


def _output(column: pl.Series, item: OutputSpec, columns: Columns) -> Component:
    task = item.task
    if task is None:
        guess = infer.infer_output(column)
        assert guess.component is not None
        task, columns.why[item.name] = guess.component, guess.why
    if cells_of(task.type) == "words":
        _check_classes(column, task)
    return task


def _check_classes(column: pl.Series, task: Component) -> None:
    """Errors: DataError where there is one class only, or a binary output has not two or its positive one is not named."""
    where = f"outputs.{column.name}"
    distinct = cells.value_rows(column).sort("rows", descending=True)
    words = cells.words(distinct["value"])
    found = {word: rows for word, rows in zip(words.to_list(), distinct["rows"].to_list(), strict=True) if word is not None}
    if not found:
        raise DataError(f"{where}: every cell is empty, there is nothing to learn. Name another column.")
    if len(found) == 1:
        word, rows = next(iter(found.items()))
        raise DataError(f'{where}: all {rows:,} labels are "{word}", there is nothing to learn. Name another column.')
    if task.type != "binary":
        return
    shown = listed(f'"{word}" ({rows:,} rows)' for word, rows in sorted(found.items()))
    if len(found) > 2:
        raise DataError(
            f"{where}: {len(found)} labels found ({shown}), a binary output has two. Use `{{type: multiclass}}`, or mend the labels."
        )
    positive = task.options.get("positive")
    if positive is None:
        raise DataError(
            f"{where}: found {shown}. Name the one that matters: `{{type: binary, positive: {min(found, key=lambda word: found[word])}}}`."
        )
    word = cells.words(pl.Series([positive])).item()
    if word not in found:
        raise DataError(
            f'{where}: positive "{positive}" never occurs, found {shown}.{near_miss(str(word), found)} Name one of them.'
        )
