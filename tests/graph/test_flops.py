"""The count of arithmetic, beside one by hand."""

import numpy as np
import pytest

import minigraph as mg
from minigraph import tree
from minigraph.graph.flops import flops
from models import airnet

X = np.ones((2, 8, 8, 3), np.float32)


def test_a_product_and_its_two_gradients():
    assert flops(lambda p, x: x @ p, np.ones((4, 5)), np.ones((3, 4))) == 2 * (2 * 3 * 4 * 5)  # x needs no gradient
    assert flops(lambda p: p[0] @ p[1], (np.ones((3, 4)), np.ones((4, 5)))) == 3 * (2 * 3 * 4 * 5)
    assert flops(lambda p, x: (x @ p).sum(), np.ones(4), np.ones((7, 3, 4))) == 2 * (2 * 7 * 3 * 4)


@pytest.mark.parametrize("groups", [1, 3])
def test_convolutions(groups):
    w = np.ones((3, 3, 3 // groups, 6), np.float32)
    one = 2 * (2 * 6 * 6 * 6) * (3 * 3 * 3 // groups)
    assert flops(lambda p, x: mg.conv2d(x, p, groups=groups), w, X) == 2 * one
    assert flops(lambda p: mg.conv2d(p["x"], p["w"], groups=groups), {"x": X, "w": w}) == 3 * one
    maps = np.ones((2, 6, 6, 6), np.float32)
    assert flops(lambda p, x: mg.conv_transpose2d(x, p, groups=groups), w, maps) == 2 * one


def test_an_operand_that_is_a_list():
    w, rows = np.ones((2, 2)), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert flops(lambda p: rows @ p, w) == 2 * (2 * 3 * 2 * 2)
    assert flops(lambda p: mg.einsum("ij,jk->ik", rows, p), w) == 2 * (2 * 3 * 2 * 2)
    assert flops(lambda p: mg.solve(rows[:2], p), w) == flops(lambda p: mg.solve(np.array(rows[:2]), p), w)


def test_airnet_takes_what_its_recipes_say():
    params, state = airnet.init(np.random.default_rng(0))
    frozen, trained = tree.partition(params, "whiten.*")
    x = np.ones((2, 32, 32, 3), np.float32)

    def loss_fn(p, x):
        return airnet.apply(tree.merge(p, frozen), state, x, train=True)[0].sum(), 1

    # Without the bias of the first layer there is no gradient in the maps that the first block gets.
    assert flops(loss_fn, trained, x) / 2e6 == pytest.approx(606, abs=1)
    first = 2 * 30 * 30 * 64 * (3 * 3 * 24) + 2 * 31 * 31 * 24 * (2 * 2 * 3)  # that gradient, and the first layer
    whole = flops(lambda p, x: airnet.apply(p, state, x, train=True)[0], params, x)
    assert whole == flops(loss_fn, trained, x) + 2 * first


def test_what_depends_on_no_parameter():
    for f in (lambda p: 3.0, lambda p: mg.Tensor(np.ones(2)), lambda p: []):
        with pytest.raises(ValueError, match="flops: no graph was recorded"):
            flops(f, np.ones(2))
