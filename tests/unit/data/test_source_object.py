"""Source `object`: what is fetched, what is not fetched again, and what servers can do to us."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import polars as pl
import pytest
from obstore.store import S3Store

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.access import fetch
from lode.data.contracts import Source
from lode.data.place import Place
from tests.unit.data.fake_servers import Served, serving

ROWS = "k,x\n" + "".join(f"{index},{index * 7 % 13}\n" for index in range(5000))
SECRET = "hunter2-very-secret"


@pytest.fixture
def web() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have slept."""
    slept: list[float] = []
    real = fetch.Fetcher.__init__

    def init(self: fetch.Fetcher, folder: Path, limits: fetch.Limits, place: Place) -> None:
        real(self, folder, limits, place, slept.append)

    monkeypatch.setattr(fetch.Fetcher, "__init__", init)
    return slept


def source(folder: Path, url: Any, **options: Any) -> Source:
    """A new run each time: only the landing folder is shared."""
    options = {"format": "csv", **options}
    return REGISTRIES["source"].create(Component("object", {"url": url, **options}), Place(folder, landing=folder / "landing"))


def fault(folder: Path, url: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        source(folder, url, **options).scan().collect()
    return str(caught.value)


def bodies(web: Served) -> list[str | None]:
    """The ranges of the GETs that came."""
    return [span for method, path, span, _ in web.requests if method == "GET" and "list-type" not in path]


def landed(folder: Path) -> list[str]:
    """Whole files that are kept."""
    return sorted(path.name for path in (folder / "landing").glob("*/files/**/*") if path.is_file())


def test_folders_of_partitions_become_columns(tmp_path: Path) -> None:
    for year, text in (("2023", "k,x\n1,a\n"), ("2024", "k,x\n2,b\n3,c\n"), ("__HIVE_DEFAULT_PARTITION__", "k,x\n4,d\n")):
        folder = tmp_path / "sales" / f"year={year}" / "country=a%2Fb"
        folder.mkdir(parents=True)
        (folder / "part.csv").write_text(text)
        (folder / "_SUCCESS").write_text("")
    made = source(tmp_path, "sales")
    assert made.scan().collect().rows() == [
        ("2023", "a/b", "1", "a"), ("2024", "a/b", "2", "b"), ("2024", "a/b", "3", "c"), (None, "a/b", "4", "d"),
    ]  # fmt: skip
    assert made.notes == ["sales: 3 files, 28 bytes; columns from folders: year, country."]
    assert source(tmp_path, f"file://{tmp_path}/sales/year=2024/*/*.csv").scan().collect().height == 2


@pytest.mark.parametrize(
    ("pattern", "names"), [("*.csv", "a"), ("**/*.csv", "abc"), ("y=?/*.csv", "b"), ("y=[2-9]/d", "c"), ("", "abc")]
)
def test_globs_over_an_object_store(tmp_path: Path, pattern: str, names: str) -> None:
    store = fsspec.filesystem("memory")
    store.store.clear()
    for path, name in (("a.csv", "a"), ("y=1/b.csv", "b"), ("y=2/d/c.csv", "c"), (".hidden/d.csv", "d")):
        store.pipe(f"/bucket/{path}", f"name\n{name}\n".encode())
    url = f"memory://bucket/{pattern}".rstrip("/")
    if pattern in ("", "**/*.csv"):
        assert "give the columns" in fault(tmp_path, url)
    else:
        assert "".join(source(tmp_path, url).scan().collect()["name"]) == names


def test_the_inner_source_reads_with_its_options_and_its_messages_name_the_remote_file(tmp_path: Path, web: Served) -> None:
    web.files |= {"/a.txt": b"1;2\n3;4\n", "/b.csv": b"a,b\n1\n"}
    rows = source(tmp_path, f"{web.url}/a.txt", format={"type": "csv", "separator": ";", "header": False}).scan().collect()
    assert rows.rows() == [("1", "2"), ("3", "4")]
    message = fault(tmp_path, f"{web.url}/b.csv")
    assert message.startswith(f"{web.url}/b.csv: line 2")
    assert str(tmp_path) not in message


def test_what_has_not_changed_is_fetched_once_and_what_has_is_fetched_again(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"] = ROWS.encode()
    first = source(tmp_path, f"{web.url}/rows.csv").fingerprint()
    assert source(tmp_path, f"{web.url}/rows.csv").fingerprint() == first
    assert bodies(web) == [None]
    web.files["/rows.csv"] = ROWS.replace("7", "8").encode()
    assert source(tmp_path, f"{web.url}/rows.csv").fingerprint() != first
    assert bodies(web) == [None, None]


def test_a_run_asks_once_however_often_its_source_is_made(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"] = ROWS.encode()
    place = Place(tmp_path, landing=tmp_path / "landing")
    component = Component("object", {"url": f"{web.url}/rows.csv", "format": "csv"})
    first = REGISTRIES["source"].create(component, place).fingerprint()
    web.files["/rows.csv"] = b"k\n1\n"
    again = REGISTRIES["source"].create(component, place)
    assert again.fingerprint() == first
    assert again.scan().collect().height == 5000
    assert len(web.requests) == 2


def test_hashing_and_reading_at_the_same_time_fetch_once(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"] = ROWS.encode()
    made = source(tmp_path, f"{web.url}/rows.csv")
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: made.fingerprint(), range(8)))) == 1
    assert bodies(web) == [None]


def test_a_connection_that_dies_goes_on_from_its_position(tmp_path: Path, web: Served, naps: list[float]) -> None:
    web.files["/rows.csv"] = ROWS.encode()
    web.faults = ["die", "busy", "die"]
    assert source(tmp_path, f"{web.url}/rows.csv").scan().collect().height == 5000
    spans = bodies(web)
    assert spans[0] is None
    assert [span is not None and span != "bytes=0-" for span in spans[1:]] == [True, True, True]
    assert (next((tmp_path / "landing").glob("*/files/rows.csv"))).read_bytes() == ROWS.encode()
    assert naps == [0.5, 1.0, 0.5]


def test_a_server_without_ranges_is_read_past_what_is_there(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"], web.has_ranges, web.faults = ROWS.encode(), False, ["die"]
    source(tmp_path, f"{web.url}/rows.csv").scan()
    assert (next((tmp_path / "landing").glob("*/files/rows.csv"))).read_bytes() == ROWS.encode()


def test_a_server_that_always_dies_is_given_up_and_the_next_run_goes_on(tmp_path: Path, web: Served, naps: list[float]) -> None:
    web.files["/rows.csv"] = ROWS.encode()
    web.faults = ["die", "busy", "busy", "busy"]
    message = fault(tmp_path, f"{web.url}/rows.csv", retries=2)
    assert "gave up after 3 tries in a row" in message
    assert f"{len(ROWS) // 2:,} bytes are kept; the same command goes on after them" in message
    assert naps == [0.5, 1.0]
    assert landed(tmp_path) == []
    web.faults = []
    web.requests.clear()
    assert source(tmp_path, f"{web.url}/rows.csv").scan().collect().height == 5000
    assert bodies(web) == [f"bytes={len(ROWS) // 2}-"]


def test_a_file_that_changes_between_two_tries_is_never_mixed(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"], web.faults = ROWS.encode(), ["die", "busy"]
    fault(tmp_path, f"{web.url}/rows.csv", retries=0)
    web.faults = []
    other = ROWS.replace("1", "9").encode()
    web.files["/rows.csv"] = other
    source(tmp_path, f"{web.url}/rows.csv").scan()
    assert (next((tmp_path / "landing").glob("*/files/rows.csv"))).read_bytes() == other


def test_a_server_that_sends_less_than_it_says_is_no_shorter_table(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"], web.faults = ROWS.encode(), ["short"] * 3 + ["busy"] * 10
    message = fault(tmp_path, f"{web.url}/rows.csv", retries=1)
    assert "gave up" in message
    assert landed(tmp_path) == []


def test_a_server_that_sends_more_than_it_says_is_refused(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"], web.faults = ROWS.encode(), ["long"]
    assert "the file grew while it was read" in fault(tmp_path, f"{web.url}/rows.csv")
    assert landed(tmp_path) == []


def test_a_server_that_says_no_size_and_knows_no_head_is_read_whole_and_bounded(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"], web.has_head, web.says_size = ROWS.encode(), False, False
    assert source(tmp_path, f"{web.url}/rows.csv").scan().collect().height == 5000
    message = fault(tmp_path, f"{web.url}/rows.csv", max_bytes="1kB")
    assert "found more than 1,000 bytes, allowed: 1,000 (max_bytes)" in message


def test_too_many_bytes_are_refused_before_the_first_is_read(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"] = ROWS.encode()
    assert f"found {len(ROWS):,} bytes in 1 files, allowed: 100 (max_bytes)" in fault(
        tmp_path, f"{web.url}/rows.csv", max_bytes=100
    )
    assert bodies(web) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://example.org/a", "https://example.org/a", "data:text/plain,k"])
def test_a_redirect_to_another_protocol_is_refused(tmp_path: Path, web: Served, target: str) -> None:
    web.redirects["/rows.csv"] = target
    assert "the server sends us on from http to" in fault(tmp_path, f"{web.url}/rows.csv")


def test_a_redirect_on_the_same_protocol_is_followed_and_a_circle_ends(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"], web.redirects = ROWS.encode(), {"/old.csv": "/rows.csv", "/a.csv": "/b.csv", "/b.csv": "/a.csv"}
    assert source(tmp_path, f"{web.url}/old.csv").scan().collect().height == 5000
    assert "the server answers 302" in fault(tmp_path, f"{web.url}/a.csv")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x/a", "found the protocol ftp, allowed: "),
        ("simplecache::s3://x/a", "one alone"),
        ("https://me:hunter2-very-secret@x/a", "found a user or password in the url"),
        ("https://x/a?X-Amz-Signature=hunter2-very-secret", 'the parameter "X-Amz-Signature"'),
        ("https://x/*.csv", "found a pattern or a folder, allowed over http: a file"),
        ("nowhere/*.csv", "no such file or folder"),
    ],
)
def test_urls_that_cannot_be_are_refused_without_their_secrets(tmp_path: Path, url: str, said: str) -> None:
    message = fault(tmp_path, url)
    assert said in message
    assert SECRET not in message


def test_missing_and_forbidden_files_are_told_apart(tmp_path: Path, web: Served) -> None:
    web.files["/a.csv"], web.faults = ROWS.encode(), ["deny"]
    assert "found no such file (the server answers 404)" in fault(tmp_path, f"{web.url}/b.csv")
    assert "Name a token with token_env" in fault(tmp_path, f"{web.url}/a.csv")


def test_a_token_goes_to_the_server_and_nowhere_else(tmp_path: Path, web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/rows.csv"] = ROWS.encode()
    assert "names the environment variable LODE_TEST_TOKEN, which is not set" in fault(
        tmp_path, f"{web.url}/rows.csv", token_env="LODE_TEST_TOKEN"
    )
    monkeypatch.setenv("LODE_TEST_TOKEN", SECRET)
    made = source(tmp_path, f"{web.url}/rows.csv", token_env="LODE_TEST_TOKEN")
    made.scan()
    assert {header for *_, header in web.requests} == {f"Bearer {SECRET}"}
    web.faults = ["busy"] * 3
    web.files["/rows.csv"] = b"k\n1\n"
    message = fault(tmp_path, f"{web.url}/rows.csv", token_env="LODE_TEST_TOKEN", retries=0)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET not in message + " ".join(made.notes) + repr(made) + str(vars(made))
    assert SECRET.encode() not in kept
    assert "allowed: https" in fault(tmp_path, "http://example.org/a.csv", token_env="LODE_TEST_TOKEN")


def test_a_secrets_file_must_be_private_and_say_what_it_may(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"], path = ROWS.encode(), tmp_path / "secrets.json"
    path.write_text(f'{{"token": "{SECRET}"}}')
    path.chmod(0o644)
    assert "others may read the secrets file" in fault(tmp_path, f"{web.url}/rows.csv", secrets="secrets.json")
    path.chmod(0o600)
    source(tmp_path, f"{web.url}/rows.csv", secrets="secrets.json").scan()
    assert web.requests[-1][-1] == f"Bearer {SECRET}"
    path.write_text(f'{{"tokn": "{SECRET}"}}')
    message = fault(tmp_path, f"{web.url}/rows.csv", secrets="secrets.json")
    assert 'Did you mean "token"?' in message
    assert SECRET not in message


def s3_options(web: Served, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("LODE_TEST_KEY", "AKIATEST")
    monkeypatch.setenv("LODE_TEST_SECRET", SECRET)
    return {"endpoint": web.url, "key_env": "LODE_TEST_KEY", "secret_env": "LODE_TEST_SECRET"}


def test_s3_is_listed_signed_and_read_in_ranges(tmp_path: Path, web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files |= {f"/bucket/sales/year={year}/part.csv": f"k\n{year}\n".encode() for year in (2023, 2024)}
    made = source(tmp_path, "s3://bucket/sales/year=*/*.csv", **s3_options(web, monkeypatch))
    assert made.scan().collect().rows() == [("2023", "2023"), ("2024", "2024")]
    headers = [header for *_, header in web.requests]
    assert all(header and header.startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/") for header in headers)
    assert SECRET not in str(headers)
    count = len(bodies(web))
    source(tmp_path, "s3://bucket/sales/year=*/*.csv", **s3_options(web, monkeypatch)).scan()
    assert len(bodies(web)) == count


def test_s3_without_keys_asks_without_a_signature(tmp_path: Path, web: Served) -> None:
    web.files["/bucket/a.csv"] = b"k\n1\n"
    assert source(tmp_path, "s3://bucket/a.csv", endpoint=web.url).scan().collect().height == 1
    assert {header for *_, header in web.requests} == {None}


def test_s3_faults_are_told_without_the_secret(tmp_path: Path, web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**s3_options(web, monkeypatch), "retries": 1}
    assert "found no such file or folder" in fault(tmp_path, "s3://bucket/nowhere/*.csv", **options)
    web.files["/bucket/a.csv"], web.faults = b"k\n1\n", ["deny"]
    denied = fault(tmp_path, "s3://bucket/a.csv", **options)
    assert "the server refuses" in denied
    web.faults = ["busy"] * 9
    busy = fault(tmp_path, "s3://bucket/a.csv", **options)
    assert "gave up after 2 tries in a row" in busy
    gone = fault(tmp_path, "s3://bucket/a.csv", **{**options, "endpoint": "http://127.0.0.1:9"})
    assert "gave up" in gone
    assert SECRET not in denied + busy + gone
    assert "the other" in fault(tmp_path, "s3://bucket/a.csv", endpoint=web.url, key_env="LODE_TEST_KEY")


def test_a_key_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pipe("/out/a\\b.csv", b"k\n1\n")
    assert "cannot be a file's name here" in fault(tmp_path, "memory://out/*.csv")


def test_a_short_line_is_found_though_the_last_cell_comes_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sales" / "year=2024").mkdir(parents=True)
    (tmp_path / "sales" / "year=2024" / "a.csv").write_text("k,x\n1,a\n2\n")
    made = source(tmp_path, "sales")
    last = made.scan_as({}).collect().to_series(-1)
    assert last.null_count() == 1, "that is how a reader knows that it must ask"
    with pytest.raises(DataError, match="line 3"):
        made.check()


def test_links_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "loop" / "in").mkdir(parents=True)
    (tmp_path / "loop" / "a.csv").write_text("k\n1\n")
    (tmp_path / "loop" / "in" / "back").symlink_to(tmp_path / "loop")
    assert source(tmp_path, "loop").scan().collect().height == 1


def test_files_with_other_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.csv").write_text("k,x\n1,2\n")
    (tmp_path / "two" / "b.csv").write_text("k\n1\n")
    message = fault(tmp_path, "two")
    assert "b.csv: has no column x, which" in message
    assert "landing" not in message


def test_a_killed_fetch_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, web: Served) -> None:
    web.files["/rows.csv"], web.faults = ROWS.encode(), ["die", "busy", "busy"]
    script = (
        "import sys; from pathlib import Path; from lode.core.registry import REGISTRIES; from lode.core.types import Component\n"
        "from lode.data.access import fetch; from lode.data.place import Place; import os\n"
        "fetch.time.sleep = lambda s: os.kill(os.getpid(), 9)\n"
        "real = fetch.Fetcher.__init__\n"
        "fetch.Fetcher.__init__ = lambda self, *a: real(self, *a, lambda s: os.kill(os.getpid(), 9))\n"
        "place = Place(Path(sys.argv[1]), landing=Path(sys.argv[1], 'landing'))\n"
        "REGISTRIES['source'].create(Component('object', {'url': sys.argv[2], 'format': 'csv'}), place).scan()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path), f"{web.url}/rows.csv"], env={**os.environ}, check=False)
    assert done.returncode == -9
    web.faults = []
    web.requests.clear()
    source(tmp_path, f"{web.url}/rows.csv").scan()
    assert bodies(web) == [f"bytes={len(ROWS) // 2}-"]
    assert (next((tmp_path / "landing").glob("*/files/rows.csv"))).read_bytes() == ROWS.encode()


def test_a_full_disk_names_the_space_needed_and_leaves_nothing_half_written(
    tmp_path: Path, web: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files["/rows.csv"] = ROWS.encode()
    with monkeypatch.context() as patched:
        patched.setattr(fetch.os, "replace", _full)
        message = fault(tmp_path, f"{web.url}/rows.csv")
    assert f"is full. This file needs {len(ROWS):,} bytes" in message
    assert landed(tmp_path) == []
    assert source(tmp_path, f"{web.url}/rows.csv").scan().collect().height == 5000


def _full(*paths: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.prove
def test_s3_as_moto_speaks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against moto's server, which wants packages that lode's pins exclude: installed apart, found by its command."""
    command = shutil.which("moto_server")
    if command is None:
        pytest.skip("no moto_server on the path (pip install 'moto[server]' in an environment of its own)")
    process = subprocess.Popen([command, "-p", "5995"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = "http://127.0.0.1:5995"
        for _ in range(100):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT", data=b""))
                break
            except OSError:
                time.sleep(0.2)
        keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "aws_region": "us-east-1"}
        store = S3Store("bucket", config={**keys, "aws_endpoint": url}, client_options={"allow_http": True})  # type: ignore[arg-type]
        big = ("k,x\n" + "1234567,abcdefgh\n" * 1_200_000).encode()
        store.put("sales/year=2023/a.csv", big)
        store.put("sales/year=2024/b.csv", b"k,x\n1,z\n")
        monkeypatch.setenv("LODE_TEST_KEY", "k")
        monkeypatch.setenv("LODE_TEST_SECRET", "s")
        options = {"endpoint": url, "key_env": "LODE_TEST_KEY", "secret_env": "LODE_TEST_SECRET"}
        rows = source(tmp_path, "s3://bucket/sales/year=*/*.csv", **options).scan().collect()
        assert rows.height == 1_200_001
        assert rows["year"].unique().sort().to_list() == ["2023", "2024"]
    finally:
        process.terminate()
        process.wait()


def test_packed_files_count_as_large_as_they_unpack_wherever_they_come_from(tmp_path: Path) -> None:
    """The bound of memory asks how large the rows are, not how small their files."""
    pl.DataFrame({"k": list(range(10)), "x": list("abcdefghij")}).write_parquet(tmp_path / "rows.parquet")
    size = (tmp_path / "rows.parquet").stat().st_size
    parquet = {"type": "parquet", "path": str(tmp_path / "rows.parquet")}
    fetched = {"type": "object", "url": (tmp_path / "rows.parquet").as_uri(), "format": Component("parquet", {})}
    sides = {"left": Component("parquet", {"path": parquet["path"]}), "right": Component("parquet", {"path": parquet["path"]})}
    for options, expected in ((fetched, 8 * size), ({"type": "join", **sides, "on": "k"}, 16 * size)):
        word = str(options.pop("type"))
        source = REGISTRIES["source"].create(Component(word, options), Place(tmp_path, landing=tmp_path / "landing"))
        source.scan()
        assert source.unpacked_bytes == expected
