"""docs/primitives.md: for each primitive its definition, the mathematics of its rule, and the errors of both.

    python docs/primitives_table.py

The words stand beside the code: the docstrings of the primitives and of their rules, see `minigraph.graph.mathematics`.
The errors are those of the cases in tests/ops/table.py.
"""

import inspect
import itertools
import math
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

import minigraph as mg  # noqa: E402
from minigraph.graph.mathematics import definition, gradient  # noqa: E402
from minigraph.testing import check_vjp  # noqa: E402
from tests.ops.table import ROWS, converted, pulled  # noqa: E402

PAGE = ROOT / "docs" / "primitives.md"
# The families in their order, by their headings. One that is not named here comes last, with its own name.
HEADINGS = {
    "elementwise": "Arithmetic and choices", "exponential": "Exponentials, logarithms and powers",
    "trigonometric": "Trigonometric and hyperbolic functions", "activations": "Activations",
    "rounding": "Rounding, signs and remainders", "shape": "Shapes", "indexing": "Indexing", "joining": "Joining",
    "creation": "Creation", "padding": "Padding", "reduce": "Reductions", "variance": "Variances",
    "cumulative": "Running sums", "linalg": "Products of matrices and tensors", "inverses": "Inverses",
    "decompositions": "Decompositions", "least_squares": "Least squares", "signal": "Fourier transforms",
    "loss": "Softmax and losses", "norm": "Normalisation", "conv": "Convolution", "pool": "Pooling",
    "attention": "Attention",
}  # fmt: skip
COLUMNS = (
    "primitive", "definition", "gradients", "orders", "float64<br>first", "float64<br>second", "float32<br>value",
    "float32<br>grad.",
)  # fmt: skip


def families():
    """The library's primitives as {family: {name: primitive}}; `identity`, which the engine needs, is elementwise."""
    found = {}
    for name, op in mg.primitives().items():
        if op.__module__.startswith("minigraph."):
            family = op.__module__.removeprefix("minigraph.ops.")
            found.setdefault("elementwise" if op.__module__ == "minigraph.primitive" else family, {})[name] = op
    return {family: found[family] for family in [*HEADINGS, *(found.keys() - HEADINGS)] if family in found}


def errors(row, most=None):
    """The largest errors over the cases of a row, or over as many of them.

    They are those of the gradient against finite differences, at first and at second order; and those of float32
    against float64, of the value and of the gradient, at inputs that float32 can hold.
    """
    worst = np.zeros(4)
    for c in row.cases[:most]:
        found = [*check_vjp(row.of(c), *c.draw(), order=2).errors]
        inputs = converted(c.draw(), lambda a: a.astype(np.float32))
        exact = pulled(row, c, converted(inputs, lambda a: a.astype(np.float64)))
        for got, wanted in zip(pulled(row, c, inputs), exact, strict=True):
            pairs = [(a.data, b.data) for a, b in zip(got, wanted, strict=True) if b is not None]
            found.append(max((_difference(a, b) for a, b in pairs), default=0.0))
        worst = np.maximum(worst, found)
    return worst.tolist()


def _difference(got, exact):
    """The largest difference, relative to the largest entry."""
    return float(np.abs(got - exact).max(initial=0) / (np.abs(exact).max(initial=0) or 1))


def rounded_up(error):
    """One digit, not below the error: 2.1e-14 is 3e-14."""
    if not error:
        return "0"
    exponent = math.floor(math.log10(error))
    return f"{math.ceil(error / 10.0**exponent * (1 - 1e-12)) * 10.0**exponent:.0e}".replace("e-0", "e-")


def lines(measured=True):
    """The page from the heading of the first family on; without measuring, the columns of errors are empty."""
    rows = {row.name: row for row in ROWS}
    for family, ops in families().items():
        module = inspect.getmodule(next(reversed(ops.values())).forward)
        yield from (f"## {HEADINGS.get(family, family)}", "", *inspect.cleandoc(module.__doc__).splitlines(), "")
        yield from (_line(COLUMNS), "|---|---|---|--:|--:|--:|--:|--:|")
        for name, op in ops.items():
            found = map(rounded_up, errors(rows[name])) if measured else [""] * 4
            shown = f"<code>{name.replace('_', '_<wbr>')}</code>"  # a long name may be broken there
            yield _line([shown, _text(op), _code(gradient(op)), str(rows[name].order), *found])
        yield ""
    yield "</div>"


def _line(cells):
    return f"| {' | '.join(cells)} |"


def _text(op):
    """The definition as the cell of a table."""
    paragraphs = definition(op)
    if op.composite is not None:
        paragraphs = [*paragraphs, "Derivatives of second and higher order go through other operations."]
    pieces = re.split(r"(`[^`]*`)", "<br>".join(paragraphs))
    return "".join(p if p.startswith("`") else re.sub(r"([*_|\[\]\\])", r"\\\1", p) for p in pieces)


def _code(mathematics):
    return "<br>".join(f"`{line.strip()}`" for line in mathematics.splitlines())


if __name__ == "__main__":
    head = "".join(itertools.takewhile(lambda line: not line.startswith("## "), PAGE.open()))
    PAGE.write_text(head + "\n".join(lines()) + "\n")
