"""Prepaid credit: top-ups, goodwill, expiry, refunds. One balance per customer in the ledger, divided among grants.

Requests draw on the balance as a whole; which grant they used follows from the order (priority, earlier expiry, earlier creation) and
is written down whenever grants change: drawn = what the grants had left - what the balance holds. What expired pays for nothing that is
asked afterwards: nothing is let in on it (`lapsing`), and the next request books it as breakage (`expired`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lode.app.books import accounts, journal, records
from lode.app.books.contracts import Act, Document, Entry, Session, Store, Transfer
from lode.app.invoices import customers
from lode.app.invoices.documents import REFERENCE
from lode.app.invoices.returned import cash
from lode.app.invoices.standing import kept
from lode.core import money
from lode.core.errors import BillingError, ConflictError

KIND = "grant"
NEVER = 2**63
_LARGEST_PRIORITY = 1000
_LONGEST = 255
"""Characters of a reference."""
_REVIVED_US = 30 * 86_400_000_000
"""A refund into a grant that has expired would be lost at once: the grant then lives this much longer."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One sum of prepaid credit. amount: ever put in, left: of it, 10^-12. priority: smaller is used first. expires_us: None for never.

    given: True for goodwill, which nobody paid and nobody gets back as money.
    """

    id: str
    organisation: str
    amount: int
    left: int
    created_us: int
    priority: int = 100
    expires_us: int | None = None
    given: bool = False
    reason: str = ""

    @classmethod
    def of(cls, document: Document) -> Grant:
        body = {name: value for name, value in document.body.items() if name not in ("amount", "left")}
        amount, left = (money.parse(document.body[name], f"{document.id}.{name}") for name in ("amount", "left"))
        return cls(id=document.id, organisation=document.organisation, amount=amount, left=left, **body)

    def document(self) -> Document:
        body = {name: value for name, value in asdict(self).items() if name not in ("id", "organisation")}
        return Document(
            KIND, self.id, self.organisation, {**body, "amount": money.plain(self.amount), "left": money.plain(self.left)}
        )

    @property
    def order(self) -> tuple[int, int, int, str]:
        """The order of use."""
        return self.priority, self.expires_us if self.expires_us is not None else NEVER, self.created_us, self.id

    def shown(self) -> dict[str, Any]:
        return {"grant": self.id, **self.document().body}


def grants(session: Session, organisation: str) -> list[Grant]:
    """All grants in order of use, with what is left of each after everything that was drawn so far.

    Where requests drew beyond all grants (a credit line), nothing is left in any.
    """
    found = sorted(
        (Grant.of(document) for document in journal.documents(session, KIND, organisation)), key=lambda grant: grant.order
    )
    used = sum(grant.left for grant in found) + journal.balance(session, accounts.prepaid(organisation))
    return _drawn_from(found, max(used, 0))


def _drawn_from(found: Sequence[Grant], used: int) -> list[Grant]:
    left = []
    for grant in found:
        part = min(grant.left, used)
        used -= part
        left.append(replace(grant, left=grant.left - part))
    return left


def add(
    store: Store, actor: str, organisation: str, amount: str, *, now_us: Callable[[], int], expires_us: int | None = None,
    priority: int = 100, reference: str = "", reason: str = "", given: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Put prepaid credit in: money that came, or goodwill (`given`, with a reason).

    reference: of the payment; the same again is the same top-up. Errors: BillingError, ConflictError.
    """
    pico, once = money.parse(amount, "amount", least=1), named("credit", reference)
    if not 0 <= priority <= _LARGEST_PRIORITY:
        raise BillingError(f"priority: found {priority}, allowed: 0 (used first) to {_LARGEST_PRIORITY}. Correct it.")
    if given and not reason:
        raise BillingError("reason: found none, wanted why this is given away. Add --reason TEXT.")
    # Not the time at which it expires: "90d" of the same command, given again, is another one.
    fingerprint = f"{money.plain(pico)}|{expires_us is None}|{priority}|{given}"

    def work(session: Session) -> dict[str, Any]:
        customer, now = customers.found(session, organisation), now_us()
        if again := earlier(session, organisation, once, fingerprint):
            return _put_in(again.act, customer.currency)
        if pico != money.coins(pico, customer.currency):
            raise BillingError(f"amount: found {amount}, wanted whole coins of {customer.currency}. Round it.")
        if expires_us is not None and expires_us <= now:
            raise BillingError(f"expires: found {customers.shown_time(expires_us)}, wanted a time to come. Correct it.")
        grant = Grant(f"grt_{secrets.token_hex(8)}", organisation, pico, pico, now, priority, expires_us, given, reason)
        source = accounts.waived(customer.currency) if given else accounts.cash(customer.currency)
        act = Act(
            "credit.goodwill" if given else "credit.add", actor, organisation,
            reference=once, fingerprint=fingerprint if once else "",
            transfers=(Transfer(source, accounts.prepaid(organisation), pico),),
            documents=(*drawn(session, organisation), grant.document()),
            facts={"balance": money.plain(held(session, organisation) + pico), **({"reason": reason} if reason else {})},
        )  # fmt: skip
        return _put_in(written(session, act, now).act, customer.currency)

    return store.transact(work)


def _put_in(act: Act, currency: str) -> dict[str, Any]:
    """The answer, of the first time and of every later one."""
    grant = Grant.of(act.documents[-1])
    shown = {**grant.shown(), "organisation": grant.organisation, "currency": currency}
    # Entries of older books do not say what the balance was then.
    return {**shown, "balance": act.facts["balance"]} if "balance" in act.facts else shown


def named(word: str, reference: str) -> str:
    """A person's reference as the journal keeps it, among those of one kind of act; "" for none. Errors: BillingError."""
    if len(reference) > _LONGEST or not reference.isprintable():
        raise BillingError(f"reference: found {reference[:60]!a}, allowed: up to {_LONGEST} printable characters. Correct it.")
    return f"{REFERENCE}{word}|{reference}" if reference else ""


def written(session: Session, act: Act, now_us: int) -> Entry:
    """Append one act. Errors: what `journal.append` gives instead of an entry."""
    (found,) = journal.append(session, [act], now_us)
    if isinstance(found, ConflictError):
        raise _used(act.reference)
    if isinstance(found, BillingError):
        raise found
    return found


def _used(reference: str) -> ConflictError:
    """reference: as it stands in the journal, with our own words before a person's."""
    shown = reference.removeprefix(REFERENCE).partition("|")[2]
    return ConflictError(f'reference: found "{shown}", which was used before for something else. Take another one.')


def earlier(session: Session, organisation: str, reference: str, fingerprint: str) -> Entry | None:
    """What a reference (`named`) did before, if it did. Errors: ConflictError where it was something else."""
    rows = session.rows(
        "SELECT sequence, at_us, record, hash FROM journal WHERE organisation = ? AND reference = ? AND reference <> ''",
        (organisation, reference),
    )
    if not rows:
        return None
    sequence, at_us, written_before, digest = rows[0]
    act = records.act_of(written_before)
    if act.fingerprint != fingerprint:
        raise _used(reference)
    return Entry(sequence, at_us, act, "", digest)


def drawn(session: Session, organisation: str, except_for: str = "") -> tuple[Document, ...]:
    """Grants of which something was drawn since they were written, as they are now."""
    stored = {document.id: document for document in journal.documents(session, KIND, organisation)}
    return tuple(
        grant.document()
        for grant in grants(session, organisation)
        if grant.id != except_for and stored[grant.id].body["left"] != money.plain(grant.left)
    )


def expire(store: Store, actor: str, *, now_us: Callable[[], int]) -> list[dict[str, Any]]:
    """Book what is left of grants whose time is over as breakage, also of customers who ask for nothing any more."""

    def work(session: Session) -> list[dict[str, Any]]:
        now = now_us()
        owners = {document.organisation for document in journal.documents(session, KIND) if _is_over(Grant.of(document), now)}
        return [row for organisation in sorted(owners) for row in expired(session, actor, organisation, now, now)]

    with store.view() as session:  # nothing to write is the rule: do not stop the writer for it
        now = now_us()
        if not any(_is_over(Grant.of(document), now) for document in journal.documents(session, KIND)):
            return []
    return store.transact(work)


def expired(session: Session, actor: str, organisation: str, at_us: int, now_us: int) -> list[dict[str, Any]]:
    """Book what a customer's grants hold whose time is over at a moment."""
    over = [grant for grant in grants(session, organisation) if _is_over(grant, at_us)]
    currency = customers.found(session, organisation).currency if over else ""
    return [_expired(session, actor, currency, grant, now_us) for grant in over]


def lapsing(session: Session, organisation: str, at_us: int) -> tuple[int, int]:
    """What of a customer's credit has expired at a moment and is not booked yet; and when the next of the rest does, `NEVER` for never."""
    held = [grant for grant in grants(session, organisation) if grant.left]
    rest = [grant.expires_us for grant in held if grant.expires_us is not None and not _is_over(grant, at_us)]
    return sum(grant.left for grant in held if _is_over(grant, at_us)), min(rest, default=NEVER)


def _is_over(grant: Grant, now_us: int) -> bool:
    return grant.expires_us is not None and grant.expires_us <= now_us and grant.left > 0


def _expired(session: Session, actor: str, currency: str, grant: Grant, now_us: int) -> dict[str, Any]:
    prepaid, broken = accounts.prepaid(grant.organisation), accounts.breakage(currency)
    documents = (*drawn(session, grant.organisation, grant.id), replace(grant, left=0).document())
    written(
        session,
        Act("credit.expire", actor, grant.organisation, transfers=(Transfer(prepaid, broken, grant.left),), documents=documents),
        now_us,
    )
    return {"organisation": grant.organisation, "grant": grant.id, "amount": money.plain(grant.left), "currency": currency}


def refund(
    store: Store, actor: str, organisation: str, amount: str, reason: str, *, now_us: Callable[[], int], grant: str = "",
    reference: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Pay unused credit back as money. grant: of which; "" for the one used last. reference: the same again is the same refund.

    Errors: BillingError beyond what is left, ConflictError.
    """
    pico, once = money.parse(amount, "amount", least=1), named("refund", reference)
    fingerprint = f"{money.plain(pico)}|{grant}"
    if not reason:
        raise BillingError("reason: found none, wanted why. Add --reason TEXT.")

    def work(session: Session) -> dict[str, Any]:
        customer, now = customers.found(session, organisation), now_us()
        if again := earlier(session, organisation, once, fingerprint):
            return _paid_back(again.act, customer.currency)
        chosen = _refundable(session, customer, grant, pico, now)
        left = replace(chosen, left=chosen.left - pico, amount=chosen.amount - pico)
        act = Act(
            "credit.refund", actor, organisation, reference=once, fingerprint=fingerprint if once else "",
            transfers=(Transfer(accounts.prepaid(organisation), accounts.cash(customer.currency), pico),),
            documents=(*drawn(session, organisation, chosen.id), left.document()),
            facts={"reason": reason, "balance": money.plain(held(session, organisation) - pico)},
        )  # fmt: skip
        return _paid_back(written(session, act, now).act, customer.currency)

    return store.transact(work)


def _refundable(session: Session, customer: customers.Customer, wanted: str, pico: int, now_us: int) -> Grant:
    """The grant that is paid back of. Errors: BillingError."""
    if pico != money.coins(pico, customer.currency):
        raise BillingError(f"amount: found {money.plain(pico)}, wanted whole coins of {customer.currency}. Round it.")
    paid = [
        grant
        for grant in grants(session, customer.id)
        if not grant.given and grant.left and wanted in ("", grant.id) and not _is_over(grant, now_us)
    ]
    chosen = paid[-1] if paid else None
    came, went = cash(session, customer.id, customer.currency)
    left = min(chosen.left, max(came - went, 0)) if chosen else 0
    if chosen is None or pico > left:
        is_whole = chosen is None or left == chosen.left
        also = "" if is_whole else f", because {money.plain(came)} came from {customer.id} and {money.plain(went)} went back"
        raise BillingError(
            f"amount: found {money.plain(pico)}, allowed: up to {money.plain(left)} {customer.currency}, which is left of "
            f"{chosen.id if chosen else 'paid credit'}{also}. See `lode credit list {customer.id}`."
        )
    return chosen


def _paid_back(act: Act, currency: str) -> dict[str, Any]:
    """The answer, of the first time and of every later one."""
    refunded, balance = money.plain(act.transfers[0].amount), act.facts["balance"]
    grant = act.documents[-1].id
    return {"organisation": act.organisation, "grant": grant, "refunded": refunded, "currency": currency, "balance": balance}


def returned(found: Sequence[Grant], amount: int, now_us: int) -> list[Grant]:
    """The grants as they are after `amount` of what was drawn came back: the grant that was used last gets it first.

    The caller credits the prepaid account in the same act. An invoice's whole coins may be part of a coin more than was drawn: that is
    added to the last grant.
    """
    stored = {}
    for grant in reversed(found):
        part = min(amount, grant.amount - grant.left)
        amount -= part
        is_over = grant.expires_us is not None and grant.expires_us <= now_us and part > 0
        stored[grant.id] = replace(grant, left=grant.left + part, expires_us=now_us + _REVIVED_US if is_over else grant.expires_us)
    if amount:
        last = stored[found[-1].id]
        stored[last.id] = replace(last, left=last.left + amount, amount=last.amount + amount)
    return [stored[grant.id] for grant in found]


def listed(store: Store, organisation: str) -> dict[str, Any]:
    """A customer's grants, with what is left; `kept`: what credit notes on paid invoices left with us; `owed`: open invoices and usage
    that is not billed yet, which `payment: prepaid` counts against the credit.
    """
    with store.view() as session:
        customer = customers.found(session, organisation)
        rows = [grant.shown() for grant in grants(session, organisation)]
        more = {"balance": money.plain(held(session, organisation)), "kept": money.plain(kept(session, organisation))}
        owed = sum(journal.balance(session, name(organisation)) for name in (accounts.receivable, accounts.accrued))
        return {"organisation": organisation, "currency": customer.currency, "grants": rows, **more, "owed": money.plain(owed)}


def held(session: Session, organisation: str) -> int:
    """What a customer's prepaid account holds; less than 0 on a credit line."""
    return -journal.balance(session, accounts.prepaid(organisation))
