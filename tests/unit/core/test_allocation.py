"""What jemalloc is asked before polars comes, by the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKED = """
import os, sys
from lode.cli.main import main
assert "polars" not in sys.modules, "too late: the command has polars before its first line"
main(["--version"])
import polars
print(os.environ["_RJEM_MALLOC_CONF"])
"""


@pytest.mark.parametrize(
    ("own", "last"), [(None, "dirty_decay_ms:5000,muzzy_decay_ms:5000"), ("dirty_decay_ms:7", "dirty_decay_ms:7")]
)
def test_freed_memory_is_kept_unless_somebody_set_it_otherwise(own: str | None, last: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"}
    environment |= {"PYTHONPATH": str(Path(__file__).resolve().parents[3])} | ({} if own is None else {"_RJEM_MALLOC_CONF": own})
    done = subprocess.run([sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(last), "of two settings the last one counts"
