"""Prepaid credit in grants: which is used up first, what expires, and where a refund goes. Pure.

Order: lower priority number, then earlier expiry (never comes last), then earlier creation, then id. Currencies never mix: an
organisation has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grant:
    """Credit that was bought or given. amount: 10^-12 units, > 0. expires_us: None for never; at that instant it is gone."""

    id: str
    amount: int
    created_us: int
    expires_us: int | None = None
    priority: int = 100


def order(grants: Sequence[Grant]) -> list[Grant]:
    """As they are used up."""
    return sorted(grants, key=lambda item: (item.priority, item.expires_us is None, item.expires_us or 0, item.created_us, item.id))


def usable(grants: Sequence[Grant], now_us: int) -> list[Grant]:
    """Those that exist and have not expired, as they are used up."""
    return order([item for item in grants if item.created_us <= now_us and (item.expires_us is None or now_us < item.expires_us)])


def draw(grants: Sequence[Grant], drawn: Mapping[str, int], amount: int, now_us: int) -> dict[str, int]:
    """What each grant pays of an amount: id -> 10^-12 units. drawn: what each has paid so far. The sum is less where credit runs out."""
    assert amount >= 0
    paid: dict[str, int] = {}
    for item in usable(grants, now_us):
        take = min(amount, item.amount - drawn.get(item.id, 0))
        if take > 0:
            paid[item.id] = take
            amount -= take
    return paid


def refund(paid: Mapping[str, int], amount: int, grants: Sequence[Grant]) -> dict[str, int]:
    """Where a refund of a payment goes: back to the grants that paid it, the last used first; never more than each paid."""
    assert 0 <= amount <= sum(paid.values())
    back: dict[str, int] = {}
    for item in reversed(order([grant for grant in grants if grant.id in paid])):
        give = min(amount, paid[item.id])
        if give:
            back[item.id] = give
            amount -= give
    return back


def expired(grants: Sequence[Grant], drawn: Mapping[str, int], now_us: int) -> dict[str, int]:
    """What is left of grants that have expired: to breakage. id -> 10^-12 units."""
    gone = [item for item in grants if item.expires_us is not None and item.expires_us <= now_us]
    left = {item.id: item.amount - drawn.get(item.id, 0) for item in order(gone)}
    return {id: amount for id, amount in left.items() if amount > 0}


def available(grants: Sequence[Grant], drawn: Mapping[str, int], now_us: int) -> int:
    """Credit that can be used at a moment."""
    return sum(item.amount - drawn.get(item.id, 0) for item in usable(grants, now_us))
