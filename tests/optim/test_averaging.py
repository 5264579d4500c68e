"""Averages of weights: their formulas, what they leave alone, resuming, and errors."""

import copy
import math

import numpy as np
import pytest

from minigraph import tree
from minigraph.optim import EMA, SGD, Lookahead
from minigraph.serialize import load, save

from .helpers import assert_same, draw


def weights(seed, dtype=np.float64):
    return {"params": draw(seed, dtype=dtype), "state": {"count": np.array(seed), "seen": np.array([seed > 2])}}


def train(steps, average, params, state, slow, start=0):
    """Steps of SGD with `average` after each."""
    opt = SGD(0.1, momentum=0.9)
    state = opt.init(params) if state is None else state
    slow = average.init(params) if slow is None else slow
    for i in range(start, start + steps):
        params, state = opt.step(params, draw(i + 1, dtype=np.float32), state)
        if isinstance(average, Lookahead):
            params, slow = average.step(params, slow)
        else:
            slow = average.step(params, slow)
    return params, state, slow


def decays(step):
    return 0.9 * (step / 12) ** 3


AVERAGES = [EMA(0.9), EMA(decays, every=3), Lookahead(0.5, every=2), Lookahead(decays)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decay", [0.0, 0.3, 0.8, decays], ids=lambda d: getattr(d, "__name__", str(d)))
@pytest.mark.parametrize("every", [1, 3])
def test_ema_follows_its_formula(dtype, decay, every):
    ema = EMA(decay, every)
    state = ema.init(weights(0, dtype))
    expected = weights(0)["params"]
    for step in range(1, 8):
        state = ema.step(weights(step, dtype), state)
        if step % every == 0:
            d = decay(step) if callable(decay) else decay
            expected = tree.map(lambda a, w, d=d: d * a + (1 - d) * w, expected, weights(step)["params"])
    got = state["weights"]
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), got["params"], expected)
    tree.check_like(weights(0, dtype), got, "the average")
    assert state["step"] == 7 and got["state"]["count"] == 7 // every * every and got["state"]["seen"].all()


def test_lookahead_follows_its_formula():
    lookahead = Lookahead(decays, every=2)
    fast = slow = np.array([0.0, 4.0])
    state = lookahead.init([fast])
    for step in range(1, 10):
        fast = fast + step
        (got,), state = lookahead.step([fast], state)
        if step % 2 == 0:
            slow = fast = decays(step) * slow + (1 - decays(step)) * fast
        np.testing.assert_allclose(got, fast, rtol=1e-14)
        np.testing.assert_allclose(state["weights"][0], slow, rtol=1e-14)


def test_what_does_not_change_stays_to_the_bit():
    frozen = draw(0, dtype=np.float32)
    for decay in (0, 0.3, 0.7, 0.999):
        ema = EMA(decay)
        state = ema.init(frozen)
        for _ in range(5):
            state = ema.step(frozen, state)
        assert_same(frozen, state["weights"])


@pytest.mark.parametrize("average", AVERAGES, ids=repr)
def test_nothing_that_is_given_is_written_to(average):
    given = [weights(seed) for seed in range(7)]
    state = average.init(given[0])
    for leaf in tree.leaves((given, state)):
        leaf.flags.writeable = False
    for w in given[1:]:
        result = average.step(w, state)
        state = result[1] if isinstance(average, Lookahead) else result
        for leaf in tree.leaves(state):
            leaf.flags.writeable = False
    assert not any(np.shares_memory(a, b) for a in tree.leaves(given) for b in tree.leaves(state["weights"]))


@pytest.mark.parametrize("average", AVERAGES, ids=repr)
def test_the_steps_of_an_optimizer_do_not_reach_the_average(average):
    """The optimizer updates in place what it returned, but not the slow weights that it is handed back."""
    params, state, slow = train(10, average, draw(0, dtype=np.float32), None, None)
    before = copy.deepcopy(slow)
    SGD(0.1, momentum=0.9).step(params, draw(11, dtype=np.float32), state)
    train(1, EMA(0.5), params, state, None)
    assert_same(before, slow)


@pytest.mark.parametrize("average", AVERAGES, ids=repr)
@pytest.mark.parametrize("stop", [5, 6])
def test_resumed_is_continued_bit_for_bit(average, stop, tmp_path):
    continued = train(11, average, draw(0, dtype=np.float32), None, None)
    save(tmp_path / "c", list(train(stop, average, draw(0, dtype=np.float32), None, None)))
    resumed = train(11 - stop, average, *load(tmp_path / "c"), start=stop)
    assert_same(continued, resumed)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: EMA(1), ValueError, r"EMA: decay: expected a number in \[0, 1\), got 1.0"),
        (lambda: Lookahead("0.5"), TypeError, "Lookahead: decay: expected a number, got '0.5'"),
        (lambda: EMA(0.5, every=0), ValueError, "EMA: every: expected an integer from 1, got 0"),
        (lambda: EMA(0.5).init({"a": 1.0}), TypeError, "EMA.init: weights at a: expected an array, got float"),
        (
            lambda: EMA(0.5).step([np.ones(2)], EMA(0.5).init([np.ones(3)])),
            ValueError,
            r"EMA.step: weights at 0: expected float64 \(3,\), got float64 \(2,\)",
        ),
        (
            lambda: Lookahead(0.5).step([np.ones(2, np.float32)], Lookahead(0.5).init([np.ones(2)])),
            TypeError,
            r"Lookahead.step: weights at 0: expected float64 \(2,\), got float32 \(2,\)",
        ),
        (lambda: EMA(0.5).step([np.ones(2)], {}), ValueError, r"EMA.step: state: expected the keys \['step', 'wei"),
        (
            lambda: EMA(lambda step: math.nan).step([np.ones(2)], EMA(0.5).init([np.ones(2)])),
            ValueError,
            r"EMA.step: decay at step 1: expected a number in \[0, 1\), got nan",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_repr():
    assert [repr(EMA(0.9)), repr(Lookahead(0.5))] == ["EMA(0.9, every=1)", "Lookahead(0.5, every=5)"]
