"""Elementwise functions whose plain formula overflows, loses digits, or is slow.

None warns on finite input. Arrays are walked in chunks that stay in cache, the third level's, between the steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from .memory import empty

CHUNK = 1 << 21  # bytes of each operand: shorter ones make threads wait for the interpreter more often


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), any shape; small values to full relative accuracy."""

    def step(x: np.ndarray, y: np.ndarray) -> None:
        np.negative(x, out=y)
        np.exp(y, out=y)  # inf far to the left, which the reciprocal takes to 0
        y += 1
        np.reciprocal(y, out=y)

    return _apply(step, x)[0]


def silu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(y, s): y = x s within a rounding of x, s = 1 / (1 + e^-x) within a rounding of 1; any shape.

    s is computed as (1 + tanh(x / 2)) / 2, in 0.6 of the time of the exponential.
    """

    def step(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> None:
        np.multiply(x, 0.5, out=s)
        np.tanh(s, out=s)
        s *= 0.5
        s += 0.5
        np.multiply(x, s, out=y)

    y, s = _apply(step, x, results=2)
    return y, s


def silu_grad(g: np.ndarray, y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """g times the slope of silu, s + x s (1 - s) = s + y (1 - s), from what `silu` returned."""

    def step(g: np.ndarray, y: np.ndarray, s: np.ndarray, gx: np.ndarray) -> None:
        np.subtract(1, s, out=gx)
        gx *= y
        gx += s
        gx *= g

    return _apply(step, g, y, s)[0]


def gate(x: np.ndarray, mask: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """x where `mask`, an array of bools, else 0, shapes broadcast. `out` may be x.

    numpy.where branches at every entry. This is a product of x's bits with 1 or 0, ten times as fast, which, unlike
    x * mask, is 0 also where x is infinite or NaN.
    """
    bits = np.dtype(f"i{x.itemsize}")
    if out is None:
        out = empty(np.broadcast_shapes(x.shape, mask.shape), x.dtype)
    np.multiply(x.view(bits), mask.view(np.int8), out=out.view(bits))
    return out


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), any shape."""

    def step(x: np.ndarray, y: np.ndarray) -> None:
        np.abs(x, out=y)
        np.negative(y, out=y)
        np.exp(y, out=y)
        np.log1p(y, out=y)
        y += np.maximum(x, 0, out=empty(x.shape, x.dtype))

    return _apply(step, x)[0]


def gelu(x: np.ndarray, approximate: bool = False) -> np.ndarray:
    """x Phi(x) with the normal distribution Phi(x) = (1 + erf(x / sqrt 2)) / 2 (Hendrycks & Gimpel 2016), any shape.

    `approximate`: their tanh form, Phi(x) = (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
    """

    def step(x: np.ndarray, y: np.ndarray) -> None:
        if approximate:
            c = (2 / np.pi) ** 0.5
            np.multiply(x, x, out=y)
            y *= 0.044715 * c
            y += c
            y *= x  # u, infinite where x^3 is
            np.tanh(y, out=y)
        else:
            np.multiply(x, 0.5**0.5, out=y)
            _erf(y, y)
        y += 1
        y *= 0.5
        y *= x

    return _apply(step, x)[0]


def erf(x: np.ndarray) -> np.ndarray:
    """The error function 2 / sqrt(pi) * integral of e^-t^2 from 0 to x, any shape; within 3e-16, or 1e-7 in float32.

    erf(x) = 1 - e^-w = -expm1(-w) for x >= 0, with w = -log erfc(x) = x (c + x r(x)) and c = 2 / sqrt(pi): a
    smooth r, nearly constant, that a polynomial approximates; the form keeps relative accuracy near 0.
    """
    return _apply(_erf, x)[0]


def _erf(x: np.ndarray, y: np.ndarray) -> None:
    end, c, coefficients = _erf_series(x.dtype)
    z, u, w = (empty(x.shape, x.dtype) for _ in range(3))
    np.abs(x, out=z)
    np.minimum(z, end, out=z)
    np.multiply(z, 2 / end, out=u)
    u -= 1
    w.fill(coefficients[-1])
    for a in coefficients[-2::-1]:  # Horner: r
        w *= u
        w += a
    w *= z
    w += c
    w *= z
    np.negative(w, out=w)
    np.expm1(w, out=w)
    np.negative(w, out=w)
    np.copysign(w, x, out=y)


@functools.cache
def _erf_series(dtype: np.dtype) -> tuple[float, float, list[float]]:
    """(end, c, the coefficients of r in powers of u = 2 x / end - 1), erf(end) being 1 to the dtype's last digit.

    Interpolated at Chebyshev points from values of 60 digits, by a series of positive terms:
    integral of e^-t^2 from 0 to x = e^-x^2 (x + 2 x^3 / 3 + 4 x^5 / 15 + 8 x^7 / 105 + ...), which tends to 1 / c.
    """
    import decimal

    degree, end = (10, 4) if dtype.itemsize <= 4 else (40, 6)
    with decimal.localcontext(prec=60):

        def integral(x: decimal.Decimal) -> decimal.Decimal:
            term, total, n = x, x, 1
            while term > total * decimal.Decimal("1e-60"):
                n += 2
                term *= 2 * x * x / n
                total += term
            return (-x * x).exp() * total

        def r(x: decimal.Decimal) -> float:
            return float((-(1 - c * integral(x)).ln() / x - c) / x)

        c = 1 / integral(decimal.Decimal(12))
        chebyshev = np.polynomial.Chebyshev.interpolate(
            lambda us: np.array([r((decimal.Decimal(u) + 1) * end / 2) for u in us.tolist()]), degree
        )
    powers = chebyshev.convert(kind=np.polynomial.Polynomial).coef
    return float(end), float(c), powers.tolist()


def _apply(step: Callable[..., None], *arrays: np.ndarray, results: int = 1) -> list[np.ndarray]:
    """The arrays that `step(*chunks, *chunks of the results)` fills in, chunk by chunk. Integers count as float64."""
    arrays = tuple(a if a.dtype.kind == "f" else a.astype(float) for a in map(np.asarray, arrays))
    out = [empty(arrays[0].shape, arrays[0].dtype) for _ in range(results)]
    flat = [np.ascontiguousarray(a).reshape(-1) for a in (*arrays, *out)]
    size = CHUNK // out[0].itemsize
    with np.errstate(over="ignore"):
        for i in range(0, out[0].size, size):
            step(*(a[i : i + size] for a in flat))
    return out
