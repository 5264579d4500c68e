"""Padding: every mode against numpy.pad, for any widths, and bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_adjoint, check_vjp

from .checks import same
from .strategies import arrays, sides

LINEAR = [
    {"mode": "edge"}, {"mode": "wrap"}, {"mode": "mean"}, {"mode": "mean", "stat_length": 2},
    {"mode": "linear_ramp", "end_values": ((1.0, 2.0),)}, {"mode": "reflect"}, {"mode": "symmetric"},
    {"mode": "reflect", "reflect_type": "odd"}, {"mode": "symmetric", "reflect_type": "odd"},
    {"constant_values": 1.5},
]  # fmt: skip


@pytest.mark.parametrize("kwargs", LINEAR, ids=str)
@given(st.data())
def test_modes_that_are_linear(kwargs, data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3)))
    widths = [(data.draw(sides), data.draw(sides)) for _ in range(x.ndim)]
    same(mg.pad(x, widths, **kwargs), np.pad(x, widths, **kwargs))
    check_adjoint(lambda x: mg.pad(x, widths, **kwargs), x)


@pytest.mark.parametrize("mode", ["maximum", "minimum", "median"])
@given(st.data())
def test_modes_of_order(mode, data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=3), away_from_kinks=True))
    widths = [(data.draw(sides), data.draw(sides)) for _ in range(x.ndim)]
    length = data.draw(st.sampled_from([None, 1, 2, 7]))
    same(mg.pad(x, widths, mode, stat_length=length), np.pad(x, widths, mode, stat_length=length))
    check_vjp(lambda x: mg.pad(x, widths, mode, stat_length=length), x, order=1)


def test_an_empty_axis_can_be_padded_with_numbers():
    same(mg.pad(np.ones((0, 2)), 1), np.pad(np.ones((0, 2)), 1))
    for mode in ("edge", "mean", "linear_ramp"):
        with pytest.raises(ValueError, match=rf"pad: mode '{mode}' finds no entries along axis 0 of shape \(0, 2\)"):
            mg.pad(np.ones((0, 2)), 1, mode)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: mg.pad(x, ((1, 1), (2, 2))), ValueError, r"pad: expected widths .* 1 axes, got \(\(1, 1\), \(2, 2\)\)"),
    (lambda x: mg.pad(x, "a"), ValueError, "pad: expected widths of at least 0, an int, .* got a"),
    (lambda x: mg.pad(x, ((1, 1), (2,))), ValueError, "pad: expected widths"),
    (lambda x: mg.pad(x, 1.5), ValueError, r"pad: expected widths .* got 1\.5"),
    (lambda x: mg.pad(x, -1), ValueError, "pad: expected widths of at least 0.* got -1"),
    (lambda x: mg.pad(x, 1, "empty"), ValueError, "pad: expected a mode of 'constant', 'edge', .* got 'empty'"),
    (lambda x: mg.pad(x, 1, lambda *a: None), ValueError, "pad: expected a mode of 'constant', 'edge'"),
    (lambda x: mg.pad(x, 1, "reflect", reflect_type="no"), ValueError, "reflect_type 'even' or 'odd', got .* 'no'"),
    (lambda x: mg.pad(x, 1, constant_values=mg.Tensor(1.0)), TypeError, "take no Tensor"),
])  # fmt: skip
def test_bad_input(call, error, message):
    for x in (np.ones(3), mg.Tensor(np.ones(3), requires_grad=True)):
        with pytest.raises(error, match=message):
            call(x)
