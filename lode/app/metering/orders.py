"""What the writer's thread is asked to do; each order is carried out within one commit, with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lode.app.contracts import Caller, Kept, Usage


class Share(NamedTuple):
    """An allowance that a request draws on. name: of its counter, or "credit|ORGANISATION". unit: what it counts. held: set aside."""

    name: str
    unit: str
    ceiling: int
    held: int


@dataclass(slots=True, eq=False)
class Settlement:
    """Note what a request took. shares: what it holds. epoch: of the reservation; see `Leases`."""

    caller: Caller
    request_id: str
    fingerprint: str
    usage: Usage
    at_us: int
    shares: tuple[Share, ...]
    epoch: int
    kept: Kept | None = None


class Settled(NamedTuple):
    """taken: units or money that each share gave, in the settlement's order. again: an answer given before. failure: why it was refused."""

    taken: tuple[int, ...] = ()
    again: Kept | None = None
    failure: Exception | None = None


@dataclass(frozen=True, slots=True)
class Refill:
    """Read how much of an allowance is used; where other processes share it, set some of the rest aside for this one.

    first: what the first request that waits lacks; want: what all of them lack; shares: whether to take some more than that.
    """

    name: str
    ceiling: int
    first: int
    want: int
    takes_more: bool


@dataclass(frozen=True, slots=True)
class Refilled:
    """used: so far, in the books. granted: added to this process's lease. until_us: when credit that is counted expires."""

    used: int
    granted: int
    until_us: int


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Return what is not held of leases: name -> amount."""

    amounts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Beat:
    """This process lives. enter: others are there: from now on reservations are leases, those that are open are these.

    leave: nobody else is there any more: from now on they are in memory.
    """

    enter: dict[str, int] | None = None
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """others: processes on the same books that live. is_alone: reservations are in memory. epoch: grows whenever this process was late."""

    others: tuple[str, ...] = ()
    is_alone: bool = True
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Leave:
    """This process ends: its leases are free, and nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Find out whether the books can be written again, and throw away answers that were kept long enough."""


class Results(list["Result"]):
    """Of one commit, in the order of its orders. is_foreign: somebody else has written into the books since our last commit.

    from_leases: whether its settlements used up leases in the books, or were reserved in memory only.
    """

    is_foreign = False
    from_leases = False


Order = Settlement | Refill | GiveBack | Beat | Leave | Probe
Result = Settled | Refilled | Standing | None
