"""What `verify` found wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_PROBLEMS = 20


@dataclass(slots=True)
class Findings:
    """What is wrong, in the order in which it was found; at most MAX_PROBLEMS are kept, all are counted."""

    problems: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0

    def add(self, table: str, sequence: int | None, what: str) -> None:
        """sequence: of the entry that it concerns, None where that is not known."""
        self.count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append({"table": table, "sequence": sequence, "what": what})
