from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lode.cli import data as verb
from lode.data.quality import verdict as findings_of
from lode.pipeline import quality
from lode.testing.finding import snapshot_of

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</svg></body>",
    "{{ 7 * 7 }}",
    "\x1b[31m\x00red",
    "\u202erow",
]


class _Page(HTMLParser):
    """Tags that are open, and every tag and attribute that there was."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "rect", "polyline", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read_page(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    assert page.open == []
    return page


def made(folder: Path, frame: pl.DataFrame, columns: dict[str, tuple[str, str]]) -> dict[str, Any]:
    num = frame.height
    return snapshot_of({"train": frame[: num // 2], "validation": frame[: num // 4], "test": frame[num // 2 :]}, columns, folder)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    words = pl.Series([*HOSTILE, None])
    frame = pl.DataFrame({"</title><script>": words[:-1], **dict.fromkeys(HOSTILE, words[:-1])})[rng.integers(0, 6, 400)]
    frame = frame.with_columns(pl.Series(word, words[rng.integers(0, 7, 400)]) for word in HOSTILE)
    columns = {"</title><script>": ("output", "multiclass"), **dict.fromkeys(HOSTILE, ("input", "category"))}
    profile = made(tmp_path_factory.mktemp("hostile"), frame, columns)
    samples = [{"row": 3, "before": HOSTILE[0], "after": None, "why": HOSTILE[1]}]
    tally = {"cleaner": "types", "split": None, "column": HOSTILE[0], "changed": 1, "lost": 1, "samples": samples}
    return {**profile, "cleaning": [tally], "ignored": {HOSTILE[0]: HOSTILE[1]}}


def test_words_of_the_data_stay_words(hostile: dict[str, Any]) -> None:
    text = quality.html(hostile, findings_of.look(hostile), "<b>name</b>")
    page = read_page(text)
    assert not page.tags & {"script", "img", "b"} - {"b"} and "onerror" not in page.attributes
    assert "<b>name</b>" not in text and "<script" not in text and "49" not in re.findall(r"<dd>(.*?)</dd>", text)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)


def test_the_page_needs_nothing_but_itself(hostile: dict[str, Any]) -> None:
    page = read_page(quality.html(hostile, [], "x"))
    assert page.addresses and all(address.startswith("#") for address in page.addresses)
    assert not page.tags & {"link", "script", "iframe", "object", "form"}


def test_many_columns_are_folded_and_few_are_open(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({f"c{n}": rng.normal(size=60) for n in range(200)})
    profile = made(tmp_path, frame, dict.fromkeys(frame.columns, ("input", "number")))
    text = quality.html(profile, [], "wide")
    assert text.count("<details id=") == 200 and " open>" not in text
    assert len(text) < 3_000_000
    few = {**profile, "columns": {name: profile["columns"][name] for name in ("c0", "c1")}, "missing_map": {}}
    assert quality.html(few, [], "narrow").count(" open>") == 2


def test_the_same_profile_gives_the_same_bytes(hostile: dict[str, Any], tmp_path: Path) -> None:
    found = findings_of.look(hostile)
    pages = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        quality.render(hostile, found, tmp_path / name, "x")
        pages.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert pages[0] == pages[1] and set(pages[0]) == {"profile.json", "quality.json", "quality.html"}


def test_what_cleaners_changed_is_shown_with_samples(hostile: dict[str, Any]) -> None:
    text = quality.html(hostile, [], "x")
    assert "What cleaners changed" in text and "row 3:" in text and "became an empty cell" in text


def test_the_table_is_short_and_has_no_control_characters(hostile: dict[str, Any], tmp_path: Path) -> None:
    rows = quality.table(hostile)
    assert len(rows) == 1 + len(HOSTILE) + 1
    shown = verb._table(rows)
    assert "\x1b" not in shown and "\x00" not in shown and len(shown.splitlines()) == len(rows)


def test_findings_stand_first_and_the_worst_of_them_on_top(tmp_path: Path) -> None:
    y = np.tile(["a", "b"], 200)
    frame = pl.DataFrame({"y": y, "same": ["x"] * 400, "told": np.where(y == "a", 1.0, 2.0)})
    columns = {"y": ("output", "binary"), "same": ("input", "category"), "told": ("input", "number")}
    profile = made(tmp_path, frame, columns)
    text = quality.html(profile, findings_of.look(profile), "x")
    assert text.index('id="findings"') < text.index('id="columns"')
    assert text.index("told: it is the target under another name") < text.index("same: it is")
