"""Numbers and names that point to a person: where they stand in a text, and whether their check digits hold. Standard library only.

Every pattern is bounded, so that the time of `find` grows with the length of the text and no faster. The checksums are the published
ones; the tests hold them against python-stdnum (docs/decisions/0008-checksums-of-our-own.md). Used by lode/data/mending/personal.py.
"""

from __future__ import annotations

import ipaddress
import re
import string
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from typing import NamedTuple

from lode.data.mending.names import CHINESE, LATIN

DEFAULT_COUNTRIES = ("br", "cn", "es", "fr", "it", "pl", "us")
"""Countries whose numbers are recognised unless others are named: of other numbers that look alike, at most 1 in 20 passes."""


class Found(NamedTuple):
    """One hit: text[start:end] is of this kind ("email", "card", "national", ...)."""

    start: int
    end: int
    kind: str


def luhn(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return bool(digits) and total % 10 == 0


_ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4000, 4999, (13, 16, 19)),  # Visa
    (5100, 5599, (16,)), (2221, 2720, (16,)),  # Mastercard
    (3400, 3499, (15,)), (3700, 3799, (15,)),  # American Express
    (3000, 3059, (14, 16)), (3600, 3699, (14, 16)), (3800, 3899, (14, 16)),  # Diners Club
    (6011, 6011, (16, 19)), (6440, 6599, (16, 19)),  # Discover
    (6200, 6299, (16, 17, 18, 19)),  # UnionPay
    (3528, 3589, (16,)),  # JCB
    (5000, 5099, (13, 16, 18, 19)), (5600, 5899, (13, 16, 18, 19)), (6300, 6399, (13, 16, 18, 19)), (6700, 6799, (13, 16, 18, 19)),
)  # fmt: skip
"""First four digits from, to, and how long a number of that issuer is; the last line is Maestro."""


def card(digits: str) -> bool:
    """A payment card number: digits that an issuer's range starts, of a length that it uses, with a Luhn check digit."""
    first = int(digits[:4])
    known = any(low <= first <= high and len(digits) in lengths for low, high, lengths in _ISSUERS)
    return known and len(set(digits)) > 1 and luhn(digits)


_IBAN_LENGTHS = (
    "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DK:18 DO:28 EE:20 EG:29 ES:24 "
    "FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 "
    "LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 "
    "SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20"
)
IBAN_LENGTHS = {item[:2]: int(item[3:]) for item in _IBAN_LENGTHS.split()}
"""Country -> number of characters (SWIFT IBAN registry)."""


def iban(text: str) -> bool:
    """An international bank account number: a country's length, and ISO 7064 MOD 97-10 over letters as numbers."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    turned = text[4:] + text[:4]
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


_CN_REGIONS = frozenset(
    str(code)
    for code in (*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83)
)
_CN_WEIGHTS = tuple(pow(2, 17 - place, 11) for place in range(17))


def cn_resident_id(text: str) -> bool:
    """A Chinese resident identity number (GB 11643-1999): region, day of birth, sequence, ISO 7064 MOD 11-2 check character."""
    if len(text) != 18 or text[:2] not in _CN_REGIONS or not _is_day(text[6:10], text[10:12], text[12:14]):
        return False
    rest = (12 - sum(weight * int(char) for weight, char in zip(_CN_WEIGHTS, text, strict=False))) % 11
    return text[17].upper() == "0123456789X"[rest]


def us_ssn(digits: str) -> bool:
    """A US social security number that can have been issued: no area 000, 666 or 900-999, no group 00, no serial 0000."""
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def es_dni(text: str) -> bool:
    """A Spanish DNI (8 digits) or NIE (X, Y or Z and 7 digits): the letter is the number modulo 23."""
    number = text[:-1].replace("X", "0").replace("Y", "1").replace("Z", "2")
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


def fr_nir(text: str) -> bool:
    """A French social security number (NIR): 13 characters and 97 less their number modulo 97; Corsica's 2A and 2B count as 19 and 18."""
    number = text[:13].replace("2A", "19").replace("2B", "18")
    month = int(text[3:5])
    return text[0] in "12" and (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and 97 - int(number) % 97 == int(text[13:])


_CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def it_codice_fiscale(text: str) -> bool:
    """An Italian tax code: 16 characters, the last a sum over odd and even places modulo 26 (D.M. 23/12/1976)."""
    places = [int(char) if char.isdigit() else ord(char) - ord("A") for char in text[:15]]
    total = sum(value if place % 2 else _CF_ODD[value] for place, value in enumerate(places))
    return string.ascii_uppercase[total % 26] == text[15]


def br_cpf(digits: str) -> bool:
    """A Brazilian CPF: two check digits modulo 11."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(char) * (length + 1 - place) for place, char in enumerate(digits[:length]))
        if total * 10 % 11 % 10 != int(digits[length]):
            return False
    return True


def pl_pesel(digits: str) -> bool:
    """A Polish PESEL: day of birth with the century in the month, weights 1 3 7 9."""
    month = int(digits[2:4])
    century = {0: "19", 1: "20", 2: "21", 3: "22", 4: "18"}[month // 20]
    total = sum(int(char) * weight for char, weight in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=True))
    return total % 10 == 0 and _is_day(century + digits[:2], str(month % 20), digits[4:6], oldest=1800, newest=2299)


def de_tax_id(digits: str) -> bool:
    """A German tax number (IdNr): one digit two or three times among the first ten, ISO 7064 MOD 11,10."""
    counts = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    if digits[0] == "0" or counts[-1] not in (2, 3) or counts.count(1) != len(counts) - 1:
        return False
    return _mod_11_10(digits)


def nl_bsn(digits: str) -> bool:
    """A Dutch BSN: nine digits that pass the test of eleven."""
    total = sum(int(char) * weight for char, weight in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True))
    return total % 11 == 0 and int(digits) > 0


def _mod_11_10(digits: str) -> bool:
    check = 5
    for char in digits:
        check = ((check or 10) * 2 % 11 + int(char)) % 10
    return check == 1


def _is_day(year: str, month: str, day: str, oldest: int = 1850, newest: int = 2100) -> bool:
    try:
        return oldest <= date(int(year), int(month), int(day)).year <= newest
    except ValueError:
        return False


def ip_address(text: str) -> bool:
    """An IPv4 or IPv6 address that can belong to somebody: not 0.0.0.0, a loopback, a broadcast or a mask."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_unspecified or found.is_loopback or found.is_multicast or text.startswith("255."))


def _phone(text: str) -> bool:
    """So many digits as ITU-T E.164 allows, and not one digit only."""
    digits = _bare(text)
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2


def _bare(text: str) -> str:
    return re.sub(r"[^0-9A-Za-z]", "", text)


def _email(text: str) -> bool:
    local, _, domain = text.rpartition("@")
    return ".." not in text and not local.startswith(".") and not local.endswith(".") and "-." not in domain


def _always(text: str) -> bool:
    return True


_START, _END = r"(?<![0-9A-Za-z_])(?<![0-9]\.)", r"(?![0-9A-Za-z_]|\.[0-9])"
_LATIN = "0-9A-Za-z\u00c0-\u024f"
_GAP = r"[ .\-\u00a0\u2011]"
EMAIL = rf"[{_LATIN}_][{_LATIN}._%+'\-]{{0,63}}@(?:[{_LATIN}][{_LATIN}\-]{{0,62}}\.){{1,8}}[A-Za-z]{{2,24}}"
MASK = r"\[[A-Z]{2,8}(?::[0-9a-f]{16})?\]"
"""What a cleaner wrote in the place of a hit: never looked into again."""
_MASK = re.compile(MASK)


_compiled = cache(re.compile)
"""When a text is looked at for the first time: most runs never do, and a dozen long patterns take as long as a large import."""


class Rule(NamedTuple):
    """pattern: where a kind may stand. holds: whether the hit, blanks and marks taken out where `bare`, is one."""

    kind: str
    pattern: str
    holds: Callable[[str], bool]
    bare: bool = True
    country: str | None = None


def _rule(kind: str, pattern: str, holds: Callable[[str], bool], bare: bool = True, country: str | None = None) -> Rule:
    return Rule(kind, _START + pattern + _END, holds, bare, country)


RULES: tuple[Rule, ...] = (
    Rule("email", rf"(?<![{_LATIN}_]){EMAIL}(?![{_LATIN}_])", _email, bare=False),
    _rule("iban", r"[A-Z]{2}[0-9]{2}(?:[ \-]?[0-9A-Z]{4}){2,7}(?:[ \-]?[0-9A-Z]{1,3})?", iban),
    _rule("ip", r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", ip_address, bare=False),
    _rule("ip", r"[0-9A-Fa-f]{3,4}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}", ip_address, bare=False),
    _rule("national", r"[1-8][0-9]{16}[0-9Xx]", cn_resident_id, country="cn"),
    _rule("national", r"[0-9]{3}([ \-])[0-9]{2}\1[0-9]{4}", us_ssn, country="us"),
    _rule("national", r"(?:[0-9]{8}|[XYZ]-?[0-9]{7})-?[A-Z]", es_dni, country="es"),
    _rule(
        "national",
        r"[12][ ]?[0-9]{2}[ ]?[0-9]{2}[ ]?(?:[0-9]{2}|2[AB])[ ]?[0-9]{3}[ ]?[0-9]{3}[ ]?[0-9]{2}",
        fr_nir,
        country="fr",
    ),
    _rule("national", r"[A-Z]{6}[0-9]{2}[ABCDEHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]", it_codice_fiscale, country="it"),
    _rule("card", r"[0-9]{13,19}", card),
    _rule("card", r"[0-9]{4}([ \-])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,3})?", card),
    _rule("card", r"3[0-9]{3}([ \-])[0-9]{6}\1[0-9]{4,5}", card),
    Rule("phone", rf"(?<![0-9A-Za-z_+])(?:\+|00)[1-9](?:{_GAP}?\(?[0-9]\)?){{6,14}}{_END}", _phone),
    _rule("phone", rf"(?:1{_GAP})?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}{_GAP})[2-9][0-9]{{2}}{_GAP}[0-9]{{4}}", _phone),
    Rule("phone", rf"(?<![0-9A-Za-z_])\([2-9][0-9]{{2}}\) ?[2-9][0-9]{{2}}{_GAP}?[0-9]{{4}}{_END}", _phone),
    _rule("phone", rf"(?:86{_GAP}?)?1[3-9][0-9](?:{_GAP}?[0-9]{{4}}){{2}}", _phone),
    _rule("phone", r"0[1-9][0-9]{1,2}-[0-9]{7,8}", _phone),
    _rule("phone", r"\(?0[1-9][0-9]{1,4}\)?[ /\-][0-9]{3,8}(?:[ \-][0-9]{2,6}){0,2}", lambda text: 9 <= len(_bare(text)) <= 12),
    _rule("phone", r"0[1-9](?:[ .][0-9]{2}){4}", _phone),
    _rule("phone", r"0[1-9][0-9]{8,9}", _phone),
    # One in ten to a hundred of all numbers of that length passes: what can be a telephone is taken for one.
    _rule("national", r"[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}", br_cpf, country="br"),
    _rule("national", r"[0-9]{11}", pl_pesel, country="pl"),
    _rule("national", r"[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", de_tax_id, country="de"),
    _rule("national", r"[0-9]{9}", nl_bsn, country="nl"),
    Rule("name", rf"(?<![0-9A-Za-z_\u00c0-\u024f]){LATIN}(?![0-9A-Za-z_\u00c0-\u024f])", _always, bare=False),
    Rule("name", rf"(?<![\u4e00-\u9fff]){CHINESE}(?![\u4e00-\u9fff])", _always, bare=False),
)  # fmt: skip
"""In the order in which they claim their places: what a stricter rule has taken, a later one leaves alone."""

KINDS = tuple(dict.fromkeys(rule.kind for rule in RULES))
COUNTRIES = tuple(rule.country for rule in RULES if rule.country is not None)


def find(text: str, kinds: frozenset[str], countries: frozenset[str]) -> list[Found]:
    """Hits in a text, in their order, none inside another. countries: whose national numbers are looked for."""
    taken, found = bytearray(len(text)), []
    for match in _MASK.finditer(text):
        taken[match.start() : match.end()] = b"x" * len(match.group())
    for rule in RULES:
        if rule.kind not in kinds or (rule.country is not None and rule.country not in countries):
            continue
        for hit in _hits(text, rule):
            if not any(taken[hit.start : hit.end]):
                taken[hit.start : hit.end] = b"x" * (hit.end - hit.start)
                found.append(hit)
    return sorted(found)


def _hits(text: str, rule: Rule) -> Iterator[Found]:
    """Places where a rule holds. After one where only the form fits, the search goes on at its next character."""
    pattern = _compiled(rule.pattern)
    match = pattern.search(text)
    while match is not None:
        start, end = match.span()
        end = _cut(text, start, end, rule)
        if rule.holds(_bare(text[start:end]) if rule.bare else text[start:end]):
            yield Found(start, end, rule.kind)
            match = pattern.search(text, end)
        else:
            match = pattern.search(text, start + 1)


def _cut(text: str, start: int, end: int, rule: Rule) -> int:
    """A bank account's country says how long it is; what looks alike behind it belongs to something else."""
    if rule.kind != "iban":
        return end
    wanted, place = IBAN_LENGTHS.get(text[start : start + 2], 0), start
    while wanted and place < end:
        wanted -= text[place].isalnum()
        place += 1
    return place


def plain(text: str, kind: str) -> str:
    """One spelling of a value: what stands for the same mailbox or number is the same text."""
    return text.lower() if kind in ("email", "ip", "name") else _bare(text).upper()
