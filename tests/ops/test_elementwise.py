"""Elementwise operations: broadcasting, dtypes, kinks and other points where a formula gives no derivative."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph import ops
from minigraph.testing import check_adjoint, check_vjp

from .checks import check_at_a_kink, check_dtypes, compare_with_torch, gradient, same
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


@pytest.mark.parametrize("name", ["gelu", "silu", "softplus", "elu", "leaky_relu"])
def test_activations_against_torch(name):
    rng = np.random.default_rng(0)
    compare_with_torch(
        getattr(mg, name),
        lambda torch, x: getattr(torch.nn.functional, name)(x),
        (3 * rng.standard_normal((4, 5)),),
    )


def test_lists_are_arrays():
    assert mg.leaky_relu([-1.0]) == -0.01 and mg.elu([2.0]) == 2.0


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step", [0.1, -0.1, 0.3, 1.7, np.inf, -np.inf])
def test_the_quotient_of_remainder_is_that_of_its_value(dtype, step):
    """a % b = a - b q: the gradient in b is -q, also where a / b is rounded up to q + 1."""
    a = (np.arange(-40, 40) * 0.1).astype(dtype)
    b = np.full(80, step, dtype)
    y, pullback = mg.vjp(mg.remainder, a, b)
    to_a, to_b = pullback(np.ones_like(y))
    np.testing.assert_array_equal(to_a, 1)
    np.testing.assert_array_equal(to_b, -(a // b))
    if np.isfinite(step):
        np.testing.assert_allclose(y, a + b * to_b, atol=8 * np.finfo(dtype).eps)
    assert mg.grad(lambda b: mg.remainder(1.0, b))(0.1) == -9


def test_clip_between_equal_bounds_is_constant():
    """To the last bit: between bounds that differ by a rounding it is x."""
    above = np.nextafter(1.0, 2)
    assert gradient(lambda x: mg.clip(x, 1.0, 1.0), [0.0, 1.0, 2.0]) == [[0, 0, 0]]
    assert gradient(lambda x: mg.clip(x, 1.0, above), [1.0, above, np.nextafter(above, 2)]) == [[1, 1, 0]]
    assert gradient(mg.clip, [0.0, 1.0, 2.0], [1.0] * 3, [1.0] * 3) == [[0, 0, 0], [0, 0, 0], [1, 1, 1]]


def test_power_at_zero():
    assert gradient(mg.power, [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]) == [[0, 1, 0], [0, 0, 0]]
    assert gradient(lambda x: x**0, [0.0, 2.0]) == [[0, 0]]
    assert gradient(lambda x: x**1, [0.0]) == [[1]]
    assert gradient(lambda x: x**2.0, [0.0]) == [[0]]


@pytest.mark.parametrize("zero", [0, 0.0, np.zeros(5), np.zeros(5, np.uint8)])
def test_power_zero_is_constant(zero):
    bases = [-2.0, 0.0, 3.0, np.inf, np.nan]  # NumPy says 1 for all of them
    assert gradient(lambda x: x**zero, bases) == [[0] * 5]
    assert gradient(lambda x: mg.hvp(lambda x: (x**zero).sum(), x, np.ones(5)), bases) == [[0] * 5]


def test_mixed_second_derivatives_of_a_power_agree():
    """Both are a^(b - 1) (1 + b log a), which is 1 / a where b = 0."""
    for a, b in [(2.0, 0.0), (0.5, 0.0), (2.0, 1.0), (2.0, -1.5)]:
        in_b = mg.grad(lambda b, a=a: mg.grad(mg.power, 0)(a, b))(b)
        in_a = mg.grad(lambda a, b=b: mg.grad(mg.power, 1)(a, b))(a)
        np.testing.assert_allclose([in_a, in_b], a ** (b - 1) * (1 + b * np.log(a)), rtol=1e-14)
    both = mg.grad(lambda b: mg.grad(lambda a: mg.power(a, b).sum())(np.array([0.0, 2.0])).sum())(np.array([0.0, 0.0]))
    assert both[1] == 0.5


def test_power_of_a_negative_number():
    assert gradient(lambda x: x ** np.array([2.0, 3.0]), [-2.0, -2.0]) == [[-4, 12]]
    with np.errstate(invalid="ignore"):
        in_a, in_b = gradient(mg.power, [-2.0], [2.0])
    assert in_a == [-4]
    assert np.isnan(in_b).all()


def test_remainder_at_a_jump_is_that_of_the_branch_above():
    assert gradient(mg.remainder, [3.0, -3.0], [1.5, 1.5]) == [[1, 1], [-2, 2]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_derivative_of_expm1_far_to_the_left(dtype):
    """It is e^x, which is a number where expm1 has long been rounded to -1."""
    x = np.array([-5.0, -17.0, -40.0, -80.0], dtype)
    for f in (mg.expm1, mg.elu):
        np.testing.assert_allclose(mg.grad(lambda x, f=f: f(x).sum())(x), np.exp(x), rtol=1e-6)


def test_infinite_derivatives():
    with np.errstate(divide="ignore"):
        assert gradient(mg.sqrt, [0.0]) == [[np.inf]]


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


# ---------------------------------------------------------------- relu


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_relu_of_large_arrays_too(dtype):
    """Which go another way: values, NaN and infinities, the gradient, and x as it was."""
    x = np.random.default_rng(0).standard_normal((300, 400)).astype(dtype)
    x[0, :5] = [np.nan, -np.nan, np.inf, -np.inf, 0]
    for a in (x, x.T, x[::-2, ::3], x[:2, :3]):
        before = a.copy()
        y, pullback = mg.vjp(mg.relu, a)
        np.testing.assert_array_equal(y, np.maximum(a, 0))
        np.testing.assert_array_equal(pullback(np.ones_like(a))[0], a > 0)
        np.testing.assert_array_equal(a, before)
        assert y.dtype == dtype


@pytest.mark.parametrize("n", [6, 100_000])
def test_relu_in_place(n):
    data = np.linspace(-1.0, 1.0, n)
    x = mg.Tensor(data, requires_grad=True)
    h = x * 2.0
    array = h.data
    with pytest.raises(ValueError, match="another reference"):
        mg.relu(h, inplace=True)
    del array
    y = mg.relu(h, inplace=True)
    assert y is h  # what is computed from either has the gradient of the result
    (y * 3.0 + h).sum().backward()
    np.testing.assert_array_equal(y.data, np.maximum(data * 2, 0))
    np.testing.assert_array_equal(x.grad.data, 8.0 * (data > 0))
    np.testing.assert_array_equal(data, np.linspace(-1.0, 1.0, n))
    array = np.linspace(-1.0, 1.0, n, dtype=np.float32)
    assert mg.relu(array, inplace=True) is array and array.min() == 0 and array.dtype == np.float32


def test_relu_in_place_of_what_is_needed():
    x = mg.Tensor([-1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="a leaf"):
        mg.relu(x, inplace=True)
    with pytest.raises(TypeError, match="list"):
        mg.relu([-1.0, 2.0], inplace=True)
    with pytest.raises(ValueError, match="value of tanh"):
        mg.relu(mg.tanh(x), inplace=True)
    h = mg.transpose(mg.Tensor(np.ones((2, 3)), requires_grad=True)) * 2.0
    with pytest.raises(ValueError, match="a contiguous array"):
        mg.relu(h, inplace=True)
    h = x * 2.0
    square = h * h
    with pytest.raises(ValueError, match="another reference"):
        mg.relu(h, inplace=True)
    square.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [-8.0, 16.0])
    h = x * 2.0
    view = h.reshape(1, 2)
    with pytest.raises(ValueError, match="another reference"):
        mg.relu(h, inplace=True)
    with pytest.raises(ValueError, match="another reference"):
        mg.relu(view, inplace=True)


# ---------------------------------------------------------------- quotients and bounds


@given(st.floats(-100, 100), st.floats(0.01, 10), st.booleans(), st.integers(-20, 20), st.booleans())
def test_remainders_quotient_is_the_one_that_the_remainder_belongs_to(a, b, negative, k, multiple):
    b = -b if negative else b
    a = k * b if multiple else a  # near a jump, where a / b may round across it
    y, (da, db) = mg.value_and_grad(mg.remainder, (0, 1))(np.float64(a), np.float64(b))
    assert da == 1 and db == np.round(db)
    assert abs(a + db * b - y) <= 4e-14 * (abs(a) + abs(b))  # a - q b is the remainder, and q = -db


def test_remainder_at_a_quotient_that_rounds_up():
    assert mg.grad(lambda b: mg.remainder(1.0, b))(0.1) == -9.0  # 1.0 / 0.1 rounds to 10, but 0.1 fits 9 times
    assert np.floor_divide(1.0, 0.1) == 9.0


@pytest.mark.parametrize("x", [0.0, 1.0, 2.0])
def test_clip_to_one_number_is_constant(x):
    for low, high in ((1.0, 1.0), (1.5, 1.0)):
        gx, gl, gh = mg.grad(mg.clip, (0, 1, 2))(x, low, high)
        assert (gx, gl, gh) == (0, 0, 1)
