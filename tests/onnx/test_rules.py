"""The rule of each primitive: its row of tests/ops/table.py, exported and run in onnxruntime."""

import runpy
from pathlib import Path

import pytest

import minigraph as mg
from minigraph.onnx.rules import REFUSED, RULES
from tests.onnx.cases import BY_VALUE, REFUSED_ROWS, error_of, export_case, is_refused
from tests.ops.table import ROWS

pytest.importorskip("onnxruntime")

DOCS = Path(__file__).parent.parent.parent / "docs"
CASES = [pytest.param(row, c, id=f"{row}-{i}") for row in ROWS for i, c in enumerate(row.cases)]


def test_every_primitive_has_a_rule_or_the_reason_why_it_has_none():
    own = {name for name, p in mg.primitives().items() if p.__module__.startswith("minigraph.")}
    assert not RULES.keys() & REFUSED.keys()
    assert RULES.keys() | REFUSED.keys() == own


@pytest.mark.parametrize(("row", "c"), CASES)
def test_onnxruntime_agrees(row, c, tmp_path):
    path = tmp_path / "model.onnx"
    if is_refused(row, c):
        with pytest.raises(mg.onnx.UnsupportedError, match=REFUSED_ROWS[row.name]):
            export_case(row, c, path)
        return
    try:
        error = error_of(row, c, path)
    except mg.onnx.UnsupportedError as refusal:  # of a primitive that the row's operation is made of
        reasons = [*REFUSED.values()]
        if row.name in BY_VALUE:
            reasons.append("was computed outside of the graph")
        assert any(reason in str(refusal) for reason in reasons)
    else:
        assert error < 1e-5


@pytest.mark.slow
def test_the_lists_of_the_docs_are_those_of_the_code():
    """`python docs/onnx_table.py` makes them anew. What it has measured, the last column, is left out here."""
    program = runpy.run_path(str(DOCS / "onnx_table.py"))
    page = (DOCS / "onnx.md").read_text()
    written = [line.rsplit("|", 2)[0] for line in page.splitlines() if line.startswith("| `")]
    assert program["operators_line"]() in page
    assert written == [line.rsplit("|", 2)[0] for line in program["lines"](measured=False)]
