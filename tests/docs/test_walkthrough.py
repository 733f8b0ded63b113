"""The runner of the pages is itself able to fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("page", "holds"),
    [
        ("```console\n$ echo one two\none   two\n```\n", True),
        ("```console\n$ echo one two\none three\n```\n", False),
        ("```console\n$ echo one two\n```\n", False),
        ("```console\n$ echo AUC 0.991 of 1,000\nAUC 0.985 of 1,010\n```\n", True),
        ("```console\n$ echo AUC 0.991\nAUC 0.8\n```\n", False),
        ("```console\n$ echo hash 3fa9\nhash ...\n```\n", True),
        ("```console\n$ ls /nowhere\n...No such file...\n```\n", True),
        ("```yaml\n# a.yaml\nx: 1\n```\n```console\n$ cat a.yaml\n# a.yaml\nx: 1\n```\n", True),
        ("```csv\n# a.csv\nx,y\n```\n```console\n$ cat a.csv\nx,y\n```\n", True),
        ("```python\nprint(6 * 7)\n```\n```text\n42\n```\n", True),
        ("```python\nprint('no')\n```\n```text\nyes\n```\n", False),
        ("```console\n$ echo one \\\n  two\none two\n```\n", True),
    ],
)
def test_a_page_holds_exactly_when_its_output_is_what_it_says(page: str, holds: bool, walkthrough: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(page, encoding="utf-8")
    if holds:
        assert walkthrough.run(path) == 1
    else:
        with pytest.raises(AssertionError, match=r"page\.md:1"):
            walkthrough.run(path)


@pytest.mark.parametrize(
    "page",
    ["```python\nraise SystemExit(3)\n```\n", "```console\n$ cat /nowhere\n...\n```\n", "```console\n$ exit 3\n```\n"],
    ids=["a script", "any output", "no output"],
)
def test_what_fails_is_told_where_the_page_says_nothing_of_the_output(page: str, walkthrough: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(page, encoding="utf-8")
    with pytest.raises(AssertionError):
        walkthrough.run(path)


def test_a_server_of_a_page_that_fails_is_told(walkthrough: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```console\n$ false &\n```\n", encoding="utf-8")
    walkthrough.run(path)
    walkthrough.background[0].wait(10)
    with pytest.raises(AssertionError, match=r"ended with \[1\]"):
        walkthrough.stop()
    walkthrough.background.clear()


def test_a_server_of_a_page_is_stopped_at_the_end(walkthrough: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```console\n$ sleep 600 &\n```\n", encoding="utf-8")
    walkthrough.run(path)
    assert walkthrough.background[0].poll() is None
    walkthrough.stop()
    assert walkthrough.background[0].poll() is not None
