"""Source `huggingface`: folders, caches, a hub on this machine; which files are the rows; and no code of anybody."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.access import hub_files
from lode.data.contracts import Source
from lode.data.place import Place

pytest.importorskip("huggingface_hub", reason="the extra `huggingface` is not installed")
TOKEN = "hf_hunter2verysecret"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def source(folder: Path, **options: Any) -> Source:
    return REGISTRIES["source"].create(Component("huggingface", options), Place(folder, landing=folder / "landing"))


def fault(folder: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        source(folder, **options).scan().collect()
    return str(caught.value)


def write(folder: Path, name: str, content: str | pl.DataFrame) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    elif name.endswith(".arrow"):
        content.write_ipc_stream(path)
    else:
        content.write_parquet(path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone with two shards of training rows and one of test rows."""
    for name, cells in (("train-00000-of-00002", [1, 2]), ("train-00001-of-00002", [3]), ("test-00000-of-00001", [9])):
        write(tmp_path / "set", f"data/{name}.parquet", pl.DataFrame({"a": cells, "b": [str(cell) for cell in cells]}))
    write(tmp_path / "set", "README.md", "# a set without a head\n")
    write(tmp_path / "set", "set.py", "raise SystemExit('code of a data set ran')\n")
    return tmp_path / "set"


def test_a_folder_gives_its_training_rows_and_says_what_else_there_is(tmp_path: Path, repository: Path) -> None:
    made = source(tmp_path, path="set")
    assert made.scan().collect()["a"].to_list() == [1, 2, 3]
    assert made.notes[0] == "set: split train, 2 files; it also has test."
    assert source(tmp_path, path="set", split="test", columns=["b"]).scan().collect().rows() == [("9",)]
    assert 'found no split "tst", allowed: test, train. Did you mean "test"?' in fault(tmp_path, path="set", split="tst")
    assert 'columns names "c", found a, b' in fault(tmp_path, path="set", columns=["c"])


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    write(tmp_path / "saved", "dataset_dict.json", '{"splits": ["train", "test"]}')
    for split, cells in (("train", [1, 2]), ("test", [3])):
        write(tmp_path / "saved", f"{split}/data-00000-of-00001.arrow", pl.DataFrame({"a": cells}))
        write(tmp_path / "saved", f"{split}/state.json", "{}")
        write(tmp_path / "saved", f"{split}/dataset_info.json", "{}")
    assert source(tmp_path, path="saved", split="test").scan().collect()["a"].to_list() == [3]
    assert source(tmp_path, path="saved").scan().collect(engine="streaming")["a"].to_list() == [1, 2]


def test_the_cache_of_the_library_datasets_is_read(tmp_path: Path) -> None:
    folder = "cache/owner___set/default/0.0.0/abc"
    write(tmp_path, f"{folder}/set-train.arrow", pl.DataFrame({"a": [1]}))
    write(tmp_path, f"{folder}/set-validation.arrow", pl.DataFrame({"a": [2]}))
    assert source(tmp_path, path="cache/owner___set", split="validation").scan().collect()["a"].to_list() == [2]


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("train.csv", "a,b\n1,None\n", [("1", "None")]),
        ("train.tsv", "a\tb\n1,5\tx\n", [("1,5", "x")]),
        ("train.jsonl", '{"a": 1}\n{"a": 2}\n', [(1,), (2,)]),
        ("train.json", '{"a": 1}\n{"a": 2}\n', [(1,), (2,)]),
        ("train.json", '[{"a": 1}, {"a": 2}]', [(1,), (2,)]),
    ],
)
def test_text_files_are_read_as_what_they_are(tmp_path: Path, name: str, text: str, rows: list[tuple[Any, ...]]) -> None:
    write(tmp_path / "set", name, text)
    assert source(tmp_path, path="set").scan().collect().rows() == rows


def test_pictures_become_their_bytes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"image": [{"bytes": b"png", "path": "a.png"}], "label": [1]})
    write(tmp_path / "set", "train.parquet", frame)
    assert source(tmp_path, path="set").scan().collect().rows() == [(b"png", 1)]


def test_a_script_without_files_of_rows_is_never_run(tmp_path: Path) -> None:
    write(tmp_path / "set", "set.py", "raise SystemExit('ran')\n")
    message = fault(tmp_path, path="set")
    assert "holds a script (set.py) and no files of rows; lode never runs code" in message
    assert "refs/convert/parquet" in message


CARD = """---
configs:
- config_name: en
  data_files:
  - split: train
    path: en/*.parquet
  - split: dev
    path: [en_dev/a.parquet, en_dev/b.parquet]
- config_name: zh
  data_dir: zh
  data_files: "**/*.parquet"
---
# Card
"""
NAMES = ["en/1.parquet", "en/2.parquet", "en_dev/a.parquet", "en_dev/b.parquet", "zh/x/1.parquet", "zh/2.parquet", "README.md"]


def test_the_card_says_which_files_are_which(tmp_path: Path) -> None:
    choose = hub_files.choose
    assert choose("s", NAMES, CARD, "en", "dev").files == ["en_dev/a.parquet", "en_dev/b.parquet"]
    assert choose("s", NAMES, CARD, "zh", None).files == ["zh/2.parquet", "zh/x/1.parquet"]
    with pytest.raises(DataError, match=r"has the subsets en, zh\. Write `subset:` with one of them"):
        choose("s", NAMES, CARD, None, None)
    with pytest.raises(DataError, match=r'found no subset "eng", allowed: en, zh\. Did you mean "en"'):
        choose("s", NAMES, CARD, "eng", None)


@pytest.mark.parametrize("head", ["configs: !!python/object/apply:os.system ['true']", "configs: [", "a: &a [*a"])
def test_a_hostile_card_is_an_error_and_runs_nothing(head: str) -> None:
    with pytest.raises(DataError, match=r"the head of its README\.md is no YAML"):
        hub_files.choose("s", NAMES, f"---\n{head}\n---\n", None, None)


@pytest.mark.parametrize("head", ["configs: 3", "[1]", "configs: [1, {data_files: {path: 5}}]", "x: y"])
def test_an_odd_card_is_as_good_as_none(head: str) -> None:
    assert hub_files.choose("s", ["a/train.csv"], f"---\n{head}\n---\n", None, None).files == ["a/train.csv"]


def test_names_say_the_split_where_no_card_does() -> None:
    names = ["x/training.csv", "valid/1.csv", "my-test-set.csv", "contest.csv", "_hidden/a.csv", "config.json", ".git/train.csv"]
    for split, files in (
        ("train", ["contest.csv", "x/training.csv"]),
        ("validation", ["valid/1.csv"]),
        ("test", ["my-test-set.csv"]),
    ):
        assert hub_files.choose("s", names, "", None, split).files == files
    assert hub_files.choose("s", names, "", "x", None).files == ["x/training.csv"]
    with pytest.raises(DataError, match="mixes csv, parquet files"):
        hub_files.choose("s", ["a.csv", "b.parquet"], "", None, None)


class _Hub(BaseHTTPRequestHandler):
    """The part of the hub's interface that reading needs. files: name -> content; gate: what to answer instead."""

    files: Mapping[str, bytes]
    gate: str
    asked: list[tuple[str, str | None]]

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, has_body: bool) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        path = self.path.split("?")[0]
        if self.gate:
            code = {"GatedRepo": 403, "RepoNotFound": 404, "RevisionNotFound": 404, "": 500}.get(self.gate, 500)
            self._send(code, b"{}", {"X-Error-Code": self.gate, "X-Error-Message": "no"}, has_body)
        elif path.startswith("/api/datasets/owner/set/revision/") or path == "/api/datasets/owner/set":
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.files.items()]
            info = {
                "id": "owner/set",
                "sha": COMMIT,
                "private": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": siblings,
            }
            self._send(200, json.dumps(info).encode(), {"Content-Type": "application/json"}, has_body)
        elif path.startswith("/api/datasets/owner/set/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ]
            self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"}, has_body)
        elif (name := path.removeprefix(f"/datasets/owner/set/resolve/{COMMIT}/")) in self.files:
            content = self.files[name]
            headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self._send(200, content, headers, has_body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, has_body)

    def _send(self, code: int, body: bytes, headers: Mapping[str, str], has_body: bool) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        if has_body:
            self.wfile.write(body)


@pytest.fixture
def hub(repository: Path) -> Iterator[tuple[str, type[_Hub]]]:
    """(url, handler) of a hub that has the repository."""
    files = {path.relative_to(repository).as_posix(): path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    handler = type("Hub", (_Hub,), {"files": files, "gate": "", "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_id_is_fetched_once_and_then_read_offline(tmp_path: Path, hub: tuple[str, type[_Hub]]) -> None:
    url, handler = hub
    (tmp_path / "cache").mkdir()
    made = source(tmp_path, id="owner/set", endpoint=url, cache="cache")
    assert made.scan().collect()["a"].to_list() == [1, 2, 3]
    assert made.notes[0] == f"owner/set at commit {COMMIT}: split train, 2 files; it also has test."
    got = {path for path, _ in handler.asked}
    assert not any("set.py" in path or "test-00000" in path for path in got), "only what is read is fetched"
    handler.asked.clear()
    offline = source(tmp_path, id="owner/set", endpoint=url, cache="cache", offline=True, revision=COMMIT)
    assert offline.scan().collect()["a"].to_list() == [1, 2, 3]
    assert offline.fingerprint() == made.fingerprint()
    assert handler.asked == []
    shard = next((tmp_path / "cache").rglob("train-00001-of-00002.parquet"))
    shard.unlink()
    assert "data/train has 1 of 2 shards" in fault(
        tmp_path, id="owner/set", endpoint=url, cache="cache", offline=True, revision=COMMIT
    )


def test_too_many_bytes_are_refused_before_they_are_fetched(tmp_path: Path, hub: tuple[str, type[_Hub]]) -> None:
    assert "allowed: 10 (max_bytes)" in fault(tmp_path, id="owner/set", endpoint=hub[0], max_bytes=10)
    assert not any(".parquet" in path for path, _ in hub[1].asked)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("GatedRepo", "Accept their terms at"),
        ("RepoNotFound", "found no such data set"),
        ("RevisionNotFound", 'found no revision "v9"'),
        ("Broken", "gives no usable answer"),
    ],
)
def test_what_the_hub_refuses_is_said_without_the_token(
    tmp_path: Path, hub: tuple[str, type[_Hub]], monkeypatch: pytest.MonkeyPatch, gate: str, said: str
) -> None:
    url, handler = hub
    handler.gate = gate
    monkeypatch.setenv("LODE_TEST_TOKEN", TOKEN)
    message = fault(tmp_path, id="owner/set", endpoint=url, token_env="LODE_TEST_TOKEN", revision="v9")
    assert said in message
    assert TOKEN not in message
    assert handler.asked[0][1] == f"Bearer {TOKEN}"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in kept


def test_without_token_env_no_token_of_the_machine_is_sent(
    tmp_path: Path, hub: tuple[str, type[_Hub]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    source(tmp_path, id="owner/set", endpoint=hub[0]).scan()
    assert {header for _, header in hub[1].asked} == {None}
    assert "names the environment variable NO_SUCH_TOKEN, which is not set" in fault(
        tmp_path, id="owner/set", token_env="NO_SUCH_TOKEN"
    )


def test_what_cannot_be_is_told(tmp_path: Path, repository: Path) -> None:
    assert "both or none of id and path" in fault(tmp_path)
    assert "is no id, allowed: owner/name" in fault(tmp_path, id="a/b/c", offline=True)
    assert "not in the cache, and the hub is not asked (offline)" in fault(tmp_path, id="owner/none", offline=True)
    assert "gives no usable answer" in fault(tmp_path, id="owner/set", endpoint="http://127.0.0.1:9")
    assert "found a file, a folder is needed" in fault(tmp_path, path="set/README.md")
