"""Organisations: the tenants. Who they are, what they pay in, whether they may call.

Verbs change the books in one transaction and check everything themselves; the command line and the admin API call the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lode.app.access import checks
from lode.app.books import journal, pages
from lode.app.books.contracts import Act, Document, Session, Store
from lode.app.books.pages import ALL, Span
from lode.core import money
from lode.core.errors import BillingError, ConflictError, NotFoundError, near_miss

KIND = "organisation"
STATUSES = ("active", "suspended", "closed")
KINDS = ("customer", "own")
CHANGEABLE = ("name", "zone", "address", "country", "tax_id", "email", "payment", "credit_line")
PAYMENTS = ("invoice", "prepaid")


@dataclass(frozen=True, slots=True)
class Organisation:
    """A tenant, as its document holds it.

    kind: "customer", or "own" for traffic of the operator (evaluation, health), which is never revenue.
    payment: "invoice", or "prepaid": calls need credit. credit_line: how far a prepaid balance may go below zero, 10^-12 units.
    zone: of its periods and days. address: lines.
    """

    slug: str
    name: str
    currency: str
    zone: str = "UTC"
    kind: str = "customer"
    status: str = "active"
    address: tuple[str, ...] = ()
    country: str = ""
    tax_id: str = ""
    email: str = ""
    payment: str = "invoice"
    credit_line: int = 0
    created_us: int = 0
    reason: str = ""

    @classmethod
    def of(cls, document: Document) -> Organisation:
        """Read from the books."""
        body = dict(document.body)
        credit_line = money.parse(body.pop("credit_line"), "credit_line")
        return cls(slug=document.id, **{**body, "address": tuple(body["address"]), "credit_line": credit_line})

    def document(self) -> Document:
        """As the books keep it; the credit line as decimal text."""
        body = {key: value for key, value in asdict(self).items() if key != "slug"}
        body |= {"address": list(self.address), "credit_line": money.plain(self.credit_line)}
        return Document(KIND, self.slug, self.slug, body)

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        body = self.document().body
        return {"organisation": self.slug, **body, "created": checks.shown_time(self.created_us)}


def found(session: Session, slug: Any) -> Organisation:
    """The organisation of that name. Errors: NotFoundError where there is none."""
    checks.slug(slug)
    document = journal.document(session, KIND, slug)
    if document is None:
        known = [item.id for item in journal.documents(session, KIND)]
        near = near_miss(slug, known)
        raise NotFoundError(f"organisation: found {checks.quoted(slug)}, which does not exist.{near} See `lode customers list`.")
    return Organisation.of(document)


def open_one(session: Session, slug: Any) -> Organisation:
    """The same, refusing one that is closed for good."""
    organisation = found(session, slug)
    if organisation.status == "closed":
        raise ConflictError(f"organisation: {organisation.slug} is closed, allowed: one that is active or suspended. Add another.")
    return organisation


def add(store: Store, actor: str, slug: str, fields: Mapping[str, Any], *, now_us: Callable[[], int]) -> dict[str, Any]:
    """A new organisation. fields: name, currency, and what else `Organisation` has.

    Errors: ConflictError where the slug was ever used; BillingError for a value that is not allowed.
    """
    from lode.app.prices import subscriptions  # half of the time in which `lode keys list` starts, and only needed here

    checks.slug(slug)
    checks.known_keys(fields, ("name", "currency", "kind", *CHANGEABLE[1:]), "organisation")
    currency = fields.get("currency")
    money.exponent(currency if isinstance(currency, str) else "")
    kind = checks.one_of(fields.get("kind", "customer"), KINDS, "kind")
    new = Organisation(slug, checks.name(fields.get("name", slug)), str(currency), kind=kind)
    new = _changed(new, {key: value for key, value in fields.items() if key in CHANGEABLE and key != "name"})

    def work(session: Session) -> dict[str, Any]:
        if journal.document(session, KIND, slug) is not None:
            raise ConflictError(f"organisation: found {checks.quoted(slug)}, which exists already. Choose another short name.")
        made = replace(new, created_us=now_us())
        plan = (
            subscriptions.default_documents(session, slug, made.currency, made.zone, made.created_us) if kind == "customer" else ()
        )
        return _write(session, made, actor, "organisation.create", made.created_us, plan)

    return store.transact(work)


def change(store: Store, actor: str, slug: str, fields: Mapping[str, Any], *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Change what may be changed; currency and kind may not, because the books are kept in them."""
    checks.known_keys(fields, CHANGEABLE, "organisation")
    if not fields:
        raise BillingError(f"organisation: found nothing to change, allowed: {', '.join(CHANGEABLE)}. Name one.")

    def work(session: Session) -> dict[str, Any]:
        return _write(session, _changed(open_one(session, slug), fields), actor, "organisation.change", now_us())

    return store.transact(work)


def suspend(store: Store, actor: str, slug: str, reason: str = "", *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Refuse its calls until `resume`; its keys, contracts and books stay."""
    return _set_status(store, actor, slug, "suspended", reason, now_us)


def resume(store: Store, actor: str, slug: str, *, now_us: Callable[[], int]) -> dict[str, Any]:
    """Take its calls again."""
    return _set_status(store, actor, slug, "active", "", now_us)


def close(store: Store, actor: str, slug: str, reason: str = "", *, now_us: Callable[[], int]) -> dict[str, Any]:
    """End it: no calls, nothing new, for ever. Its books stay, and what it owes is still owed."""
    return _set_status(store, actor, slug, "closed", reason, now_us)


def show(store: Store, slug: str) -> dict[str, Any]:
    """One organisation. Errors: BillingError where there is none."""
    with store.view() as session:
        return found(session, slug).shown()


def listed(store: Store, span: Span = ALL) -> dict[str, Any]:
    """Organisations by slug."""
    with store.view() as session:
        return {"organisations": [Organisation.of(item).shown() for item in pages.documents(session, KIND, span=span)]}


def _set_status(store: Store, actor: str, slug: str, status: str, reason: str, now_us: Callable[[], int]) -> dict[str, Any]:
    why = checks.optional_name(reason, "reason")

    def work(session: Session) -> dict[str, Any]:
        organisation = open_one(session, slug)
        verb = {"active": "resume", "suspended": "suspend", "closed": "close"}[status]
        return _write(session, replace(organisation, status=status, reason=why), actor, f"organisation.{verb}", now_us())

    return store.transact(work)


def _changed(organisation: Organisation, fields: Mapping[str, Any]) -> Organisation:
    readers: dict[str, Callable[[Any], Any]] = {
        "name": checks.name,
        "zone": checks.zone,
        "address": checks.lines,
        "country": checks.country,
        "tax_id": lambda value: checks.optional_name(value, "tax_id"),
        "email": checks.email,
        "payment": lambda value: checks.one_of(value, PAYMENTS, "payment"),
        "credit_line": lambda value: money.parse(value, "credit_line"),
    }
    return replace(organisation, **{key: readers[key](value) for key, value in fields.items()})


def _write(
    session: Session, organisation: Organisation, actor: str, kind: str, now_us: int, also: tuple[Document, ...] = ()
) -> dict[str, Any]:
    journal.append(session, [Act(kind, actor, organisation.slug, documents=(organisation.document(), *also))], now_us)
    return organisation.shown()
