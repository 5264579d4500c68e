"""Optimizers, learning-rate schedules and gradient clipping, on trees of NumPy arrays.

    opt = SGD(cosine(0.1, steps), momentum=0.9)
    state = opt.init(params)
    params, state = opt.step(params, grads, state)

`params` and `grads` are trees of equal structure whose leaves share one dtype, float32 or float64;
the parameters keep it. `state` is a dict of plain arrays: the number of steps taken, and buffers
shaped like `params`. Saved and loaded with `params`, it continues bit for bit.

The first `step` copies the parameters into one flat buffer and returns views of it. From then on
**arrays that a step returned are updated in place by the next step**: copy what you want to keep.
The arrays a caller made, and gradients, are never written to.
"""

from __future__ import annotations

import itertools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any

import numpy as np

from . import tree
from .tree import Tree

Schedule = Callable[[int], float]
State = dict[str, Any]

# Elements that the passes of an update work on at a time: what they touch stays in the L2 cache.
# At 2M float32 parameters 32k and 64k were fastest; 8k, half as fast, pays for the calls.
_BLOCK = 32768


class Optimizer(ABC):
    """What the optimizers share: the flat buffers, the learning rate and the checks.

    A subclass names its buffers and updates one block of parameters in `_update`.
    """

    _buffers: tuple[str, ...] = ()

    def __init__(self, lr: float | Schedule, weight_decay: float) -> None:
        self._name = type(self).__name__
        if not callable(lr):
            lr = constant(_number(lr, 0, math.inf, f"{self._name}: lr"))
        self.lr: Schedule = lr
        self.weight_decay = _number(weight_decay, 0, math.inf, f"{self._name}: weight_decay")
        # The flat parameters and buffers of the last step, and the leaves it returned: views of them.
        self._flats: list[np.ndarray] = []
        self._leaves: list[np.ndarray] = []

    def init(self, params: Tree) -> State:
        """The state before the first step: the counter and the buffers, all zero."""
        flat, params = _flat(params, f"{self._name}.init: params")
        buffers = {name: tree.unravel(params, np.zeros_like(flat)) for name in self._buffers}
        return {"step": np.array(0, np.int64), **buffers}

    def step(self, params: Tree, grads: Tree, state: State) -> tuple[Tree, State]:
        """One update; returns the new parameters and state, which the next step updates in place.

        Calls a schedule with the number of steps already taken, from 0. Raises ValueError or
        TypeError, with nothing changed, where `grads` or `state` do not fit `params` (the message
        names the path, `conv1.w`) or the schedule's value is negative or not finite.
        """
        where = f"{self._name}.step"
        count = self._check_state(state)
        lr = _number(self.lr(count), 0, math.inf, f"{where}: lr at step {count}")

        trees = [params, *(state[name] for name in self._buffers)]
        leaves = tree.leaves(trees)
        same = len(leaves) == len(self._leaves) and all(map(operator.is_, leaves, self._leaves))
        if leaves and same:
            flats = self._flats
        else:
            _check_floats(params, f"{where}: params")
            for i, name in enumerate(self._buffers, start=1):
                trees[i] = tree.check_like(params, trees[i], f"{where}: state[{name!r}]")
            flats, trees = map(list, zip(*map(tree.flatten, trees), strict=True))
        grads = tree.check_like(trees[0], grads, f"{where}: grads")

        # An update may not raise halfway, so an overflow is left to show in the next loss.
        with np.errstate(all="ignore"):
            scratch = np.empty((2, min(_BLOCK, flats[0].size)), flats[0].dtype)
            for part, g in _blocks(grads, flats):
                w, *buffers = (flat[part] for flat in flats)
                self._update(w, g, buffers, lr, count + 1, *scratch[:, : g.size])
        if flats is not self._flats:
            self._flats, self._leaves = flats, tree.leaves(trees)
        step = {"step": np.array(count + 1, np.int64)}
        return trees[0], step | dict(zip(self._buffers, trees[1:], strict=True))

    def _check_state(self, state: State) -> int:
        """The number of steps taken."""
        keys = {"step", *self._buffers}
        if not isinstance(state, dict) or state.keys() != keys:
            got = sorted(state) if isinstance(state, dict) else type(state).__name__
            raise ValueError(f"{self._name}.step: state: expected the keys {sorted(keys)}, got {got}")
        count = state["step"]
        if not tree.is_array(count) or count.shape != () or count.dtype.kind != "i" or count < 0:
            raise ValueError(f"{self._name}.step: state['step']: expected an integer from 0, got {count!r}")
        return int(count)

    @abstractmethod
    def _update(
        self,
        w: np.ndarray,
        g: np.ndarray,
        buffers: list[np.ndarray],
        lr: float,
        t: int,
        a: np.ndarray,
        b: np.ndarray,
    ) -> None:
        """Update the 1-D `w` and `buffers` by the gradient `g` in step `t` (from 1).

        `a` and `b` are scratch of the same size.
        """


class SGD(Optimizer):
    """Gradient descent with momentum beta and L2 weight decay lambda on all parameters.

        v = beta v - lr (g + lambda w)
        w = w + v                                   Nesterov:  w = w + beta v - lr (g + lambda w)

    The velocity v holds steps already scaled by lr (Sutskever et al. 2013). PyTorch instead has
    v = beta v + (g + lambda w), w = w - lr v: the same at a constant lr; when lr changes, PyTorch
    rescales the whole velocity at once, and here the velocity keeps the rates its steps were taken
    with. `nesterov=True` needs momentum.
    """

    def __init__(
        self,
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = _number(momentum, 0, 1, "SGD: momentum")
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0, got 0")
        self._buffers = ("velocity",) if momentum else ()

    def _update(self, w, g, buffers, lr, t, a, b):
        if self.weight_decay:
            np.multiply(w, self.weight_decay, out=a)
            a += g
            a *= lr
        else:
            np.multiply(g, lr, out=a)
        if self.momentum:
            (v,) = buffers
            v *= self.momentum
            v -= a
        if self.nesterov:
            np.multiply(v, self.momentum, out=b)
            w += b
        if self.momentum and not self.nesterov:
            w += v
        else:
            w -= a


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with L2 weight decay lambda.

        g = g + lambda w
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        w = w - lr m' / (sqrt(v') + eps),  m' = m / (1 - beta1^t),  v' = v / (1 - beta2^t)

    The step t counts from 1.
    """

    _buffers = ("m", "v")
    _decoupled = False

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{self._name}: betas: expected a pair of numbers, got {betas!r}")
        self.betas = tuple(_number(beta, 0, 1, f"{self._name}: betas") for beta in betas)
        self.eps = _number(eps, 0, math.inf, f"{self._name}: eps")
        if not self.eps:
            raise ValueError(f"{self._name}: eps: expected a number above 0, got {eps!r}")

    def _update(self, w, g, buffers, lr, t, a, b):
        m, v = buffers
        beta1, beta2 = self.betas
        if self._decoupled:
            w *= 1 - lr * self.weight_decay
        elif self.weight_decay:
            np.multiply(w, self.weight_decay, out=b)
            b += g
            g = b
        m *= beta1
        np.multiply(g, 1 - beta1, out=a)
        m += a
        v *= beta2
        np.multiply(g, g, out=a)
        a *= 1 - beta2
        v += a
        np.sqrt(v, out=a)
        a *= 1 / math.sqrt(1 - beta2**t)
        a += self.eps
        np.divide(m, a, out=a)
        a *= lr / (1 - beta1**t)
        w -= a


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    g is the gradient alone, and w = (1 - lr lambda) w comes before Adam's update.
    """

    _decoupled = True

    def __init__(
        self,
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay)


# Schedules: the learning rate of a step, counted from 0.


def constant(lr: float) -> Schedule:
    """The same rate at every step."""
    lr = _number(lr, 0, math.inf, "constant: lr")
    return lambda step: lr


def step_decay(lr: float, boundaries: Iterable[int], factor: float = 0.1) -> Schedule:
    """`lr`, multiplied by `factor` at each of `boundaries`: increasing step numbers.

    `boundaries=range(k, steps, k)` decays every k steps.
    """
    lr = _number(lr, 0, math.inf, "step_decay: lr")
    factor = _number(factor, 0, math.inf, "step_decay: factor")
    at = [_count(boundary, 1, "step_decay: boundaries") for boundary in boundaries]
    if any(a >= b for a, b in itertools.pairwise(at)):
        raise ValueError(f"step_decay: expected increasing boundaries, got {at}")
    return lambda step: lr * factor ** sum(step >= boundary for boundary in at)


def linear(lr: float, steps: int, *, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Up from 0 in `warmup` steps to `lr`, then in a straight line to `final` at step `steps`."""
    return _decay("linear", lambda x: x, lr, steps, warmup, final)


def cosine(lr: float, steps: int, *, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Up from 0 in `warmup` steps to `lr`, then along half a cosine to `final` at step `steps`.

    Loshchilov & Hutter 2017, without restarts.
    """
    return _decay("cosine", lambda x: (1 - math.cos(math.pi * x)) / 2, lr, steps, warmup, final)


def _decay(name: str, curve: Callable[[float], float], lr: float, steps: int, warmup: int, final: float) -> Schedule:
    lr = _number(lr, 0, math.inf, f"{name}: lr")
    final = _number(final, 0, math.inf, f"{name}: final")
    steps = _count(steps, 1, f"{name}: steps")
    warmup = _count(warmup, 0, f"{name}: warmup")
    if warmup >= steps:
        raise ValueError(f"{name}: expected warmup below steps = {steps}, got {warmup}")

    def schedule(step: int) -> float:
        if step < warmup:
            return lr * (step + 1) / (warmup + 1)  # from 0 at step -1: no step is wasted on 0
        progress = min((step - warmup) / (steps - warmup), 1.0)
        return lr + (final - lr) * curve(progress)

    return schedule


# Clipping: what these return is flat, which a step reads without a copy.


def clip_by_global_norm(grads: Tree, max_norm: float) -> tuple[Tree, float]:
    """Scale all gradients by one factor so that the norm of them together is at most `max_norm`.

    Returns the gradients and the norm they came with (Pascanu et al. 2013). A norm that is not
    finite is returned with the gradients as they are.
    """
    max_norm = _number(max_norm, 0, math.inf, "clip_by_global_norm: max_norm")
    flat, grads = _flat(grads, "clip_by_global_norm: grads")
    with np.errstate(all="ignore"):
        norm = math.sqrt(np.dot(flat, flat))
        if math.isinf(norm):  # the squares left float32's range, the norm may be within it
            norm = math.sqrt(np.dot(flat.astype(np.float64), flat.astype(np.float64)))
    if max_norm < norm < math.inf:
        grads = tree.unravel(grads, flat * (max_norm / norm))
    return grads, norm


def clip_by_value(grads: Tree, limit: float) -> Tree:
    """Every entry of the gradients limited to [-limit, limit]; NaN stays NaN."""
    limit = _number(limit, 0, math.inf, "clip_by_value: limit")
    flat, grads = _flat(grads, "clip_by_value: grads")
    return tree.unravel(grads, np.clip(flat, -limit, limit))


def _flat(params: Tree, what: str) -> tuple[np.ndarray, Tree]:
    """The flat array under a tree of floats and the tree of views of it; a copy if need be."""
    _check_floats(params, what)
    flat = tree.flat_view(params)
    return tree.flatten(params) if flat is None else (flat, params)


def _check_floats(params: Tree, what: str) -> None:
    named = list(tree.items(params))
    if not named:
        raise ValueError(f"{what}: expected a tree of arrays, got one without a leaf")
    dtype = getattr(named[0][1], "dtype", None)
    if dtype not in (np.float32, np.float64):
        dtype = "float32 or float64"
    for path, leaf in named:
        if not tree.is_array(leaf) or leaf.dtype != dtype:
            got = leaf.dtype if tree.is_array(leaf) else type(leaf).__name__
            raise TypeError(f"{what} at {path or 'the top'}: expected {dtype}, got {got}")


def _blocks(grads: Tree, writes: list[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """Cut the gradients into 1-D blocks; yield where in the flat buffers a block is, and it.

    Gradients that are one flat array are cut as one, others leaf by leaf. Copied are only those not
    contiguous, and those in the memory that the step `writes` (the gradient of a * b by a is b).
    """
    flat = tree.flat_view(grads)
    gradients = [g.reshape(-1) for g in tree.leaves(grads)] if flat is None else [flat]
    for i, g in enumerate(gradients):
        if any(np.may_share_memory(g, array) for array in writes):
            gradients[i] = g.copy()
    start = 0
    for g in gradients:
        for i in range(0, g.size, _BLOCK):
            block = g[i : i + _BLOCK]
            yield slice(start, start + block.size), block
            start += block.size


def _number(value: Any, low: float, high: float, what: str) -> float:
    """`value` as a float, if low <= value < high."""
    if not isinstance(value, Real):
        raise TypeError(f"{what}: expected a number, got {value!r}")
    number = float(value)  # a NumPy float64 would turn float32 arithmetic into float64
    if not low <= number < high:
        expected = f"in [{low}, {high})" if high < math.inf else "finite and not negative"
        raise ValueError(f"{what}: expected a number {expected}, got {number}")
    return number


def _count(value: Any, low: int, what: str) -> int:
    """`value` as an int, if it is one and not below `low`."""
    if not isinstance(value, (int, np.integer)) or value < low:
        raise ValueError(f"{what}: expected an integer from {low}, got {value!r}")
    return int(value)
