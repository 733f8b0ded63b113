"""Real database servers for the tests: made in a temporary folder, on a free port, stopped at the end.

PostgreSQL and MariaDB come from the system's packages (Debian: postgresql, mariadb-server). Neither runs as root: there, the users that
the packages made (postgres, mysql) run them.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

START_S = 60
PASSWORD = "correct horse 7 battery"
"""Of the user `reader`; what no file of a run may hold."""


@dataclass
class Server:
    """A running server. url: of the database `shop`, for the user `reader`, without a password."""

    word: str
    folder: Path
    port: int
    command: list[str]
    admin: list[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.word}://127.0.0.1:{self.port}/shop"

    def start(self) -> None:
        log = (self.folder / "server.log").open("ab")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True)
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s:
            done = subprocess.run([*self.admin, "SELECT 1"], capture_output=True, check=False)
            if done.returncode == 0:
                return
            assert self.process.poll() is None, (self.folder / "server.log").read_text(errors="replace")[-2000:]
            time.sleep(0.1)
        raise AssertionError(f"{self.word} did not start: {(self.folder / 'server.log').read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to the server and all it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def sql(self, *statements: str) -> None:
        """As the administrator."""
        for statement in statements:
            done = subprocess.run([*self.admin, statement], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr

    def script(self, text: str) -> None:
        """A long text of SQL, as the administrator."""
        words = [*self.admin[:-1], "-f", "-"] if self.word == "postgresql" else [*self.admin[:-1], "shop"]
        done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def as_user(name: str) -> list[str]:
    """What runs a command as another user where this is root; servers refuse to be root."""
    return ["setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups"] if os.getuid() == 0 else []


def _folder(word: str, user: str) -> Path:
    # Short, for the path of a socket, and below a folder that another user may enter.
    folder = Path(tempfile.mkdtemp(prefix=f"lode-{word}-"))
    folder.chmod(0o755)
    if os.getuid() == 0:
        shutil.chown(folder, user)
    return folder


def _known_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def postgresql() -> Server:
    """PostgreSQL, or a skip that says what is missing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    binaries = found[-1].parent if found else Path(shutil.which("postgres") or "").parent
    if not (binaries / "initdb").is_file():
        pytest.skip("no PostgreSQL server here; Debian: apt-get install postgresql")
    if os.getuid() == 0 and not (_known_user("postgres") and shutil.which("setpriv")):
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres (or no setpriv)")
    folder, port, prefix = _folder("postgresql", "postgres"), free_port(), as_user("postgres")
    data = str(folder / "data")
    make = [*prefix, str(binaries / "initdb"), "-D", data, "-U", "admin", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"]
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    subprocess.run([*make, "--locale=C.UTF-8", f"--pwfile={folder / 'password'}"], check=True, capture_output=True, cwd=folder)
    settings = ("fsync=off", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", f"port={port}")
    command = [*prefix, str(binaries / "postgres"), "-D", data, *(part for item in settings for part in ("-c", item))]
    connect = f"host=127.0.0.1 port={port} user=admin password='{PASSWORD}' dbname=postgres"
    server = Server("postgresql", folder, port, command, [str(binaries / "psql"), "-qAt", "-v", "ON_ERROR_STOP=1", connect, "-c"])
    server.start()
    server.sql(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE shop")
    server.admin[4] = connect.replace("dbname=postgres", "dbname=shop")
    server.sql("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader")
    return server


def mariadb() -> Server:
    """MariaDB, or a skip that says what is missing."""
    program, make, client = (shutil.which(name) for name in ("mariadbd", "mariadb-install-db", "mariadb"))
    if not (program and make and client):
        pytest.skip("no MariaDB server here; Debian: apt-get install mariadb-server")
    if os.getuid() == 0 and not (_known_user("mysql") and shutil.which("setpriv")):
        pytest.skip("MariaDB refuses to run as root, and there is no user mysql (or no setpriv)")
    folder, port, prefix = _folder("mariadb", "mysql"), free_port(), as_user("mysql")
    data, where = f"--datadir={folder / 'data'}", str(folder / "s.sock")
    subprocess.run(
        [*prefix, make, "--no-defaults", data, "--skip-test-db", "--auth-root-authentication-method=normal"],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip
    command = [
        *prefix, program, "--no-defaults", data, f"--socket={where}", f"--port={port}", "--bind-address=127.0.0.1",
        f"--pid-file={folder / 'pid'}", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--skip-name-resolve",
    ]  # fmt: skip
    server = Server("mariadb", folder, port, command, [client, "--no-defaults", "-uroot", f"--socket={where}", "-e"])
    server.start()
    server.sql(
        "CREATE DATABASE shop CHARACTER SET utf8mb4",
        f"CREATE USER 'reader'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
        "GRANT SELECT ON shop.* TO 'reader'@'127.0.0.1'",
    )
    return server
