"""A small catalogue of words on disk, so that these tests do not depend on which extensions lode has."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lode.core import registry
from lode.core.registry import Registry
from lode.core.spec import Spec, load

Load = Callable[[str], Spec]

FILES: Mapping[str, str] = {
    "sources/csv": '''
        class Csv(Source):
            """A table.

            Args:
                path: the file.
                separator: between cells.
            """

            def __init__(self, place, *, path: FilePath, separator: str = ",") -> None: ...
    ''',
    "cleaners/missing": """
        class Missing(Cleaner):
            def __init__(self, *, numbers: Literal["median", "mean"] | None = None, columns: list[ColumnName] | None = None): ...
    """,
    "features/number": """
        class Number(Feature):
            def __init__(self, *, scale: Literal["robust", "none"] = "robust", clip: Annotated[float, Range(0)] = 10.0): ...
    """,
    "features/image": """
        class Image(Feature):
            def __init__(self, *, height: Annotated[int, Range(1, 4096)], sizes: list[int] = (1, 2)): ...
    """,
    "encoders/mlp": """
        class Mlp(Encoder):
            def __init__(self, specs, *, width: Annotated[int, Range(1)] = 128): ...
    """,
    "augment/flip": """
        class Flip(Augment):
            def __init__(self, spec, *, share: Annotated[float, Range(0, 1)] = 0.5): ...
    """,
    "tasks/binary": """
        class Binary(Task):
            def __init__(self, *, positive: str | int | float | bool | None = None): ...
    """,
    "tasks/number": "class Number(Task):\n    def __init__(self): ...",
    "tasks/multiclass": "class Multiclass(Task):\n    pass",
    "families/network": """
        class Network(Family):
            needs = "arrays"
            loop = True

            def __init__(self, shapes, tasks, *, width: int = 256, fusion: Literal["concat", "attention"] = "concat"): ...
    """,
    "families/trees": """
        class Trees(Family):
            needs = "flat"
            loop: ClassVar[bool] = False

            def __init__(self, shapes, tasks, *, rounds: int = 100): ...
    """,
    "policies/matrix": """
        class Matrix(Policy):
            task = "binary"

            def __init__(self, *, true_positive: Decimal | ColumnName, false_positive: Decimal | ColumnName = Decimal("0")): ...
    """,
    "policies/newsvendor": """
        class Newsvendor(Policy):
            task = "number"

            def __init__(self, *, price: Annotated[Decimal, Range(0)], cost: Decimal): ...
    """,
    "sections": '''
        @dataclass(frozen=True, kw_only=True)
        class Split:
            by: Literal["random", "group", "time", "given"] = "random"
            column: ColumnName | None = None
            stratify: ColumnName | None = None
            validation: Annotated[float, Range(0, 1)] = 0.1
            test: Annotated[float, Range(0, 1)] = 0.2
            seed: int = 0

        @dataclass(frozen=True, kw_only=True)
        class Auto:
            candidates: list[FamilySpec] | None = None

        @dataclass(frozen=True, kw_only=True)
        class Training:
            """Training.

            Args:
                epochs: passes
                    over the rows.
            """

            epochs: Annotated[int, Range(1)] | None = None
            rate: Annotated[float, Range(0, open_low=True)] = 0.001
            stop: dict[Literal["patience"], Annotated[int, Range(1)]] | None = None

        @dataclass(frozen=True, kw_only=True)
        class Evaluation:
            resamples: int = 1000
            slices: list[ColumnName] = field(default_factory=list)

        @dataclass(frozen=True, kw_only=True)
        class Worth:
            currency: str = "EUR"
            compute_hour: Annotated[Decimal, Range(0)] | None = None

        @dataclass(frozen=True, kw_only=True)
        class ServeOptions:
            queue: int = 128
    ''',
}
_KINDS = {
    "source": "sources",
    "cleaner": "cleaners",
    "feature": "features",
    "family": "families",
    "encoder": "encoders",
    "task": "tasks",
    "augment": "augment",
    "policy": "policies",
}
_SECTIONS = {
    "split": "Split",
    "auto": "Auto",
    "train": "Training",
    "evaluate": "Evaluation",
    "value": "Worth",
    "serve": "ServeOptions",
}


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The words above instead of lode's own."""
    root = tmp_path / "words"
    for name, text in FILES.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    for kind, folder in _KINDS.items():
        monkeypatch.setitem(registry.REGISTRIES, kind, Registry(kind, f"lode.{folder}", root / folder, f"lode_test.{folder}"))
    for name, found in _SECTIONS.items():
        monkeypatch.setitem(registry.SECTIONS, name, (root / "sections.py", found))
    return root


@pytest.fixture
def load_text(catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a lode.yaml with this text; messages start with `lode.yaml`."""
    monkeypatch.chdir(tmp_path)

    def loaded(text: str | bytes) -> Any:
        data = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
        Path("lode.yaml").write_bytes(data)
        return load("lode.yaml")

    return loaded
