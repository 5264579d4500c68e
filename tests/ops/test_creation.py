"""Arrays made of others: nested lists of Tensors, dtypes, ranges."""

import numpy as np
import pytest

import minigraph as mg

from .checks import gradient


def test_an_array_of_tensors_and_numbers():
    t, u = mg.Tensor([1.0, 2.0], requires_grad=True), mg.Tensor([3.0, 4.0], requires_grad=True)
    y = mg.array([[t, u], [u, [5.0, 6.0]]])
    np.testing.assert_array_equal(y.data, [[[1, 2], [3, 4]], [[3, 4], [5, 6]]])
    (y * np.arange(8.0).reshape(2, 2, 2)).sum().backward()
    assert t.grad.data.tolist() == [0, 1] and u.grad.data.tolist() == [6, 8]
    s = mg.Tensor(np.float32(2), requires_grad=True)
    assert mg.array([s, 3.0, 1]).dtype == np.float32 and mg.array((s, s), np.float64).dtype == np.float64
    assert mg.array(s) is not s and mg.array(s).data is not s.data and mg.array(s).requires_grad
    assert type(mg.array([1, 2.5])) is np.ndarray and mg.array([1, 2], np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="stack: expected arrays of one shape"):
        mg.array([t, s])


def test_a_copy_is_in_memory_of_its_own():
    x = np.ones(3)
    t = mg.Tensor(x, requires_grad=True)
    for y in (mg.copy(t), np.copy(t), t.copy()):
        assert y.requires_grad and not np.shares_memory(y.data, x)
    assert not np.shares_memory(mg.copy(x), x)


def test_full_like_of_numbers_is_an_array():
    t = mg.Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    assert type(np.full_like(t, 2.0)) is np.ndarray and np.full_like(t, 2.0).dtype == np.float32
    assert np.full_like(t, t[0, 0], shape=(4,)).shape == (4,) and np.full_like(t, t[0]).requires_grad
    assert gradient(lambda x: mg.full_like(np.zeros(4), x), 3.0) == [4]


@pytest.mark.parametrize("num", [0, 1, 2, 5])
@pytest.mark.parametrize("endpoint", [False, True])
def test_linspace_ends_where_it_should(num, endpoint):
    got, step = mg.linspace(0.1, 0.7, num, endpoint, retstep=True)
    expected, expected_step = np.linspace(0.1, 0.7, num, endpoint, retstep=True)
    np.testing.assert_allclose(got, expected, rtol=1e-15)
    np.testing.assert_allclose(step, expected_step, rtol=1e-15)
    assert not endpoint or num < 2 or got[-1] == 0.7
    assert mg.linspace(mg.Tensor(np.float32(1)), 2.0, num).dtype == np.float32


def test_bad_input():
    with pytest.raises(ValueError, match="linspace: expected num of at least 0, got -1"):
        mg.linspace(0.0, 1.0, -1)
    with pytest.raises(ValueError, match="meshgrid: expected indexing 'xy' or 'ij', got 'no'"):
        mg.meshgrid([1.0], [2.0], indexing="no")
