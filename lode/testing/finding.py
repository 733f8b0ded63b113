"""What every finding must do. Third parties run the same checks: `check_finding(lambda: Mine(), troubled, clean)`.

Read lode/data/contracts.py first; lode/data/quality/profile.py makes profiles, `snapshot_of` a snapshot of a table to profile.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lode.data.contracts import ROW, Finding, Observation
from lode.data.quality.profile import profile
from lode.data.split import PARTS

SEVERITIES = ("error", "warning", "info")


def check_finding(make: Callable[[], Finding], troubled: Mapping[str, Any], clean: Mapping[str, Any]) -> None:
    """Run every check. troubled, clean: profiles in which there is, and is not, what the finding looks for.

    Errors: AssertionError with what is wrong.
    """
    check_declaration(make)
    check_observations(make, troubled)
    assert make().look(clean) == [], f"found in clean data: {[item.text for item in make().look(clean)]}"


def check_declaration(make: Callable[[], Finding]) -> None:
    """A title; options are keyword-only and have defaults, so that every profile can be asked."""
    finding = make()
    assert finding.title and finding.title[0].islower() and not finding.title.endswith("."), "a title is a few words for a heading"
    for parameter in list(inspect.signature(type(finding).__init__).parameters.values())[1:]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"{parameter.name} must be keyword-only"
        assert parameter.default is not inspect.Parameter.empty, f"{parameter.name} needs a default"


def check_observations(make: Callable[[], Finding], troubled: Mapping[str, Any]) -> None:
    """Something is found; it is pure, needs plain JSON only, names columns that there are, and speaks in sentences."""
    given = json.loads(json.dumps(troubled, allow_nan=False))
    before = copy.deepcopy(given)
    found = make().look(given)
    assert found, "nothing was found: give a profile with this trouble"
    assert given == before, "the profile was changed"
    assert make().look(given) == found, "the same profile gives other observations"
    for item in found:
        assert isinstance(item, Observation)
        assert item.severity in SEVERITIES, f"severity {item.severity!r}"
        assert set(item.columns) <= set(given["columns"]), f"columns {item.columns} are not in the profile"
        assert all(column in item.text for column in item.columns), f"the text does not name {item.columns}: {item.text}"
        for text in (item.text, item.advice):
            assert text[-1] == "." and "\n" not in text, f"not a sentence: {text!r}"


def snapshot_of(
    parts: Mapping[str, pl.DataFrame], columns: Mapping[str, tuple[str, str]], folder: Path, split: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The profile of a table, through a snapshot in `folder`.

    parts: "train", "validation" and "test", typed. columns: name -> (role, word of its feature or task).
    """
    start = 0
    for part in PARTS:
        rows = pl.Series(ROW, np.arange(start, start + parts[part].height), dtype=pl.UInt64)
        start += parts[part].height
        parts[part].select(rows, *parts[part].columns).write_parquet(folder / f"{part}.parquet")
    schema = {"columns": {name: {"role": role, "type": word} for name, (role, word) in columns.items()}}
    (folder / "schema.json").write_text(json.dumps(schema), "utf-8")
    (folder / "report.json").write_text(json.dumps({"rows": {"read": start}}), "utf-8")
    return profile(folder, split or {}, lambda what, done, total, figures: None)
