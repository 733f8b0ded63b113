"""Documents and exports as files: what an accountant, a spreadsheet and a finance tool read."""

from __future__ import annotations

import csv
import json
import random
import re
import tracemalloc
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from lode.app.invoices import closing, export, files, focus, layout, notes, numbers, rerating, seller, usage
from lode.app.invoices.html import html
from lode.app.prices import subscriptions
from lode.core import money
from lode.core.errors import BillingError
from tests.unit.app.invoices.world import FEE, PLAN, STANDARD, TAXED, UNTAXED, World, made

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


def test_lines_of_two_plans_say_whose_they_are_and_of_one_plan_do_not(tmp_path: Path) -> None:
    world, body = billed(tmp_path)
    assert {row.text for row in layout.page(body).rows} == {"base", "requests"}
    world.plan(PLAN.replace("team", "big") + FEE.replace("30", "90"))
    world.turn("2026-12-16")
    subscriptions.change(world.store, "cli", "acme", "big", when="now", now_us=world.clock)
    (body,) = closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"]
    assert {row.text for row in layout.page(body).rows} == {"base (big@1)", "base, unused (team@1)"}


def font(path: Path, letters: str) -> Path:
    """A small TrueType font with a square for each letter."""
    names = [".notdef", *(f"g{ord(letter)}" for letter in letters)]
    pen = TTGlyphPen(None)
    for number, corner in enumerate(((0, 0), (0, 700), (700, 700), (700, 0))):
        (pen.lineTo if number else pen.moveTo)(corner)
    pen.closePath()
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder(names)
    made.setupCharacterMap({ord(letter): f"g{ord(letter)}" for letter in letters})
    made.setupGlyf(dict.fromkeys(names, pen.glyph()))
    made.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    made.setupHorizontalHeader(ascent=800, descent=-200)
    made.setupNameTable({"familyName": "Other", "styleName": "Regular", "psName": "Other"})
    made.setupOS2(sTypoAscender=800)
    made.setupPost()
    made.save(path)
    return path


def test_a_letter_that_no_font_has_leaves_the_pdf_out_and_says_why(tmp_path: Path) -> None:
    _, body = billed(tmp_path, name="株式会社 Ωmega Ltd")
    paths, warnings = files.write(body, tmp_path / "a", [font(tmp_path / "other.ttf", "株式会")])
    assert [Path(path).suffix for path in paths] == [".json", ".html"]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "2026-000001: no font has 社, so there is no PDF; the HTML shows it. Name a font file that has it in the"
    )
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    for name in ("broken.ttf", "missing.ttf"):
        (warning,) = files.write(body, tmp_path / "a", [tmp_path / name])[1]
        assert f'{name}", wanted a TrueType or OpenType font' in warning


def test_the_seller_file_names_fonts_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "seller.toml").write_text('fonts = ["other.ttf"]\n' + UNTAXED)
    assert seller.read(tmp_path / "seller.toml").fonts == (tmp_path / "other.ttf",)


def test_the_pdf_is_the_same_bytes_for_the_same_invoice(tmp_path: Path) -> None:
    _, body = billed(tmp_path, name="株式会社 Ωmega Ltd", zone="Asia/Tokyo")
    fonts = [font(tmp_path / "other.ttf", "株式会社")]
    paths, warnings = files.write(body, tmp_path / "a", fonts)
    again, _ = files.write(json.loads(json.dumps(body)), tmp_path / "b", fonts)
    first, second = (Path(found[2]).read_bytes() for found in (paths, again))
    assert first == second and first.startswith(b"%PDF-") and b"Other" in first
    assert warnings == []
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


def test_focus_columns_are_those_of_the_specification() -> None:
    """FOCUS 1.2, specification/requirements_model/model_rules/datasets/costandusage.json: -M must be present, -O is recommended."""
    assert set(focus.MANDATORY) == {
        "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
        "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost", "EffectiveCost",
        "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory",
        "ServiceName",
    }  # fmt: skip
    assert {"InvoiceId", "ChargeFrequency", "ServiceSubcategory"} <= set(focus.COLUMNS)
    # MUST be null where no price of one unit times the quantity is the cost; a column that is never filled is left out
    assert not {"ListUnitPrice", "ContractedUnitPrice", "RegionId", "RegionName"} & set(focus.COLUMNS)
    assert all(name.isalpha() and name[0].isupper() for name in focus.COLUMNS if not name.startswith("x_"))


def assert_focus(row: dict[str, str]) -> None:
    """The specification's rules on one row: specification/columns/*.md."""
    assert tuple(row) == focus.COLUMNS
    assert all(row[name] for name in focus.NEVER_EMPTY), row
    category, is_correction = row["ChargeCategory"], row["ChargeClass"] == "Correction"
    assert category in ("Usage", "Purchase", "Tax", "Credit", "Adjustment") and row["ChargeClass"] in ("", "Correction")
    assert row["ChargeFrequency"] in ("One-Time", "Recurring", "Usage-Based")
    assert not (category == "Purchase" and row["ChargeFrequency"] == "Usage-Based")
    assert row["ServiceCategory"] == "AI and Machine Learning" and row["ServiceSubcategory"] == "Other (AI and Machine Learning)"
    for name in focus.NUMBERS - {"x_Requests"}:
        assert re.fullmatch(r"-?\d+(\.\d{1,12})?", row[name]) or not row[name]
    for name in ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[name])
    assert row["BillingPeriodStart"] < row["BillingPeriodEnd"] and row["ChargePeriodStart"] < row["ChargePeriodEnd"]
    if category in ("Usage", "Purchase") and not is_correction:
        assert all(row[name] for name in ("PricingQuantity", "PricingUnit", "PricingCategory", "SkuId", "SkuPriceId"))
    if category == "Tax":
        assert not any(row[name] for name in ("PricingQuantity", "PricingUnit", "PricingCategory", "SkuId", "SkuPriceId"))
    if category == "Usage" and not is_correction:
        assert float(row["ConsumedQuantity"]) > 0 and row["ConsumedUnit"]
    assert category == "Usage" or not row["ConsumedQuantity"]
    for of in ("Resource", "SubAccount"):
        assert bool(row[f"{of}Id"]) == bool(row[f"{of}Name"]) == bool(row[f"{of}Type"])
    assert isinstance(json.loads(row["Tags"]), dict)


def test_focus_says_what_corrects_an_invoiced_period(tmp_path: Path) -> None:
    charges = STANDARD + '[[charges]]\nname = "words"\ntype = "tokens"\ninput = "1"\noutput = "2"\nper = 1000\n'
    world = made(tmp_path, PLAN.replace('"1"', '"15"') + FEE + charges)
    world.sells(TAXED)
    world.use(10, units={"requests": 1, "output_tokens": 7})
    world.turn("2026-11-17")
    (first,) = [
        body for body in closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"] if body["closes"]
    ]
    world.use(1, at="2026-11-13")
    world.use(2)
    world.plan(PLAN.replace('"1"', '"15"').replace("version = 1", "version = 2") + FEE + charges.replace("0.01", "0.02"))
    rerating.correct(world.store, "cli", "team@1", "team@2", "", "why", now_us=world.clock)
    world.turn("2026-12-17")
    (second,) = [
        body for body in closing.bill(world.store, "cli", "acme", world.seller, now_us=world.clock)["issued"] if body["closes"]
    ]
    path = tmp_path / "all.focus.csv"
    export.write(world.store, usage.asked("", "", ""), path, issuer="Seller", now_us=world.clock)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert_focus(row)
    for body in (first, second):
        mine = [row for row in rows if row["InvoiceId"] == body["number"]]
        assert sum(money.parse(row["BilledCost"], "x", least=None) for row in mine) == money.parse(body["total"], "x")
        assert {row["BillingPeriodStart"] for row in mine} == {body["period"]["start"]}
    found = [
        (row["InvoiceId"], row["ChargeClass"], row["BilledCost"], row["x_Requests"])
        for row in rows
        if row["SkuMeter"] == "requests"
    ]
    assert sorted(found) == [
        (first["number"], "", "0.1", "10"), (second["number"], "", "0.04", "2"), (second["number"], "Correction", "0.02", "1"),
        (second["number"], "Correction", "0.1", "0"),
    ]  # fmt: skip
    (words,) = [row for row in rows if row["SkuMeter"] == "words"]
    assert (words["ConsumedQuantity"], words["ConsumedUnit"]) == ("70", "Tokens")


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
        assert_focus(row)
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
