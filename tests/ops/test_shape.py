"""Operations on shapes and indices: values and gradients for any shape, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_adjoint

from . import table
from .checks import same
from .strategies import arrays, axes, sides

# ---------------------------------------------------------------- values and gradients for any shapes


@st.composite
def indices(draw, shape):
    """An index expression for `shape`: basic, or with integer arrays (repeated entries too), or a mask."""
    kinds = [hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)]
    if shape and 0 not in shape:
        results = hnp.array_shapes(min_dims=1, max_dims=2, max_side=3)
        kinds.append(hnp.integer_array_indices(shape, result_shape=results))
        kinds.append(hnp.arrays(bool, shape[: draw(st.integers(1, len(shape)))]))
        kinds.append(
            st.tuples(
                st.sampled_from([slice(None), slice(None, None, -1), slice(None, None, 2), Ellipsis]),
                hnp.arrays(int, st.integers(0, 4), elements=st.integers(-shape[-1], shape[-1] - 1)),
            ).map(lambda t: t if t[0] is Ellipsis or len(shape) == 2 else (Ellipsis, t[1]))
        )
    return draw(st.one_of(kinds))


@given(st.data())
def test_indexing(data):
    x = data.draw(arrays())
    index = data.draw(indices(x.shape))
    same(mg.Tensor(x)[index], x[index])
    check_adjoint(lambda x: x[index], x)
    values = data.draw(arrays(np.shape(x[index])))
    same(mg.scatter(values, index, x.shape), table.scatter(values, index, x.shape))
    same(mg.scatter_add(x, index, values), table.scatter_add(x, index, values))
    check_adjoint(lambda x, v: mg.scatter_add(x, index, v), x, values)


@given(st.data())
def test_taking_along_one_axis(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, max_side=3)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    order = np.argsort(x, axis)
    same(mg.take_along_axis(x, order, axis), np.sort(x, axis))
    check_adjoint(lambda x: mg.take_along_axis(x, order, axis), x)
    indices = data.draw(hnp.arrays(int, hnp.array_shapes(min_dims=0, max_dims=2, max_side=3),
                                   elements=st.integers(-x.shape[axis], x.shape[axis] - 1)))  # fmt: skip
    same(mg.take(x, indices, axis), np.take(x, indices, axis))
    check_adjoint(lambda x: mg.take(x, indices, axis), x)


@given(st.data())
def test_moving_axes(data):
    x = data.draw(arrays())
    order = data.draw(st.permutations(range(x.ndim)))
    order = tuple(a - x.ndim if data.draw(st.booleans()) else a for a in order)
    axis = data.draw(axes(x.ndim))
    extra = data.draw(st.integers(-x.ndim - 1, x.ndim))
    flat = tuple(int(n) for n in data.draw(st.permutations(x.shape)))
    for f, reference in [
        (lambda x: mg.transpose(x, order), np.transpose(x, order)),
        (lambda x: mg.flip(x, axis), np.flip(x, axis)),
        (lambda x: mg.expand_dims(x, extra), np.expand_dims(x, extra)),
        (lambda x: mg.squeeze(mg.expand_dims(x, extra), extra), x),
        (lambda x: mg.squeeze(x), np.squeeze(x)),
        (lambda x: mg.reshape(x, flat), np.reshape(x, flat)),
        (lambda x: mg.broadcast_to(x, (2, *x.shape)), np.broadcast_to(x, (2, *x.shape))),
    ]:
        same(f(x), reference)
        check_adjoint(f, x)


@given(st.data())
def test_concatenate_undoes_split(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    for sections in (cuts, data.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0] or [1]))):
        parts = mg.split(x, sections, axis)
        for got, expected in zip(parts, np.split(x, sections, axis), strict=True):
            same(got, expected)
        same(mg.concatenate(parts, axis), x)
        check_adjoint(lambda x, sections=sections: mg.split(x, sections, axis), x)
        check_adjoint(lambda parts: mg.concatenate(parts, axis), parts)
    check_adjoint(lambda a, b: mg.stack([a, b], axis), x, x)


@given(st.data())
def test_padding(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)))
    widths = [(data.draw(sides), data.draw(sides)) for _ in range(x.ndim)]
    same(mg.pad(x, widths, value=1.5), np.pad(x, widths, constant_values=1.5))
    check_adjoint(lambda x: mg.pad(x, widths, value=1.5), x)
    narrow = [(min(a, max(n - 1, 0)), min(b, max(n - 1, 0))) for (a, b), n in zip(widths, x.shape, strict=True)]
    same(mg.pad(x, narrow, "reflect"), np.pad(x, narrow, "reflect"))
    check_adjoint(lambda x: mg.pad(x, narrow, "reflect"), x)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: mg.pad(x, ((1, 1), (2, 2))), ValueError, r"pad: expected widths .* 1 axes, got \(\(1, 1\), \(2, 2\)\)"),
    (lambda x: mg.pad(x, "a"), ValueError, "pad: expected widths of at least 0, an int, .* got a"),
    (lambda x: mg.pad(x, ((1, 1), (2,))), ValueError, "pad: expected widths"),
    (lambda x: mg.pad(x, 1.5), ValueError, r"pad: expected widths .* got 1\.5"),
    (lambda x: mg.pad(x, -1), ValueError, "pad: expected widths of at least 0.* got -1"),
    (lambda x: mg.stack([x, x], 2), ValueError, r"stack: axis 2 is out of range .* \(3,\)"),
    (lambda x: mg.stack([x, x], -3), ValueError, "stack: axis -3 is out of range"),
    (lambda x: mg.take(x, [0, 7]), IndexError, r"take: expected indices in \[-3, 3\) along axis 0, got 0 to 7"),
    (lambda x: mg.take(x, -4, 0), IndexError, "take: .* got -4 to -4"),
])  # fmt: skip
def test_a_wrong_call_names_the_operation_called(call, error, message):
    for x in (np.ones(3), mg.Tensor(np.ones(3), requires_grad=True)):
        with pytest.raises(error, match="^" + message):
            call(x)


def test_a_reshape_that_does_not_fit():
    with pytest.raises(ValueError, match=r"reshape\(float64 \(2, 5, 5, 3\)"):
        mg.reshape(np.ones((2, 5, 5, 3)), (7, -1))


# ---------------------------------------------------------------- what the caller changes afterwards


INTS, BOOLS = np.array([0, 2]), np.array([True, False, True])


@pytest.mark.parametrize(("index", "f"), [
    (INTS, lambda x, i: x[i]), (INTS, lambda x, i: x[None][(0, i)]), (BOOLS, lambda x, i: x[i]),
    (INTS, lambda x, i: mg.take(x, i)), (INTS, lambda x, i: mg.take_along_axis(x, i, 0)),
    (INTS, lambda x, i: mg.scatter_add(x, i, np.ones(2)) * x), (INTS, lambda x, i: x[mg.Tensor(i)]),
])  # fmt: skip
def test_an_index_may_be_changed_before_the_backward_pass(index, f):
    grads = []
    for change in (False, True):
        x, i = mg.Tensor([1.0, 2.0, 4.0], requires_grad=True), index.copy()
        y = (f(x, i) * 3).sum()
        if change:
            i[...] = i[::-1] if i.dtype == bool else 1
            i[0] = not i[0] if i.dtype == bool else 1
        y.backward()
        grads.append(x.grad.data)
    np.testing.assert_array_equal(*grads)
