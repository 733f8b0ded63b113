"""T9, small (1,000 words: `python benchmarks/secrets_proofs.py`): no secret and no prompt is left anywhere."""

from __future__ import annotations

from pathlib import Path

from tests.unit.app.canaries import Canaries


def test_no_secret_and_no_prompt_is_left_anywhere(tmp_path: Path) -> None:
    canaries = Canaries(tmp_path / "all")
    with canaries.world.store:
        canaries.send(60)
        assert canaries.found() == []
        word = next(iter(canaries.words))
        (tmp_path / "all" / "planted").write_text(word.encode().hex())
        assert canaries.found() == ["an operator's key: planted"]
    assert "failed" in (tmp_path / "all" / "server.log").read_text()
    assert (tmp_path / "all" / "metrics.txt").read_text().startswith("#")
