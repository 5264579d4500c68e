"""Elementwise operations: broadcasting, dtypes, kinks and other points where a formula gives no derivative."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph import ops
from minigraph.testing import check_adjoint, check_vjp

from .checks import check_at_a_kink, check_dtypes, gradient, same
from .strategies import arrays, floats

# ---------------------------------------------------------------- values and gradients for any shapes


@given(st.data(), hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3))
def test_binary_operations_broadcast(data, pair):
    a, b = (data.draw(arrays(s)) for s in pair.input_shapes)
    b = b + 3 * np.sign(b)  # away from 0
    for name in ("add", "subtract", "multiply", "divide"):
        op = getattr(mg, name)
        same(op(a, b), getattr(np, name)(a, b))
        check_vjp(op, a, b, order=2 if name == "divide" else 1)


@given(st.data(), hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))
def test_where_broadcasts(data, triple):
    a, b, c = (data.draw(arrays(s)) for s in triple.input_shapes)
    same(mg.where(a > 0, b, c), np.where(a > 0, b, c))
    check_adjoint(mg.where, a > 0, b, c)


@given(arrays(away_from_kinks=True))
def test_functions_of_one_array(x):
    for f, reference in [
        (mg.relu, lambda x: np.maximum(x, 0)),
        (mg.tanh, np.tanh),
        (mg.abs, np.abs),
        (lambda x: mg.clip(x, -0.42, 0.81), lambda x: np.clip(x, -0.42, 0.81)),
    ]:
        same(f(x), reference(x))
        check_vjp(f, x)


# ---------------------------------------------------------------- dtypes


@given(st.data(), floats, floats, st.sampled_from(["add", "multiply", "divide", "maximum", "power"]))
def test_dtypes_follow_numpy_and_gradients_follow_inputs(data, first, second, name):
    shape = data.draw(st.sampled_from([(2, 2), (3, 3)]))
    a, b = (np.abs(data.draw(arrays(shape))).astype(t) + t(0.5) for t in (first, second))
    check_dtypes(getattr(mg, name), a, b)


BINARY = ["add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "remainder"]
OTHERS = [2, 2.5, True, np.float64(2.5), np.int64(2), np.array([1, 2, 3]), np.array(2.5), np.array([1, 2, 3], np.uint8)]


@pytest.mark.parametrize("other", OTHERS, ids=lambda v: f"{type(v).__name__}-{np.asarray(v).dtype}-{np.ndim(v)}")
@pytest.mark.parametrize("name", BINARY)
def test_a_number_or_count_beside_float32_leaves_float32(name, other):
    op = getattr(ops, name)
    x = mg.Tensor(np.array([0.6, 1.7, 3.1], np.float32), requires_grad=True)
    for y in (op(x, other), op(other, x)):
        assert y.dtype == np.float32
        x.grad = None
        y.sum().backward()
        assert x.grad.dtype == np.float32


@pytest.mark.parametrize("other", [2, 2.5, np.float64(2.5), np.array([1, 2, 3])])
def test_where_and_clip_beside_float32(other):
    x = mg.Tensor(np.array([0.6, 1.7, 3.1], np.float32), requires_grad=True)
    condition = np.array([True, False, True])
    for y in (mg.where(condition, x, other), mg.where(condition, other, x), mg.clip(x, other), mg.clip(x, None, other)):
        assert y.dtype == np.float32
        x.grad = None
        y.sum().backward()
        assert x.grad.dtype == np.float32


def test_each_input_gets_its_own_dtype():
    a = mg.Tensor(np.ones(2, np.float32), requires_grad=True)
    b = mg.Tensor(np.ones(2), requires_grad=True)
    y = a * b
    y.sum().backward()
    assert (y.dtype, a.grad.dtype, b.grad.dtype) == (np.float64, np.float32, np.float64)


# ---------------------------------------------------------------- where there is no derivative


@pytest.mark.parametrize(("f", "x", "expected"), [  # the gradient at x
    (mg.relu, [-1.0, 0.0, 2.0], [0, 0, 1]),
    (mg.abs, [-1.0, 0.0, 2.0], [-1, 0, 1]),
    (mg.leaky_relu, [-1.0, 0.0, 2.0], [0.01, 0.01, 1]),
    (lambda x: mg.leaky_relu(x, 0.25), [0.0], [0.25]),
    (lambda x: mg.elu(x, 0.5), [0.0, 2.0], [0.5, 1]),
    (lambda x: mg.clip(x, -1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0], [0, 1, 1, 1, 0]),
    (lambda x: mg.maximum(x, 1.0), [0.0, 1.0, 2.0], [0, 0.5, 1]),
    (lambda x: mg.minimum(x, 1.0), [0.0, 1.0, 2.0], [1, 0.5, 0]),
])  # fmt: skip
def test_at_a_kink(f, x, expected):
    check_at_a_kink(f, x, expected)


@pytest.mark.parametrize("f", [lambda x: mg.sum(x**2.0), lambda x: mg.sum(mg.elu(x))])
def test_second_derivatives_are_finite_where_everything_is_zero(f):
    assert np.isfinite(mg.hessian(f)(np.zeros(3))).all()


def test_between_two_arguments_a_tie_is_shared():
    assert gradient(mg.maximum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [[0.5, 0, 1], [0.5, 1, 0]]
    assert gradient(mg.minimum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [[0.5, 1, 0], [0.5, 0, 1]]


def test_clip_on_a_bound_is_the_input():
    low, high = [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]
    assert gradient(mg.clip, [0.0, 1.0, -1.0, 2.0], low, high) == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


# Numbers at which a mask or a quotient could come out another way in the rule than in the forward.
EDGES = [0.1, 0.3, float(np.float32(0.1)), np.nextafter(0.1, 1), 1, -1, 0.0, -0.0, np.inf, -np.inf, np.nan]
NUMBERS = [0.1, 1, 16_777_217, np.float64(0.1), np.float32(0.1), np.nan]
DTYPES = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("second", DTYPES)
def test_the_argument_that_gets_the_gradient_is_the_one_chosen(first, second):
    """At each entry the result is the value of an argument that has a gradient, whatever the dtypes."""
    n = len(EDGES)
    x = np.repeat(np.array(EDGES, first), n).reshape(n, n)
    for other in (np.array(EDGES, second), *NUMBERS):
        for f in (mg.maximum, mg.minimum, mg.clip, lambda x, b: mg.clip(x, None, b), lambda x, b: mg.clip(x, b, b)):
            with np.errstate(over="ignore"):
                y, pullback = mg.vjp(lambda x, f=f, other=other: f(x, other), x)
                to_x = pullback(np.ones_like(y))[0]
                np.testing.assert_array_equal(np.where(to_x > 0, x, other).astype(y.dtype), y)


@pytest.mark.parametrize("low", [-1.0, 2.0, np.nan, 0.0])
@pytest.mark.parametrize("high", [1.0, -2.0, np.nan, 0.0])
def test_of_the_arguments_of_clip_the_one_chosen_gets_the_gradient(low, high):
    x = np.array([-3.0, -2.0, 0.0, 0.5, 2.0, 3.0, np.nan])
    y, pullback = mg.vjp(mg.clip, x, np.full(7, low), np.full(7, high))
    grads = np.stack(pullback(np.ones(7)))
    np.testing.assert_array_equal(grads.sum(0), 1)
    np.testing.assert_array_equal(np.choose(grads.argmax(0), [x, np.full(7, low), np.full(7, high)]), y)


def test_clip_between_equal_bounds_is_constant():
    """To the last bit: between bounds that differ by a rounding it is x."""
    above = np.nextafter(1.0, 2)
    assert gradient(lambda x: mg.clip(x, 1.0, 1.0), [0.0, 1.0, 2.0]) == [[0, 0, 0]]
    assert gradient(lambda x: mg.clip(x, 1.0, above), [1.0, above, np.nextafter(above, 2)]) == [[1, 1, 0]]
    assert gradient(mg.clip, [0.0, 1.0, 2.0], [1.0] * 3, [1.0] * 3) == [[0, 0, 0], [0, 0, 0], [1, 1, 1]]


def test_maximum_at_infinite_ties_and_nan():
    grad = mg.grad(lambda x: mg.maximum(x, np.array([-np.inf, 0.0, np.nan, 0.0])).sum())
    np.testing.assert_array_equal(grad(np.array([-np.inf, 1.0, 1.0, np.nan])), [0.5, 1.0, 0.0, 1.0])


def test_nan_wins():
    assert np.isnan(mg.maximum(np.array([np.nan, 1.0]), 1.0)).any()
    assert np.isnan(mg.maximum(np.array([1.0, np.nan]), 1.0)).any()


def test_where_takes_nothing_from_the_side_not_chosen():
    x = [0.0, 4.0]
    with np.errstate(invalid="ignore"):
        # 0 * inf: the usual trap of where; the remedy is to choose the input first
        assert np.isnan(gradient(lambda x: mg.where(x > 0, mg.sqrt(x), 0), x)[0][0])
    assert gradient(lambda x: mg.where(x > 0, mg.sqrt(mg.where(x > 0, x, 1)), 0), x) == [[0, 0.25]]


@pytest.mark.parametrize("x", [0.0, 1.0, 2.0])
def test_clip_to_one_number_is_constant(x):
    for low, high in ((1.0, 1.0), (1.5, 1.0)):
        gx, gl, gh = mg.grad(mg.clip, (0, 1, 2))(x, low, high)
        assert (gx, gl, gh) == (0, 0, 1)
