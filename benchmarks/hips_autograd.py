"""HIPS autograd's own tests, run on minigraph: `python benchmarks/hips_autograd.py CHECKOUT`.

CHECKOUT is a directory of theirs with `tests/` in it: a clone of https://github.com/HIPS/autograd, or PyPI's sdist
unpacked. None of it is copied here. In the place of the package `autograd` the tests import the modules below, which
give its names to minigraph's functions, and to NumPy's own, which come to minigraph when they meet a Tensor.

- Complex inputs are left out: Tensors hold real numbers.
- A gradient is compared as theirs is: with one finite difference along a random direction, and again for the gradient
  itself. Forward mode is compared as well where a test asks for it.

Prints a line for each test that does not pass, with its reason, and the counts. A *mismatch* is a value or a gradient
that is wrong; anything else is a function or a form that minigraph refuses. Exits with 1 if there is a mismatch.
"""

from __future__ import annotations

import itertools
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigraph as mg
from minigraph import tree
from minigraph.tensor import value

FILES = ["systematic", "numpy", "scalar_ops", "binary_ops", "linalg", "fft", "jacobian", "graphs", "truediv", "dict",
         "list", "tuple"]  # fmt: skip
STEP, TOLERANCE = 1e-6, 1e-6
CHECKS = {"real": 0, "complex": 0}  # of the test that is running


class Mismatch(AssertionError):
    """A gradient of minigraph's that finite differences contradict."""


# ---------------------------------------------------------------- autograd.test_util


def is_complex(x: Any) -> bool:
    return any(np.iscomplexobj(leaf) for leaf in tree.leaves(x))


def inner(x: Any, y: Any) -> float:
    return sum(float(np.sum(value(a) * value(b))) for a, b in zip(tree.leaves(x), tree.leaves(y), strict=True))


def compare(f: Any, args: tuple[Any, ...], modes: Any) -> None:
    """The gradient, and with "fwd" among `modes` the directional derivative, against a difference quotient."""
    y, pullback = mg.vjp(f, *args)
    direction = tree.map(lambda a: np.asarray(np.random.standard_normal(np.shape(a))), args)
    g = tree.map(lambda a: np.asarray(np.random.standard_normal(np.shape(a))), y)
    ends = [f(*tree.map(lambda a, d, s=s: a + s * STEP / 2 * d, args, direction)) for s in (1, -1)]
    quotient = tree.map(lambda a, b: (value(a) - value(b)) / STEP, *ends)
    found = [inner(pullback(g), direction)]
    if "fwd" in modes:
        found.append(inner(g, mg.jvp(f, args, direction)[1]))
    slope = inner(g, quotient)
    for got in found:
        if not (abs(got - slope) < TOLERANCE or abs(got - slope) / abs(got + slope) < TOLERANCE):
            raise Mismatch(f"{got} by minigraph, {slope} by finite differences")


def check_grads(f: Any, argnum: Any = 0, modes: Any = ("fwd", "rev"), order: int = 2) -> Any:
    def check(*args: Any, **kwargs: Any) -> None:
        numbers = (argnum,) if isinstance(argnum, int) else argnum
        if is_complex(args):
            CHECKS["complex"] += 1
            return
        CHECKS["real"] += 1

        def of_chosen(*chosen: Any) -> Any:
            full = dict(enumerate(args)) | dict(zip(numbers, chosen, strict=True))
            return f(*(full[i] for i in range(len(args))), **kwargs)

        chosen = tuple(tree.map(np.float64, args[i]) if isinstance(args[i], float) else args[i] for i in numbers)
        compare(of_chosen, chosen, modes)
        if order > 1:
            g = tree.map(lambda a: np.asarray(np.random.standard_normal(np.shape(a))), of_chosen(*chosen))
            compare(lambda g, *chosen: mg.vjp(of_chosen, *chosen)[1](g), (g, *chosen), modes)

    return check


def combo_check(f: Any, *options: Any, **more: Any) -> Any:
    check = check_grads(f, *options, **more)

    def check_all(*args: Any, **kwargs: Any) -> None:
        for chosen in itertools.product(*args):
            for keywords in itertools.product(*([(k, v) for v in values] for k, values in kwargs.items())):
                check(*chosen, **dict(keywords))

    return check_all


# ---------------------------------------------------------------- autograd, autograd.numpy


def of_argnum(transform: Any) -> Any:
    """A transform of one number. Theirs takes any array of one entry for one."""
    return lambda f, argnum=0: transform(lambda *args: _number(f(*args)), argnum)


def _number(y: Any) -> Any:
    return mg.reshape(y, ()) if np.size(value(y)) == 1 else y


def of_lists(f: Any) -> Any:
    """A function of NumPy that is also given lists of Tensors, where NumPy itself would make an ndarray."""
    return lambda x, *args, **kwargs: f(mg.array(x) if isinstance(x, (list, tuple)) else x, *args, **kwargs)


class Joined:
    """np.r_ and np.c_ of arrays and slices."""

    def __init__(self, columns: bool):
        self.columns = columns

    def __getitem__(self, key: Any) -> Any:
        parts = [np.arange(k.start, k.stop, k.step) if isinstance(k, slice) else k for k in
                 (key if isinstance(key, tuple) else (key,))]  # fmt: skip
        return mg.column_stack(parts) if self.columns else mg.concatenate(parts)


class Int64(np.int64):
    def __new__(cls, x: Any) -> Any:
        return np.int64(value(x))


def make_diagonal(d: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return mg.moveaxis(d[..., None] * np.eye(d.shape[-1]), (-2, -1), (axis1, axis2))


def modules() -> dict[str, types.ModuleType]:
    def module(name: str, names: dict[str, Any]) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__dict__.update(names)
        return made

    linalg = module("autograd.numpy.linalg", vars(np.linalg) | {
        "norm": of_lists(np.linalg.norm), "T": mg.matrix_transpose, "_dot": np.matmul,
    })  # fmt: skip
    numpy = module("autograd.numpy", vars(np) | {
        "linalg": linalg,
        "array": mg.array, "mean": of_lists(np.mean), "var": of_lists(np.var), "std": of_lists(np.std),
        "append": of_lists(np.append), "r_": Joined(False), "c_": Joined(True), "make_diagonal": make_diagonal,
        "int64": Int64,
    })  # fmt: skip
    util = module("autograd.test_util", {"check_grads": check_grads, "combo_check": combo_check})
    top = module("autograd", {
        "numpy": numpy, "test_util": util, "grad": of_argnum(mg.grad), "value_and_grad": of_argnum(mg.value_and_grad),
        "jacobian": lambda f, argnum=0: mg.jacobian(f, argnum),
        "dict": dict, "list": list, "tuple": tuple, "isinstance": isinstance,
    })  # fmt: skip
    return {"autograd": top, "autograd.numpy": numpy, "autograd.numpy.linalg": linalg,
            "autograd.numpy.random": np.random, "autograd.test_util": util}  # fmt: skip


# ---------------------------------------------------------------- the run


class Report:
    """A pytest plugin that notes how each test ended."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.left_out: list[str] = []
        self.refused: list[tuple[str, str]] = []
        self.mismatched: list[tuple[str, str]] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        outcome = yield
        report = outcome.get_result()
        name = item.nodeid.split("/")[-1]
        if report.when == "setup":
            CHECKS.update(real=0, complex=0)
        elif report.when == "call" and report.outcome == "passed":
            only_complex = CHECKS["complex"] and not CHECKS["real"]
            (self.left_out if only_complex else self.passed).append(name)
        elif call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            wrong = call.excinfo.errisinstance(AssertionError)
            text = f"{call.excinfo.typename}: {' '.join(str(call.excinfo.value).split())[:150]}"
            (self.mismatched if wrong else self.refused).append((name, text))


def main(checkout: str) -> int:
    tests = Path(checkout) / "tests"
    sys.modules.update(modules())
    sys.path.insert(0, str(tests))
    report = Report()
    options = ["-c", os.devnull, "--rootdir", str(tests), "-p", "no:cacheprovider", "-p", "no:terminal", "-W", "ignore"]
    pytest.main([*options, *(str(tests / f"test_{name}.py") for name in FILES)], plugins=[report])
    for kind, found in (("mismatch", report.mismatched), ("refused", report.refused)):
        for name, why in found:
            print(f"{kind}: {name}: {why}")
    counts = f"{len(report.passed)} passed, {len(report.refused)} refused, {len(report.mismatched)} mismatches"
    print(f"{counts}; {len(report.left_out)} of complex inputs alone were left out")
    return bool(report.mismatched)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
