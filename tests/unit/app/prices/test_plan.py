"""A plan's file: every problem of it at once, with the line, what is allowed and what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lode.app.prices.plan import Plan, read_plan
from lode.core import money
from lode.core.errors import BillingError

HEAD = 'name = "team"\nversion = 1\ncurrency = "EUR"\n'
CHARGE = '[[charges]]\nname = "calls"\ntype = "standard"\nprice = "0.01"\n'
ONE = HEAD + '[[charges]]\nname = "t"\ntype = "{}"\n'
FALLING = '{up_to = 9, price = "2"}, {price = "1"}'
TIERED = '[[charges]]\nname = "rows"\ntype = "{}"\nunit = "rows"\ntiers = [{}]\n'


def read(text: str, folder: Path) -> Plan:
    path = folder / "team.toml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path)


def problem(text: str, folder: Path) -> str:
    with pytest.raises(BillingError) as caught:
        read(text, folder)
    return str(caught.value)


def test_a_whole_plan_is_read(tmp_path: Path) -> None:
    text = (
        'name = "team"\nversion = 3\ncurrency = "EUR"\nperiod = "month"\nanchor = 31\ntrial_days = 14\ncap = "500"\n'
        'limits = ["600 requests/minute", "50.00 EUR/month of big"]\n[[fees]]\nname = "base"\namount = "49.00"\n'
        '[[charges]]\nname = "calls"\nmodel = "big"\ntype = "standard"\nprice = "0.0000015"\nfree = 100\ncap = "20"\n'
        '[[charges]]\nname = "rest"\nmodel = "others"\ntype = "standard"\nprice = 1\n[[charges]]\nname = "least"\ntype = "minimum"\n'
        'amount = "10"\nof = ["calls"]\n'
    )
    plan = read(text, tmp_path)
    assert (plan.id, plan.anchor, plan.trial_days, plan.cap) == ("team@3", "31", 14, 500 * money.UNIT)
    assert plan.fees[0].amount == 49 * money.UNIT and plan.charges[0].cap == 20 * money.UNIT
    assert [item.name for item in plan.for_model("big")] == ["calls"]
    assert [item.name for item in plan.for_model("small")] == ["rest"]
    assert Plan.of(plan.record) == plan and Plan.of(plan.record).hash == plan.hash


def test_the_record_holds_every_default(tmp_path: Path) -> None:
    """So that another lode, with other defaults, bills the same."""
    record = read(HEAD + CHARGE, tmp_path).record
    assert record["period"] == "month" and record["counters"] == "restart"
    assert record["charges"] == [
        {"name": "calls", "model": "*", "type": "standard", "price": "0.01", "unit": "requests", "per": 1, "free": 0}
    ]


def test_all_problems_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    text = (
        'name = "Team A"\nversion = 0\ncurrency = "eur"\nperiods = "month"\n\n[[fees]]\nname = "base"\namount = "-1"\n\n[[charges]]\n'
        'name = "calls"\ntype = "standrd"\n\n[[charges]]\nname = "rows"\ntype = "standard"\nprice = "NaN"\nfre = 3\n'
    )
    lines = problem(text, tmp_path).replace(str(tmp_path), "").splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "/team.toml:4:", "/team.toml:1:", "/team.toml:2:", "/team.toml:3:", "/team.toml:8:", "/team.toml:12:", "/team.toml:17:",
        "/team.toml:18:",
    ]  # fmt: skip
    text = "\n".join(lines)
    for wanted in (
        'Did you mean "period"?',
        'Did you mean "EUR"?',
        'Did you mean "standard"?',
        'Did you mean "free"?',
        "0 or more",
    ):
        assert wanted in text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (HEAD + CHARGE.replace('"0.01"', "0.01"), 'charges[0].price: found 0.01 without quotes, allowed: text, .* Write "0.01"'),
        (HEAD + CHARGE.replace('"0.01"', "1e-3"), "charges[0].price: found 1e-3, allowed: an amount in quotes"),
        (HEAD + CHARGE.replace('"0.01"', "nan"), "charges[0].price: found nan, allowed: an amount in quotes"),
        (HEAD + CHARGE.replace('"0.01"', '"-0.01"'), "charges[0].price: found .*-0.01.*, allowed: an exact amount, at least 0"),
        (HEAD + CHARGE.replace('"0.01"', '"0.0000000000001"'), "charges[0].price: found .*at most 12 decimals"),
        (HEAD + CHARGE.replace('"0.01"', '"9999999999999999"'), "charges[0].price: found .*Check the decimal point"),
        (HEAD + CHARGE.replace('"0.01"', "9" * 400), 'charges[0].price: found "999.*at most 12 decimals'),
        (HEAD + CHARGE + 'currency = "USD"\n', 'charges[0].currency: found "USD" in a plan in EUR, allowed: one currency'),
        (HEAD + CHARGE + 'unit = "row"\n', 'charges[0].unit: found "row", allowed: .*Did you mean "rows"'),
        (HEAD + CHARGE + CHARGE, 'charges[1].name: found "calls" twice'),
        (HEAD + CHARGE + 'model = ""\n', "charges[0].model: found"),
        (HEAD + CHARGE + "cap = 1.5\n", "charges[0].cap: found 1.5 without quotes"),
        (HEAD + TIERED.format("graduated", '{up_to = 9, price = "1"}'), "tiers[0].up_to: found 9 in the last tier, .*Add a tier without"),
        (HEAD + TIERED.format("volume", '{price = "1"}, {price = "2"}'), "tiers[0].up_to: found nothing, allowed: only the last tier"),
        (HEAD + TIERED.format("graduated", '{up_to = 9, price = "1"}, {up_to = 9, price = "1"}, {price = "1"}'),
         "tiers[1].up_to: found 9, allowed: 10 or more: .*overlap"),
        (HEAD + TIERED.format("graduated", '{up_to = 9, price = "1"}, {up_to = 3, price = "1"}, {price = "1"}'),
         "tiers[1].up_to: found 3, allowed: 10 or more: .*ascending"),
        (HEAD + TIERED.format("graduated", '{up_to = 0, price = "1"}, {price = "1"}'), "tiers[0].up_to: found 0, allowed: 1 or more"),
        (HEAD + TIERED.format("graduated", '{up_to = 9, prise = "1"}, {price = "1"}'), 'tiers[0].prise: found "prise".*mean "price"'),
        (HEAD + TIERED.format("graduated", '{price = "1", flat = "2"}'), "flat_at_zero: found nothing beside a flat in the first tier"),
        (HEAD + TIERED.format("graduated", '{price = 0.5}'), "charges[0].tiers[0].price: found 0.5 without quotes"),
        (HEAD + TIERED.format("graduated", ""), "tiers: found 0 tiers"),
        (HEAD + 'cap = "5"\n' + TIERED.format("volume", FALLING), "cap: found beside a `volume` charge"),
        (HEAD + TIERED.format("volume", FALLING) + 'cap = "5"\n', "charges[0].cap: found on a volume charge"),
        (ONE.format("tokens") + 'input = "1"\noutput = "2"\n', "charges[0].per: found nothing, allowed: 1, 1000, 1000000"),
        (ONE.format("percentage") + 'rate = "0.1"\nminimum = "3"\nmaximum = "2"\n', "maximum: found 2, allowed: at least"),
        (ONE.format("cost_plus") + 'markup = "0.1234567"\n', "markup: found 0.1234567, allowed: at most 6 decimals"),
        (ONE.format("cost_plus") + 'markup = "0"\nexchange = "2"\n', "exchange: found 2 without provider_currency"),
        (HEAD + CHARGE + '[[charges]]\nname = "m"\ntype = "minimum"\namount = "1"\nof = ["cals"]\n',
         'charges[1].of: found "cals".*Did you mean "calls"'),
        (HEAD + "anchor = 32\n", "anchor: found 32, allowed in a plan by month: a day from 1 to 31"),
        (HEAD + 'period = "year"\nanchor = "02-30"\n', "anchor: found .02-30., allowed in a plan by year"),
        (HEAD + 'period = "day"\nanchor = 3\n', "anchor: found 3, allowed in a plan by day: none"),
        (HEAD + 'limits = ["often"]\n', "limits[0]: found .often., allowed: text such as"),
        (HEAD + 'fees = "50"\n', "fees: found .50., allowed: .*Begin each with"),
        (HEAD + '[[fees]]\nname = "base"\namount = "1"\ndue = "later"\n', "fees[0].due: found .later., allowed: advance, arrears"),
        (HEAD + '[[fees]]\nname = "base"\namount = 49.5\n', 'fees[0].amount: found 49.5 without quotes'),
        (HEAD + "trial_days = true\n", "trial_days: found true, allowed: a whole number"),
        (HEAD + "version = 2\n", "found no TOML"),
        (HEAD.replace("1", "9" * 50), "version: found a number of more than 40 digits"),
        ("", "name: found nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named(text: str, wanted: str, tmp_path: Path) -> None:
    found = problem(text, tmp_path)
    pattern = re.sub(r"\[(\d+)\]", r"\\[\1\\]", wanted)
    assert re.search(pattern, found, re.DOTALL), found
    assert len(found.splitlines()) <= 4, found


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(BillingError, match="cannot be read"):
        read_plan(tmp_path / "none.toml")
    with pytest.raises(BillingError, match="cannot be read"):
        read_plan(tmp_path)
    (tmp_path / "digits.toml").write_text(f"version = {'9' * 5000}")
    with pytest.raises(BillingError, match="a value that is too large"):
        read_plan(tmp_path / "digits.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(BillingError, match="which is no plan"):
        read_plan(tmp_path / "large.toml")


def test_volume_pricing_that_falls_is_warned_of(tmp_path: Path) -> None:
    falling = read(HEAD + TIERED.format("volume", '{up_to = 9, price = "2"}, {price = "1"}'), tmp_path)
    rising = read(HEAD + TIERED.format("volume", '{up_to = 9, price = "1"}, {price = "2"}'), tmp_path)
    assert "one more unit can lower the bill" in falling.warnings[0] and not rising.warnings
