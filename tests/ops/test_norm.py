"""Normalisation and dropout: against formulas and PyTorch; running statistics, dtypes, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_vjp

from . import table
from .checks import MANY, check_float16, compare_with_torch, first, last, same
from .strategies import arrays

X = np.ones((2, 5, 5, 3))
V = np.ones(3)


# ---------------------------------------------------------------- values and gradients


@pytest.mark.slow
@given(st.data(), st.sampled_from([1e-5, 0.1]))
def test_normalisation(data, eps):
    x = data.draw(arrays(hnp.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=3)))
    scale, bias = (data.draw(st.one_of(st.none(), arrays(x.shape[-1:]))) for _ in range(2))
    zeros, ones = np.zeros(x.shape[-1]), np.ones(x.shape[-1])

    def batch_norm(x, scale, bias):
        return mg.batch_norm(x, scale, bias, zeros, ones, train=True, eps=eps)[0]

    same(batch_norm(x, scale, bias), table.affine(table.normalised(x, tuple(range(x.ndim - 1)), eps), scale, bias))
    check_vjp(batch_norm, x, scale, bias)
    same(mg.layer_norm(x, scale, bias, eps=eps), table.affine(table.normalised(x, -1, eps), scale, bias))
    check_vjp(lambda *args: mg.layer_norm(*args, eps=eps), x, scale, bias)


def test_batch_norm_against_torch():
    rng = np.random.default_rng(0)
    mean, var = rng.standard_normal(3), rng.random(3) + 0.5
    args = rng.standard_normal((4, 5, 5, 3)), rng.standard_normal(3), rng.standard_normal(3)
    for train in (True, False):

        def theirs(torch, x, scale, bias, train=train):
            running = torch.tensor(mean), torch.tensor(var)
            y = torch.nn.functional.batch_norm(first(x), *running, scale, bias, training=train, momentum=0.3)
            _, new_mean, new_var = mg.batch_norm(
                x.detach().numpy(), None, None, mean, var, train=train, momentum=0.3
            )
            np.testing.assert_allclose(new_mean, running[0].numpy(), rtol=1e-12)
            np.testing.assert_allclose(new_var, running[1].numpy(), rtol=1e-12)
            return last(y)

        compare_with_torch(
            lambda x, s, b, train=train: mg.batch_norm(x, s, b, mean, var, train=train, momentum=0.3)[0],
            theirs,
            args,
        )


def test_evaluation_of_batch_norm_differentiates_its_statistics():
    grad = mg.grad(lambda m, v: mg.batch_norm(X, None, None, m, v, train=False, eps=0)[0].sum(), (0, 1))
    in_mean, in_var = grad(np.zeros(3), np.ones(3))
    np.testing.assert_allclose(in_mean, -50)  # -1 / sqrt(v), for each of 50 values
    np.testing.assert_allclose(in_var, -25)  # -x / (2 v^1.5)


def test_dropout_at_the_dropped_entries_is_zero():
    x = mg.Tensor(np.ones(100), requires_grad=True)
    y = mg.dropout(x, 0.25, rng=np.random.default_rng(0))
    y.sum().backward()
    assert set(np.unique(y.data)) == {0, 1 / 0.75}
    np.testing.assert_array_equal(x.grad.data, y.data)


# ---------------------------------------------------------------- dtypes and bad input


def test_lists_are_arrays():
    for train in (True, False):
        lists, given = ([f(v) for v in (V, V, 0 * V, V)] for f in (np.ndarray.tolist, np.array))
        for a, b in zip(mg.batch_norm(X, *lists, train=train), mg.batch_norm(X, *given, train=train), strict=True):
            np.testing.assert_array_equal(a, b)
    *_, mean, var = mg.batch_norm(X + np.arange(3), None, None, [0, 0, 0], [1, 1, 1], train=True)
    np.testing.assert_allclose(mean, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(var, 0.9, atol=1e-12)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32), (np.float16, np.float32)])
def test_batch_norm_keeps_the_dtypes_of_x_and_of_its_statistics(train, dtypes):
    x, statistics = np.arange(12.0).reshape(6, 2).astype(dtypes[0]), np.ones(2, dtypes[1])
    results = mg.batch_norm(x, None, np.ones(2), statistics, statistics, train=train)
    assert tuple(a.dtype for a in results) == (dtypes[0], dtypes[1], dtypes[1])


def trained(x):
    return mg.batch_norm(x, None, None, np.zeros(7), np.ones(7), train=True)[0]


@pytest.mark.parametrize(("f", "x"), [
    (lambda x: (mg.layer_norm(x)[:, 9] * np.arange(70)).sum(), MANY.reshape(70, 1000)),
    (lambda x: (trained(x)[9] * np.arange(7)).sum(), MANY.reshape(-1, 7)),
])  # fmt: skip
def test_float16_has_the_digits_of_float16(f, x):
    check_float16(f, x)


def test_training_statistics_that_require_a_gradient_are_refused():
    mean = mg.Tensor(np.zeros(3), requires_grad=True)
    with pytest.raises(TypeError, match="no gradient goes through the running statistics"):
        mg.batch_norm(X, None, None, mean, V, train=True)


@pytest.mark.parametrize(("call", "error", "message"), [
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
])  # fmt: skip
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- groups and root mean squares


def test_group_norm_against_torch():
    rng = np.random.default_rng(0)
    compare_with_torch(
        lambda x, scale, bias: mg.group_norm(x, 3, scale, bias, eps=1e-3),
        lambda torch, x, scale, bias: last(torch.nn.functional.group_norm(first(x), 3, scale, bias, eps=1e-3)),
        (rng.standard_normal((2, 4, 5, 6)), rng.standard_normal(6), rng.standard_normal(6)),
    )


def test_rms_norm_against_torch():
    rng = np.random.default_rng(0)
    compare_with_torch(
        lambda x, scale: mg.rms_norm(x, scale, eps=1e-3),
        lambda torch, x, scale: torch.nn.functional.rms_norm(x, (6,), scale, eps=1e-3),
        (rng.standard_normal((2, 4, 6)), rng.standard_normal(6)),
    )


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: mg.group_norm(x, 4), "group_norm: 6 channels do not divide by groups=4"),
    (lambda x: mg.group_norm(x[0, 0], 3), r"group_norm: x should be \(N, ..., C\), with no other axis of length 0"),
    (lambda x: mg.group_norm(x, 3, np.ones(3)), r"group_norm: scale should have shape \(6,\)"),
    (lambda x: mg.rms_norm(x, np.ones(3)), r"rms_norm: scale should have shape \(6,\)"),
    (lambda x: mg.rms_norm(x.astype(int)), "rms_norm: x should be a floating array"),
])  # fmt: skip
def test_groups_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 3, 6)))
