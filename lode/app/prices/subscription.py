"""A subscription: who has which plan, from when to when, in which time zone; as one document of the books.

A change of plan ends one and begins another (`previous`), so each has one plan's version, and its counters one meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypedDict

from lode.app.books.contracts import Document
from lode.app.prices.periods import Period, Unit, label_of, local_date, period_of

KIND = "subscription"


class Step(TypedDict):
    """A correction of a price: version `of` was wrong, `by` is right, in periods that begin on the day `since` ("" for always)."""

    of: int
    by: int
    since: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """Half-open: [since_us, until_us). until_us: None while it goes on.

    zone, anchor_day, anchor_month, unit: where its periods begin (`periods.period_of`). trial_until_us: end of the time that is given
    away, 0 for none. began_us: when the contract's paid time began; if on the first day of a period, that period is whole from there, so
    that a first month costs a month's fee. carried: quantities by charge (or `CHARGE.UNIT`) that its first period goes on from.
    coupons: their codes with when they began. corrections: of its plan's prices. previous: id of the subscription that
    this one changed, "" for none. tzdata: version of the time zones in use.
    """

    id: str
    organisation: str
    plan: str
    version: int
    currency: str
    since_us: int
    until_us: int | None = None
    zone: str = "UTC"
    unit: Unit = "month"
    anchor_day: int = 1
    anchor_month: int = 1
    trial_until_us: int = 0
    began_us: int = 0
    carried: Mapping[str, int] = field(default_factory=dict)
    coupons: tuple[Mapping[str, Any], ...] = ()
    corrections: tuple[Step, ...] = ()
    previous: str = ""
    tzdata: str = ""

    @classmethod
    def of(cls, document: Document) -> Subscription:
        """As the books hold it."""
        body = dict(document.body)
        lists = {name: tuple(body.get(name, ())) for name in ("coupons", "corrections")}
        return cls(id=document.id, organisation=document.organisation, **{**body, **lists})

    def document(self) -> Document:
        """As the books keep it."""
        body = {name: value for name, value in asdict(self).items() if name not in ("id", "organisation")}
        lists = {"coupons": [dict(item) for item in self.coupons], "corrections": [dict(step) for step in self.corrections]}
        body |= {**lists, "carried": dict(self.carried)}
        return Document(KIND, self.id, self.organisation, body)

    def versions_at(self, start_us: int) -> tuple[int, ...]:
        """Versions of the plan that priced the period that begins at a moment, in order: the contract's, then what corrected it."""
        found, day = [self.version], local_date(start_us, self.zone).isoformat() if self.corrections else ""
        while True:  # ends, because a version is corrected by a later one
            right = [step["by"] for step in self.corrections if step["of"] == found[-1] and step["since"] <= day]
            if not right:
                return tuple(found)
            found.append(right[0])

    def version_at(self, start_us: int) -> int:
        """The version that prices it now."""
        return self.versions_at(start_us)[-1]

    @property
    def first_label(self) -> str:
        """Label of its first period."""
        return label_of(self.since_us)

    def covers(self, at_us: int) -> bool:
        """Whether it holds at a moment."""
        return self.since_us <= at_us and (self.until_us is None or at_us < self.until_us)

    def period(self, at_us: int) -> Period:
        """The period at a moment within it; cut where it begins, where its trial ends, and where it ends."""
        assert self.covers(at_us)
        return self._cut(at_us, self.until_us)

    def planned(self, at_us: int) -> Period:
        """The same as it was before anybody knew of an end: what a fee in advance was debited for."""
        return self._cut(at_us, None)

    def _cut(self, at_us: int, until_us: int | None) -> Period:
        whole = self._whole(at_us)
        start_us, end_us = self.since_us, whole.end_us if until_us is None else until_us
        if at_us < self.trial_until_us:
            return whole.cut(start_us, min(end_us, self.trial_until_us), trial=True)
        return whole.cut(max(start_us, self.trial_until_us), end_us)

    def _whole(self, at_us: int) -> Period:
        whole = period_of(at_us, self.anchor_day, self.zone, self.unit, self.anchor_month)
        if self.unit == "day" or not whole.start_us < self.began_us <= at_us < whole.end_us:
            return whole
        if local_date(self.began_us, self.zone) != local_date(whole.start_us, self.zone):
            return whole
        return replace(whole, whole_start_us=self.began_us)

    def periods(self, before_us: int) -> list[Period]:
        """Its periods that began before a moment, in order."""
        found: list[Period] = []
        at_us = self.since_us
        while at_us < before_us and self.covers(at_us):
            found.append(self.period(at_us))
            at_us = found[-1].end_us
        return found
