"""Outcomes reported later: once for each row, joined to what was predicted, never to another customer's request."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from starlette.applications import Starlette

from lode.app.answering import Desk
from lode.app.books import predictions
from lode.app.contracts import Caller, RequestError
from lode.app.economics.outcomes import UnknownRequestError, read
from lode.app.economics.valued import gather, valued
from lode.app.metering.open_gate import OpenGate
from lode.app.monitor import RowMonitor
from lode.app.outcomes import Outcomes
from lode.app.routes import route
from lode.core.errors import BillingError, ConflictError
from lode.testing.protocol import Sample
from tests.unit.app.economics.test_margin import SPAN
from tests.unit.app.economics.world import World


def asked(world: World) -> None:
    world.artifact()
    world.customer("acme")
    world.customer("beta")
    world.settle_said("acme", "r1", [0.9, 0.2, 0.6])
    world.later(5)


def rows(world: World) -> list[Any]:
    with world.store.view() as session:
        model = valued(world.runs, "credit", 1)
        assert model is not None
        return gather(session, model, SPAN).rows


def test_an_outcome_is_joined_to_what_was_decided(world: World) -> None:
    asked(world)
    assert world.tell("acme", "r1", {"row": 0, "outcome": 1, "rule": 0}, {"row": 2, "outcome": 0}) == {
        "request_id": "r1", "recorded": 2, "repeated": 0,
    }  # fmt: skip
    first, second, third = rows(world)
    assert (first.action, first.prediction, first.truth, first.rule, first.told_us) == (1.0, 0.9, 1.0, 0, world.time_us)
    assert (second.action, second.truth) == (0.0, None) and (third.action, third.truth) == (1.0, 0.0)


def test_a_misspelt_class_is_no_outcome(world: World) -> None:
    """It would count as the other class, and the value of the model would be wrong."""
    asked(world)
    columns = {"tumour.probability.benign": [0.1], "tumour.probability.malignant": [0.9], "tumour.decision": [True]}
    kept = ("acme", "r9", "credit", 1, world.time_us, predictions.kept(columns, 1))
    world.store.transact(lambda session: predictions.insert(session, [kept]))
    with pytest.raises(BillingError, match=r"found 'malign', allowed: benign, malignant\. Did you mean .malignant."):
        world.tell("acme", "r9", {"row": 0, "outcome": "malign"})
    assert world.tell("acme", "r9", {"row": 0, "outcome": "malignant"})["recorded"] == 1


def test_the_same_again_is_nothing_new_and_another_is_a_conflict(world: World) -> None:
    asked(world)
    world.tell("acme", "r1", {"row": 0, "outcome": 1})
    assert world.tell("acme", "r1", {"row": 0, "outcome": 1})["repeated"] == 1
    with pytest.raises(ConflictError, match=r'r1, row 0: another outcome was reported.*"corrects": 1'):
        world.tell("acme", "r1", {"row": 0, "outcome": 0}, {"row": 1, "outcome": 1})
    assert [row.truth for row in rows(world)] == [1.0, None, None], "all or none"


def test_a_correction_replaces_and_the_journal_keeps_both(world: World) -> None:
    asked(world)
    world.tell("acme", "r1", {"row": 0, "outcome": 1})
    world.tell("acme", "r1", {"row": 0, "outcome": 0, "corrects": 1})
    assert rows(world)[0].truth == 0.0
    with world.store.view() as session:
        assert session.rows("SELECT COUNT(*) FROM journal WHERE kind = 'outcome.report'")[0][0] == 2


def test_another_customers_request_is_not_there(world: World) -> None:
    asked(world)
    messages = []
    for id in ("r1", "never"):
        with pytest.raises(UnknownRequestError) as error:
            world.tell("beta", id, {"row": 0, "outcome": 1})
        messages.append(str(error.value).replace(id, "ID"))
    assert messages[0] == messages[1], "nothing tells them apart"


def test_predictions_are_forgotten_but_not_those_whose_outcome_is_known(world: World) -> None:
    asked(world)
    world.tell("acme", "r1", {"row": 0, "outcome": 1})
    world.later(200)
    assert world.store.transact(lambda session: predictions.purge(session, world.time_us)) == 1
    assert [(row.number, row.truth) for row in rows(world)] == [(0, 1.0)]
    assert world.tell("acme", "r1", {"row": 0, "outcome": 1})["repeated"] == 1
    with pytest.raises(UnknownRequestError):
        world.tell("acme", "r1", {"row": 1, "outcome": 1})


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"row": 3, "outcome": 1}, "found row 3, the request had 3, counted from 0"),
        ({"row": -1, "outcome": 1}, "wanted a whole number"),
        ({"row": True, "outcome": 1}, "wanted a whole number"),
        ({"row": 0}, 'found no "outcome"'),
        ({"row": 0, "outcome": None}, "wanted 0 or 1, or a number"),
        ({"row": 0, "outcome": float("nan")}, "wanted 0 or 1, or a number"),
        ({"row": 0, "outcome": float("inf")}, "wanted 0 or 1, or a number"),
        ({"row": 0, "outcome": 10**30}, "wanted 0 or 1, or a number"),
        ({"row": 0, "outcome": "x" * 65}, "wanted 0 or 1, or a number"),
        ({"row": 0, "outcom": 1}, 'Did you mean "outcome"'),
        ({"row": 0, "outcome": 1, "happened": "yesterday"}, "wanted a time with its offset"),
        ({"row": 0, "outcome": 1, "happened": "2026-11-30T12:00:00"}, "wanted a time with its offset"),
        ({"row": 0, "outcome": 1, "amounts": {"margin": 1.5}}, "wanted an amount"),
        ({"row": 0, "outcome": 1, "amounts": []}, None),
        ({"row": 0, "outcome": 1, "amounts": ["a"]}, "wanted columns with amounts"),
        ("1", "wanted an object"),
    ],
)
def test_what_is_no_outcome_is_named(world: World, item: Any, words: str | None) -> None:
    asked(world)
    if words is None:
        assert world.tell("acme", "r1", item)["recorded"] == 1
        return
    with pytest.raises(BillingError, match=words):
        world.tell("acme", "r1", item)


def test_lists_that_are_empty_too_long_or_name_a_row_twice(world: World) -> None:
    asked(world)
    for items, words in (([], "wanted a list of 1 to 2,000"), ([{"outcome": 1}] * 2, "found row 0 twice")):
        with pytest.raises(BillingError, match=words):
            world.tell("acme", "r1", *items)


def test_only_plain_cells_of_bounded_size_are_kept() -> None:
    columns = {"p": [0.5, 0.25], "text": ["x" * 100, "y"], "vector": [[1, 2], [3]], "word": ["a", None]}
    assert orjson.loads(predictions.kept(columns, 2)) == {"rows": 2, "columns": {"p": [0.5, 0.25], "word": ["a", None]}}
    assert orjson.loads(predictions.kept({"p": [0.123456789012] * 10_000}, 10_000)) == {"rows": 10_000, "columns": {}}


class _Gate(OpenGate):
    """Everybody is a customer with the scope, but for whoever shows no key."""

    async def authorize(self, headers: Any, scope: str = "predict") -> Caller:
        if b"authorization" not in headers:
            raise RequestError(401, "no_key", "no key.")
        assert scope == "outcomes"
        return Caller("key_1", headers[b"authorization"].decode(), "prj_1", "key_1")


def talk(world: World, *bodies: Any, customer: str | None = "acme", together: bool = False) -> list[httpx.Response]:
    model = Sample()
    monitor = RowMonitor(name=model.name, version=model.version, hash=model.hash)
    desk = Desk(model, _Gate(), monitor, max_body_bytes=10_000, body_timeout_s=1.0)
    app = Starlette(routes=[route(Outcomes(desk, world.store, world.now_us))])

    async def main() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
            headers = {"content-type": "application/json"} | ({} if customer is None else {"authorization": customer})
            if together:
                return await asyncio.gather(*(client.post("/v1/outcomes", content=body, headers=headers) for body in bodies))
            return [await client.post("/v1/outcomes", content=body, headers=headers) for body in bodies]

    return asyncio.run(main())


def test_the_endpoint_records_and_refuses_in_https_words(world: World) -> None:
    asked(world)
    good = orjson.dumps({"request_id": "r1", "outcomes": [{"row": 0, "outcome": 1}]})
    other = orjson.dumps({"request_id": "r1", "outcomes": [{"row": 0, "outcome": 0}]})
    unknown = orjson.dumps({"request_id": "r2", "outcomes": [{"row": 0, "outcome": 0}]})
    bodies = [
        good,
        good,
        other,
        unknown,
        b"{",
        b"[]",
        b'{"request_id": "", "outcomes": []}',
        b'{"request_id": "r1", "outcomes": 1}',
    ]
    answers = talk(world, *bodies)
    assert [answer.status_code for answer in answers] == [200, 200, 409, 404, 400, 422, 422, 422]
    assert answers[1].json() == {"request_id": "r1", "recorded": 0, "repeated": 1}
    assert talk(world, good, customer="beta")[0].status_code == 404 and talk(world, good, customer=None)[0].status_code == 401


def test_too_many_reports_at_once_are_told_to_wait(world: World) -> None:
    asked(world)
    body = orjson.dumps({"request_id": "r1", "outcomes": [{"row": 0, "outcome": 1}]})
    answers = talk(world, *[body] * 80, together=True)
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
    assert sum(answer.json()["recorded"] for answer in answers if answer.status_code == 200) == 1


def test_outcomes_that_are_nested_deeply_are_told_not_stumbled_over() -> None:
    deep = orjson.loads("[" * 1000 + "]" * 1000)
    parts: list[dict[str, Any]] = [{"outcome": deep}, {"row": deep}, {"amounts": deep}, {"amounts": {"a": deep}}]
    for item in (deep, *({"outcome": 1, **part} for part in parts)):
        with pytest.raises(BillingError) as caught:
            read([item])
        assert len(str(caught.value)) < 300
