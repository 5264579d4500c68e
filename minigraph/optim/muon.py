"""Muon: momentum whose step is an orthogonal matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import tree
from ..kernels import memory
from ..parallel.threads import Threads
from ..tree import Tree
from .checks import integer, number
from .inplace import InPlace, apart
from .schedules import Schedule

EPS = 1e-7  # is added to the norm that a gradient is divided by
GRAM_STEPS = 4  # for how many Newton-Schulz steps `orthogonalize` uses one Gram matrix


class Muon(InPlace):
    """Momentum whose step is made orthogonal (K. Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

        m = mu m + g
        x = g + mu m                                without Nesterov: x = m
        w = sqrt(out) w / |w|                       in the steps that `renormalize` names
        w = (1 - lr lambda) w - lr O(x)

    Every parameter is a matrix (in, out): of an array of more dimensions the last axis is out, and all others together
    are in. So the filters (kh, kw, c_in, c_out) of a convolution are the matrix (kh kw c_in, c_out). |w| is the
    Euclidean norm of all entries. O(x) is x with its singular values brought near 1, by Newton-Schulz steps:

        X = x / (|x| + 1e-7),  then `ns_steps` times  X = a X + b X (X^T X) + c X (X^T X)^2

    The default coefficients rise steeply at 0 and do not converge: after a few steps most singular values lie between
    0.7 and 1.2. (15/8, -10/8, 3/8) converge to 1, in more steps.

    Arrays of fewer than 2 dimensions, such as biases, need another optimizer; see `Groups`.

    Args:
        lr: the learning rate, or a schedule. Each step changes a matrix by about lr in every direction, whatever the
            size of its gradient.
        momentum: mu, in [0, 1).
        nesterov: whether x looks one step ahead.
        weight_decay: lambda, not negative.
        ns_steps: the number of Newton-Schulz steps, at least 1.
        ns_coefficients: a, b and c.
        renormalize: k sets the norm of each matrix to sqrt(out) in every k-th step, the first one included; True is 1,
            and False is never. Or a function from the number of steps already taken to whether the next one does so.
        threads: how many threads share the matrices; by default `parallel.available_cores()`. The bits of the result
            do not depend on it.
    """

    _buffers = ("momentum",)

    def __init__(
        self,
        lr: float | Schedule,
        momentum: float = 0.6,
        nesterov: bool = True,
        weight_decay: float = 0.0,
        ns_steps: int = 3,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        renormalize: int | Callable[[int], bool] = False,
        threads: int | None = None,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = number(momentum, 0, 1, "Muon: momentum")
        self.nesterov = nesterov
        self.ns_steps = integer(ns_steps, 1, "Muon: ns_steps")
        if not isinstance(ns_coefficients, (tuple, list)) or len(ns_coefficients) != 3:
            raise ValueError(f"Muon: ns_coefficients: expected three numbers, got {ns_coefficients!r}")
        self.ns_coefficients = tuple(number(x, -np.inf, np.inf, "Muon: ns_coefficients") for x in ns_coefficients)
        if not callable(renormalize):
            integer(renormalize, 0, "Muon: renormalize")
        self.renormalize = renormalize
        self.threads = threads
        self._threads = Threads(threads)

    def _check(self, params: Tree, what: str) -> np.dtype:
        for path, leaf in tree.items(params):
            if tree.is_array(leaf) and leaf.ndim < 2:
                raise ValueError(
                    f"{what} at {path or 'the top'}: expected an array of at least 2 dimensions, got shape "
                    f"{leaf.shape}; optim.Groups gives such parameters another optimizer"
                )
        return super()._check(params, what)

    def _apply(self, trees: list[Tree], flats: list[np.ndarray], grads: Tree, lr: float, t: int) -> None:
        if callable(self.renormalize):
            renormalize = self.renormalize(t - 1)
        else:
            renormalize = self.renormalize > 0 and (t - 1) % self.renormalize == 0
        weights, momenta = map(tree.leaves, trees)
        gradients = apart(tree.leaves(grads), flats)

        def update(i: int) -> None:
            if not weights[i].size:
                return
            w, m, g = (array.reshape(-1, array.shape[-1]) for array in (weights[i], momenta[i], gradients[i]))
            with np.errstate(all="ignore"):
                m *= self.momentum
                m += g
                x = memory.empty(m.shape, m.dtype)
                if self.nesterov:
                    np.multiply(m, self.momentum, out=x)
                    x += g
                else:
                    x[...] = m
                x *= 1 / (_norm(x) + EPS)
                if renormalize:
                    w *= w.shape[1] ** 0.5 / (_norm(w) or 1.0)
                if self.weight_decay:
                    w *= 1 - lr * self.weight_decay
                x = orthogonalize(x, self.ns_steps, self.ns_coefficients)
                x *= lr
                w -= x

        self._threads.run(update, len(weights))


def orthogonalize(x: np.ndarray, steps: int, coefficients: tuple[float, ...]) -> np.ndarray:
    """Newton-Schulz steps on a matrix (m, n) of Euclidean norm at most 1: x with its singular values moved to near 1.

    A step multiplies x by a polynomial of its Gram matrix, x (a + b A + c A^2) with A = x^T x. All of these matrices
    commute. So the polynomials can be multiplied with each other first, which are small matrices if n is at most m, and
    the Gram matrix of the next step is A (a + b A + c A^2)^2. For 3 steps on (2304, 256) that takes half of the time.

    The price is that rounding errors of the Gram matrix grow by a^2 in each step. So it is computed afresh after
    `GRAM_STEPS`, before they reach a thousandth of its largest eigenvalue in float32.
    """
    if x.shape[0] < x.shape[1]:
        return orthogonalize(x.T, steps, coefficients).T
    while steps > 0:
        gram = x.T @ x
        factor = polynomial = _polynomial(gram, coefficients)
        for _ in range(1, min(steps, GRAM_STEPS)):
            gram = gram @ polynomial @ polynomial
            polynomial = _polynomial(gram, coefficients)
            factor = factor @ polynomial
        x = np.matmul(x, factor, out=memory.empty(x.shape, x.dtype))
        steps -= GRAM_STEPS
    return x


def _polynomial(gram: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """a + b A + c A^2"""
    a, b, c = coefficients
    p = gram @ gram
    p *= c
    p += b * gram
    p.reshape(-1)[:: len(p) + 1] += a  # the diagonal
    return p


def _norm(x: np.ndarray) -> float:
    return float(np.dot(x.reshape(-1), x.reshape(-1))) ** 0.5
