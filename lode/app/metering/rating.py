"""From settlements to acts of the journal: rated with the counters as the transaction finds them, debited, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lode.app.books import accounts, journal
from lode.app.books.contracts import Act, Session, Transfer, Used
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
        self._credit: dict[str, int] = {}
        self._spent: dict[str, int] = {}

    def acts(self, settlements: Sequence[Settlement]) -> list[Made]:
        tariffs = [self._terms.at(self._session, (item.caller.organisation, item.usage.model), item.at_us) for item in settlements]
        self._read(settlements, tariffs)
        return [self._made(item, tariff) for item, tariff in zip(settlements, tariffs, strict=True)]

    def _read(self, settlements: Sequence[Settlement], tariffs: Sequence[Tariff | None]) -> None:
        """All counters and balances that are needed, in two queries."""
        pairs = [(item, tariff) for item, tariff in zip(settlements, tariffs, strict=True) if tariff is not None]
        names = {name for item, tariff in pairs for name in tariff.names(tariff.period(item.at_us))}
        if names:
            self._counters = journal.counter(self._session, sorted(names))
        owners = sorted({item.caller.organisation for item, _ in pairs})
        if owners:
            marks = ", ".join("?" * len(owners))
            rows = self._session.rows(
                f"SELECT account, amount FROM balances WHERE account IN ({marks})", [accounts.prepaid(owner) for owner in owners]
            )
            self._credit = {account: -int(amount) for account, amount in rows}

    def _made(self, item: Settlement, tariff: Tariff | None) -> Made:
        usage, caller, case = item.usage, item.caller, case_of(item.usage.status)
        billed = billed_units(case, usage.units)
        charges: dict[str, int] = {}
        counters: dict[str, int] = {}
        amount, waived, period = 0, 0, ""
        if tariff is not None and billed and caller.kind == "customer":
            span = tariff.period(item.at_us)
            period = span.label
            charges, counters, amount = tariff.rate(self._counters, {**billed, "provider_cost": usage.cost}, span)
            waived = amount if span.trial else self._beyond(item, amount)
        taken = tuple([_count(share, billed, amount - waived) for share in item.shares])
        for name, count in counters.items():
            self._counters[name] = self._counters.get(name, 0) + count
        for share, count in zip(item.shares, taken, strict=True):
            self._leases.take(share.name, count)
            self._spent[share.name] = self._spent.get(share.name, 0) + count
            if count and not share.name.startswith(CREDIT):
                counters[share.name] = counters.get(share.name, 0) + count
        subscription = tariff.subscription.id if tariff is not None and billed else ""
        used = Used(
            request_id=item.request_id, at_us=item.at_us, organisation=caller.organisation, project=caller.project, key=caller.key,
            model=usage.model, version=usage.version or 0, status=usage.status, units={"requests": 1, **usage.units}, amount=amount,
            charges=charges, plan=tariff.plan.id if subscription and tariff else "", subscription=subscription, period=period,
            kind=caller.kind, cost=usage.cost, cost_currency=usage.cost_currency, provider=usage.provider, estimated=usage.estimated,
        )  # fmt: skip
        act = Act(
            kind="usage.settle", actor=f"key:{caller.key}", organisation=caller.organisation,
            reference=item.request_id if billed else "", fingerprint=item.fingerprint if billed else "",
            transfers=self._transfers(item, amount - waived, waived), used=used, counters=counters,
        )  # fmt: skip
        return Made(act, taken)

    def _beyond(self, item: Settlement, amount: int) -> int:
        """The part of an amount for which nothing is set aside, and nothing is left.

        This process was thought dead, and others may have spent it; or it cost more than could be known: compute time, a new price.
        """
        if amount <= 0 or not item.shares:
            return 0
        late = item.epoch != self._leases.epoch
        beyond = 0
        for share in item.shares:
            is_more = amount > share.held or (not self._leases.alone and self._leases.held.get(share.name, 0) < amount)
            if share.unit != MONEY or not (late or is_more):
                continue
            beyond = max(beyond, amount - min(amount, self._available(share)))
        return beyond

    def _available(self, share: Share) -> int:
        if not self._leases.are_ready(self._session):
            return 0
        left = share.ceiling - used_of(self._session, share.name) - self._spent.get(share.name, 0)
        return max(0, left - self._leases.of_others(self._session, share.name, self._now_us))

    def _transfers(self, item: Settlement, amount: int, waived: int) -> tuple[Transfer, ...]:
        """Debit what was paid in advance while it lasts, then what will be invoiced; what is given away; the provider's part."""
        owner, currency = item.caller.organisation, item.caller.currency
        made: list[Transfer] = []
        prepaid = accounts.prepaid(owner)
        credit = min(max(self._credit.get(prepaid, 0), 0), max(amount, 0))
        if credit:
            self._credit[prepaid] -= credit
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
    owner = name.removeprefix(CREDIT)
    names = (accounts.prepaid(owner), accounts.accrued(owner), accounts.receivable(owner))
    return sum(int(amount) for (amount,) in session.rows("SELECT amount FROM balances WHERE account IN (?, ?, ?)", names))


def _count(share: Share, billed: Mapping[str, int], amount: int) -> int:
    return amount if share.unit == MONEY else billed.get(share.unit, 0)
