"""Averages, quantiles, covariances, and what is left without NaN."""

import numpy as np
import pytest

import minigraph as mg

from .checks import gradient, same


def test_a_quantile_goes_to_the_entries_that_it_lies_between():
    assert gradient(lambda x: mg.quantile(x, 0.25), [4.0, 0.0, 2.0]) == [[0, 0.5, 0.5]]
    assert gradient(lambda x: mg.quantile(x, 0.5), [4.0, 0.0, 2.0]) == [[0, 0, 1]]
    assert gradient(mg.median, [4.0, 0.0, 2.0, 8.0]) == [[0.5, 0, 0.5, 0]]
    assert gradient(lambda x: mg.percentile(x, [0, 100]), [4.0, 0.0, 2.0]) == [[1, 1, 0]]


def test_quantiles_of_infinities_and_nan():
    """An infinity that is not reached plays no part, where NumPy may multiply it by 0."""
    inf, nan = np.inf, np.nan
    x = np.array([[inf, 1.0, 2.0], [-inf, 1.0, inf], [nan, 1.0, 2.0]])
    for q, expected in ((0.0, [1, -inf, nan]), (0.5, [2, 1, nan]), (1.0, [inf, inf, nan])):
        same(mg.quantile(x, q, axis=1), np.array(expected))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1001])
def test_quantiles_of_many_entries(n):
    x = np.random.default_rng(0).standard_normal(n)
    q = np.linspace(0, 1, 57)
    for method in ("linear", "hazen", "inverted_cdf", "midpoint", "nearest"):
        np.testing.assert_allclose(mg.quantile(x, q, method=method), np.quantile(x, q, method=method), atol=1e-12)


def test_the_extremes_of_a_range_get_its_gradient():
    assert gradient(mg.ptp, [1.0, 5.0, 2.0]) == [[-1, 1, 0]]
    assert gradient(mg.ptp, [1.0, 1.0]) == [[0, 0]]


def test_weights_get_a_gradient():
    grads = gradient(lambda x, w: mg.average(x, weights=w), [1.0, 4.0], [1.0, 2.0])
    np.testing.assert_allclose(grads, [[1 / 3, 2 / 3], [-2 / 3, 1 / 3]], rtol=1e-15)


def test_without_nan():
    x = [1.0, np.nan, 3.0]
    for f, expected in ((mg.nansum, [1, 0, 1]), (mg.nanmean, [0.5, 0, 0.5]), (mg.nanprod, [3, 0, 1]),
                        (mg.nanmax, [0, 0, 1]), (mg.nanmin, [1, 0, 0]), (mg.nanvar, [-1, 0, 1])):  # fmt: skip
        assert gradient(f, x) == [expected]
    assert gradient(lambda x: mg.nansum(x, where=np.array([False, True, True])), x) == [[0, 0, 1]]
    assert mg.nanmax(np.array([np.nan]), initial=2.0) == 2


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: mg.quantile(x, 1.5), ValueError, r"quantile: expected q in \[0, 1\], .* in \[0, 100\], got 1\.5"),
    (lambda x: mg.quantile(x[:0], 0.5), ValueError, "quantile: no entries along axis None"),
    (lambda x: mg.quantile(x, mg.Tensor(0.5, requires_grad=True)), TypeError, "quantile: q takes no Tensor"),
    (lambda x: mg.average(x, weights=[1.0, 2.0]), ValueError, r"average: expected weights in the shape of a \(3,\)"),
    (lambda x: mg.average(x, weights=[0.0, 0.0, 0.0]), ZeroDivisionError, "average: weights sum to 0"),
    (lambda x: mg.cov(x[:, None, None]), ValueError, "cov: expected at most two axes"),
    (lambda x: mg.cov(x[:1]), ValueError, "cov: needs more observations than ddof 1, got 1"),
    (lambda x: mg.cov(x, aweights=[1.0, -1.0, 1.0]), ValueError, "cov: expected aweights of at least 0"),
    (lambda x: mg.cov(x, fweights=[1.5, 1.0, 1.0]), TypeError, "cov: expected whole numbers as fweights"),
    (lambda x: mg.nanmax(x * np.nan), ValueError, r"nanmax: only NaN along axis None of shape \(3,\); give initial="),
    (lambda x: mg.nanmean(x * np.nan), ValueError, "mean: 0 entries are left along axis None, needs more than 0"),
])  # fmt: skip
def test_bad_input(call, error, message):
    for x in (np.ones(3), mg.Tensor(np.ones(3), requires_grad=True)):
        with pytest.raises(error, match=message):
            call(x)
