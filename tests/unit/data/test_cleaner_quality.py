"""The rules of the cleaner `quality`, each on a text that breaks it alone, and what they do not ask of Chinese."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW, Cleaner
from lode.data.mending.prose import Limits, why_bad

GOOD = (
    "The river rises in the hills north of the town. Its water turned the wheels of nine mills until the railway came.\n"
    "Today people walk along the banks on Sundays, feed ducks, and have tea in a house which once stored flour and cloth.\n"
    "A small museum shows how all of that worked, with tools, maps and letters that families kept for many years."
)
TANG = (
    "\u767d\u65e5\u4f9d\u5c71\u5c3d\uff0c\u9ec4\u6cb3\u5165\u6d77\u6d41\u3002\n"
    "\u6b32\u7a77\u5343\u91cc\u76ee\uff0c\u66f4\u4e0a\u4e00\u5c42\u697c\u3002"
)


def made(**options: object) -> Cleaner:
    cleaner: Cleaner = REGISTRIES["cleaner"].create(Component("quality", options))
    return cleaner


def why(text: str | None, **options: object) -> str | None:
    found: str | None = why_bad(pl.Series("t", [text], dtype=pl.String), made(**options).limits)[0]  # type: ignore[attr-defined]
    return found


def test_a_good_text_breaks_no_rule_and_a_missing_one_is_no_text() -> None:
    assert why(GOOD) is None and why(GOOD, min_stop_words=2) is None and why(None) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Too short to say much.", "too few words (5)"),
        ("", "too few words (0)"),
        (GOOD * 2000, "too many words (1"),
        ("of a to " * 20, "words too short (1.667)"),
        (" ".join(f"word{number}-and-much-more" for number in range(60)), "words too long (19.833)"),
        (GOOD.replace(" t", " # t"), "too many # or ... (0."),
        ("\n".join(f"- {line}" for line in GOOD.split("\n")), "too many bullets (1)"),
        ("\n".join(f"{line}..." for line in GOOD.split("\n")), "too many lines end in ... (1)"),
        (GOOD + " 12345" * 60, "too few letters (0."),
        ("\n".join([*GOOD.split("\n"), *GOOD.split("\n"), "And an end."]), "lines repeated (0.4"),
        (GOOD + "\nshop now and then" * 1 + "\n" + GOOD.split("\n")[1], "much text in repeated lines (0.2"),
        (GOOD + " buy cheap" * 30, "one pair of words too often (0.4"),
        (GOOD + " " + " ".join(GOOD.split()[:30]), "runs of five words repeated (0."),
        (GOOD.replace(".", "").replace("\n", ",\n"), "too few lines end a sentence (0)"),
        (GOOD.replace(" t", "\nt"), "too many short lines (0."),
    ],
)
def test_each_rule_finds_its_text(text: str, said: str) -> None:
    found = why(text)
    assert found is not None and found.startswith(said), found


def test_a_rule_that_is_null_is_off_and_banned_words_count_in_any_case() -> None:
    assert why("Too short to say much.", min_words=None, max_short_lines=None) is None
    assert why(f"{GOOD} LOREM Ipsum", banned=["lorem ipsum"]) == 'holds "lorem ipsum"'
    assert (
        why(GOOD.replace("the", "a").replace("and", "or").replace("of", "by").replace("that", "what").replace("have", "h")) is None
    )
    assert (
        why("Der Fluss entspringt im Norden und treibt viele alte Mu\u0308hlen an. " * 2, min_words=9, min_stop_words=1) is not None
    )


def test_chinese_is_counted_in_characters_and_not_asked_for_words() -> None:
    assert why(TANG) == "too few words (24)"
    assert why(TANG, min_words=20) is None
    assert why("\u3002\uff0c" * 30 + "\u767d" * 40, min_words=20) == "too few letters (0.4)"
    assert why("\n".join([TANG] * 4), min_words=20) == "lines repeated (0.75)"


def test_dropped_rows_carry_their_reason() -> None:
    frame = pl.DataFrame({ROW: pl.Series([4, 7, 9], dtype=pl.UInt64), "text": [GOOD, "Short.", "x " * 60]})
    cleaner = made()
    cleaner.fit(frame.lazy(), {"text": "text"})
    assert cleaner.apply(frame)[ROW].to_list() == [4] and cleaner.scope == "source"
    assert list(cleaner.notes) == ["why: 1 too few words, 1 words too short."]
    told = cleaner.why(pl.DataFrame({"row": pl.Series([7, 9], dtype=pl.UInt64)}))
    assert told is not None and told.to_list() == ["too few words (1)", "words too short (1)"]
    with pytest.raises(DataError, match=r'quality.columns: no column "texts", found text. Did you mean "text"\?'):
        made(columns=["texts"]).fit(frame.lazy(), {"text": "text"})
    with pytest.raises(DataError, match="no input is a text, found text"):
        made().fit(frame.lazy(), {"text": "category"})


def test_what_is_said_of_a_text_does_not_depend_on_its_neighbours() -> None:
    texts = pl.Series([GOOD, GOOD + " buy cheap" * 30, TANG, "", None, GOOD + " " + " ".join(GOOD.split()[:30])])
    limits = made(min_words=0).limits  # type: ignore[attr-defined]
    assert why_bad(texts, limits).to_list() == [why_bad(texts[at : at + 1], limits)[0] for at in range(len(texts))]
    assert why_bad(texts, Limits()).null_count() == len(texts)


@pytest.mark.data
def test_web_pages_are_mostly_kept_and_the_reasons_counted(lode_data: Path) -> None:
    with gzip.open(lode_data / "lm-corpus/en_c4_demo.jsonl.gz") as file:
        texts = pl.read_ndjson(file.read())["text"]
    reasons = Counter(reason.split(" (")[0] for reason in why_bad(texts, made().limits).drop_nulls())  # type: ignore[attr-defined]
    assert reasons == {
        "too few words": 27,
        "runs of five words repeated": 6,
        "too many # or ...": 1,
        "one pair of words too often": 1,
    }
