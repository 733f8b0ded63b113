"""Runs documentation: the fenced blocks of a Markdown page, in order, in an empty folder.

    ```yaml      whose first line is `# NAME` is written to the file NAME (also ```toml, ```python and ```csv)
    ```console   lines with `$ ` are run; what stands below must be their output
    ```python    without such a first line is run as a script; a ```text block right after it must be its output

In expected output `...` stands for anything, white space counts as one blank, and numbers may differ by a tenth:
the same file on another chip gives figures that differ in later digits.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lode.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")
NAMED = re.compile(r"^# ([\w./-]+\.\w+)\n")
SHELL = re.compile(r"[|&;<>$*`]")
TOLERANCE, SMALL = 0.1, 0.2
PRINTED_PORT = "8137"
"""The port that pages name; a free one takes its place, so that nothing that runs here already is in the way."""


@dataclass(frozen=True)
class Block:
    """One fenced block. line: where its fence stands in the page."""

    language: str
    text: str
    line: int


def fenced_blocks(markdown: str) -> list[Block]:
    """Every fenced block of a page, in order."""
    return [Block(hit[1], hit[2], markdown.count("\n", 0, hit.start()) + 1) for hit in FENCE.finditer(markdown)]


def commands(console: str) -> list[tuple[str, str]]:
    """(command, expected output) pairs of a console block; a line that ends in a backslash goes on in the next."""
    found: list[tuple[list[str], list[str]]] = []
    continued = False
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif continued:
            found[-1][0].append(line)
        else:
            assert found, f"a console block starts with a command, found {line!r}"
            found[-1][1].append(line)
        continued = line.endswith("\\")
    return [("\n".join(command), "\n".join(output)) for command, output in found]


def disagreement(expected: str, actual: str, tolerance: float = TOLERANCE) -> str | None:
    """None where the output is as expected, else what to print. tolerance: by how much numbers may differ, as a part of them."""
    numbers = [float(hit[0].replace(",", "")) for hit in NUMBER.finditer(expected)]
    pattern, at = "", 0
    for hit in NUMBER.finditer(expected):
        pattern += _literal(expected[at : hit.start()]) + r"([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)"
        at = hit.end()
    pattern += _literal(expected[at:])
    match = re.fullmatch(rf"\s*{pattern}\s*", actual, re.DOTALL)
    shown = f"--- the page says\n{expected}\n--- it gives\n{actual}"
    if match is None:
        return shown
    for wanted, group in zip(numbers, match.groups(), strict=True):
        got = float(group.replace(",", ""))
        if abs(got - wanted) > tolerance * max(SMALL, abs(wanted)):
            return f"{wanted:g} in the page, {got:g} in fact\n{shown}"
    return None


def _literal(text: str) -> str:
    parts = [r"\s+".join(re.escape(word) for word in re.split(r"\s+", part)) for part in text.split("...")]
    return ".*?".join(parts)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Walkthrough:
    """Does what a page says, in `folder`.

    inside: does a plain `lode` command in this process; None: every command is a process. tolerance: see `disagreement`.
    """

    folder: Path
    path: str
    inside: Callable[[list[str]], str] | None = None
    tolerance: float = TOLERANCE
    background: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, page: Path) -> int:
        """Run every block of the page; returns how many commands and scripts ran."""
        blocks = fenced_blocks(page.read_text(encoding="utf-8").replace(PRINTED_PORT, str(free_port())))
        count = 0
        for block, following in zip(blocks, [*blocks[1:], Block("", "", 0)], strict=True):
            where = f"{page.name}:{block.line}"
            named = NAMED.match(block.text) if block.language in ("yaml", "toml", "python", "csv", "jsonl") else None
            if named:
                self._write(named[1], block)
            elif block.language == "console":
                for command, expected in commands(block.text):
                    count += 1
                    self._check(where, command, expected, self._shell(command, expected))
            elif block.language == "python":
                count += 1
                expected = following.text if following.language == "text" else "..."
                self._check(where, "the script", expected, self._finish([sys.executable, "-c", block.text], expected))
        return count

    def _write(self, name: str, block: Block) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        drop_first = block.language in ("csv", "jsonl")  # these know no comments
        target.write_text(block.text.partition("\n")[2] if drop_first else block.text, encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": self.path, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}

    def _shell(self, command: str, expected: str) -> str:
        if command.rstrip().endswith("&"):
            words = ["bash", "-c", f"exec {command.rstrip()[:-1]}"]
            self.background.append(
                subprocess.Popen(
                    words,
                    cwd=self.folder,
                    env=self._environment(),
                    text=True,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
            return ""
        if self.inside is not None and command.startswith("lode ") and not SHELL.search(command):
            return self.inside(shlex.split(command.replace("\\\n", " "))[1:])
        return self._finish(["bash", "-c", command], expected)

    def _finish(self, words: list[str], expected: str) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=self._environment(), text=True, capture_output=True, timeout=600, check=False
        )
        # Where the page says no word of what comes out, nothing would show an error but this.
        assert done.returncode == 0 or expected.replace("...", "").strip(), f"{words[-1]}\n{done.stdout}{done.stderr}"
        # Errors are part of what a person sees; progress of a run that went well is not part of its result.
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def _check(self, where: str, command: str, expected: str, actual: str) -> None:
        wrong = disagreement(expected, actual, self.tolerance)
        assert wrong is None, f"{where}: {command}\n{wrong}"

    def stop(self) -> None:
        """End every server that the page started. Errors: AssertionError where one ended, or had ended, with an error."""
        for process in self.background:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
        ends = [process.returncode for process in self.background]
        assert set(ends) <= {0, -signal.SIGTERM}, f"servers of the page ended with {ends}"


@pytest.fixture
def walkthrough(tmp_path: Path) -> Iterator[Walkthrough]:
    """An empty folder in which a page can be run; `lode` on its path is this checkout's."""
    commands_folder = tmp_path / "bin"
    commands_folder.mkdir()
    for name, words in {"lode": "-m lode ", "python": "", "python3": ""}.items():
        # Scripts, not links: an interpreter that is reached through a link elsewhere does not find its environment.
        script = commands_folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n', encoding="utf-8")
        script.chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    runner = Walkthrough(folder, f"{commands_folder}{os.pathsep}{os.environ['PATH']}")
    yield runner
    runner.stop()


@pytest.fixture
def quick_walkthrough(walkthrough: Walkthrough, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Walkthrough:
    """The same for pages about money: exact, and without starting Python for each command, which takes longer than all that they do."""

    def inside(words: list[str]) -> str:
        code, out = main(words), capsys.readouterr()
        return out.out if code == 0 else out.out + out.err

    monkeypatch.chdir(walkthrough.folder)
    walkthrough.inside, walkthrough.tolerance = inside, 0.0
    return walkthrough


@pytest.fixture
def markdown_links() -> list[tuple[Path, str]]:
    """(page, target) of every relative link in the README, the docs and the recipes."""
    pages = [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "recipes").rglob("*.md"),
    ]
    links = re.compile(r"\]\(([^)\s]+)\)")
    return [
        (page, hit[1])
        for page in pages
        for hit in links.finditer(FENCE.sub("", page.read_text(encoding="utf-8")))
        if "://" not in hit[1] and not hit[1].startswith("#")
    ]
