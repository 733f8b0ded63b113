"""What came true, told later by request id: checked, joined to what was predicted, and written into the journal, once for each row.

The same outcome told again is nothing new; another one for the same row is refused unless it says that it corrects. A request of
another customer is as if it were not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

import orjson

from lode.app.books import journal, predictions
from lode.app.books.contracts import Act, Entry, Session, Store
from lode.app.books.predictions import Said
from lode.core import money
from lode.core.errors import BillingError, ConflictError, listed, near_miss

KIND = "outcome.report"
MAX_ROWS = 2_000
"""Outcomes in one report."""
_KEYS = ("row", "outcome", "rule", "amounts", "happened", "corrects")
_EARLIEST_US, _LATEST_US = 0, 32_503_680_000_000_000  # the years 1970 to 2999
_LARGEST = 10**15
_PROBABILITY = ".probability."


class UnknownRequestError(BillingError):
    """No such request of this customer, or what it predicted was forgotten."""


@dataclass(frozen=True, slots=True)
class Told:
    """One outcome as it was reported, found good.

    outcome: 0 or 1, a number, or a class by its name. rule: what the current rule would have done (0, 1 or a number), None where not said.
    amounts: column -> amount in 10^-12 units, where the policy's money differs by row. happened_us: when it came true, None: unknown.
    corrects: how many earlier reports of this row it replaces.
    """

    row: int
    outcome: bool | int | float | str
    rule: int | float | None
    amounts: Mapping[str, int]
    happened_us: int | None
    corrects: int

    def facts(self) -> dict[str, Any]:
        """What is asked, as JSON: equal for equal reports."""
        return {
            "row": self.row, "outcome": self.outcome, "rule": self.rule, "happened_us": self.happened_us, "corrects": self.corrects,
            "amounts": {name: str(amount) for name, amount in self.amounts.items()},
        }  # fmt: skip


def report(
    store: Store, actor: str, organisation: str, request_id: str, outcomes: Sequence[Any], *, now_us: Callable[[], int]
) -> dict[str, Any]:
    """Write the outcomes of one request's rows, all or none; {"request_id", "recorded", "repeated"}.

    Errors: BillingError for what is no outcome; UnknownRequestError; ConflictError where a row has another outcome already.
    """
    told = read(outcomes)

    def write(session: Session) -> tuple[int, int]:
        said = predictions.find(session, organisation, request_id)
        last = session.rows("SELECT sequence FROM head")[0][0]
        acts = [_act(actor, organisation, request_id, item, said, session) for item in told]
        results = journal.append(session, acts, now_us())
        for result in results:
            if isinstance(result, BillingError):
                raise _conflict(request_id, result)
        fresh = sum(isinstance(result, Entry) and result.sequence > last for result in results)
        return fresh, len(results) - fresh

    recorded, repeated = store.transact(write)
    return {"request_id": request_id, "recorded": recorded, "repeated": repeated}


def read(outcomes: Sequence[Any]) -> list[Told]:
    """The reports of a body. Errors: BillingError naming the first that cannot be meant."""
    if not isinstance(outcomes, list | tuple) or not 1 <= len(outcomes) <= MAX_ROWS:
        raise BillingError(f"outcomes: found {_shown(outcomes)}, wanted a list of 1 to {MAX_ROWS:,}. Split it.")
    told = [_read(item, place) for place, item in enumerate(outcomes)]
    names = [(item.row, item.corrects) for item in told]
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise BillingError(f"outcomes: found row {double[0]} twice, wanted each once. Leave one out.")
    return told


def _read(item: Any, place: int) -> Told:
    where = f"outcomes[{place}]"
    if not isinstance(item, Mapping):
        raise BillingError(f'{where}: found {_shown(item)}, wanted an object such as {{"row": 0, "outcome": 1}}. Write it so.')
    for key in item:
        if key not in _KEYS:
            raise BillingError(
                f"{where}: found the key {_shown(key)}, allowed: {listed(_KEYS)}.{near_miss(str(key)[:64], _KEYS)} Correct it."
            )
    if "outcome" not in item:
        raise BillingError(f'{where}: found no "outcome", wanted what came true: 0 or 1, a number, or a class. Add it.')
    amounts = item.get("amounts") or {}
    if not isinstance(amounts, Mapping) or len(amounts) > 16 or any(len(str(name)) > 64 for name in amounts):
        raise BillingError(f'{where}.amounts: found {_shown(amounts)}, wanted columns with amounts, such as {{"margin": "12.50"}}.')
    return Told(
        row=_whole(item.get("row", 0), f"{where}.row"), outcome=_outcome(item["outcome"], f"{where}.outcome"),
        rule=None if item.get("rule") is None else _number(item["rule"], f"{where}.rule"),
        amounts={str(name): money.parse(value, f"{where}.amounts.{name}", least=None) for name, value in amounts.items()},
        happened_us=None if item.get("happened") is None else _instant(item["happened"], f"{where}.happened"),
        corrects=_whole(item.get("corrects", 0), f"{where}.corrects"),
    )  # fmt: skip


def _act(actor: str, organisation: str, request_id: str, told: Told, said: Said | None, session: Session) -> Act:
    """Errors: UnknownRequestError, BillingError for a row that the request does not have."""
    asked = told.facts()
    reference = f"outcome|{told.row}|{told.corrects}|{request_id}"
    fingerprint = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
    if said is None:
        before = journal_entry(session, organisation, reference)
        if before is None:
            raise UnknownRequestError(
                f'request_id: found "{request_id}", wanted a request of yours whose predictions are kept. Send the Idempotency-Key of the '
                "request, or the x-lode-request-id of its answer."
            )
        return Act(KIND, actor, organisation, reference, fingerprint, facts=before)
    if told.row >= said.rows:
        raise BillingError(f"outcomes: found row {told.row}, the request had {said.rows}, counted from 0. Correct it.")
    _check_class(told.outcome, said)
    facts = {
        "request_id": request_id, "model": said.model, "version": said.version, "decided_us": said.at_us, "said": said.row(told.row),
        **asked,
    }  # fmt: skip
    return Act(KIND, actor, organisation, reference, fingerprint, facts=facts)


def _check_class(outcome: Any, said: Said) -> None:
    """Refuses a class that the model does not know: misspelt, it would count as "not the one to act upon"."""
    if not isinstance(outcome, str):
        return
    classes = sorted({name.partition(_PROBABILITY)[2] for name in said.columns if _PROBABILITY in name})
    if len(classes) > 1 and outcome not in classes:
        raise BillingError(
            f"outcomes: found {_shown(outcome)}, allowed: {listed(classes)}.{near_miss(outcome, classes)} Correct it."
        )


def journal_entry(session: Session, organisation: str, reference: str) -> dict[str, Any] | None:
    """Facts of an act that was written under this reference, None of none."""
    rows = session.rows(
        "SELECT record FROM journal WHERE reference <> '' AND organisation = ? AND reference = ?", (organisation, reference)
    )
    return orjson.loads(rows[0][0]).get("facts", {}) if rows else None


def _conflict(request_id: str, error: BillingError) -> BillingError:
    row = str(error).split("|")[1] if "|" in str(error) else "?"
    return ConflictError(
        f"{request_id}, row {row}: another outcome was reported for it before. If that one was wrong, send this one with "
        '"corrects": 1 (2, 3, ... for the next).'
    )


def _outcome(value: Any, where: str) -> bool | int | float | str:
    if isinstance(value, str) and 1 <= len(value) <= 64 and value.isprintable():
        return value
    if isinstance(value, bool):
        return int(value)
    return _number(value, where)


def _number(value: Any, where: str) -> int | float:
    is_number = isinstance(value, int | float) and not (isinstance(value, float) and value != value)
    if not is_number or abs(value) >= _LARGEST:
        raise BillingError(f"{where}: found {_shown(value)}, wanted 0 or 1, or a number below 10^15. Correct it.")
    return int(value) if isinstance(value, bool) else value


def _whole(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise BillingError(f"{where}: found {_shown(value)}, wanted a whole number from 0 on. Correct it.")
    return value


def _instant(value: Any, where: str) -> int:
    wanted = "a time with its offset, such as 2026-11-30T12:00:00+00:00, or a day"
    try:
        at = datetime.fromisoformat(value if len(value) > 10 else f"{value}T00:00:00+00:00")
        at_us = int(Fraction(at.timestamp()) * 1_000_000) if at.tzinfo is not None else -1
    except (TypeError, ValueError, OverflowError):
        at_us = -1
    if not _EARLIEST_US <= at_us < _LATEST_US:
        raise BillingError(f"{where}: found {_shown(value)}, wanted {wanted}. Write it so.")
    return at_us


def _shown(value: Any) -> str:
    text = f"a {type(value).__name__}" if isinstance(value, list | tuple | Mapping) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
