"""Every recipe is complete: a file that passes `lode check`, a README that says where data come from, numbers to reach."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lode.core.spec import Spec, load
from lode.core.types import Component

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent for path in (ROOT / "recipes").glob("*/*/lode.yaml"))
MAX_OWN_BYTES = 20_000
"""Data of other people are referred to, never shipped; what a recipe makes by itself is small."""


def name_of(recipe: Path) -> str:
    return f"{recipe.parent.name}/{recipe.name}"


every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=name_of)


def sources(spec: Spec) -> Iterator[Component]:
    """Every source of a file, those inside others too."""
    pending = [component for components in spec.data.sources.values() for component in components]
    while pending:
        component = pending.pop()
        yield component
        pending += [value for value in component.options.values() if isinstance(value, Component)]


def needed_files(spec: Spec) -> Iterator[tuple[str, str | None]]:
    """(path, sha256) of every file outside the recipe that its sources read."""
    for source in sources(spec):
        path = source.options.get("path")
        if path is not None and not (spec.path.parent / path).exists():
            yield path, source.options.get("sha256")


@every_recipe
def test_a_recipe_passes_the_check_and_is_named_like_its_folder(recipe: Path) -> None:
    assert load(recipe / "lode.yaml").name == recipe.name


@every_recipe
def test_a_readme_says_what_where_how_and_how_good(recipe: Path) -> None:
    text = (recipe / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    for heading in ("\n## Data\n", "\n## Run\n", "\n## Expected\n"):
        assert heading in text
    for path, digest in needed_files(load(recipe / "lode.yaml")):
        assert f"`{path}`" in text
        assert digest is not None, f"{path} has no sha256"
        assert digest in text
        assert "- Origin: " in text
        assert "- Licence: " in text
        assert "lode run --data DIR" in text


@every_recipe
def test_the_expected_numbers_name_an_output_of_the_file(recipe: Path) -> None:
    expected: dict[str, Any] = json.loads((recipe / "expected.json").read_text(encoding="utf-8"))
    metric, outputs = expected["metric"], {item.name for item in load(recipe / "lode.yaml").outputs}
    # A language model has no outputs: its figures are of the texts.
    assert metric["output"] in outputs if outputs else "output" not in metric
    assert {"at_least", "at_most"} & set(metric)
    assert set(metric) <= {"output", "name", "at_least", "at_most"}
    assert set(expected) <= {"metric", "packaged"}


@every_recipe
def test_a_file_that_is_missing_has_an_origin(recipe: Path) -> None:
    for source in sources(load(recipe / "lode.yaml")):
        path = source.options.get("path")
        if isinstance(path, str) and not (recipe / path).exists():
            assert source.options.get("origin"), f"{path} has no origin"


def test_recipes_need_files_that_the_tests_above_look_at() -> None:
    """Otherwise those tests would pass whatever recipes say of them."""
    needing = [recipe for recipe in RECIPES if list(needed_files(load(recipe / "lode.yaml")))]
    assert len(needing) > len(RECIPES) / 2


@every_recipe
def test_a_recipe_ships_no_data_of_other_people(recipe: Path) -> None:
    written = {"lode.yaml", "README.md", "expected.json"}
    others = [path for path in recipe.rglob("*") if path.is_file() and path.name not in written and "runs" not in path.parts]
    assert sum(path.stat().st_size for path in others) <= MAX_OWN_BYTES


@pytest.mark.data
@every_recipe
def test_the_files_of_a_recipe_are_those_of_the_collection(recipe: Path, lode_data: Path) -> None:
    index = (lode_data / "INDEX.md").read_text(encoding="utf-8")
    for path, digest in needed_files(load(recipe / "lode.yaml", lode_data)):
        assert (lode_data / path).is_file()
        assert str(digest) in index


def test_the_industries_and_the_basics_are_there() -> None:
    assert {recipe.parent.name for recipe in RECIPES} >= {"medicine", "vision", "finance", "retail", "text", "tabular", "basics"}


def test_the_recipe_of_selling_gives_exactly_the_amounts_that_it_shows(quick_walkthrough: Any) -> None:
    recipe = ROOT / "recipes" / "selling" / "sell-predictions"
    shutil.copytree(recipe, quick_walkthrough.folder, dirs_exist_ok=True)
    assert quick_walkthrough.run(recipe / "README.md") == 25
