"""Start a folder from a recipe: a commented lode.yaml and its README. Without arguments, list the recipes."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from lode.core.errors import LodeError, SpecError, UnknownNameError, listed, near_miss

DEFAULT = "medicine/breast-cancer"
"""What `lode init DIR` copies: its data come with scikit-learn, so that it runs at once."""
_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "recipes", _PACKAGE.parent / "recipes")
"""In an installed package, and in a checkout."""
_OURS = ("runs", "expected.json")
"""What lies in a recipe's folder for our tests, or from running it there."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="[RECIPE] DIR", help=f"a recipe (default: {DEFAULT}) and a new folder")
    parser.add_argument("--force", action="store_true", help="overwrite files that are there")


def run(args: argparse.Namespace) -> dict[str, Any]:
    recipes = find_recipes()
    if not args.words:
        return {"recipes": {name: first_line(folder) for name, folder in recipes.items()}}
    if len(args.words) > 2:
        raise SpecError(f"lode init: found {len(args.words)} words, allowed: [RECIPE] DIR. Quote a name that has spaces.")
    if len(args.words) == 1:
        if _is_recipe(args.words[0], recipes):
            raise SpecError(f"lode init: found a recipe and no folder, allowed: RECIPE DIR. Try `lode init {args.words[0]} DIR`.")
        word, target = DEFAULT, Path(args.words[0])
    else:
        word, target = args.words[0], Path(args.words[1])
    name = recipe_named(word, recipes)
    return {"recipe": name, "folder": str(target), "files": copy_recipe(recipes[name], target, args.force)}


def show(result: dict[str, Any]) -> str:
    if "recipes" in result:
        width = max((len(name) for name in result["recipes"]), default=0)
        lines = [f"  {name:<{width}}  {line}".rstrip() for name, line in result["recipes"].items()]
        return "\n".join(["Recipes (lode init RECIPE DIR):", *lines])
    files = "\n".join(f"  {name}" for name in result["files"])
    return f"{result['folder']} from {result['recipe']}:\n{files}\nNext: cd {result['folder']} && lode check && lode run"


def find_recipes() -> dict[str, Path]:
    """`industry/name` -> folder of every recipe that comes with lode."""
    for place in _PLACES:
        folders = sorted(path.parent for path in place.glob("*/*/lode.yaml"))
        if folders:
            return {f"{folder.parent.name}/{folder.name}": folder for folder in folders}
    raise LodeError(f"{_PLACES[0]}: found no recipes, allowed: those that come with lode. Install lode again.")


def recipe_named(word: str, recipes: dict[str, Path]) -> str:
    """The full name of a recipe; the part after the slash is enough where it is unique.

    Errors: UnknownNameError with the near miss.
    """
    if word in recipes:
        return word
    short = [name for name in recipes if name.split("/")[1] == word]
    if len(short) == 1:
        return short[0]
    near = near_miss(word, recipes) or near_miss(word, [name.split("/")[1] for name in recipes])
    raise UnknownNameError(f'recipe: found "{word}", allowed: {listed(recipes, limit=16)}.{near} See `lode init`.')


def _is_recipe(word: str, recipes: dict[str, Path]) -> bool:
    return word in recipes or sum(name.split("/")[1] == word for name in recipes) == 1


def first_line(folder: Path) -> str:
    """The first line of a recipe's README, without its mark."""
    readme = folder / "README.md"
    if not readme.is_file():
        return ""
    lines = (line.strip("# ").strip() for line in readme.read_text(encoding="utf-8").splitlines())
    return next((line for line in lines if line), "")


def copy_recipe(source: Path, target: Path, force: bool) -> list[str]:
    """Copy a recipe's files; nothing is written if one of them is there already, unless forced.

    Errors: SpecError naming the files in the way.
    """
    if target.exists() and not target.is_dir():
        raise SpecError(f"{target}: found a file, allowed: a folder. Choose another name.")
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    files = [path for path in files if not any(part in _OURS or part.startswith((".", "__")) for part in path.parts)]
    taken = [str(path) for path in files if (target / path).exists()]
    if taken and not force:
        raise SpecError(f"{target}: found {listed(taken)}, allowed: a folder without them. Choose another, or add --force.")
    for path in files:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target / path)
    return [path.as_posix() for path in files]
