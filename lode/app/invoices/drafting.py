"""The lines of one document, from what is due, what was used, and what earlier documents hold. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

from lode.app.books import journal
from lode.app.books.contracts import Session
from lode.app.invoices import categories, customers, returned, terms
from lode.app.invoices.documents import INVOICE, Line, lines_of
from lode.app.invoices.selection import Part
from lode.app.invoices.terms import Cut, Group, PriceLine
from lode.app.prices.contracts import LineKind
from lode.app.prices.plan import Plan
from lode.core import money

DUE = {
    "fee": 0,
    "prepaid": 1,
    "usage": 2,
    "opening": 3,
    "true_up": 4,
    "adjustment": 5,
    "correction": 6,
    "cap": 7,
    "credit": 8,
    "waived": 9,
    "trial": 10,
    "coupon": 11,
    categories.RETURNED: 12,
}
"""The order of lines on paper."""
_LATE = "adjustment"
When = Literal["advance", "arrears"]


@dataclass(slots=True)
class Draft:
    """A document in the making. parts: whose new entries it takes. counters: what its act adds to `billed|` and `net|`.

    packs: prepaid credit that it sells: (cut, charge's name, line's amount). capped: what the cap of a (contract, period) is put on, by
    tax category.
    """

    lines: list[Line] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    packs: list[tuple[Cut, str, int]] = field(default_factory=list)
    capped: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)

    def add(self, line: Line, cut: Cut | None, name: str = "") -> None:
        """A line of a cut. name: of the counter that remembers its exact amount, "" for usage."""
        self.lines.append(line if cut is None else replace(line, category=cut.tax_of(line.charge)))
        if name and line.exact:
            self.counters[name] = self.counters.get(name, 0) + line.exact
        if cut is not None and line.kind != "prepaid":
            net = f"net|{cut.name}|"
            self.counters[net] = self.counters.get(net, 0) + line.amount

    @property
    def is_empty(self) -> bool:
        return not self.lines


@dataclass(frozen=True, slots=True)
class Scope:
    """What a document is about. groups: all that have begun; closed: keys of those that invoices closed; closing: the one that this
    document closes, None for none. is_interim: whether it takes what was used so far of periods that are not over.
    """

    currency: str
    groups: tuple[Group, ...]
    closed: frozenset[str]
    closing: Group | None
    is_interim: bool = False

    @property
    def organisation(self) -> str:
        """Whose it is."""
        return self.groups[0].cuts[0].subscription.organisation

    @property
    def until_us(self) -> int:
        """Periods that begin later are of no concern: their fees in advance come with the next document."""
        return self.closing.end_us if self.closing else 2**62


def drafted(session: Session, scope: Scope, parts: Sequence[Part]) -> Draft:
    """The lines of a document."""
    draft = Draft()
    known = {f"{part.subscription}|{part.period}": part for part in parts}
    billed = terms.counters_of(session, _names(scope, known))
    for group in scope.groups:
        if group.start_us > scope.until_us:
            continue
        is_late = group.key in scope.closed
        is_closing = is_late or (scope.closing is not None and group.key == scope.closing.key)
        for cut in group.cuts:
            part = known.get(cut.name)
            _due(draft, scope, cut, terms.advance(cut), billed, "advance", is_late)
            if is_closing or scope.is_interim:
                _used(draft, scope, cut, part, is_late)
            if is_closing:
                _due(draft, scope, cut, terms.arrears(cut, part), billed, "arrears", is_late)
                draft.capped[cut.subscription.id, cut.period.label] = terms.under_cap(cut, part)
    _coupons(session, draft, scope, billed)
    spread = categories.spread(draft.lines, scope.currency, draft.capped, _earlier(session, scope, draft))
    draft.lines = returned.taken_off(session, scope.organisation, spread) if spread else []
    draft.lines.sort(key=lambda line: (DUE[line.kind], line.start, line.charge))
    return draft


def _earlier(session: Session, scope: Scope, draft: Draft) -> list[Line]:
    """Lines of earlier documents, where coupons or caps are divided by tax category. Without what is no new charge: replacements, and
    what takes off what notes gave back.
    """
    plans = (plan for group in scope.groups for cut in group.cuts for plan in (cut.plan, *cut.replaced))
    if not any(categories.is_whole(line) and line.charge for line in draft.lines) or not any(plan.taxes for plan in plans):
        return []
    found = (item.body for item in journal.documents(session, INVOICE, scope.organisation))
    lines = (line for body in found if not body.get("replaces") for line in lines_of(body))
    return [line for line in lines if line.kind != categories.RETURNED]


def _names(scope: Scope, known: Mapping[str, Part]) -> list[str]:
    """Counters that are to be read: of everything that can be due."""
    names = []
    for group in scope.groups:
        for cut in group.cuts:
            due = [*terms.advance(cut), *terms.arrears(cut, known.get(cut.name))]
            names += [terms.billed_name(cut, line) for line in (*due, *_once(cut, "advance"), *_once(cut, "arrears"))]
            names += [f"net|{cut.name}|", *(f"billed|{cut.name}|coupon.{entry['coupon']}" for entry in cut.subscription.coupons)]
    return list(dict.fromkeys(names))


def _due(
    draft: Draft, scope: Scope, cut: Cut, found: Iterable[PriceLine], billed: Mapping[str, int], when: When, is_late: bool
) -> None:  # fmt: skip
    """Fees, true-ups, credits: what should be billed by now less what is."""
    wanted = {terms.billed_name(cut, line): line for line in found}
    if is_late or cut.replaced:
        vanished = {terms.billed_name(cut, line): line for line in _once(cut, when)}
        wanted = {**{name: line for name, line in vanished.items() if billed.get(name)}, **wanted}
    for name, line in wanted.items():
        exact = terms.whole(line.amount) - billed.get(name, 0)
        # A cap stays what it is, and its parts change: late usage of one tax category, less of another.
        if not exact and (line.kind != "cap" or f"net|{cut.name}|" not in draft.counters):
            continue
        is_again = is_late or bool(cut.replaced and billed.get(name))
        after = ", price corrected" if cut.replaced else ", after late usage"
        made = _line(
            cut, _LATE if is_again else line.kind, line.text + after * is_again, exact, scope.currency, line.start_us, line.end_us
        )
        draft.add(replace(made, charge=line.name), cut, name)
        if line.kind == "prepaid":
            draft.packs.append((cut, line.name, made.amount))


def _once(cut: Cut, when: When) -> list[PriceLine]:
    """What may have been billed and be due no more, at 0: true-ups and caps that late usage made vanish; what only a price had that was
    corrected since.
    """
    period = cut.period
    named: dict[tuple[LineKind, str], str] = {("cap", "cap"): "cap"} if when == "arrears" else {}
    for plan in (cut.plan, *cut.replaced):
        if when == "arrears":
            named |= {("true_up", item.name): item.name for item in plan.charges if item.charge.of}
        for line in _lines_of(replace(cut, plan=plan), when) if cut.replaced else ():
            named[line.kind, line.name] = line.text
    return [
        PriceLine(kind, name, text, Fraction(0), None, "", period.start_us, period.end_us) for (kind, name), text in named.items()
    ]


def _lines_of(cut: Cut, when: When) -> list[PriceLine]:
    return terms.advance(cut) if when == "advance" else terms.arrears(cut, None)


def _used(draft: Draft, scope: Scope, cut: Cut, part: Part | None, is_late: bool) -> None:
    """Usage that no document took, each charge a line, and what of it was given away."""
    if part is None or not part.is_open:
        return
    draft.parts.append(part)
    new, made, late = part.new, list[Line](), ("usage", "") if not is_late else (_LATE, ", late usage")
    changed = (("correction", ", price corrected"), new.corrected, new.recounted)
    rest = (late, _less(new.charges, new.corrected), _less(new.quantities, new.recounted))
    for name in sorted({*new.charges, *(name.partition(".")[0] for name in new.quantities)}):
        for (kind, text), charges, quantities in (rest, changed):
            exact, (unit, quantity) = charges.get(name, 0), _quantity(cut, name, quantities)
            if not exact and not quantity:
                continue
            line = _line(cut, kind, name + text, exact, scope.currency, cut.period.start_us, cut.period.end_us)
            line = replace(line, charge=name)
            if kind != "correction":
                line = replace(line, unit_price=_unit_price(cut.plan, name))
            if kind != "correction" or quantity:
                line = replace(line, quantity=str(quantity), unit=unit)
            made.append(line)
            draft.add(made[-1], cut)
    _given(draft, scope, cut, part, made)


def _given(draft: Draft, scope: Scope, cut: Cut, part: Part, made: Sequence[Line]) -> None:
    """Lines that take off what a trial or a waiver gave; what is given wholly leaves no coin over."""
    new = part.new
    rounded, start, end = sum(line.amount for line in made), cut.period.start_us, cut.period.end_us
    if new.waived:
        amount = rounded if new.waived == new.rated else money.coins(new.waived, scope.currency)
        line = _line(
            cut, "waived", "free during the trial" if cut.period.trial else "given away", -new.waived, scope.currency, start, end
        )
        draft.add(replace(line, amount=-amount), cut)
        rounded -= amount
    if cut.period.trial and new.rated != new.waived:
        line = _line(cut, "trial", "free during the trial", new.waived - new.rated, scope.currency, start, end)
        draft.add(replace(line, amount=-rounded), cut)


def _coupons(session: Session, draft: Draft, scope: Scope, billed: Mapping[str, int]) -> None:
    """What coupons take off each period's bill so far, less what they took."""
    for group in scope.groups:
        nets = [f"net|{cut.name}|" for cut in group.cuts]
        if not any(name in draft.counters for name in nets):
            continue
        last = group.cuts[-1]
        total = sum(billed.get(name, 0) + draft.counters.get(name, 0) for name in nets)
        for code, taken in terms.discounts(session, group, scope.groups, total):
            # a later cut has the same coupon: what all cuts of the period hold of it counts
            names = [f"billed|{cut.name}|coupon.{code}" for cut in group.cuts]
            exact = -money.coins(taken, scope.currency) - sum(billed.get(name, 0) for name in names)
            if exact or taken:  # where it is 0, its parts by tax category may change
                line = _line(last, "coupon", f"coupon {code}", exact, scope.currency, group.start_us, group.end_us)
                draft.lines.append(replace(line, charge=code))
            if exact:
                draft.counters[names[-1]] = draft.counters.get(names[-1], 0) + exact


def _line(cut: Cut, kind: str, text: str, exact: int, currency: str, start_us: int, end_us: int) -> Line:
    return Line(
        kind, text, exact, money.coins(exact, currency), plan=cut.plan.id, subscription=cut.subscription.id, period=cut.period.label,
        start=customers.shown_time(start_us), end=customers.shown_time(end_us),
    )  # fmt: skip


def _quantity(cut: Cut, name: str, quantities: Mapping[str, int]) -> tuple[str, int]:
    """The first unit of a charge, and how much of it."""
    for plan in (cut.plan, *cut.replaced):
        for item in plan.charges:
            if item.name == name and item.charge.units:
                unit = item.charge.units[0]
                return unit, quantities.get(name, quantities.get(f"{name}.{unit}", 0))
    return "", quantities.get(name, 0)


def _less(whole: Mapping[str, int], part: Mapping[str, int]) -> dict[str, int]:
    return {name: amount - part.get(name, 0) for name, amount in whole.items()}


def _unit_price(plan: Plan, name: str) -> str:
    """The price of one unit where there is one, as the plan writes it."""
    record: Mapping[str, Any] = next((item for item in plan.record["charges"] if item["name"] == name), {})
    price, per = record.get("price"), record.get("per", 1)
    if record.get("type") != "standard" or price is None:
        return ""
    return str(price) if per == 1 else f"{price} / {per:,}"
