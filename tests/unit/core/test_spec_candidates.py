"""Lists of `model: auto` and `model: ensemble` against the outputs: told by `lode check`, before any data are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lode.core.errors import SpecError
from lode.core.spec import load


def _load(folder: Path, model: Any, output: Any = "number") -> None:
    spec = {"name": "shop", "data": {"source": {"type": "csv", "path": "rows.csv"}}, "outputs": {"y": output}, "model": model}
    (folder / "lode.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    load(folder / "lode.yaml")


RANKED = {"type": "ranking", "group": "who"}


@pytest.mark.parametrize(
    ("model", "output", "said"),
    [
        ({"type": "ensemble", "members": []}, "number", "found an empty list, allowed: constant, linear, network"),
        ({"type": "auto", "candidates": []}, "number", "found an empty list"),
        ({"type": "ensemble", "members": ["linear", "isolation"]}, "number", 'found "isolation", which cannot learn number'),
        ({"type": "auto", "candidates": [{"type": "isolation", "trees": 9}]}, "number", "which cannot learn number"),
        ({"type": "auto", "candidates": ["treez"]}, "number", 'found "treez", allowed'),
        ({"type": "ensemble", "members": ["linear", "trees"]}, RANKED, "of ranking it means nothing, allowed: one family"),
        ({"type": "auto", "candidates": ["tabm", "trees", "trees"], "rounds": {"trees-3": 2}}, "number",
         "found trees-3, allowed: constant, linear, tabm, trees, trees-2."),
    ],
)  # fmt: skip
def test_a_list_that_does_not_fit_is_told(tmp_path: Path, model: Any, output: Any, said: str) -> None:
    with pytest.raises(SpecError) as error:
        _load(tmp_path, model, output)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1, "once"


def test_lists_that_fit_are_right(tmp_path: Path) -> None:
    _load(tmp_path, {"type": "auto", "candidates": ["linear", "trees", "trees"], "rounds": {"constant": 1, "trees-2": 3}})
    _load(tmp_path, {"type": "auto", "candidates": ["linear", "trees"]}, RANKED)
    _load(tmp_path, {"type": "ensemble", "members": ["linear", {"type": "trees", "leaves": 4}]})
    _load(tmp_path, {"type": "auto", "candidates": ["isolation", "principal"]}, "anomaly")
