"""Products: every broadcast and every subscript, values and gradients; dtypes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_adjoint, check_vjp

from .checks import check_dtypes, same
from .strategies import arrays, floats, sides


@given(st.data(), hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3))
def test_matmul(data, pair):
    a, b = (data.draw(arrays(s)) for s in pair.input_shapes)
    same(mg.matmul(a, b), np.matmul(a, b))
    check_adjoint(mg.matmul, a, b)
    check_vjp(mg.matmul, a, b)


@given(st.data())
def test_einsum(data):
    sizes = {c: data.draw(sides) for c in "abcd"}
    terms = data.draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    output = "".join(data.draw(st.lists(st.sampled_from(used), unique=True))) if used else ""
    subscripts = ",".join(terms) + data.draw(st.sampled_from(["->" + output, ""]))
    xs = [data.draw(arrays(tuple(sizes[c] for c in t))) for t in terms]
    same(mg.einsum(subscripts, *xs), np.einsum(subscripts, *xs))
    check_adjoint(lambda *xs: mg.einsum(subscripts, *xs), *xs)


@given(st.data())
def test_einsum_ellipsis(data):
    pair = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3))
    k = data.draw(sides)
    a, b = (data.draw(arrays((*s, k))) for s in pair.input_shapes)
    for subscripts in ("...k,...k->...", "...k,...k", "...k,...k->k..."):
        same(mg.einsum(subscripts, a, b), np.einsum(subscripts, a, b))
        check_adjoint(lambda a, b, s=subscripts: mg.einsum(s, a, b), a, b)


@given(st.data(), floats, floats)
def test_dtypes_follow_numpy_and_gradients_follow_inputs(data, first, second):
    shape = data.draw(st.sampled_from([(2, 2), (3, 3)]))
    a, b = (np.abs(data.draw(arrays(shape))).astype(t) + t(0.5) for t in (first, second))
    check_dtypes(mg.matmul, a, b)


# ---------------------------------------------------------------- labels of length 1


@pytest.mark.parametrize(
    "subscripts", ["i,i", "i,i->i", "ij,jk->ik", "ij,ij->i", "bij,bjk->bik", "ij,j", "i,i,i->", "ij,ji->"]
)
@pytest.mark.parametrize("ones", range(8))
def test_einsum_stretches_labels_of_length_1(subscripts, ones):
    """Each label has its length or, in some of the operands, 1: NumPy broadcasts, and so do the adjoints."""
    lengths = dict(zip("bijk", (2, 3, 4, 5), strict=True))
    rng = np.random.default_rng(0)
    terms = subscripts.split("->")[0].split(",")
    operands = [
        rng.standard_normal([1 if ones >> (n % 3) & 1 and c in "ij" else lengths[c] for c in term])
        for n, term in enumerate(terms)
    ]
    try:
        expected = np.einsum(subscripts, *operands)
    except ValueError:
        return
    np.testing.assert_allclose(mg.einsum(subscripts, *operands), expected)
    check_vjp(lambda *xs: mg.einsum(subscripts, *xs), *operands)


# ---------------------------------------------------------------- shapes that do not fit


@pytest.mark.parametrize(("call", "message"), [
    (lambda t: t @ np.ones((4, 2)), r"matmul.*: a \(2, 3\) has 3 columns, b \(4, 2\) has 4 rows"),
    (lambda t: np.matmul(t, np.ones(2)), r"a \(2, 3\) has 3 columns, b \(2,\) has 2 rows"),
    (lambda t: np.ones(3) @ t, r"a \(3,\) has 3 columns, b \(2, 3\) has 2 rows"),
    (lambda t: t @ 2.0, r"needs at least one axis on both sides, got \(2, 3\) and \(\): write a \* b"),
    (lambda t: np.ones((2, 1, 2)) @ t[None] @ np.ones((3, 3, 1)), r"leading axes of a \(2, 1, 3\) and b \(3, 3, 1\)"),
    (lambda t: t + np.ones(2), r"add.*the shapes \(2, 3\), \(2,\) do not broadcast: on axis -1 they have"),
    (lambda t: np.maximum(np.ones((3, 3)), t), r"on axis -2 they have the lengths 2, 3"),
    (lambda t: mg.where(np.ones((2, 2)) > 0, t, 0.0), r"where.*do not broadcast: on axis -1"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_told_in_the_users_terms(call, message):
    with pytest.raises(ValueError, match=message):
        call(mg.Tensor(np.ones((2, 3)), requires_grad=True))
