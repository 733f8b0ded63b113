"""A source inside a source: checked, resolved and made like any other, with its whole key in every message."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from lode.core.errors import SpecError
from lode.core.registry import REGISTRIES
from lode.core.signature import read_signature
from lode.core.spec import load
from lode.core.types import Component

OUTER = '''
from lode.core.types import FormatSpec, SourceSpec


class Outer:
    """Doc.

    Args:
        one: a source.
        some: a list of them.
        named: several by name.
        reader: how files are read.
    """

    def __init__(
        self, place, *, one: SourceSpec, some: list[SourceSpec] | None = None, named: dict[str, SourceSpec] | None = None,
        reader: FormatSpec | None = None,
    ):
        self.one, self.some, self.named, self.reader = one, some, named, reader
'''


@pytest.fixture
def outer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source `outer` beside those of lode."""
    registry = REGISTRIES["source"]
    path = tmp_path / "outer.py"
    path.write_text(OUTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = importlib.import_module("outer").Outer
    monkeypatch.delitem(sys.modules, "outer")
    locate, own = registry._locate, registry._own
    monkeypatch.setattr(registry, "_own", lambda: (*own(), "outer"))
    monkeypatch.setattr(registry, "_locate", lambda word: (path, "outer", "Outer") if word == "outer" else locate(word))
    get = registry.get
    monkeypatch.setattr(registry, "get", lambda word: made if word == "outer" else get(word))


def spec(folder: Path, source: str) -> Path:
    path = folder / "lode.yaml"
    path.write_text(f"name: x\ndata:\n  source: {source}\noutputs: {{y: number}}\n")
    return path


def problems(folder: Path, source: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(spec(folder, source))
    return [line.removeprefix(f"{folder}/lode.yaml:") for line in str(caught.value).splitlines()]


def test_the_annotation_is_read_without_importing(tmp_path: Path) -> None:
    (tmp_path / "outer.py").write_text(OUTER)
    options = read_signature(tmp_path / "outer.py", "Outer").options
    assert options["one"].type.text == "a source"
    assert options["some"].type.text == "a list of (a source) or null"
    assert options["reader"].type.text == "a source without its path or null"
    assert [option.type.nested() for option in options.values()] == ["SourceSpec", "SourceSpec", "SourceSpec", "FormatSpec"]


def test_every_problem_of_nested_sources_is_told_at_once_with_its_whole_key(outer: None, tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "{type: outer, one: {type: csv, path: a.csv, separatr: ';'}, some: [csv, {type: cvs, path: b}, 7],"
        " named: {x: {type: parquet}}, reader: {type: csv, path: c}}",
    )
    text = "\n".join(found)
    assert 'data.source.one.separatr (line 3): found "separatr"' in text
    assert 'Did you mean "separator"?' in text
    assert "data.source.some[0].path (line 3): found nothing" in text
    assert 'data.source.some[1].type (line 3): found "cvs"' in text
    assert 'Did you mean "csv"?' in text
    assert "data.source.some[2] (line 3): found 7, allowed: a word or a mapping" in text
    assert "data.source.named.x.path (line 3): found nothing" in text
    assert 'data.source.reader.path (line 3): found "path"' in text
    assert len(found) == 6


def test_a_misspelt_word_alone_is_named_even_where_null_is_allowed(outer: None, tmp_path: Path) -> None:
    found = problems(tmp_path, "{type: outer, one: {type: csv, path: a}, reader: parqet}")
    assert len(found) == 1
    assert 'reader (line 3): found "parqet"' in found[0]
    assert 'Did you mean "parquet"?' in found[0]


def test_a_source_that_reads_no_file_is_no_format(outer: None, tmp_path: Path) -> None:
    found = problems(tmp_path, "{type: outer, one: {type: csv, path: a}, reader: sklearn}")
    assert 'found "sklearn", which reads no file, allowed: ' in found[0]


def test_a_source_in_a_source_in_a_source_keeps_its_key(tmp_path: Path) -> None:
    inner = "{type: join, on: k, left: {type: csv, path: a}, right: {type: csv, pth: b}}"
    found = problems(tmp_path, f"{{type: join, on: k, left: {inner}, right: {{type: csv, path: c}}}}")
    assert any(line.startswith('data.source.left.right.pth (line 3): found "pth"') for line in found)


def test_the_class_gets_components(outer: None) -> None:
    options = {"one": {"type": "csv", "path": "a.csv"}, "some": ["sklearn"], "named": {"x": {"type": "csv", "path": "b"}}}
    with pytest.raises(SpecError, match=r"source outer:some\[0\].name: found nothing"):
        REGISTRIES["source"].create(Component("outer", options), None)
    options["some"] = [{"type": "sklearn", "name": "iris"}]
    made = REGISTRIES["source"].create(Component("outer", options), None)
    assert made.one == Component("csv", {"path": "a.csv"})
    assert made.some == [Component("sklearn", {"name": "iris"})]
    assert made.named == {"x": Component("csv", {"path": "b"})}


def test_resolving_fills_the_defaults_of_nested_sources_in_and_is_json(outer: None, tmp_path: Path) -> None:
    source = "{type: outer, one: {type: csv, path: a.csv}, some: [{type: parquet, path: b}], reader: csv}"
    resolved = load(spec(tmp_path, source)).resolved()["data"]["source"]["all"][0]
    assert json.loads(json.dumps(resolved)) == resolved
    assert resolved["one"]["header"] is True
    assert resolved["some"][0] == {"type": "parquet", "path": "b", "sha256": None, "origin": None}
    assert "path" not in resolved["reader"]
    assert resolved["reader"]["header"] is True
    assert resolved["named"] is None


def test_what_was_resolved_is_made_again(outer: None, tmp_path: Path) -> None:
    registry = REGISTRIES["source"]
    component = load(spec(tmp_path, "{type: outer, one: {type: csv, path: a.csv}, reader: csv}")).data.sources["all"][0]
    record = json.loads(json.dumps(component.to_json()))
    assert registry.resolve(component) == registry.resolve(Component.from_json(registry.resolve(component)))
    assert registry.create(Component.from_json(record), None).one == Component("csv", {"path": "a.csv"})


def test_deep_nesting_is_no_trouble(tmp_path: Path) -> None:
    source = "{type: csv, path: a}"
    for _ in range(20):
        source = f"{{type: join, on: k, left: {source}, right: {{type: csv, path: b}}}}"
    assert load(spec(tmp_path, source)).resolved()["data"]["source"]["all"][0]["type"] == "join"
