"""Pictures: the same bytes for the same numbers, words of the data as they are, no global state, nothing loaded early."""

from __future__ import annotations

import base64
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import pytest

from lode.pipeline import pictures
from lode.pipeline.pictures import Picture

HOSTILE = ['<script>alert("x")</script>', "$\\frac{$", "tab\there\x00", "\u7c7b\u522b", "", "x" * 300]


def svg(picture: Picture) -> str:
    head, _, body = picture.source.partition(",")
    assert head == "data:image/svg+xml;base64"
    return base64.b64decode(body).decode()


def everything(names: list[str]) -> list[Picture]:
    size = len(names)
    return [
        pictures.confusion([[place * size + other for other in range(size)] for place in range(size)], names),
        pictures.roc({"false_positive_rate": [0, 0.1, 1], "true_positive_rate": [0, 0.8, 1]}, 0.85),
        pictures.precision_recall({"recall": [0, 0.5, 1], "precision": [1, 0.9, 0.3]}, 0.3),
        pictures.reliability([{"confidence": 0.2, "share": 0.3, "rows": 5}], 0.1, names[0]),
        pictures.predicted_against_true({"truth": [1.0, 2.0], "prediction": [1.5, 1.5]}, 0.5),
        pictures.residuals({"edges": [-1, 0, 1], "rows": [3, 4]}, {"0.05": -1, "0.5": 0, "0.95": 1}),
        pictures.importance([{"input": name, "loss": 0.1, "low": 0.0, "high": 0.2} for name in names], "AUC"),
        pictures.profit({"test": [{"threshold": 0.0, "value": 5.0}, {"threshold": 1.0, "value": -1.0}]}, 0.5, "EUR"),
        pictures.lines({name: ([1.0, 2.0], [3.0, 1.0]) for name in names}, "round", "loss", "Training"),
    ]


def test_every_picture_is_well_formed_whatever_the_classes_are_called() -> None:
    for picture in everything(HOSTILE):
        root = ElementTree.fromstring(svg(picture))
        assert root.tag.endswith("svg")
        assert picture.alt
        assert not [node for node in root.iter() if node.tag.endswith("script")]


def test_the_same_numbers_give_the_same_bytes_without_date_or_program() -> None:
    first, second = everything(["a", "b"]), everything(["a", "b"])
    assert first and [picture.source for picture in first] == [picture.source for picture in second]
    assert all("<dc:date>" not in svg(picture) and "Matplotlib" not in svg(picture) for picture in first)


def test_words_of_other_scripts_stay_words_and_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = svg(pictures.confusion([[3, 1], [0, 4]], ["\u732b", "\u72d7"]))
    assert "\u732b" in drawn
    assert "\u72d7" in drawn


def test_the_alternative_text_holds_the_numbers() -> None:
    alt = pictures.confusion([[30, 3], [2, 50]], ["no", "yes"]).alt
    assert "80 of 85" in alt
    assert "truth no answered yes 3" in alt


def test_a_matrix_of_many_classes_and_an_empty_reliability_can_be_drawn() -> None:
    many = [[int(place == other) for other in range(60)] for place in range(60)]
    assert pictures.confusion(many, [str(place) for place in range(60)]).source
    assert pictures.reliability([], None, "x").source


def test_numbers_that_are_all_equal_can_be_drawn() -> None:
    assert pictures.predicted_against_true({"truth": [1.0, 1.0], "prediction": [1.0, 1.0]}, None).source


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "undefined"), (float("nan"), "undefined"), (0.12345, "0.1235"), (1234567.0, "1.235e+06")],
)
def test_numbers_are_short(value: float | None, shown: str) -> None:
    assert pictures.short(value) == shown


def test_neither_matplotlib_nor_jinja_is_loaded_with_the_modules() -> None:
    code = "import sys, lode.pipeline.pictures, lode.pipeline.report; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "jinja2", "torch"} & set(loaded)


def test_no_global_figure_is_left_behind() -> None:
    code = (
        "import sys, lode.pipeline.pictures as p, matplotlib as m; before = m.rcParams.copy()\n"
        "p.roc({'false_positive_rate': [0, 1], 'true_positive_rate': [0, 1]}, .5)\n"
        "assert 'matplotlib.pyplot' not in sys.modules and m.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
