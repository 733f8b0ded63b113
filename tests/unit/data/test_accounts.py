"""User and password come from where the file says, and are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from lode.core.errors import DataError
from lode.data.access.accounts import Account, read_account
from lode.data.place import Place


def secrets(folder: Path, text: str, mode: int = 0o600) -> Place:
    path = folder / "secrets.json"
    path.write_text(text)
    path.chmod(mode)
    return Place(folder)


def test_the_environment_and_a_file_give_an_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_USER", "ann")
    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    assert read_account(Place(tmp_path), "db", "DB_USER", "DB_PASSWORD", None) == Account("ann", "s3cret")
    place = secrets(tmp_path, '{"user": "ann", "password": "s3cret"}')
    assert read_account(place, "db", None, None, "secrets.json") == Account("ann", "s3cret")
    assert "s3cret" not in repr(Account("ann", "s3cret"))
    assert Account("ann", "s3cret").scrub("denied: s3cret") == "denied: ***"


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ('{"user": "ann", "password": "s3cret"}', 0o644, "others may read this file .mode 644.*chmod 600"),
        ('{"user": "ann", "pasword": "s3cret"}', 0o600, 'found "pasword", allowed: user, password. Did you mean "password"'),
        ('{"user": "ann", "password": 7}', 0o600, "no JSON object of texts"),
        ("password = s3cret", 0o600, "no JSON object of texts"),
    ],
)
def test_a_file_that_does_not_fit_is_told_without_what_it_holds(text: str, mode: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_account(secrets(tmp_path, text, mode), "db", None, None, "secrets.json")
    assert "s3cret" not in str(caught.value)


def test_a_variable_that_is_not_set_and_two_ways_at_once_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    with pytest.raises(DataError, match="password_env names the environment variable DB_PASSWORD, which is not set"):
        read_account(Place(tmp_path), "db", None, "DB_PASSWORD", None)
    with pytest.raises(DataError, match="one way is allowed"):
        read_account(Place(tmp_path), "db", "A", None, "secrets.json")
