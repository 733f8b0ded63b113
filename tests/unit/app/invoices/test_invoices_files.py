"""Documents and exports as files: what an accountant, a spreadsheet and a finance tool read."""

from __future__ import annotations

import csv
import json
import random
import tracemalloc
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.app.invoices import closing, export, files, focus, notes, numbers, usage
from lode.app.invoices.html import html
from lode.core import money
from lode.core.errors import BillingError
from tests.unit.app.invoices.world import FEE, PLAN, STANDARD, TAXED, World, made

NASTY = '<script>alert(1)</script> & "Söhne"'


def billed(tmp_path: Path, **customer: Any) -> tuple[World, dict[str, Any]]:
    world = made(tmp_path, PLAN + FEE + STANDARD, **customer)
    world.sells(TAXED)
    world.use(137)
    world.turn("2026-12-02")
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    return world, body


def test_a_page_has_what_the_law_asks_for_and_escapes_names(tmp_path: Path) -> None:
    _, body = billed(tmp_path, name=NASTY, address=["Hauptstraße 1", "80331 München"], tax_id="DE2")
    page = html(body)
    for text in (
        "Invoice 2026-000001",
        "Tax ID DE1",
        "Tax ID DE2",
        "80331 München",
        "VAT 19 %",
        "Total due",
        "2026-12-16",
        "137 requests",
        "UTC",
    ):
        assert text in page
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page == html(json.loads(json.dumps(body)))


def test_the_pdf_is_the_same_bytes_for_the_same_invoice(tmp_path: Path) -> None:
    _, body = billed(tmp_path, name="株式会社 Ωmega Ltd", zone="Asia/Tokyo")
    paths, warnings = files.write(body, tmp_path / "a")
    again, _ = files.write(json.loads(json.dumps(body)), tmp_path / "b")
    first, second = (Path(found[2]).read_bytes() for found in (paths, again))
    assert first == second and first.startswith(b"%PDF-")
    assert warnings == ["2026-000001: the PDF has no glyphs for 会式株社: boxes stand there; the HTML shows them"]
    assert [Path(path).name for path in paths] == ["2026-000001.json", "2026-000001.html", "2026-000001.pdf"]
    assert json.loads(Path(paths[0]).read_text()) == body


def test_a_pdf_of_many_lines_has_many_pages(tmp_path: Path) -> None:
    _, body = billed(tmp_path)
    body["lines"] = [{**body["lines"][1], "text": f"charge {place} " * 9} for place in range(80)]
    paths, _ = files.write(body, tmp_path)
    assert Path(paths[2]).read_bytes().count(b"/Type /Page\n") >= 4


def test_numbers_are_filled_in_without_reaching_into_objects() -> None:
    assert numbers.fill("INV-{year}-{number:04d}", 2026, 7) == "INV-2026-0007"
    for wrong in (
        "{number}",
        "{year}{year}{number}",
        "{number.__class__}{year}",
        "../{year}-{number}",
        "{year} {number}",
        "-{year}{number}",
    ):
        with pytest.raises(BillingError):
            numbers.check_template(wrong, "seller.toml:invoice_number")


def test_cells_that_a_spreadsheet_would_run_are_defused(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(1, provider="=HYPERLINK(1)")
    for place, text in enumerate(("+1", "-1", "@SUM(1)", "\tx", "plain")):
        world.use(1, provider=text, at=f"2026-11-0{place + 2}")
    path = tmp_path / "u.csv"
    export.write(world.store, usage.asked("acme", "", ""), path, now_us=world.clock)
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["provider"] for row in csv.DictReader(file)] == ["'=HYPERLINK(1)", "'+1", "'-1", "'@SUM(1)", "'\tx", "plain"]


def test_csv_and_parquet_hold_every_request_and_its_invoice(tmp_path: Path) -> None:
    world, body = billed(tmp_path)
    world.use(3)
    for suffix in ("csv", "parquet"):
        told = export.write(world.store, usage.asked("", "", ""), tmp_path / f"u.{suffix}", now_us=world.clock)
        assert told["rows"] == 140
    with (tmp_path / "u.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    frame = pl.read_parquet(tmp_path / "u.parquet")
    assert Counter(row["invoice"] for row in rows) == {body["number"]: 137, "": 3} == Counter(frame["invoice"])
    assert frame["amount"].dtype == pl.Decimal(38, 12) and str(frame["amount"].sum()) == "1.400000000000"
    assert sum(money.parse(row["amount"], "amount") for row in rows) == money.parse("1.4", "amount")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    with pytest.raises(BillingError, match=r"allowed: .focus.csv, .csv, .parquet"):
        export.write(world.store, usage.asked("", "", ""), tmp_path / "u.xlsx", now_us=world.clock)


def test_focus_rows_of_an_invoice_add_up_to_its_total(tmp_path: Path) -> None:
    world, body = billed(tmp_path)
    credit = notes.note(world.store, "cli", world.seller, body["number"], 2, "0.5", "wrong", now_us=world.clock)
    path = tmp_path / "n.focus.csv"
    export.write(world.store, usage.asked("", "2026-11-01", "2026-12-01"), path, issuer="Seller", now_us=world.clock)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sums: dict[str, int] = defaultdict(int)
    for row in rows:
        sums[row["InvoiceId"]] += money.parse(row["BilledCost"], "BilledCost", least=None)
        assert all(row[name] for name in focus.MANDATORY if name not in ("ChargeClass", "PricingQuantity", "PricingUnit"))
    assert sums == {body["number"]: money.parse(body["total"], "x"), credit["number"]: -money.parse(credit["total"], "x")}
    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Purchase", "Tax", "Credit"}
    used = [row for row in rows if row["ChargeCategory"] == "Usage"]
    assert [(row["ConsumedQuantity"], row["BilledCost"], row["ChargePeriodStart"]) for row in used] == [
        ("137", "1.37", "2026-11-01T00:00:00Z")
    ]


def test_totals_by_anything_agree(tmp_path: Path) -> None:
    world = made(tmp_path)
    chance = random.Random(0)
    for _ in range(20):
        world.use(1, at=f"2026-11-{chance.randint(1, 28):02d}", units={"requests": 1, "rows": chance.randint(0, 9)})
    for by in (["customer"], ["day"], ["key", "model"], ["customer", "day", "plan"]):
        found = usage.totals(world.store, usage.asked("acme", "", ""), by)
        assert sum(row["requests"] for row in found["totals"]) == 20
        assert sum(money.parse(row["amount"], "amount") for row in found["totals"]) == money.parse("0.2", "amount")
        assert (found["completeness"], found["leakage"]) == ("1", {"EUR": "0"})
    with pytest.raises(BillingError, match=r'by: found "modle".*Did you mean "model"'):
        usage.totals(world.store, usage.asked("", "", ""), ["modle"])
    for since, until in (("yesterday", ""), ("2026-11-02", "2026-11-01"), ("2026-11-02T10:00:00", "")):
        with pytest.raises(BillingError):
            usage.asked("", since, until)


def test_capture_is_our_cost_by_the_providers_bill(tmp_path: Path) -> None:
    world = made(tmp_path)
    world.use(3, cost=money.parse("1.5", "x"), cost_currency="USD", provider="openai")
    found = usage.totals(world.store, usage.asked("", "", ""), ["customer"], billed={"openai": "4.51"})
    assert found["capture"]["openai"] == {"computed": "4.5", "billed": "4.51", "rate": "0.997782705"}


def test_an_export_holds_one_page_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = made(tmp_path)
    for day in ("01", "02", "02", "02", "02"):
        world.use(200, at=f"2026-11-{day}")
    monkeypatch.setattr(usage, "PAGE", 50)
    peaks = []
    for until in ("2026-11-01T01:00:00Z", "2026-11-01T01:00:00Z", "2026-11-03"):  # the first run pays for imports
        tracemalloc.start()
        export.write(world.store, usage.asked("", "", until), tmp_path / "u.csv", now_us=world.clock)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1]  # five times the rows
