"""Numbers, dates and yes-or-no as people write them, through the cleaner `types`."""

from __future__ import annotations

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.changes import diff
from lode.data.contracts import ROW, Cleaner
from lode.data.mending import written_dates, written_numbers


def types(**options: object) -> Cleaner:
    made: Cleaner = REGISTRIES["cleaner"].create(Component("types", options))
    return made


def cleaned(cells: list[str | None], word: str, **options: object) -> list[str | None]:
    frame = pl.DataFrame({"x": pl.Series(cells, dtype=pl.String)})
    cleaner = types(**options)
    cleaner.fit(frame.lazy(), {"x": word})
    return cleaner.apply(frame)["x"].to_list()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["12.0 oz", "16.9 OZ.", "12 ounce", "24.0 oz. Alumi-Tek", "8"], ["12.0", "16.9", "12", "24.0", "8"]),
        (["5 kg", "2 kg", "300 g", "2 m"], ["5", "2", "0.3", None]),
        ([*(f"{number} patients" for number in range(10)), "1 patient", "4 patientx"], [*map(str, range(10)), "1", None]),
        (["1.5 million", "3M", "2k", "1.2\u4e07"], ["1500000.0", "3000000.0", "2000.0", "12000.0"]),
        (["\uff11\uff12\uff0c\uff13\uff14\uff15", "\uff15\uff05"], ["12345", "0.05"]),
        (["\u2212 5", "- 3", "-$5", "($5.50)"], ["-5", "-3", "-5", "-5.50"]),
        (["1 1/2", "\u00bd", "3/4", "120/80"], ["1.5", "0.5", "0.75", None]),
        (["5 apples", "3 pears"], [None, None]),
    ],
)  # fmt: skip
def test_numbers_with_units_multipliers_and_other_marks(cells: list[str | None], expected: list[str | None]) -> None:
    assert cleaned(cells, "number") == expected


def test_a_percent_sign_says_nothing_where_plain_numbers_are_as_large() -> None:
    assert cleaned(["0.05", "0.07", "0.06%"], "number") == ["0.05", "0.07", "0.06"]
    assert cleaned(["0.05", "0.07", "6%"], "number") == ["0.05", "0.07", "0.06"]
    assert cleaned(["6%"], "number") == ["0.06"]
    assert cleaned(["0.05", "0.06%"], "number", percent="share") == ["0.05", "0.0006"]
    assert cleaned(["6%"], "number", percent="number") == ["6"]


def test_noise_of_another_programs_floats_is_cut() -> None:
    assert cleaned(["0.027", "0.027000000000000003%"], "number") == ["0.027", "0.027"]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("31/12/2024", "2024-12-31"), ("12-31-24", "2024-12-31"), ("20241231", "2024-12-31"), ("07/07/2024", "2024-07-07"),
        ("Dec 31st, 2024 5:03 pm", "2024-12-31T17:03:00"), ("Tuesday, 31 December 2024", "2024-12-31"), ("31-Jan-99", "1999-01-31"),
        ("2024\u5e741\u67085\u53f7", "2024-01-05"), ("1700000000", "2023-11-14T22:13:20Z"),
        ("1700000000123", "2023-11-14T22:13:20.123Z"), ("2024-01-05", "2024-01-05"), ("3.4.2024", "3.4.2024"),
        ("12:30 on Monday", None), ("31/31/2024", None), ("02/30/2024", None), ("5", None),
    ],
)  # fmt: skip
def test_dates_are_read_in_many_forms(cell: str, expected: str | None) -> None:
    assert cleaned([cell], "date") == [expected]


def test_cells_that_leave_no_doubt_decide_the_order_of_the_others() -> None:
    assert cleaned(["03/04/2024", "31/12/2024"], "date") == ["2024-04-03", "2024-12-31"]
    assert cleaned(["03/04/2024", "12/31/2024"], "date") == ["2024-03-04", "2024-12-31"]
    assert cleaned(["03/04/2024", "12/31/2024"], "date", dates="day_first") == ["2024-04-03", "2024-12-31"]
    assert cleaned(["03.04.2024"], "date", dates="month_first") == ["2024-03-04"]


def test_dates_that_nothing_decides_stay_as_they_are() -> None:
    assert cleaned(["03/04/2024", "05/06/2024"], "date") == ["03/04/2024", "05/06/2024"]
    assert cleaned(["03/04/2024", "31/12/2024", "12/31/2024"], "date")[0] == "03/04/2024"


def test_the_one_cell_that_decides_is_found_wherever_it_stands() -> None:
    rows = 200_000
    frame = pl.DataFrame({"x": ["03/04/2024"] * rows}).with_row_index("i")
    frame = frame.with_columns(x=pl.when(pl.col("i") == 70_001).then(pl.lit("31/12/2024")).otherwise("x")).drop("i")
    cleaner = types()
    cleaner.fit(frame.lazy(), {"x": "date"})
    assert cleaner.apply(frame[:1])["x"].to_list() == ["2024-04-03"]
    assert cleaner.notes == ["x: 03/04/2024 is read day first, as its other cells are (else `dates: month_first`)."]


@pytest.mark.parametrize(
    "cells", [["ja", "Nein", " JA "], ["\u662f", "\u5426", "\u662f"], ["s\u00ed", "no", "S\u00cd"], ["\u5bf9", "\u9519", "\u5bf9"]]
)
def test_yes_and_no_of_other_languages(cells: list[str]) -> None:
    assert cleaned([*cells, None], "binary") == ["true", "false", "true", None]


def test_columns_of_numbers_are_handed_on_untouched() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": ["1", "2.5"], "c": ["1,000", "2"]})
    cleaner = types()
    cleaner.fit(frame.lazy(), {"a": "number", "b": "number", "c": "number"})
    after = cleaner.apply(frame)
    assert after["c"].to_list() == ["1000", "2"]
    assert diff(frame.with_row_index(ROW), after.with_row_index(ROW)).rows() == [(0, "c", "1,000", "1000")]


def test_reasons_say_what_a_cell_was() -> None:
    frame = pl.DataFrame({ROW: pl.Series(range(5), dtype=pl.UInt64), "x": ["5%", "$3", "4 kg", "1,000", "?x"]})
    cleaner = types()
    cleaner.fit(frame.lazy(), {"x": "number"})
    assert list(cleaner.why(diff(frame, cleaner.apply(frame)))) == [
        "percent",
        "currency",
        "in kg",
        "marks of a number",
        "not a number",
    ]


def test_an_artifact_of_before_reads_as_it_did() -> None:
    cleaner = types()
    cleaner.restore({"words": {"x": "number", "d": "date", "b": "binary"}})
    frame = pl.DataFrame({"x": ["1,200", "5%", "five"], "d": ["2024-01-05", "5 Jan 2024", "soon"], "b": ["Yes", "n", "1"]})
    assert cleaner.apply(frame).rows() == [
        ("1200", "2024-01-05", "true"), ("0.05", "5 Jan 2024", "false"), (None, None, "true"),
    ]  # fmt: skip


def test_what_was_learned_of_a_column_comes_back() -> None:
    frame = pl.DataFrame({"x": ["5 kg", "300 g", "2 kg"], "d": ["31/12/2024", "1/2/2024", "1/3/2024"]})
    cleaner, again = types(), types()
    cleaner.fit(frame.lazy(), {"x": "number", "d": "date"})
    again.restore(cleaner.state())
    request = pl.DataFrame({"x": ["20 g"], "d": ["03/04/2024"]})
    assert again.apply(request).rows() == [("0.02", "2024-04-03")]


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match='no column "prise", found price'):
        types(columns=["prise"]).fit(pl.DataFrame({"price": ["1"]}).lazy(), {"price": "number"})


def test_empty_columns_are_no_trouble() -> None:
    none = pl.Series("text", [], dtype=pl.String)
    assert len(written_numbers.mended(none, written_numbers.learn(none, ".", "auto"))) == 0
    assert len(written_dates.mended(none, None)) == 0
    assert cleaned([None, None], "number") == [None, None]


def test_the_short_way_and_the_long_way_read_the_same() -> None:
    cells = [
        "$1,234.50",
        "1,234",
        "$5",
        "12",
        "0.5",
        "1,2",
        "12,34,567",
        "$1,234,567",
        "1,234,567,890,123.5",
        "$",
        "",
        None,
        "7,000.",
        "$1991,300",
        "1,2,3",
        ",5",
        "5,",
        "$5,",
        "1,234,567,890,123,456",
        "12,34.5",
        "12 %",
    ]
    texts = pl.Series("x", [*cells, *(f"${n:,}" for n in range(0, 2_000_000, 99_991))])
    style = written_numbers.NumberStyle()
    assert written_numbers.mended(texts, style).to_list() == written_numbers._mended(texts, style).to_list()


def test_groups_that_are_none_are_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str | None]] = []
    long_way = written_numbers._mended

    def noted(texts: pl.Series, style: written_numbers.NumberStyle) -> pl.Series:
        seen.append(texts.to_list())
        return long_way(texts, style)

    monkeypatch.setattr(written_numbers, "_mended", noted)
    texts = pl.Series("x", ["$1991,300", "7,000", "12 %", None])
    assert written_numbers.mended(texts, written_numbers.NumberStyle()).to_list() == [None, "7000", "0.12", None]
    assert seen == [["12 %"]]
