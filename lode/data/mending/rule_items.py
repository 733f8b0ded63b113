"""The items of `{type: rules, rules: [...]}`: what the user wrote, read and held against itself before any row is seen.

The language is in lode/data/mending/rule_language.py; lode/data/cleaners/rules.py does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lode.core.errors import SpecError, listed, near_miss
from lode.data.mending.rule_language import Node, RuleError, parse

ACTIONS = ("drop", "null", "fix", "fail")
_KEYS = ("rule", "action", "name", "set", "columns")
_BOUNDS = ("<=", ">=", "==")


@dataclass(frozen=True, slots=True)
class RuleItem:
    """One rule.

    number: its place in the list, from 0. name: what reports call it. columns: those that `null` empties. sets: column -> expression,
    for `fix`. mends: (condition that should hold, column, what it becomes), for `fix` without `set`; what it becomes is an expression,
    or None for the nearest word of an `in` list.
    """

    number: int
    text: str
    name: str
    node: Node
    action: str
    columns: tuple[str, ...]
    sets: dict[str, Node] = field(default_factory=dict)
    mends: tuple[tuple[Node, str, Node | None], ...] = ()

    @property
    def where(self) -> str:
        return f"data.clean rules: rules[{self.number}] ({self.text})"

    @property
    def changes(self) -> tuple[str, ...]:
        """Columns whose cells it may change."""
        if self.action == "null":
            return self.columns
        if self.node.op == "determines":
            return targets(self.node) if self.action == "fix" else ()
        return (*self.sets, *(column for _, column, _ in self.mends))


def keys(node: Node) -> tuple[str, ...]:
    """The columns on the left of `determines`."""
    return tuple(part.value for part in node.parts[: node.value])


def targets(node: Node) -> tuple[str, ...]:
    """The columns on the right of `determines`."""
    return tuple(part.value for part in node.parts[node.value :])


def read_items(written: Sequence[Any], action: str) -> list[RuleItem]:
    """Errors: SpecError with a line for every rule that cannot be read."""
    items, problems = [], []
    for number, item in enumerate(written):
        try:
            items.append(_item(number, item, action))
        except RuleError as error:
            text = item.get("rule", "") if isinstance(item, dict) else item
            problems.append(f"cleaner rules:rules[{number}]: {error} in `{text}`. Correct the rule.")
    if problems:
        raise SpecError("\n".join(problems))
    return items


def _item(number: int, written: Any, default: str) -> RuleItem:
    record = {"rule": written} if isinstance(written, str) else dict(written)
    for key in record:
        if key not in _KEYS:
            raise RuleError(f'found the key "{key}", allowed: {listed(_KEYS)}.{near_miss(str(key), _KEYS)}')
    text = record.get("rule")
    if not isinstance(text, str):
        raise RuleError('found no text under "rule"')
    node = parse(text)
    sets = _sets(record.get("set"))
    action = "null" if "action" in record and record["action"] is None else record.get("action", "fix" if sets else default)
    if action not in ACTIONS:
        raise RuleError(f'found the action "{action}", allowed: {listed(ACTIONS)}.{near_miss(str(action), ACTIONS)}')
    if sets and action != "fix":
        raise RuleError(f'"set" is for `action: fix`, found {action}')
    mends = () if sets or action != "fix" or node.op == "determines" else _mends(node)
    columns = _columns(record.get("columns"), node)
    _check_action(node, action, sets, mends)
    return RuleItem(number, text, str(record.get("name", text)), node, action, columns, sets, mends)


def _sets(written: Any) -> dict[str, Node]:
    if written is None:
        return {}
    if not isinstance(written, dict):
        raise RuleError('"set" must be a mapping: {column: expression}')
    found = {}
    for column, value in written.items():
        if value is None:
            raise RuleError(f'"set" makes {column} nothing; write `action: null` for that')
        if isinstance(value, int | float):
            found[str(column)] = Node("literal", value if isinstance(value, bool) else float(value))
        else:
            found[str(column)] = _expression(str(value))
    return found


def _expression(text: str) -> Node:
    """A value, which may be a literal without a column."""
    try:
        return parse(text)
    except RuleError:
        return parse(f"({text}) == `_`").parts[0]


def _columns(written: Any, node: Node) -> tuple[str, ...]:
    """What `null` empties: what the user says, else the columns that the rule demands something of."""
    if written is not None:
        return tuple(str(name) for name in written) if isinstance(written, list) else (str(written),)
    if node.op == "determines":
        return targets(node)
    return node.parts[1].columns or node.columns if node.op == "implies" else node.columns


def _mends(node: Node) -> tuple[tuple[Node, str, Node | None], ...]:
    """How to make a rule hold by itself: every part that `and` joins is a bound, an equality or a list of words."""
    if node.op == "implies":
        return _mends(node.parts[1])
    if node.op == "and":
        parts = [_mends(part) for part in node.parts]
        return (*parts[0], *parts[1]) if all(parts) else ()
    if node.op in _BOUNDS:
        left, right = node.parts
        if left.op == "column":
            return ((node, left.value, right),)
        return ((node, right.value, left),) if right.op == "column" else ()
    if node.op == "in" and node.parts[0].op == "column":
        return ((node, node.parts[0].value, None),)
    return ()


def _check_action(node: Node, action: str, sets: dict[str, Node], mends: tuple[Any, ...]) -> None:
    if node.op == "unique" and action not in ("drop", "fail"):
        raise RuleError(f"unique cannot be mended cell by cell, found {action}, allowed: drop, fail")
    if node.op == "determines" and sets:
        raise RuleError('determines is mended by the majority of its group, found "set"')
    if action == "fix" and not sets and not mends and node.op != "determines":
        raise RuleError(
            "it cannot be mended by itself (only <=, >=, ==, lists and determines can); add `set: {column: expression}` or another action"
        )
