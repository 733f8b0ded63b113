"""A plan: what usage costs, in one currency. `plans/NAME.toml`, versioned and immutable.

`read_plan` reads the file and names every problem of it at once; `Plan.of` reads a stored one. Read `tariff.py` next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from lode.app.prices import plan_checks, toml_lines
from lode.app.prices.contracts import REPORTED, Charge
from lode.app.prices.periods import Unit
from lode.core.check import Finding, dotted
from lode.core.errors import BillingError
from lode.core.registry import REGISTRIES
from lode.core.types import Component

EVERY, OTHERS = "*", "others"
"""Models of a charge: all of them; those that no other charge of the plan names."""


@dataclass(frozen=True, slots=True)
class Fee:
    """A flat fee per period. amount: 10^-12 units. due: at the period's start or end. prorated: by seconds where a period is cut."""

    name: str
    amount: int
    due: Literal["advance", "arrears"] = "advance"
    prorated: bool = True


@dataclass(frozen=True, slots=True)
class PlanCharge:
    """A charge of a plan. model: a model's name, `*` or `others`. cap: most per period, 10^-12 units, None for none."""

    name: str
    type: str
    model: str
    cap: int | None
    charge: Charge = field(compare=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of a plan. Everything follows from `record`, which is what the books keep; hash: of that.

    period: how long a period is; anchor: its first day (1..31, in a year `MM-DD`, in a week 1..7), "" for the day on which the contract
    begins. counters: whether tiers start again or go on when a customer changes to this plan. cap: most per period, 10^-12
    units. limits: as `lode.app.access.limits` reads them. taxes: tax category by fee or charge, where one is named. warnings: what the
    author should know.
    """

    name: str
    version: int
    currency: str
    period: Unit
    anchor: str
    trial_days: int
    counters: Literal["restart", "carry"]
    cap: int | None
    fees: tuple[Fee, ...]
    charges: tuple[PlanCharge, ...]
    limits: tuple[str, ...]
    taxes: Mapping[str, str] = field(compare=False)
    record: Mapping[str, Any] = field(compare=False)
    hash: str
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def id(self) -> str:
        """`team@2`: the id of its document."""
        return f"{self.name}@{self.version}"

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Plan:
        """The plan that a document of the books holds. Errors: BillingError where it cannot be meant."""
        return _parsed(canonical(record))

    def for_model(self, model: str) -> tuple[PlanCharge, ...]:
        """Charges of a model's usage."""
        named = {item.model for item in self.charges}
        words = {EVERY, model} if model in named else {EVERY, OTHERS}
        return tuple(item for item in self.charges if item.charge.due == "usage" and item.model in words)


def canonical(record: Mapping[str, Any]) -> str:
    """JSON of a plan's record: sorted keys, no spaces."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def read_plan(path: Path) -> Plan:
    """The plan of a file.

    Errors: BillingError with a line for each problem, `file:line: key: found, allowed. next step`.
    """
    written, lines = toml_lines.read(path)
    findings: list[Finding] = []
    made = make(written, findings)
    if made is None:
        raise BillingError("\n".join(_told(str(path), lines, item) for item in findings))
    return made


def _told(path: str, lines: dict[tuple[str | int, ...], int], finding: Finding) -> str:
    line = toml_lines.line_of(lines, finding.key)
    return f"{path}:{line}: {dotted(finding.key)}: {finding.text}" if line else f"{path}: {dotted(finding.key)}: {finding.text}"


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Plan:
    findings: list[Finding] = []
    made = make(json.loads(text), findings)
    if made is None:
        raise BillingError("\n".join(f"plan: {dotted(item.key)}: {item.text}" for item in findings))
    return made


def make(written: Mapping[str, Any], findings: list[Finding]) -> Plan | None:
    """The plan of a parsed document; None, with a Finding for each problem, where it is none."""
    parts = plan_checks.checked(written, findings)
    if findings:
        return None
    charges = tuple(
        PlanCharge(item["name"], item["component"].type, item["model"], item["cap"], item["charge"]) for item in parts["charges"]
    )
    fees = tuple(Fee(item["name"], item["pico"], item["due"], item["prorated"]) for item in parts["fees"])
    record = _record(parts)
    return Plan(
        name=parts["name"], version=parts["version"], currency=parts["currency"], period=parts["period"], anchor=parts["anchor"],
        trial_days=parts["trial_days"], counters=parts["counters"], cap=parts["cap_pico"], fees=fees, charges=charges,
        limits=tuple(parts["limits"]), taxes={item["name"]: item["tax"] for item in (*parts["fees"], *parts["charges"]) if item["tax"]},
        record=record, hash=hashlib.sha256(canonical(record).encode()).hexdigest(),
        warnings=_warnings(charges),
    )  # fmt: skip


def _record(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What the books keep: every default filled in, so that a later lode with other defaults bills the same."""
    record = {name: parts[name] for name in ("name", "version", "currency", "period", "anchor", "trial_days", "counters", "limits")}
    record["fees"] = [
        {name: fee[name] for name in ("name", "amount", "due", "prorated")} | _tax_record(fee) for fee in parts["fees"]
    ]
    record["charges"] = [_charge_record(item) for item in parts["charges"]]
    if parts["cap"] is not None:
        record["cap"] = parts["cap"]
    return record


def _charge_record(item: Mapping[str, Any]) -> dict[str, Any]:
    component: Component = item["component"]
    options = REGISTRIES["charge"].resolve(component)
    kept = {key: value for key, value in options.items() if value is not None}
    head = {"name": item["name"], "model": item["model"]} | ({"cap": item["cap_text"]} if item["cap_text"] is not None else {})
    return {**head, **_tax_record(item), **kept}


def _tax_record(item: Mapping[str, Any]) -> dict[str, Any]:
    """Left out where there is none: what was added before there were categories is the same plan."""
    return {"tax": item["tax"]} if item["tax"] else {}


def _warnings(charges: tuple[PlanCharge, ...]) -> tuple[str, ...]:
    reported = [
        f'charge "{item.name}": it prices transactions that you report (`lode usage --import`, units {{"{REPORTED}": "12.50"}}); requests '
        "cost nothing by it."
        for item in charges
        if REPORTED in item.charge.units
    ]
    return tuple(reported) + tuple(
        f'charge "{item.name}": one more unit can lower the bill ({item.type} pricing): customers will notice the step. '
        "`graduated` has none."
        for item in charges
        if item.charge.falls
    )
