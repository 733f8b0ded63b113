"""Several processes on the same books: who lives, and what each has set aside. In the writer's thread, within its transaction.

A process alone keeps reservations in memory: a crash releases them by itself. As soon as another one is there, each takes
blocks of what is left as leases (a row each) and spends only from them, so that together they never pass a ceiling. A
process shows that it does so by a row without a name; the others reserve nothing before. A dead process's leases are worth
nothing: at once where it ran on this machine, after LIVES_US otherwise.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from lode.app.books.contracts import Session

LIVES_US = 10_000_000
"""A process that says nothing for so long is dead."""
_RECALL_US = 2_000_000
RECALL = "recall|"
_PUT = (
    "INSERT INTO leases (process, allowance, amount, until_us) VALUES (?, ?, ?, ?) ON CONFLICT (process, allowance) DO UPDATE SET "
    "amount = excluded.amount, until_us = excluded.until_us"
)
_OTHERS = (
    "SELECT leases.amount FROM leases JOIN processes ON processes.process = leases.process WHERE leases.allowance = ? AND "
    "leases.process <> ? AND processes.until_us > ?"
)


def this_process() -> str:
    """machine|pid|start: unique, and whether it lives can be asked on the same machine."""
    return f"{_machine()}|{os.getpid()}|{_started(os.getpid())}"


def is_dead(process: str) -> bool:
    """Whether a process of this machine has ended; False for another machine's, of which nothing is known."""
    machine, _, rest = process.partition("|")
    pid, _, started = rest.partition("|")
    return machine == _machine() and pid.isdigit() and _started(int(pid)) != started


class Leases:
    """What one process has set aside in the books. alone: whether it reserves in memory. epoch: grows whenever it was thought dead."""

    def __init__(self, process: str, model: str, is_dead: Callable[[str], bool] = is_dead):
        self.process = process
        self.held: dict[str, int] = {}
        self.alone = True
        self.epoch = 0
        self._model = model
        self._is_dead = is_dead
        self._recalls: set[str] = set()
        self._is_known = False
        self._others: tuple[str, ...] = ()

    def copy(self) -> Leases:
        """For a transaction that may fail."""
        made = Leases(self.process, self._model, self._is_dead)
        made.held, made._recalls = dict(self.held), set(self._recalls)
        made.alone, made.epoch, made._is_known, made._others = self.alone, self.epoch, self._is_known, self._others
        return made

    @property
    def others(self) -> tuple[str, ...]:
        """Processes that lived when it was last looked."""
        return self._others

    def look(self, session: Session, now_us: int) -> None:
        """Who is there. Notices when this process itself was thought dead: what it holds may have been given to others."""
        rows = session.rows("SELECT process, until_us FROM processes")
        self._others = tuple(process for process, until_us in rows if process != self.process and until_us > now_us)
        lives = any(process == self.process and until_us > now_us for process, until_us in rows)
        if self._is_known and not lives:
            self.epoch += 1
            self.held.clear()
            self._is_known = False

    def beat(self, session: Session, now_us: int, enter: dict[str, int] | None, leave: bool) -> None:
        """Say that this process lives. See `Beat`."""
        for (process,) in session.rows("SELECT process FROM processes WHERE process <> ?", (self.process,)):
            if self._is_dead(process):
                self._forget(session, process)
        session.run("DELETE FROM leases WHERE process IN (SELECT process FROM processes WHERE until_us <= ?)", (now_us,))
        session.run("DELETE FROM processes WHERE until_us <= ?", (now_us,))
        self.look(session, now_us)
        session.run(
            "INSERT INTO processes (process, started_us, until_us, model) VALUES (?, ?, ?, ?) ON CONFLICT (process) DO UPDATE SET "
            "until_us = excluded.until_us",
            (self.process, now_us, now_us + LIVES_US, self._model),
        )
        if not self._is_known:
            self._is_known, self.alone = True, not self._others
        if enter is not None:
            self.alone, self.held = False, {name: amount for name, amount in enter.items() if amount}
        if leave and not self._others:
            self.alone = True
            self.held.clear()
        session.run("DELETE FROM leases WHERE process = ?", (self.process,))
        if not self.alone:
            rows = [("", 1), *((name, amount) for name, amount in self.held.items() if amount)]
            session.run_many(_PUT, [(self.process, name, str(amount), now_us + LIVES_US) for name, amount in rows])

    def leave(self, session: Session) -> None:
        """This process ends."""
        self._forget(session, self.process)
        self.held.clear()

    def are_ready(self, session: Session) -> bool:
        """Whether every other process keeps its reservations as leases."""
        shown = {process for (process,) in session.rows("SELECT process FROM leases WHERE allowance = ''")}
        return shown.issuperset(self._others)

    def of_others(self, session: Session, name: str, now_us: int) -> int:
        """What others have set aside of an allowance."""
        return sum(int(amount) for (amount,) in session.rows(_OTHERS, (name, self.process, now_us)))

    def grant(self, session: Session, name: str, left: int, first: int, want: int, takes_more: bool, now_us: int) -> int:
        """Take from what nobody has set aside: `want`, and a part of the rest. Where `first` is not there: nothing; it is recalled.

        left: of the allowance, in the books.
        """
        free = left - self.of_others(session, name, now_us) - self.held.get(name, 0)
        if not self.are_ready(session) or free < first:
            if left >= first:
                session.run(_PUT, (self.process, RECALL + name, str(first), now_us + _RECALL_US))
                self._recalls.add(name)
            return 0
        if name in self._recalls:
            session.run("DELETE FROM leases WHERE process = ? AND allowance = ?", (self.process, RECALL + name))
            self._recalls.discard(name)
        more = max(0, free - want) // (2 * (len(self._others) + 1)) if takes_more else 0
        granted = min(free, want + more)
        self.held[name] = self.held.get(name, 0) + granted
        self.write(session, (name,), now_us)
        return granted

    def take(self, name: str, amount: int) -> None:
        """A settlement uses up a lease."""
        if amount > 0 and name in self.held:
            self.held[name] = max(0, self.held[name] - amount)

    def write(self, session: Session, names: tuple[str, ...], now_us: int) -> None:
        """Make leases as they are in the books."""
        rows = [(self.process, name, str(self.held.get(name, 0)), now_us + LIVES_US) for name in names]
        session.run_many(_PUT, rows)

    def _forget(self, session: Session, process: str) -> None:
        session.run("DELETE FROM leases WHERE process = ?", (process,))
        session.run("DELETE FROM processes WHERE process = ?", (process,))


def recalled(session: Session, process: str, now_us: int) -> tuple[str, ...]:
    """Names of allowances that another process lacks."""
    rows = session.rows(
        "SELECT allowance FROM leases WHERE allowance LIKE 'recall|%' AND process <> ? AND until_us > ?", (process, now_us)
    )
    return tuple(sorted({name.removeprefix(RECALL) for (name,) in rows}))


def _machine() -> str:
    """Host, boot, and process namespace: equal only where process ids mean the same."""
    boot = _text(Path("/proc/sys/kernel/random/boot_id"))[:8]
    try:
        space = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        space = ""
    return f"{socket.gethostname()}/{boot}/{space}"


def _started(pid: int) -> str:
    """When a process began, as the kernel counts; "" where it has ended or that cannot be read."""
    # "pid (name) state ...": the name may hold anything, so what follows its last bracket is counted; field 22 of proc(5).
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return "" if len(fields) < 20 or fields[0] == "Z" else fields[19]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
