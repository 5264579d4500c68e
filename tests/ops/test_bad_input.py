"""Wrong input gives one clear error that names the operation, what was expected and what came."""

import numpy as np
import pytest

import minigraph as mg

X = np.ones((2, 5, 5, 3))
W = np.ones((3, 3, 3, 4))
V = np.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mg.conv2d(X, np.ones((3, 3, 4, 8))), ValueError, r"x has 3 channels .* w expects 4 \(w is HWIO: \(3"),
        (lambda: mg.conv2d(X, np.ones((6, 6, 3, 4))), ValueError, r"conv2d: the window \(6, 6\) is larger than"),
        (lambda: mg.conv2d(X[0], W), ValueError, r"conv2d: x should be floating, with axes \(N, H, W, C\)"),
        (lambda: mg.conv2d(X.astype(int), W), ValueError, "conv2d: x should be floating"),
        (lambda: mg.conv2d(X, W.astype(int)), ValueError, "conv2d: w should be floating"),
        (lambda: mg.conv2d(X, W, np.ones(3)), ValueError, r"conv2d: b should have shape \(4,\), .* got \(3,\)"),
        (lambda: mg.conv2d(X, W, np.ones((1, 4))), ValueError, r"conv2d: b should have shape \(4,\), .* got \(1, 4\)"),
        (lambda: mg.conv2d(X, W, np.ones(4, int)), ValueError, "conv2d: b should be floating, got int64"),
        (lambda: mg.conv2d(X, W[0]), ValueError, r"conv2d: w should have axes \(kh, kw"),
        (lambda: mg.conv2d(X, W[..., :0]), ValueError, r"conv2d: w should have axes \(kh, kw"),
        (lambda: mg.conv2d(X, W, stride=0), ValueError, "conv2d: stride should be an int or a pair"),
        (lambda: mg.conv2d(X, W, padding=-1), ValueError, "conv2d: padding should be"),
        (lambda: mg.conv2d(X, W, padding="full"), ValueError, "'same' or 'valid', got 'full'"),
        (lambda: mg.conv2d(X, W, groups=2), ValueError, "conv2d: x has 3 channels"),
        (lambda: mg.conv2d(X, W, algorithm="fft"), ValueError, "algorithm"),
        (lambda: mg.conv2d(X, W, stride=2, algorithm="winograd"), ValueError, "algorithm='winograd'"),
        (lambda: mg.conv_transpose2d(X, W), ValueError, "conv_transpose2d: x has 3 channels .* w expects 4"),
        (lambda: mg.conv_transpose2d(X, W.swapaxes(2, 3), stride=2, padding="same", output_padding=1), ValueError,
         r"conv_transpose2d: padding 'same' sets the output size, output_padding \(1, 1\)"),
        (lambda: mg.max_pool(X[:, :0], 2, padding=1), ValueError, r"max_pool: x has no pixels, shape \(2, 0, 5, 3\)"),
        (lambda: mg.max_pool(X, 6), ValueError, r"max_pool: the window \(6, 6\) is larger"),
        (lambda: mg.max_pool(X, 2, padding=2), ValueError, "max_pool: padding .* smaller than the window"),
        (lambda: mg.avg_pool(X, (2, 2, 2)), ValueError, "avg_pool: window should be an int or a pair"),
        (lambda: mg.cross_entropy(np.ones((2, 3)), [0, 3]), ValueError, r"label 3 of example 1 is outside \[0, 3\)"),
        (lambda: mg.cross_entropy(np.ones((2, 3)), [0]), ValueError, r"2 labels should have shape \(2,\)"),
        (lambda: mg.cross_entropy(np.ones((2, 3)), [0.0, 1.0]), ValueError, "labels should be"),
        (lambda: mg.cross_entropy(np.ones((2, 3)), [0, 1], label_smoothing=2), ValueError, "label_smoothing"),
        (lambda: mg.mse(np.ones(3), np.ones(2)), ValueError, r"mse: prediction has shape \(3,\), target \(2,\)"),
        (lambda: mg.batch_norm(X, V[:2], V, V, V, train=True), ValueError, "batch_norm: scale should have shape"),
        (lambda: mg.batch_norm(X, V, V, None, V, train=True), ValueError, "batch_norm: the running mean and var"),
        (lambda: mg.batch_norm(X, V, V, V, V, train=True, momentum=np.nan), ValueError, "batch_norm: momentum"),
        (lambda: mg.batch_norm(X, V, V, V, V, train=True, eps=-1), ValueError, "batch_norm: .*eps"),
        (lambda: mg.batch_norm(X[:1, 0, 0], V, V, V, V, train=True), ValueError, "batch_norm: training needs two"),
        (lambda: mg.batch_norm(X[..., :0], None, None, V[:0], V[:0], train=True), ValueError,
         r"batch_norm: x should be a floating array \(..., C\), got float64 \(2, 5, 5, 0\)"),
        (lambda: mg.layer_norm(X, V[:2]), ValueError, "layer_norm: scale should have shape"),
        (lambda: mg.dropout(X, 1.0), ValueError, "dropout: rate should be in"),
        (lambda: mg.dropout(np.arange(3), 0.5), TypeError, "dropout: x should be floating, got int64"),
        (lambda: mg.norm(X, 3), ValueError, "norm: expected ord"),
        (lambda: mg.sum(X, 4), ValueError, r"sum\(float64 .*axis 4 is out of bounds"),
        (lambda: mg.reshape(X, (7, -1)), ValueError, r"reshape\(float64 \(2, 5, 5, 3\)"),
        (lambda: mg.Tensor(np.ones(2, np.longdouble)), TypeError, "up to 64 bits"),
    ],
)  # fmt: skip
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_lists_are_arrays():
    assert mg.cross_entropy([[1.0, 2.0]], [0]) == mg.cross_entropy(np.array([[1.0, 2.0]]), [0])
    assert mg.mse([1.0, 3.0], [1.0, 1.0]) == 2.0
    assert mg.leaky_relu([-1.0]) == -0.01 and mg.elu([2.0]) == 2.0
    assert mg.conv2d(X.tolist(), W.tolist()).shape == (2, 3, 3, 4)
    for train in (True, False):
        lists, given = ([f(v) for v in (V, V, 0 * V, V)] for f in (np.ndarray.tolist, np.array))
        for a, b in zip(mg.batch_norm(X, *lists, train=train), mg.batch_norm(X, *given, train=train), strict=True):
            np.testing.assert_array_equal(a, b)
    *_, mean, var = mg.batch_norm(X + np.arange(3), None, None, [0, 0, 0], [1, 1, 1], train=True)
    np.testing.assert_allclose(mean, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(var, 0.9, atol=1e-12)


def test_the_wider_dtype_of_a_convolution_wins_and_gradients_keep_their_own():
    x = X.astype(np.float32)
    y, pullback = mg.vjp(mg.conv2d, x, W)
    assert y.dtype == np.float64
    assert [g.dtype for g in pullback(y)] == [np.float32, np.float64]


def test_evaluation_of_batch_norm_differentiates_its_statistics():
    grad = mg.grad(lambda m, v: mg.batch_norm(X, None, None, m, v, train=False, eps=0)[0].sum(), (0, 1))
    in_mean, in_var = grad(np.zeros(3), np.ones(3))
    np.testing.assert_allclose(in_mean, -50)  # -1 / sqrt(v), for each of 50 values
    np.testing.assert_allclose(in_var, -25)  # -x / (2 v^1.5)


def test_training_statistics_that_require_a_gradient_are_refused():
    mean = mg.Tensor(np.zeros(3), requires_grad=True)
    with pytest.raises(TypeError, match="no gradient goes through the running statistics"):
        mg.batch_norm(X, None, None, mean, V, train=True)


def test_a_class_that_is_ruled_out_costs_nothing():
    def loss(x):
        return mg.cross_entropy(mg.concatenate([x, np.array([[-np.inf]])], 1), [0])

    x = np.array([[1.0, 2.0]])
    two = mg.grad(lambda x: mg.cross_entropy(x, [0]))
    np.testing.assert_allclose(loss(x), mg.cross_entropy(x, [0]))
    np.testing.assert_allclose(mg.grad(loss)(x), two(x))
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(mg.hessian(loss)(x), mg.jacobian(two)(x))


def test_maximum_at_infinite_ties_and_nan():
    grad = mg.grad(lambda x: mg.maximum(x, np.array([-np.inf, 0.0, np.nan, 0.0])).sum())
    np.testing.assert_array_equal(grad(np.array([-np.inf, 1.0, 1.0, np.nan])), [0.5, 1.0, 0.0, 1.0])
