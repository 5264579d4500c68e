"""Pooling: against loops and PyTorch; ties, NaN, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph.testing import check_adjoint, check_vjp

from . import table
from .checks import check_at_a_kink, compare_with_torch, first, last, same
from .strategies import arrays, fitting, pairs

X = np.ones((2, 5, 5, 3))


# ---------------------------------------------------------------- values and gradients


@given(st.data(), pairs, st.one_of(st.none(), pairs))
def test_pooling(data, window, stride):
    padding = tuple(data.draw(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1))) for k in window)
    padding = data.draw(st.sampled_from([padding, "same", "valid"]))
    size = data.draw(fitting(padding, window))
    n, c = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 2)))
    x = data.draw(arrays((n, *size, c), away_from_kinks=True))
    options = {"stride": stride, "padding": padding}
    same(mg.max_pool(x, window, **options), table.max_pool(x, window, **options))
    same(mg.avg_pool(x, window, **options), table.avg_pool(x, window, **options))
    check_vjp(lambda x: mg.max_pool(x, window, **options), x)
    check_adjoint(lambda x: mg.avg_pool(x, window, **options), x)


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0), (2, 3, 0)])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_against_torch(kind, window, stride, padding):
    rng = np.random.default_rng(0)
    ours = mg.max_pool if kind == "max" else mg.avg_pool
    compare_with_torch(
        lambda x: ours(x, window, stride=stride, padding=padding),
        lambda torch, x: last(
            getattr(torch.nn.functional, f"{kind}_pool2d")(first(x), window, stride, padding)
        ),
        (rng.standard_normal((2, 7, 8, 3)),),
    )


# ---------------------------------------------------------------- ties, NaN and bad input


@pytest.mark.parametrize(("f", "x", "expected"), [  # the gradient at x
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
])  # fmt: skip
def test_at_a_kink(f, x, expected):
    check_at_a_kink(f, x, expected)


def test_nan_wins():
    for x in ([np.nan, 1.0], [1.0, np.nan]):
        assert np.isnan(mg.max_pool(np.reshape(x, (1, 2, 1, 1)), (2, 1))).any()


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: mg.max_pool(X[:, :0], 2, padding=1), ValueError, r"max_pool: x has no pixels, shape \(2, 0, 5, 3\)"),
    (lambda: mg.max_pool(X, 2, padding=2), ValueError, "max_pool: padding .* smaller than the window"),
])  # fmt: skip
def test_one_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("size", [(5, 6), (7, 8)])
@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (2, 3, 1), (3, 3, 0), (3, 1, 1)])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("counted", [None, False, True])
def test_what_counts_against_torch(size, window, stride, padding, ceil_mode, counted):
    """`counted` None: the maximum."""
    x = np.random.default_rng(0).standard_normal((2, *size, 3))
    options = {"ceil_mode": ceil_mode} | ({} if counted is None else {"count_include_pad": counted})
    kind = "max" if counted is None else "avg"
    compare_with_torch(
        lambda x: getattr(mg, f"{kind}_pool")(x, window, stride=stride, padding=padding, **options),
        lambda torch, x: last(
            getattr(torch.nn.functional, f"{kind}_pool2d")(first(x), window, stride, padding, **options)
        ),
        (x,),
    )
