"""A suite over the table: its checks can fail. For every primitive, every way to break its rule is noticed."""

from contextlib import contextmanager

import numpy as np
import pytest

import minigraph as mg
from minigraph.testing import GradientMismatch, check_vjp

from .table import ROWS, pulled

PRIMITIVES = {name: p for name, p in mg.primitives().items() if p.__module__.startswith("minigraph.")}
OF_NAME = {row.name: row for row in ROWS}


def one_entry(g):
    """The gradient with its largest entry 1% larger."""
    mask = np.ones(g.shape)
    mask.flat[np.abs(g.data if isinstance(g, mg.Tensor) else g).argmax()] = 1.01
    return g * mask


def detached(g):
    """The right value, with nothing to differentiate it by: wrong at second order only."""
    return g.detach() if isinstance(g, mg.Tensor) else g


BROKEN = {
    "scaled": lambda g: g * 1.01,
    "flipped": lambda g: -g,
    "zeroed": lambda g: g * 0,
    "reversed": lambda g: mg.flip(g),
    "one entry": one_entry,
    "detached": detached,
}


def gradients(pulled):
    """What a rule returned, as a tuple."""
    return pulled if isinstance(pulled, tuple) else (pulled,)


@contextmanager
def rule_of(op, wrap):
    """`op` with its rule's gradients, as thunks, passed through wrap(i, thunk)."""
    right = op.rule

    def rule(*args, **kwargs):
        grads = gradients(right(*args, **kwargs))

        def thunk(i, g):
            return None if g is None else lambda: wrap(i, g() if callable(g) else g)

        return tuple(thunk(i, g) for i, g in enumerate(grads))

    op.rule = rule
    try:
        yield
    finally:
        op.rule = right


def arguments(op, row):
    """The arguments for which the rule gives a gradient, and the set of those that each case asks for."""
    given, asked = set(), [set() for _ in row.cases]
    right = op.rule

    def rule(*args, **kwargs):
        grads = right(*args, **kwargs)
        given.update(i for i, g in enumerate(gradients(grads)) if g is not None)
        return grads

    op.rule = rule
    try:
        for c, of_case in zip(row.cases, asked, strict=True):

            def note(i, g, of_case=of_case):
                of_case.add(i)
                return g

            with rule_of(op, note):
                pulled(row, c, c.draw())
    finally:
        op.rule = right
    return given, asked


def caught(row, cases=None):
    """Whether a check of one of these cases of the row, by default of all of them, fails."""
    for c in row.cases if cases is None else cases:
        try:
            row.check(c)
        except GradientMismatch:
            return True
    return False


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_broken_rule_is_caught(name):
    op, row = PRIMITIVES[name], OF_NAME[name]
    given, asked = arguments(op, row)
    assert set().union(*asked) == given
    missed = []
    for i in sorted(given):
        # A case that does not ask for this gradient never runs what is broken: it cannot fail.
        cases = [c for c, of_case in zip(row.cases, asked, strict=True) if i in of_case]
        for kind, broken in BROKEN.items():
            if kind == "detached" and op.composite is not None:
                continue  # at second order the composite is differentiated, not the rule
            with rule_of(op, lambda j, g, i=i, broken=broken: broken(g) if j == i else g):
                if not caught(row, cases):
                    missed.append((i, kind))
    assert not missed


@pytest.mark.parametrize("name", [name for name, p in PRIMITIVES.items() if p.composite is not None])
def test_a_composite_that_differs_is_caught(name, monkeypatch):
    op = PRIMITIVES[name]
    right = op.composite
    monkeypatch.setattr(op, "composite", lambda *args, **kwargs: right(*args, **kwargs) * 1.01)
    assert caught(OF_NAME[name])


def test_a_rule_with_a_term_dropped_is_caught(monkeypatch):
    """silu's gradient is s + x s (1 - s); softmax's y (g - sum(g y))."""
    monkeypatch.setattr(mg.ops.silu, "rule", lambda g, _y, _x, *, saved: g * saved)
    monkeypatch.setattr(mg.ops.softmax, "rule", lambda g, y, _x, axis=-1: g * y)
    assert caught(OF_NAME["silu"])
    assert caught(OF_NAME["softmax"])


def test_a_transposed_rule_is_caught(monkeypatch):
    """Of square matrices: shapes cannot tell."""
    a, b = np.random.default_rng(0).standard_normal((2, 3, 3))
    monkeypatch.setattr(mg.ops.matmul, "rule", lambda g, _y, a, b: (g @ b, a @ g))
    with pytest.raises(GradientMismatch):
        check_vjp(mg.matmul, a, b)
