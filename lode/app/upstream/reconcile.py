"""What a provider says it charged, held against our books: per day and model, to the last 10^-12. Reads only.

capture rate = our cost / the provider's; 1 where nothing was missed. Days are UTC, as in providers' exports.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from lode.app.books.contracts import Store
from lode.core import money
from lode.core.errors import BillingError, listed, near_miss, reason

_MAX_FILE_BYTES = 1 << 28
_COUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "rows")
_WORDS = ("date", "model", "cost", "currency", *_COUNTS)
_SHOWN_ESTIMATED = 100
_LAST_DIGIT = Decimal(1).scaleb(-money.DECIMALS)
_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(slots=True)
class Sums:
    """Of one day and model, on one side. cost: 10^-12 units. estimated: requests of which the provider gave no figures."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    rows: int = 0
    cost: int = 0
    estimated: int = 0


Key = tuple[str, str]
"""Day (2026-11-22) and model."""


def reconcile(store: Store, path: Path, *, provider: str | None = None, model: str | None = None) -> dict[str, Any]:
    """Compare a provider's file (CSV or JSON) with the books.

    provider: only costs of this one (the `provider` of its price list). model: what the books call all that the file is about; left
    out, models are compared by name where both sides know it, and else by day.
    Returns {"currency", "provider_cost", "our_cost", "capture_rate", "days", "estimated", "unmatched"...}, amounts as text.
    Errors: BillingError for a file that is no usage file, or that is in another currency than the books' costs.
    """
    theirs, currency = read_file(path)
    if not theirs:
        raise BillingError(f"{path}: found no rows, wanted one for each day and model. Export it again.")
    days = sorted(day for day, _ in theirs)
    ours, others, estimated = _books(store, days[0], days[-1], provider, currency)
    by_model = model is None and {name for _, name in theirs} & {name for _, name in ours}
    if not by_model:
        label = model or "all"
        if model is not None:
            ours = {key: sums for key, sums in ours.items() if key[1] == model}
            estimated = [item for item in estimated if item["model"] == model]
        theirs, ours = _merged(theirs, label), _merged(ours, label)
    lines = [_line(key, theirs.get(key, Sums()), ours.get(key, Sums())) for key in sorted({*theirs, *ours})]
    charged, noted = (sum(item.cost for item in side.values()) for side in (theirs, ours))
    return {
        "file": str(path), "currency": currency, "from": days[0], "to": days[-1],
        "provider_cost": money.plain(charged), "our_cost": money.plain(noted), "difference": money.plain(noted - charged),
        "capture_rate": rate(noted, charged), "days": lines, "other_currencies": others,
        "estimated_requests": len(estimated), "estimated": estimated[:_SHOWN_ESTIMATED],
    }  # fmt: skip


def rate(ours: int, theirs: int) -> str | None:
    """The capture rate with six decimals, cut, so that 1.000000 means nothing is missing; None where the provider charged nothing."""
    if theirs <= 0:
        return None
    millionths = ours * 10**6 // theirs
    return f"{millionths // 10**6}.{millionths % 10**6:06d}"


def read_file(path: Path) -> tuple[dict[Key, Sums], str]:
    """A provider's usage: day and model -> sums, and the currency. Errors: BillingError."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BillingError(f"{path}: found more than {_MAX_FILE_BYTES:,} bytes. Export fewer days.")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BillingError(f"{path}: cannot be read ({reason(error)}). Name the provider's usage as CSV or JSON.") from None
    records = _json(text, path) if text.lstrip()[:1] in ("[", "{") else _csv(text, path)
    found: dict[Key, Sums] = {}
    currencies: set[str] = set()
    for number, record in records:
        _add(found, currencies, record, f"{path}: row {number}")
    if len(currencies) > 1:
        raise BillingError(f"{path}: found costs in {listed(sorted(currencies))}, wanted one currency. Split the file.")
    return found, next(iter(currencies), "")


def _csv(text: str, path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), restkey="...")
    _check_words(reader.fieldnames or (), path)
    return [(number, record) for number, record in enumerate(reader, 2)]


def _json(text: str, path: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    try:
        found = json.loads(text, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise BillingError(f"{path}: no JSON ({error}). Export it again.") from None
    records = found.get("data") if isinstance(found, dict) else found
    if not isinstance(records, list) or not all(isinstance(item, dict) for item in records):
        raise BillingError(
            f'{path}: found no list of objects, wanted one for each day and model, or {{"data": [...]}}. Write it so.'
        )
    for record in records:
        _check_words(record, path)
    return list(enumerate(records, 1))


def _check_words(words: Iterable[str], path: Path) -> None:
    given = [str(word) for word in words]
    unknown = [word for word in given if word not in _WORDS]
    if unknown:
        raise BillingError(
            f'{path}: found the column "{unknown[0]}", allowed: {listed(_WORDS, 12)}.{near_miss(unknown[0], _WORDS)} Rename it.'
        )
    missing = [word for word in ("date", "model", "cost", "currency") if word not in given]
    if missing:
        raise BillingError(f"{path}: found no column {listed(missing)}, wanted: {listed(_WORDS, 12)}. Add it.")


def _add(found: dict[Key, Sums], currencies: set[str], record: Mapping[str, Any], where: str) -> None:
    """Add one row. Errors: BillingError for a day, a count or a cost that is none."""
    day = str(record.get("date") or "")[:10]
    try:
        date.fromisoformat(day)
    except ValueError:
        raise BillingError(f'{where}: date: found "{day}", wanted a day such as 2026-11-22. Correct it.') from None
    currency = str(record.get("currency") or "")
    money.exponent(currency)
    currencies.add(currency)
    sums = found.setdefault((day, str(record.get("model") or "")), Sums())
    sums.cost += _cost(str(record.get("cost")), f"{where}: cost")
    for word in _COUNTS:
        text = str(record.get(word) or 0)
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise BillingError(f'{where}: {word}: found "{text[:40]}", wanted a whole number. Correct it.')
        setattr(sums, word, getattr(sums, word) + int(text))


def _cost(text: str, where: str) -> int:
    """Exports write 2e-06 and digits beyond the twelfth, noise of floats: rounded to 10^-12, half to even."""
    try:
        written = Decimal(text.strip())
        plain = f"{written.quantize(_LAST_DIGIT):f}" if written.is_finite() and abs(written) < money.LARGEST else text
    except InvalidOperation:
        plain = text
    return money.parse(plain, where, least=None)


def _books(
    store: Store, first: str, last: str, provider: str | None, currency: str
) -> tuple[dict[Key, Sums], dict[str, str], list[dict[str, Any]]]:
    """Our costs of the days: by day and model; those in other currencies, by currency; the requests that are estimated."""
    start = (date.fromisoformat(first).toordinal() - _EPOCH) * _DAY_US
    end = (date.fromisoformat(last).toordinal() - _EPOCH + 1) * _DAY_US
    found: dict[Key, Sums] = {}
    others: dict[str, int] = {}
    estimated: list[dict[str, Any]] = []
    with store.view() as session:
        rows = session.rows(
            "SELECT at_us, model, provider, cost, cost_currency, estimated, request_id, num_rows, input_tokens, cached_tokens, "
            "output_tokens, kind FROM usage WHERE at_us >= ? AND at_us < ? AND provider <> '' ORDER BY at_us, sequence",
            (start, end),
        )
    for at_us, model, paid, cost, paid_in, is_estimated, request_id, *counts, kind in rows:
        if provider is not None and paid.partition("@")[0] != provider:
            continue
        if paid_in != currency:
            others[paid_in] = others.get(paid_in, 0) + int(cost)
            continue
        day = date.fromordinal(_EPOCH + at_us // _DAY_US).isoformat()
        sums = found.setdefault((day, model), Sums())
        num_rows, input_tokens, cached_tokens, output_tokens = counts
        _sum(sums, Sums(1, input_tokens, cached_tokens, output_tokens, num_rows, int(cost), int(is_estimated)))
        if is_estimated:
            estimated.append({"date": day, "model": model, "request_id": request_id, "kind": kind, "cost": money.plain(int(cost))})
    return found, {name: money.plain(amount) for name, amount in others.items()}, estimated


def _sum(into: Sums, more: Sums) -> None:
    for item in fields(Sums):
        setattr(into, item.name, getattr(into, item.name) + getattr(more, item.name))


def _merged(sides: Mapping[Key, Sums], label: str) -> dict[Key, Sums]:
    """By day only."""
    found: dict[Key, Sums] = {}
    for (day, _), sums in sides.items():
        _sum(found.setdefault((day, label), Sums()), sums)
    return found


def _line(key: Key, theirs: Sums, ours: Sums) -> dict[str, Any]:
    return {
        "date": key[0], "model": key[1], "provider": _shown(theirs), "ours": {**_shown(ours), "estimated": ours.estimated},
        "difference": money.plain(ours.cost - theirs.cost), "capture_rate": rate(ours.cost, theirs.cost),
    }  # fmt: skip


def _shown(side: Sums) -> dict[str, Any]:
    return {**{word: getattr(side, word) for word in _COUNTS}, "cost": money.plain(side.cost)}
