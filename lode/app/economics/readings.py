"""What the books say about a window: requests, compute, provider costs, and the revenue of the very entries that invoices select.

One `Cell` for each customer, project, model and UTC day. Revenue comes from the ledger's transfers, not from usage, so that its sum is
the balance of the income accounts, to the last 10^-12; what no request explains (fees, minimums, credit notes) stands under the model "".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from lode.app.books.contracts import Session
from lode.core.errors import BillingError

DAY_US = 86_400_000_000
INCOME = ("revenue/", "waived/", "rounding/", "breakage/")
"""Accounts whose sum is what was earned: what is given away comes off, credit that expired comes on."""

Name = tuple[str, str, str, int]
"""Customer, project, model, day since 1970."""


@dataclass(slots=True)
class Cell:
    """Sums of one name. revenue, provider: amounts by currency. served: with a status below 400. own: requests of ours."""

    requests: int = 0
    served: int = 0
    own: int = 0
    rows: int = 0
    tokens: int = 0
    compute_us: int = 0
    revenue: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    provider: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    estimated: int = 0

    def add(self, other: Cell) -> None:
        """The sums of both."""
        for name in ("requests", "served", "own", "rows", "tokens", "compute_us", "estimated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.revenue, other.revenue), (self.provider, other.provider)):
            for currency, amount in theirs.items():
                mine[currency] += amount


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open, microseconds since 1970 UTC."""

    start_us: int
    end_us: int

    @property
    def days(self) -> float:
        """Length in days."""
        return (self.end_us - self.start_us) / DAY_US


def window(start: str | None, end: str | None, now_us: int) -> Window:
    """Dates as written (`2026-11-01`, UTC); `end` is the first day that is not in it. Default: the last 30 days up to now.

    It ends now at the latest: of a month that is not over nobody knows who left. Errors: BillingError for what is no date, a start that
    lies ahead, and an end that is not after the start.
    """
    end_us = now_us if end is None else _date_us(end, "--to")
    start_us = end_us - 30 * DAY_US if start is None else _date_us(start, "--from")
    if end_us <= start_us:
        raise BillingError(
            f"--to: found {end or 'now'}, wanted a day after --from {start}. --to is the first day that is left out."
        )
    if start_us >= now_us:
        raise BillingError(f"--from: found {start or end}, which has not begun, wanted an earlier day. Correct it.")
    return Window(start_us, min(end_us, now_us))


def _date_us(text: str, where: str) -> int:
    try:
        days = (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        days = -1
    if days < 0:
        raise BillingError(f'{where}: found "{text}", wanted a day like 2026-11-01. Write it so.')
    return days * DAY_US


def shown_day(day: int) -> str:
    """`2026-11-01` of days since 1970."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


def shown_us(at_us: int) -> str:
    """`2026-11-01T00:00:00Z`."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(shown: str) -> str:
    """What `shown_us` gave, for people: the day alone where it is midnight."""
    return shown[:10] if shown.endswith("T00:00:00Z") else f"{shown[:10]} {shown[11:16]}"


def cells(session: Session, span: Window) -> dict[Name, Cell]:
    """Everything that happened in a window."""
    found: dict[Name, Cell] = defaultdict(Cell)
    for name, cell in (*_usage(session, span), *_income(session, span)):
        found[name].add(cell)
    return dict(found)


def _usage(session: Session, span: Window) -> Iterator[tuple[Name, Cell]]:
    rows = session.rows(
        "SELECT organisation, project, model, at_us / 86400000000, kind, cost_currency, COUNT(*), "
        "SUM(CASE WHEN status < 400 THEN 1 ELSE 0 END), SUM(num_rows), SUM(input_tokens + output_tokens), SUM(compute_us), "
        "exact_sum(cost), SUM(estimated) FROM usage WHERE at_us >= ? AND at_us < ? AND kind <> 'correction' GROUP BY 1, 2, 3, 4, 5, 6",
        (span.start_us, span.end_us),
    )
    for organisation, project, model, day, kind, currency, *sums in rows:
        requests, served, num_rows, tokens, compute_us, cost, estimated = map(int, sums)
        cell = Cell(requests, served, 0 if kind == "customer" else requests, num_rows, tokens, compute_us, estimated=estimated)
        if cost:
            cell.provider[currency] += cost
        yield (organisation, project, model, int(day)), cell


def _income(session: Session, span: Window) -> Iterator[tuple[Name, Cell]]:
    """Credits less debits of the income accounts. A request counts on its own day, everything else on the day it was written."""
    kinds = " OR ".join(f"substr(t.{side}, 1, {len(start)}) = '{start}'" for side in ("debit", "credit") for start in INCOME)
    rows = session.rows(
        "SELECT j.organisation, COALESCE(u.project, ''), COALESCE(u.model, ''), COALESCE(u.at_us, j.at_us) / 86400000000, "
        "t.debit, t.credit, exact_sum(t.amount) FROM transfers t JOIN journal j ON j.sequence = t.sequence "
        f"LEFT JOIN usage u ON u.sequence = t.sequence WHERE ({kinds}) "
        "AND COALESCE(u.at_us, j.at_us) >= ? AND COALESCE(u.at_us, j.at_us) < ? GROUP BY 1, 2, 3, 4, 5, 6",
        (span.start_us, span.end_us),
    )
    for organisation, project, model, day, debit, credit, amount in rows:
        cell = Cell()
        for account, sign in ((credit, 1), (debit, -1)):
            if account.startswith(INCOME):
                cell.revenue[account.rsplit("/", 1)[1]] += sign * int(amount)
        yield (organisation, project, model, int(day)), cell


def machine_us(session: Session, span: Window, model: str | None = None) -> int:
    """Microseconds for which serving processes (of one model) were up in a window, as far as they are still noted; processes that ran
    together add up.
    """
    rows = session.rows(
        "SELECT started_us, until_us, model FROM processes WHERE until_us > ? AND started_us < ?", (span.start_us, span.end_us)
    )
    return sum(
        min(int(end), span.end_us) - max(int(start), span.start_us) for start, end, served in rows if model in (None, served)
    )
