"""From settlements to acts of the journal: rated with the counters as the transaction finds them, debited, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lode.app.books import accounts, journal, kept
from lode.app.books.contracts import Act, Session, Transfer, Used
from lode.app.invoices import wallet
from lode.app.metering.leases import Leases
from lode.app.metering.orders import Settlement, Share
from lode.app.metering.policy import billed_units, case_of
from lode.app.metering.terms import Terms
from lode.app.prices.tariff import Tariff

CREDIT = "credit|"
MONEY = "money"


class Made(NamedTuple):
    """An act, and what it takes of each share."""

    act: Act
    taken: tuple[int, ...]


class Rater:
    """Rates the settlements of one commit, in order: each sees what those before it used."""

    def __init__(self, session: Session, terms: Terms, leases: Leases, now_us: int):
        self._session, self._terms, self._leases, self._now_us = session, terms, leases, now_us
        self._counters: dict[str, int] = {}
        self._balances: dict[str, int] = {}
        self._drawn: dict[str, int] = {}
        self._spent: dict[str, int] = {}

    def acts(self, settlements: Sequence[Settlement]) -> list[Made]:
        tariffs = [self._terms.at(self._session, (item.caller.organisation, item.usage.model), item.at_us) for item in settlements]
        asked_us: dict[str, int] = {}
        for item in settlements:
            asked_us[item.caller.organisation] = max(item.at_us, asked_us.get(item.caller.organisation, 0))
        for owner, at_us in asked_us.items():
            if self._terms.lapse(self._session, owner, at_us) <= at_us:
                wallet.expired(self._session, "system", owner, at_us, self._now_us)
                self._terms.lapsed(owner)
        self._read(settlements, tariffs)
        return [self._made(item, tariff) for item, tariff in zip(settlements, tariffs, strict=True)]

    def _read(self, settlements: Sequence[Settlement], tariffs: Sequence[Tariff | None]) -> None:
        """All counters and balances that are needed, in two queries."""
        pairs = [(item, tariff) for item, tariff in zip(settlements, tariffs, strict=True) if tariff is not None]
        names = {name for item, tariff in pairs for name in tariff.names(tariff.period(item.at_us))}
        shares = {share.name for item, _ in pairs for share in item.shares if share.unit == MONEY}
        names |= {name for name in shares if not name.startswith(CREDIT)}
        if names:
            self._counters = journal.counter(self._session, sorted(names))
        wanted = {accounts.prepaid(item.caller.organisation) for item, _ in pairs}
        wanted |= {account for name in shares - names for account in _of_credit(name)}
        if wanted:
            rows = self._session.rows(
                f"SELECT account, amount FROM balances WHERE account IN ({', '.join('?' * len(wanted))})", sorted(wanted)
            )
            self._balances = {account: int(amount) for account, amount in rows}

    def _made(self, item: Settlement, tariff: Tariff | None) -> Made:
        usage, caller = item.usage, item.caller
        billed = billed_units(case_of(usage.status), usage.units)
        charges: dict[str, int] = {}
        counters: dict[str, int] = {}
        amount, waived, period = 0, 0, ""
        if tariff is not None and billed and caller.kind == "customer":
            span = tariff.period(item.at_us)
            period = span.label
            priced = {**billed, "provider_cost": usage.cost} if usage.cost else billed
            charges, counters, amount = tariff.rate(self._counters, priced, span)
            waived = amount if span.trial else self._beyond(item, amount)
        known = self._counters
        for name, count in counters.items():
            known[name] = known.get(name, 0) + count
        taken = self._take(item.shares, billed, amount - waived, counters)
        plan, subscription = (tariff.plan.id, tariff.subscription.id) if tariff is not None and billed else ("", "")
        # By place: with names, making the two takes three times as long.
        used = Used(
            item.request_id, item.at_us, caller.organisation, caller.project, caller.key, usage.model, usage.version or 0, usage.status,
            billed or {"requests": 1, **usage.units}, amount, charges, plan, subscription, period, caller.kind, usage.cost,
            usage.cost_currency, usage.provider, usage.estimated,
        )  # fmt: skip
        reference, fingerprint = (item.request_id, item.fingerprint) if billed else ("", "")
        transfers = self._transfers(item, amount - waived, waived)
        act = Act(
            "usage.settle", f"key:{caller.key}", caller.organisation, reference, fingerprint, transfers, (), used, counters, _bound(item)
        )  # fmt: skip
        return Made(act, taken)

    def _take(self, shares: Sequence[Share], billed: Mapping[str, int], amount: int, counters: dict[str, int]) -> tuple[int, ...]:
        """What a request takes of each of its shares; counted, but for credit, which is balances."""
        taken, spent = [], self._spent
        for name, unit, _, _ in shares:
            count = amount if unit == MONEY else billed.get(unit, 0)
            taken.append(count)
            self._leases.take(name, count)
            spent[name] = spent.get(name, 0) + count
            if count and not name.startswith(CREDIT):
                counters[name] = counters.get(name, 0) + count
        return tuple(taken)

    def _beyond(self, item: Settlement, amount: int) -> int:
        """The part of an amount for which nothing is left: no budget or credit line is passed, whatever happened since it was set aside.

        Credit was taken away, or expired; this process was thought dead, and others may have spent it; or it cost more than could be known:
        compute time, usage that was measured elsewhere.
        """
        if amount <= 0 or not item.shares:
            return 0
        left = [self._left(item, share, amount) for share in item.shares if share.unit == MONEY]
        return amount - max(0, min([amount, *left]))

    def _left(self, item: Settlement, share: Share, amount: int) -> int:
        """Of an allowance; what others have set aside of it is theirs, unless this request has, too."""
        is_credit = share.name.startswith(CREDIT)
        used = sum(self._balances.get(name, 0) for name in _of_credit(share.name)) if is_credit else self._counters[share.name]
        left = share.ceiling - used - self._spent.get(share.name, 0)
        leases = self._leases
        is_more = amount > share.held or (not leases.alone and leases.held.get(share.name, 0) < amount)
        if not is_more and item.epoch == leases.epoch:
            return left
        return left - leases.of_others(self._session, share.name, self._now_us) if leases.are_ready(self._session) else 0

    def _transfers(self, item: Settlement, amount: int, waived: int) -> tuple[Transfer, ...]:
        """Debit what was paid in advance while it lasts, then what will be invoiced; what is given away; the provider's part."""
        owner, currency = item.caller.organisation, item.caller.currency
        made: list[Transfer] = []
        prepaid = accounts.prepaid(owner)
        drawn, paid = self._drawn.get(prepaid, 0), -self._balances.get(prepaid, 0)
        credit = max(0, min(paid - drawn, amount)) if paid > 0 else 0
        if credit:
            self._drawn[prepaid] = drawn + credit
            made.append(Transfer(prepaid, accounts.revenue(currency), credit))
        if amount > credit:
            made.append(Transfer(accounts.accrued(owner), accounts.revenue(currency), amount - credit))
        elif amount < 0:  # volume: one more unit lowered the whole sum
            made.append(Transfer(accounts.revenue(currency), accounts.accrued(owner), -amount))
        if waived > 0:
            made.append(Transfer(accounts.waived(currency), accounts.revenue(currency), waived))
        elif waived < 0:  # volume, in a trial: what was given away becomes less
            made.append(Transfer(accounts.revenue(currency), accounts.waived(currency), -waived))
        usage = item.usage
        if usage.cost > 0:
            # A provider is owed the same money whatever the version of its price list: "NAME@VERSION".
            owed = accounts.payable(usage.provider.partition("@")[0], usage.cost_currency)
            spent = accounts.provider_cost(usage.cost_currency), owed
            made.append(Transfer(*spent, usage.cost))
        return tuple(made)


def used_of(session: Session, name: str) -> int:
    """How much of an allowance is used: its counter; of credit, all that is owed less what was paid in advance."""
    if not name.startswith(CREDIT):
        return journal.counter(session, [name])[name]
    names = _of_credit(name)
    return sum(int(amount) for (amount,) in session.rows("SELECT amount FROM balances WHERE account IN (?, ?, ?)", names))


def _of_credit(name: str) -> tuple[str, str, str]:
    owner = name.removeprefix(CREDIT)
    return accounts.prepaid(owner), accounts.accrued(owner), accounts.receivable(owner)


def _bound(item: Settlement) -> dict[str, str]:
    """Digests of what is kept of a request beside its entry."""
    facts: dict[str, str] = {}
    answer, usage = item.kept, item.usage
    if answer is not None:
        facts["answers"] = kept.digest(answer.status, kept.headers_text(answer.headers), answer.body)
    if usage.predicted and usage.status < 400:
        facts["predictions"] = kept.digest(usage.model, usage.version or 0, item.at_us, usage.predicted)
    return facts
