"""What the quality page beside an encrypted snapshot leaves out: cells. Names of columns, figures, and classes of outputs stay in clear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lode.data.snapshot import WITHHELD


def without_cells(profile: Mapping[str, Any]) -> dict[str, Any]:
    """A profile without the words of inputs that it quotes: most frequent values, values beside the target."""
    columns = {name: record if record["role"] == "output" else _column(record) for name, record in profile["columns"].items()}
    return {**profile, "columns": columns}


def _column(record: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(record)
    if "top" in made:
        made["top"] = [{**entry, "value": f"{WITHHELD} {place}"} for place, entry in enumerate(made["top"], 1)]
    relation = made.get("relation")
    if relation and made["kind"] not in ("number", "date"):
        bins = [
            {**entry, "bin": None if entry["bin"] is None else f"{WITHHELD} {place}"}
            for place, entry in enumerate(relation["bins"], 1)
        ]
        made["relation"] = {**relation, "bins": bins}
    return made
