"""What Hypothesis draws in the tests of operations: arrays in every layout, axes, windows and maps that hold them."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from . import table

sides = st.integers(0, 3)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
some_shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=3)
layouts = st.sampled_from(["C", "F", "strided", "flipped"])
floats = st.sampled_from([np.float32, np.float64])


@st.composite
def arrays(draw, shapes=shapes, away_from_kinks=False):
    """A float64 array in some layout; with `away_from_kinks` its entries are 0.4 apart and not near 0."""
    shape = draw(shapes) if isinstance(shapes, st.SearchStrategy) else shapes
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = np.asarray((table.spaced if away_from_kinks else table.normal)(*shape).f(rng))
    layout = draw(layouts)
    if layout == "F":
        return np.array(x, order="F")
    if layout == "strided" and x.ndim:
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if layout == "flipped" and x.ndim:
        return np.flip(np.flip(x).copy())
    return x


@st.composite
def axes(draw, ndim):
    """None, an int or a tuple of ints, counted from either end."""
    if ndim == 0 or draw(st.booleans()):
        return None
    if draw(st.booleans()):
        return draw(st.integers(-ndim, ndim - 1))
    chosen = draw(st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim))
    return tuple(a - ndim if draw(st.booleans()) else a for a in chosen)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.one_of(st.sampled_from([0, 1, "same", "valid"]), st.tuples(*[st.tuples(*[st.integers(0, 2)] * 2)] * 2))


def extents(window, dilation):
    return [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]


def sizes(least):
    """Map sizes of at least that, and not much larger."""
    return st.tuples(*(st.integers(max(n, 1), max(n, 1) + 4) for n in least))


def fitting(padding, window):
    """Map sizes that the window fits into."""
    if padding == "same":
        return sizes((1, 1))
    pads = table.pads_of(padding, None, window, None)
    return sizes([k - sum(p) for k, p in zip(window, pads, strict=True)])
