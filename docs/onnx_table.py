"""What docs/onnx.md lists: for each primitive its operators in ONNX and its error in onnxruntime; what `load` knows,
and how many of the onnx package's tests of single nodes it passes.

    python docs/onnx_table.py

It exports each primitive alone, by its row of tests/ops/table.py, in float32.
"""

import re
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import minigraph as mg  # noqa: E402
from minigraph.onnx.operators import OPERATORS  # noqa: E402
from minigraph.onnx.rules import REFUSED  # noqa: E402
from tests.onnx.cases import (  # noqa: E402
    OTHER_RESULTS,
    check_node,
    error_of,
    export_case,
    node_cases,
    node_files,
    operators,
)
from tests.ops.table import ROWS  # noqa: E402

HEAD = """\
| primitive | in ONNX | cases | largest error |
|---|---|---|---|
"""


def lines(measured=True):
    """A line for each primitive; without measuring, the last column is empty."""
    rows = {row.name: row for row in ROWS}
    found = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.onnx"
        for name, primitive in mg.primitives().items():
            if not primitive.__module__.startswith("minigraph."):
                continue
            if name in REFUSED:
                found.append(f"| `{name}` | refused: {REFUSED[name]} | | |")
                continue
            count, errors = Counter(), []
            for c in rows[name].cases:
                errors.append(error_of(rows[name], c, path) if measured else export_case(rows[name], c, path) and 0)
                count |= operators(path)
            error = f"{max(errors):.0e}" if measured else ""
            found.append(f"| `{name}` | {', '.join(sorted(count))} | {len(errors)} | {error} |")
    return found


def operators_line():
    """What `load` knows."""
    return textwrap.fill(f"Operators: {', '.join(sorted(OPERATORS))}.", 120)


def nodes_line():
    """How many of the package's tests of a node with floats pass, for each operator. Any other result is an error."""
    from onnx import TensorProto

    floats = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
    every, passed = Counter(), Counter()
    with tempfile.TemporaryDirectory() as directory:
        for case in (case for file in node_files() for case in node_cases(file)):
            graph = case.model.graph
            kinds = {info.type.tensor_type.elem_type for info in (*graph.input, *graph.output)}
            if len(graph.node) == 1 and kinds & floats and not graph.node[0].domain:
                every[graph.node[0].op_type] += 1
                refusal = check_node(case, Path(directory) / "model.onnx")
                passed[graph.node[0].op_type] += refusal is None and case.name not in OTHER_RESULTS
    some = ", ".join(f"{name} {passed[name]} of {n}" for name, n in sorted(every.items()) if 0 < passed[name] < n)
    whole = sum(passed[name] == n for name, n in every.items())
    none = ", ".join(sorted(name for name in every if not passed[name]))
    return textwrap.fill(
        f"Single nodes: {passed.total()} of {every.total()} tests pass, all of them for {whole} of {len(every)} "
        f"operators. In part: {some}. Not at all: {none}.", 120, break_on_hyphens=False,
    )  # fmt: skip


if __name__ == "__main__":
    page = ROOT / "docs" / "onnx.md"
    table = HEAD + "\n".join(lines()) + "\n\n"
    text = page.read_text()
    for start, new in ((r"\| primitive \|", table), ("Operators: ", f"{operators_line()}\n\n"),
                       ("Single nodes: ", f"{nodes_line()}\n\n")):  # fmt: skip
        text = re.sub(rf"^{start}.*?\n\n", lambda _, new=new: new, text, flags=re.DOTALL | re.MULTILINE)
    page.write_text(text)
