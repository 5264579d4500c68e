"""detect_anomaly: its errors name the primitive, its shapes and dtypes, and the line of the user's call."""

import threading

import numpy as np
import pytest

import minigraph as mg
from minigraph import AnomalyError, MutationError, Tensor
from tests.user_calls import by_function, names

X = np.array([0.5, -1.0, 2.0])


def leaf(a=X):
    return Tensor(a, requires_grad=True)


# Operators, methods, functions, NumPy's functions: the line is the user's in all of them.
def operator(x):
    return 1 / x  # operator


def power(x):
    return x**-1.0  # power


def method(x):
    return x.var()  # method


def minigraphs(x):
    return mg.log(x)  # minigraphs


def numpys_ufunc(x):
    return np.log(x)  # numpys ufunc


def numpys_function(x):
    return np.mean(  # numpys function
        x
    )


def indexing(x):
    return x[  # indexing
        0
    ]


def composite(x):
    return mg.prod(x)  # composite


@pytest.mark.parametrize(("f", "x", "call", "mark"), [
    (operator, X * 0, "divide(1, float64 (3,)) -> float64 (3,)", "operator"),
    (power, X * 0, "power(float64 (3,), -1.0)", "power"),
    (method, X * np.float64(1e200), "var(float64 (3,), None, 0, False) -> float64 ()", "method"),
    (minigraphs, X, "log(float64 (3,)) -> float64 (3,)", "minigraphs"),
    (numpys_ufunc, X, "log(float64 (3,))", "numpys ufunc"),
    (numpys_function, np.full(3, 1e308), "mean(float64 (3,), None, False) -> float64 ()", "numpys function"),
    (composite, np.full(3, 1e200), "multiply(float64 (1,), float64 (1,))", "composite"),
])  # fmt: skip
@pytest.mark.parametrize("run", [
    lambda f, x: f(leaf(x)), lambda f, x: f(Tensor(x)), lambda f, x: mg.grad(lambda x: f(x).sum())(x),
    lambda f, x: mg.grad(lambda y: mg.grad(lambda x: f(x).sum())(y).sum())(x),
    lambda f, x: mg.no_grad()(f)(leaf(x)),
], ids=range(5))  # fmt: skip
def test_the_first_value_that_is_not_finite(f, x, call, mark, run):
    message = r"NaN and \d infinite of \d entries in the forward value"
    with mg.detect_anomaly(), pytest.raises(AnomalyError, match=message) as caught:
        run(f, x)
    assert names(caught, call, mark, __file__)


def test_the_first_gradient_that_is_not_finite():
    with mg.detect_anomaly():
        for how, count in (("nan", "3 NaN and 0 infinite of 3"), ("inf", "0 NaN and 3 infinite")):
            with pytest.raises(AnomalyError, match=count) as caught:
                by_function(leaf(), how).sum().backward()
            assert names(caught, f"broken(float64 (3,), '{how}')", "a function")
            assert "gradient for argument 0" in str(caught.value) and caught.value.__cause__ is None
        x = leaf([0.0, 1.0])
        y = mg.sqrt(x).sum()  # its slope at 0
        with pytest.raises(AnomalyError) as caught:
            y.backward()
        assert names(caught, "sqrt(float64 (2,)) -> float64 (2,)", "its slope at 0", __file__)
        z = leaf(np.float32([0.0]))
        with pytest.raises(AnomalyError, match="multiply"):  # each gradient is finite, their sum is not
            (z * 3e38 + z * 2e38).backward()


def test_a_gradient_that_overflows_where_it_is_rounded_to_float16():
    x = leaf(np.float16([0.5, 1e-3]))
    with mg.detect_anomaly():
        y = (x * 6e4).sum() * 2.0  # the gradient is 12e4, of which float32 is still sure
        with pytest.raises(AnomalyError, match=r"2 infinite .* in a gradient, float16 \(2,\): it is too large"):
            y.backward()


def test_what_was_not_finite_before_is_not_this_operations_fault():
    nan, inf = leaf([np.nan]), leaf([np.inf])
    with mg.detect_anomaly():
        (nan * 2 + mg.log(inf)).backward()
        for number in (np.inf, np.float32(-np.inf), np.float64(np.nan), np.array(np.inf)):
            leaf([1.0]) * number
        mg.where(X > 0, leaf(), -np.inf).backward(X)
        mg.exp(mg.where(X > 0, leaf(), -np.inf)).sum().backward()
        (leaf() * 2).backward(np.array([np.inf, 1.0, np.nan]))


def test_it_is_off_by_default_and_local():
    with np.errstate(all="ignore"):
        mg.log(leaf(X * 0)).sum().backward()
    quiet = []
    with mg.detect_anomaly():

        def work():
            with np.errstate(all="ignore"):
                quiet.append(mg.log(leaf(X * 0)))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with pytest.raises(AnomalyError):  # and no RuntimeWarning, which pytest would raise
            mg.log(leaf(X * 0))
    assert len(quiet) == 1
    with pytest.warns(RuntimeWarning):
        mg.log(X * 0)


# ---------------------------------------------------------------- mutation


def changed(a, f, g=None):
    """Change the array `a` between the forward and the backward pass of f()."""
    with mg.detect_anomaly():
        y = f()
        a[...] = 1 - a if a.dtype != bool else ~a
        y.backward(np.ones(y.shape))


def saves(x, other):
    return x * other  # saves


def test_a_changed_array_raises_and_names_the_operation_that_saved_it():
    for a in (X.copy(), X.astype(">f8"), np.stack([X, X])[:, ::2].T[:, 0], np.float16(X)):
        with pytest.raises(MutationError, match=r"an array \(.*\(\d,\)\) was changed in place") as caught:
            changed(a, lambda a=a: saves(leaf(np.ones(len(a))), a))
        assert names(caught, "multiply(float64 (", "saves", __file__)
    x, mask = leaf(), X > 0
    for a, f in [
        (x.data, lambda: mg.sin(x)),
        (x.data, lambda: mg.layer_norm(x)),
        (mask, lambda: mg.max_pool(x.reshape(1, 3, 1, 1) * mask.reshape(1, 3, 1, 1), (2, 1), stride=1)),
    ]:  # fmt: skip
        with pytest.raises(MutationError, match=r"test_anomaly\.py"):
            changed(a, f)
    y = mg.exp(x)  # an output that the rule reads
    with mg.detect_anomaly():
        y = mg.exp(x)
        y.data += 1
        with pytest.raises(MutationError, match="exp"):
            y.sum().backward()


def test_a_changed_array_that_no_rule_reads_is_no_error():
    a, x = X.copy(), leaf(X.copy())
    for f in (lambda: x + a, lambda: a - x, lambda: mg.concatenate([x, a]), lambda: (x + a).sum(), lambda: x[1:]):
        changed(a, f)
        changed(x.data, f)
    i, mask = np.array([0, 1]), X > 0  # these are copied
    changed(i, lambda: mg.scatter(x[:2], i, (3,)))
    changed(mask, lambda: mg.where(mask, x, 0.0))
    changed(a, lambda: saves(x, a.copy()))
    with pytest.raises(MutationError):
        changed(a, lambda: saves(x, a))
    y = saves(x, a)  # not under detect_anomaly
    a += 1
    y.sum().backward()
