"""Keys: shown once, stored as a keyed hash, renewed with an overlap, refused for every reason there is."""

from __future__ import annotations

import hmac
import stat
import threading
from pathlib import Path

import pytest

from lode.app.access import credentials, keys, members, organisations
from lode.app.access.credentials import hmac_of, key_in, make_key, stored_pepper, well_formed
from lode.app.contracts import RequestError
from lode.core.errors import BillingError, ConflictError, ServeError
from tests.unit.app.access.world import World


def refusal(world: World, header: bytes | str | None) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        world.call(header)
    return caught.value.status, caught.value.type


def test_keys_carry_256_bits_and_a_checksum() -> None:
    made = {make_key() for _ in range(200)}
    assert len(made) == 200
    assert all(well_formed(key) and len(key) == credentials.LENGTH == 54 for key in made)
    key = made.pop()
    wrong = [key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :] for place in range(5, len(key))]
    assert not any(well_formed(text) for text in [*wrong, key[:-1], key + "a", "", "lode_", key.lower(), key.upper()])


def test_what_is_stored_of_a_key_is_hmac_sha_256_under_any_pepper() -> None:
    for pepper in (b"", b"p", b"q" * 32, b"r" * 64, b"s" * 65, bytes(range(256))):
        for key in ("", make_key(), "k" * 500):
            assert hmac_of(pepper, key) == hmac_of(pepper, key.encode()) == hmac.digest(pepper, key.encode(), "sha256")


def test_a_key_is_shown_once_and_lies_nowhere(world: World) -> None:
    world.customer()
    made = world.key(name="web")
    key = made["key"]
    assert world.call(f"Bearer {key}").key == made["id"]
    shown = keys.list_keys(world.store, now_us=world.now_us)["keys"][0]
    assert "key" not in shown and shown["secrets"][0]["begins"] == f"{key[:9]}..."
    assert key.encode() not in world.raw() and key[10:].encode() not in world.raw()
    assert hmac_of(world.pepper, key).hex() not in str(shown)


def test_the_caller_brings_what_the_gate_needs(world: World) -> None:
    world.customer(zone="Europe/Berlin", credit_line="12.5")
    project, account = world.project("web"), world.account("batch", "developer")
    made = world.key(project=project, account=account, scopes=["usage:read", "predict"], models=["big", "small"])
    world.limit("organisation/acme", "1000 requests/day")
    world.limit(f"project/{project}", "10 requests/second burst 50")
    world.limit(f"key/{made['id']}", "2 EUR/month of big")
    world.limit("model/big", "100 requests/minute")
    caller = world.call(f"bearer  {made['key']} ")
    assert (caller.organisation, caller.project, caller.account) == ("acme", project, account)
    assert caller.scopes == {"predict", "usage:read"} and caller.models == {"big", "small"}
    assert (caller.currency, caller.zone, caller.credit_line, caller.kind) == (
        "EUR",
        "Europe/Berlin",
        12_500_000_000_000,
        "customer",
    )
    assert [limit.subject.partition("/")[0] for limit in caller.limits] == ["key", "project", "organisation", "model"]
    assert world.directory().principal(caller).may("usage.read", "acme")
    assert not world.directory().principal(caller).may("key.create", "acme")


def test_expiry_is_to_the_microsecond(world: World) -> None:
    world.customer()
    key = world.key(expires="90d")["key"]
    world.later(90 * 24)
    world.time_us -= 1
    assert world.call(f"Bearer {key}")
    world.time_us += 1
    assert refusal(world, f"Bearer {key}") == (401, "expired_key")


def test_rotation_keeps_the_id_and_the_old_secret_for_the_overlap(world: World) -> None:
    world.customer()
    first = world.key()
    second = world.rotate(first["id"], "1h")
    assert second["id"] == first["id"] and second["key"] != first["key"]
    assert world.call(f"Bearer {first['key']}") == world.call(f"Bearer {second['key']}")
    world.later(1)
    assert refusal(world, f"Bearer {first['key']}") == (401, "expired_key")
    assert world.call(f"Bearer {second['key']}")
    third = world.rotate(first["id"], "0s")
    assert refusal(world, f"Bearer {second['key']}")[0] == 401
    assert world.call(f"Bearer {third['key']}")
    for _ in range(3):
        world.rotate(first["id"])
    with pytest.raises(ConflictError, match="0s"):
        for _ in range(3):
            world.rotate(first["id"])


def test_revoked_keys_and_their_overlap_are_refused_at_once(world: World) -> None:
    world.customer()
    first = world.key()
    second = world.rotate(first["id"])
    for _ in range(2):
        shown = keys.revoke(world.store, "cli", "acme", first["id"], "leaked", now_us=world.now_us)
        assert shown["state"] == "revoked"
    for key in (first["key"], second["key"]):
        assert refusal(world, f"Bearer {key}") == (401, "wrong_key")
    with pytest.raises(ConflictError, match="revoked"):
        world.rotate(first["id"])
    assert [kind for kind, _ in world.acts()].count("key.revoke") == 1


def test_suspension_closing_and_closed_things_stop_calls(world: World) -> None:
    world.customer()
    project, account = world.project("web"), world.account("batch")
    plain, in_project, of_account = world.key(), world.key(project=project), world.key(account=account)
    organisations.suspend(world.store, "cli", "acme", "unpaid", now_us=world.now_us)
    assert refusal(world, f"Bearer {plain['key']}") == (403, "organisation_suspended")
    organisations.resume(world.store, "cli", "acme", now_us=world.now_us)
    assert world.call(f"Bearer {plain['key']}")
    members.close_project(world.store, "cli", "acme", project, now_us=world.now_us)
    members.close_account(world.store, "cli", "acme", account, now_us=world.now_us)
    assert refusal(world, f"Bearer {in_project['key']}") == (403, "project_closed")
    assert refusal(world, f"Bearer {of_account['key']}") == (403, "account_closed")
    with pytest.raises(ConflictError, match="closed"):
        world.key(project=project)
    organisations.close(world.store, "cli", "acme", now_us=world.now_us)
    assert refusal(world, f"Bearer {plain['key']}") == (403, "organisation_closed")
    with pytest.raises(ConflictError, match="closed"):
        world.key()
    with pytest.raises(ConflictError, match="closed"):
        organisations.resume(world.store, "cli", "acme", now_us=world.now_us)


def test_another_tenants_things_are_as_if_not_there(world: World) -> None:
    world.customer("acme")
    world.customer("other")
    project, key = world.project("web", "other"), world.key("other")
    stranger = [
        lambda: world.key("acme", project=project),
        lambda: world.key("acme", account="svc_0000000000000000"),
        lambda: world.rotate(key["id"], slug="acme"),
        lambda: keys.revoke(world.store, "cli", "acme", key["id"], now_us=world.now_us),
        lambda: members.close_project(world.store, "cli", "acme", project, now_us=world.now_us),
    ]
    for act in stranger:
        with pytest.raises(BillingError, match="does not exist in acme"):
            act()
    assert world.call(f"Bearer {key['key']}").organisation == "other"


HOSTILE = [
    b"",
    b"Bearer",
    b"Bearer ",
    b"Basic bG9kZTpsb2Rl",
    b"Bearer ' OR '1'='1' --",
    b"Bearer lode_'; DROP TABLE documents; --",
    b"Bearer lode_" + b"0" * 49,
    b"Bearer " + b"A" * 1_000_000,
    b"Bearer lode_\x00" + b"0" * 48,
    b"Bearer \xff\xfe\x00\x01",
    "Bearer lode_\u0660\u0661\u0662".encode(),
    ("Bearer lode_" + "\U0001d7d8" * 49).encode(),
    b"Bearer lode_%s" % (b"\r\nx-admin: 1" * 4),
    b"\x00" * 512,
    b"Bearer Bearer Bearer",
]


@pytest.mark.parametrize("header", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_headers_are_refused_without_an_echo(world: World, header: bytes) -> None:
    world.customer()
    world.key()
    before = world.acts()
    with pytest.raises(RequestError) as caught:
        world.call(header)
    assert caught.value.status == 401 and caught.value.headers[0][0] == b"www-authenticate"
    assert "DROP" not in caught.value.message and "OR" not in caught.value.message and len(caught.value.message) < 200
    assert world.acts() == before


def test_a_long_header_is_refused_unread() -> None:
    with pytest.raises(RequestError, match="more than 512 bytes"):
        key_in(b"Bearer " + make_key().encode() + b" " * 1_000_000)


def test_truncated_mistyped_and_foreign_keys(world: World) -> None:
    world.customer()
    key = world.key()["key"]
    for text in (key[:-1], key[1:], key[:20] + ("A" if key[20] != "A" else "B") + key[21:], make_key(), key + key):
        assert refusal(world, f"Bearer {text}") == (401, "wrong_key")
    with pytest.raises(RequestError, match="mistyped or cut"):
        key_in(f"Bearer {key[:-1]}".encode())


def test_the_snapshot_is_renewed_by_what_changed_only(world: World) -> None:
    world.customer()
    made = world.key()
    first = world.directory()
    with world.store.view() as session:
        assert first.newer(session) is first
    keys.revoke(world.store, "cli", "acme", made["id"], now_us=world.now_us)
    other = world.key()
    with world.store.view() as session:
        second = first.newer(session)
    assert first.caller(hmac_of(world.pepper, made["key"]), world.time_us)  # the old snapshot never changes
    with pytest.raises(RequestError):
        second.caller(hmac_of(world.pepper, made["key"]), world.time_us)
    assert second.caller(hmac_of(world.pepper, other["key"]), world.time_us)


def test_scopes_end_where_the_role_of_the_account_ends(world: World) -> None:
    world.customer()
    with pytest.raises(BillingError, match="allowed for the role service: predict, outcomes, usage:read"):
        world.key(scopes=["admin:read"])
    reader = world.key(scopes=["admin:read"], account=world.account("reports", "viewer"))
    principal = world.directory().principal(world.call(f"Bearer {reader['key']}"))
    assert principal.may("key.read", "acme")
    assert not principal.may("key.create", "acme") and not principal.may("model.predict", "acme")
    assert not principal.may("key.read", "other") and not principal.may("organisation.list")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"scopes": []}, "at least one"),
        ({"scopes": ["predikt"]}, 'Did you mean "predict"'),
        ({"scopes": "predict"}, "at least one"),
        ({"models": ["../etc"]}, "name of a model"),
        ({"models": "big"}, "a list"),
        ({"models": [3]}, "name of a model"),
        ({"expires": "yesterday"}, "2027-01-31"),
        ({"expires": "2020-01-01"}, "to come"),
        ({"expires": "2027-02-01T00:00:00"}, "2027-01-31T12"),
        ({"expires": "9999-12-31"}, "year 3000"),
        ({"expires": "0001-01-01T00:00:00+23:59"}, "to come"),
        ({"expires": 17}, "wanted"),
        ({"name": "a\u202eb"}, "visible"),
        ({"name": "\x00"}, "visible"),
        ({"name": "x" * 201}, "1 to 200"),
        ({"naem": "x"}, 'Did you mean "name"'),
        ({"project": "prj_x"}, "does not exist"),
    ],
)
def test_what_a_key_may_not_be(world: World, fields: dict[str, object], text: str) -> None:
    world.customer()
    with pytest.raises(BillingError, match=text):
        world.key(**fields)
    assert [kind for kind, _ in world.acts()] == ["organisation.create"]


def test_the_pepper_is_made_once_and_is_the_owners(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(stored_pepper(tmp_path / "runs"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = tmp_path / "runs" / "pepper"
    assert len(set(found)) == 1 and len(found) == 8 and len(found[0]) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and [entry.name for entry in path.parent.iterdir()] == ["pepper"]
    path.chmod(0o644)
    with pytest.raises(ServeError, match="chmod 600"):
        stored_pepper(tmp_path / "runs")
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(ServeError, match="64 hex digits"):
        stored_pepper(tmp_path / "runs")
    with pytest.raises(ServeError, match="cannot be read"):
        stored_pepper(tmp_path, tmp_path / "none")


def test_books_know_their_pepper(world: World) -> None:
    world.customer()
    world.key()
    world.directory().check_pepper(world.pepper)
    with pytest.raises(ServeError, match="none would work"):
        world.directory().check_pepper(bytes(32))
    world.pepper = bytes(32)
    with pytest.raises(BillingError, match="--pepper-file"):
        world.key()
