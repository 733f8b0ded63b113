"""Usage events as a hostile network delivers them (T3).

One to five times, shuffled, across restarts, months apart, some with another payload.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, replace

from lode.app.books import journal
from lode.app.books.contracts import Act, Entry, Store
from lode.core.errors import ConflictError
from lode.testing.books import opened, settled, wrong

_MONTH_US = 30 * 24 * 3_600_000_000
_START_US = 1_760_000_000_000_000
_NAMES = (("acme", "eu-1-{}"), ("acme-eu", "1-{}"), ("acme-eu-1", "{}"))
"""Organisation and reference: joined by "-" they would be one name."""
Name = tuple[str, str]


@dataclass
class Delivered:
    """What was sent and what the books answered."""

    sent: int = 0
    recorded: int = 0
    repeated: int = 0
    refused: int = 0
    restarts: int = 0


def deliver(location: str, num_events: int, seed: int) -> Delivered:
    """Send `num_events` events, compare the books with the set of them. Errors: AssertionError."""
    chance = random.Random(seed)
    deliveries = _deliveries(num_events, chance)
    first: dict[Name, tuple[str, Entry]] = {}
    told = Delivered()
    store = opened(location)
    while deliveries:
        if chance.random() < 0.1:
            store.close()
            store = opened(location)
            told.restarts += 1
        batch = [deliveries.pop() for _ in range(min(len(deliveries), chance.randint(1, 60)))]
        now_us = _START_US + chance.randint(0, 12) * _MONTH_US
        answers = store.transact(lambda session, batch=batch, now_us=now_us: journal.append(session, batch, now_us))  # type: ignore[misc]
        for act, answer in zip(batch, answers, strict=True):
            _check_answer(act, answer, first, told)
    _check_books(store, first)
    store.close()
    return told


def _deliveries(num_events: int, chance: random.Random) -> list[Act]:
    acts = []
    for number in range(num_events):
        owner, reference = _NAMES[number % len(_NAMES)]
        event = settled(number, owner, amount=chance.randint(1, 10 ** chance.randint(1, 26)))
        event = replace(event, reference=reference.format(number // len(_NAMES)), fingerprint=f"{number:064x}")
        acts += [event] * chance.randint(1, 5)
        if chance.random() < 0.1:
            acts.append(replace(event, fingerprint=f"{number + 10**9:064x}", transfers=()))
    chance.shuffle(acts)
    return acts


def _check_answer(act: Act, answer: object, first: dict[Name, tuple[str, Entry]], told: Delivered) -> None:
    told.sent += 1
    name = (act.organisation, act.reference)
    if name not in first:
        assert isinstance(answer, Entry) and answer.act == act, f"{name}: {answer}"
        first[name] = (act.fingerprint, answer)
        told.recorded += 1
        return
    fingerprint, entry = first[name]
    if fingerprint != act.fingerprint:
        assert isinstance(answer, ConflictError), f"{name}: another payload was taken: {answer}"
        told.refused += 1
        return
    assert isinstance(answer, Entry), f"{name}: {answer}"
    assert (answer.sequence, answer.hash, answer.act) == (entry.sequence, entry.hash, entry.act), f"{name}: another entry"
    told.repeated += 1


def _check_books(store: Store, first: dict[Name, tuple[str, Entry]]) -> None:
    balances: dict[str, int] = defaultdict(int)
    for _, entry in first.values():
        for moved in entry.act.transfers:
            balances[moved.debit] += moved.amount
            balances[moved.credit] -= moved.amount
    with store.view() as session:
        rows = {(row[0], row[1]): row[2] for row in session.rows("SELECT organisation, reference, fingerprint FROM journal")}
        found = {account: int(amount) for account, amount in session.rows("SELECT account, amount FROM balances")}
        [(used,)] = session.rows("SELECT count(*) FROM usage")
    assert rows == {name: fingerprint for name, (fingerprint, _) in first.items()}, "the journal is not the set of events"
    assert used == len(first) and found == balances, "usage or balances are not those of the set of events"
    assert not wrong(store), wrong(store)
