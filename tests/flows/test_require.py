"""`data.require`: findings that stop the run, after the page was written; what is not a finding's business is not done again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lode.cli.main import main
from lode.core.errors import DataError
from lode.pipeline import manifest
from lode.pipeline.run import run
from tests.flows.flow import lode, write_spec

SPEC: dict[str, Any] = {
    "name": "loans",
    "data": {"source": {"type": "csv", "path": "rows.csv"}},
    "outputs": {"paid": {"type": "binary", "positive": "yes"}},
}


def write_rows(folder: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["paid,income,city,note"]
    for row in range(400):
        paid = "yes" if rng.random() < 0.5 else "no"
        city = ["Rome", "Oslo", "Lima"][row % 3] if row % 4 else ""
        lines.append(f"{paid},{rng.normal(50_000, 9_000):.2f},{city},{'kept' if paid == 'yes' else 'lost'}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def spec(*words: Any) -> dict[str, Any]:
    return {**SPEC, "data": {**SPEC["data"], "require": list(words)}}


def test_every_observation_is_named_and_the_page_is_there(tmp_path: Path) -> None:
    write_rows(tmp_path)
    path = write_spec(tmp_path, spec("leakage", {"type": "missing", "share": 0.2}, "imbalance"))
    done = lode("data", path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    line = 1 + next(number for number, text in enumerate(path.read_text("utf-8").splitlines()) if "require" in text)
    assert f"{path}:data.require.leakage (line {line}): note: it is the target under another name (paid)." in done.stderr
    assert f"{path}:data.require.missing (line {line}): city: 100 of 400 cells are empty (25.0%)." in done.stderr
    assert "imbalance" not in done.stderr
    page = next(word for word in done.stderr.split() if word.endswith("quality.html."))
    assert "it is the target under another name" in Path(page.rstrip(".")).read_text("utf-8")


def test_a_changed_requirement_reads_nothing_again(tmp_path: Path) -> None:
    write_rows(tmp_path)
    with pytest.raises(DataError, match="leakage"):
        run(write_spec(tmp_path, spec("leakage")), until="data")
    done = run(write_spec(tmp_path, spec({"type": "missing", "share": 0.3})), until="data")
    assert done.manifests["data"].cached
    with pytest.raises(DataError, match="missing"):
        run(write_spec(tmp_path, spec("missing")), until="data")
    assert len(list((tmp_path / "runs" / "data").iterdir())) == 1


def test_a_run_over_its_bound_says_so_and_may_stop(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is asked: the line, the page, `--json`, `data.require`, and a snapshot that is there already."""
    write_rows(tmp_path)
    monkeypatch.setattr(manifest, "anonymous_memory_bytes", iter(range(10**9, 10**12, 2 * 10**9)).__next__)
    path = write_spec(tmp_path, SPEC)
    assert main(["data", str(path), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["stages"]["data"]["memory"]["allowed_bytes"] == 2_000_000_000
    assert [item["finding"] for item in found["findings"]].count("memory") == 1
    assert found["quality"]["findings"] == found["findings"]
    assert "the data stage came to" in (tmp_path / "runs" / "runs" / found["run"] / "quality.html").read_text("utf-8")
    assert main(["data", str(path)]) == 0
    assert "warning  memory: the data stage came to" in capfd.readouterr().out
    within = {**SPEC["data"], "require": ["memory"]}
    assert main(["data", str(write_spec(tmp_path, {**SPEC, "data": within}))]) == 2
    assert re.search(r"data\.require\.memory \(line \d+\): .*; allowed are 2\.0 GB\.", capfd.readouterr().err)
    allowed = write_spec(tmp_path, {**SPEC, "data": {**within, "memory": "1000GB"}})
    assert main(["data", str(allowed)]) == 0, "the snapshot is there, and so much is allowed now"


def test_a_small_bound_is_meant_beside_what_the_process_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path)
    taken = iter([300_000_000, *[450_000_000] * 10_000])
    monkeypatch.setattr(manifest, "anonymous_memory_bytes", taken.__next__)
    done = run(write_spec(tmp_path, {**SPEC, "data": {**SPEC["data"], "memory": "200MB"}}), until="data")
    assert done.memory == {"peak_bytes": 450_000_000, "before_bytes": 300_000_000, "allowed_bytes": 500_000_000}
    assert "memory" not in {item["finding"] for item in done.findings}


def test_profile_and_findings_are_in_the_folder_and_in_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path)
    assert main(["data", str(write_spec(tmp_path, SPEC)), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    folder = Path(found["stages"]["data"]["folder"])
    assert found["quality"]["profile"] == json.loads((folder / "profile.json").read_text("utf-8"))
    assert found["quality"]["findings"] == json.loads((folder / "quality.json").read_text("utf-8"))["findings"]
    assert found["quality"]["findings"][0]["finding"] == "leakage"


def test_the_table_and_the_findings_are_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path)
    assert main(["data", str(write_spec(tmp_path, SPEC))]) == 0
    shown = capfd.readouterr().out
    lines = shown.splitlines()
    assert lines[0].split() == ["column", "type", "missing", "distinct", "range", "or", "most", "frequent", "power"]
    assert any(line.startswith("city") and "25 %" in line for line in lines)
    assert any(line.startswith("error    leakage: note:") for line in lines)
    assert "\x1b" not in shown
