"""Tables of text, and times in words."""

import pytest

from minigraph.graph.table import duration, table


def test_columns_are_aligned():
    assert table([["op", "n"], ["matmul", "12"]]) == "op      n\nmatmul  12"
    assert table([["op", "n"], ["matmul", "12"]], right=[1]) == "op       n\nmatmul  12"
    assert table([]) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 us"), (9.994e-6, "9.99 us"), (9.996e-6, "10.0 us"), (0.99949e-3, "999 us"), (0.99951e-3, "1.00 ms"),
        (0.0123, "12.3 ms"), (0.9996, "1.00 s"), (99.96, "100 s"), (12345.6, "12346 s"),
    ],
)  # fmt: skip
def test_three_digits(seconds, text):
    assert duration(seconds) == text
