"""A suite over every operation with an axis: a spelling that the forward takes means the same to the rule."""

import numpy as np
import pytest

import minigraph as mg

X = np.random.default_rng(0).standard_normal((2, 3, 4))


def reduction(name):
    return lambda x, axis: getattr(mg, name)(x, axis)


SEVERAL = {name: reduction(name) for name in
           ("sum", "mean", "var", "std", "max", "min", "prod", "logsumexp", "softmax", "log_softmax", "flip",
            "median", "ptp", "nansum", "nanmax", "average")} | {
    "quantile": lambda x, axis: mg.quantile(x, 0.3, axis),
    "norm": lambda x, axis: mg.norm(x, axis=axis),
    "norm, ord 1": lambda x, axis: mg.norm(x, 1, axis),
    "norm, ord inf": lambda x, axis: mg.norm(x, np.inf, axis),
    "squeeze": lambda x, axis: mg.squeeze(x[:1, :1, :1] if x.ndim else x, axis),
}  # fmt: skip
ONE = {
    "cumprod": mg.cumprod,
    "sort": mg.sort,
    "diff": lambda x, axis: mg.diff(x, 1, axis) if x.ndim else x,
    "repeat": lambda x, axis: mg.repeat(x, 2, axis),
    "trapezoid": lambda x, axis: mg.trapezoid(x, axis=axis),
    "delete": lambda x, axis: mg.delete(x, 0, axis),
    "top_k": lambda x, axis: mg.top_k(x, 1, axis)[0],
    "cumsum": mg.cumsum,
    "concatenate": lambda x, axis: mg.concatenate([x, 2 * x] if x.ndim else [x], axis),
    "stack": lambda x, axis: mg.stack([x[0], 2 * x[0]] if x.ndim else [x], axis),  # the result has three axes again
    "expand_dims": lambda x, axis: mg.expand_dims(x[0] if x.ndim else x, axis),
    "split": lambda x, axis: mg.split(x[:2, :2, :2] if x.ndim else x, 2, axis)[1],
    "take": lambda x, axis: mg.take(x, [1, 0, 1], axis),
    "take_along_axis": lambda x, axis: mg.take_along_axis(x, np.zeros(x.shape, int), axis),
    "vecdot": lambda x, axis: mg.vecdot(x, np.ones(x.shape), axis),
    "rfft": lambda x, axis: mg.rfft(x, None, axis)[0],
    "irfft": lambda x, axis: mg.irfft(x, x, None, axis),
    "np.swapaxes": lambda x, axis: np.swapaxes(x, axis, 0),
    "np.moveaxis": lambda x, axis: np.moveaxis(x, axis, 0),
}

# Spellings of one and of two axes, and the plain one; those of no axis of an array without axes.
OF_ONE = [(1, s) for s in (-2, np.int64(1), np.int8(-2), np.array(1), np.array(-2), True)]
OF_ONE_AS_MANY = [(1, s) for s in ((1,), [1], (-2,), (np.int8(1),), (np.array(-2),), np.array([1]))]
OF_TWO = [((0, 2), s) for s in ((-3, 2), (2, 0), [0, -1], (np.int64(0), np.array(2)), np.array([0, 2]))]
WRONG = [3, -4, (0, 0), (0, -3), [1, 1], 1.0, "1", (0, 1.5), (0, 5)]


def outcome(f, x, axis):
    """The result and the gradient; None where the forward refuses the axis. The rule takes what the forward took."""
    try:
        y, pullback = mg.vjp(lambda x: f(x, axis), x)
    except (TypeError, ValueError, IndexError):
        return None
    return y, pullback(np.cos(np.arange(y.size)).reshape(y.shape))[0]


def check(f, x, plain, spelled):
    got, expected = outcome(f, x, spelled), outcome(f, x, plain)
    if got is not None:
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)
    return got is not None


@pytest.mark.parametrize("name", SEVERAL)
def test_one_axis_or_several(name):
    f = SEVERAL[name]
    taken = [check(f, X, *c) for c in (*OF_ONE, *OF_ONE_AS_MANY, *OF_TWO)]
    assert sum(taken) >= 6


@pytest.mark.parametrize("name", ONE)
def test_one_axis(name):
    taken = [check(ONE[name], X, *c) for c in (*OF_ONE, *OF_ONE_AS_MANY)]
    assert sum(taken) >= 5


@pytest.mark.parametrize("name", [*SEVERAL, *ONE])
@pytest.mark.parametrize("axis", WRONG, ids=repr)
def test_an_axis_that_is_none_is_refused_by_the_forward(name, axis):
    assert outcome((SEVERAL | ONE)[name], X, axis) is None or (name, axis) == ("expand_dims", (0, -3))  # of 4 axes


OTHERWISE = ("var", "std", "softmax", "log_softmax", "take", "ptp", "repeat", "delete")  # its gradient is not 1


@pytest.mark.parametrize("axis", [0, -1, np.array(0), np.int64(-1), (), None, (0,), 1], ids=repr)
@pytest.mark.parametrize("name", [*SEVERAL, *ONE])
def test_of_an_array_without_axes(name, axis):
    """What the forward takes has a gradient, and it is that of the one entry."""
    f = (SEVERAL | ONE)[name]
    found = outcome(f, np.asarray(2.0), axis)
    if found is not None and not name.startswith(OTHERWISE):
        assert found[1].shape == () and found[1] == 1


@pytest.mark.parametrize("axes", [(-1, 0, -2), [2, 0, 1], np.array([2, 0, -2]), (np.array(2), 0, np.int8(1))])
def test_the_order_of_a_transposition(axes):
    assert check(mg.transpose, X, (2, 0, 1), axes)
    for axis in (0, -1, (0,), np.array(0)):
        outcome(mg.transpose, X[0, 0], axis)
