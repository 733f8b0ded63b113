"""Check digits: ours against python-stdnum where it is installed, and what each scheme promises of a wrong digit."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from lode.data.mending import identifiers
from lode.data.mending.identifiers import COUNTRIES, KINDS, find

ALL = frozenset(KINDS)
EVERYWHERE = frozenset(COUNTRIES)


def digits(random: np.random.Generator, count: int) -> str:
    return "".join(map(str, random.integers(0, 10, count)))


def hits(text: str, *kinds: str, countries: frozenset[str] = EVERYWHERE) -> list[tuple[str, str]]:
    found = find(text, frozenset(kinds) or ALL, countries)
    return [(hit.kind, text[hit.start : hit.end]) for hit in found]


def one_digit_off(text: str) -> list[str]:
    """Every text that differs in one digit."""
    return [
        text[:place] + other + text[place + 1 :]
        for place, char in enumerate(text)
        if char.isdigit()
        for other in "0123456789"
        if other != char
    ]


def made(holds, prefix: str, random: np.random.Generator, length: int, alphabet: str = "0123456789") -> str:  # type: ignore[no-untyped-def]
    """A number that holds: random digits and the check character that fits."""
    while True:
        body = prefix + digits(random, length - len(prefix) - 1)
        for char in alphabet:
            if holds(body + char):
                return body + char


@pytest.mark.parametrize("seed", range(10))
def test_luhn_catches_every_wrong_digit(seed: int) -> None:
    number = made(identifiers.card, "4", np.random.default_rng(seed), 16)
    assert not any(identifiers.luhn(other) for other in one_digit_off(number))


@pytest.mark.parametrize("seed", range(10))
def test_mod_97_catches_every_wrong_digit_and_every_swap_of_neighbours(seed: int) -> None:
    random = np.random.default_rng(seed)
    account = digits(random, 18)
    check = next(f"{value:02d}" for value in range(2, 99) if identifiers.iban(f"DE{value:02d}{account}"))
    number = f"DE{check}{account}"
    assert not any(identifiers.iban(other) for other in one_digit_off(number))
    swaps = [number[:i] + number[i + 1] + number[i] + number[i + 2 :] for i in range(4, 21) if number[i] != number[i + 1]]
    assert not any(identifiers.iban(other) for other in swaps)


@pytest.mark.parametrize("seed", range(10))
def test_mod_11_2_catches_every_wrong_digit_of_a_resident_id(seed: int) -> None:
    number = made(identifiers.cn_resident_id, "11010519491231", np.random.default_rng(seed), 18, "0123456789X")
    assert not any(identifiers.cn_resident_id(other) for other in one_digit_off(number))


@pytest.mark.parametrize(
    "wrong",
    [
        "110105194912310020",
        "110105194913310021",
        "110105194902300021",
        "000105194912310021",
        "990105194912310021",
        "11010519491231002",
    ],
)
def test_a_resident_id_needs_a_region_a_day_and_its_check_character(wrong: str) -> None:
    assert identifiers.cn_resident_id("11010519491231002X")
    assert not identifiers.cn_resident_id(wrong)


@pytest.mark.parametrize("number", ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000"])
def test_social_security_numbers_that_were_never_issued_are_none(number: str) -> None:
    assert hits(number, "national") == []
    assert hits("123-45-6789", "national") == [("national", "123-45-6789")]


STDNUM = [
    ("stdnum.luhn", "luhn", lambda random: digits(random, 16)),
    ("stdnum.cn.ric", "cn_resident_id", lambda random: "1101051949123100" + digits(random, 2)),
    ("stdnum.es.dni", "es_dni", lambda random: digits(random, 8) + "TRWAGMYFPDXBNJZSQVHLCKE"[random.integers(23)]),
    ("stdnum.es.nie", "es_dni",
     lambda random: "XYZ"[random.integers(3)] + digits(random, 7) + "TRWAGMYFPDXBNJZSQVHLCKE"[random.integers(23)]),
    ("stdnum.br.cpf", "br_cpf", lambda random: digits(random, 11)),
    ("stdnum.nl.bsn", "nl_bsn", lambda random: digits(random, 9)),
    ("stdnum.de.idnr", "de_tax_id", lambda random: "".join(random.permutation(list("123456789"))) + digits(random, 2)),
    ("stdnum.pl.pesel", "pl_pesel",
     lambda random: f"8{random.integers(10)}0{random.integers(1, 10)}1{random.integers(10)}" + digits(random, 5)),
    ("stdnum.iban", "iban", lambda random: "NL" + digits(random, 2) + "ABNA" + digits(random, 10)),
    ("stdnum.it.codicefiscale", "it_codice_fiscale",
     lambda random: "RSSMRA85T10A" + digits(random, 3) + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[random.integers(26)]),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "draw"), STDNUM, ids=[row[0] for row in STDNUM])
def test_our_checks_agree_with_stdnum(module: str, name: str, draw) -> None:  # type: ignore[no-untyped-def]
    theirs = pytest.importorskip(module, reason="python-stdnum is not installed; it is the second opinion on our check digits")
    ours, random = getattr(identifiers, name), np.random.default_rng(0)
    numbers = [draw(random) for _ in range(3_000)]
    found = [(ours(number), _agrees(theirs, number)) for number in numbers]
    assert any(own for own, _ in found), "none of the numbers holds: draw others"
    assert [number for number, (own, other) in zip(numbers, found, strict=True) if own != other] == []


def _agrees(module, number: str) -> bool:  # type: ignore[no-untyped-def]
    if module.__name__ == "stdnum.cn.ric":
        # stdnum looks the county up in a table; ours is content with the province.
        return bool(module.calc_check_digit(number) == number[-1])
    if module.__name__ == "stdnum.iban":
        return bool(module.is_valid(number, check_country=False))
    return bool(module.is_valid(number))


def test_stdnum_modules_exist_where_it_is_installed() -> None:
    pytest.importorskip("stdnum", reason="python-stdnum is not installed")
    for module, _, _ in STDNUM:
        importlib.import_module(module)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to John.Doe+x@mail.example.co.uk.", [("email", "John.Doe+x@mail.example.co.uk")]),
        ("\u90ae\u7bb1zhang@163.com\uff0c", [("email", "zhang@163.com")]),
        ("a@b, @handle, a@b.c", []),
        ("call +49 30 1234567 or (212) 555-0187", [("phone", "+49 30 1234567"), ("phone", "(212) 555-0187")]),
        ("01 42 68 53 00; 020 7946 0958", [("phone", "01 42 68 53 00"), ("phone", "020 7946 0958")]),
        ("\u624b\u673a13812345678\u3002 138-1234-5678 +86 138 1234 5678",
         [("phone", "13812345678"), ("phone", "138-1234-5678"), ("phone", "+86 138 1234 5678")]),
        ("010-62751234", [("phone", "010-62751234")]),
        ("4111 1111 1111 1111, 4111-1111-1111-1111, 3782 822463 10005",
         [("card", "4111 1111 1111 1111"), ("card", "4111-1111-1111-1111"), ("card", "3782 822463 10005")]),
        ("4111111111111112 1234567812345670 41111111111111110000", []),
        ("DE89 3704 0044 0532 0130 00 PAID", [("iban", "DE89 3704 0044 0532 0130 00")]),
        ("12345 GB82 WEST 1234 5698 7654 32", [("iban", "GB82 WEST 1234 5698 7654 32")]),
        ("id 11010519491231002X", [("national", "11010519491231002X")]),
        ("192.168.10.12 2001:db8::8a2e:370:7334", [("ip", "192.168.10.12"), ("ip", "2001:db8::8a2e:370:7334")]),
        ("v1.2.3.4 1.2.3.4.5 256.1.1.1 127.0.0.1 255.255.255.0 12:30:45 std::map ab::cd", []),
        ("2024-01-02 10:11:12, 1,234,567.89, 0.4111111111111111, 12/11/2023", []),
        ("12345678Z 123.456.789-09", [("national", "12345678Z"), ("national", "123.456.789-09")]),
        ("[EMAIL] [CARD:0123456789abcdef] [PHONE:1381234567800000]", []),
    ],
)  # fmt: skip
def test_hits_and_what_only_looks_like_one(text: str, expected: list[tuple[str, str]]) -> None:
    kinds = ALL - {"name"}
    assert hits(text, *kinds, countries=frozenset(identifiers.DEFAULT_COUNTRIES)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr. Smith met Jennifer Lopez", ["Mr. Smith", "Jennifer Lopez"]),
        ("\u5e38\u5efa\u826f\uff0c\u7537", ["\u5e38\u5efa\u826f"]),
        ("the mark of a rose", []),
        ("\u8463\u4e8b\uff0c", []),
    ],
)
def test_names_by_lists_and_context(text: str, expected: list[str]) -> None:
    assert [hit for _, hit in hits(text, "name")] == expected


def test_one_spelling_of_a_value() -> None:
    assert identifiers.plain("A@B.org", "email") == "a@b.org"
    assert identifiers.plain("4111 1111-11", "card") == identifiers.plain("4111111111", "card")
