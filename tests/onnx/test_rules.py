"""The rule of each primitive: its row of tests/ops/table.py, exported and run in onnxruntime."""

import pytest

import minigraph as mg
from minigraph.onnx.rules import REFUSED, RULES
from tests.onnx.cases import REFUSED_ROWS, compare
from tests.ops.table import ROWS

pytest.importorskip("onnxruntime")

CASES = [pytest.param(row, c, id=f"{row}-{i}") for row in ROWS for i, c in enumerate(row.cases)]


def test_every_primitive_has_a_rule_or_the_reason_why_it_has_none():
    own = {name for name, p in mg.primitives().items() if p.__module__.startswith("minigraph.")}
    assert not RULES.keys() & REFUSED.keys()
    assert RULES.keys() | REFUSED.keys() == own


@pytest.mark.parametrize(("row", "c"), CASES)
def test_onnxruntime_agrees(row, c, tmp_path):
    if row.name in REFUSED_ROWS and c.kwargs.get("train", True):
        with pytest.raises(mg.onnx.UnsupportedError, match=REFUSED_ROWS[row.name]):
            compare(row, c, tmp_path / "model.onnx")
    else:
        operators, error = compare(row, c, tmp_path / "model.onnx")
        assert operators and error < 1e-5
