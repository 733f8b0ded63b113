"""`lode customers` and `lode keys`: what people type and what they see; the rules themselves are tested with the verbs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lode.cli.main import main

Say = Callable[..., str]


@pytest.fixture
def say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """`say("keys", "list")` gives what is printed; `code=2` where it must fail, and then what is said instead."""

    def run(*words: str, code: int = 0) -> str:
        assert main([*words, "--runs", str(tmp_path / "runs")]) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    return run


def parsed(say: Say, *words: str) -> Any:
    return json.loads(say(*words, "--json"))


def test_from_a_customer_to_a_key_and_back(say: Say) -> None:
    assert "found no books here. `lode customers add`" in say("customers", "list", code=2)
    say("customers", "user", "op@us.example", "--operator", "operator")
    assert "no customers yet" in say("customers", "list") and "no keys" in say("keys", "list")
    say("customers", "add", "acme", "--name", "Acme GmbH", "--currency", "EUR", "--address", "Weg 1", "--address", "Berlin")
    project = parsed(say, "customers", "project", "acme", "web")["id"]
    made = parsed(say, "keys", "create", "acme", "--project", project, "--expires", "90d", "--model", "big", "--scope", "predict")
    shown = say("keys", "create", "acme")
    assert "shown only now: lode_" in shown and "Authorization: Bearer" in shown
    listed = say("keys", "list", "acme")
    assert made["id"] in listed and made["key"] not in listed and listed.count("active") == 2
    assert f"{made['key'][:9]}..." in listed, "a key that was found somewhere is known by its beginning"
    rotated = say("keys", "rotate", made["id"], "--overlap", "1h")
    assert f"The old one ({made['key'][:9]}...) works until" in rotated
    say("keys", "revoke", made["id"], "--reason", "leaked")
    assert "revoked" in say("keys", "list", "acme")
    say("customers", "suspend", "acme", "--reason", "unpaid")
    assert "suspended" in say("customers", "list") and "unpaid" in say("customers", "show", "acme")
    say("customers", "resume", "acme")
    say("customers", "project", "acme", "--close", project)
    assert parsed(say, "customers", "close", "acme")["status"] == "closed"


def test_people_accounts_and_limits(say: Say) -> None:
    say("customers", "add", "acme", "--currency", "EUR", "--own")
    say("customers", "user", "jo@acme.example", "--organisation", "acme", "--role", "owner", "--name", "Jo")
    account = parsed(say, "customers", "account", "acme", "batch", "--role", "developer")["id"]
    say("keys", "limit", "organisation/acme", "600 requests/minute", "50.00 EUR/month")
    text = say("customers", "show", "acme")
    assert all(word in text for word in ("jo@acme.example", "owner", account, "600 requests/minute, 50 EUR/month", "own"))
    assert say("keys", "limit").split("\n")[0].split(maxsplit=1) == ["organisation/acme", "600 requests/minute"]
    assert "no limits" in say("keys", "limit", "organisation/acme", "--none")
    assert "operator" in say("customers", "user", "op@us.example", "--operator", "operator")
    say("customers", "change", "acme", "--zone", "Europe/Berlin")
    assert parsed(say, "customers", "show", "acme")["zone"] == "Europe/Berlin"
    say("customers", "account", "acme", "--close", account)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("keys",), "for ACTION, allowed: create, list, rotate, revoke, limit."),
        (
            ("keys", "creat", "acme"),
            'found "creat" for ACTION, allowed: create, list, rotate, revoke, limit. Did you mean "create"?',
        ),
        (
            ("keys", "create", "acme", "--scop", "x"),
            'which it does not take. Did you mean "--scope"? See `lode keys create --help`',
        ),
        (("keys", "limit", "key/key_1"), 'found "key/key_1", which does not exist'),
        (("keys", "limit", "--none"), "lode keys limit SUBJECT --none"),
        (("keys", "create", "nobody"), "does not exist"),
        (("keys", "rotate", "key_1"), "See `lode keys list`"),
        (("keys", "limit", "nothing", "5 rows/day"), "wanted key/ID"),
        (("customers", "add", "acme"), "--currency"),
        (("customers", "add", "acme", "--currency", "XXX"), "ISO 4217"),
        (("customers", "project", "acme"), "found no TITLE"),
        (("customers", "user", "jo@acme.example", "--role", "owner"), "found --role without --organisation"),
        (("customers", "list", "--books", "."), "found a folder, wanted the file of the books"),
        (("customers", "user", "jo@acme.example"), "--role"),
        (("customers", "access"), "no section oidc or ldap"),
    ],
)
def test_mistakes_are_said(say: Say, words: tuple[str, ...], text: str) -> None:
    if words[1:2] != ("add",):
        say("customers", "add", "acme", "--currency", "EUR")
    assert text in say(*words, code=2)


def test_no_action_at_all_names_the_actions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys"]) == 2
    assert capsys.readouterr().err.startswith("lode keys: found no ACTION, which is needed; ACTION is one of create, list, rotate,")


def test_a_misspelt_model_is_warned_of(say: Say, tmp_path: Path) -> None:
    say("customers", "add", "acme", "--currency", "EUR")
    (tmp_path / "runs" / "artifacts" / "card-default").mkdir(parents=True)
    assert "warning" not in say("keys", "create", "acme", "--model", "card-default")
    assert 'warning: no model "card-defualt" is in' in say("keys", "create", "acme", "--model", "card-defualt")


def test_json_is_understood_before_and_after_the_action(say: Say) -> None:
    say("customers", "add", "acme", "--currency", "EUR")
    assert json.loads(say("keys", "list", "--json")) == json.loads(say("keys", "--json", "list")) == {"keys": []}


def test_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from lode.cli.main import main; "
        f"assert main(['customers', 'add', 'acme', '--currency', 'EUR', '--runs', {str(tmp_path)!r}]) == 0; "
        f"assert main(['keys', 'list', '--runs', {str(tmp_path)!r}]) == main(['customers', 'list', '--runs', {str(tmp_path)!r}]) == 0; "
        "heavy = {'torch', 'polars', 'numpy', 'starlette', 'authlib', 'aiohttp', 'ldap3', 'cryptography'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
