"""What of a model's artifact values its decisions, and the rows of a window: what was decided, and what came true where it is known.

Nothing of the model itself is loaded. Read `cohorts.py` and `worth.py` next.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lode.app.books import predictions
from lode.app.books.contracts import Session
from lode.app.economics import outcomes
from lode.app.economics.readings import DAY_US, Window
from lode.core import money
from lode.core.errors import NotFoundError, listed, near_miss
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.value.contracts import Outcomes, Policy
from lode.value.realised import Decided


@dataclass(frozen=True, slots=True)
class Valued:
    """A model with a value block. output: its first; positive: the class to act upon, "" for numbers. options: the policy as written."""

    name: str
    version: int
    output: str
    positive: str
    currency: str
    options: Mapping[str, Any]
    state: Mapping[str, Any]
    policy: Policy

    @property
    def is_binary(self) -> bool:
        return type(self.policy).task == "binary"

    def with_options(self, changed: Mapping[str, Any]) -> Policy:
        """The same policy, choosing as it chose, with other amounts."""
        policy: Policy = REGISTRIES["policy"].create(Component.from_json({**self.options, **changed}))
        policy.restore(self.state)
        return policy


def valued(runs: Path, name: str, version: int) -> Valued | None:
    """What values a version's decisions; None where its file has no value block."""
    record = json.loads((runs / "artifacts" / name / str(version) / "artifact.json").read_text("utf-8"))
    written = (record.get("recipe") or {}).get("policy")
    if not written:
        return None
    options, first = {key: value for key, value in written.items() if key != "state"}, record["recipe"]["outputs"][0]
    policy: Policy = REGISTRIES["policy"].create(Component.from_json(options))
    policy.restore(written["state"])
    positive = str(first["task"].get("positive", ""))
    return Valued(name, version, first["output"], positive, record["currency"], options, written["state"], policy)


def version_of(runs: Path, name: str, version: int | None) -> int:
    """The version asked for, else the newest. Errors: NotFoundError where there is none."""
    folders = {path.name for path in runs.glob("artifacts/*") if path.is_dir()}
    found = [path for path in runs.glob("artifacts/*/*/artifact.json") if path.parent.parent.name == name]
    versions = sorted(int(path.parent.name) for path in found if path.parent.name.isdigit())
    if not versions:
        allowed = listed(sorted(folders)) or "none yet"
        raise NotFoundError(f"{runs}: found no model {name}, allowed: {allowed}.{near_miss(name, folders)} See `lode artifacts`.")
    if version is not None and version not in versions:
        raise NotFoundError(
            f"{runs}: found no version {version} of {name}, allowed: {listed(map(str, versions))}. See `lode artifacts`."
        )
    return version or versions[-1]


@dataclass(slots=True)
class Row:
    """One decision. truth: None while it is not known. told_us: when it was reported, or came true where that was said."""

    organisation: str
    request_id: str
    number: int
    version: int
    decided_us: int
    action: float
    prediction: float
    truth: float | None = None
    told_us: int | None = None
    rule: float | None = None
    amounts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Decisions of a window. left_out: why rows could not be used -> how many. sequence: of the last outcome that is in it."""

    rows: list[Row]
    left_out: Mapping[str, int]
    sequence: int

    @property
    def known(self) -> list[Row]:
        return [row for row in self.rows if row.truth is not None]

    @property
    def pending(self) -> list[Row]:
        return [row for row in self.rows if row.truth is None]


def gather(session: Session, model: Valued, span: Window) -> Gathered:
    """Decisions of a window by the day on which they were made; of outcomes that were corrected, the last."""
    left_out: Counter[str] = Counter()
    found: dict[tuple[str, str, int], tuple[int, Row | None]] = {}
    last = 0
    for sequence, at_us, organisation, record in _reports(session):
        facts = orjson.loads(record)["facts"]
        if facts["model"] != model.name or not span.start_us <= facts["decided_us"] < span.end_us:
            continue
        last = sequence
        name = (organisation, facts["request_id"], facts["row"])
        if name not in found or found[name][0] < facts["corrects"]:
            found[name] = (facts["corrects"], _labelled(model, organisation, facts, at_us))
    rows = [row for _, row in found.values() if row is not None]
    left_out["an outcome that cannot be read"] = len(found) - len(rows)
    for said in predictions.of_model(session, model.name, span.start_us, span.end_us):
        if not said.columns:
            left_out["too large to be kept"] += said.rows
            continue
        for number in range(said.rows):
            if (said.organisation, said.request_id, number) not in found:
                row = _row(model, said.organisation, said.request_id, number, said.version, said.at_us, said.row(number))
                rows += [] if row is None else [row]
                left_out["no decision in the answer"] += row is None
    return Gathered(sorted(rows, key=lambda row: (row.decided_us, row.organisation, row.request_id, row.number)), +left_out, last)


def decided(model: Valued, rows: Sequence[Row]) -> Decided:
    """Rows as arrays; the truth of those that are pending is 0. The current rule counts where it is known for every row."""
    is_binary = model.is_binary
    kind = np.int64 if is_binary else np.float64
    columns = {
        name: np.array([Decimal(row.amounts[name]).scaleb(-money.DECIMALS) for row in rows], dtype=object)
        for name in model.policy.columns
    }
    rules = [row.rule for row in rows]
    requests = {name: place for place, name in enumerate(dict.fromkeys((row.organisation, row.request_id) for row in rows))}
    return Decided(
        action=np.array([row.action for row in rows], dtype=kind),
        outcomes=Outcomes(
            np.array([row.prediction for row in rows]), np.array([row.truth or 0 for row in rows], dtype=kind), columns
        ),
        days=np.array([row.decided_us // DAY_US for row in rows], dtype=np.int64),
        requests=np.array([requests[row.organisation, row.request_id] for row in rows], dtype=np.int64),
        rule=None if not rules or any(rule is None for rule in rules) else np.array(rules, dtype=kind),
    )


def _reports(session: Session) -> list[tuple[Any, ...]]:
    # The last condition is that of the index of acts that are no requests.
    return session.rows(
        "SELECT sequence, at_us, organisation, record FROM journal WHERE kind = ? AND kind <> 'usage.settle' ORDER BY sequence",
        (outcomes.KIND,),
    )


def _labelled(model: Valued, organisation: str, facts: Mapping[str, Any], at_us: int) -> Row | None:
    row = _row(model, organisation, facts["request_id"], facts["row"], facts["version"], facts["decided_us"], facts["said"])
    truth = _truth(model, facts["outcome"])
    amounts = {name: int(amount) for name, amount in facts["amounts"].items()}
    if row is None or truth is None or any(name not in amounts for name in model.policy.columns):
        return None
    row.truth, row.rule, row.amounts = truth, facts["rule"], amounts
    row.told_us = at_us if facts["happened_us"] is None else facts["happened_us"]
    return row


def _row(
    model: Valued, organisation: str, request_id: str, number: int, version: int, at_us: int, said: Mapping[str, Any]
) -> Row | None:
    action = said.get(f"{model.output}.decision")
    prediction = said.get(f"{model.output}.probability.{model.positive}" if model.is_binary else model.output)
    if action is None or prediction is None:
        return None
    return Row(organisation, request_id, number, version, at_us, float(action), float(prediction))


def _truth(model: Valued, outcome: Any) -> float | None:
    """0 and 1 mean that it did not come true and that it did; a text is a class by its name."""
    if not model.is_binary:
        return None if isinstance(outcome, str) else float(outcome)
    if isinstance(outcome, str):
        return float(outcome == model.positive)
    return float(outcome) if outcome in (0, 1) else None
