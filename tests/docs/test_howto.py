"""What the how-to pages write is allowed: every YAML block is a file that passes `lode check`, or a marked part of one.

A block whose first line is `# lode.yaml` is a whole file. One whose first line is `# part of a file` is laid over the smallest file
that there is; keys of `data` may stand in it without `data:` above them. A page that adds an extension (a Python block named
`lode/.../WORD.py`) may use its word.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lode.core.errors import SpecError
from lode.core.registry import REGISTRIES, section
from lode.core.spec import load
from lode.core.spec_reader import DATA
from tests.docs.conftest import NAMED, ROOT, Block, fenced_blocks

FOLDER = ROOT / "docs" / "how-to"
PAGES = sorted(FOLDER.glob("*.md"))
DATA_KEYS = (*DATA, *section("bounds").options)
WHOLE, PART = "# lode.yaml\n", "# part of a file\n"
SMALLEST = {"name": "x", "data": {"source": {"type": "csv", "path": "x.csv"}}, "outputs": {"y": {"type": "binary", "positive": 1}}}
SCRIPT = re.compile(r"^```python\n.*?^```\n```text\n.*?^```\n", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\$ )?lode ([a-z]+)\b([^|\n]*)", re.MULTILINE)
INLINE = re.compile(r"`(\{type: \w+[^`]*\})`")
EXTRAS = re.compile(r"lodeml\[([\w,]+)\]")
SHOWN = ("console", "sh", "bash", "text", "")


def blocks(language: str) -> list[Any]:
    """(page, block) of every fenced block in a language, named by page and line."""
    found = [(page, block) for page in PAGES for block in fenced_blocks(page.read_text(encoding="utf-8"))]
    return [pytest.param(*item, id=f"{item[0].stem}:{item[1].line}") for item in found if item[1].language == language]


def written(pattern: re.Pattern[str]) -> list[Any]:
    """(page, text) of every place in the pages that fits a pattern, named by page and number."""
    found = [(page, pattern.findall(page.read_text(encoding="utf-8"))) for page in PAGES]
    return [pytest.param(page, text, id=f"{page.stem}:{number}") for page, texts in found for number, text in enumerate(texts, 1)]


def commands_of(page: Path) -> list[tuple[str, str]]:
    """(verb, rest) of every command of `lode` in a page's blocks."""
    shown = [block for block in fenced_blocks(page.read_text(encoding="utf-8")) if block.language in SHOWN]
    return [found for block in shown for found in COMMAND.findall(block.text)]


def laid_over(part: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest file with what a part says; `data` is completed, other sections are replaced."""
    data = {**part.get("data", {}), **{key: value for key, value in part.items() if key in DATA_KEYS}}
    others = {key: value for key, value in part.items() if key != "data" and key not in DATA_KEYS}
    made = {**SMALLEST, **others, "data": {**SMALLEST["data"], **data}}  # type: ignore[dict-item]
    model = made.get("model")
    is_language = isinstance(model, Mapping) and model.get("type") == "language"
    return {key: value for key, value in made.items() if not (is_language and key == "outputs")}


def problems(text: str, folder: Path) -> str | None:
    """What `lode check` says of a block, None where it is right."""
    if text.startswith(PART):
        text = yaml.safe_dump(laid_over(yaml.safe_load(text)))
    elif not text.startswith(WHOLE):
        return "begins neither with `# lode.yaml` nor with `# part of a file`"
    path = folder / "lode.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load(path)
    except SpecError as error:
        return str(error)
    return None


def fits(component: Mapping[str, Any]) -> bool:
    """Whether some kind of extension has this word with these options."""
    for kind in REGISTRIES.values():
        if kind.has(component["type"]) and set(component) - {"type"} <= set(kind.signature(component["type"]).options):
            return True
    return False


def components(value: Any) -> Iterator[str]:
    """Every word that a file writes, as a word or with `type:`, at any depth."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from components(item)
    elif isinstance(value, list):
        for item in value:
            yield from components(item)
    elif isinstance(value, str):
        yield value


@pytest.fixture
def with_words_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Registers what a page tells to write below `lode/`."""

    def register(page: Path) -> None:
        for block in fenced_blocks(page.read_text(encoding="utf-8")):
            named = NAMED.match(block.text)
            if block.language == "python" and named and named[1].startswith("lode/"):
                kind = next(item for item in REGISTRIES.values() if item.folder == (ROOT / named[1]).parent)
                copy = tmp_path / kind.folder.name
                shutil.copytree(kind.folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
                (copy / Path(named[1]).name).write_text(block.text, encoding="utf-8")
                monkeypatch.setattr(kind, "folder", copy)

    return register


@pytest.mark.parametrize(("page", "block"), blocks("yaml"))
def test_a_file_of_a_page_passes_the_check(page: Path, block: Block, with_words_of_the_page: Any, tmp_path: Path) -> None:
    with_words_of_the_page(page)
    found = problems(block.text, tmp_path)
    assert found is None, f"{page.name}:{block.line}\n{found}"


@pytest.mark.parametrize(("page", "text"), written(INLINE))
def test_a_component_within_a_sentence_is_one_that_there_is(page: Path, text: str) -> None:
    assert "..." in text or fits(yaml.safe_load(text)), f"{page.name}: {text}"


@pytest.mark.parametrize("word", REGISTRIES["source"].names())
def test_every_source_has_a_page_that_uses_it(word: str) -> None:
    page = FOLDER / f"source-{word}.md"
    assert page.is_file(), f"docs/how-to/{page.name} is missing"
    written = [yaml.safe_load(block.text) for block in fenced_blocks(page.read_text(encoding="utf-8")) if block.language == "yaml"]
    assert any(word in components(item["data"]["source"]) for item in written)


@pytest.mark.parametrize("word", REGISTRIES["cleaner"].names())
def test_every_cleaner_has_a_page_that_uses_it(word: str) -> None:
    page = FOLDER / f"cleaner-{word}.md"
    assert page.is_file(), f"docs/how-to/{page.name} is missing"
    written = [yaml.safe_load(block.text) for block in fenced_blocks(page.read_text(encoding="utf-8")) if block.language == "yaml"]
    assert any(word in components(item.get("data", {}).get("clean", [])) for item in written)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if SCRIPT.search(page.read_text(encoding="utf-8"))], ids=lambda page: page.stem
)
def test_a_script_of_a_page_gives_the_output_that_it_shows(page: Path, walkthrough: Any, tmp_path: Path) -> None:
    scripts = SCRIPT.findall(page.read_text(encoding="utf-8"))
    (tmp_path / page.name).write_text("\n".join(scripts), encoding="utf-8")
    assert walkthrough.run(tmp_path / page.name) == len(scripts)


def what_is_wrong(verb: str, rest: str) -> str | None:
    """What a command has that the reference does not know, None where it is right."""
    sections = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8").split("\n## lode ")[1:]
    verbs = {text.split("\n")[0]: text for text in sections}
    if verb not in verbs:
        return f"lode {verb}"
    flags = re.findall(r"(?<!\S)--?[a-z][\w-]*", rest.split("#")[0])
    unknown = [flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", verbs[verb])]
    return f"lode {verb} has no {unknown}" if unknown else None


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)], ids=lambda page: page.stem)
def test_a_command_of_a_page_is_one_that_there_is(page: Path) -> None:
    wrong = [found for found in (what_is_wrong(*command) for command in commands_of(page)) if found]
    assert not wrong, f"{page.name}: {wrong}"


@pytest.mark.parametrize(("page", "text"), written(EXTRAS))
def test_an_extra_that_a_page_installs_is_one_of_the_package(page: Path, text: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(text.split(",")) <= set(extras), f"{page.name}: lodeml[{text}]"


def test_what_these_tests_look_for_is_found() -> None:
    """Otherwise a pattern that fits nothing any more would pass them all."""
    assert len(written(INLINE)) > 10 and len(written(EXTRAS)) > 15
    assert sum(len(commands_of(page)) for page in PAGES) > 60


def test_the_index_names_every_page() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    missing = [page.name for page in PAGES if page.name != "README.md" and f"]({page.name})" not in index]
    assert not missing, f"docs/how-to/README.md does not name {missing}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "neither"),
        ("# lode.yaml\nname: x\ndata: {source: csv}\noutputs: {y: binary}\n", "path"),
        ("# part of a file\nclean: [typos]\n", 'Did you mean "types"'),
        ("# part of a file\ndata: {clean: [types], memroy: 2GB}\n", 'Did you mean "memory"'),
        ("# part of a file\nclean: [types]\nmodel: linear\n", None),
        ("# part of a file\nvalue: {currency: EUR, over: 1, under: 3}\n", "under"),
        ("# part of a file\noutputs: {y: number}\nvalue: {currency: EUR, over: 1, under: 3}\n", None),
    ],
)
def test_a_block_that_the_check_refuses_is_noticed(text: str, message: str | None, tmp_path: Path) -> None:
    found = problems(text, tmp_path)
    assert (found is None) if message is None else message in (found or "")


def test_an_option_that_no_word_has_does_not_fit() -> None:
    assert fits({"type": "missing", "numbers": "median"})
    assert not fits({"type": "missing", "number": "median"})
    assert not fits({"type": "mising"})


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("$ lode train lode.yaml --runs there  # --rnus", None),
        ("lode trane", "lode trane"),
        ("lode train --rnus there", "lode train has no ['--rnus']"),
        ("lode train --run there", "lode train has no ['--run']"),
    ],
)
def test_a_command_that_there_is_not_is_noticed(command: str, message: str | None) -> None:
    ((verb, rest),) = COMMAND.findall(command)
    assert what_is_wrong(verb, rest) == message
