from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from lode.app.listening import listen
from lode.app.options import ServeOptions
from lode.cli import main as cli
from lode.core.errors import DataError, ServeError

ROOT = Path(__file__).resolve().parents[3]


def lode(*words: str) -> subprocess.CompletedProcess[str]:
    """The real command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lode", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A verb `fake` whose `run` the test chooses."""
    module = types.ModuleType("lode.cli.fake", "Do nothing.")
    module.add = lambda parser: parser.add_argument("--width", type=int, default=1)  # type: ignore[attr-defined]
    module.run = lambda args: {"width": args.width}  # type: ignore[attr-defined]
    module.show = lambda result: f"width {result['width']}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lode.cli.fake", module)
    monkeypatch.setattr(cli, "_verbs", lambda: {"fake": "Do nothing.", "check": "Check."})
    return module


def raising(error: BaseException) -> Any:
    def run(args: argparse.Namespace) -> dict[str, Any]:
        raise error

    return run


def test_every_verb_is_listed_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    for verb, line in cli._verbs().items():
        assert verb in listed and line and line in listed
    assert {"check", "init"} <= set(cli._verbs())
    assert not {"main", "options", "progress", "_stages"} & set(cli._verbs())


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "usage: lode VERB" in capsys.readouterr().out


def test_a_verb_prints_what_a_person_reads(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake", "--width", "3"]) == 0
    assert capsys.readouterr().out == "width 3\n"


@pytest.mark.parametrize("words", [["fake", "--json"], ["--json", "fake"]])
def test_json_is_one_object(verb: types.ModuleType, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out) == {"width": 1}


def test_json_holds_what_json_can(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = lambda args: {"a": float("nan"), "b": Path("x/y"), "c": (1, 2.5), 3: None}  # type: ignore[attr-defined]
    cli.main(["fake", "--json"])
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": "x/y", "c": [1, 2.5], "3": None}


def test_what_a_verb_prints_meanwhile_does_not_reach_json(verb: types.ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> dict[str, Any]:
        print("chatter")
        os.write(1, b"chatter of a library\n")
        return {"done": True}

    verb.run = run  # type: ignore[attr-defined]
    assert cli.main(["fake", "--json"]) == 0
    found = capfd.readouterr()
    assert json.loads(found.out) == {"done": True}
    assert "chatter of a library" in found.err


def test_a_users_mistake_is_exit_2_without_traceback(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = raising(DataError("a.csv: found nothing, allowed: rows."))  # type: ignore[attr-defined]
    assert cli.main(["fake"]) == 2
    found = capsys.readouterr()
    assert (found.out, found.err) == ("", "a.csv: found nothing, allowed: rows.\n")


def test_a_users_mistake_is_json_too(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = raising(DataError("wrong"))  # type: ignore[attr-defined]
    assert cli.main(["fake", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"error": {"type": "DataError", "message": "wrong"}}


def test_our_fault_is_exit_1_with_traceback(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = raising(ZeroDivisionError("oops"))  # type: ignore[attr-defined]
    assert cli.main(["fake"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error and "our fault" in error
    assert cli.main(["fake", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "ZeroDivisionError"


def test_what_the_machine_refuses_is_a_plain_message(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = raising(OSError(errno.EACCES, "Permission denied", "runs/x"))  # type: ignore[attr-defined]
    assert cli.main(["fake"]) == 2
    assert capsys.readouterr().err == "runs/x: permission denied\n"
    verb.run = raising(OSError(errno.ENOSPC, "No space left on device", "runs/x"))  # type: ignore[attr-defined]
    assert cli.main(["fake"]) == 2
    assert capsys.readouterr().err.startswith("runs/x: the disk is full. Free some (")


def test_an_interruption_is_exit_130_with_a_plain_message(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    verb.run = raising(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert cli.main(["fake"]) == 130
    error = capsys.readouterr().err
    assert "interrupted" in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["chekc"], 'found the verb "chekc", allowed: fake, check. Did you mean "check"?'),
        (["fake", "--widht", "3"], 'found "--widht", which it does not take. Did you mean "--width"?'),
        (["fake", "--width", "x"], 'found "x" for --width, allowed: a whole number. See `lode fake --help`.'),
        (["--nope"], 'found "--nope", allowed: a verb first'),
    ],
)
def test_wrong_command_lines_are_exit_2(
    verb: types.ModuleType, capsys: pytest.CaptureFixture[str], words: list[str], wanted: str
) -> None:
    assert cli.main(words) == 2
    assert wanted in capsys.readouterr().err
    assert cli.main([*words, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["error"]
    assert found["type"] == "UsageError" and wanted in found["message"]


def test_help_of_a_verb_shows_its_options(verb: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fake", "--help"]) == 0
    listed = capsys.readouterr().out
    assert "Do nothing." in listed and "--width" in listed and "--json" in listed


def test_every_verb_has_help() -> None:
    for verb in cli._verbs():
        found = lode(verb, "--help")
        assert found.returncode == 0, found.stderr
        assert found.stdout.startswith(f"usage: lode {verb}")


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lode ")


def test_a_closed_pipe_is_no_traceback() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run(
        [sys.executable, "-m", "lode", "check", "--words"],
        env=environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert found.stderr == b""
    assert found.returncode == 141


def test_a_terminal_that_lacks_letters_still_gets_the_message() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "lode", "check", "\u6570\u636e.yaml"]
    found = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith(b"\\u6570\\u636e.yaml: found no such file")


def test_python_finds_the_public_verbs() -> None:
    code = """
import sys
import lode
assert set(lode.__all__) == {"check", "load", "plan", "run", "serve"}, lode.__all__
assert set(lode.__all__) <= set(dir(lode))
heavy = {"torch", "polars", "numpy", "yaml", "sklearn"} & set(sys.modules)
assert not heavy, heavy
assert lode.check.__module__ == "lode.core.spec"
try:
    lode.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)


@pytest.mark.parametrize("name", ["run", "data", "plan", "tune"])
def test_a_mistake_in_the_file_is_told_before_torch_is_loaded(name: str, tmp_path: Path) -> None:
    code = f"import sys; from lode.cli.main import main; main(['{name}', 'missing.yaml']); sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0 and "missing.yaml: found no such file" in done.stderr


def test_rows_are_cleaned_without_torch(tmp_path: Path) -> None:
    """It takes seconds and 200 MB to load; a file that is only cleaned has no need of it."""
    text = "name: rows\ndata: {source: {type: csv, path: rows.csv}}\noutputs: {bought: {type: binary, positive: '1'}}\n"
    (tmp_path / "lode.yaml").write_text(text, "utf-8")
    (tmp_path / "rows.csv").write_text(
        "age,bought\n" + "".join(f"{number * 7 % 50},{number % 2}\n" for number in range(60)), "utf-8"
    )
    code = (
        "import sys; from lode.cli.main import main; code = main(['data']); "
        "print('heavy', sorted({'torch', 'sklearn', 'scipy.optimize', 'scipy.stats'} & set(sys.modules))); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "heavy []"), done.stderr


def test_a_port_is_never_another_one_than_was_asked_for() -> None:
    with pytest.raises(ServeError, match=r"--port 99999: found 99999, allowed: 0 to 65535"):
        listen(ServeOptions(port=99999))
