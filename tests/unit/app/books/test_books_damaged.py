"""One bit of the file changed: every command answers or refuses in plain words, and what it answers wrongly `lode audit verify` finds."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from pathlib import Path

import pytest

from lode.cli.main import main
from lode.testing.shop import Shop
from tests.unit.app.metering.test_metering_gate import ANSWER, request

SELLER = 'name = "Northwind"\naddress = ["Weg 7"]\ncountry = "DE"\ntax_id = "DE123456789"\nemail = "billing@northwind.example"\n'
FEW = (["usage"], ["audit", "verify"])
ALL = (["customers", "list"], ["bill", "--all"], *FEW)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of books: two customers, twelve requests of a month that is over."""
    folder = tmp_path_factory.mktemp("whole")
    clock = iter(range(1_790_000_000_000_000, 1_800_000_000_000_000, 60_000_000))
    shop = Shop(folder, now_us=lambda: next(clock))
    keys = [shop.customer("acme"), shop.customer("beta", limits=["5 EUR/month"])]

    async def work() -> None:
        gate = shop.gate()
        async with gate.running():
            for number in range(12):
                assert await request(gate, keys[number % 2], f"id{number}", payload="p", kept=ANSWER) == 200

    asyncio.run(work())
    shop.store.close()
    (folder / "seller.toml").write_text(SELLER)
    return folder


class Damaged:
    """Copies with one bit changed, and what the commands say of them."""

    def __init__(self, whole: Path, folder: Path, capsys: pytest.CaptureFixture[str], commands: tuple[list[str], ...]):
        self._commands = commands
        self._whole, self._runs, self._capsys = whole, folder / "runs", capsys
        self.raw = (whole / "books.sqlite").read_bytes()
        self._true = [self._answer(words, self.raw) for words in self._commands]
        assert all(code == 0 for code, _ in self._true)

    def try_one(self, place: int, bit: int) -> list[int]:
        """Exit codes of the commands."""
        changed = bytearray(self.raw)
        changed[place] ^= bit
        found = [self._answer(words, bytes(changed)) for words in self._commands]
        codes = [code for code, _ in found]
        assert set(codes) <= {0, 2}, f"byte {place}, bit {bit}: {codes}"
        wrong = [
            words
            for words, (code, text), (_, true) in zip(self._commands, found, self._true, strict=True)
            if not code and text != true
        ]
        assert not wrong or codes[-1] == 2, f"byte {place}, bit {bit}: {wrong} is wrong, and the audit finds nothing"
        return codes

    def _answer(self, words: list[str], content: bytes) -> tuple[int, str]:
        shutil.rmtree(self._runs, ignore_errors=True)
        shutil.copytree(self._whole, self._runs)
        (self._runs / "books.sqlite").write_bytes(content)
        self._capsys.readouterr()
        code = main([*words, "--runs", str(self._runs), "--json"])
        found = json.loads(self._capsys.readouterr().out)
        if words[0] == "bill":
            found = sorted(str(item["total"]) for item in found.get("issued", ()))
        elif words[0] == "audit":
            found = found.get("hash")
        return code, str(found)


def test_a_damaged_table_or_document_is_told_in_plain_words(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = Damaged(whole, tmp_path, capsys, FEW)
    for text, bit in ((b"CREATE TABLE answers", 0x80), (b'"currency":"EUR"', 0x80), (b'"currency":"EUR"', 0x02)):
        assert damaged.try_one(damaged.raw.index(text) + 3, bit)[-1] == 2


@pytest.mark.prove
def test_any_damaged_byte_is_told_in_plain_words(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged, rng = Damaged(whole, tmp_path, capsys, ALL), random.Random(9)
    used = [place for place, byte in enumerate(damaged.raw) if byte or place < 100]
    for _ in range(100):
        damaged.try_one(rng.choice(used), 1 << rng.randrange(8))
