"""Every optimizer follows the protocol, and so does a class of the user's own."""

import copy

import numpy as np
import pytest

from minigraph import tree
from minigraph.optim import SGD, Adam, AdamW, Groups, Optimizer
from minigraph.serialize import load, save

from .helpers import assert_same, draw, run


class SignDescent:
    """An optimizer as a user would write it, with no base class."""

    def init(self, params):
        return {"step": np.array(0)}

    def step(self, params, grads, state):
        return tree.map(lambda w, g: w - 0.1 * np.sign(g), params, grads), {"step": state["step"] + 1}


MAKE = {
    "sgd": lambda: SGD(0.1, momentum=0.9),
    "adam": lambda: Adam(0.1),
    "adamw": lambda: AdamW(0.1),
    "groups": lambda: Groups({"head.*": AdamW(0.1), "scale": None, "*": SGD(0.1, momentum=0.9)}),
    "the user's": SignDescent,
}
each = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


@each
def test_follows_the_protocol(make):
    assert isinstance(make(), Optimizer)
    params, state = run(make(), draw(0), [draw(1), draw(2)])
    tree.check_like(draw(0), params, "params")
    assert state["step"] == 2 and state["step"].dtype == np.int64 and state["step"].shape == ()


@each
def test_what_the_caller_made_is_never_written_to(make):
    params, gradients = draw(0), [draw(1), draw(2)]
    opt = make()
    state = opt.init(params)
    before = copy.deepcopy((params, gradients, state))
    run(opt, params, gradients, state)
    assert_same(before, (params, gradients, state))


@each
def test_a_saved_run_goes_on_bit_for_bit(make, tmp_path):
    gradients = [draw(i) for i in range(1, 7)]
    whole = run(make(), draw(0), gradients)
    params, state = run(make(), draw(0), gradients[:3])
    save(tmp_path / "c", {"params": params, "state": state})
    loaded = load(tmp_path / "c")
    assert_same(whole, run(make(), loaded["params"], gradients[3:], loaded["state"]))


def test_what_lacks_a_method_is_none():
    assert not isinstance(np.ones(1), Optimizer) and not isinstance(lambda params, grads: params, Optimizer)
