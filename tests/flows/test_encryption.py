"""`data.store` with a key: the same rows and hashes, nothing of a cell in clear beside them, clear errors without the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed (lodeml[encryption])")

from lode.cli.main import main
from lode.data import snapshot
from lode.data.storage.keys import new_key
from lode.pipeline.run import run
from lode.pipeline.snapshots import list_snapshots
from tests.flows.flow import lode_json, write_spec

MARK = "Quixote"
SPEC: dict[str, Any] = {
    "name": "people",
    "data": {"source": {"type": "csv", "path": "rows.csv"}, "clean": [{"type": "types"}], "split": {"seed": 3}},
    "inputs": {"who": "category", "income": "number", "note": "text"},
    "outputs": {"paid": {"type": "binary", "positive": "yes"}},
    "model": "constant",
}


def write_rows(folder: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["paid,income,who,note"]
    for row in range(400):
        income = f"{MARK} {row}" if row % 100 == 5 else f"{rng.normal(50_000, 9_000):.2f}"
        lines.append(f"{'yes' if rng.random() < 0.5 else 'no'},{income},{MARK}{row % 5},{MARK} wrote {row} lines")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def with_store(**options: Any) -> dict[str, Any]:
    return {**SPEC, "data": {**SPEC["data"], "store": options}}


def files_with(word: str, *folders: Path) -> set[str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path.name for path in files if word.encode() in path.read_bytes()}


def test_switching_encryption_on_makes_the_snapshot_again_with_the_same_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path)
    plain = run(write_spec(tmp_path, SPEC), until="data")
    folder = plain.folders["data"]
    rows, hashed = snapshot.read(folder, "train"), plain.manifests["data"].result["content_hash"]
    assert {"report.json", "profile.json", "train.parquet", "manifest.json"} <= files_with(MARK, folder)
    key = new_key(tmp_path / "key")
    said: list[str] = []
    done = run(write_spec(tmp_path, with_store(key_file="key")), until="train", say=said.append)
    assert done.folders["data"] == folder and not done.manifests["data"].cached and any("encrypted" in line for line in said)
    assert done.manifests["data"].result["content_hash"] == hashed == snapshot.content_hash(folder)
    assert snapshot.read(folder, "train").equals(rows) and snapshot.read(folder, "changes").height == 4
    assert list_snapshots(tmp_path / "runs")[0]["kept_as"] == "encrypted"
    # Neither the snapshot nor what a run keeps of it holds a cell of an input, or the key.
    kept = [folder, tmp_path / "runs" / "runs"]
    assert files_with(MARK, *kept) == set() and files_with(key.secret.hex(), tmp_path / "runs") == set()
    again = run(tmp_path / "lode.yaml", until="train")
    assert again.manifests["data"].cached and again.manifests["train"].cached
    # Leaving the key out of the file decrypts nothing: the snapshot stays as it is.
    assert run(write_spec(tmp_path, SPEC), until="data").manifests["data"].cached
    assert lode_json("data", "--export", "people", "-o", "out.csv", cwd=tmp_path)["rows"] == 400
    assert MARK in (tmp_path / "out.csv").read_text()
    capsys.readouterr()
    _without_the_key(tmp_path, key.secret.hex(), capsys)


def _without_the_key(folder: Path, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every way to read ends with exit code 2 and a sentence, and the key is in none of them."""
    (folder / "key").rename(folder / "other")
    runs = str(folder / "runs")
    new_key(folder / "key")
    spec = str(write_spec(folder, with_store(key_file="key")))
    wrong = "encrypted with the key"
    for told in (wrong, "is missing"):
        for words in (["data", spec], ["data", "--export", "people", "-o", str(folder / "x.csv"), "--runs", runs]):
            assert main(words) == 2
            error = capsys.readouterr().err
            assert (told in error or "no such file" in error) and secret not in error and "Traceback" not in error
        (folder / "key").unlink(missing_ok=True)
    assert not (folder / "x.csv").exists()
    (folder / "other").rename(folder / "key")
    assert main(["data", spec]) == 0


def test_a_snapshot_killed_half_way_is_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path)
    new_key(tmp_path / "key")
    path = write_spec(tmp_path, with_store(key_file="key"))
    real, calls = snapshot.write_rows, [0]

    def die(frame: Any, target: Path) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        real(frame, target)

    monkeypatch.setattr(snapshot, "write_rows", die)
    with pytest.raises(KeyboardInterrupt):
        run(path, until="data")
    assert list_snapshots(tmp_path / "runs") == [] and files_with(MARK, tmp_path / "runs" / "data") == set()
    monkeypatch.setattr(snapshot, "write_rows", real)
    assert run(path, until="data").manifests["data"].result["rows"]["train"] == 280
