"""Operations that report: usage, margin, worth, another plan, the journal. They change nothing but for a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from lode.app.admin.contracts import Body, Call, Operation
from lode.app.admin.pages import MOST
from lode.app.audit.entries import Wanted, at, entries
from lode.app.economics import posting, readings
from lode.app.economics.compute import hour_price, model_facts, rates_of
from lode.app.economics.margin import Terms, margin
from lode.app.economics.retained import customers_over_time
from lode.app.invoices import events, usage
from lode.app.invoices.documents import REFERENCE
from lode.app.prices import plans
from lode.core import money
from lode.core.errors import BillingError
from lode.core.packages import missing

_TENANT_BY = ("project", "key", "model", "plan", "day")
"""What a customer may group its usage by; who provides a model is the operator's business."""


class Simulation(Body):
    """plan: name of a plan of the books, or the keys of a plan's file."""

    plan: str | dict[str, Any]
    version: int | None = None
    start: str | None = None
    end: str | None = None


class Verification(Body):
    """chain: only the chain, not what follows from it."""

    chain: bool = False


class Closing(Body):
    """month: such as 2026-11, which must be over."""

    month: str
    currency: str | None = None
    price_per_hour: str | None = None
    rate: str | None = None


class Posting(Body):
    """start, end: days, UTC; the last 30 where they are left out."""

    start: str | None = None
    end: str | None = None
    currency: str | None = None
    price_per_hour: str | None = None
    rate: str | None = None


class Events(Body):
    """events: as the lines of the file that `lode usage --import` takes."""

    events: list[dict[str, Any]]


def _words(call: Call, default: str) -> list[str]:
    return [word.strip() for word in call.query.get("by", default).split(",") if word.strip()]


def _all_usage(call: Call) -> dict[str, Any]:
    what = usage.asked("", call.query.get("from", ""), call.query.get("to", ""))
    found = usage.totals(call.platform.store, what, _words(call, "customer"))
    # Of thousands of customers only those whose books do not agree; the ratios count all of them.
    found["books"] = {owner: books for owner, books in found["books"].items() if books["problems"]}
    return call.page.of(found, "totals", _named(*found["by"], "currency"))


def _usage(call: Call) -> dict[str, Any]:
    what, by = usage.asked(call.organisation, call.query.get("from", ""), call.query.get("to", "")), _words(call, "model")
    if not set(by) <= {*_TENANT_BY}:
        raise BillingError(f"by: found {', '.join(by)[:60]}, allowed: {', '.join(_TENANT_BY)}. Choose some, with commas.")
    return call.page.of(usage.totals(call.platform.store, what, by), "totals", _named(*by, "currency"))


def _named(*words: str) -> Callable[[dict[str, Any]], tuple[str, ...]]:
    """The name of a row of sums: what it is grouped by."""
    return lambda row: tuple(row[word] for word in words)


def _quarantine(call: Call) -> dict[str, Any]:
    return call.page.of(events.quarantined(call.platform.store, ""), "held", _named("at", "organisation", "request_id", "id"))


def _import(call: Call) -> dict[str, Any]:
    if len(call.body.events) > MOST:
        raise BillingError(f"events: found {len(call.body.events)}, allowed: {MOST} in one request. Send them in several.")
    found = [events.event_of(orjson.dumps(event).decode(), f"events[{place}]") for place, event in enumerate(call.body.events)]
    results = events.record(call.platform.store, call.actor, found, now_us=call.platform.now_us)
    shown = [
        {"request_id": event.request_id, "result": word, "amount": money.plain(amount), "currency": currency}
        for event, (word, currency, amount) in zip(found, results, strict=True)
    ]
    return {"events": shown}


def _terms(call: Call) -> Terms:
    query = call.query
    return terms_of(call, query.get("price_per_hour"), query.get("currency"), query.get("rate"))


def terms_of(call: Call, price: str | None, currency: str | None, rate: str | None = None) -> Terms:
    """What costs are counted with. Errors: BillingError."""
    hour = hour_price(price, currency) if price else None
    rates = rates_of(rate.split(",") if rate else ())
    return Terms(price=hour, models=model_facts(call.platform.runs), currency=currency or "", rates=rates)


def _span(call: Call) -> readings.Window:
    return readings.window(call.query.get("from"), call.query.get("to"), call.platform.now_us())


def _margin(call: Call) -> dict[str, Any]:
    terms, span, store = _terms(call), _span(call), call.platform.store
    found = margin(store, terms, span, _words(call, "customer,model"))
    found |= {"losing": found["losing"][:MOST], "customers": customers_over_time(store, terms, span, None)}
    return call.page.of(found, "lines", _named(*found["by"]))


def _post(call: Call) -> dict[str, Any]:
    body, now_us = call.body, call.platform.now_us
    span = readings.window(body.start, body.end, now_us())
    return posting.post(
        call.platform.store, call.actor, terms_of(call, body.price_per_hour, body.currency, body.rate), span, now_us=now_us
    )


def _close(call: Call) -> dict[str, Any]:
    # Here: reads an artifact, as `worth`.
    from lode.app.economics import sealed

    body, platform = call.body, call.platform
    terms = terms_of(call, body.price_per_hour, body.currency, body.rate)
    return sealed.close(platform.store, call.actor, platform.runs, call.path["model"], body.month, terms, now_us=platform.now_us)


def report_of(call: Call) -> dict[str, Any]:
    """What a model is worth. Errors: BillingError."""
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
        at(before, "to") if before else None, call.page.limit + 1, -int(call.page.after[0]) if call.page.after else None,
    )  # fmt: skip


def _entries(call: Call, organisation: str) -> dict[str, Any]:
    """The newest, in the order in which they were written; the next page holds older ones."""
    with call.platform.store.view() as session:
        found = call.page.of({"entries": entries(session, _wanted(call, organisation))}, "entries", lambda row: (-row["sequence"],))
    return {**found, "entries": found["entries"][::-1]}


def _all_entries(call: Call) -> dict[str, Any]:
    found = _entries(call, call.query.get("organisation", ""))
    return {
        **found,
        "entries": [{**item, "documents": [_shown(one) for one in item.get("documents", ())]} for item in found["entries"]],
    }


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """A document without digests of secrets."""
    return {**document, "body": {name: value for name, value in document.get("body", {}).items() if name != "secrets"}}


def _own_entries(call: Call) -> dict[str, Any]:
    """What happened, when and by whom; not what a request cost us, nor what a person is elsewhere."""
    kept, found = ("sequence", "at", "hash", "kind", "actor"), _entries(call, call.organisation)
    return {
        **found,
        "entries": [
            {
                **{word: entry[word] for word in kept},
                "reference": entry.get("reference", "").removeprefix(REFERENCE),
                "documents": [{"kind": item["kind"], "id": item["id"]} for item in entry.get("documents", ())],
            }
            for entry in found["entries"]
        ],
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
_COSTS = {
    **_TIMES, "currency": "Of the report", "rate": "What others are in it, such as USD=0.92,JPY=0.0062",
    "price_per_hour": 'What the machine costs, such as "0.12 EUR"',
}  # fmt: skip
_CHOICE = {"actor": "user:..., key:..., cli", "kind": "key, key.create, invoice, ..."}
WORTH = {**_COSTS, "version": "The newest where it is left out"}
_BY = "customer, project, key, model, plan, provider, day; with commas"

OPERATIONS = (
    Operation("GET", "/usage", "usage.read", "What all customers used", _all_usage, _USAGE, query={**_TIMES, "by": _BY},
              items="totals", slow=True),
    Operation("GET", f"{_ONE}/usage", "usage.read", "What it used", _usage, _USAGE, query={**_TIMES, "by": ", ".join(_TENANT_BY)},
              items="totals", slow=True),
    Operation("POST", "/usage/events", "usage.import", "Bill what was measured elsewhere; the same event again changes nothing", _import,
              _USAGE, Events),
    Operation("GET", "/quarantine", "usage.export", "Events that could not be billed, and why", _quarantine, _USAGE, items="held"),
    Operation("GET", "/margin", "margin.read", "What customers and models bring and cost", _margin, _MONEY,
              query={**_COSTS, "by": "customer, project, model, day; with commas"}, items="lines", slow=True),
    Operation("GET", "/models/{model}/worth", "worth.read", "What a model is worth", report_of, _MONEY,
              query=WORTH, slow=True),
    Operation("POST", "/models/{model}/worth/close", "worth.close", "Seal the report of a month, or restate it", _close, _MONEY, Closing,
              slow=True),
    Operation("POST", "/margin/post", "cost.post", "Write compute costs of days that are over into the ledger, once", _post, _MONEY,
              Posting, slow=True),
    Operation("POST", "/simulate", "margin.read", "What customers would have paid under another plan", _simulate, _MONEY, Simulation,
              slow=True),
    Operation("GET", "/audit", "audit.read", "The journal's entries, newest last", _all_entries, _AUDIT,
              query={**_TIMES, **_CHOICE, "organisation": "Of this customer"}, items="entries", slow=True),
    Operation("GET", f"{_ONE}/audit", "audit.read", "What happened to it, newest last", _own_entries, _AUDIT, query={**_TIMES, **_CHOICE},
              items="entries", slow=True),
    Operation("POST", "/audit/verify", "audit.verify", "Count every entry's hash again", _verify, _AUDIT, Verification, slow=True),
    Operation("POST", "/audit/checkpoint", "audit.checkpoint", "Sign the journal's length and last hash", _checkpoint, _AUDIT, status=201),
    Operation("GET", "/books", "books.check", "The journal's last entry", _head, _AUDIT),
)  # fmt: skip
