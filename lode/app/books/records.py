"""An act as bytes: canonical JSON with sorted keys, amounts as text because JSON's numbers end at 2^53."""

from __future__ import annotations

from typing import Any

import orjson

from lode.app.books.contracts import Act, Document, Transfer, Used


def record_of(act: Act) -> bytes:
    """What the journal keeps of an act, and what its hash is made of. Empty parts are left out."""
    record: dict[str, Any] = {"kind": act.kind, "actor": act.actor, "organisation": act.organisation}
    if act.reference:
        record["reference"] = act.reference
    if act.fingerprint:
        record["fingerprint"] = act.fingerprint
    if act.transfers:
        record["transfers"] = [(item.debit, item.credit, str(item.amount)) for item in act.transfers]
    if act.documents:
        record["documents"] = [
            {"kind": item.kind, "id": item.id, "organisation": item.organisation, "body": item.body} for item in act.documents
        ]
    if act.used is not None:
        record["used"] = _of_used(act.used)
    if act.counters:
        record["counters"] = texts(act.counters)
    if act.facts:
        record["facts"] = act.facts
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def act_of(record: bytes | str) -> Act:
    """The act that `record_of` wrote."""
    found = orjson.loads(record)
    used = found.get("used")
    if used is not None:
        used = Used(**{**used, "amount": int(used["amount"]), "cost": int(used["cost"]), "charges": _numbers(used["charges"])})
    return Act(
        kind=found["kind"],
        actor=found["actor"],
        organisation=found["organisation"],
        reference=found.get("reference", ""),
        fingerprint=found.get("fingerprint", ""),
        transfers=tuple(Transfer(debit, credit, int(amount)) for debit, credit, amount in found.get("transfers", ())),
        documents=tuple(Document(**item) for item in found.get("documents", ())),
        used=used,
        counters=_numbers(found.get("counters", {})),
        facts=found.get("facts", {}),
    )


def texts(amounts: dict[str, int]) -> dict[str, str]:
    """Amounts by name, for JSON."""
    return {name: str(amount) for name, amount in amounts.items()}


def _numbers(amounts: dict[str, str]) -> dict[str, int]:
    return {name: int(amount) for name, amount in amounts.items()}


def _of_used(used: Used) -> dict[str, Any]:
    # Written out: dataclasses.asdict copies deeply and took three quarters of a settlement's time.
    return {
        "request_id": used.request_id, "at_us": used.at_us, "organisation": used.organisation, "project": used.project, "key": used.key,
        "model": used.model, "version": used.version, "status": used.status, "units": used.units, "amount": str(used.amount),
        "charges": texts(used.charges), "plan": used.plan, "subscription": used.subscription, "period": used.period, "kind": used.kind,
        "cost": str(used.cost), "cost_currency": used.cost_currency, "provider": used.provider, "estimated": used.estimated,
    }  # fmt: skip
