from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from lode.data.features.text import Text

TEXTS = ["A good film!", "good, good plot", None, "bad film", "Don't go", "film: good film"]


def _fitted(texts: list[str | None], **options: object) -> tuple[Text, np.ndarray]:
    feature = Text(**options)
    return feature, feature.fit_transform(pl.Series("x", texts, dtype=pl.String), None, None)


def test_codes_go_by_frequency_then_by_word_after_padding_and_unknown() -> None:
    feature, array = _fitted(["b a", "b c", None])
    assert array.tolist() == [[2, 3], [2, 4], [0, 0]]
    assert feature.spec.cardinality == 5 and feature.spec.ragged == (0,)
    assert feature.transform(pl.Series("x", ["c new b b"])).tolist() == [[4, 1]]


def test_words_are_lower_cased_and_punctuation_is_kept() -> None:
    feature, array = _fitted(["Don't STOP, go!"])
    assert feature.inverse(array).to_list() == ["don't stop , go !"]


def test_the_length_is_the_longest_text_but_not_more_than_asked_for() -> None:
    assert _fitted(["a b c"])[1].shape == (1, 3)
    assert _fitted(["a b c"], length=2)[1].shape == (1, 2)


def test_chinese_is_cut_into_characters_and_english_into_words() -> None:
    chinese, array = _fitted(["\u9152\u5e97\u5f88\u597d ok", "\u4e0d\u597d"])
    assert array.shape == (2, 6) and chinese.state()["unit"] == "character"
    assert _fitted(["the \u9053 of python is a way of life"])[0].state()["unit"] == "word"
    assert _fitted(["ab"], tokens="character")[1].shape == (1, 2)


@pytest.mark.parametrize("tokens", ["word", "character"])
def test_few_and_many_texts_are_cut_alike(tokens: str) -> None:
    rng = random.Random(0)
    parts = [
        "a",
        "B",
        "9",
        "_",
        "'",
        "\u2019",
        ".",
        " ",
        "\t",
        "\x00",
        "\x1c",
        "\x85",
        "\u00e9",
        "\u0130",
        "\u4e2d",
        "\u3000",
        "e\u0301",
        "\U0001f600",
        "-",
    ]
    texts = ["".join(rng.choices(parts[: rng.choice([12, 19])], k=rng.randrange(12))) for _ in range(800)]
    feature, many = _fitted(texts, tokens=tokens)
    column, flat = pl.Series("x", texts), feature.flat(pl.Series("x", texts)).toarray()
    for start in range(0, 800, 40):
        few = column.slice(start, 40)
        assert (feature.transform(few) == many[start : start + 40]).all()
        assert feature.flat(few).toarray().tobytes() == flat[start : start + 40].tobytes()


def test_terms_are_weighted_as_scikit_learn_does() -> None:
    feature, _ = _fitted(TEXTS)
    names = feature.flat_spec.names
    cut = [feature._tokenizer.cut(pl.Series("x", [text])).to_list()[0] if text else [] for text in TEXTS]
    peer = TfidfVectorizer(
        analyzer=lambda words: words + [" ".join(pair) for pair in pairwise(words)],
        vocabulary=list(names),
        sublinear_tf=True,
    )
    difference = feature.flat(pl.Series("x", TEXTS)).toarray() - peer.fit_transform(cut).toarray()
    assert "good film" in names and np.abs(difference).max() < 1e-6


def test_letters_add_the_terms_of_scikit_learns_runs_of_characters() -> None:
    texts = ["A good film!", "good, good plot", "", "bad film", "Don't go", "film: good film", "\u9152\u5e97 ok"]
    feature, _ = _fitted(texts, letters=4)
    plain, _ = _fitted(texts)
    column, count = pl.Series("x", texts), len(plain.flat_spec.names)
    names, found = feature.flat_spec.names, feature.flat(column).toarray()
    assert names[:count] == plain.flat_spec.names and (found[:, :count] == plain.flat(column).toarray()).all()
    runs = [name[1:-1] for name in names[count:]]
    peer = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), vocabulary=runs, sublinear_tf=True)
    assert "d fi" in runs and np.abs(found[:, count:] - peer.fit_transform(texts).toarray()).max() < 1e-6


def test_terms_are_limited_and_those_of_one_document_are_dropped_in_large_tables() -> None:
    texts = [f"common word{number}" for number in range(200)]
    assert _fitted(texts)[0].flat_spec.names == ("common",)
    assert len(_fitted([f"w{i} w{i + 1}" for i in range(50)], terms=16)[0].flat_spec.names) == 16


def test_a_text_of_ten_megabytes_is_looked_at_only_at_its_start() -> None:
    feature, array = _fitted(["x " * 5_000_000, "\u4e2d" * 3_000_000, "y"], length=4)
    assert array.shape == (3, 4) and feature.flat(pl.Series("x", ["z " * 5_000_000])).shape[0] == 1
    assert feature.flat(pl.Series("x", ["a" * 200 + " x"])).nnz == 0, "x lies behind 4 * 32 characters"


def test_blank_texts_are_missing() -> None:
    assert Text().parse(pl.Series("x", ["", " \n", "a"])).to_list() == [None, None, "a"]


def test_very_long_words_stay_out_of_the_vocabulary() -> None:
    feature, _ = _fitted(["a" * 500 + " b"])
    assert feature.state()["words"] == ["b"]
