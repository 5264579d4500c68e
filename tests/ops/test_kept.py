"""A suite over the operations: an argument that is changed after the call changes no gradient, silently.

It is copied, or it is not needed, or `detect_anomaly` names it. Which of these it is, is written down below.
"""

import numpy as np
import pytest

import minigraph as mg
from minigraph import MutationError, ops, tree

from .table import ROWS, is_floating
from .test_table import over

# The operands that the rules read. They may be large and are shared with the caller, so that detect_anomaly has to
# name them. These are their positions in the row of the operation. What says where or how is copied and not listed.
SHARED = {
    "multiply": {0, 1}, "divide": {1}, "remainder": {0, 1}, "power": {0, 1}, "maximum": {0, 1}, "minimum": {0, 1},
    "clip": {0, 1}, "gate": {1}, "matmul": {0, 1}, "einsum": {1, 2, 3, 4}, "conv2d": {0, 1},
    "conv2d_input_grad": {0, 1}, "conv2d_weight_grad": {0, 1}, "conv_transpose2d": {0, 1}, "batch_norm": {0, 1},
    "batch_norm_eval": {0, 1, 3, 4}, "layer_norm": {1}, "cross_entropy": {0, 1},
    "arctan2": {0, 1}, "average": {0, 2}, "copysign": {1}, "cov": {5, 6}, "divmod": {0}, "fmax": {0, 1},
    "fmin": {0, 1}, "fmod": {0}, "heaviside": {0}, "ldexp": {1}, "logaddexp": {0, 1}, "logaddexp2": {0, 1},
    "logspace": {4}, "xlogy": {0, 1},
    "dot": {0, 1}, "inner": {0, 1}, "outer": {0, 1}, "tensordot": {0, 1}, "vdot": {0, 1}, "vecdot": {0, 1},
    "kron": {0, 1}, "cross": {0, 1}, "solve": {0}, "tensorsolve": {0}, "lstsq": {0, 1},
    "correlate": {0, 1}, "convolve": {0, 1},
    "conv1d": {0, 1}, "conv3d": {0, 1}, "group_norm": {2}, "rms_norm": {1}, "binary_cross_entropy": {0, 1},
    "scaled_dot_product_attention": {0, 1, 2, "mask"},
}  # fmt: skip


def ints(a):
    """Whether a is an int or consists of ints, as axes, shapes, indices, paddings and masks do."""
    if isinstance(a, (tuple, list)):
        return len(a) > 0 and all(map(ints, a))
    return isinstance(a, int) and not isinstance(a, bool)


def spellings(a):
    """The argument as arrays and lists, which can be changed."""
    if isinstance(a, np.ndarray):
        return [lambda: a.copy()] + ([lambda: a.tolist()] if a.ndim and not is_floating(a) else [])
    if isinstance(a, tuple) and any(isinstance(v, (np.ndarray, list)) for v in a):
        return [lambda: tuple(v.copy() if isinstance(v, (np.ndarray, list)) else v for v in a)]
    if isinstance(a, (tuple, list)) and ints(a):
        return [lambda: np.array(a), lambda: np.array(a).tolist()] + ([lambda: [*a]] if isinstance(a, tuple) else [])
    return [lambda: np.array(a)] if ints(a) else []


def change(a):
    """Change every array and list in a, in place."""
    if isinstance(a, np.ndarray):
        a[...] = ~a if a.dtype == bool else a * 0.5 + 0.25 if is_floating(a) else a == 0
    elif isinstance(a, list):
        for i, v in enumerate(a):
            if isinstance(v, list):
                change(v)
            else:
                a[i] = tuple(u == 0 for u in v) if isinstance(v, tuple) else type(v)(not v)
    elif isinstance(a, tuple):
        for v in a:
            change(v)


class Use:
    """A call of an operation. The argument `place`, a number or a keyword, is a constant that can be changed."""

    def __init__(self, row, c, place, spell):
        self.row, self.place, self.argument = row, place, spell()
        args, kwargs = c.draw(), dict(c.kwargs)
        (kwargs if isinstance(place, str) else args)[place] = self.argument
        self.leaves = []
        y = row.op(*(a if i == place else self.traced(a) for i, a in enumerate(args)), **kwargs)
        self.y = [v for v in tree.leaves(y) if isinstance(v, mg.Tensor)]  # else it is made of the constant alone

    def traced(self, a):
        if isinstance(a, list):
            return [self.traced(v) for v in a]
        if not is_floating(a):
            return a
        self.leaves.append(mg.Tensor(a, requires_grad=True))
        return self.leaves[-1]

    def gradients(self):
        for y in self.y:
            if isinstance(y, mg.Tensor) and y.requires_grad:  # or a part that does not depend on any of the leaves
                y.backward(np.cos(np.arange(y.size)).reshape(y.shape), retain_graph=True)
        return [None if t.grad is None else t.grad.data for t in self.leaves]


def uses(row, c):
    args = c.draw()
    public = row.name in ops.__all__  # the others get their geometry from operations, as tuples
    for place, a in [*enumerate(args), *(c.kwargs.items() if public else ())]:
        if sum(map(is_floating, tree.leaves(args))) == 1 and is_floating(a):
            continue  # nothing else is differentiated
        for spell in spellings(a):
            try:
                use = Use(row, c, place, spell)
                if any(isinstance(y, mg.Tensor) and y.requires_grad for y in use.y):
                    yield place, lambda place=place, spell=spell: Use(row, c, place, spell)
            except (TypeError, ValueError, IndexError):
                continue  # the operation refuses this spelling


@over("cases")
def test_a_changed_argument(row, c):
    for place, use in uses(row, c):
        changed = use()
        expected = use().gradients()
        change(changed.argument)
        with np.errstate(all="ignore"):
            got = changed.gradients()
        if all(a is b is None or np.array_equal(a, b) for a, b in zip(got, expected, strict=True)):
            continue
        assert place in SHARED[row.name], f"{place} is not copied"
        with mg.detect_anomaly():
            changed = use()
            change(changed.argument)
            with pytest.raises(MutationError):
                changed.gradients()


def test_the_suite_changes_every_kind_of_argument():
    """Or it would pass for want of arguments."""
    tried = {(row.name, place) for row in ROWS for c in row.cases for place, _ in uses(row, c)}
    assert {(name, place) for name, places in SHARED.items() for place in places} <= tried
    of_axis = {name for name, place in tried if place == "axis"}
    assert of_axis >= {"sum", "mean", "var", "std", "max", "min", "prod", "logsumexp", "norm", "softmax", "cumsum"}
    assert tried >= {("transpose", 1), ("reshape", 1), ("pad", 1), ("split", 1), ("take", 1), ("getitem", 1),
                     ("scatter", 1), ("where", 0), ("conv2d", "padding"), ("max_pool", 1), ("var", "ddof")}  # fmt: skip


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("name", "make"), [
    ("axis", lambda: np.array([1, 0])), ("axes", lambda: [1, 0]), ("shape", lambda: np.array([3, 2])),
    ("index", lambda: ([0, 1], np.array([1, 2]))), ("condition", lambda: np.array([True, False])),
])  # fmt: skip
@pytest.mark.parametrize("by_name", [False, True])
def test_what_a_primitive_of_your_own_calls_so_is_copied_too(name, make, by_name, order):
    scope = {"seen": []}
    exec(f"def f(x, {name}): return 2 * x\ndef rule(g, _y, _x, {name}):\n seen.append({name})\n return 2 * g", scope)
    f = mg.custom_vjp(scope["f"])
    f.vjp(scope["rule"])
    x, given = mg.Tensor(np.ones(2), requires_grad=True), make()
    y = f(x, **{name: given}) if by_name else f(x, given)
    change(given)
    y.backward(np.ones(2), create_graph=order == 2)
    assert repr(scope["seen"]) == repr([make()]) != repr([given])


def test_a_list_as_an_operand_is_copied():
    x, factors = mg.Tensor(np.ones((2, 2)), requires_grad=True), [[1.0, 2.0], [3.0, 4.0]]
    y = (x * factors).sum()
    factors[0][0] = 99.0
    y.backward()
    assert x.grad.data.tolist() == [[1, 2], [3, 4]]
