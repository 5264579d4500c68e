"""Operations on shapes and indices: values and gradients for any shape, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph.testing import check_adjoint, check_vjp

from .checks import same
from .strategies import arrays, axes

# ---------------------------------------------------------------- values and gradients for any shapes


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


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(("call", "error", "message"), [
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


NUMBERS = [1.5, 2.5, 0.5]


@pytest.mark.parametrize("f", [
    lambda a, b: mg.concatenate([a, b]), lambda a, b: mg.concatenate([a, b], None), lambda a, b: mg.stack([a, b]),
    lambda a, b: mg.scatter_add(a, [0, 1, 1], b), lambda a, b: mg.where([True, False, True], a, b),
    mg.add, mg.multiply, mg.divide, mg.power, mg.maximum, mg.remainder, mg.clip, mg.matmul,
    lambda a, b: mg.einsum("i,i->i", a, b), lambda a, b: mg.einsum("i,j->i", a, b),
])  # fmt: skip
def test_rules_take_the_lists_that_forwards_take(f):
    """And a list of numbers does not decide the dtype of the result."""
    x = np.array([0.6, 1.7, 3.1])
    check_vjp(lambda x: f(x, NUMBERS), x, order=2)
    check_vjp(lambda x: f(NUMBERS, x), x, order=2)
    np.testing.assert_array_equal(f(NUMBERS, NUMBERS), f(np.array(NUMBERS), np.array(NUMBERS)))
    assert f(x.astype(np.float32), NUMBERS).dtype == np.float32


ONES = np.ones((2, 3))


@pytest.mark.parametrize(("call", "message"), [
    (
        lambda t: mg.concatenate([t, np.ones((2, 4))]),
        r"along axis 0: array 0 \(2, 3\) and array 1 \(2, 4\) differ on axis 1",
    ),
    (
        lambda t: np.concatenate([np.ones((3, 3)), t], -1),
        r"array 0 \(3, 3\) and array 1 \(2, 3\) differ on axis 0, 3 and 2",
    ),
    (lambda t: mg.concatenate([t, t[0]]), r"array 0 \(2, 3\) has 2 axes, array 1 \(3,\) has 1"),
    (lambda t: mg.concatenate([t, t], 2), "axis 2 is out of range for arrays of 2 axes"),
    (lambda t: mg.concatenate([t[0, 0], 1.0]), "array 0 has no axis to join along: use stack"),
    (lambda t: mg.stack([t, t[0]]), r"stack: expected arrays of one shape, got \[\(2, 3\), \(3,\)\]"),
    (lambda t: t.reshape(4), r"x \(2, 3\) has 6 entries, \(4,\) has 4"),
    (lambda t: np.reshape(t, (2, 2)), r"x \(2, 3\) has 6 entries, \(2, 2\) has 4"),
    (lambda t: t.reshape(4, -1), r"has 6 entries, which do not divide by the 4 of \(4, -1\)"),
    (lambda t: t.reshape(-1, -1), r"one length may be -1, got \(-1, -1\)"),
    (lambda t: mg.broadcast_to(t, (4, 3)), r"x \(2, 3\) does not broadcast to \(4, 3\)"),
    (lambda t: mg.transpose(t, (0, 1, 2)), r"each of the 2 axes of x \(2, 3\) once, got \(0, 1, 2\)"),
    (lambda t: mg.squeeze(t, -1), r"x \(2, 3\) has 3 entries along axis 1, not 1"),
    (
        lambda t: mg.scatter(t, [0, 1], (4, 2)),
        r"values \(2, 3\) do not broadcast to x\[index\], which has the shape \(2, 2\)",
    ),
    (lambda t: mg.scatter_add(t, 0, np.ones(2)), r"scatter_add: values \(2,\) do not broadcast .* of shape \(3,\)"),
    (
        lambda t: mg.einsum("ij,jk", t, np.ones((4, 2))),
        r"subscript 'j' has the length 3 in operand 0 \(2, 3\) and 4 in operand 1",
    ),
    (lambda t: t - [1.0, 2.0], r"the shapes \(2, 3\), \(2,\) do not broadcast: on axis -1 they have the lengths 2, 3"),
    (
        lambda t: [1.0, 2.0] * t,
        r"multiply\(\[1\.0, 2\.0\], float64 \(2, 3\)\): the shapes \(2,\), \(2, 3\) do not broadcast",
    ),
    (lambda t: np.ones((200, 500)) - t, r"the shapes \(200, 500\), \(2, 3\) do not broadcast: on axis -1"),
    (lambda t: mg.clip(t, np.zeros(2)), r"clip.* on axis -1 they have the lengths 2, 3"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_told_in_the_users_terms(call, message):
    for x in (mg.Tensor(ONES), mg.Tensor(ONES, requires_grad=True)):
        with pytest.raises(ValueError, match=message):
            call(x)


@pytest.mark.parametrize("call", [
    lambda: mg.add([1.0, 2.0], [1.0, 2.0, 3.0]), lambda: mg.matmul(ONES, "a"), lambda: mg.reshape(ONES, "a"),
    lambda: mg.reshape(ONES, 1.5), lambda: mg.concatenate([ONES, "a"]), lambda: mg.broadcast_to(ONES, "a"),
    lambda: mg.transpose(ONES, "a"), lambda: mg.add(ONES, [[1.0], [1.0, 2.0]]), lambda: mg.scatter(ONES, "a", (3,)),
])  # fmt: skip
def test_what_has_no_shape_to_tell_of_raises_numpys_own_error(call):
    with pytest.raises((TypeError, ValueError, IndexError)):
        call()
