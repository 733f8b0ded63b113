"""`lode plans`: what it says, that it starts without a machine learning library, and that --json is one object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lode.cli.main import main

PLAN = """name = "team"
version = 1
currency = "EUR"

[[fees]]
name = "base"
amount = "49.00"

[[charges]]
name = "predictions"
type = "graduated"
unit = "rows"
tiers = [{up_to = 1000, price = "0"}, {up_to = 100000, price = "0.002", flat = "5"}, {price = "0.001"}]

[[charges]]
name = "fast"
model = "big"
type = "volume"
tiers = [{up_to = 10, price = "1"}, {price = "0.5"}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "team.toml").write_text(PLAN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["plans", *words]) == code
    out = capsys.readouterr()
    return out.err if code and "--json" not in words else out.out


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(capsys, *words, "--json"))
    return found


def test_a_file_is_checked_without_books(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "check", "plans/team.toml")
    assert found.startswith("plans/team.toml: a plan, version 1, hash ") and 'warning: charge "fast": one more unit' in found
    (folder / "bad.toml").write_text(PLAN.replace('"49.00"', "49.00").replace("predictions", "Fast one"), encoding="utf-8")
    lines = told(capsys, "check", "bad.toml", code=2).splitlines()
    assert [line.split(" ")[:2] for line in lines] == [["bad.toml:7:", "fees[0].amount:"], ["bad.toml:10:", "charges[0].name:"]]
    assert not (folder / "runs").exists()


def test_usage_is_priced_as_on_a_bill(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "price", "plans/team.toml", "--rows", "250000")
    assert [line.split() for line in found.splitlines()[:3]] == [
        ["base", "49.00", "EUR"], ["predictions", "250,000", "rows", "353.00", "EUR"], ["total", "402.00", "EUR"],
    ]  # fmt: skip
    assert as_json(capsys, "price", "plans/team.toml", "--requests", "11", "--model", "big")["total"] == "54.5"
    assert "cached_tokens: found more" in told(capsys, "price", "plans/team.toml", "--cached-tokens", "3", code=2)
    assert "rows: found -1" in told(capsys, "price", "plans/team.toml", "--rows", "-1", code=2)


def test_plans_and_subscriptions_are_kept_in_the_books(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["customers", "add", "acme", "--currency", "EUR"]) == 0
    capsys.readouterr()
    assert "no plans" in told(capsys, "list")
    assert "plan team, version 1: added" in told(capsys, "add", "plans/team.toml")
    assert "was added before" in told(capsys, "add", "plans/team.toml")
    row = told(capsys, "list").splitlines()[1]
    assert row.split(maxsplit=3) == ["team@1", "EUR", "month", "base, predictions (graduated), fast (volume)"]
    shown = told(capsys, "show", "team")
    assert "fee base: amount 49, due advance, prorated yes" in shown and "tiers price 0" in shown and "{" not in shown
    assert as_json(capsys, "show", "team", "1")["plan"]["charges"][0]["unit"] == "rows"
    assert as_json(capsys, "subscribe", "acme", "team", "--zone", "Asia/Tokyo", "--trial-days", "7")["zone"] == "Asia/Tokyo"
    assert "one subscription at a time" in told(capsys, "subscribe", "acme", "team", code=2)
    assert main(["customers", "show", "acme"]) == 0 and "\nteam@1  since 20" in capsys.readouterr().out
    (folder / "plans" / "team.toml").write_text(PLAN.replace("49.00", "59").replace("version = 1", "version = 2"), encoding="utf-8")
    told(capsys, "add", "plans/team.toml")
    assert as_json(capsys, "change", "acme", "team", "--when", "period_end")["version"] == 2
    assert as_json(capsys, "cancel", "acme")["until"] is not None
    assert len(as_json(capsys, "subscriptions", "acme")["subscriptions"]) == 1
    assert as_json(capsys, "default", "team")["default"] == "team@2" and "begin with team@2" in told(capsys, "list")
    assert as_json(capsys, "coupon", "SPRING", "--percent", "20", "--periods", "1")["coupon"] == "SPRING"
    assert "SPRING" in told(capsys, "coupon")
    assert "--until: found" in told(capsys, "coupon", "LATE", "--percent", "5", "--until", "soon", code=2)


def test_a_wrong_price_is_corrected_after_a_preview(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["customers", "add", "acme", "--currency", "EUR"]) == 0
    capsys.readouterr()
    told(capsys, "add", "plans/team.toml")
    told(capsys, "subscribe", "acme", "team")
    (folder / "plans" / "team.toml").write_text(PLAN.replace("49.00", "59").replace("version = 1", "version = 2"), encoding="utf-8")
    told(capsys, "add", "plans/team.toml")
    words = ("correct", "team@1", "--with", "team@2", "--reason", "a typing error")
    seen = told(capsys, *words, "--preview")
    assert "team@1 would be corrected by team@2: 1 period, 10 EUR without tax" in seen and "acme" in seen
    assert as_json(capsys, *words)["periods"][0]["difference"] == "10"
    assert "No period that has begun changes; team@2 prices those that begin later." in told(capsys, *words)
    assert "team@1, corrected by team@2" in told(capsys, "subscriptions", "acme")
    assert main(["customers", "show", "acme"]) == 0
    assert "team@1, corrected by team@2" in capsys.readouterr().out
    assert "wanted a plan with its version, like team@2" in told(
        capsys, "correct", "team", "--with", "team@2", "--reason", "x", code=2
    )
    assert 'from: found "soon"' in told(capsys, *words, "--from", "soon", code=2)
    assert "found team@2 already" in told(capsys, "change", "acme", "team", code=2)


def test_it_starts_without_tables_or_networks(folder: Path) -> None:
    script = (
        "import sys; from lode.cli.main import main; code = main(['plans', 'check', 'plans/team.toml']); "
        "print(code, sorted({'torch', 'polars', 'numpy', 'starlette', 'hypothesis'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_new_customer_begins_with_the_default_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "add", "plans/team.toml")
    told(capsys, "default", "team")
    for words in (("acme", "--currency", "EUR"), ("ours", "--currency", "EUR", "--own"), ("tokyo", "--currency", "JPY")):
        assert main(["customers", "add", *words]) == 0
    capsys.readouterr()
    counts = {name: len(as_json(capsys, "subscriptions", name)["subscriptions"]) for name in ("acme", "ours", "tokyo")}
    assert counts == {"acme": 1, "ours": 0, "tokyo": 0}
