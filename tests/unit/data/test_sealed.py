"""Encrypted snapshots: what is written is not readable without the key, and nothing can be swapped, cut or changed."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed (lodeml[encryption])")

from lode.core.errors import ArtifactError, DataError, LodeError, SpecError
from lode.data import snapshot
from lode.data.place import Place
from lode.data.storage import keys, sealed
from lode.data.storage.keys import Key, new_key, read_key
from lode.data.store import Store

KEY = Key(bytes(range(32)), {"key_env": "LODE_TEST_KEY"})
FRAME = sealed.FRAME_BYTES


def write(path: Path, content: bytes, name: str = "s/train.parquet", key: Key = KEY, piece: int = 400_000) -> None:
    with path.open("wb") as file:
        sealing = sealed.Sealing(file, key, name)
        for start in range(0, len(content), piece):
            sealing.write(content[start : start + piece])
        sealing.finish()


def read(path: Path, name: str = "s/train.parquet", key: Key = KEY) -> bytes:
    return b"".join(sealed.opened(path, key, name))


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME + 17])
def test_what_is_written_is_read(tmp_path: Path, size: int) -> None:
    content = (b"secret" * (size // 6 + 1))[:size]
    write(tmp_path / "f", content)
    stored = (tmp_path / "f").read_bytes()
    assert read(tmp_path / "f") == content and b"secret" not in stored
    assert sealed.plain_bytes(tmp_path / "f") == size
    write(tmp_path / "g", content)
    assert (tmp_path / "g").read_bytes() != stored  # another salt, another key


def frames(stored: bytes) -> tuple[bytes, list[bytes]]:
    head, body = stored[:49], stored[49:]
    return head, [body[start : start + FRAME + 16] for start in range(0, len(body), FRAME + 16)]


@pytest.mark.parametrize("change", ["swap", "cut a frame", "cut bytes", "add", "flip", "header", "empty", "name"])
def test_a_file_that_was_tampered_with_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "f"
    write(path, b"a" * FRAME + b"b" * FRAME + b"c" * 10)
    head, parts = frames(path.read_bytes())
    made = {
        "swap": head + parts[1] + parts[0] + parts[2],
        "cut a frame": head + parts[0] + parts[1],
        "cut bytes": head + b"".join(parts)[:-1],
        "add": head + b"".join(parts) + parts[2],
        "flip": head + parts[0][:-1] + bytes([parts[0][-1] ^ 1]) + parts[1] + parts[2],
        "header": head[:-1] + bytes([head[-1] ^ 1]) + b"".join(parts),
        "empty": head,
        "name": head + b"".join(parts),
    }[change]
    path.write_bytes(made)
    with pytest.raises(ArtifactError, match="damaged"):
        read(path, "s/test.parquet" if change == "name" else "s/train.parquet")


def test_another_key_and_another_version_are_told(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write(path, b"x")
    other = Key(b"\1" * 32, {"key_env": "OTHER"})
    with pytest.raises(DataError, match=f"encrypted with the key {KEY.id}, but OTHER holds the key {other.id}"):
        read(path, key=other)
    content = path.read_bytes()
    path.write_bytes(content[:8] + b"\2" + content[9:])
    with pytest.raises(ArtifactError, match="format version 2"):
        read(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="no encrypted file"):
        read(path)


@pytest.mark.parametrize("text", [KEY.secret.hex(), base64.b64encode(KEY.secret).decode(), KEY.secret.hex().upper() + "\n"])
def test_keys_are_hex_or_base64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LODE_TEST_KEY", text)
    assert read_key("LODE_TEST_KEY", None, Place(tmp_path, None)).secret == KEY.secret
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    assert read_key(None, "key", Place(tmp_path, None)).secret == KEY.secret


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "a" * 63, "hunter2-hunter2-hunter2-hunter2-"])
def test_what_is_no_key_is_told_without_showing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LODE_TEST_KEY", text)
    with pytest.raises(DataError) as caught:
        read_key("LODE_TEST_KEY", None, Place(tmp_path, None))
    assert "LODE_TEST_KEY" in str(caught.value) and (not text or text not in str(caught.value))


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    made = new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    place = Place(tmp_path, None)
    assert read_key(None, "key", place).id == made.id and made.secret.hex() not in repr(made)
    with pytest.raises(DataError, match="is there already"):
        new_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(DataError, match="chmod 600"):
        read_key(None, "key", place)
    with pytest.raises(SpecError, match="allowed: one of them"):
        Store(key_env="A", key_file="b")


def rows() -> pl.DataFrame:
    return pl.DataFrame(
        {"__row__": pl.Series(range(3_000), dtype=pl.UInt64), "who": [f"person {i} of Berlin" for i in range(3_000)]}
    )


def test_a_snapshot_lies_only_encrypted_and_hashes_like_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_TEST_KEY", KEY.secret.hex())
    plain, hidden = tmp_path / "data" / "a", tmp_path / "data" / "b"
    for folder, key in ((plain, None), (hidden, KEY)):
        folder.mkdir(parents=True)
        (folder / "train.parquet").write_bytes(b"of a try without a key")
        snapshot.begin(folder, key)
        for part in snapshot.FILES:
            snapshot.write_rows(rows().lazy(), folder / f"{part}.parquet")
    assert snapshot.content_hash(plain) == snapshot.content_hash(hidden)
    assert snapshot.read(hidden, "test").equals(rows()) and snapshot.part_bytes(hidden, "test") == snapshot.part_bytes(
        plain, "test"
    )
    files = [path for path in hidden.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {keys.RECORD, *(f"{part}.parquet.enc" for part in snapshot.FILES)}
    assert not any(b"Berlin" in path.read_bytes() or KEY.secret.hex() in path.read_text("latin-1") for path in files)
    # One part, or one snapshot's, cannot stand in for another.
    (hidden / "test.parquet.enc").write_bytes((hidden / "train.parquet.enc").read_bytes())
    with pytest.raises(ArtifactError, match="damaged"):
        snapshot.read(hidden, "test")
    monkeypatch.delenv("LODE_TEST_KEY")
    with pytest.raises(DataError, match="LODE_TEST_KEY, which is not set"):
        snapshot.read(hidden, "train")


def test_whether_a_snapshot_lies_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_TEST_KEY", KEY.secret.hex())
    plain, hidden = tmp_path / "data" / "a", tmp_path / "data" / "b"
    for folder, key in ((plain, None), (hidden, KEY)):
        folder.mkdir(parents=True)
        snapshot.begin(folder, key)
        snapshot.write_rows(rows().lazy(), folder / "train.parquet")
    assert snapshot.agrees(plain, None) and not snapshot.agrees(plain, KEY)
    assert snapshot.agrees(hidden, KEY) and snapshot.agrees(hidden, None)
    with pytest.raises(DataError, match="encrypted with the key"):
        snapshot.agrees(hidden, Key(b"\1" * 32, {"key_env": "OTHER"}))
    # The key moved: the record follows, and who reads later finds it.
    moved = new_key(tmp_path / "unused")
    (tmp_path / "key").write_text(KEY.secret.hex())
    (tmp_path / "key").chmod(0o600)
    assert moved.id != KEY.id and snapshot.agrees(hidden, read_key(None, "key", Place(tmp_path, None)))
    monkeypatch.delenv("LODE_TEST_KEY")
    assert snapshot.read(hidden, "train").height == 3_000


def test_a_writer_that_fails_leaves_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODE_TEST_KEY", KEY.secret.hex())
    folder = tmp_path / "data" / "a"
    snapshot.begin(folder, None)
    folder.mkdir(parents=True)
    snapshot.begin(folder, KEY)

    def fail(batch: pl.DataFrame) -> pl.DataFrame:
        raise OSError(28, "No space left on device")

    with pytest.raises((OSError, pl.exceptions.PolarsError)):
        snapshot.write_rows(rows().lazy().map_batches(fail), folder / "train.parquet")
    with pytest.raises(LodeError, match="missing"):
        snapshot.read(folder, "train")


def test_pieces_of_any_kind_can_be_written() -> None:
    file = io.BytesIO()
    sealing = sealed.Sealing(file, KEY, "n")
    assert sealing.write(memoryview(b"abc")) == 3 and sealing.write(bytearray(b"de")) == 2
    sealing.finish()
    assert len(file.getvalue()) == 49 + 5 + 16


def test_a_key_file_that_moved_is_found_where_a_later_snapshot_has_it(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in ("old", "new", "other"))
    for folder in (old, new, other):
        folder.mkdir()
    keys.note(keys.new_key(tmp_path / "other.key"), other)
    keys.note(keys.new_key(tmp_path / "a.key"), old)
    (tmp_path / "a.key").rename(tmp_path / "b.key")
    with pytest.raises(DataError, match=r"a\.key is missing"):
        keys.key_of(old)
    keys.note(keys.file_key(tmp_path / "b.key", "test"), new)
    assert keys.key_of(old).secret == keys.key_of(new).secret
