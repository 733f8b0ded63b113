"""Closing a period for a customer: the books are compared, the document is made, sealed and numbered, all in one transaction.

Issuing is idempotent per (organisation, period, kind): who comes second, in another process or after a crash, gets the first's document.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lode.app.books import journal
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.invoices import customers, drafting, identity, making, numbers, packs, selection, statements, terms, wallet
from lode.app.invoices.documents import INVOICE, REFERENCE, seal
from lode.app.invoices.drafting import Draft, Scope
from lode.app.invoices.making import Kind, Order, Scene
from lode.app.invoices.seller import Seller
from lode.core import money
from lode.core.errors import BillingError, BooksError, ConflictError

DAY_US = 86_400_000_000
GRACE_DAYS = 1
MOST_GRACE_DAYS = 3
_CLOCK_US = 5 * 60 * 1_000_000
_TRIES = 5
_MOST_DOCUMENTS = 1200
"""Documents of one run for one customer: a hundred years of months."""


def scene(store: Store, organisation: str, now_us: int) -> Scene:
    """Read and compare. Errors: BillingError where the books do not agree (with the entries), or the clock went back."""
    with store.view() as session:
        customer = customers.found(session, organisation)
        done = selection.checked(session, organisation)
        parts = selection.parts(session, organisation, customer.currency, done)
        found = identity.compare(session, organisation, customer.currency, parts, done)
        last_us = int(session.rows("SELECT at_us FROM head")[0][0])
        through = selection.head(session)
        costs = making.costs(session, organisation, [part for part in parts if part.is_open])
    if now_us < last_us - _CLOCK_US:
        raise BillingError(
            f"clock: found {customers.shown_time(now_us)}, the last entry of the books is of {customers.shown_time(last_us)}. "
            "Correct the clock; nothing was closed."
        )
    if found.problems:
        text = "\n".join(f"  {problem}" for problem in found.problems)
        raise BillingError(f"{organisation}: the books do not agree, nothing was closed:\n{text}\nRun `lode audit verify`.")
    return Scene(customer, tuple(parts), through, found, costs)


def bill(
    store: Store, actor: str, organisation: str, seller: Seller, *, now_us: Callable[[], int], period: str = "",
    grace_days: int = GRACE_DAYS,
    interim: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Issue everything that is due of a customer, oldest period first.

    period: only up to the one that begins on this day or in this month ("2026-11"). grace_days: days after its end in which a period
    stays open for late events. interim: also what was used so far of the running period. Errors: BillingError.
    """
    _check_grace(grace_days)
    issued: list[dict[str, Any]] = []
    warnings: list[str] = []
    overtaken = 0
    while len(issued) < _MOST_DOCUMENTS:
        now = now_us()
        seen = scene(store, organisation, now)
        is_interim = interim and all(row["kind"] != "interim" for row in issued)
        with store.view() as session:
            order = _next(session, seen, organisation, now, grace_days, period, is_interim)
        if order is None:
            break
        body, told = _issue(store, actor, seen, order, seller, now)
        if body is None:
            overtaken += 1
            if overtaken == _TRIES:
                raise ConflictError(f"{organisation}: other processes close its periods at the same time. Try again.")
            continue
        issued.append(body)
        warnings += told
        if period and order.group.label.startswith(period):
            break
    return {
        "organisation": organisation,
        "issued": issued,
        "warnings": list(dict.fromkeys(warnings)),
        "identity": seen.identity.body(),
    }


def draft(store: Store, organisation: str, seller: Seller, *, now_us: Callable[[], int], period: str = "") -> dict[str, Any]:
    """What the next invoice would be if its period ended now; nothing is written. Errors: BillingError."""
    now = now_us()
    seen = scene(store, organisation, now)
    with store.view() as session:
        known = terms.groups(session, organisation, now)
        closed = _closed(session, organisation)
        chosen = [group for group in known if group.key not in closed and group.label.startswith(period)]
        if not chosen:
            raise BillingError(f"{organisation}: found no open period{f' {period}' if period else ''}. {_known_periods(known)}")
        for group in chosen:  # one in which nothing was due is closed by no document
            scope = Scope(seen.customer.currency, tuple(known), closed, group)
            made = drafting.drafted(session, scope, seen.parts)
            if not made.is_empty:
                break
        order = Order("draft", scope, group)
        body, warnings = making.body_of(seen, order, made, seller, now)
    return {
        "organisation": organisation,
        "issued": [{**body, "number": ""}],
        "warnings": warnings,
        "identity": seen.identity.body(),
    }


def _next(
    session: Session, seen: Scene, organisation: str, now: int, grace_days: int, period: str, interim: bool
) -> Order | None:  # fmt: skip
    """The oldest document that is due; None where there is none. Errors: BillingError where the period asked for cannot be closed."""
    known = terms.groups(session, organisation, now)
    closed = _closed(session, organisation)
    currency = seen.customer.currency
    still = [group for group in known if group.key not in closed]
    over = [group for group in still if _is_over(group, known, now)]
    if period:
        until_us = _check_period(period, known, closed, over, now, grace_days)
        over = [group for group in over if group.start_us <= until_us]
    for group in over:
        if group.end_us + grace_days * DAY_US > now:
            continue
        order = Order("period", Scope(currency, tuple(known), closed, group), group)
        if not drafting.drafted(session, order.scope, seen.parts).is_empty:
            return order
        still.remove(group)  # nothing was due, so no document closes it: what comes late of others does not wait for it
    if not known or period:
        return None
    last = known[-1]
    kind: Kind = "interim" if interim else "advance" if still else "final"
    (count,) = session.rows("SELECT COUNT(*) FROM documents WHERE kind = ? AND organisation = ?", (INVOICE, organisation))[0]
    order = Order(kind, Scope(currency, tuple(known), closed, None, interim), last, int(count))
    made = drafting.drafted(session, order.scope, seen.parts)
    is_due = not made.is_empty and (interim or not still or any(line.kind in ("fee", "prepaid") for line in made.lines))
    return order if is_due else None


def _is_over(group: terms.Group, known: Sequence[terms.Group], now: int) -> bool:
    """Whether nothing of its calendar period is to come: it has ended, or the contract has and no other went on."""
    last = group.cuts[-1]
    if group.end_us > now:
        return False
    return group.end_us == last.period.whole_end_us or last.subscription.until_us == group.end_us or known[-1] is not group


def _check_period(
    period: str, known: Sequence[terms.Group], closed: frozenset[str], over: Sequence[terms.Group], now: int, grace_days: int
) -> int:
    """When the period that was asked for begins. Errors: BillingError where it cannot be closed."""
    named = [group for group in known if group.label.startswith(period)]
    if not named:
        raise BillingError(f'period: found "{period[:40]}", which this customer has not. {_known_periods(known)}')
    group = named[0]
    if group.key in closed:
        return group.start_us
    end = group.cuts[-1].period.whole_end_us if group not in over else group.end_us
    if group not in over:
        raise BillingError(
            f"period {group.label}: it is not over, it ends {customers.shown_time(end)}. `--draft` shows it, "
            f"`--interim` bills what was used so far."
        )
    if group.end_us + grace_days * DAY_US > now:
        until = customers.shown_time(group.end_us + grace_days * DAY_US)
        raise BillingError(
            f"period {group.label}: it stays a draft for late events until {until}. `--draft` shows it, `--grace-days 0` closes it now."
        )
    return group.start_us


def _known_periods(known: Sequence[terms.Group]) -> str:
    if not known:
        return "It has no contract: lode plans subscribe CUSTOMER PLAN."
    return f"Its periods begin: {', '.join(group.label for group in known[-8:])}."


def _closed(session: Session, organisation: str) -> frozenset[str]:
    """Keys of the periods that invoices closed."""
    return frozenset(
        document.body["closes"] for document in journal.documents(session, INVOICE, organisation) if document.body.get("closes")
    )


def _issue(
    store: Store, actor: str, seen: Scene, order: Order, seller: Seller, now: int
) -> tuple[dict[str, Any] | None, list[str]]:  # fmt: skip
    """Write one document; the one that another process wrote meanwhile; None where somebody else took the same entries."""

    def work(session: Session) -> tuple[dict[str, Any] | None, list[str]]:
        again = wallet.earlier(session, seen.customer.id, order.reference, _fingerprint(order))
        if again is not None:
            return again.act.documents[0].body, []
        made = drafting.drafted(session, order.scope, seen.parts)
        if _moved_on(session, seen) or made.is_empty:  # another process took the entries, or the fees
            return None, []
        body, warnings = making.body_of(seen, order, made, seller, now)
        year = datetime.date.fromisoformat(making.day_of(now, seller.zone)).year
        number, counters = numbers.take(session, INVOICE, seller.invoice_number, year)
        body = seal({**body, "number": number, "reference": number})
        grants, sold = packs.sold(session, seen.customer.id, seen.customer.currency, made.packs, now)
        back = money.parse(body["to_prepaid"], "to_prepaid")
        returned = wallet.returned(wallet.grants(session, seen.customer.id), back, now) if back else ()
        act = Act(
            "invoice.issue", actor, seen.customer.id, reference=order.reference, fingerprint=_fingerprint(order),
            transfers=(*making.transfers(seen, made, body), *sold), counters=_counters(seen, made, counters),
            documents=(
                Document(INVOICE, number, seen.customer.id, body), *grants, *(grant.document() for grant in returned),
                *statements.written(session, seen.customer, made.parts, seen.through, number, now),
            ),
            facts={"costs": making.costs_of(seen, made), "identity": seen.identity.body()},
        )  # fmt: skip
        wallet.written(session, act, now)
        return body, warnings

    return store.transact(work)


def _moved_on(session: Session, seen: Scene) -> bool:
    """Whether an invoice took entries of these parts since they were read."""
    names = {f"invoiced|{part.subscription}|{part.period}|through": part.after for part in seen.parts}
    return any(value != names[name] for name, value in journal.counter(session, list(names)).items())


def _fingerprint(order: Order) -> str:
    return order.reference.removeprefix(REFERENCE)


def _counters(seen: Scene, made: Draft, number: Mapping[str, int]) -> dict[str, int]:
    found = {**{name: amount for name, amount in made.counters.items() if amount}, **number}
    for part in made.parts:
        found |= part.counters(seen.through)
    return {**found, **dict.fromkeys(statements.names(made.parts), 1)}


def bill_all(
    store: Store, actor: str, seller: Seller, *, now_us: Callable[[], int], grace_days: int = GRACE_DAYS, interim: bool = False
) -> list[dict[str, Any]]:
    """`bill` for every customer, by name. One that cannot be closed has its reason under "failed" and stops nobody else."""
    _check_grace(grace_days)
    with store.view() as session:
        owners = [item.id for item in journal.documents(session, "organisation") if item.body.get("kind", "customer") == "customer"]
    done: list[dict[str, Any]] = []
    for owner in owners:
        try:
            done.append(bill(store, actor, owner, seller, now_us=now_us, grace_days=grace_days, interim=interim))
        except BooksError:
            raise  # the books themselves are away: nobody can be billed
        except BillingError as error:
            done.append({"organisation": owner, "issued": [], "warnings": [], "failed": str(error)})
    return done


def _check_grace(days: int) -> None:
    if not 0 <= days <= MOST_GRACE_DAYS:
        raise BillingError(f"grace-days: found {days}, allowed: 0 to {MOST_GRACE_DAYS}. Correct it.")
