"""Every protocol of the folder keeps its contract; a new file is tested by existing, once it has a good body here."""

from __future__ import annotations

import base64

import orjson
import pytest

from lode.core.registry import REGISTRIES
from lode.testing.protocol import check_protocol

PIXEL = base64.b64encode(b"GIF89a").decode()
COLUMNS = {
    "age": [39, 17.5],
    "job": ["clerk", "diver"],
    "born": ["1984-05-01", None],
    "member": [True, False],
    "photo": [PIXEL, None],
}
DATATYPES = {"age": "FP64", "job": "BYTES", "born": "BYTES", "member": "BOOL", "photo": "BYTES"}
GOOD = {
    "rest": {"rows": [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]},
    "open_inference": {
        "id": "42",
        "inputs": [{"name": name, "shape": [2], "datatype": DATATYPES[name], "data": cells} for name, cells in COLUMNS.items()],
    },
}


@pytest.mark.parametrize("word", REGISTRIES["protocol"].names())
def test_a_protocol_keeps_its_contract(word: str) -> None:
    assert word in GOOD, f"add a good body for {word}: two rows of lode.testing.protocol.Sample"
    check_protocol(REGISTRIES["protocol"].get(word), orjson.dumps(GOOD[word]))
