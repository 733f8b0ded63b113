"""Where the files of a lode.yaml lie: `--data DIR` first, then beside the file. Sources get a Place and never look elsewhere.

Read lode/data/formats/files.py next: reading bytes, compressed or not; lode/data/access/landing.py: rows that come over a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lode.core.errors import DataError

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called with (what, done, total or 0 for unknown, figures)."""


def no_progress(what: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """The two folders in which relative paths are looked up, and where rows that come over a connection land.

    base: the folder of lode.yaml.
    data: what `--data DIR` says, or None.
    landing: folder of landings (lode.data.access.landing); None for one that goes with the process.
    progress: told how many rows have landed.
    landed: what this run has landed already, so that a source is asked once however often it is made.
    """

    base: Path
    data: Path | None = None
    landing: Path | None = None
    progress: Progress = field(default=no_progress, compare=False)
    landed: dict[str, Path] = field(default_factory=dict, compare=False, repr=False)

    def resolve(self, path: str, sha256: str | None = None, origin: str | None = None) -> Path:
        """The file or folder that `path` names; the first place that has it wins.

        Errors: DataError naming every place that was looked at, and what is expected there.
        """
        candidates = self._candidates(Path(path).expanduser())
        for candidate in candidates:
            if candidate.exists():
                return candidate
        looked = " or ".join(str(candidate) for candidate in candidates)
        raise DataError(f"{path}: no such file or folder, looked for {looked}. {self._next_step(path, sha256, origin)}")

    def _candidates(self, path: Path) -> list[Path]:
        if path.is_absolute():
            return [path]
        folders = [folder for folder in (self.data, self.base) if folder is not None]
        return list(dict.fromkeys(folder / path for folder in folders))

    def _next_step(self, path: str, sha256: str | None, origin: str | None) -> str:
        name = Path(path).name
        put = f"put it at {self._candidates(Path(path).expanduser())[-1]}, or name its folder with --data DIR."
        if sha256 is None and origin is None:
            return f"Check the path, {put}"
        digest = f" with sha256 {sha256}" if sha256 else ""
        source = f" from {origin}" if origin else ""
        return f"This file expects {name}{digest}{source}; {put}"
