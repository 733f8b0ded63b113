"""`lode data --list`, `--diff`, `--export`, `--new-key` and `lode lineage --row`: plain lines, JSON, and mistakes that exit with 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lode.cli.main import main
from tests.unit.pipeline.test_snapshots import make_artifact, put, read_manifest


def said(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> str:
    assert main([str(word) for word in words]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_what_is_kept_is_listed_compared_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    assert "no snapshots yet" in said(capsys, "data", "--list", "--runs", runs)
    first, second = put(runs, "m", 0), put(runs, "m", 1)
    make_artifact(runs, "m", read_manifest(first).key)  # type: ignore[union-attr]
    lines = said(capsys, "data", "--list", "--runs", runs).splitlines()
    assert lines[0].split() == ["key", "name", "made", "train", "validation", "test", "own", "shared", "kept", "used", "by"]
    assert any("m@1, m-0" in line and "4,000" in line for line in lines)
    found = json.loads(said(capsys, "data", "--list", "--json", "--runs", runs))["snapshots"]
    assert {item["key"] for item in found} == {first.name, second.name}
    told = said(capsys, "data", "--diff", "m-0", "m-1", "--runs", runs)
    assert "data.version  0  1" in told and "0 the same, 6,000 added, 6,000 removed" in told and "x0 mean" in told
    assert "the same rows in the same parts, bit by bit" in said(capsys, "data", "--diff", "m-0", "m@1", "--runs", runs)
    output = tmp_path / "rows.csv"
    assert "1,000 rows" in said(capsys, "data", "--export", "m", "--part", "test", "-o", output, "--runs", runs)
    assert output.read_text().count("\n") == 1_001
    _name_the_artifact(runs)
    row = said(capsys, "lineage", "m", "--row", "3", "--runs", runs)
    assert "x1: a -> b" in row and "the row was dropped (x1 > 3)" in row and "aa  a.csv, row 3 of it" in row


def _name_the_artifact(runs: Path) -> None:
    """Fill in what `lode lineage` prints first."""
    path = runs / "artifacts" / "m" / "1" / "lineage.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name": "m", "version": 1, "hash": "h"}))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--list", "--diff", "a", "b"], "one of them at a time"),
        (["--export", "m"], "found no -o FILE"),
        (["--list", "-o", "x.csv"], "found --output without --export"),
        (["--part", "test"], "found --part without --export"),
        (["--diff", "nothing", "here"], "no snapshot, run or model"),
        (["--new-key", "no/such/folder/key"], "is missing. Make it"),
    ],
)
def test_words_that_cannot_be_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert told in said(capsys, "data", *words, "--runs", tmp_path / "runs", code=2)


def test_a_new_key_is_named_and_never_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    told = said(capsys, "data", "--new-key", path)
    secret = path.read_text().strip()
    assert "Keep a copy elsewhere" in told and secret not in told and len(secret) == 64
    assert "is there already" in said(capsys, "data", "--new-key", path, code=2) and path.read_text().strip() == secret
