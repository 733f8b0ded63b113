"""Real servers, the whole `lode data`: the same rows give the same snapshot from each of them, killed or not, and no password is kept."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.pipeline.gc import free, garbage
from lode.pipeline.run import Run, run
from tests.flows import servers
from tests.flows.flow import lode, write_spec
from tests.flows.servers import PASSWORD, Server

BIG_ROWS = 40_000
BATCH_ROWS = 1000
_TYPES = {
    "postgresql": {pl.Int64: "BIGINT", pl.Float64: "DOUBLE PRECISION", pl.String: "TEXT"},
    "mariadb": {pl.Int64: "BIGINT", pl.Float64: "DOUBLE", pl.String: "VARCHAR(200)"},
    "sqlite": {pl.Int64: "INTEGER", pl.Float64: "REAL", pl.String: "TEXT"},
}
_BIG = {
    "postgresql": "CREATE TABLE big AS SELECT i AS id, i % 17 AS x, repeat(md5(i::text), 12) AS pad, "
    f"CASE WHEN i % 3 = 0 THEN 'yes' ELSE 'no' END AS y FROM generate_series(1, {BIG_ROWS}) i; ALTER TABLE big ADD PRIMARY KEY (id);",
    "mariadb": "CREATE TABLE big AS SELECT seq AS id, seq % 17 AS x, repeat(md5(seq), 12) AS pad, "
    f"IF(seq % 3 = 0, 'yes', 'no') AS y FROM seq_1_to_{BIG_ROWS}; ALTER TABLE big ADD PRIMARY KEY (id);",
}


def one_of_two(word: str) -> pytest.MarkDecorator:
    """What starts a process of its own and is disturbed: one server in `make test`, the other in `make prove`."""
    other = "mariadb" if word == "postgresql" else "postgresql"
    return pytest.mark.parametrize("server", [word, pytest.param(other, marks=pytest.mark.prove)], indirect=True)


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with a table `big`."""
    made: Server = getattr(servers, request.param)()
    try:
        made.script(_BIG[made.word])
        yield made
    finally:
        made.kill()
        shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    monkeypatch.setenv("SHOP_USER", "reader")


def source(server: Server, **options: Any) -> dict[str, Any]:
    return {"type": "sql", "url": server.url, "user_env": "SHOP_USER", "password_env": "SHOP_PASSWORD", **options}


def spec(origin: dict[str, Any], target: str = "y") -> dict[str, Any]:
    """The file. Of `big` only one column is an input: the others are there to be many bytes on the way."""
    inputs = {} if target == "Churn" else {"inputs": {"x": "number"}}
    positive = "Yes" if target == "Churn" else "yes"
    return {"name": "shop", "data": {"source": origin}, **inputs, "outputs": {target: {"type": "binary", "positive": positive}}}


def content(done: Run) -> str:
    return str(done.manifests["data"].result["content_hash"])


def every_byte(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def insert(table: str, frame: pl.DataFrame, word: str) -> str:
    """SQL that makes a table with these rows."""

    def literal(cell: Any) -> str:
        if cell is None:
            return "NULL"
        return "'" + cell.replace("'", "''") + "'" if isinstance(cell, str) else repr(cell)

    mark = "`" if word == "mariadb" else '"'
    columns = ", ".join(f"{mark}{name}{mark} {_TYPES[word][type(dtype)]}" for name, dtype in frame.schema.items())
    rows = ",\n".join("(" + ", ".join(map(literal, row)) + ")" for row in frame.iter_rows())
    return f"CREATE TABLE {table} ({columns}, PRIMARY KEY ({mark}{frame.columns[0]}{mark}));\nINSERT INTO {table} VALUES {rows};\n"


@pytest.fixture(scope="module")
def churn(lode_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, str]:
    """A real table, and the content of its snapshot when SQLite holds it."""
    rows = pl.read_csv(lode_data / "tabular" / "telco_churn.csv.gz").sort("customerID")
    folder = tmp_path_factory.mktemp("churn")
    connection = sqlite3.connect(folder / "shop.db")
    connection.executescript(insert("churn", rows, "sqlite"))
    connection.close()
    origin = {"type": "sql", "url": "sqlite:///shop.db", "table": "churn"}
    return rows, content(run(write_spec(folder, spec(origin, "Churn")), until="data"))


@pytest.mark.data
@pytest.mark.servers
def test_a_real_table_gives_the_same_snapshot_from_every_database(
    churn: tuple[pl.DataFrame, str], server: Server, tmp_path: Path
) -> None:
    rows, expected = churn
    server.script(insert("churn", rows, server.word))
    if server.word == "postgresql":
        server.sql("GRANT SELECT ON churn TO reader")
    done = run(write_spec(tmp_path, spec(source(server, table="churn"), "Churn")), until="data")
    assert sum(done.manifests["data"].result["rows"].values()) == rows.height == 7043
    assert content(done) == expected
    server.script("DROP TABLE churn;")


def _start(path: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(
        [sys.executable, "-m", "lode", "data", str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _when_parts_landed(path: Path, process: subprocess.Popen[str], act: Callable[[], None], num_parts: int = 5) -> None:
    """Do something once some parts have landed, while the command still runs."""
    landing = path.parent / "runs" / "landing"
    while process.poll() is None:
        if sum(1 for _ in landing.glob("*.incoming/*.parquet")) >= num_parts:
            act()
            return
        time.sleep(0.002)
    raise AssertionError(f"over before it could be disturbed: {process.communicate()[0]}")


@pytest.fixture(scope="module")
def undisturbed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The content of a read that nobody disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP_PASSWORD", PASSWORD)
        patch.setenv("SHOP_USER", "reader")
        path = write_spec(tmp_path_factory.mktemp("undisturbed"), spec(source(server, table="big", batch_rows=BATCH_ROWS)))
        return content(run(path, until="data"))


@pytest.mark.servers
@one_of_two("mariadb")
def test_kill_9_in_mid_read_then_the_same_command_gives_the_same_rows(server: Server, undisturbed: str, tmp_path: Path) -> None:
    path = write_spec(tmp_path, spec(source(server, table="big", batch_rows=BATCH_ROWS)))
    process = _start(path)
    _when_parts_landed(path, process, lambda: process.send_signal(signal.SIGKILL))
    process.communicate()
    done = run(path, until="data")
    assert content(done) == undisturbed
    assert any("an earlier read stopped after row" in note for note in done.manifests["data"].result["notes"])


@pytest.mark.servers
@one_of_two("postgresql")
def test_a_server_that_dies_in_mid_read_leaves_what_landed_and_the_next_run_goes_on(
    server: Server, undisturbed: str, tmp_path: Path
) -> None:
    path = write_spec(tmp_path, spec(source(server, table="big", batch_rows=BATCH_ROWS)))
    process = _start(path)
    _when_parts_landed(path, process, server.kill)
    said = process.communicate()[0]
    server.start()
    assert process.returncode == 2, said
    assert "the server went away while rows were read" in said
    assert "rows are kept; the same command goes on after them" in said
    assert not list((tmp_path / "runs").glob("data/*/manifest.json"))
    done = run(path, until="data")
    assert content(done) == undisturbed
    assert any("an earlier read stopped after row" in note for note in done.manifests["data"].result["notes"])


@pytest.mark.servers
@one_of_two("postgresql")
def test_no_file_of_a_run_and_no_message_holds_the_password(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_spec(tmp_path, spec(source(server, query="SELECT id, x, y FROM big WHERE id < 500", order_by="id")))
    said: list[str] = []
    run(path, until="data", say=said.append)
    assert b"SELECT id" in every_byte(tmp_path / "runs"), "the search finds what is there"
    assert PASSWORD.encode() not in every_byte(tmp_path / "runs")
    assert PASSWORD not in "".join(said)
    monkeypatch.setenv("SHOP_PASSWORD", "wrong battery 9 staple")
    refused = lode("data", write_spec(tmp_path / "refused", spec(source(server, table="big"))))
    assert refused.returncode == 2
    assert "no connection" in refused.stderr
    assert "Check the user and the password" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "wrong battery 9 staple" not in refused.stdout + refused.stderr


@pytest.mark.servers
def test_what_is_wrong_is_said_with_the_next_step(server: Server, tmp_path: Path) -> None:
    def fault(**options: Any) -> str:
        with pytest.raises(DataError) as caught:
            run(write_spec(tmp_path, spec({**source(server), **options})), until="data")
        return str(caught.value)

    assert 'no table "bigg", there is big. Did you mean "big"?' in fault(table="bigg")
    assert 'columns names "pda"' in fault(table="big", columns=["pda"])
    unreachable = fault(table="big", url=f"{server.word}://127.0.0.1:{servers.free_port()}/shop")
    assert "Check host and port in `url`" in unreachable
    assert "Check host and port in `url`" in fault(table="big", url=f"{server.word}://no-such-host.invalid/shop")
    assert "Check the database at the end of `url`" in fault(table="big", url=server.url.replace("/shop", "/shpo"))
    assert "the server refuses the query" in fault(query="SELECT nothing FROM big")
    assert "exactly one is allowed" in fault()
    assert "more than once. Name another column" in fault(table="big", order_by="x")


@pytest.mark.servers
def test_a_parameter_stays_a_value_and_the_transaction_only_reads(server: Server, tmp_path: Path) -> None:
    evil = "yes'; DROP TABLE big; --"
    query = "SELECT id, x, y FROM big WHERE y = :y OR (x IN :some AND id < :below)"
    path = write_spec(tmp_path, spec(source(server, query=query, parameters={"y": evil, "some": [1, 2], "below": 1000})))
    assert sum(run(path, until="data").manifests["data"].result["rows"].values()) == sum(i % 17 in (1, 2) for i in range(1, 1000))
    server.sql("GRANT ALL ON big TO reader" if server.word == "postgresql" else "GRANT ALL ON shop.* TO 'reader'@'127.0.0.1'")
    for statement in ("DELETE FROM big", "UPDATE big SET x = 1", "DROP TABLE big"):
        with pytest.raises(DataError):
            run(write_spec(tmp_path, spec(source(server, query=statement))), until="data")
    everything = write_spec(tmp_path, spec(source(server, query="SELECT id, x, y FROM big")))
    assert sum(run(everything, until="data").manifests["data"].result["rows"].values()) == BIG_ROWS


@pytest.mark.servers
def test_types_of_the_server_become_types_of_columns(server: Server, tmp_path: Path) -> None:
    raw, stamp, doc = ("BYTEA", "TIMESTAMPTZ", "JSONB") if server.word == "postgresql" else ("BLOB", "DATETIME(6)", "JSON")
    server.script(
        f"CREATE TABLE typed (id INT PRIMARY KEY, price DECIMAL(10,2), day DATE, at {stamp}, raw {raw}, doc {doc}, ok BOOLEAN, y TEXT);"
        "INSERT INTO typed VALUES (1, 12.50, '2024-02-29', '2024-02-29 12:30:00.250000', 'ab', '{\"k\": [1]}', true, 'yes'),"
        "(2, NULL, NULL, NULL, NULL, NULL, NULL, 'no');"
        "DROP TABLE IF EXISTS nothing; CREATE TABLE nothing (id INT PRIMARY KEY);"
    )
    if server.word == "postgresql":
        server.sql("ALTER ROLE reader SET timezone TO 'UTC'", "GRANT SELECT ON typed, nothing TO reader")
    from lode.core.registry import REGISTRIES
    from lode.core.types import Component
    from lode.data.place import Place

    options = {name: value for name, value in source(server, table="typed").items() if name != "type"}
    made = REGISTRIES["source"].create(Component("sql", options), Place(tmp_path, landing=tmp_path / "landing"))
    rows = made.scan().collect()
    assert rows.schema["price"] == pl.Float64 and rows["price"].to_list() == [12.5, None]
    assert rows.schema["day"] == pl.Date and rows.schema["at"] == pl.Datetime("us") and rows.schema["raw"] == pl.Binary
    assert rows["at"][0].microsecond == 250_000 and rows["raw"][0] == b"ab" and '"k"' in rows["doc"][0]
    assert rows["ok"][0] in (True, 1)
    assert any('column "price" holds exact decimals' in note for note in made.notes)
    empty = REGISTRIES["source"].create(Component("sql", {**options, "table": "nothing"}), Place(tmp_path))
    with pytest.raises(DataError, match="gives no rows"):
        empty.scan()


@pytest.mark.servers
def test_rows_that_changed_are_named_and_the_old_ones_stay_until_they_are_garbage(server: Server, tmp_path: Path) -> None:
    server.script("DROP TABLE IF EXISTS live; CREATE TABLE live AS SELECT id, x, y FROM big WHERE id <= 300;")
    if server.word == "postgresql":
        server.sql("GRANT SELECT ON live TO reader")
    path = write_spec(tmp_path, spec(source(server, table="live", order_by="id", version="SELECT max(id) FROM live")))
    said: list[str] = []
    first = run(path, until="data", say=said.append)
    server.script("UPDATE live SET x = 99 WHERE id = 7;")
    same = run(path, until="data", say=said.append)
    assert content(same) == content(first) and not same.changed, "the version did not change, so nothing was read"
    server.script("INSERT INTO live VALUES (1000, 5, 'no');")
    second = run(path, until="data", say=said.append)
    assert content(second) != content(first)
    assert any(line.startswith(f"data: {server.url} live changed since the last run (sha256 ") for line in said)
    assert any(line.endswith("the data stage runs again") for line in said)
    landings = [entry for entry in (tmp_path / "runs" / "landing").iterdir() if entry.is_dir()]
    assert len(landings) == 2
    assert not [entry for entry in garbage(tmp_path / "runs", 10) if "landing" in entry["folder"]]
    assert [entry["why"] for entry in free(tmp_path / "runs", 0) if "landing" in entry["folder"]] == [
        "rows of a server as they were before"
    ]


@pytest.mark.servers
@pytest.mark.parametrize("server", ["postgresql"], indirect=True)  # MariaDB knows no infinity
def test_a_moment_without_end_is_told_with_the_way_around_it(server: Server, tmp_path: Path) -> None:
    server.script(
        "DROP TABLE IF EXISTS terms; CREATE TABLE terms (id INT PRIMARY KEY, until DATE, y INT);"
        "INSERT INTO terms VALUES (1, '2024-02-29', 0), (2, 'infinity', 1);"
    )
    server.sql("GRANT SELECT ON terms TO reader")
    from lode.core.registry import REGISTRIES
    from lode.core.types import Component
    from lode.data.place import Place

    def made(**asked: str) -> Any:
        options = {name: value for name, value in source(server, **asked).items() if name != "type"}
        return REGISTRIES["source"].create(Component("sql", options), Place(tmp_path, landing=tmp_path / "landing"))

    with pytest.raises(DataError, match=r"a cell holds a moment that is no date .*'infinity'.*NULLIF\(valid_to, 'infinity'\)"):
        made(table="terms").scan()
    rows = made(query="SELECT id, NULLIF(until, 'infinity') AS until FROM terms ORDER BY id").scan().collect()
    assert rows["until"].to_list() == [date(2024, 2, 29), None]
