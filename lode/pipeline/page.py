"""The blocks of which the report's page is made: headings, paragraphs, tables, pictures. Read `lode/pipeline/sections.py` next."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lode.pipeline.pictures import Picture
from lode.pipeline.wording import number

Block = dict[str, Any]
"""`kind` is "heading", "text", "note", "list", "table", "quoted" or "pictures"; the template knows what each one holds."""

_INTERVAL = re.compile(r"-|(-?[\d,.e+-]+|undefined) \[.*\]")


def heading(text: str) -> Block:
    """A title within a section."""
    return {"kind": "heading", "text": text}


def text(words: str) -> Block:
    """A paragraph."""
    return {"kind": "text", "text": words}


def note(words: str) -> Block:
    """A paragraph in small, soft type."""
    return {"kind": "note", "text": words}


def quoted(text: str, caption: str = "") -> Block:
    """A text as it stands, with its line ends and blanks."""
    return {"kind": "quoted", "text": text, "caption": caption}


def drawn(*pairs: tuple[str, Picture]) -> Block:
    """pairs: caption and picture."""
    return {"kind": "pictures", "pictures": list(pairs)}


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    marks: Sequence[str] = (),
    caption: str = "",
    numeric: Collection[int] = (),
) -> Block:
    """Numbers are written with four digits and set to the right, as are the columns named `numeric`.

    marks: "strong" or "bad" or "" for each row.
    """
    width = len(rows[0]) if rows else len(header)
    right = [place in numeric or (bool(rows) and all(_is_number(row[place]) for row in rows)) for place in range(width)]
    cells = [[cell(entry) for entry in row] for row in rows]
    marked = marks or [""] * len(rows)
    lines = [{"cells": row, "mark": mark} for row, mark in zip(cells, marked, strict=True)]
    return {"kind": "table", "header": list(header), "rows": lines, "numeric": right, "caption": caption}


def cell(entry: Any) -> str:
    """One cell as text."""
    if entry is None:
        return "-"
    if isinstance(entry, bool):
        return "yes" if entry else "no"
    if isinstance(entry, int):
        return f"{entry:,}"
    if isinstance(entry, float):
        return number(entry)
    if isinstance(entry, Mapping):
        return ", ".join(f"{key}: {cell(value)}" for key, value in entry.items())
    return ", ".join(map(cell, entry)) if isinstance(entry, list) else str(entry)


def _is_number(entry: Any) -> bool:
    if isinstance(entry, str):
        return _INTERVAL.fullmatch(entry) is not None
    return entry is None or (isinstance(entry, int | float) and not isinstance(entry, bool))
