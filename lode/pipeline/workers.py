"""Which processes work on a study: each has a folder in it, so that what a killed one left is told from what a living one needs."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any

_FOLDER = "work"


def myself() -> list[Any]:
    """[machine, number] of this process."""
    return [platform.node(), os.getpid()]


def own_folder(study: Path) -> Path:
    """Where this process keeps its arrays; made here, removed by `leave`."""
    folder = study / _FOLDER / f"{platform.node()}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def leave(study: Path) -> None:
    """Remove what this process kept, and what processes of this machine left that are gone."""
    for folder in (study / _FOLDER).glob("*"):
        machine, _, number = folder.name.rpartition("-")
        if [machine, number] == [str(part) for part in myself()] or not is_alive([machine, number]):
            shutil.rmtree(folder, ignore_errors=True)


def in_use(study: Path) -> bool:
    """Whether a process of this machine works on the study."""
    names = [folder.name.rpartition("-") for folder in (study / _FOLDER).glob("*")]
    return any(machine == platform.node() and is_alive([machine, number]) for machine, _, number in names)


def is_alive(process: Any) -> bool:
    """Whether the process [machine, number] still runs; that of another machine is taken to."""
    if not process:
        return False
    machine, number = process
    if machine != platform.node():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
