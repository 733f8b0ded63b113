"""`python -m lode` is the command `lode`."""

from __future__ import annotations

from lode.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
