"""What the pages about prices write is a plan, and costs what they say."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lode.app.prices.estimate import estimate
from lode.app.prices.plan import make
from lode.cli.main import main
from lode.core.registry import REGISTRIES
from tests.docs.conftest import NAMED, ROOT, commands, disagreement, fenced_blocks

PAGE = (ROOT / "docs" / "how-to" / "charges-by-example.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```\n\n([^\n]*) cost ([\d.,]+) EUR\.", PAGE, re.DOTALL)


@pytest.mark.parametrize(("fragment", "used", "total"), EXAMPLES)
def test_an_example_costs_what_the_page_says(fragment: str, used: str, total: str) -> None:
    findings: list[Any] = []
    plan = make({"name": "x", "version": 1, "currency": "EUR", "charges": [tomllib.loads(fragment)]}, findings)
    assert plan is not None, findings
    counts: dict[str, int | str] = {
        unit: number if unit in ("provider_cost", "transaction_value") else int(number.replace(",", ""))
        for number, unit in re.findall(r"(\d[\d,]*) (\w+)", used)
    }
    assert estimate(plan, {"requests": 0, **counts})["total"] == total


def test_every_charge_has_an_example() -> None:
    assert {tomllib.loads(fragment)["type"] for fragment, _, _ in EXAMPLES} == set(REGISTRIES["charge"].names())


def test_the_page_about_plans_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its commands in this process: nine starts of Python would take longer than all they do."""
    monkeypatch.chdir(tmp_path)
    ran = 0
    for block in fenced_blocks((ROOT / "docs" / "how-to" / "set-prices.md").read_text(encoding="utf-8")):
        named = NAMED.match(block.text) if block.language == "toml" else None
        if named:
            Path(named[1]).parent.mkdir(exist_ok=True)
            Path(named[1]).write_text(block.text, encoding="utf-8")
        for command, expected in commands(block.text) if block.language == "console" else []:
            words = shlex.split(command)
            if words[0] == "lode":
                main(words[1:])
            else:
                subprocess.run(words, check=True)
            out = capsys.readouterr()
            wrong = disagreement(expected, out.out + out.err)
            assert wrong is None, f"set-prices.md:{block.line}: {command}\n{wrong}"
            ran += 1
    assert ran == 9
