"""Limits as people write them ("600 requests/minute", "50 EUR/month of big"), and their place in the books.

One document of kind "limit" per subject holds all its limits; `lode/app/metering` enforces them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lode.app.access import checks, members, organisations
from lode.app.books import journal, pages
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.books.pages import ALL, Span
from lode.app.contracts import Limit
from lode.core import money
from lode.core.errors import BillingError, NotFoundError

KIND = "limit"
MONEY = "money"
UNITS = ("requests", "rows", "input_tokens", "cached_tokens", "output_tokens", "compute_us", "request_bytes", "answer_bytes")
RATES = ("second", "minute", "hour")
QUOTAS = ("day", "month", "total")
SUBJECTS = ("key", "project", "organisation", "model")
_MOST = 32
"""Limits of one subject."""
_LARGEST = 10**15
_KEYS = ("unit", "amount", "window", "model", "burst")
_TEXT = re.compile(
    r"(?P<amount>[0-9._]{1,40}) +(?P<unit>\w{1,20})/(?P<window>[a-z]{1,10})(?: +burst +(?P<burst>\d{1,16}))?(?: +of +(?P<model>\S{1,64}))?",
    re.ASCII,
)


def parse(written: str | Mapping[str, Any], subject: str, currency: str, where: str = "limit") -> Limit:
    """A limit from text or from JSON: {"unit": "requests", "amount": 600, "window": "minute", "model": "", "burst": 600}.

    Money is written in the organisation's currency ("unit": "EUR", "amount": "50.00"). currency: "" where there is none.
    Errors: BillingError that says what is allowed.
    """
    fields = _fields_of(written, where) if isinstance(written, str) else written
    if not isinstance(fields, Mapping):
        raise BillingError(f'{where}: found {checks.quoted(written)}, wanted a limit like "600 requests/minute". Write it so.')
    checks.known_keys(fields, _KEYS, where)
    unit, window = fields.get("unit"), checks.one_of(fields.get("window"), (*RATES, *QUOTAS), f"{where}: window")
    model = checks.model(fields["model"], f"{where}: model") if fields.get("model") else ""
    if isinstance(unit, str) and re.fullmatch("[A-Z]{3}", unit):
        return Limit(subject, MONEY, _budget(fields, unit, window, currency, where), window, model)
    checks.one_of(unit, (*UNITS, currency or "EUR"), f"{where}: unit")
    amount = _count(fields.get("amount"), f"{where}: amount", 0)
    if window in QUOTAS:
        if fields.get("burst"):
            raise BillingError(
                f"{where}: burst: found {checks.quoted(fields['burst'])}, allowed only per second, minute or hour. Leave it out."
            )
        return Limit(subject, str(unit), amount, window, model)
    if amount == 0:
        raise BillingError(f'{where}: amount: found 0 per {window}, allowed: 1 or more; "0 {unit}/total" forbids it. Write that.')
    burst = _count(fields["burst"], f"{where}: burst", 1) if fields.get("burst") else amount
    return Limit(subject, str(unit), amount, window, model, burst)


def text_of(limit: Limit, currency: str) -> str:
    """As a person writes it; `parse` reads it."""
    amount, unit = (money.plain(limit.amount), currency) if limit.unit == MONEY else (str(limit.amount), limit.unit)
    burst = f" burst {limit.burst}" if limit.burst not in (0, limit.amount) else ""
    return f"{amount} {unit}/{limit.window}{burst}" + (f" of {limit.model}" if limit.model else "")


def of(document: Document) -> tuple[Limit, ...]:
    """The limits that a document of the books holds."""
    return tuple(Limit(document.id, **{**item, "amount": int(item["amount"])}) for item in document.body["limits"])


def set_limits(
    store: Store, actor: str, subject: str, written: Sequence[str | Mapping[str, Any]], *, now_us: Callable[[], int],
    within: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Replace all limits of a subject; none of them takes them away. They hold in every process within seconds.

    subject: "key/ID", "project/ID", "organisation/SLUG" or "model/NAME" (all callers of a model together). within: an organisation whose
    keys and projects alone are meant: its own ceiling is the operator's. Errors: NotFoundError; BillingError for a limit that cannot be
    read, or the same one twice.
    """
    if not isinstance(written, list | tuple) or len(written) > _MOST:
        raise BillingError(f"limits: found {checks.quoted(written)}, wanted a list of at most {_MOST}. Shorten it.")

    def work(session: Session) -> dict[str, Any]:
        owner, currency = owner_of(session, subject) if within is None else _inside(session, subject, within)
        found = [parse(item, subject, currency, f"limits[{index}]") for index, item in enumerate(written)]
        twice = [limit for index, limit in enumerate(found) if limit.name in {other.name for other in found[:index]}]
        if twice:
            text = checks.quoted(text_of(twice[0], currency))
            raise BillingError(
                f"limits: found {text} beside another of its kind, allowed: one per unit, window and model. Remove one."
            )
        body = {"limits": [_stored(limit) for limit in found]}
        journal.append(session, [Act("limit.set", actor, owner, documents=(Document(KIND, subject, owner, body),))], now_us())
        return {"subject": subject, "organisation": owner, "limits": [text_of(limit, currency) for limit in found]}

    return store.transact(work)


def show_limits(store: Store, organisation: str | None = None, span: Span = ALL) -> dict[str, Any]:
    """All limits, or one organisation's, by subject. Errors: BillingError where there is no such organisation."""
    with store.view() as session:
        if organisation is not None:
            organisations.found(session, organisation)
        found = pages.documents(session, KIND, organisation, span, lambda document: bool(document.body["limits"]))
        owners = {document.organisation for document in found} - {""}
        currencies = {owner: organisations.found(session, owner).currency for owner in owners}
    return {
        "limits": [
            {
                "subject": document.id,
                "organisation": document.organisation,
                "limits": [text_of(limit, currencies.get(document.organisation, "")) for limit in of(document)],
            }
            for document in found
        ]
    }


def _inside(session: Session, subject: str, organisation: str) -> tuple[str, str]:
    word, _, id = subject.partition("/")
    if word not in ("key", "project"):
        raise BillingError(
            f"subject: found {checks.quoted(subject)}, wanted key/ID or project/ID. Ask the operator for other limits."
        )
    members.owned(session, word, organisation, id)
    return owner_of(session, subject)


def owner_of(session: Session, subject: Any) -> tuple[str, str]:
    """Organisation and currency of a subject; ("", "") for a model. Errors: BillingError where it does not exist."""
    word, _, id = subject.partition("/") if isinstance(subject, str) else ("", "", "")
    if word not in SUBJECTS or not id:
        wanted = "key/ID, project/ID, organisation/NAME or model/NAME"
        raise BillingError(f"subject: found {checks.quoted(subject)}, wanted {wanted}. Write it so.")
    if word == "model":
        checks.model(id, "subject")
        return "", ""
    if word == "organisation":
        organisation = organisations.open_one(session, id)
        return organisation.slug, organisation.currency
    document = journal.document(session, word, id) if checks.is_id(id) else None
    if document is None:
        raise NotFoundError(
            f"subject: found {checks.quoted(subject)}, which does not exist. See `lode customers show` and `lode keys list`."
        )
    return document.organisation, organisations.open_one(session, document.organisation).currency


def _fields_of(text: str, where: str) -> dict[str, Any]:
    found = _TEXT.fullmatch(text.strip()) if len(text) <= 200 else None
    if found is None:
        wanted = '"600 requests/minute", "10 requests/second burst 50", "1000000 input_tokens/day of big" or "50.00 EUR/month"'
        raise BillingError(f"{where}: found {checks.quoted(text)}, wanted one like {wanted}. Write it so.")
    return {key: value for key, value in found.groupdict().items() if value is not None}


def _budget(fields: Mapping[str, Any], unit: str, window: str, currency: str, where: str) -> int:
    if unit != currency:
        allowed = f"its currency, {currency}" if currency else "units only, because money of several currencies has no sum"
        raise BillingError(f"{where}: unit: found {unit}, allowed: {allowed}. Correct it.")
    checks.one_of(window, QUOTAS, f"{where}: window of a budget")
    return money.parse(fields.get("amount", ""), f"{where}: amount")


def _count(value: Any, where: str, least: int) -> int:
    if isinstance(value, str) and re.fullmatch(r"[0-9][0-9_]{0,20}", value, re.ASCII):
        value = int(value.replace("_", ""))
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise BillingError(f"{where}: found {checks.quoted(value)}, wanted a whole number from {least} to {_LARGEST}. Correct it.")
    return value


def _stored(limit: Limit) -> dict[str, Any]:
    """Amounts as text: JSON's whole numbers end at 2^53."""
    return {"unit": limit.unit, "amount": str(limit.amount), "window": limit.window, "model": limit.model, "burst": limit.burst}
