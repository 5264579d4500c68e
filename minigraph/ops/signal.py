"""Sequences: Fourier transforms of real ones, convolution, interpolation.

A Tensor holds real numbers, so that a gradient has one meaning; a complex spectrum is two Tensors, its real and its
imaginary part. The transforms are linear, and each is the adjoint of the other but for weights.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..kernels.precision import widened
from ..primitive import primitive
from ..tensor import Tensor, value
from .conv import conv2d
from .elementwise import alike, as_array, clip, where
from .indexing import take
from .joining import concatenate, roll
from .numpy_api import implements
from .padding import pad
from .rounding import remainder
from .shape import Axis, axes_of, flip, reshape, transpose

__all__ = ["convolve", "correlate", "fftshift", "ifftshift", "interp", "irfft", "rfft"]

Norm = Literal["backward", "ortho", "forward"]


# ---------------------------------------------------------------- Fourier transforms


def rfft(x: Any, n: int | None = None, axis: int = -1, norm: Norm | None = None) -> tuple[Tensor, Tensor]:
    """The discrete Fourier transform of a real sequence: its real and its imaginary part, each n // 2 + 1 along `axis`.

    Real X_k = sum of x_j cos(2 pi j k / n), and imaginary minus the sum of x_j sin(2 pi j k / n). The power spectrum is
    re**2 + im**2; products of spectra are (a + ib)(c + id) = (ac - bd) + i(ad + bc).

    Args:
        n: how many entries are transformed; a longer x is cut, a shorter one is filled with zeros. By default all.
        norm: "backward" (the default), "ortho" or "forward": where the factor 1 / n is, as in numpy.fft.

    Raises ValueError for an axis of x that is not there, an n below 1 or another norm.
    """
    x = as_array(x)
    axis, n, scale = _transform("rfft", x.shape, x.ndim, n, axis, norm)
    x = _resized(x, n, axis) * scale["forth"]
    y = _rfft(_last(x, axis))
    return _back(y[0], axis), _back(y[1], axis)


def irfft(re: Any, im: Any, n: int | None = None, axis: int = -1, norm: Norm | None = None) -> Tensor:
    """The real sequence of n entries along `axis` whose spectrum is re + i im, each n // 2 + 1: the inverse of `rfft`.

    Args:
        n: the length of the result, by default 2 (m - 1) for parts of m entries. Parts are cut or filled with zeros to
            n // 2 + 1. The imaginary parts at 0 and, for an even n, at n / 2 have no effect, and the gradient 0.
        norm: as `rfft` takes it.

    Raises ValueError for parts of different shapes, an axis that is not there, an n below 1 or another norm.
    """
    re, im = as_array(re), as_array(im)
    if re.shape != im.shape:
        raise ValueError(f"irfft: the real part has the shape {re.shape}, the imaginary part {im.shape}")
    m = re.shape[axis] if re.ndim and -re.ndim <= axis < re.ndim else 0
    axis, n, scale = _transform("irfft", re.shape, re.ndim, 2 * (m - 1) if n is None else n, axis, norm)
    re, im = (_last(_resized(part, n // 2 + 1, axis), axis) for part in (re, im))
    return _back(_irfft(re, im, n=n), axis) * scale["back"]


def _transform(name: str, shape: Any, ndim: int, n: Any, axis: int, norm: Any) -> tuple[int, int, dict[str, float]]:
    if not -ndim <= axis < ndim:
        raise ValueError(f"{name}: axis {axis} is out of range for an array of shape {shape}")
    n = shape[axis] if n is None else n
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"{name}: n should be an int of at least 1, got {n}")
    scales = {None: (1, 1), "backward": (1, 1), "ortho": (n**-0.5, n**0.5), "forward": (1 / n, n)}
    if norm not in scales:
        raise ValueError(f"{name}: norm should be 'backward', 'ortho' or 'forward', got {norm!r}")
    return axis % ndim, int(n), dict(zip(("forth", "back"), scales[norm], strict=True))


def _resized(x: Any, n: int, axis: int) -> Any:
    """x cut to n entries along `axis`, or filled with zeros."""
    missing = n - x.shape[axis]
    if missing > 0:
        return pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])
    return x[(slice(None),) * axis + (slice(n),)] if missing else x


def _last(x: Any, axis: int) -> Any:
    """x with `axis` as the last one."""
    return x if axis == x.ndim - 1 else transpose(x, (*(i for i in range(x.ndim) if i != axis), axis))


def _back(x: Any, axis: int) -> Any:
    """x with its last axis as `axis`."""
    last = x.ndim - 1
    return x if axis == last else transpose(x, (*range(axis), last, *range(axis, last)))


def _weights(n: int, dtype: Any) -> np.ndarray:
    """How often each frequency of rfft is in the whole spectrum: twice, but for 0 and, of an even n, for n / 2."""
    w = np.full(n // 2 + 1, 2, dtype)
    w[0] = 1
    if n % 2 == 0:
        w[-1] = 1
    return w


@primitive
def _rfft(x: Any):
    """The real part re[k], the sum over j of x[j] cos(2 pi j k / n), and the imaginary one, im[k].

    im[k] is minus the sum over j of x[j] sin(2 pi j k / n). (..., n) -> (2, ..., n // 2 + 1).
    """
    y = np.fft.rfft(widened(x))
    return np.stack([y.real, y.imag])


@_rfft.vjp
def _(g, _y, _x):
    """x[j]: the sum over k of g_re[k] cos(2 pi j k / n) - g_im[k] sin(2 pi j k / n)"""
    # irfft has the weights w[k] / n in this sum
    n = _x.shape[-1]
    w = n / _weights(n, g.dtype)
    return _irfft(g[0] * w, g[1] * w, n=n)


@primitive
def _irfft(re: Any, im: Any, *, n: int):
    """y[j] = 1 / n times the sum over k of w[k] (re[k] cos(2 pi j k / n) - im[k] sin(2 pi j k / n)).

    w[k] is 1 at k = 0 and k = n / 2, and 2 elsewhere, as k stands for n - k too. Twice (..., n // 2 + 1) -> (..., n).
    """
    return np.fft.irfft(widened(np.asarray(re)) + 1j * widened(np.asarray(im)), n)


@_irfft.vjp
def _(g, _y, _re, _im, *, n):
    """re: w / n * the real part of rfft(g)
    im: w / n * the imaginary part of rfft(g)
    with w = 1 at k = 0 and k = n / 2, and 2 elsewhere
    """
    y = _rfft(g) * (_weights(n, g.dtype) / n)
    return y[0], y[1]


@implements(np.fft.fftshift)
def fftshift(x: Any, axes: Axis = None) -> Tensor:
    """x rolled by half the length of each of `axes`, by default of all: of a spectrum, frequency 0 to the middle."""
    return _shifted(x, axes, 1)


@implements(np.fft.ifftshift)
def ifftshift(x: Any, axes: Axis = None) -> Tensor:
    """The inverse of `fftshift`, which of an odd length is not the same."""
    return _shifted(x, axes, -1)


def _shifted(x: Any, axes: Any, sign: int) -> Any:
    x = as_array(x)
    named = range(x.ndim) if axes is None else np.atleast_1d(axes)  # one that is named twice is rolled twice
    along = [i for axis in named for i in axes_of(axis, x.ndim)]
    return roll(x, [sign * (x.shape[axis] // 2) for axis in along], along) if along else x


# ---------------------------------------------------------------- convolution


Mode = Literal["full", "same", "valid"]


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: Mode = "valid") -> Tensor:
    """The cross-correlation of two sequences, y_k = sum over i of a_(k + i) v_i. It is a convolution of `conv2d`.

    Args:
        mode: "valid" for the k at which the shorter one lies within the other, "same" for as many as the longer one
            has, "full" for all at which they meet.

    Raises ValueError for arrays that are not of one axis or empty, and another mode.
    """
    return _correlate("correlate", a, v, mode)


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: Mode = "full") -> Tensor:
    """The convolution of two sequences, y_k = sum over i of a_(k - i) v_i; arguments and errors as of `correlate`."""
    a, v = alike(a, v)
    if v.size > a.size:
        a, v = v, a
    return _correlate("convolve", a, flip(v), mode)


def _correlate(name: str, a: Any, v: Any, mode: Any) -> Any:
    a, v = alike(a, v)
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ValueError(f"{name}: expected two sequences (n,) of at least one entry, got {a.shape} and {v.shape}")
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"{name}: mode should be 'full', 'same' or 'valid', got {mode!r}")
    if v.size > a.size:  # the roles change, and so does the sign of k
        return flip(_correlate(name, v, a, mode))
    n = v.size
    pads = {"valid": (0, 0), "same": (n // 2, n - n // 2 - 1), "full": (n - 1, n - 1)}[mode]
    dtype = np.result_type(*[x.dtype for x in (a, v) if x.dtype.kind == "f"] or [np.float64])
    a, v = (x if x.dtype.kind == "f" else value(x).astype(dtype) for x in (a, v))
    y = conv2d(reshape(a, (1, -1, 1, 1)), reshape(v, (-1, 1, 1, 1)), padding=(pads, (0, 0)))
    return reshape(y, -1)


# ---------------------------------------------------------------- interpolation


@implements(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Tensor:
    """Piecewise linear through the points (xp, fp), both (n,), at x of any shape. Gradients go to x, xp and fp.

    Args:
        xp: rising. left, right: the values before the first and after the last of them, by default the first and the
            last of fp.
        period: the points repeat at this distance, so they come in any order, and left and right have no effect.

    It is a composition of `take` and arithmetic. At a point xp the slope is that of the piece to the right, at the
    last point of the piece before it, and beyond the points it is 0. Raises ValueError for points that are not (n,) or
    do not rise, and a period of 0.
    """
    x, xp, fp = alike(x, xp, fp)
    if period is not None:
        left, right, (x, xp, fp) = None, None, _unrolled(x, xp, fp, period)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(f"interp: xp and fp should be (n,) with n at least 1, got {xp.shape} and {fp.shape}")
    at, points = value(x), value(xp)
    if not (np.diff(points) > 0).all():
        rule = "rise" if period is None else f"differ by more than multiples of the period, {period}"
        raise ValueError(f"interp: the points xp should {rule}")
    last = xp.size - 1
    i = np.clip(np.searchsorted(points, at, "right") - 1, 0, max(last - 1, 0))
    x0, f0 = take(xp, i), take(fp, i)
    if last:
        j = np.minimum(i + 1, last)
        y = f0 + (take(fp, j) - f0) * clip((x - x0) / (take(xp, j) - x0), 0.0, 1.0)
    else:
        y = f0 + x * 0
    y = y if left is None else where(at < points[0], left, y)
    return y if right is None else where(at > points[-1], right, y)


def _unrolled(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Any, Any, Any]:
    """x and the points within one period, and the first and the last point once more, beyond its ends."""
    period = abs(period)
    if not value(period) > 0:
        raise ValueError(f"interp: period should be a number other than 0, got {value(period)}")
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        return x, xp, fp
    x, xp = remainder(x, period), remainder(xp, period)
    order = np.argsort(value(xp))
    xp, fp = take(xp, order), take(fp, order)
    xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return x, xp, concatenate([fp[-1:], fp, fp[:1]])
