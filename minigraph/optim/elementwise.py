"""Optimizers that treat each entry of the parameters alike, and therefore need not know the arrays' shapes.

A step goes through the flat array of the parameters in blocks that cross the borders between arrays: many small arrays
cost no more than one large one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np

from .. import tree
from ..kernels import memory
from ..tree import Tree
from .checks import not_negative, number
from .inplace import InPlace, apart
from .schedules import Schedule

# The number of entries in a block. Smaller blocks stay in the second-level cache, and take more calls. On a Zen 3, with
# 0.1 to 2 million float32 parameters, a step took 0.6 to 0.9 of the time that blocks of 32,768 took.
BLOCK = 131072


class Elementwise(InPlace):
    """The base of the optimizers below. A subclass updates one block of the parameters in `_update`."""

    def _apply(self, trees: list[Tree], flats: list[np.ndarray], grads: Tree, lr: float, t: int) -> None:
        scratch = memory.empty((2, min(BLOCK, flats[0].size)), flats[0].dtype)
        for part, g in _blocks(grads, flats):
            w, *buffers = (flat[part] for flat in flats)
            self._update(w, g, buffers, lr, t, *scratch[:, : g.size])

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
        """Update the 1-D arrays `w` and `buffers` in place by the gradient `g` in step `t`, counted from 1.

        `a` and `b` are of the same size and may be overwritten.
        """


class SGD(Elementwise):
    """Gradient descent with momentum beta, and L2 weight decay lambda on all parameters.

        v = beta v - lr (g + lambda w)
        w = w + v                                   Nesterov:  w = w + beta v - lr (g + lambda w)

    The velocity v is a sum of steps that are already multiplied by lr (Sutskever et al. 2013). PyTorch has
    v = beta v + (g + lambda w), w = w - lr v instead. Both are equal while lr is constant. When lr changes, PyTorch
    thereby rescales the whole velocity at once; here each step in the velocity keeps the rate that it was taken with.

    Args:
        lr: the learning rate, or a schedule.
        momentum: beta, in [0, 1).
        nesterov: needs a momentum above 0.
        weight_decay: lambda, not negative.
    """

    def __init__(
        self,
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = number(momentum, 0, 1, "SGD: momentum")
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs a momentum above 0, got 0")
        self._buffers = ("velocity",) if momentum else ()

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


class Adam(Elementwise):
    """Adam (Kingma & Ba 2015), with L2 weight decay lambda.

        g = g + lambda w
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        w = w - lr m' / (sqrt(v') + eps),  m' = m / (1 - beta1^t),  v' = v / (1 - beta2^t)

    The step t counts from 1.

    Args:
        lr: the learning rate, or a schedule.
        betas: beta1 and beta2, each in [0, 1).
        eps: above 0.
        weight_decay: lambda, not negative.
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
        self.betas = tuple(number(beta, 0, 1, f"{self._name}: betas") for beta in betas)
        self.eps = not_negative(eps, f"{self._name}: eps")
        if not self.eps:
            raise ValueError(f"{self._name}: eps: expected a number above 0, got {eps!r}")

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

    The update is that of Adam with g the gradient alone, and w = (1 - lr lambda) w before it.
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


def _blocks(grads: Tree, writes: list[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """Cut the gradients into 1-D blocks. Yields each, preceded by where it is in the flat arrays of `writes`.

    Gradients that are views of one flat array are cut as one, others leaf by leaf. A leaf is copied where it is not
    contiguous, and where `apart` does so.
    """
    flat = tree.flat_view(grads)
    gradients = [g.reshape(-1) for g in tree.leaves(grads)] if flat is None else [flat]
    start = 0
    for g in apart(gradients, writes):
        for i in range(0, g.size, BLOCK):
            block = g[i : i + BLOCK]
            yield slice(start, start + block.size), block
            start += block.size
