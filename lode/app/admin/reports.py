"""Operations that report: usage, margin, worth, another plan, the journal. They change nothing but for a checkpoint."""

from __future__ import annotations

from typing import Any

from lode.app.admin.contracts import Body, Call, Operation
from lode.app.audit.entries import Wanted, at, entries
from lode.app.economics import readings
from lode.app.economics.compute import hour_price, model_facts
from lode.app.economics.margin import Terms, margin
from lode.app.economics.retained import customers_over_time
from lode.app.invoices import events, usage
from lode.app.invoices.documents import REFERENCE
from lode.app.prices import plans
from lode.core.errors import BillingError
from lode.core.packages import missing

_TENANT_BY = ("project", "key", "model", "plan", "day")
"""What a customer may group its usage by; who provides a model is the operator's business."""
_MOST_ENTRIES = 1000


class Simulation(Body):
    """plan: name of a plan of the books, or the keys of a plan's file."""

    plan: str | dict[str, Any]
    version: int | None = None
    start: str | None = None
    end: str | None = None


class Verification(Body):
    """chain: only the chain, not what follows from it."""

    chain: bool = False


def _words(call: Call, default: str) -> list[str]:
    return [word.strip() for word in call.query.get("by", default).split(",") if word.strip()]


def _all_usage(call: Call) -> dict[str, Any]:
    what = usage.asked("", call.query.get("from", ""), call.query.get("to", ""))
    return usage.totals(call.platform.store, what, _words(call, "customer"))


def _usage(call: Call) -> dict[str, Any]:
    what, by = usage.asked(call.organisation, call.query.get("from", ""), call.query.get("to", "")), _words(call, "model")
    if not set(by) <= {*_TENANT_BY}:
        raise BillingError(f"by: found {', '.join(by)[:60]}, allowed: {', '.join(_TENANT_BY)}. Choose some, with commas.")
    return usage.totals(call.platform.store, what, by)


def _quarantine(call: Call) -> dict[str, Any]:
    return events.quarantined(call.platform.store, "")


def _terms(call: Call) -> Terms:
    price, currency = call.query.get("price_per_hour"), call.query.get("currency")
    hour = hour_price(price, currency) if price else None
    return Terms(price=hour, models=model_facts(call.platform.runs), currency=currency or "")


def _span(call: Call) -> readings.Window:
    return readings.window(call.query.get("from"), call.query.get("to"), call.platform.now_us())


def _margin(call: Call) -> dict[str, Any]:
    terms, span, store = _terms(call), _span(call), call.platform.store
    return {
        **margin(store, terms, span, _words(call, "customer,model")),
        "customers": customers_over_time(store, terms, span, None),
    }


def _worth(call: Call) -> dict[str, Any]:
    # Here: no other operation reads an artifact.
    from lode.app.economics.worth import worth

    platform = call.platform
    return worth(
        platform.store, platform.runs, call.path["model"], _span(call), _terms(call), version=call.optional_number("version")
    )


def _simulate(call: Call) -> dict[str, Any]:
    from lode.app.economics.simulate import simulate

    body, store = call.body, call.platform.store
    span = readings.window(body.start, body.end, call.platform.now_us())
    if isinstance(body.plan, dict):
        return simulate(store, plans.read_record(body.plan), span)
    with store.view() as session:
        chosen = plans.found(session, body.plan, body.version)
    return simulate(store, chosen, span)


def _wanted(call: Call, organisation: str) -> Wanted:
    query = call.query
    after, before = query.get("from"), query.get("to")
    return Wanted(
        organisation, query.get("actor", ""), query.get("kind", ""), at(after, "from") if after else None,
        at(before, "to") if before else None, call.number("limit", 100, _MOST_ENTRIES),
    )  # fmt: skip


def _entries(call: Call, organisation: str) -> list[dict[str, Any]]:
    with call.platform.store.view() as session:
        return entries(session, _wanted(call, organisation))


def _all_entries(call: Call) -> dict[str, Any]:
    found = _entries(call, call.query.get("organisation", ""))
    return {"entries": [{**entry, "documents": [_shown(item) for item in entry.get("documents", ())]} for entry in found]}


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """A document without digests of secrets."""
    return {**document, "body": {name: value for name, value in document.get("body", {}).items() if name != "secrets"}}


def _own_entries(call: Call) -> dict[str, Any]:
    """What happened, when and by whom; not what a request cost us, nor what a person is elsewhere."""
    kept = ("sequence", "at", "hash", "kind", "actor")
    return {
        "entries": [
            {
                **{word: entry[word] for word in kept},
                "reference": entry.get("reference", "").removeprefix(REFERENCE),
                "documents": [{"kind": item["kind"], "id": item["id"]} for item in entry.get("documents", ())],
            }
            for entry in _entries(call, call.organisation)
        ]
    }


def _verify(call: Call) -> dict[str, Any]:
    # Here, twice: signatures need the extra `encryption`.
    try:
        from lode.app.audit import command
    except ModuleNotFoundError as error:
        raise missing("audit", error) from None
    return command.check(call.platform.runs, call.platform.books, (), None, chain_only=call.body.chain)


def _checkpoint(call: Call) -> dict[str, Any]:
    try:
        from lode.app.audit import checkpoint, command
    except ModuleNotFoundError as error:
        raise missing("audit", error) from None
    platform = call.platform
    return command.make(platform.runs, platform.books, str(checkpoint.home(platform.runs)), platform.now_us())


def _head(call: Call) -> dict[str, Any]:
    with call.platform.store.view() as session:
        sequence, at_us, digest, changes = session.rows("SELECT sequence, at_us, hash, changes FROM head")[0]
    return {"sequence": int(sequence), "at": readings.shown_us(int(at_us)), "hash": digest, "changes": int(changes)}


_ONE = "/organisations/{organisation}"
_USAGE, _MONEY, _AUDIT = "Usage", "Economics", "Audit"
_TIMES = {"from": "2026-11-01 (UTC)", "to": "Up to then, not included"}
_COSTS = {**_TIMES, "currency": "Of the report", "price_per_hour": 'What the machine costs, such as "0.12 EUR"'}
_CHOICE = {"actor": "user:..., key:..., cli", "kind": "key, key.create, invoice, ...", "limit": f"The newest, 1 to {_MOST_ENTRIES}"}
_BY = "customer, project, key, model, plan, provider, day; with commas"

OPERATIONS = (
    Operation("GET", "/usage", "usage.read", "What all customers used", _all_usage, _USAGE, query={**_TIMES, "by": _BY}),
    Operation("GET", f"{_ONE}/usage", "usage.read", "What it used", _usage, _USAGE, query={**_TIMES, "by": ", ".join(_TENANT_BY)}),
    Operation("GET", "/quarantine", "usage.export", "Events that could not be billed, and why", _quarantine, _USAGE),
    Operation("GET", "/margin", "margin.read", "What customers and models bring and cost", _margin, _MONEY,
              query={**_COSTS, "by": "customer, project, model, day; with commas"}),
    Operation("GET", "/models/{model}/worth", "worth.read", "What a model is worth", _worth, _MONEY,
              query={**_COSTS, "version": "The newest where it is left out"}),
    Operation("POST", "/simulate", "margin.read", "What customers would have paid under another plan", _simulate, _MONEY, Simulation),
    Operation("GET", "/audit", "audit.read", "The journal's entries, newest last", _all_entries, _AUDIT,
              query={**_TIMES, **_CHOICE, "organisation": "Of this customer"}),
    Operation("GET", f"{_ONE}/audit", "audit.read", "What happened to it, newest last", _own_entries, _AUDIT, query={**_TIMES, **_CHOICE}),
    Operation("POST", "/audit/verify", "audit.verify", "Count every entry's hash again", _verify, _AUDIT, Verification),
    Operation("POST", "/audit/checkpoint", "audit.checkpoint", "Sign the journal's length and last hash", _checkpoint, _AUDIT, status=201),
    Operation("GET", "/books", "books.check", "The journal's last entry", _head, _AUDIT),
)  # fmt: skip
