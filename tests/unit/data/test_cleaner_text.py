from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import ROW, Cleaner
from lode.data.mending import markup


def make(word: str = "text", **options: Any) -> Cleaner:
    made: Cleaner = REGISTRIES["cleaner"].create(Component(word, options))
    return made


def cleaned(cell: str | None, word: str = "text", **options: Any) -> str | None:
    frame = pl.DataFrame({"x": pl.Series([cell], dtype=pl.String)})
    cleaner = make(**options)
    cleaner.fit(frame.lazy(), {"x": word})
    after = cleaner.apply(frame)
    assert cleaner.apply(after).equals(after, null_equal=True), "what is clean must stay as it is"
    found: str | None = after["x"][0]
    return found


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("e\u0301", "\u00e9"), ("\u1112\u1161\u11ab", "\ud55c"),
        ("  a \t\n b\u3000c ", "a b c"), ("a\u200bb\ufeff", "ab"), ("a\x00\x1fb", "ab"),
        ("\u202eabc\u202c", "abc"), ("\u4f60\u597d", "\u4f60\u597d"), ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",) * 2,
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467",) * 2, ("\u200b", None), ("   ", None), (None, None), ("\uff21", "\uff21"),
    ],
)  # fmt: skip
def test_one_form_for_one_text(cell: str | None, expected: str | None) -> None:
    assert cleaned(cell) == expected


def test_options_do_what_they_say() -> None:
    assert cleaned("\uff21\uff11 \ufb01", form="NFKC") == "A1 fi"
    assert cleaned("e\u0301", form="keep") == "e\u0301"
    assert cleaned("A  b", whitespace=False, lower=True) == "a  b"
    assert cleaned("a\x00", control=False) == "a\x00"
    assert cleaned("1 <b>2</b>", word="number", html=True, lower=True) == "1 <b>2</b>", "numbers have no markup"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("<p>Hello&nbsp;<b>w</b>orld</p>x", "Hello world x"), ("a<script>if (1<2) {}</script>b<style>p{}</style>", "a b"),
        ("a<script>never closed", "a"), ("<!-- c -->x<!-- d", "x"), ("a < b and c > d, x<y and z>w", "a < b and c > d, x<y and z>w"),
        ("AT&T &#65; &eacute; &bogus;", "AT&T A \u00e9 &bogus;"), ("&amp;lt;i&amp;gt;x", "x"), ("<IMG SRC='a.png'/>y<br>z", "y z"),
        ("<<b>b>x", "x"), ("&amp;amp;amp;", "&"), ("<td>1</td><td>2</td>", "1 2"), ("&#38;#97;", "a"),
        ("<!DOCTYPE html><html>x</html>", "x"),
    ],
)  # fmt: skip
def test_markup_becomes_text(cell: str, expected: str) -> None:
    assert cleaned(cell, html=True) == expected


@pytest.mark.parametrize("text", ["caf\u00e9 \u2019s", "\u4f60\u597d", "na\u00efve", "plain", "\u00c2", "\u00e9"])
def test_broken_encodings_are_mended_once_or_twice_and_whole_texts_left(text: str) -> None:
    assert cleaned(text, mojibake=True) == text
    for encoding in ("latin-1", "cp1252"):
        broken = text
        for _ in range(2):
            try:
                broken = broken.encode().decode(encoding)
            except UnicodeDecodeError:
                break
            assert cleaned(broken, mojibake=True, control=False) == text


def test_words_of_an_enum_stay_the_words_that_they_are() -> None:
    frame = pl.DataFrame({"x": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), "n": [1, 2]})
    cleaner = make()
    cleaner.fit(frame.lazy(), {"x": "category", "n": "number"})
    assert cleaner.apply(frame).equals(frame)


def test_a_column_that_is_none_is_named() -> None:
    frame = pl.DataFrame({ROW: pl.Series([0], dtype=pl.UInt64), "note": ["a"]})
    with pytest.raises(DataError, match=r'no input "nite", found note\. Did you mean "note"\?'):
        make(columns=["nite"]).fit(frame.lazy(), {"note": "text"})


PIECES = (
    "<",
    ">",
    "&",
    "amp;",
    "lt;",
    "#97;",
    "b",
    "<b>",
    "</p>",
    "<script",
    "<!--",
    "-->",
    " ",
    "x",
    '"',
    "\u00c3",
    "\u00a9",
    "\u200b",
    "&#8203;",
    "e\u0301",
)


def test_any_heap_of_pieces_comes_out_the_same_when_it_goes_in_again() -> None:
    random = np.random.default_rng(0)
    texts = pl.Series("x", ["".join(random.choice(PIECES, 12)) for _ in range(3_000)])
    cleaner = make(html=True, mojibake=True, lower=True, form="NFKC")
    cleaner.fit(texts.to_frame().lazy(), {"x": "text"})
    once = cleaner.apply(texts.to_frame())
    twice = cleaner.apply(once)
    bad = once.filter(once["x"].ne_missing(twice["x"]))
    assert bad.height == 0, bad.head(5).to_dicts()


@pytest.mark.parametrize(
    "piece", ["<script>", "<!--", "<a ", '<a"', "&amp;", "&", "<", "\u00c3\u00a9", "&#97;mp;", "<p><", " ", "e\u0301"]
)
def test_no_text_takes_longer_than_its_length(piece: str) -> None:
    texts = pl.Series([piece * (300_000 // len(piece))])
    markup.without_markup(markup.with_encoding_mended(texts))


def test_rows_of_other_languages_are_dropped() -> None:
    pytest.importorskip("py3langid", reason="the cleaner `language` needs the package py3langid")
    texts = [
        "This is a plain English sentence about the weather.",
        "Das ist ein ganz gew\u00f6hnlicher deutscher Satz \u00fcber das Wetter.",
        "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u4e00\u8d77\u53bb\u516c\u56ed\u6563\u6b65\u5427\uff0c\u665a\u4e0a\u518d\u56de\u5bb6\u5403\u996d\u3002",
        "ok",
        None,
    ]
    frame = pl.DataFrame({ROW: pl.Series(range(5), dtype=pl.UInt64), "x": texts})
    cleaner = make("language", keep=["en", "zh"])
    cleaner.fit(frame.lazy(), {"x": "text"})
    assert cleaner.apply(frame)[ROW].to_list() == [0, 2, 3, 4]
    assert (cleaner.scope, make("language", keep=["en"], rows="all").scope) == ("training", "source")
    with pytest.raises(DataError, match='found "xx", allowed: two letters'):
        make("language", keep=["xx"]).fit(frame.lazy(), {"x": "text"})
    with pytest.raises(DataError, match="no input is a text"):
        make("language", keep=["en"]).fit(frame.lazy(), {"x": "category"})


def test_documents_keep_their_lines_and_indents() -> None:
    text = "\n \n  def f():  \r\n\treturn 1 \n\n\n \nx  =  2\u00a0\n\n"
    lines = "  def f():\n\treturn 1\n\nx  =  2"
    assert cleaned(text, whitespace="lines") == lines == cleaned(lines, whitespace="lines")
    assert cleaned(" \n\n ", whitespace="lines") is None
