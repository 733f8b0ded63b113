from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW, Cleaner
from lode.data.mending import identifiers, personal

KEY = "0123456789abcdef0123456789abcdef"
MAIL = "ann@example.org"


def make(**options: Any) -> Cleaner:
    made: Cleaner = REGISTRIES["cleaner"].create(Component("pii", options))
    return made


def fitted(frame: pl.DataFrame, words: dict[str, str] | None = None, **options: Any) -> Cleaner:
    cleaner = make(**options)
    cleaner.fit(frame.lazy(), words or dict.fromkeys(frame.columns, "text"))
    return cleaner


def cleaned(*cells: Any, word: str = "text", **options: Any) -> list[Any]:
    frame = pl.DataFrame({"x": list(cells)})
    return fitted(frame, {"x": word}, **options).apply(frame)["x"].to_list()


def test_a_mask_says_the_kind_and_leaves_the_rest() -> None:
    assert cleaned(f"mail {MAIL}, card 4111 1111 1111 1111!", "plain", None, "") == [
        "mail [EMAIL], card [CARD]!",
        "plain",
        None,
        "",
    ]


def test_kinds_and_countries_are_those_that_were_named() -> None:
    assert cleaned(f"{MAIL} 4111111111111111", kinds=["card"]) == [f"{MAIL} [CARD]"]
    assert cleaned("bsn 111222333", kinds=["national"]) == ["bsn 111222333"]
    assert cleaned("bsn 111222333", kinds=["national"], countries=["nl"]) == ["bsn [NATIONAL]"]


def test_the_same_value_becomes_the_same_token_whatever_its_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PII_KEY", KEY)
    a, b, c = cleaned(MAIL, f"to {MAIL.upper()}", "bob@example.org", action="hmac", key_env="PII_KEY")
    assert a.startswith("[EMAIL:")
    assert len(a) == len("[EMAIL:]") + 16
    assert b == f"to {a}"
    assert c != a
    assert cleaned(a, action="hmac", key_env="PII_KEY") == [a], "a token is never matched again"


def test_another_key_gives_other_tokens_and_is_noticed_after_training(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"x": [MAIL]})
    monkeypatch.setenv("PII_KEY", KEY)
    first = fitted(frame, action="hmac", key_env="PII_KEY")
    token = first.apply(frame)["x"][0]
    monkeypatch.setenv("PII_KEY", KEY[::-1])
    assert fitted(frame, action="hmac", key_env="PII_KEY").apply(frame)["x"][0] != token
    served = make(action="hmac", key_env="PII_KEY")
    served.restore(first.state())
    with pytest.raises(DataError, match="another one than in training"):
        served.apply(frame)


def test_the_state_holds_no_key_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PII_KEY", KEY)
    frame = pl.DataFrame({"x": [MAIL]})
    cleaner = fitted(frame, action="hmac", key_env="PII_KEY")
    cleaner.apply(frame)
    state = json.dumps(cleaner.state())
    assert KEY not in state
    assert MAIL not in state


def test_the_key_comes_from_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    assert cleaned(MAIL, action="hmac", key_file=str(path))[0].startswith("[EMAIL:")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "takes its key from one of key_env and key_file"),
        ({"key_env": "A", "key_file": "/b"}, "one of key_env and key_file"),
        ({"key_env": "PII_KEY_THAT_IS_NOT_SET"}, "holds 0 bytes, allowed: at least 16. Make one: openssl rand -hex 32"),
        ({"key_file": "key"}, "allowed: an absolute path"),
        ({"key_file": "/no/such/key"}, "cannot be read"),
    ],
)
def test_a_key_that_is_missing_is_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        cleaned(MAIL, action="hmac", **options)


def test_columns_of_numbers_lose_the_cell_because_they_can_hold_no_placeholder() -> None:
    assert cleaned("4111111111111111", "42", word="number") == [None, "42"]
    assert cleaned(4111111111111111, 42, word="number") == [None, 42]
    assert cleaned(4111111111111111.0, 42.5, None, word="number") == [None, 42.5, None]
    assert cleaned(True, False, word="binary") == [True, False]


def test_cell_empties_what_holds_something_and_drop_the_column() -> None:
    assert cleaned(f"x {MAIL}", "y", action="cell") == [None, "y"]
    assert cleaned("x", "y", action="drop", columns=["x"]) == [None, None]
    with pytest.raises(DataError, match='"drop" without `columns`'):
        cleaned("x", action="drop")


def test_a_column_that_is_none_is_named_so_that_nothing_stays_unmasked() -> None:
    frame = pl.DataFrame({ROW: pl.Series([0], dtype=pl.UInt64), "mail": [MAIL]})
    with pytest.raises(DataError, match=r'no input "mial", found mail\. Did you mean "mail"\?'):
        fitted(frame, {"mail": "text"}, columns=["mial"])


def test_why_gives_the_kinds() -> None:
    changed = pl.DataFrame({"row": [0, 1], "column": ["x", "x"], "before": [f"{MAIL} 4111111111111111", "+49 30 1234567"]})
    assert make().why(changed.with_columns(after=pl.lit(""))) is not None
    assert make().why(changed.with_columns(after=pl.lit(""))).to_list() == ["card, email", "phone"]  # type: ignore[union-attr]


def test_counts_for_the_profile() -> None:
    cells = pl.Series([MAIL, f"{MAIL} 4111111111111111", "x", None])
    assert personal.find_pii(cells) == {"card": 1, "email": 2}
    assert personal.find_pii(pl.Series([4111111111111111, 5])) == {"card": 1}
    assert personal.find_pii(pl.Series([1.5, None])) == {}
    assert personal.find_pii(pl.Series([], dtype=pl.String)) == {}
    assert personal.find_pii(pl.Series([b"x"])) == {}
    assert personal.find_pii(pl.Series(["12345678", "-87654321", "2024"])) == {}


def test_no_rule_takes_a_number_of_eight_digits_or_fewer() -> None:
    rng = random.Random(0)
    kinds, countries = frozenset(identifiers.KINDS), frozenset(identifiers.COUNTRIES)
    for _ in range(1_000):
        digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 8)))
        assert not identifiers.find(rng.choice(["", "-"]) + digits, kinds, countries)


PIECES = (
    MAIL, "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "11010519491231002X", "+49 30 1234567", "13812345678", "192.168.10.12",
    "2001:db8::8a2e:370:7334",
    "(212) 555-0187", "\u624b\u673a", " ", ", ", "; ", "\n", "plain words",
    "\uff0c", "[EMAIL]", "year 1999", "v2", "-", ".", "\u00e9t\u00e9",
)  # fmt: skip


def test_cells_cut_into_tokens_give_what_the_whole_text_gives() -> None:
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(PIECES, 8)) for _ in range(1_500)]
    whole = []
    detector = personal.Detector()
    for text in texts:
        parts, start = [], 0
        for hit in identifiers.find(text, detector.kinds, detector.countries):
            parts += [text[start : hit.start], f"[{hit.kind.upper()}]"]
            start = hit.end
        whole.append("".join([*parts, text[start:]]))
    assert detector.replaced(pl.Series(texts), lambda hit, kind: f"[{kind.upper()}]").to_list() == whole


@pytest.mark.parametrize("text", ["1", "a@", "(+", "DE89 ", "4111 ", "ab:", "+1", "a.", "A1 ", "\u4e2d", "1-", "[EMAIL"])
def test_no_text_takes_longer_than_its_length(text: str) -> None:
    """Quadratic time would take minutes here."""
    cell = text * (200_000 // len(text))
    found = personal.Detector((*personal.DEFAULT_KINDS, "name")).replaced(pl.Series([cell]), lambda hit, kind: "")
    assert len(found) == 1
