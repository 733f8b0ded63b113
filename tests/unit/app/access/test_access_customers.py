"""Customers, projects, people and limits: what may be written, and that nothing of a refused change stays."""

from __future__ import annotations

from typing import Any

import pytest

from lode.app.access import limits, members, organisations
from lode.app.access.directory import applying
from lode.app.access.limits import parse, text_of
from lode.app.contracts import Limit
from lode.core.errors import BillingError, ConflictError
from tests.unit.app.access.world import World


def test_a_customer_is_read_as_it_was_written(world: World) -> None:
    made = world.customer(
        name="Zoe\u0308 & S\u00f6hne", zone="Asia/Kathmandu", address=["Weg 1", "10115 Berlin"], country="DE", tax_id="DE123",
        email="Pay@Acme.Example", credit_line="0.000000000001",
    )  # fmt: skip
    assert made["name"] == "Zo\u00eb & S\u00f6hne" and made["email"] == "Pay@acme.example"
    with world.store.view() as session:
        found = organisations.found(session, "acme")
    assert found.credit_line == 1 and found.address == ("Weg 1", "10115 Berlin") and found.created_us == world.time_us
    assert organisations.show(world.store, "acme") == made
    changed = organisations.change(world.store, "cli", "acme", {"address": "A\nB", "country": ""}, now_us=world.now_us)
    assert changed["address"] == ["A", "B"] and changed["country"] == "" and changed["tax_id"] == "DE123"
    assert world.acts() == [("organisation.create", "acme"), ("organisation.change", "acme")]


@pytest.mark.parametrize(
    ("slug", "fields", "text"),
    [
        ("Acme", {}, "a-z, 0-9"),
        ("-a", {}, "beginning with"),
        ("a" * 41, {}, "at most 40"),
        ("a b", {}, "a-z"),
        ("a\n", {}, "a-z"),
        ("", {}, "a-z"),
        ("a'; DROP TABLE documents", {}, "a-z"),
        ("acme", {"name": ""}, "visible"),
        ("acme", {"name": "a\x07b"}, "visible"),
        ("acme", {"name": "a\nb"}, "one line"),
        ("acme", {"name": "a\u2028b"}, "one line"),
        ("acme", {"name": "x" * 1_000_000}, "1 to 200"),
        ("acme", {"name": 7}, "visible"),
        ("acme", {"currency": "EUX"}, "ISO 4217"),
        ("acme", {"currency": None}, "ISO 4217"),
        ("acme", {"currency": ["EUR"]}, "ISO 4217"),
        ("acme", {"zone": "Europe/Berlyn"}, 'Did you mean "Europe/Berlin"'),
        ("acme", {"zone": "../../etc/passwd"}, "time zone"),
        ("acme", {"zone": ""}, "time zone"),
        ("acme", {"zone": "A" * 10_000}, "time zone"),
        ("acme", {"country": "de"}, "ISO 3166"),
        ("acme", {"country": "XX"}, "ISO 3166"),
        ("acme", {"email": "nobody"}, "an address like"),
        ("acme", {"email": "a@b.c\r\nBcc: x@y.z"}, "an address like"),
        ("acme", {"credit_line": "-1"}, "0 or more"),
        ("acme", {"credit_line": "NaN"}, "an amount like"),
        ("acme", {"credit_line": 1.5}, "an amount like"),
        ("acme", {"address": ["x"] * 7}, "at most 6"),
        ("acme", {"address": {"street": "x"}}, "at most 6"),
        ("acme", {"kind": "friend"}, "customer, own"),
        ("acme", {"status": "active"}, "allowed: name, currency"),
    ],
)
def test_what_a_customer_may_not_be(world: World, slug: str, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(BillingError, match=text) as caught:
        world.customer(slug, **fields)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    assert world.acts() == []


def test_short_names_are_given_once_for_ever(world: World) -> None:
    world.customer()
    organisations.close(world.store, "cli", "acme", now_us=world.now_us)
    with pytest.raises(ConflictError, match="exists already"):
        world.customer()
    with pytest.raises(BillingError, match='Did you mean "acme"'):
        organisations.show(world.store, "acmee")
    with pytest.raises(BillingError, match="nothing to change"):
        organisations.change(world.store, "cli", "acme", {}, now_us=world.now_us)
    with pytest.raises(BillingError, match="allowed: name"):
        organisations.change(world.store, "cli", "acme", {"currency": "USD"}, now_us=world.now_us)


def test_names_inside_a_customer_are_unique_while_they_are_used(world: World) -> None:
    world.customer()
    world.customer("other")
    first = world.project("Web")
    world.project("Web", "other")
    with pytest.raises(ConflictError, match="has already"):
        world.project("WEB")
    members.close_project(world.store, "cli", "acme", first, now_us=world.now_us)
    world.project("web")
    with pytest.raises(BillingError, match=r'role: found "root"'):
        world.account("x", "root")


def test_people_have_roles_by_organisation(world: World) -> None:
    world.customer()
    world.customer("other")
    world.user(email="jo@acme.example", organisation="acme", role="owner", name="Jo")
    world.user(email="JO@acme.example", organisation="other", role="viewer")
    inside = members.inside(world.store, "acme")
    assert inside["users"][0] | {"id": ""} == {"id": "", "email": "jo@acme.example", "name": "Jo", "role": "owner"}
    with pytest.raises(ConflictError, match="last owner"):
        world.user(email="jo@acme.example", organisation="acme", role="")
    world.user(email="al@acme.example", organisation="acme", role="owner")
    world.user(email="jo@acme.example", organisation="acme", role="")
    assert [user["email"] for user in members.inside(world.store, "acme")["users"]] == ["al@acme.example"]
    world.user(email="op@us.example", operator="finance")
    assert [user["operator"] for user in members.operators(world.store)["users"]] == ["finance"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"email": "a@b.example"}, "of role, operator and login"),
        ({"email": "a@b.example", "role": "owner", "operator": "operator"}, "of role, operator and login"),
        ({"email": "", "operator": "operator"}, "email and id"),
        ({"email": "a@b.example", "operator": "owner"}, "allowed: operator, finance"),
        ({"email": "a@b.example", "role": "operator", "organisation": "acme"}, "allowed: owner, admin"),
        ({"email": "a@b.example", "role": "owner", "organisation": "none"}, "does not exist"),
        ({"email": "a@b.example", "role": "owner"}, "organisation: found"),
    ],
)
def test_what_a_person_may_not_be(world: World, fields: dict[str, Any], text: str) -> None:
    world.customer()
    with pytest.raises(BillingError, match=text):
        world.user(**fields)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("600 requests/minute", Limit("s", "requests", 600, "minute", "", 600)),
        ("10 requests/second burst 50", Limit("s", "requests", 10, "second", "", 50)),
        ("1_000_000 input_tokens/day of big-1", Limit("s", "input_tokens", 1_000_000, "day", "big-1")),
        ("50.25 EUR/month", Limit("s", "money", 50_250_000_000_000, "month")),
        ("0 rows/total", Limit("s", "rows", 0, "total")),
    ],
)
def test_limits_are_written_as_people_say_them(text: str, limit: Limit) -> None:
    assert parse(text, "s", "EUR") == limit
    assert parse(text_of(limit, "EUR"), "s", "EUR") == limit
    assert limit.is_rate == (limit.window in ("second", "minute")) and "|" not in limit.name


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("600", "600 requests/minute"),
        ("600 request/minute", 'Did you mean "requests"'),
        ("600 requests/year", "second, minute, hour, day, month, total"),
        ("0 requests/minute", "1 or more"),
        ("-5 requests/day", "wanted one like"),
        ("1.5 rows/day", "whole number"),
        ("99999999999999999 rows/day", "whole number"),
        ("50 USD/month", "its currency, EUR"),
        ("50 EUR/minute", "day, month, total"),
        ("NaN EUR/month", "wanted one like"),
        ("5 rows/day burst 9", "only per second"),
        ("5 rows/day of ../x", "name of a model"),
        ("9" * 100_000, "wanted one like"),
        ({"unit": "requests", "amount": 5, "window": "minute", "brust": 3}, 'Did you mean "burst"'),
        ({"unit": "requests", "amount": True, "window": "minute"}, "whole number"),
        ({"unit": "requests", "amount": 2.5, "window": "minute"}, "whole number"),
        ({"unit": "EUR", "amount": 2.5, "window": "month"}, "an amount like"),
        ({"unit": ["EUR"], "amount": "2", "window": "month"}, "unit: found"),
        ({"unit": "requests", "amount": 5}, "window: found"),
        (17, "wanted a limit like"),
    ],
)
def test_what_a_limit_may_not_be(world: World, written: Any, text: str) -> None:
    world.customer()
    with pytest.raises(BillingError, match=text):
        world.limit("organisation/acme", "5 rows/day", written)
    assert limits.show_limits(world.store)["limits"] == []


def test_limits_of_a_subject_are_replaced_whole(world: World) -> None:
    world.customer()
    world.limit("organisation/acme", "5 rows/day", "5 EUR/month")
    world.limit("organisation/acme", {"unit": "EUR", "amount": "7.5", "window": "total"})
    assert limits.show_limits(world.store, "acme")["limits"][0]["limits"] == ["7.5 EUR/total"]
    world.limit("organisation/acme")
    assert limits.show_limits(world.store)["limits"] == []
    with pytest.raises(BillingError, match="one per unit"):
        world.limit("organisation/acme", "5 rows/day", "6 rows/day")
    for subject in ("organisation/none", "key/key_1", "acme", "model/A B", "file/x", 7):
        with pytest.raises(BillingError, match=r"does not exist|wanted"):
            world.limit(subject, "5 rows/day")
    with pytest.raises(BillingError, match="no sum"):
        world.limit("model/big", "5 EUR/month")


def test_people_without_an_address_are_named_by_their_id(world: World) -> None:
    world.customer()
    made = world.user(email="jo@acme.example", organisation="acme", role="viewer")
    assert world.user(id=made["id"], operator="auditor")["operator"] == "auditor"
    assert world.user(id=made["id"], login="refuse")["status"] == "closed"
    assert world.user(id=made["id"], login="allow")["status"] == "active"
    for fields in ({"id": "usr_0"}, {"id": made["id"], "email": "jo@acme.example"}, {}, {"id": 7}):
        with pytest.raises(BillingError, match=r"does not exist|email and id"):
            world.user(**fields, operator="")
    with pytest.raises(BillingError, match=r'Did you mean "refuse"'):
        world.user(id=made["id"], login="refused")


def test_a_limit_holds_for_its_model_only() -> None:
    everywhere, big, shared = (
        Limit("key/k", "rows", 1, "day"),
        Limit("key/k", "rows", 2, "day", "big"),
        Limit("model/small", "rows", 3, "day"),
    )
    found = (everywhere, big, shared)
    assert applying(found, "big") == (everywhere, big)
    assert applying(found, "small") == (everywhere, shared)
    assert applying(found, "model/small") == (everywhere,)
