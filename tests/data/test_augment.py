import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from minigraph.data.augment import reflect_pad, resize


@pytest.mark.parametrize("rest", [(), (3,)])
@settings(deadline=None, derandomize=True)
@given(height=st.integers(2, 8), width=st.integers(2, 8), data=st.data())
def test_reflect_is_numpys(rest, height, width, data):
    p = data.draw(st.integers(1, min(height, width) - 1))
    x = np.random.default_rng(0).integers(0, 256, (3, height, width, *rest), np.uint8)
    expected = np.pad(x, ((0, 0), (p, p), (p, p), *[(0, 0)] * len(rest)), "reflect")
    np.testing.assert_array_equal(reflect_pad(x, p), expected)


@pytest.mark.parametrize("size", [1, 4, 7, 9, 12])
def test_resize_is_bilinear_with_the_outermost_pixels_repeated(size):
    x = np.random.default_rng(0).standard_normal((70, 9, 8, 3), np.float32)
    rows, columns = ((np.arange(size) + 0.5) * n / size - 0.5 for n in (9, 8))
    places = np.meshgrid(rows, columns, indexing="ij")
    y = resize(x, size)
    assert y.dtype == np.float32 and y.shape == (70, size, size, 3) and y.flags.c_contiguous
    for i in (0, 63, 64, 69):
        for c in range(3):
            expected = map_coordinates(x[i, :, :, c].astype(float), places, order=1, mode="nearest")
            np.testing.assert_allclose(y[i, :, :, c], expected, rtol=0, atol=1e-6)


def test_resize_to_three_quarters_has_no_antialiasing():
    step = np.repeat(np.float32([0, 0, 0, 1]), 3).reshape(1, 1, 4, 3)  # pixels 0, 0, 0, 1 in a row
    np.testing.assert_allclose(resize(step, 3)[0, 0, :, 0], [0, 0, 5 / 6], atol=1e-6)
