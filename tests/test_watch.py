"""Watching: what a watcher sees, and what `scope` refuses."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.watch import current, derived, scopes, watching


class Notes:
    def __init__(self):
        self.seen = []

    def operation(self, op, run):
        self.seen.append((op.name, [entry.name for entry in scopes()]))
        return run()

    def rule_begins(self, node, g):
        self.seen.append(("rule of", node.op.name, g.shape))

    def adds(self, node, i, gradient):
        self.seen.append(("to argument", i, gradient.shape))

    def rule_ends(self, node):
        self.seen.append(("end of", node.op.name))

    def derives(self, array, source, how):
        self.seen.append((how, len(source)))


def test_a_watcher_sees_operations_rules_and_scopes_where_it_watches():
    notes = Notes()

    def f(x):
        with mg.scope("outer"), mg.scope("inner"):
            return mg.sum(mg.exp(x))

    f(np.ones(3))
    with watching(notes):
        assert current() is notes
        gradient = mg.grad(f)(np.ones(3))
        derived(np.ones(2), [1, 2, 3], "made")
    assert current() is None and np.array_equal(gradient, mg.grad(f)(np.ones(3)))
    inside = ["outer", "inner"]
    rules = [("rule of", "sum", ()), ("to argument", 0, (3,)), ("end of", "sum")]
    rules += [("rule of", "exp", (3,)), ("to argument", 0, (3,)), ("end of", "exp")]
    seen = [note for note in notes.seen if note[0] not in ("identity", "broadcast_to", "multiply", "reshape")]
    assert seen[:2] == [("exp", inside), ("sum", inside)] and seen[-1] == ("made", 3)
    assert [note for note in seen if note in rules] == rules
    assert scopes() == ()


def test_what_scope_refuses():
    with pytest.raises(TypeError, match="scope: expected a name, got 3"):
        mg.scope(3)
    with pytest.raises(ValueError, match="scope: expected a name, got an empty string"):
        mg.scope("")
