"""What docs/numpy.md lists: how many calls of NumPy are right, and what becomes of each of its functions.

    python docs/numpy_table.py

It tries each call of tests/ops/numpy_calls.py, prints those that are wrong, and writes the page anew.
"""

import html
import re
import sys
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from minigraph import Tensor, ops  # noqa: E402
from minigraph.ops import numpy_api  # noqa: E402
from tests.ops.numpy_calls import CONSTANT, EXPRESSIONS, REFUSED, A, B, check, function, listed  # noqa: E402
from tests.ops.test_numpy_api import NOT_APPLICABLE, PUBLIC  # noqa: E402

PAGE = ROOT / "docs" / "numpy.md"
MARK = "<!-- from here on: python docs/numpy_table.py -->\n"


def wrong():
    """The calls that have not NumPy's value and the right gradient, each with the error."""
    found = {}
    for expression in EXPRESSIONS:
        try:
            check(expression)
        except Exception as error:
            found[expression] = error
    return found


def message(expression):
    """What the error of a refused call says."""
    try:
        function(expression)(Tensor(A, requires_grad=True), Tensor(B, requires_grad=True))
    except (TypeError, ValueError) as error:
        return str(error)
    raise AssertionError(f"{expression} is not refused")


def prose(text):
    """Text of the program as text of a table."""
    return re.sub(r"[|*]", r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def names():
    """NumPy's functions by the names that people type, np.f or np.linalg.f; of several names one row has all."""
    found = {}
    for param in PUBLIC:
        module, name = param.id.rsplit(".", 1)
        found.setdefault(param.values[1], []).append(f"{module.replace('numpy', 'np', 1)}.{name}")
    return found


def covered():
    """A line for each family of operations: NumPy's names, and ours where it is another."""
    lines = []
    for family in ops._FAMILIES:
        cells = []
        for f, typed in names().items():
            ours, _ = numpy_api._OURS.get(f, (None, None))
            if getattr(ours, "__module__", None) != family.__name__:
                continue
            name = ours.__name__.lstrip("_")
            public = name in ops.__all__ and name not in {t.rsplit(".", 1)[-1] for t in typed}
            cells.append(", ".join(f"`{t}`" for t in typed) + (f" (`mg.{name}`)" if public else ""))
        if cells:
            lines.append(f"| `{family.__name__.removeprefix('minigraph.')}` | {', '.join(sorted(cells))} |")
    return lines


def text(failed=()):
    """The generated part of the page."""
    typed = names()
    right, calls = len(EXPRESSIONS) - len(failed), len(EXPRESSIONS) + len(REFUSED)
    constant = sorted(n for f in numpy_api.CONSTANTS | numpy_api.PREDICATES for n in typed.get(f, []))
    refused = {}
    for name, why in numpy_api.REFUSED.items():
        refused.setdefault(why, []).append(name)
    spelled = {n.rsplit(".", 1)[-1]: n for found in typed.values() for n in found}
    return "\n".join([
        f"Of {calls} calls, {right} have NumPy's value and the right gradient, {len(REFUSED)} are refused with the "
        f"reason, and {len(failed)} are wrong. {len(listed(CONSTANT))} more have results without a gradient, and "
        f"NumPy's values.",
        "", "## Functions with gradients", "", "| family | NumPy's functions |", "|---|---|", *covered(),
        "", "## Functions without", "",
        "Their results are bools, ints, shapes, text or files. They read the array of any Tensor.", "",
        f"{', '.join(f'`{n}`' for n in constant)}.",
        "", "## Functions that are refused", "",
        "Of Tensors that require a gradient, that is. Of others NumPy computes them all.", "",
        "| NumPy's functions | why, and what to write |", "|---|---|",
        *(f"| {', '.join(f'`{spelled.get(n, n)}`' for n in found)} | {prose(why)} |"
          for why, found in refused.items()),
        "", "## Forms that are refused", "", "| call | message |", "|---|---|",
        *(f"| `{call}` | {prose(message(call))} |" for call in REFUSED),
        "", "## Functions to which this does not apply", "", "| why | NumPy's functions |", "|---|---|",
        *(f"| {why} | {', '.join(f'`{n}`' for n in found.split())} |" for why, found in NOT_APPLICABLE.items()), "",
    ])  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    failed = wrong()
    for expression, error in failed.items():
        print(f"wrong: {expression}: {error}")
    print(f"{len(EXPRESSIONS) - len(failed)} of {len(EXPRESSIONS) + len(REFUSED)} calls are right, "
          f"{len(REFUSED)} refused, {len(failed)} wrong (NumPy {np.__version__})")  # fmt: skip
    PAGE.write_text(PAGE.read_text().partition(MARK)[0] + MARK + "\n" + text(failed))
