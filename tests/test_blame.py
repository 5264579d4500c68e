"""Blame: an error of the backward pass names the primitive, its shapes and dtypes, and the line of the user's call."""

import subprocess
import sys

import numpy as np
import pytest

import minigraph as mg
from minigraph import BackwardError, Tensor
from tests.user_calls import by_function, in_a_comprehension, in_a_lambda, names

X = np.array([0.5, -1.0, 2.0])


def leaf(a=X):
    return Tensor(a, requires_grad=True)


@pytest.mark.parametrize(("f", "mark"), [
    (by_function, "a function"), (in_a_lambda, "in a lambda"), (in_a_comprehension, "in a comprehension"),
])  # fmt: skip
@pytest.mark.parametrize(("how", "message"), [("raise", "KeyError: 'in the rule'"), ("shape", r"expected (3,)")])
@pytest.mark.parametrize("run", [
    lambda f: f(leaf()).sum().backward(),
    lambda f: f(leaf()).sum().backward(create_graph=True),
    lambda f: mg.grad(lambda x: f(x).sum())(X),
    lambda f: mg.hvp(lambda x: f(x).sum(), X, X),
    lambda f: mg.jvp(f, (X,), (X,)),
    lambda f: mg.grad(lambda x: mg.checkpoint(f)(x).sum())(X),
    lambda f: mg.jacobian(f)(X),
], ids=range(7))  # fmt: skip
def test_a_failing_rule_names_the_call(f, mark, how, message, run):
    with pytest.raises(BackwardError) as caught:
        run(lambda x: f(x, how))
    assert names(caught, f"broken(float64 (3,), '{how}') -> float64 (3,)", mark)
    assert message in str(caught.value)


def test_operations_that_nothing_called():
    """The lowest frame of a thread of the system's, or of an exit handler."""
    code = """
import atexit, numpy as np, minigraph as mg
x = mg.Tensor(np.ones(2), requires_grad=True)
atexit.register(x.__mul__, 2.0)
atexit.register(mg.exp, x)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stderr, run.returncode) == ("", 0)
