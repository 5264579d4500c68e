"""Tables of text."""

from minigraph.graph.table import table


def test_columns_are_aligned():
    assert table([["op", "n"], ["matmul", "12"]]) == "op      n\nmatmul  12"
    assert table([["op", "n"], ["matmul", "12"]], right=[1]) == "op       n\nmatmul  12"
    assert table([]) == ""
