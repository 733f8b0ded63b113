"""Holds a plan's document against what a plan may say. Every problem is a Finding; nothing is raised here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from lode.app.prices.contracts import OptionsError
from lode.app.prices.toml_lines import Point
from lode.core import money
from lode.core.check import Finding, dotted, shown, unknown_word
from lode.core.errors import BillingError, near_miss
from lode.core.registry import REGISTRIES, read_component
from lode.core.types import Key

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)
_MODEL = re.compile(r"\*|[A-Za-z0-9][A-Za-z0-9._/:-]{0,99}", re.ASCII)
_ANCHORS = {
    "month": (re.compile(r"[1-9]|[12][0-9]|3[01]"), "a day from 1 to 31"),
    "week": (re.compile(r"[1-7]"), "1 (Monday) to 7 (Sunday)"),
    "year": (re.compile(r"(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"), 'a date such as "01-31"'),
    "day": (re.compile(r"(?!)"), "none: a day begins at midnight"),
}
_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_RATE = r"[1-9]\d{0,14} +(requests|rows|input_tokens|cached_tokens|output_tokens|compute_us|request_bytes|answer_bytes)"
_OF = r"( +of +[a-z0-9][a-z0-9_-]{0,63})?"
_LIMIT = re.compile(rf"{_RATE}/((second|minute|hour)( +burst +[1-9]\d{{0,14}})?|day|month|total){_OF}", re.ASCII)
_BUDGET = re.compile(rf"\d{{1,14}}(\.\d{{1,12}})? +(?P<currency>[A-Z]{{3}})/(day|month|total){_OF}", re.ASCII)
"""What `lode.app.access.limits` reads: a limit that it refused would stop every key of the customer."""
_WORDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "period": ("month", ("day", "week", "month", "year")),
    "counters": ("restart", ("restart", "carry")),
}
_PLAN_KEYS = ("name", "version", "currency", "period", "anchor", "trial_days", "counters", "cap", "limits", "fees", "charges")
_FEE_KEYS = ("name", "amount", "due", "prorated", "tax")
_CHARGE_KEYS = ("name", "model", "cap", "tax")
_MOST_ENTRIES = 200
_LARGEST_VERSION = 10**9


def checked(written: Mapping[str, Any], findings: list[Finding]) -> dict[str, Any]:
    """The parts of a plan, every default filled in; worthless where a Finding was added."""
    _points(written, (), findings)
    findings += [Finding((key,), unknown_word(str(key), _PLAN_KEYS)) for key in written if key not in _PLAN_KEYS]
    parts: dict[str, Any] = {"name": _name(written, (), findings)}
    parts["version"] = _whole(written, "version", None, 1, _LARGEST_VERSION, findings)
    parts["currency"] = _currency(written.get("currency"), findings)
    for key, (default, allowed) in _WORDS.items():
        parts[key] = _word(written, key, default, allowed, (), findings)
    parts["anchor"] = _anchor(written.get("anchor", ""), parts["period"], findings)
    parts["trial_days"] = _whole(written, "trial_days", 0, 0, 3650, findings)
    parts["cap"], parts["cap_pico"] = _optional_amount(written, "cap", (), findings)
    parts["limits"] = _limits(written.get("limits", []), parts["currency"], findings)
    parts["fees"] = [_fee(item, ("fees", place), parts, findings) for place, item in _tables(written, "fees", findings)]
    parts["charges"] = [_charge(item, ("charges", place), parts, findings) for place, item in _tables(written, "charges", findings)]
    if not findings:
        _together(parts, findings)
    return parts


def _points(value: Any, key: Key, findings: list[Finding]) -> None:
    """Numbers with a point are binary in TOML: 0.1 is not 0.1. Prices are written as text."""
    if isinstance(value, Point | float):
        text = str(value)
        findings.append(
            Finding(
                key, f'found {text} without quotes, allowed: text, because a TOML number with a point is not exact. Write "{text}".'
            )
            if re.fullmatch(r"[+-]?[0-9_]+\.[0-9_]+", text)
            else Finding(key, f'found {text}, allowed: an amount in quotes such as "0.0015". Write it so.')
        )
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _points(item, (*key, name), findings)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _points(item, (*key, place), findings)


def _name(table: Mapping[str, Any], key: Key, findings: list[Finding]) -> str:
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        text = f'found {shown(name)}, allowed: a-z, 0-9, "-" and "_", at most 40. Write name = "team".'
        findings.append(Finding((*key, "name"), text))
        return ""
    return name


def _tax(table: Mapping[str, Any], key: Key, findings: list[Finding]) -> str:
    """The tax category of a fee or charge, "" for the standard one."""
    tax = table.get("tax", "")
    if tax != "" and (not isinstance(tax, str) or not _NAME.fullmatch(tax)):
        text = f'found {shown(tax)}, allowed: a category of the seller file\'s tax table, a-z, 0-9, "-" and "_". Write tax = "reduced".'
        findings.append(Finding((*key, "tax"), text))
        return ""
    return "" if tax == "standard" else str(tax)


def _whole(table: Mapping[str, Any], key: str, default: int | None, least: int, largest: int, findings: list[Finding]) -> int:
    value = table.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= largest:
        text = f"found {_short(value)}, allowed: a whole number from {least} to {largest}. Write {key} = {max(least, 1)}."
        findings.append(Finding((key,), text))
        return least
    return value


def _short(value: Any) -> str:
    """An int of 5000 digits cannot even be shown."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    return shown(value)


def _currency(value: Any, findings: list[Finding]) -> str:
    try:
        money.exponent(value if isinstance(value, str) else "")
    except BillingError:
        near = near_miss(value.upper(), ("EUR", "USD", "GBP", "CHF", "JPY")) if isinstance(value, str) else ""
        text = f'found {shown(value)}, allowed: three capital letters of ISO 4217.{near} Write currency = "EUR".'
        findings.append(Finding(("currency",), text))
        return ""
    return str(value)


def _word(table: Mapping[str, Any], name: str, default: str, allowed: Sequence[str], key: Key, findings: list[Finding]) -> str:
    value = table.get(name, default)
    if value not in allowed:
        near = near_miss(value, allowed) if isinstance(value, str) else ""
        findings.append(Finding((*key, name), f"found {shown(value)}, allowed: {', '.join(allowed)}.{near} Choose one."))
        return default
    return str(value)


def _anchor(value: Any, period: str, findings: list[Finding]) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**6 else value
    if text == "":
        return ""
    pattern, allowed = _ANCHORS[period]
    fits = isinstance(text, str) and pattern.fullmatch(text) is not None
    if fits and period == "year":
        fits = int(text[3:]) <= _DAYS_OF_MONTH[int(text[:2]) - 1]
    if not fits:
        words = f"found {_short(value)}, allowed in a plan by {period}: {allowed}, or no anchor (the day the contract begins). Correct it."
        findings.append(Finding(("anchor",), words))
        return ""
    return str(text)


def _optional_amount(table: Mapping[str, Any], name: str, key: Key, findings: list[Finding]) -> tuple[str | None, int | None]:
    if name not in table:
        return None, None
    return _amount(table[name], (*key, name), findings)


def _amount(value: Any, key: Key, findings: list[Finding]) -> tuple[str, int]:
    """An amount as text and in 10^-12 units."""
    if isinstance(value, Point | float):  # `_points` has said so
        return "0", 0
    try:
        pico = money.parse(value if isinstance(value, str | int | Decimal) else str(value), dotted(key))
    except BillingError as error:
        findings.append(Finding(key, str(error).removeprefix(f"{dotted(key)}: ")))
        return "0", 0
    return money.plain(pico), pico


def _limits(value: Any, currency: str, findings: list[Finding]) -> list[str]:
    if not isinstance(value, list):
        findings.append(
            Finding(("limits",), f'found {shown(value)}, allowed: a list such as ["600 requests/minute"]. Write it so.')
        )
        return []
    seen: set[str] = set()
    for place, item in enumerate(value):
        if isinstance(item, Point):
            continue
        budget = _BUDGET.fullmatch(item) if isinstance(item, str) else None
        fits = budget["currency"] == currency if budget else isinstance(item, str) and _LIMIT.fullmatch(item)
        what = re.sub(r"^\S+ +| +burst +\S+", "", item) if fits else ""
        if what and what in seen:
            text = f'found a second limit of "{what}", allowed: one amount per unit, window and model. Remove one.'
            findings.append(Finding(("limits", place), text))
        seen.add(what)
        if not fits:
            wanted = f'text such as "600 requests/minute", "100000 rows/month of big" or "50.00 {currency or "EUR"}/month"'
            findings.append(Finding(("limits", place), f"found {_short(item)}, allowed: {wanted}. Correct it."))
    return [item for item in value if isinstance(item, str)]


def _tables(written: Mapping[str, Any], name: str, findings: list[Finding]) -> list[tuple[int, Mapping[str, Any]]]:
    value = written.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value) or len(value) > _MOST_ENTRIES:
        findings.append(
            Finding((name,), f"found {shown(value)}, allowed: at most {_MOST_ENTRIES} tables. Begin each with [[{name}]].")
        )
        return []
    return list(enumerate(value))


def _one_currency(table: Mapping[str, Any], key: Key, currency: str, findings: list[Finding]) -> dict[str, Any]:
    """The table without `currency`, which is the plan's: a plan has one."""
    other = table.get("currency", currency)
    if other != currency:
        text = f"found {shown(other)} in a plan in {currency or 'another currency'}, allowed: one currency. Write a second plan."
        findings.append(Finding((*key, "currency"), text))
    return {name: value for name, value in table.items() if name != "currency"}


def _fee(table: Mapping[str, Any], key: Key, parts: Mapping[str, Any], findings: list[Finding]) -> dict[str, Any]:
    table = _one_currency(table, key, parts["currency"], findings)
    findings += [Finding((*key, name), unknown_word(name, _FEE_KEYS)) for name in table if name not in _FEE_KEYS]
    text, pico = _amount(table.get("amount"), (*key, "amount"), findings)
    prorated = table.get("prorated", True)
    if not isinstance(prorated, bool):
        findings.append(Finding((*key, "prorated"), f"found {shown(prorated)}, allowed: true or false. Choose one."))
    due = _word(table, "due", "advance", ("advance", "arrears"), key, findings)
    tax = _tax(table, key, findings)
    return {"name": _name(table, key, findings), "amount": text, "pico": pico, "due": due, "prorated": prorated, "tax": tax}


def _charge(table: Mapping[str, Any], key: Key, parts: Mapping[str, Any], findings: list[Finding]) -> dict[str, Any]:
    table = _one_currency(table, key, parts["currency"], findings)
    made: dict[str, Any] = {"name": _name(table, key, findings), "model": table.get("model", "*"), "charge": None}
    if not isinstance(made["model"], str) or not _MODEL.fullmatch(made["model"]):
        text = (
            f'found {shown(made["model"])}, allowed: a model\'s name, "*" (all), "others" (no other charge names them). Correct it.'
        )
        findings.append(Finding((*key, "model"), text))
    made["tax"] = _tax(table, key, findings)
    made["cap_text"], made["cap"] = _optional_amount(table, "cap", key, findings)
    options = {name: _text(value) for name, value in table.items() if name not in _CHARGE_KEYS}
    inner: list[Finding] = []
    made["component"] = read_component(options, "charge", key, inner, also=_CHARGE_KEYS)
    findings += inner
    if made["component"] is not None and not inner:
        try:
            made["charge"] = REGISTRIES["charge"].create(made["component"], parts["currency"])
        except OptionsError as error:
            findings += [Finding((*key, *item.key), item.text) for item in error.findings]
    return made


def _text(value: Any) -> Any:
    """A number with a point was refused already: what stands for it must not be refused a second time."""
    if isinstance(value, Point | float):
        return "1"
    if isinstance(value, Mapping):
        return {name: _text(item) for name, item in value.items()}
    return [_text(item) for item in value] if isinstance(value, list) else value


def _together(parts: Mapping[str, Any], findings: list[Finding]) -> None:
    """Rules that reach across fees and charges."""
    seen: set[str] = set()
    for word in ("fees", "charges"):
        for place, item in enumerate(parts[word]):
            if item["name"] in seen:
                findings.append(
                    Finding((word, place, "name"), f'found "{item["name"]}" twice, allowed: one name each. Rename one.')
                )
            seen.add(item["name"])
    usage = [item["name"] for item in parts["charges"] if item["charge"].due == "usage"]
    for place, item in enumerate(parts["charges"]):
        _one_charge(item, ("charges", place), usage, findings)
    if parts["cap"] is not None and any(item["charge"].falls for item in parts["charges"]):
        text = "found beside a `volume` charge, allowed: caps on what never falls, because a falling sum passes its cap twice. Remove one."
        findings.append(Finding(("cap",), text))


def _one_charge(item: Mapping[str, Any], key: Key, usage: list[str], findings: list[Finding]) -> None:
    charge = item["charge"]
    strange = [name for name in charge.of if name != "*" and name not in usage]
    findings += [Finding((*key, "of"), f"{unknown_word(name, ('*', *usage))} Name charges of usage.") for name in strange]
    if item["cap"] is not None and (charge.falls or charge.due == "period"):
        why = "a falling sum would pass its cap twice" if charge.falls else "it is due once per period"
        findings.append(Finding((*key, "cap"), f"found on a {item['component'].type} charge, allowed on others: {why}. Remove it."))
    if charge.due == "period" and item["model"] != "*":
        findings.append(Finding((*key, "model"), f'found "{item["model"]}" on a charge per period, allowed: none. Remove it.'))
