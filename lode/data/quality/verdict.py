"""What the findings say of a profile, the worst first; and what `data.require` makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Finding

SEVERITIES = ("error", "warning", "info")


def look(profile: Mapping[str, Any], components: Sequence[Component] | None = None) -> list[dict[str, Any]]:
    """Observations of these findings (all of them with their defaults, if None): `finding`, `title`, and what an Observation has."""
    registry = REGISTRIES["finding"]
    asked: list[tuple[str, Finding]]
    if components is None:
        asked = [(word, registry.get(word)()) for word in registry.names()]  # no option to check
    else:
        asked = [(component.type, registry.create(component)) for component in components]
    found = [{"finding": word, "title": finding.title, **asdict(item)} for word, finding in asked for item in finding.look(profile)]
    return sorted(found, key=lambda item: SEVERITIES.index(item["severity"]))


def require(profile: Mapping[str, Any], components: Sequence[Component], page: Path) -> None:
    """Errors: DataError naming every observation of the findings in `data.require`. page: where the user can look."""
    found = look(profile, components)
    if found:
        lines = [f"data.require.{item['finding']}: {item['text']} {item['advice']}" for item in found]
        count = f"{len(found)} observation{'' if len(found) == 1 else 's'}"
        lines.append(f"{count} that the file does not allow; look at {page}. Mend the data, or change data.require.")
        raise DataError("\n".join(lines))
