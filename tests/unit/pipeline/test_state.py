"""Fitted state on disk: the same bytes for the same state, and no object ever unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lode.core.errors import ArtifactError
from lode.pipeline.state import load_state, read_json, save_state, write_json

STATE = {
    "words": ["a", "b"],
    "nested": {"mean": np.array([1.5, np.nan], np.float32)},
    "rows": [np.arange(3), {"k": 1}],
    "none": None,
}


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save_state(STATE, tmp_path, "state")
    found = load_state(tmp_path, "state")
    assert found["words"] == ["a", "b"] and found["none"] is None and found["rows"][1] == {"k": 1}
    assert found["nested"]["mean"].dtype == np.float32
    assert np.array_equal(found["nested"]["mean"], STATE["nested"]["mean"], equal_nan=True)
    assert np.array_equal(found["rows"][0], np.arange(3))


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        save_state(STATE, tmp_path / folder, "state")
    for name in ("state.json", "state.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_objects_are_not_state(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object array"):
        save_state({"bad": np.array(["a", None], dtype=object)}, tmp_path, "state")


def test_a_damaged_or_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none.json: missing"):
        read_json(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(ArtifactError, match=r"cut.json: damaged"):
        read_json(tmp_path / "cut.json")


def test_nothing_half_written_is_left_beside(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
