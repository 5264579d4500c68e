"""What each docstring says of points where there is no derivative, or where a formula would give 0 / 0, exactly."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.testing import KinkError, check_vjp

INF = np.inf


def gradient(f, *args):
    """The gradients of the sum of f in each argument, as lists."""
    tensors = [mg.Tensor(np.asarray(a, float), requires_grad=True) for a in args]
    mg.sum(f(*tensors)).backward()
    return [t.grad.data.tolist() for t in tensors]


KINKS = [
    # f, x, gradient, the entry of the kink
    (mg.relu, [-1.0, 0.0, 2.0], [0, 0, 1]),
    (mg.abs, [-1.0, 0.0, 2.0], [-1, 0, 1]),
    (mg.leaky_relu, [-1.0, 0.0, 2.0], [0.01, 0.01, 1]),
    (lambda x: mg.leaky_relu(x, 0.25), [0.0], [0.25]),
    (lambda x: mg.elu(x, 0.5), [0.0, 2.0], [0.5, 1]),
    (lambda x: mg.clip(x, -1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0], [0, 1, 1, 1, 0]),
    (lambda x: mg.maximum(x, 1.0), [0.0, 1.0, 2.0], [0, 0.5, 1]),
    (lambda x: mg.minimum(x, 1.0), [0.0, 1.0, 2.0], [1, 0.5, 0]),
    (mg.max, [3.0, 1.0, 3.0, 3.0], [1 / 3, 0, 1 / 3, 1 / 3]),
    (mg.min, [3.0, 1.0, 1.0], [0, 0.5, 0.5]),
    (lambda x: mg.max(x, 1), [[2.0, 2.0], [1.0, 2.0]], [[0.5, 0.5], [0, 1]]),
    (mg.norm, [0.0, 0.0], [0, 0]),
    (lambda x: mg.norm(x, axis=1), [[0.0, 0.0], [0.0, -4.0]], [[0, 0], [0, -1]]),
    (lambda x: mg.norm(x, 1), [0.0, -2.0], [0, -1]),
    (lambda x: mg.norm(x, INF), [-2.0, 1.0, 2.0], [-0.5, 0, 0.5]),
    (mg.std, [1.5, 1.5, 1.5], [0, 0, 0]),
    (lambda x: mg.std(x, 1), [[1.5, 1.5], [1.0, 3.0]], [[0, 0], [-0.5, 0.5]]),
    (
        lambda x: mg.max_pool(x, 2, stride=1),
        np.array([[5.0, 5, 5], [0, 1, 5]])[None, :, :, None],
        np.array([[1.0, 1, 0], [0, 0, 0]])[None, :, :, None].tolist(),
    ),
    (
        lambda x: mg.max_pool(x, (2, 1)),
        np.array([[5.0, 2], [5, 2]])[None, :, :, None],
        np.array([[1.0, 1], [0, 0]])[None, :, :, None].tolist(),
    ),
]


@pytest.mark.parametrize(("f", "x", "expected"), KINKS)
def test_at_a_kink(f, x, expected):
    assert gradient(f, x) == [expected]
    with pytest.raises(KinkError) as caught:  # it is one, and the convention is a subgradient
        check_vjp(f, np.asarray(x), order=1)
    assert caught.value.inside


@pytest.mark.parametrize(
    "f", [mg.norm, mg.std, mg.prod, mg.logsumexp, lambda x: mg.sum(x**2.0), lambda x: mg.sum(mg.elu(x))]
)
def test_second_derivatives_are_finite_where_everything_is_zero(f):
    assert np.isfinite(mg.hessian(f)(np.zeros(3))).all()


def test_between_two_arguments_a_tie_is_shared():
    assert gradient(mg.maximum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [[0.5, 0, 1], [0.5, 1, 0]]
    assert gradient(mg.minimum, [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == [[0.5, 1, 0], [0.5, 0, 1]]


def test_clip_on_a_bound_is_the_input():
    low, high = [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]
    assert gradient(mg.clip, [0.0, 1.0, -1.0, 2.0], low, high) == [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_power_at_zero():
    assert gradient(mg.power, [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]) == [[0, 1, 0], [0, 0, 0]]
    assert gradient(lambda x: x**0, [0.0, 2.0]) == [[0, 0]]
    assert gradient(lambda x: x**1, [0.0]) == [[1]]
    assert gradient(lambda x: x**2.0, [0.0]) == [[0]]


def test_power_of_a_negative_number():
    assert gradient(lambda x: x ** np.array([2.0, 3.0]), [-2.0, -2.0]) == [[-4, 12]]
    with np.errstate(invalid="ignore"):
        in_a, in_b = gradient(mg.power, [-2.0], [2.0])
    assert in_a == [-4]
    assert np.isnan(in_b).all()


def test_remainder_at_a_jump_is_that_of_the_branch_above():
    assert gradient(mg.remainder, [3.0, -3.0], [1.5, 1.5]) == [[1, 1], [-2, 2]]


def test_infinite_derivatives():
    with np.errstate(divide="ignore"):
        assert gradient(mg.sqrt, [0.0]) == [[INF]]


def test_logsumexp_of_minus_infinity():
    assert gradient(mg.logsumexp, [-INF, -INF]) == [[0, 0]]
    assert gradient(mg.logsumexp, [-INF, 0.0]) == [[0, 1]]
    assert mg.logsumexp(np.array([-INF, -INF])) == -INF


def test_a_product_with_zeros():
    assert gradient(mg.prod, [2.0, 0.0, 3.0]) == [[0, 6, 0]]
    assert gradient(mg.prod, [0.0, 0.0, 3.0]) == [[0, 0, 0]]


@pytest.mark.parametrize(
    "f",
    [mg.max, mg.min, lambda x: mg.maximum(x, 1.0), lambda x: mg.max_pool(mg.reshape(x, (1, 2, 1, 1)), (2, 1))],
)
def test_nan_wins(f):
    assert np.isnan(f(np.array([np.nan, 1.0]))).any()
    assert np.isnan(f(np.array([1.0, np.nan]))).any()


def test_where_takes_nothing_from_the_side_not_chosen():
    x = [0.0, 4.0]
    with np.errstate(invalid="ignore"):
        # 0 * inf: the usual trap of where; the remedy is to choose the input first
        assert np.isnan(gradient(lambda x: mg.where(x > 0, mg.sqrt(x), 0), x)[0][0])
    assert gradient(lambda x: mg.where(x > 0, mg.sqrt(mg.where(x > 0, x, 1)), 0), x) == [[0, 0.25]]


def test_dropout_at_the_dropped_entries_is_zero():
    x = mg.Tensor(np.ones(100), requires_grad=True)
    y = mg.dropout(x, 0.25, rng=np.random.default_rng(0))
    y.sum().backward()
    assert set(np.unique(y.data)) == {0, 1 / 0.75}
    np.testing.assert_array_equal(x.grad.data, y.data)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: mg.pad(x, ((1, 1), (2, 2))), ValueError, r"pad: expected widths .* 1 axes, got \(\(1, 1\), \(2, 2\)\)"),
    (lambda x: mg.pad(x, "a"), ValueError, "pad: expected widths of at least 0, an int, .* got a"),
    (lambda x: mg.pad(x, ((1, 1), (2,))), ValueError, "pad: expected widths"),
    (lambda x: mg.pad(x, 1.5), ValueError, r"pad: expected widths .* got 1\.5"),
    (lambda x: mg.pad(x, -1), ValueError, "pad: expected widths of at least 0.* got -1"),
    (lambda x: mg.stack([x, x], 2), ValueError, r"stack: axis 2 is out of range .* \(3,\)"),
    (lambda x: mg.stack([x, x], -3), ValueError, "stack: axis -3 is out of range"),
    (lambda x: mg.take(x, [0, 7]), IndexError, r"take: expected indices in \[-3, 3\) along axis 0, got 0 to 7"),
    (lambda x: mg.take(x, -4, 0), IndexError, "take: .* got -4 to -4"),
])  # fmt: skip
def test_a_wrong_call_names_the_operation_called(call, error, message):
    for x in (np.ones(3), mg.Tensor(np.ones(3), requires_grad=True)):
        with pytest.raises(error, match="^" + message):
            call(x)


def test_a_list_of_weights_has_the_dtype_of_x_and_an_array_keeps_its_own():
    x, w = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 2, 3), np.float32)
    assert mg.conv2d(x, w, [0.5, 0.0, 1.0]).dtype == np.float32
    assert mg.conv2d(x, w, np.zeros(3)).dtype == np.float64


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32), (np.float16, np.float32)])
def test_batch_norm_keeps_the_dtypes_of_x_and_of_its_statistics(train, dtypes):
    x, statistics = np.arange(12.0).reshape(6, 2).astype(dtypes[0]), np.ones(2, dtypes[1])
    results = mg.batch_norm(x, None, np.ones(2), statistics, statistics, train=train)
    assert tuple(a.dtype for a in results) == (dtypes[0], dtypes[1], dtypes[1])


def trained(x):
    return mg.batch_norm(x, None, None, np.zeros(7), np.ones(7), train=True)[0]


MANY = np.random.default_rng(0).normal(40, 20, 70_000).astype(np.float16)  # float16 counts to 65,504


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (mg.mean, MANY),
        (mg.var, MANY),
        (mg.std, MANY),
        (lambda x: mg.mse(x, 0 * x), MANY / 40),
        (lambda x: mg.cross_entropy(x, np.zeros(len(x), int)), (MANY / 40).reshape(-1, 1) * np.arange(2)),
        (lambda x: (mg.layer_norm(x)[:, 9] * np.arange(70)).sum(), MANY.reshape(70, 1000)),
        (lambda x: (trained(x)[9] * np.arange(7)).sum(), MANY.reshape(-1, 7)),
    ],
)
def test_float16_has_the_digits_of_float16(f, x):
    x = x.astype(np.float16)
    (y, g), (want, want_g) = mg.value_and_grad(f)(x), mg.value_and_grad(f)(x.astype(np.float64))
    assert y.dtype == g.dtype == np.float16
    np.testing.assert_allclose(y, want, rtol=3e-3, atol=1e-2)
    np.testing.assert_allclose(g, want_g, rtol=1e-2, atol=2e-3 * abs(want_g).max() + 1e-7)


@pytest.mark.parametrize("algorithm", [None, "im2col", "winograd"])
def test_a_convolution_of_padding_alone(algorithm):
    y, pullback = mg.vjp(lambda x, w, b: mg.conv2d(x, w, b, padding=2, algorithm=algorithm),
                         np.ones((1, 0, 8, 8)), np.ones((3, 3, 8, 8)), np.arange(8.0))  # fmt: skip
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(8.0), (1, 2, 10, 8)))
    gx, gw, gb = pullback(np.ones_like(y))
    assert gx.shape == (1, 0, 8, 8) and not gw.any()
    np.testing.assert_array_equal(gb, np.full(8, 20.0))


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
