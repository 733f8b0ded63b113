"""One model's worth: exact where outcomes are known, estimated and said so where not; a closed report is never changed (V3)."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest

from lode.app.books import journal
from lode.app.economics import sealed
from lode.app.economics.compute import model_facts
from lode.app.economics.margin import Terms
from lode.app.economics.page import page
from lode.app.economics.worth import worth
from lode.core.errors import BillingError
from tests.unit.app.economics.test_margin import SPAN
from tests.unit.app.economics.world import FLAT, START_US, World


def decide(world: World, chances: list[float]) -> None:
    """One request a day with one row each."""
    world.artifact()
    world.customer("acme", FLAT)
    with world.together():
        for number, chance in enumerate(chances):
            world.settle_said("acme", f"r{number}", [chance], rows=1, compute_us=1_000_000)
            world.later(1)


def look(world: World) -> dict[str, Any]:
    return worth(world.store, world.runs, "credit", SPAN, Terms(models=model_facts(world.runs)))


def test_known_outcomes_are_counted_exactly(world: World) -> None:
    decide(world, [0.9, 0.1, 0.8])
    for number, outcome in enumerate([1, 0, 0]):
        world.tell("acme", f"r{number}", {"row": 0, "outcome": outcome})
    found = look(world)
    assert found["value"]["total"] == "95" and found["value"]["per_decision"] == "31.666667"
    assert found["best_simple"] == "treat all", "100 - 5 - 5"
    assert (found["lead"], found["lead_known"], found["lead_estimated"], found["share_estimated"]) == ("5", "5", "0", "0")
    assert found["serving"]["revenue"] == "0.015" and found["serving"]["compute_cost"] == "0.003"
    assert found["serving"]["gross_margin"] == "0.8000"


def test_what_is_not_known_yet_is_estimated_and_said_so(world: World) -> None:
    decide(world, [0.9, 0.1, 0.5, 0.5])
    world.tell("acme", "r0", {"row": 0, "outcome": 1})
    world.tell("acme", "r1", {"row": 0, "outcome": 0})
    found = look(world)
    assert found["share_estimated"] == "0.5" and found["lead_known"] == "5"
    assert found["lead_estimated"] == "0", "both are treated, as treat all does"
    assert any(risk.startswith("50 % of the decisions are estimated") for risk in found["risks"])
    # 0.9 of (100, -5) is 89.5 and 0.1 of (-50, 0) is -5; 100 and 0 came true.
    assert Fraction(found["backtest"]["bias_per_decision"]) == (Fraction("-10.5") + Fraction(-5)) / 2


def test_without_any_outcome_everything_is_an_estimate(world: World) -> None:
    decide(world, [0.9, 0.01])
    found = look(world)
    assert found["value"] is None and found["share_estimated"] == "1" and found["best_simple"] == "treat all"
    # The second row: 0.01 * -50 = -0.5 untreated, 0.01 * 100 - 0.99 * 5 = -3.95 treated.
    assert found["lead"] == "3.45"
    assert "all of it is an estimate" in page(found)


def test_the_current_rule_is_a_rival_and_its_lead_goes_on(world: World) -> None:
    decide(world, [0.9, 0.1, 0.9, 0.1])
    world.tell("acme", "r0", {"row": 0, "outcome": 1, "rule": 1})
    world.tell("acme", "r1", {"row": 0, "outcome": 0, "rule": 0})
    world.tell("acme", "r2", {"row": 0, "outcome": 0, "rule": 0})
    found = look(world)
    assert [rival["name"] for rival in found["value"]["rivals"]] == ["the current rule", "treat all", "treat none"]
    assert found["best_simple"] == "the current rule" and found["lead_known"] == "-5"
    assert Fraction(found["lead_estimated"]) == pytest.approx(Fraction(-5, 3)), (
        "what it would do is not known: the known lead goes on"
    )


def test_cohorts_by_month_and_maturity(world: World) -> None:
    decide(world, [0.9] * 4)
    for number, happened in enumerate(["2026-11-05", "2026-11-20", "2027-03-01"]):
        world.tell("acme", f"r{number}", {"row": 0, "outcome": 1, "happened": happened})
    cohort = look(world)["cohorts"]
    assert cohort == [{
        "month": "2026-11", "decisions": 4, "within_days": {"<7": 1, "<30": 1, "<90": 0, ">=90": 1}, "pending": 1,
        "lead_known": "0", "lead_estimated": "0",
    }]  # fmt: skip


def test_return_and_what_it_hangs_on(world: World) -> None:
    decide(world, [0.9, 0.1] * 10)
    for number in range(20):
        world.tell("acme", f"r{number}", {"row": 0, "outcome": (number + 1) % 2})
    plan = look(world)["investment"]
    assert (plan["making"], plan["serving"], plan["lead"], plan["roi"]) == ("0.1", "0.02", "50", "415.6667")
    assert plan["payback_months"] == 1
    by_name = {bar["input"]: bar for bar in plan["tornado"]}
    assert Fraction(by_name["false positive"]["low"]) < Fraction(by_name["false positive"]["high"]), (
        "dear mistakes favour the model"
    )
    assert Fraction(by_name["serving"]["low"]) > Fraction(by_name["serving"]["high"])


def test_another_best_policy_may_follow_from_other_amounts(world: World) -> None:
    """At 20 % dearer false positives the best simple policy may be another one: the lead is counted against that."""
    world.artifact(true_positive="10", false_positive="-9", false_negative="0", true_negative="0")
    world.customer("acme", FLAT)
    for number in range(20):
        world.settle_said("acme", f"r{number}", [0.9 if number % 2 else 0.1], rows=1)
        world.tell("acme", f"r{number}", {"row": 0, "outcome": number % 2})
    found = look(world)
    assert found["best_simple"] == "treat all" and found["lead"] == "90"
    bar = next(bar for bar in found["investment"]["tornado"] if bar["input"] == "false positive")
    months = Fraction(30) / Fraction(487, 16)
    values = [sum(Fraction(lead) / months / (1 + Fraction(1, 120)) ** month for month in range(1, 13)) for lead in (72, 100)]
    assert [round(Fraction(bar[end]) + Fraction("0.1")) for end in ("low", "high")] == [round(value) for value in values]


def test_a_closed_report_is_restated_never_changed(world: World) -> None:
    """V3: labels that come late make a restatement that names what it restates; the closed document stays as it was."""
    decide(world, [0.9, 0.1, 0.8] * 9)
    world.later(10)
    generator = random.Random(0)
    first = close(world)
    assert first["id"] == "credit/2026-11" and first["restates"] is None
    kept = [stored(world, "credit/2026-11")]
    for step in range(2, 5):
        world.tell("acme", f"r{step}", {"row": 0, "outcome": generator.randint(0, 1)})
        again = close(world)
        assert again["id"] == f"credit/2026-11/{step}" and again["restates"]["new_outcomes"] == 1
        assert again["restates"]["sha256"] == kept[-1]["sha256"] and close(world) == again, "without news it is the same"
        kept.append(stored(world, again["id"]))
    assert [stored(world, body["id"]) for body in kept] == kept and all(map(sealed.is_whole, kept))
    assert kept[0]["report"]["outcomes_known"] == 0 and kept[-1]["report"]["outcomes_known"] == 3
    assert "This restates credit/2026-11/3" in page(kept[-1]["report"], kept[-1])
    assert not sealed.is_whole({**kept[0], "report": {**kept[0]["report"], "lead": "1000000"}})


def close(world: World) -> dict[str, Any]:
    terms = Terms(models=model_facts(world.runs))
    return sealed.close(world.store, "cli", world.runs, "credit", "2026-11", terms, now_us=world.now_us)


def stored(world: World, id: str) -> dict[str, Any]:
    with world.store.view() as session:
        document = journal.document(session, sealed.KIND, id)
    assert document is not None
    return document.body


def test_a_month_that_is_not_over_cannot_be_closed(world: World) -> None:
    for text, words in (("2026-11", "which is not over"), ("November", "wanted a month like 2026-11")):
        with pytest.raises(BillingError, match=words):
            sealed.month(text, START_US)


def test_a_model_without_a_value_block_and_one_that_is_not_there(world: World) -> None:
    world.artifact()
    with pytest.raises(BillingError, match=r'found no model credits, allowed: credit. Did you mean "credit"'):
        worth(world.store, world.runs, "credits", SPAN, Terms())
    path = world.runs / "artifacts" / "credit" / "1" / "artifact.json"
    path.write_text(path.read_text().replace('"policy"', '"other"'))
    world.customer("acme", FLAT)
    world.settle("acme", "r", rows=200, compute_us=1_000_000)
    found = look(world)
    assert (found["serving"]["revenue"], found["value"], found["investment"]) == ("1", None, None)
    assert found["risks"][-1].startswith("No value block") and "No decision of credit was kept" in page(found)


def test_the_page_is_one_file_and_escapes_what_others_wrote(world: World) -> None:
    decide(world, [0.9, 0.1] * 12)
    for number in range(24):
        world.tell("acme", f"r{number}", {"row": 0, "outcome": (number + 1) % 2})
    found = look(world)
    found["risks"].append("<script>alert(1)</script>")
    html = page(found)
    assert html.count("<svg") == 3 and "<script>" not in html and "http" not in html
    for words in ("Cost to serve", "Gross margin", "Share estimated", "Open risks", "Not causal", "24 blocks of one day"):
        assert words in html, words
