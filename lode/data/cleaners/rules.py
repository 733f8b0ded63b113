"""Rules that the rows must keep: what breaks one is dropped, emptied, mended, or stops the run.

Written as in lode/data/mending/rule_language.py; what a rule means on a table is in lode/data/mending/rule_meaning.py, dependencies
between columns in
lode/data/mending/dependencies.py.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import polars as pl

from lode.core.errors import DataError, SpecError, listed
from lode.core.types import Range
from lode.data.alike.repeats import repeated_rows
from lode.data.contracts import ROW, Cleaner, State
from lode.data.mending.dependencies import MAX_GROUPS, Majority, Votes, majority, num_groups
from lode.data.mending.rule_items import RuleItem, keys, read_items, targets
from lode.data.mending.rule_language import Node, RuleError
from lode.data.mending.rule_meaning import check_columns, holds, kind_of, literal_word, value_as

_FOUND = "found by the data"
_NUM_SAMPLES = 3
_MIN_ALIKE = 0.6
_REASON = {"row": pl.UInt64, "column": pl.String, "why": pl.String}


class Rules(Cleaner):
    """Holds rows against rules such as `18 <= age <= 120`, `if paid > 0 then date is known`, `zip matches "^[0-9]{5}$"`,
    `state in ["NY", "CA"]`, `unique(id)`, `zip determines city`. A rule whose cells are missing is kept.

    Rules that empty or mend cells (null, fix) are part of the model and work on requests too; those that drop rows or stop the run work
    once, on all rows before the split. So each entry of `data.clean` has the ones or the others.

    Args:
        rules: expressions, or mappings: `rule` (the expression), `action`, `name` (for reports), `columns` (what null empties), `set`
            (for fix: `{column: expression}`).
        action: for rules that do not say: "drop" the row, "null" its cells, "fix" them (to the bound, to the nearest word of a list, to
            what most rows with the same key have, to what `set` says), or "fail", which stops the run and names the rows.
        discover: find columns that decide others by themselves, and mend misspelt and missing cells by them (with null: empty the
            misspelt ones).
        seed: of the sample in which `discover` looks for dependencies.
    """

    scope: Literal["source", "cells", "training"]
    on: ClassVar[Literal["raw", "typed"]] = "typed"
    coded: bool = True

    def __init__(
        self,
        *,
        rules: list[str | dict[str, Any]] = (),  # type: ignore[assignment]
        action: Literal["drop", "null", "fix", "fail"] | None = "fail",
        discover: bool = False,
        seed: Annotated[int, Range(0)] = 0,
    ) -> None:
        self.items = read_items(list(rules), "null" if action is None else action)
        self.action, self.discover, self.seed = "null" if action is None else action, discover, seed
        self.scope = self._scope()
        self._majorities: dict[int, list[Majority]] = {}
        self._votes: Votes | None = None
        self._repeated: dict[int, pl.Series] = {}
        self._told = threading.local()
        """reasons: of the last `apply` of this thread, for `why`."""
        self.notes: list[str] = []

    def _scope(self) -> Literal["source", "cells"]:
        actions = {item.action for item in self.items} | ({self.action} if self.discover else set())
        if not actions:
            raise SpecError("cleaner rules:rules: found none, allowed: a list of expressions. Write one, or `discover: true`.")
        if actions <= {"null", "fix"}:
            return "cells"
        if self.discover:
            raise SpecError(f"cleaner rules:discover: found the action {self.action}, allowed: fix, null. Write `action: fix`.")
        if actions <= {"drop", "fail"}:
            return "source"
        raise SpecError(
            "cleaner rules:rules: found rules that mend cells (null, fix; also in requests) beside rules that drop rows or fail (before "
            "the split); allowed: one kind. Put them into two entries of data.clean."
        )

    def fit(self, rows: pl.LazyFrame, types: Mapping[str, str]) -> None:
        """Learn groups and repeated rows. Errors: DataError with a line for every rule that does not fit the columns, or that fails."""
        schema = rows.collect_schema()
        usable = {name: dtype for name, dtype in schema.items() if name != ROW}
        self._majorities, self._repeated, self._votes, self._told, self.notes = {}, {}, None, threading.local(), []
        problems = [problem for item in self.items if (problem := _misfit(item, usable))]
        if problems:
            raise DataError("\n".join(problems))
        for item in self.items:
            if item.node.op == "determines":
                self._majorities[item.number] = self._groups(rows, item)
            elif item.node.op == "unique":
                names = list(item.node.columns)
                self._repeated[item.number] = repeated_rows(rows.drop_nulls(names), names)
        broken = [problem for item in self.items if item.action == "fail" and (problem := self._broken(rows, item))]
        if broken:
            raise DataError("\n".join(broken))
        if self.discover:
            self._votes = Votes.of(rows, _discrete(rows, usable, types), self.seed)
            for target, found in self._votes.keys.items():
                self.notes.append(f"{target} is decided by {listed(one.keys[0] for one in found)}, nearly always.")

    def _groups(self, rows: pl.LazyFrame, item: RuleItem) -> list[Majority]:
        names = keys(item.node)
        num = num_groups(rows, names)
        if num > 1.1 * MAX_GROUPS:
            raise DataError(f"{item.where}: about {num:,} different keys, at most {MAX_GROUPS:,} are allowed. Leave the rule out.")
        return [majority(rows, names, target) for target in targets(item.node)]

    def _broken(self, rows: pl.LazyFrame, item: RuleItem) -> str | None:
        """How many rows break a rule of `action: fail`, and the first of them."""
        count = 0
        samples: list[dict[str, Any]] = []
        shown = [ROW, *dict.fromkeys(item.node.columns)]
        for batch in rows.select(shown).collect_batches(maintain_order=True):
            bad = batch.filter(self._breaks(batch, item))
            count += bad.height
            samples += bad.head(_NUM_SAMPLES - len(samples)).rows(named=True)
        if not count:
            return None
        cells = "; ".join(f"row {row.pop(ROW)}: " + ", ".join(f"{name} {cell}" for name, cell in row.items()) for row in samples)
        return f"{item.where}: {count:,} rows break it ({cells}). Correct the data or the rule, or choose another action."

    def _breaks(self, frame: pl.DataFrame, item: RuleItem) -> pl.Series:
        """Which rows break a rule, bool (N,)."""
        if item.node.op == "unique":
            return frame[ROW].is_in(self._repeated[item.number].implode())
        if item.node.op == "determines":
            masks = [
                _differs(frame[one.target], one.of(frame)) for one in self._majorities[item.number] if one.target in frame.columns
            ]
            return (
                pl.DataFrame([mask.alias(str(place)) for place, mask in enumerate(masks)])
                .select(pl.any_horizontal(pl.all()))
                .to_series()
            )
        return frame.select((~holds(item.node, frame.schema)).alias("breaks")).to_series()

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        reasons: list[pl.DataFrame] = []
        for item in self.items:
            needed = {*item.node.columns, *item.changes, *((ROW,) if item.node.op == "unique" else ())}
            if item.action == "fail" or not needed <= set(frame.columns) or not frame.height:
                continue
            if item.action == "drop":
                bad = self._breaks(frame, item)
                reasons.append(_reason(frame, bad, None, item.name))
                frame = frame.filter(~bad)
            else:
                frame = self._mended(frame, item, reasons)
        if self._votes is not None and frame.height:
            frame = self._voted(frame, self._votes, reasons)
        self._told.reasons = reasons
        return frame

    def _mended(self, frame: pl.DataFrame, item: RuleItem, reasons: list[pl.DataFrame]) -> pl.DataFrame:
        """The rows with the cells that break a rule emptied or mended."""
        if item.node.op == "determines":
            for one in self._majorities[item.number]:
                wanted = one.of(frame)
                rows = _differs(frame[one.target], wanted)
                if item.action == "fix":
                    rows |= frame[one.target].is_null() & wanted.is_not_null()
                frame = _set(frame, one.target, rows, wanted if item.action == "fix" else None, item.name, reasons)
            return frame
        bad = self._breaks(frame, item)
        if not bad.any():
            return frame
        if item.action == "null":
            for name in item.columns:
                frame = _set(frame, name, bad, None, item.name, reasons)
            return frame
        sets = {name: _wanted(frame, name, node) for name, node in item.sets.items()}
        for name, series in sets.items():
            frame = _set(frame, name, bad, series, item.name, reasons)
        for condition, name, node in item.mends:
            rows = bad & frame.select((~holds(condition, frame.schema)).alias("bad")).to_series()
            series = _nearest_word(frame[name], rows, condition.value) if node is None else _wanted(frame, name, node)
            frame = _set(frame, name, rows, series, item.name, reasons)
        return frame

    def _voted(self, frame: pl.DataFrame, votes: Votes, reasons: list[pl.DataFrame]) -> pl.DataFrame:
        found = votes.corrections(frame)
        for name, (rows, wanted) in found.items():
            if self.action == "null":
                frame = _set(frame, name, rows & frame[name].is_not_null(), None, _FOUND, reasons)
            else:
                frame = _set(frame, name, rows, wanted, _FOUND, reasons)
        return frame

    def why(self, changed: pl.DataFrame) -> pl.Series:
        """The rule's name: of the last `apply`, or of those that may change the column."""
        known = pl.concat([pl.DataFrame(schema=_REASON), *getattr(self._told, "reasons", [])]).unique(
            ["row", "column"], keep="last", maintain_order=True
        )
        exact = changed.select("row", "column").join(
            known, on=["row", "column"], how="left", nulls_equal=True, maintain_order="left"
        )["why"]
        may: dict[str, list[str]] = {}
        for item in self.items:
            for column in item.changes:
                may.setdefault(column, []).append(item.name)
        names = {column: " or ".join(dict.fromkeys(found)) for column, found in may.items()} or {"": ""}
        drops = " or ".join(item.name for item in self.items if item.action == "drop") or _FOUND
        cells = pl.col("column").replace_strict(names, default=_FOUND, return_dtype=pl.String)
        likely = pl.when(pl.col("column").is_null()).then(pl.lit(drops)).otherwise(cells)
        return exact.fill_null(changed.select(likely).to_series())

    def state(self) -> State:
        if self.scope != "cells":
            return {}
        groups = {
            str(number): [
                {"keys": list(one.keys), "target": one.target, "groups": one.groups.to_dict(as_series=False)} for one in made
            ]
            for number, made in self._majorities.items()
        }
        return {"groups": groups, "votes": None if self._votes is None else self._votes.state()}

    def restore(self, state: State) -> None:
        self._majorities = {
            int(number): [Majority(tuple(one["keys"]), one["target"], pl.DataFrame(one["groups"])) for one in made]
            for number, made in state["groups"].items()
        }
        self._votes = None if state["votes"] is None else Votes.from_state(state["votes"])


def _misfit(item: RuleItem, schema: Mapping[str, pl.DataType]) -> str | None:
    """What keeps a rule from being used on these columns."""
    try:
        check_columns((*item.node.columns, *item.changes), schema)
        if item.node.op not in ("unique", "determines"):
            holds(item.node, schema)
        for name, node in item.sets.items():
            _check_kind(name, node, schema)
        for condition, name, end in item.mends:
            holds(condition, schema)
            if end is not None:
                _check_kind(name, end, schema)
    except RuleError as error:
        return f"{item.where}: {str(error).rstrip('.')}. Correct the rule, or the column's type."
    return None


def _check_kind(name: str, node: Node, schema: Mapping[str, pl.DataType]) -> None:
    wanted = kind_of(schema[name])
    found = value_as(node, wanted, schema)[1]
    if found != wanted:
        raise RuleError(f'"{name}" is set to a {found}, it holds a {wanted}')


def _wanted(frame: pl.DataFrame, name: str, node: Node) -> pl.Series:
    """What the cells of a column (N,) are set to."""
    return frame.with_columns(value_as(node, kind_of(frame.schema[name]), frame.schema)[0].alias(name))[name]


def _set(
    frame: pl.DataFrame, name: str, rows: pl.Series, wanted: pl.Series | None, why: str, reasons: list[pl.DataFrame]
) -> pl.DataFrame:
    """The frame with these cells set (None: emptied), and the reason noted."""
    if not rows.any():
        return frame
    reasons.append(_reason(frame, rows, name, why))
    column = frame[name]
    if wanted is None:
        return frame.with_columns(column.set(rows, None))
    plain = column.cast(pl.String) if isinstance(column.dtype, pl.Enum | pl.Categorical) else column
    return frame.with_columns(wanted.cast(plain.dtype).zip_with(rows, plain).alias(name))


def _reason(frame: pl.DataFrame, rows: pl.Series, column: str | None, why: str) -> pl.DataFrame:
    if ROW not in frame.columns:
        return pl.DataFrame(schema=_REASON)
    return frame.select(
        pl.col(ROW).filter(rows).cast(pl.UInt64).alias("row"), pl.lit(column, pl.String).alias("column"), pl.lit(why).alias("why")
    )


def _differs(column: pl.Series, wanted: pl.Series) -> pl.Series:
    plain = column.cast(pl.String) if isinstance(column.dtype, pl.Enum | pl.Categorical) else column
    return (plain != wanted).fill_null(False)


def _nearest_word(column: pl.Series, rows: pl.Series, words: tuple[Any, ...]) -> pl.Series:
    """The word of the list that a cell is most likely a misspelling of; null where none is close, and for numbers."""
    if kind_of(column.dtype) != "word":
        return column.clear(len(column))
    allowed = [literal_word(word) for word in words]
    texts = column.cast(pl.String)
    wrong = texts.filter(rows).unique().drop_nulls().to_list()
    lower = {word.lower(): word for word in reversed(allowed)}
    near = {
        word: lower[close[0]] for word in wrong if (close := difflib.get_close_matches(word.lower(), lower, n=1, cutoff=_MIN_ALIKE))
    }
    return texts.replace_strict(near or {"": ""}, default=None, return_dtype=pl.String)


def _discrete(rows: pl.LazyFrame, schema: Mapping[str, pl.DataType], types: Mapping[str, str]) -> list[str]:
    """Words and whole numbers: what can be a key, or be decided by one."""
    words = [
        name
        for name, word in types.items()
        if word in ("category", "binary") and name in schema and kind_of(schema[name]) == "word"
    ]
    numbers = [name for name, word in types.items() if word == "number" and name in schema and schema[name].is_numeric()]
    if not numbers:
        return words
    whole = rows.select((pl.col(name) == pl.col(name).round()).all().alias(name) for name in numbers).collect(engine="streaming")
    return [name for name in schema if name in words or (name in numbers and whole[name].item())]
