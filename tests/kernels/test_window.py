import pytest

from minigraph.kernels.window import output_size


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("padding", [(0, 0), (0, 1), (3, 2)])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_output_size_counts_the_positions_that_fit(window, padding, stride, dilation):
    for size in range(12):
        padded = sum(padding) + size
        positions = sum(start + dilation * (window - 1) < padded for start in range(0, padded, stride))
        got = output_size((size, 10), (window, 3), (stride, 4), (padding, (1, 0)), (dilation, 2))
        assert got == (positions, 2)
