"""Near duplicates of texts, pictures and records: what is found, what stays, what is said, and that nothing grows with the square."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.alike import buckets, near_text
from lode.data.alike.buckets import Pairs, alike, pairs_in_buckets
from lode.data.alike.near_image import find_near_images
from lode.data.alike.near_record import find_near_records, similarities
from lode.data.alike.near_text import near_groups, near_pairs
from lode.data.alike.repeats import find_repeats, repeated_rows
from lode.data.alike.shingles import normalised, shingles
from lode.data.changes import diff
from lode.data.contracts import ROW, Cleaner

LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz "))


def make(**options: Any) -> Cleaner:
    return REGISTRIES["cleaner"].create(Component("duplicates", options))


def numbered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.Series(ROW, range(frame.height), dtype=pl.UInt64), pl.all())


def random_texts(count: int, length: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(row) for row in LETTERS[rng.integers(0, len(LETTERS), (count, length))]]


def jaccard(left: str, right: str, size: int = 5) -> float:
    a, b = ({text[start : start + size] for start in range(max(1, len(text) - size + 1))} for text in (left, right))
    return len(a & b) / len(a | b)


def found(texts: Sequence[str | None], threshold: float = 0.8, **options: Any) -> dict[tuple[int, int], float]:
    return {
        (left, right): share
        for left, right, share in near_pairs(pl.Series(texts, dtype=pl.String), threshold, **options).iter_rows()
    }


# --- equal rows


def test_equal_rows_are_found_in_any_order_of_rows_and_over_batches() -> None:
    rng = np.random.default_rng(0)
    frame = numbered(
        pl.DataFrame({"a": rng.integers(0, 300, 5_000), "b": pl.Series(["x", "y", None]).gather(rng.integers(0, 3, 5_000))})
    )
    expected = frame.filter(~pl.struct("a", "b").is_first_distinct())[ROW]
    assert repeated_rows(frame.lazy(), ["a", "b"]).to_list() == expected.to_list()
    apart = pl.concat([frame[start : start + 7] for start in range(0, 700, 7)], rechunk=False)
    assert repeated_rows(apart.lazy(), ["a", "b"]).to_list() == expected.filter(expected < 700).to_list()
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=1)
    assert repeated_rows(mixed.lazy(), ["a", "b"]).to_list() == expected.to_list()


def test_row_numbers_beyond_32_bits_are_kept() -> None:
    frame = pl.DataFrame({ROW: pl.Series([5, 2**33, 2**40], dtype=pl.UInt64), "a": [1, 1, 1]})
    result = find_repeats(frame.lazy(), ["a"])
    assert result.rows.tolist() == [2**33, 2**40] and result.kept.tolist() == [5, 5]


def test_parts_of_hashes_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = numbered(pl.DataFrame({"a": np.random.default_rng(1).integers(0, 2_000, 10_000)}))
    whole = repeated_rows(frame.lazy(), ["a"]).to_list()
    monkeypatch.setattr("lode.data.alike.repeats._PART_ROWS", 100)
    assert repeated_rows(frame.lazy(), ["a"]).to_list() == whole


def test_the_most_complete_of_equal_rows_stays_and_the_reason_names_it() -> None:
    frame = numbered(pl.DataFrame({"key": ["k", "k", "k", "z"], "more": [None, "x", "y", None]}))
    cleaner = make(columns=["key"], keep="complete")
    cleaner.fit(frame.lazy(), {"key": "category", "more": "category"})
    after = cleaner.apply(frame)
    assert after[ROW].to_list() == [1, 3]
    told = cleaner.why(diff(frame, after))
    assert told is not None and told.to_list() == ["the same as row 1", "the same as row 1"]


def test_nan_and_null_are_equal_to_themselves_only() -> None:
    frame = numbered(pl.DataFrame({"a": [float("nan"), None, float("nan"), None, 0.0]}))
    assert repeated_rows(frame.lazy(), ["a"]).to_list() == [2, 3]


# --- texts


def test_a_shingle_never_sees_the_next_text() -> None:
    texts = ["hello world", "hi", "", None, "\u6211\u7231\u5317\u4eac", "a", "ABC\u65e5\u672c", "x" * 7]
    clean = pl.DataFrame({"t": texts}).select(normalised(pl.col("t"))).to_series()
    for by, size in (("characters", 5), ("characters", 1), ("words", 3), ("words", 1)):
        together = shingles(clean, by, size)
        ends = together.lengths.cumsum()
        for place in range(len(clean)):
            alone = shingles(clean[place : place + 1], by, size)
            assert alone.values.tolist() == together.values[ends[place] - together.lengths[place] : ends[place]].tolist()
    assert shingles(clean, "characters", 5).lengths.tolist() == [7, 1, 0, 0, 3, 1, 2, 3]


def test_case_width_ligatures_and_space_do_not_matter() -> None:
    clean = pl.DataFrame({"t": ["\uff21\uff22\uff23  \ufb01sh\n", "abc fish", "STRASSE", "Stra\u00dfe"]}).select(
        normalised(pl.col("t"))
    )
    assert clean["t"].to_list() == ["abc fish", "abc fish", "strasse", "strasse"]


def test_similarity_is_the_exact_jaccard_of_shingles() -> None:
    texts = [
        "the quick brown fox jumps over the lazy dog",
        "the quick brown fox jumped over the lazy dog",
        "something else altogether",
    ]
    pairs = found(texts, 0.5)
    assert list(pairs) == [(0, 1)] and pairs[0, 1] == pytest.approx(jaccard(texts[0], texts[1]))


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_recall_and_precision_of_planted_pairs(threshold: float) -> None:
    rng = np.random.default_rng(3)
    originals = random_texts(600, 120)
    copies = []
    for text in originals:
        letters = np.array(list(text))
        places = rng.choice(120, rng.integers(0, 12), replace=False)
        letters[places] = rng.choice(LETTERS, len(places))
        copies.append("".join(letters))
    pairs = found([*originals, *copies], threshold)
    clean = pl.DataFrame({"t": [*originals, *copies]}).select(normalised(pl.col("t"))).to_series().to_list()
    planted = {(row, row + 600) for row in range(600) if jaccard(clean[row], clean[row + 600]) >= threshold}
    assert len(planted) > 100 and len(planted & set(pairs)) >= 0.98 * len(planted)
    assert all(jaccard(clean[left], clean[right]) >= threshold for left, right in pairs)


def test_chinese_texts_are_compared_by_short_runs() -> None:
    texts = [
        "\u4eca\u5929\u5317\u4eac\u5929\u6c14\u5f88\u597d\u6211\u4eec\u53bb\u516c\u56ed\u8dd1\u6b65",
        "\u4eca\u5929\u5317\u4eac\u5929\u6c14\u5f88\u597d\u6211\u4eec\u53bb\u516c\u56ed\u6563\u6b65",
        "\u660e\u5929\u4e0a\u6d77\u4f1a\u4e0b\u96e8\u4f60\u5e26\u4f1e\u4e86\u5417\u8001\u677f",
    ]
    assert list(found(texts, 0.7)) == [(0, 1)]


def test_words_as_shingles_ignore_punctuation() -> None:
    assert found(["one, two; three! four", "one two three four"], 0.99, by="words", size=2)


def test_blank_and_missing_texts_are_like_no_other() -> None:
    assert found(["", None, "  \n", "", None, "!"]) == {}


def test_results_do_not_depend_on_batches_or_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pl.Series([text[: 60 + place % 20] for place, text in enumerate(random_texts(200, 80) * 3)])
    whole = near_pairs(texts, 0.7)
    assert whole.height > 300
    monkeypatch.setattr(near_text, "_SLICE_BYTES", 500)
    monkeypatch.setattr(near_text, "_CACHED", 100)
    monkeypatch.setattr(near_text, "_MAX_PENDING", 50)
    monkeypatch.setattr(near_text, "_BLOCK", 300)
    assert near_pairs(texts, 0.7).equals(whole)
    rows = numbered(texts.to_frame("text")).lazy()
    likeness = near_text.Likeness(threshold=0.7)
    sketches = near_text._sketched(rows.select(ROW, normalised(pl.col("text")).alias("text")), likeness)
    left, right = (whole[name].to_numpy().astype(np.int64) for name in ("left", "right"))
    portions = list(buckets.passes(rows, sketches.numbers, sketches.lengths, left, right, 1_000))
    assert len(portions) > 5
    again = Pairs.join([portion.near(np.ones(len(portion.left)), 0.5) for portion in portions])
    assert again.left.tolist() == whole["left"].to_list() and again.right.tolist() == whole["right"].to_list()


def test_a_hundred_thousand_equal_texts_are_compared_in_a_line() -> None:
    pairs = near_pairs(pl.Series(["all the same words"] * 100_000))
    assert pairs.height == 99_999 and set(pairs["left"].to_list()) == {0}


def test_many_texts_of_one_template_are_compared_in_a_line() -> None:
    stem = random_texts(1, 300)[0]
    texts = pl.Series([f"{stem} {number}" for number in range(5_000)])
    pairs = near_pairs(texts)
    assert pairs.height < 5_000 * 400  # all would be 12.5 million
    assert near_groups(texts).n_unique() == 1


def test_a_text_of_ten_megabytes_is_only_a_text() -> None:
    long = "".join(np.random.default_rng(0).choice(LETTERS, 10_000_000).tolist())
    assert list(found([long, "short", long + "!"])) == [(0, 2)]


def test_buckets_of_many_rows_stay_linear() -> None:
    assert len(pairs_in_buckets(np.zeros(50_000, np.uint32), np.arange(50_000, dtype=np.uint32))) < 50_000 * 10
    few = pairs_in_buckets(np.zeros(10, np.uint32), np.zeros(10, np.uint32))
    assert len(set(few.tolist())) == 45


def test_groups_keep_the_first_and_name_the_nearest() -> None:
    pairs = Pairs(np.array([1, 1, 4], np.uint64), np.array([4, 9, 7], np.uint64), np.array([0.9, 0.8, 0.95], np.float32))
    gone = alike(pairs)
    assert gone.rows.tolist() == [4, 7, 9] and gone.kept.tolist() == [1, 1, 1] and gone.near.tolist() == [1, 4, 1]
    assert alike(pairs, {1: 3, 4: 1, 7: 0, 9: 0}).rows.tolist() == [1, 4, 9]
    assert alike(Pairs.join([])).rows.tolist() == []


def test_near_duplicate_texts_go_and_the_reason_says_how_near() -> None:
    text = "Congratulations! You have won a prize of 1000 pounds, call now to claim it before Friday."
    frame = numbered(pl.DataFrame({"text": ["hello", text, text.replace("1000", "2000"), "see you soon"]}))
    cleaner = make(near="text")
    cleaner.fit(frame.lazy(), {"text": "text"})
    after = cleaner.apply(frame)
    assert after[ROW].to_list() == [0, 1, 3]
    told = cleaner.why(diff(frame, after))
    assert told is not None and told.to_list() == ["near duplicate of row 1 (similarity 0.89)"]
    assert cleaner.state() == {}


def test_dropping_near_duplicates_before_the_split_removes_the_leak() -> None:
    """A nearest-neighbour rule on random labels is right by copying; without near duplicates it can only guess."""
    rng = np.random.default_rng(5)
    originals = random_texts(300, 100, seed=5)
    copies = [text[:40] + "#" + text[41:] for text in originals]
    labels = rng.integers(0, 2, 300)
    frame = numbered(pl.DataFrame({"text": [*originals, *copies], "label": np.concatenate([labels, labels])}))
    cleaner = make(near="text")
    cleaner.fit(frame.lazy(), {"text": "text", "label": "binary"})

    def accuracy(rows: pl.DataFrame) -> tuple[float, int]:
        order = np.random.default_rng(0).permutation(rows.height)
        train, test = rows[order[: rows.height // 2].tolist()], rows[order[rows.height // 2 :].tolist()]
        seen = {text[:30]: label for text, label in train.select("text", "label").iter_rows()}
        told = [seen.get(text[:30], 0) == label for text, label in test.select("text", "label").iter_rows()]
        return float(np.mean(told)), sum(text[:30] in seen for text in test["text"])

    leaky, copied = accuracy(frame)
    honest, left = accuracy(cleaner.apply(frame))
    assert copied > 100 and leaky > 0.65
    assert left == 0 and honest < 0.6


# --- pictures


def picture(seed: int, side: int = 64) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_copies_of_pictures_are_found_and_others_are_not() -> None:
    originals = [picture(seed) for seed in range(60)]
    copies = [
        encoded(originals[0], "JPEG", quality=40),
        encoded(originals[1].resize((150, 90))),
        encoded(originals[2].point(lambda value: int(value * 0.8))),
        encoded(originals[3].crop((0, 0, 63, 64))),
        encoded(originals[4].convert("L")),
    ]
    cells = [*(encoded(image) for image in originals), *copies, b"no picture", None, b""]
    frame = numbered(pl.DataFrame({"image": pl.Series(cells, dtype=pl.Binary)}))
    pairs = find_near_images(frame.lazy(), "image")
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == [(index, 60 + index) for index in range(5)]
    cleaner = make(near="image")
    cleaner.fit(frame.lazy(), {"image": "image"})
    assert cleaner.apply(frame).height == frame.height - 5


def test_plain_pictures_are_alike_as_far_as_their_grays_are() -> None:
    cells = [encoded(Image.new("L", (20, 20), gray)) for gray in (0, 255, 3)]
    pairs = find_near_images(numbered(pl.DataFrame({"image": cells})).lazy(), "image")
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == [(0, 2)]


# --- records


def firms() -> pl.DataFrame:
    rng = np.random.default_rng(2)
    names = [
        f"{first} {second} {kind}" for first, second, kind in zip(*(random_texts(80, 7, seed) for seed in range(3)), strict=True)
    ]
    frame = pl.DataFrame({"name": names, "city": rng.choice(["Oslo", "Bergen", "Narvik"], 80), "size": rng.uniform(10, 1e6, 80)})
    copy = frame.head(20).with_columns(pl.col("name").str.to_uppercase() + " Ltd.", pl.col("size") * 1.02)
    return numbered(pl.concat([frame, copy.with_columns(city=pl.lit(None, pl.String))]))


def test_records_that_are_written_differently_are_found() -> None:
    frame = firms()
    pairs = find_near_records(frame.lazy(), ["name", "city", "size"])
    assert {(row, 80 + row) for row in range(20)} == set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
    cleaner = make(near="record", keep="complete")
    cleaner.fit(frame.lazy(), {"name": "text", "city": "category", "size": "number"})
    assert cleaner.apply(frame)[ROW].to_list() == list(range(80))


def test_a_model_number_decides_between_products() -> None:
    frame = pl.DataFrame(
        {"name": ["Belkin notebook case F8N044-SLV", "belkin cush case f8n044slv", "Belkin notebook case F8N091", "Canon camera"]}
    )
    share = similarities(frame, np.array([0, 0, 0]), np.array([1, 2, 3]))
    assert share[0] > 0.5 > share[1] > share[2]


def test_weights_and_missing_cells_of_records() -> None:
    frame = pl.DataFrame({"name": ["acme works", "acme works", None], "price": [1.0, 2.0, 1.0]})
    left, right = np.array([0, 0]), np.array([1, 2])
    assert similarities(frame, left, right, {"price": 0.0, "name": 1.0})[0] == pytest.approx(1.0)
    assert similarities(frame, left, right, {"price": 1.0, "name": 1.0}).tolist() == pytest.approx([2.5 / 3, 1.0])


def test_between_compares_rows_of_different_lists_only() -> None:
    names = ["acme works oslo", "acme works oslo", "acme works, oslo", "other firm bergen", "third firm narvik"]
    frame = numbered(pl.DataFrame({"name": names, "list": ["a", "a", "b", "a", "b"]}))
    pairs = find_near_records(frame.lazy(), ["name", "list"], 0.5, between="list")
    assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == [(0, 2), (1, 2)]
    cleaner = make(near="record", between="list")
    cleaner.fit(frame.lazy(), {"name": "text", "list": "category"})
    assert cleaner.apply(frame)[ROW].to_list() == [0, 3, 4]


# --- what the user gets to read


@pytest.mark.parametrize(
    ("options", "types", "told"),
    [
        ({"columns": ["txet"]}, {"text": "text", "n": "number"}, 'no column "txet", found text, n. Did you mean "text"?'),
        (
            {"near": "text"},
            {"text": "category", "n": "number"},
            "near: text needs a column of type text, found text (category), n (number).",
        ),
        ({"near": "image"}, {"text": "text", "n": "number"}, "near: image needs a column of type image"),
        ({"near": "record", "columns": ["n"]}, {"text": "text", "n": "number"}, "near: record needs at least one column of words"),
        ({"near": "text", "between": "n"}, {"text": "text", "n": "number"}, "weights and between are for records."),
        ({"near": "record", "weights": {"m": 1.0}}, {"text": "text", "n": "number"}, 'no column "m"'),
    ],
)
def test_faults_are_told(options: dict[str, Any], types: dict[str, str], told: str) -> None:
    frame = numbered(pl.DataFrame({"text": ["a"], "n": [1.0]}))
    with pytest.raises(DataError) as error:
        make(**options).fit(frame.lazy(), types)
    assert told in str(error.value)


@pytest.mark.parametrize("near", [None, "text", "record"])
def test_no_rows_are_no_trouble(near: str | None) -> None:
    frame = numbered(pl.DataFrame(schema={"text": pl.String}))
    cleaner = make(near=near)
    cleaner.fit(frame.lazy(), {"text": "text"})
    assert cleaner.apply(frame).height == 0
