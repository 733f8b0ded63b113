from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import pytest

from lode.app.contracts import RequestError
from lode.app.keys import KeyGate, make_key, read_key_file, stored_or_made, well_formed
from lode.core.errors import ServeError


def status(gate: KeyGate, header: str | None) -> int:
    try:
        asyncio.run(gate.authorize(None if header is None else header.encode()))
    except RequestError as failure:
        assert failure.headers == ((b"www-authenticate", b'Bearer realm="lode"'),)
        return failure.status
    return 200


def test_keys_are_long_different_and_carry_a_checksum() -> None:
    keys = {make_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(well_formed(key) and len(key) == 54 for key in keys)


def test_a_typing_error_shows_in_the_checksum() -> None:
    key = make_key()
    wrong = [key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :] for place in range(5, len(key))]
    assert not any(well_formed(text) for text in [*wrong, key[:-1], key + "a", "", "lode_"])


def test_the_key_is_made_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    digest, key = stored_or_made(tmp_path / "runs")
    path = tmp_path / "runs" / "keys.json"
    assert key is not None
    assert key not in path.read_text()
    assert json.loads(path.read_text())["keys"][0]["sha256"] == digest.hex()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stored_or_made(tmp_path / "runs") == (digest, None)
    assert [entry.name for entry in path.parent.iterdir()] == ["keys.json"]
    assert status(KeyGate(digest), f"Bearer {key}") == 200


def test_only_the_right_key_is_let_in(tmp_path: Path) -> None:
    digest, key = stored_or_made(tmp_path)
    gate = KeyGate(digest)
    assert status(gate, f"bearer {key}") == 200
    for wrong in (None, "", "Bearer", "Bearer ", f"Basic {key}", key, f"Bearer {make_key()}", "Bearer \xff\xfe"):
        assert status(gate, wrong) == 401
    assert status(KeyGate(None), None) == 200


def test_a_mistyped_key_is_told_so(tmp_path: Path) -> None:
    digest, key = stored_or_made(tmp_path)
    assert key is not None
    with pytest.raises(RequestError, match="mistyped"):
        asyncio.run(KeyGate(digest).authorize(f"Bearer {key[:-1]}".encode()))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": []}', '{"keys": [{"sha256": "zz"}]}', '{"keys": [{"sha256": "aa"}]}'])
def test_a_damaged_key_store_is_an_error_with_a_next_step(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(ServeError, match="Delete it"):
        stored_or_made(tmp_path)


def test_a_key_file_holds_one_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("my-own-key-with-more-than-32-characters\n")
    assert status(KeyGate(read_key_file(path)), "Bearer my-own-key-with-more-than-32-characters") == 200


@pytest.mark.parametrize("text", ["", "short", "a" * 20 + " " + "b" * 20, "ü" * 40, make_key()[:-1] + "!", make_key()[:-2]])
def test_a_key_file_without_a_usable_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text, "utf-8")
    with pytest.raises(ServeError, match="--key-file"):
        read_key_file(path)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="nothing-here"):
        read_key_file(tmp_path / "nothing-here")
