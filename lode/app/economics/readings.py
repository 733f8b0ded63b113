"""What the books say about a window: requests, compute, provider costs, and the revenue of the very entries that invoices select.

One `Cell` for each customer and model, and for each project and UTC day where they are asked for. Revenue comes from the ledger's
transfers, not from usage, so that its sum is the balance of the income accounts, to the last 10^-12; what no request explains (fees,
minimums, credit notes) stands under the model "".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

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


def cells(session: Session, span: Window, by: Collection[str] = ("project", "day"), model: str | None = None) -> dict[Name, Cell]:
    """Everything that happened in a window. by: of project and day, those that cells are apart in; where they are not, their name has ""
    and 0, and the database adds them up. model: of its requests only.
    """
    found: dict[Name, Cell] = defaultdict(Cell)
    project, day = ("u.project" if "project" in by else "''"), ("u.at_us / 86400000000" if "day" in by else "0")
    only, names = ("", ()) if model is None else (" AND u.model = ?", (model,))
    of_usage = f"SELECT u.organisation, {project}, u.model, {day}"
    window = f"u.at_us >= ? AND u.at_us < ?{only} GROUP BY 1, 2, 3, 4, 5, 6"
    rows = session.rows(
        f"{of_usage}, u.kind, u.cost_currency, COUNT(*), SUM(CASE WHEN u.status < 400 THEN 1 ELSE 0 END), SUM(u.num_rows), "
        "SUM(u.input_tokens + u.output_tokens), SUM(u.compute_us), exact_sum(u.cost), SUM(u.estimated) "
        f"FROM usage u WHERE u.kind <> 'correction' AND {window}",
        (span.start_us, span.end_us, *names),
    )
    for *name, kind, currency, requests, served, num_rows, tokens, compute_us, cost, estimated in rows:
        cell = found[_name(*name)]
        cell.requests += int(requests)
        cell.served += int(served)
        cell.own += 0 if kind == "customer" else int(requests)
        cell.rows += int(num_rows)
        cell.tokens += int(tokens)
        cell.compute_us += int(compute_us)
        cell.estimated += int(estimated)
        if cost := int(cost):
            cell.provider[currency] += cost
    _earned(found, session.rows(
        f"{of_usage}, t.debit, t.credit, exact_sum(t.amount) FROM usage u JOIN transfers t ON t.sequence = u.sequence WHERE {window}",
        (span.start_us, span.end_us, *names),
    ))  # fmt: skip
    if model is None:
        _earned(found, _other_income(session, span, "j.at_us / 86400000000" if "day" in by else "0"))
    return dict(found)


def _other_income(session: Session, span: Window, day: str) -> list[tuple[Any, ...]]:
    """What no request explains, on the day on which it was written."""
    return session.rows(
        f"SELECT j.organisation, '', '', {day}, t.debit, t.credit, exact_sum(t.amount) FROM journal j "
        "JOIN transfers t ON t.sequence = j.sequence LEFT JOIN usage u ON u.sequence = j.sequence "
        "WHERE j.kind <> 'usage.settle' AND u.sequence IS NULL AND j.at_us >= ? AND j.at_us < ? GROUP BY 1, 2, 3, 4, 5, 6",
        (span.start_us, span.end_us),
    )


def _name(organisation: str, project: str, model: str, day: Any) -> Name:
    return organisation, project, model, int(day)


def _earned(found: dict[Name, Cell], rows: Iterable[Sequence[Any]]) -> None:
    """Add credits less debits of the income accounts."""
    for *name, debit, credit, amount in rows:
        for account, sign in ((credit, 1), (debit, -1)):
            if account.startswith(INCOME):
                found[_name(*name)].revenue[account.rsplit("/", 1)[1]] += sign * int(amount)


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
