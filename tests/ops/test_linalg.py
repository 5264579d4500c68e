"""Products: every broadcast and every subscript, values and gradients; dtypes."""

import numpy as np
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
