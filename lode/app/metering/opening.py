"""Before a service starts: the books are opened, its own key and its plan are in them, and the gate stands before the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lode.app.access import keys, organisations
from lode.app.access.credentials import FOREIGN_LENGTH, PREFIX, hmac_of, stored_pepper, well_formed
from lode.app.books import journal
from lode.app.books.contracts import Store
from lode.app.books.open import open_books
from lode.app.metering.gate import BooksGate, GateOptions
from lode.app.prices import plans, subscriptions
from lode.app.prices.plan import read_plan
from lode.core.errors import ConflictError, ServeError

OWN = "own"
"""The organisation of whoever runs the server; what it uses is never revenue."""
_ACTOR = "serve"
_SCOPES = ("predict", "outcomes", "usage:read")
_CURRENCY = "EUR"

Tell = Callable[[str], None]


def clock_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What a metered service needs beside its model. books: location, None for RUNS/books.sqlite. key_file: a key of our own to be let in.

    pepper_file: None for RUNS/pepper. plan: a TOML file; customers without a plan get it.
    """

    runs: Path
    books: str | None = None
    key_file: Path | None = None
    pepper_file: Path | None = None
    plan: Path | None = None


def opened(where: Where, model: str, options: GateOptions, tell: Tell) -> tuple[BooksGate, Store]:
    """The gate of a metered service, and the books to be closed after it.

    Errors: BooksError, BillingError (plan), ServeError (key, pepper).
    """
    given = None if where.key_file is None else read_key_file(where.key_file)
    with ExitStack() as stack:
        store = stack.enter_context(open_books(where.books, where.runs))
        pepper = stored_pepper(where.runs, where.pepper_file)
        if where.plan is not None:
            _offer(store, where.plan)
        _own_key(store, pepper, given, tell)
        gate = BooksGate(store, pepper, model=model, options=options, now_us=clock_us)
        stack.pop_all()  # they stay open: the caller closes them
    return gate, store


def read_key_file(path: Path) -> str:
    """The key in a user's file. Errors: ServeError where there is none, or it is too short or mistyped."""
    try:
        key = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"--key-file {path}: cannot be read ({error}). Name a file that holds one key.") from None
    if len(key) < FOREIGN_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ServeError(
            f"--key-file {path}: found no key, wanted are at least {FOREIGN_LENGTH} printable ASCII characters "
            "without spaces on one line. Put one there, or leave --key-file out and let lode make one."
        )
    if key.startswith(PREFIX) and not well_formed(key):
        raise ServeError(f"--key-file {path}: the key's checksum is wrong, so it was mistyped or cut. Copy it again.")
    return key


def _own_key(store: Store, pepper: bytes, given: str | None, tell: Tell) -> None:
    """A key of our own: the one that was given, or at the very first start a new one, shown once."""
    with store.view() as session:
        digests = {
            secret["hmac"] for document in journal.documents(session, keys.KIND) for secret in document.body.get("secrets", ())
        }
    if given is None and digests:
        tell("Keys are in the books (`lode keys list`). A new one: `lode keys create CUSTOMER`.")
        return
    if given is not None and hmac_of(pepper, given).hex() in digests:
        return
    _own_organisation(store)
    fields = {"name": "made by lode serve", "scopes": list(_SCOPES)}
    made = keys.create(store, _ACTOR, OWN, fields, pepper, now_us=clock_us, key=given)
    if given is None:
        tell(f"Key, shown only now: {made['key']}\nSend it with every request: Authorization: Bearer {made['key']}")


def _own_organisation(store: Store) -> None:
    with store.view() as session:
        known = journal.document(session, organisations.KIND, OWN)
        plan = plans.default(session)
    if known is None:
        fields = {"name": "our own", "currency": plan.currency if plan is not None else _CURRENCY, "kind": "own"}
        try:
            organisations.add(store, _ACTOR, OWN, fields, now_us=clock_us)
        except ConflictError:
            return  # another process that starts with us was faster


def _offer(store: Store, path: Path) -> None:
    """Register a plan; it becomes the default, and every customer without a plan has it from now on.

    Errors: BillingError naming every problem of the file, ConflictError where this version has another content in the books.
    """
    plan = read_plan(path)
    plans.add(store, _ACTOR, plan, now_us=clock_us)
    with store.view() as session:
        first = plans.default(session)
        customers = [organisations.Organisation.of(item) for item in journal.documents(session, organisations.KIND)]
        without = [
            item.slug
            for item in customers
            if item.kind == "customer" and item.status == "active" and item.currency == plan.currency
            and subscriptions.subscription_at(session, item.slug, clock_us()) is None
        ]  # fmt: skip
    if first is None or first.id != plan.id:
        plans.set_default(store, _ACTOR, plan.name, plan.version, now_us=clock_us)
    for slug in without:
        subscriptions.subscribe(store, _ACTOR, slug, plan.name, version=plan.version, now_us=clock_us)
