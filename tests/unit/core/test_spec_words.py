"""`lode check` holds words against one another: what can never be trained is told before any row is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lode.core.errors import SpecError
from lode.core.fits import misfits
from lode.core.spec import load

SERIES = {"walk": {"type": "series", "encoder": "lstm"}}
TAGS = {"tags": "tagging"}
BINARY = {"y": {"type": "binary", "positive": 1}}


def _problems(tmp_path: Path, **parts: Any) -> list[str]:
    """What is said of a file, without its name and lines."""
    tree = {"name": "words", "data": {"source": {"type": "csv", "path": "x.csv"}}, "outputs": BINARY, "model": "network", **parts}
    path = tmp_path / "lode.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    try:
        load(path)
    except SpecError as error:
        return [line.split(":", 1)[1] for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            {"a": {"type": "series", "encoder": "textcnn"}},
            'inputs.a.encoder: found "textcnn", which cannot take an input of type series',
        ),
        ({"a": {"type": "series", "augment": ["jitter", "flip"]}}, 'inputs.a.augment[1]: found "flip", which cannot take'),
        (
            {"a": {"type": "text", "encoder": {"type": "several", "encoders": ["pooled", "cnn"]}}},
            'inputs.a.encoder.encoders[1]: found "cnn", which cannot take an input of type text',
        ),
        (
            {"a": {"type": "text", "encoder": {"type": "transformer", "width": 10}}},
            "inputs.a.encoder.width: found 10 beside heads: 4, allowed: a multiple of 4. Write width: 12.",
        ),
        (
            {"a": {"type": "series", "encoder": {"type": "patch_tst", "patch": 8, "stride": 20}}},
            "inputs.a.encoder.stride: found 20 beside patch: 8, allowed: at most 8. Write stride: 8.",
        ),
        (
            {"a": {"type": "audio", "encoder": {"type": "mel_cnn", "window_ms": 10, "hop_ms": 20}}},
            "inputs.a.encoder.hop_ms: found 20.0 beside window_ms: 10.0, allowed: at most 10.0. Write hop_ms: 10.0.",
        ),
        (
            {"a": {"type": "text", "encoder": "pretrained"}},
            "inputs.a.encoder.path: found neither path nor config, allowed: one of them. Write path: ... alone.",
        ),
        (
            {"a": {"type": "text", "encoder": {"type": "textcnn", "windows": []}}},
            "inputs.a.encoder.windows: found an empty list, allowed: one entry at least. Fill it, or remove windows.",
        ),
        (
            {"a": {"type": "text", "tokens": "word", "encoder": {"type": "pretrained", "path": "x"}}},
            'inputs.a.tokens: found beside encoder "pretrained", which cuts texts by its own tokenizer',
        ),
        ({"a": {"type": "series", "encoder": "patch_tst", "augment": ["warp"]}, "b": {"encoder": "lstm"}}, ""),
    ],
)
def test_what_cannot_read_an_input_is_named(tmp_path: Path, inputs: dict[str, Any], said: str) -> None:
    found = [line.replace(f" (line {line.split('(line ')[1].split(')')[0]})", "") for line in _problems(tmp_path, inputs=inputs)]
    assert (len(found) == 1 and found[0].startswith(said)) if said else found == []


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"inputs": SERIES}, ""),
        ({"inputs": {"walk": "series"}}, ""),
        (
            {"inputs": {"walk": {"type": "series", "encoder": "patch_tst"}}},
            "which gives one vector a row, but tags has a tag for each step",
        ),
        ({"inputs": {"words": "text"}}, '"pooled" (used where none is named), which gives one vector a row'),
        ({"inputs": {"words": "text"}, "model": {"type": "network", "text": "lstm"}}, ""),
        ({"inputs": {"words": "text"}, "model": "lookup"}, ""),
        ({"inputs": {"words": "text"}, "model": {"type": "auto", "candidates": ["lookup"]}}, ""),
        (
            {"inputs": {"words": "text"}, "model": {"type": "auto", "candidates": ["lookup", "network"]}},
            '"pooled" (used where none',
        ),
        ({"inputs": {"words": "set"}}, "which gives one vector a row, but tags has a tag for each step, allowed: none."),
        (
            {"inputs": {"words": {"type": "text", "encoder": {"type": "pretrained", "path": "x"}}}},
            '"pretrained", which cuts texts by its own',
        ),
        ({"inputs": {"walk": {**SERIES["walk"], "augment": ["warp"]}}}, '"warp", which moves steps, but tags has a tag for each'),
        ({"inputs": {"words": {"type": "text", "encoder": "gru", "augment": ["drop"]}}}, '"drop", which moves steps'),
        ({"inputs": {**SERIES, "other": "series"}}, "found 2 inputs with steps, allowed: of: walk or other"),
        ({"inputs": {"age": "number"}}, "found no input with steps, allowed: a text or a series among the inputs"),
        ({"inputs": SERIES, "outputs": {"tags": {"type": "tagging", "of": "run"}}}, "outputs.tags.of (line"),
        ({"inputs": {"walk": None, "other": None}}, ""),  # their types are inferred
    ],
)
def test_tags_need_steps_and_an_encoder_that_has_them(tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    found = _problems(tmp_path, **{"outputs": TAGS, **parts})
    assert (len(found) == 1 and said in found[0]) if said else found == []


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"model": "trees", "outputs": {"who": "embedding"}},
            'found "trees", which cannot learn embedding, allowed: constant, directions',
        ),
        ({"model": "network", "outputs": {"odd": "anomaly"}}, 'found "network", which cannot learn anomaly, allowed: autoencoder'),
        ({"model": "auto", "outputs": {"odd": "anomaly"}}, ""),
        ({"model": "linear", "outputs": {**BINARY, "n": "number", "q": "quantiles", "m": "multilabel"}}, ""),
        ({"outputs": {"q": {"type": "quantiles", "levels": [0.9, 0.1]}}}, "found [0.9, 0.1], allowed: rising numbers, none twice"),
        ({"outputs": {"m": {"type": "multilabel", "separator": ""}}}, "found an empty text, allowed: one letter at least"),
        ({"model": {"type": "network", "table": "lstm"}}, 'found "lstm", which cannot take inputs of type number, category'),
        ({"model": {"type": "network", "table": "mlp"}}, ""),
        (
            {"inputs": SERIES, "train": {"pretrain": "masked"}},
            'found "masked", which cannot learn from walk (series), allowed: none',
        ),
        ({"inputs": {"words": "text", "age": "number"}, "train": {"pretrain": "masked"}}, ""),
    ],
)
def test_families_and_pretraining_are_held_against_columns(tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    found = _problems(tmp_path, **parts)
    assert (len(found) == 1 and said in found[0]) if said else found == []


def test_a_searched_option_is_not_held_against_another_searched_one(tmp_path: Path) -> None:
    """128 is no multiple of the file's 3 heads, but trials with 4 heads are to be tried."""
    inputs = {"a": {"type": "text", "encoder": {"type": "transformer", "width": 96, "heads": 3}}}
    width, heads = "inputs.a.encoder.width", "inputs.a.encoder.heads"
    assert _problems(tmp_path, inputs=inputs, tune={"search": {width: [96, 128], heads: [3, 4]}}) == []
    assert "a multiple of 3" in _problems(tmp_path, inputs=inputs, tune={"search": {width: [96, 128]}})[0]
    inputs["a"]["encoder"] |= {"width": 64, "heads": 4}
    assert _problems(tmp_path, inputs=inputs, tune={"search": {width: [12, 24], heads: [2, 3]}}) == [], "64 is tried in no trial"


def test_relations_of_options() -> None:
    fits = (
        ("a", "multiple of", ("b", 4)),
        ("c", "at most", "b"),
        ("d", "as long as", "e"),
        ("d", "as long as", 2),
        ("f", "odd", None),
    )
    options = {"a": 24, "b": 6, "c": 6, "d": [1, 2], "e": ["x", "y"], "f": 3}
    assert list(misfits(options, fits)) == []
    assert list(misfits({**options, "c": None, "d": 5}, fits)) == []
    told = {name: (text, other) for name, text, other in misfits({**options, "a": 10, "c": 7, "d": [1], "f": 2}, fits)}
    assert told["a"] == ("found 10 beside b: 6, allowed: a multiple of 12. Write a: 12.", "b")
    assert told["c"][0] == "found 7 beside b: 6, allowed: at most 6. Write c: 6."
    assert told["d"] == ("found 1 entry, allowed: 2. Write as many.", "")
    assert told["f"][0] == "found 2, allowed: an odd number. Write f: 3."
