"""What docs/onnx.md lists: for each primitive its operators in ONNX and its error in onnxruntime; what `load` knows.

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
from tests.onnx.cases import error_of, export_case, operators  # noqa: E402
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


if __name__ == "__main__":
    page = ROOT / "docs" / "onnx.md"
    table = HEAD + "\n".join(lines()) + "\n\n"
    text = re.sub(r"^\| primitive \|.*?\n\n", lambda _: table, page.read_text(), flags=re.DOTALL | re.MULTILINE)
    page.write_text(re.sub(r"^Operators: .*?\n\n", operators_line() + "\n\n", text, flags=re.DOTALL | re.MULTILINE))
