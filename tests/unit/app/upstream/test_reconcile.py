"""What a provider charged against what the books hold: rates, differences, what is estimated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lode.app.books import journal
from lode.app.books.contracts import Act, Store, Used
from lode.app.books.open import open_books
from lode.app.upstream.reconcile import rate, read_file, reconcile
from lode.core.errors import BillingError

DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US  # 2024-10-04


def used(number: int, day: int, cost: int, *, estimated: bool = False, kind: str = "customer", currency: str = "USD") -> Act:
    units = {"requests": 1, "input_tokens": 10, "output_tokens": 5}
    row = Used(
        f"req_{number}", START_US + day * DAY_US + number, "acme", "", "key_1", "assistant", 1, 200, units, 0, kind=kind,
        cost=cost, cost_currency=currency, provider="example@2026-11-01", estimated=estimated,
    )  # fmt: skip
    return Act("usage.settle", "system", "acme", f"req_{number}", used=row)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_books(None, tmp_path)
    acts = [
        used(1, 0, 1_500_000), used(2, 0, 500_000, estimated=True), used(3, 1, 3_000_000), used(4, 1, 7, kind="own", estimated=True),
        used(5, 1, 99, currency="EUR"), used(6, 9, 10**12),
    ]  # fmt: skip
    made.transact(lambda session: journal.append(session, acts, START_US))
    yield made
    made.close()


def written(folder: Path, text: str, name: str = "usage.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


CSV = "date,model,cost,currency,requests,input_tokens,output_tokens\n"


def test_days_are_compared_to_the_last_digit(store: Store, tmp_path: Path) -> None:
    path = written(tmp_path, CSV + "2024-10-04,small-4,0.000002,USD,2,20,10\n2024-10-05,small-4,0.000004,USD,2,20,10\n")
    found = reconcile(store, path)
    assert [line["difference"] for line in found["days"]] == ["0", "-0.000000999993"]
    assert found["capture_rate"] == "0.833334"
    assert found["provider_cost"] == "0.000006" and found["our_cost"] == "0.000005000007"
    assert found["estimated_requests"] == 2 and {item["request_id"] for item in found["estimated"]} == {"req_2", "req_4"}
    assert found["other_currencies"] == {"EUR": "0.000000000099"}
    assert found["days"][0]["ours"]["input_tokens"] == 20 and found["days"][0]["ours"]["estimated"] == 1


def test_a_day_that_only_the_provider_knows_is_a_gap(store: Store, tmp_path: Path) -> None:
    path = written(tmp_path, CSV + "2024-10-04,m,0.000002,USD,2,20,10\n2024-10-06,m,0.5,USD,1,1,1\n")
    lines = {line["date"]: line for line in reconcile(store, path)["days"]}
    assert lines["2024-10-06"]["capture_rate"] == "0.000000" and lines["2024-10-06"]["ours"]["requests"] == 0
    assert lines["2024-10-05"]["capture_rate"] is None, "and one that only we know"


def test_models_are_compared_by_name_where_both_sides_know_it(store: Store, tmp_path: Path) -> None:
    rows = [{"date": "2024-10-04", "model": "assistant", "cost": 0.000002, "currency": "USD"}]
    rows.append({"date": "2024-10-04", "model": "another", "cost": "0.1", "currency": "USD"})
    lines = reconcile(store, written(tmp_path, json.dumps({"data": rows}), "usage.json"))["days"]
    assert [(line["model"], line["capture_rate"]) for line in lines] == [("another", "0.000000"), ("assistant", "1.000000")]
    assert reconcile(store, tmp_path / "usage.json", provider="nobody")["our_cost"] == "0"
    assert reconcile(store, tmp_path / "usage.json", model="assistant")["our_cost"] == "0.000002"


def test_a_rate_never_looks_better_than_it_is() -> None:
    assert rate(999_999_999_999, 10**12) == "0.999999"
    assert rate(10**12, 10**12) == "1.000000" and rate(1, 0) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "date"),
        ("day,model,cost,currency\n2024-10-04,m,1,USD\n", '"day"'),
        ("date,model,cost\n2024-10-04,m,1\n", "no column currency"),
        (CSV + "yesterday,m,1,USD,1,1,1\n", "wanted a day"),
        (CSV + "2024-10-04,m,much,USD,1,1,1\n", "wanted an amount"),
        (CSV + "2024-10-04,m,NaN,USD,1,1,1\n", "wanted an amount"),
        (CSV + "2024-10-04,m,1,USD,-1,1,1\n", "whole number"),
        (CSV + "2024-10-04,m,1,USD,1,1,1\n2024-10-04,m,1,EUR,1,1,1\n", "one currency"),
        (CSV + "2024-10-04,m,1,usd,1,1,1\n", "ISO 4217"),
        (CSV, "no rows"),
        ("{", "no JSON"),
        ('{"rows": []}', "no list"),
    ],
)
def test_a_file_that_is_none_is_refused(store: Store, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BillingError, match=words):
        reconcile(store, written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match=r"gone\.csv"):
        read_file(tmp_path / "gone.csv")


def test_the_command_prints_a_line_for_each_day(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lode.cli.main import main

    path = written(tmp_path, CSV + "2024-10-04,small-4,0.000002,USD,2,20,10\n")
    assert main(["upstream", "reconcile", str(path), "--runs", str(tmp_path)]) == 0
    shown: Any = capsys.readouterr().out
    assert "captured 1.000000: 0.000002 of 0.000002 USD, 1 requests estimated" in shown
