"""Artifacts outlive versions: every format that was ever released is loaded, and answers as it did (promise 3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from lode.pipeline import artifact, loading

KEPT = sorted((Path(__file__).parent / "formats").glob("*"))


def test_every_format_up_to_now_is_kept() -> None:
    assert {int(folder.name.split("-")[1]) for folder in KEPT} == set(range(1, artifact.FORMAT + 1))


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_a_kept_artifact_loads_and_answers_as_it_did(folder: Path) -> None:
    model = loading.load(folder)
    assert model.verify()["largest_difference"] <= artifact.TOLERANCE
    assert model.card["headline"]
