"""What people may write: names, slugs, addresses, zones, times. Every error says where, what was found and what is allowed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from lode.core.errors import BillingError, listed, near_miss

LONGEST_NAME = 200
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)
_MODEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", re.ASCII)
_EMAIL = re.compile(r"[^@\s\"<>(),;:\\\[\]]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_JOINERS = "\u200c\u200d"
"""Invisible, and part of ordinary names in Persian and Hindi."""

# ISO 3166-1 alpha-2, as of 2024; XI and EL stand in European tax numbers for Northern Ireland and Greece.
_COUNTRIES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH "
    "CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN "
    "GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI "
    "LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM "
    "PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD "
    "TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW XI EL"
)
COUNTRIES = frozenset(_COUNTRIES.split())
_PART = re.compile(r"(-[A-Z0-9]{1,3})?", re.ASCII)


def quoted(value: Any) -> str:
    """A value for a message: short, and nothing in it that a terminal or a log would obey. Of lists and objects only what they are."""
    text = f"a {type(value).__name__}" if isinstance(value, list | tuple | set | frozenset | Mapping) else str(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return '"' + "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text) + '"'


def text_of(value: Any) -> str:
    """The beginning of a text, to look for a near miss; "" for anything else."""
    return value[:64] if isinstance(value, str) else ""


def is_id(value: Any) -> bool:
    """Whether it can be looked up in the books at all."""
    return isinstance(value, str) and len(value) <= 64 and value.isascii()


def same_address(one: str, other: str) -> bool:
    """Whether two e-mail addresses are one. Letters of any size only in ASCII: "\u017fam" and "sam" are two people."""
    return one == other or (one.isascii() and other.isascii() and one.lower() == other.lower())


def name(value: Any, where: str = "name") -> str:
    """A name for people: 1 to 200 characters on one line, NFC, nothing invisible."""
    text = unicodedata.normalize("NFC", value.strip()) if isinstance(value, str) and len(value) <= 4 * LONGEST_NAME else ""
    if not text or len(text) > LONGEST_NAME or any(_is_hidden(letter) for letter in text):
        raise BillingError(
            f"{where}: found {quoted(value)}, wanted 1 to {LONGEST_NAME} visible characters on one line. Shorten or retype it."
        )
    return text


def _is_hidden(letter: str) -> bool:
    return letter not in _JOINERS and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def optional_name(value: Any, where: str) -> str:
    """A name or nothing."""
    return "" if value in (None, "") else name(value, where)


def slug(value: Any, where: str = "organisation") -> str:
    """The short name of an organisation."""
    if not isinstance(value, str) or not _SLUG.fullmatch(value):
        wanted = "a-z, 0-9 and -, at most 40 of them, beginning with a letter or digit"
        raise BillingError(f"{where}: found {quoted(value)}, wanted {wanted}. Write it so, like acme or acme-eu.")
    return value


def model(value: Any, where: str = "models") -> str:
    """The name of a model."""
    if not isinstance(value, str) or not _MODEL.fullmatch(value):
        raise BillingError(f"{where}: found {quoted(value)}, wanted the name of a model: a-z, 0-9, - and _. See `lode artifacts`.")
    return value


def email(value: Any, where: str = "email") -> str:
    """An e-mail address or nothing; the domain in small letters."""
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or len(value) > 254 or not _EMAIL.fullmatch(value) or not value.isprintable():
        raise BillingError(f"{where}: found {quoted(value)}, wanted an address like a.person@example.org. Correct it.")
    person, _, domain = value.rpartition("@")
    return f"{person}@{domain.lower()}"


def zone(value: Any, where: str = "zone") -> str:
    """The name of a time zone (IANA)."""
    text = value if isinstance(value, str) and len(value) <= 64 and _ZONE.fullmatch(value) else ""
    try:
        ZoneInfo(text or "?")
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        near = near_miss(text_of(value), available_timezones())
        raise BillingError(
            f"{where}: found {quoted(value)}, wanted a time zone like Europe/Berlin or UTC.{near} Correct it."
        ) from None
    return text


def country(value: Any, where: str = "country") -> str:
    """Two capital letters (ISO 3166), or a part of a country (ISO 3166-2: US-CA), or nothing."""
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or value[:2] not in COUNTRIES or not _PART.fullmatch(value[2:]):
        raise BillingError(f"{where}: found {quoted(value)}, wanted two capital letters of ISO 3166. Write DE, JP, US-CA, ...")
    return str(value)


def lines(value: Any, where: str = "address", most: int = 6) -> tuple[str, ...]:
    """A few lines for people: a list, or a text with line breaks."""
    found = value.split("\n") if isinstance(value, str) else value
    if found in (None, [], ()):
        return ()
    if not isinstance(found, list | tuple) or len(found) > most:
        raise BillingError(f"{where}: found {quoted(value)}, wanted at most {most} lines. Shorten it.")
    return tuple(name(line, where) for line in found if line != "")


def one_of(value: Any, allowed: Iterable[str], where: str) -> str:
    """A word of a closed list."""
    words = list(allowed)
    if value not in words:
        raise BillingError(
            f"{where}: found {quoted(value)}, allowed: {listed(words, 12)}.{near_miss(text_of(value), words)} Choose one."
        )
    return str(value)


def some_of(values: Any, allowed: Iterable[str], where: str) -> tuple[str, ...]:
    """Words of a closed list, each once, in its order; at least one."""
    words = list(allowed)
    if not isinstance(values, list | tuple | set | frozenset) or not values:
        raise BillingError(f"{where}: found {quoted(values)}, wanted at least one of: {listed(words, 12)}. Name them.")
    found = {one_of(value, words, where) for value in values}
    return tuple(word for word in words if word in found)


def models(values: Any, where: str = "models", most: int = 1000) -> tuple[str, ...]:
    """Names of models; none means all of them."""
    if values is None:
        return ()
    if not isinstance(values, list | tuple | set | frozenset) or len(values) > most:
        raise BillingError(f"{where}: found {quoted(values)}, wanted a list of at most {most} names. Shorten it.")
    return tuple(sorted({model(value, where) for value in values}))


def duration_us(value: Any, where: str) -> int:
    """What "90d", "12h", "15m" or "0s" is in microseconds."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise BillingError(f"{where}: found {quoted(value)}, wanted a time like 30d, 12h, 15m or 30s. Write it so.")
    return int(found[1]) * _SECONDS[found[2]] * 1_000_000


def instant_us(value: Any, where: str, now_us: int) -> int | None:
    """When: a time from now ("90d"), a date (its start in UTC), or a date and time with its offset. None for nothing.

    Errors: BillingError where it cannot be read, has passed already, or lies beyond the year 2999.
    """
    if value in (None, ""):
        return None
    is_duration = isinstance(value, str) and _DURATION.fullmatch(value)
    at_us = now_us + duration_us(value, where) if is_duration else _written_us(value, where)
    if at_us <= now_us or at_us >= 32_503_680_000_000_000:
        raise BillingError(f"{where}: found {quoted(value)}, wanted a time to come, before the year 3000. Correct it.")
    return at_us


def _written_us(value: Any, where: str) -> int:
    wanted = "90d, 2027-01-31 or 2027-01-31T12:00:00+00:00"
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) and len(value) <= 40 else None
    except ValueError:
        at = None
    if at is not None and at.tzinfo is None and len(value) == 10:
        at = at.replace(tzinfo=UTC)
    if at is None or at.tzinfo is None:
        raise BillingError(f"{where}: found {quoted(value)}, wanted {wanted}. Write it so.")
    whole = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (whole.days * 86400 + whole.seconds) * 1_000_000 + whole.microseconds


def shown_time(at_us: int | None) -> str:
    """For people and JSON: "2027-01-31T12:00:00Z"; "" for never."""
    if at_us is None:
        return ""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def known_keys(found: Mapping[str, Any], allowed: Iterable[str], where: str) -> None:
    """Refuses what a closed set of keys does not have."""
    words = list(allowed)
    for key in found:
        if key not in words:
            raise BillingError(
                f"{where}: found the key {quoted(key)}, allowed: {listed(words, 16)}.{near_miss(str(key)[:64], words)} Correct it."
            )
