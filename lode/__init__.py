"""lode: from raw data to business value. `lode.run("lode.yaml")`, `lode.load("NAME")`, `lode.serve(...)`, `lode.check("lode.yaml")`.

The verbs are loaded when they are used, so that `import lode` costs nothing. Read `lode/pipeline/run.py` next.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lode.app.service import serve as serve
    from lode.core.spec import load as check
    from lode.pipeline.loading import load as load
    from lode.pipeline.plan import plan as plan
    from lode.pipeline.run import run as run

__all__ = ["check", "load", "plan", "run", "serve"]

_VERBS = {
    "check": ("lode.core.spec", "load"),
    "load": ("lode.pipeline.loading", "load"),
    "plan": ("lode.pipeline.plan", "plan"),
    "run": ("lode.pipeline.run", "run"),
    "serve": ("lode.app.service", "serve"),
}


def __getattr__(name: str) -> Any:
    """A public verb, imported at its first use."""
    if name not in _VERBS:
        raise AttributeError(f"module 'lode' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, verb = _VERBS[name]
    return getattr(importlib.import_module(module), verb)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
