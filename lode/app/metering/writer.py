"""The writer: everything that this process writes into the books, in one thread, many orders in one durable commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from lode.app.books import journal, kept, predictions
from lode.app.books.contracts import Entry, Session, Store
from lode.app.contracts import Kept
from lode.app.invoices import wallet
from lode.app.metering.leases import Leases
from lode.app.metering.orders import (
    Beat,
    GiveBack,
    Leave,
    Order,
    Probe,
    Refill,
    Refilled,
    Result,
    Results,
    Settled,
    Settlement,
    Standing,
)
from lode.app.metering.rating import CREDIT, Rater, used_of
from lode.app.metering.terms import Terms

_ANSWER = (
    "INSERT INTO answers (organisation, request_id, until_us, status, headers, body) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (organisation, request_id) DO NOTHING"
)


class _RepeatedError(Exception):
    """Some settlements of a commit were made before: it is made again without them. known: index -> what became of it."""

    def __init__(self, known: dict[int, Settled]):
        super().__init__()
        self.known = known


class Writer:
    """Carries out groups of orders. keep_us: how long an answer is kept for who asks again."""

    def __init__(self, store: Store, terms: Terms, leases: Leases, *, keep_us: int, now_us: Callable[[], int]):
        self._store, self._terms, self._leases = store, terms, leases
        self._keep_us, self._now_us = keep_us, now_us
        self._sequence = -1

    def run(self, orders: Sequence[Order]) -> Results:
        """In the writer's thread. Errors: BooksError, and nothing of the group was written."""
        known: dict[int, Settled] = {}
        while True:
            leases = self._leases.copy()
            try:
                results, before, after = self._store.transact(lambda session: self._work(session, leases, orders, known))  # noqa: B023
            except _RepeatedError as found:
                known |= found.known
                continue
            results.is_foreign, self._sequence = before != self._sequence, after
            results.from_leases = not self._leases.alone  # as it was: settlements come before a `Beat` of the same commit
            self._leases = leases
            return results

    def _work(
        self, session: Session, leases: Leases, orders: Sequence[Order], known: dict[int, Settled]
    ) -> tuple[Results, int, int]:
        """Results; the journal's last entry before and after."""
        now_us = self._now_us()
        leases.look(session, now_us)
        before, changes = session.rows("SELECT sequence, changes FROM head")[0]
        self._terms.refresh(changes)
        results: dict[int, Result] = dict(known)
        results |= self._settle(session, leases, orders, known, now_us)
        for index, order in enumerate(orders):
            if not isinstance(order, Settlement):
                results[index] = self._other(session, leases, order, now_us)
        written = sum(isinstance(result, Settled) for result in results.values()) - len(known)
        return Results(results[index] for index in range(len(orders))), before, before + written

    def _settle(
        self, session: Session, leases: Leases, orders: Sequence[Order], known: dict[int, Settled], now_us: int
    ) -> dict[int, Result]:
        chosen = [(index, order) for index, order in enumerate(orders) if isinstance(order, Settlement) and index not in known]
        if not chosen:
            return {}
        made = Rater(session, self._terms, leases, now_us).acts([order for _, order in chosen])
        entries = journal.append(session, [item.act for item in made], now_us)
        repeated = {
            index: self._repeated(session, order, entry)
            for (index, order), item, entry in zip(chosen, made, entries, strict=True)
            if not (isinstance(entry, Entry) and entry.act is item.act)
        }
        if repeated:
            raise _RepeatedError(repeated)
        self._keep(session, chosen, now_us)
        if not leases.alone:
            names = {share.name for _, order in chosen for share in order.shares if share.name in leases.held}
            leases.write(session, tuple(sorted(names)), now_us)
        return {index: Settled(item.taken) for (index, _), item in zip(chosen, made, strict=True)}

    def _repeated(self, session: Session, order: Settlement, entry: object) -> Settled:
        """Another process was faster with the same request id, or it was used for something else."""
        if isinstance(entry, Exception):
            return Settled(failure=entry)
        return Settled((0,) * len(order.shares), again=kept_answer(session, order.caller.organisation, order.request_id))

    def _keep(self, session: Session, chosen: Sequence[tuple[int, Settlement]], now_us: int) -> None:
        rows = [
            (
                order.caller.organisation,
                order.request_id,
                now_us + self._keep_us,
                order.kept.status,
                kept.headers_text(order.kept.headers),
                order.kept.body,
            )
            for _, order in chosen
            if order.kept is not None
        ]
        if rows:
            session.run_many(_ANSWER, rows)
        said = [
            (
                order.caller.organisation,
                order.request_id,
                order.usage.model,
                order.usage.version or 0,
                order.at_us,
                order.usage.predicted,
            )
            for _, order in chosen
            if order.usage.predicted and order.usage.status < 400
        ]
        if said:
            predictions.insert(session, said)

    def _other(self, session: Session, leases: Leases, order: Order, now_us: int) -> Result:
        if isinstance(order, Refill):
            return self._refilled(session, leases, order, now_us)
        if isinstance(order, GiveBack):
            for name, amount in order.amounts.items():
                leases.take(name, amount)
            leases.write(session, tuple(order.amounts), now_us)
        elif isinstance(order, Beat):
            leases.beat(session, now_us, order.enter, order.leave)
            return Standing(leases.others, leases.alone, leases.epoch)
        elif isinstance(order, Leave):
            leases.leave(session)
        elif isinstance(order, Probe):
            session.run("DELETE FROM answers WHERE until_us <= ?", (now_us,))
            predictions.purge(session, now_us)
        return None

    def _refilled(self, session: Session, leases: Leases, order: Refill, now_us: int) -> Refilled:
        used, until_us = used_of(session, order.name), wallet.NEVER
        if order.name.startswith(CREDIT):
            expired, until_us = wallet.lapsing(session, order.name.removeprefix(CREDIT), now_us)
            used += expired
        if leases.alone:
            return Refilled(used, 0, until_us)
        left = order.ceiling - used
        granted = leases.grant(session, order.name, left, order.first, order.want, order.takes_more, now_us)
        return Refilled(used, granted, until_us)


def kept_answer(session: Session, organisation: str, request_id: str) -> Kept | None:
    """The answer that was kept of a request."""
    sql = "SELECT status, headers, body FROM answers WHERE organisation = ? AND request_id = ?"
    for status, headers, body in session.rows(sql, (organisation, request_id)):
        pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(headers))
        return Kept(status, pairs, bytes(body))
    return None
