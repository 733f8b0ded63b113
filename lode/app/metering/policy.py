"""What is billed in which case: one row per case, each with a test (tests/unit/app/metering/test_metering_gate.py).

Refused before the model ran (key, rate, budget, a bad body) and repeated requests (answered from what is kept) are no
cases here: they never reach `settle`, take nothing and cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Billing = Literal["all", "made", "nothing"]

_TAKEN = ("rows", "input_tokens", "output_tokens", "compute_us")


@dataclass(frozen=True, slots=True)
class Case:
    """One row. billed: everything; what was made until it ended; nothing. is_kept: whether the answer is given again to who asks again.

    A case that bills nothing is noted only where the model took time, as cost: with its status, without the request id's
    being used up, so that the same request may be sent again under it.
    """

    name: str
    billed: Billing
    is_kept: bool
    why: str


ANSWERED = Case("answered", "all", True, "the answer was made, whether or not the client waited for its last byte")
CLIENT_GONE = Case("client_gone", "made", False, "tokens that were made for a client that hung up cost the same")
CLIENT_SLOW = Case("client_slow", "made", False, "the same for a client that stopped reading")
REFUSED = Case("refused", "nothing", False, "the model or its queue refused: there is no answer")
FAILED = Case("failed", "nothing", False, "a fault or a deadline of ours is never billed")

CASES = (ANSWERED, CLIENT_GONE, CLIENT_SLOW, REFUSED, FAILED)


def case_of(status: int) -> Case:
    """By the status with which a request ended that had reached the model."""
    if status < 400:
        return ANSWERED
    if status >= 500:
        return FAILED
    return {499: CLIENT_GONE, 408: CLIENT_SLOW}.get(status, REFUSED)


def billed_units(case: Case, units: Mapping[str, int]) -> dict[str, int]:
    """What is priced and counted against quotas; empty for nothing."""
    if case.billed == "nothing" or (case.billed == "made" and not was_taken(units)):
        return {}
    return {"requests": 1, **units}


def was_taken(units: Mapping[str, int]) -> bool:
    """Whether the model did anything."""
    return any(units.get(name) for name in _TAKEN)
