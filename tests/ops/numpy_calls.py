"""Calls of NumPy as people write them, of two matrices t and u: each has to give NumPy's value and the right gradient.

t is [[1.3, 0.6], [2.6, 3.4]] and u is [[0.7, 1.1], [1.9, 0.3]]; `mask` is the identity as bools, and i an array [1, 0].
The first calls are the names, by families; those behind the last blank line are more of their forms, and the methods.
"""

import io
import json
import math
import re

import numpy as np

from minigraph import Tensor
from minigraph.testing import check_vjp

CALLS = """
np.abs(t - 2)                                np.absolute(t - 2)                       np.fabs(t - 2)
np.add(t, u)                                 np.add(t, 2.5)                           np.add(t, u, dtype=np.float64)
np.subtract(1.0, t)                          np.multiply(t, u)                        np.divide(t, u)
np.true_divide(t, u)                         np.negative(t)                           np.positive(t)
np.power(t, u)                               np.pow(t, 2)                             np.float_power(t, 1.5)
np.square(t)                                 np.reciprocal(t)                         np.sqrt(t)
np.cbrt(t)                                   np.exp(t)                                np.exp2(t)
np.expm1(t)                                  np.log(t)                                np.log2(t)
np.log10(t)                                  np.log1p(t)                              np.logaddexp(t, u)
np.logaddexp2(t, u)                          np.sin(t)                                np.cos(t)
np.tan(u)                                    np.arcsin(t / 4)                         np.acos(t / 4)
np.arccos(t / 4)                             np.arctan(t)                             np.atan2(t, u)
np.arctan2(t, u)                             np.hypot(t, 1.5)                         np.sinh(t)
np.cosh(t)                                   np.tanh(t)                               np.arcsinh(t)
np.arccosh(t + 1)                            np.arctanh(t / 4)                        np.sinc(t)
np.deg2rad(t)                                np.radians(t)                            np.rad2deg(t)
np.degrees(t)                                np.unwrap(t * 9, axis=0)                 np.unwrap(t, period=2.0)
np.maximum(t, u)                             np.minimum(t, 1.5)                       np.fmax(t, u)
np.fmin(t, u)                                np.fmod(t, u)                            np.mod(t, u)
np.remainder(t, u)                           np.floor_divide(t, u) + t                np.divmod(t, u)
np.copysign(t, u - 1)                        np.heaviside(mask - 0.0, t)              np.modf(t)
np.sign(t - 2) * t                           np.floor(t) * t                          np.ceil(t) * t
np.trunc(t) * t                              np.fix(t) * t                            np.rint(t) * t
np.round(t, 1) * t                           np.around(t, decimals=1) * t             np.angle(t) + t
np.real(t)                                   np.imag(t) + t                           np.conj(t)
np.conjugate(t)                              np.real_if_close(t)                      np.nan_to_num(t, nan=1.0)
np.clip(t, 1, 2)                             np.clip(t, a_min=1.0, a_max=u + 2)       np.clip(t, max=2.0)
np.ldexp(t, [1, -2])                         np.astype(t, np.float64)
np.where(mask, t, u)                         np.where(t > 1, t, 0.0)                  np.exp(t, dtype=np.float64)

np.sum(t)                                    np.sum(t, 0)                             np.sum(t, axis=(0, 1))
np.sum(t, axis=1, keepdims=True)             np.sum(t, 0, None, None, True)           np.sum(t, where=mask)
np.sum(t, axis=0, where=mask, initial=2)     np.sum(t, dtype=np.float64)              np.sum(a=t, axis=0)
np.prod(t)                                   np.prod(t, axis=0, keepdims=True)        np.prod(t, where=mask, initial=2)
np.mean(t)                                   np.mean(t, axis=0, keepdims=True)        np.mean(t, where=mask)
np.mean(t, 0, np.float64)                    np.average(t)                            np.average(t, axis=0)
np.average(t, axis=1, weights=u[0])          np.average(t, weights=u)                 np.average(t, 0, u[0], True)
np.var(t)                                    np.var(t, axis=0, ddof=1)                np.var(t, where=mask)
np.std(t)                                    np.std(t, axis=0, correction=1)          np.std(t, mean=np.mean(t))
np.max(t)                                    np.max(t, axis=0, keepdims=True)         np.max(t, initial=0, where=mask)
np.amax(t, 1)                                np.min(t)                                np.min(t, axis=0, initial=2.0)
np.amin(t, 1)                                np.ptp(t)                                np.ptp(t, axis=1, keepdims=True)
np.median(t)                                 np.median(t, axis=0)
np.median(t, axis=1, keepdims=True)
np.percentile(t, 30)                         np.percentile(t, [20, 70], axis=0)
np.percentile(t, 40, method="hazen")
np.quantile(t, 0.3)                          np.quantile(t, [0.2, 0.9], axis=1)
np.quantile(t, 0.4, method="lower")
np.cov(t)                                    np.cov(t, u)                             np.cov(t, rowvar=False, bias=True)
np.corrcoef(t, u)                            np.corrcoef(t[0], u[0])                  np.cov(t, aweights=u[0])
np.nansum(t, axis=0)                         np.nanprod(t)
np.nanmean(t, axis=1, keepdims=True)
np.nanvar(t, ddof=1)                         np.nanstd(t, axis=0)                     np.nanmax(t, axis=0)
np.nanmin(t)                                 np.nancumsum(t, axis=0)                  np.nancumprod(t)
np.cumsum(t)                                 np.cumsum(t, axis=1)                     np.cumsum(t, 0, dtype=np.float64)
np.cumprod(t)                                np.cumprod(t, axis=0)                    np.cumulative_sum(t, axis=0)
np.cumulative_prod(t[0])                     np.cumulative_sum(t, axis=0, include_initial=True)
np.diff(t)                                   np.diff(t, n=1, axis=0)                  np.diff(t, prepend=0, append=u)
np.ediff1d(t)                                np.ediff1d(t, to_begin=0.0, to_end=u)    np.trapezoid(t)
np.trapezoid(t, dx=0.5, axis=0)              np.trapezoid(t, u)                       np.trapezoid(t, x=[0.0, 2.0])
np.gradient(t)                               np.gradient(t, 0.5, axis=0)
np.gradient(t.ravel(), edge_order=2)
np.gradient(t, [0.0, 2.0], 1.5)              np.trace(t)                              np.trace(t, offset=1)
np.linalg.trace(t)                           np.linalg.norm(t)                        np.linalg.norm(t, axis=0)
np.add.reduce(t)                             np.add.reduce(t, axis=None)
np.add.reduce(t, 1, None, None, True)
np.add.reduce(t, where=mask, initial=2.0)    np.multiply.reduce(t, axis=1)            np.maximum.reduce(t)
np.minimum.reduce(t, axis=1, initial=2.0)    np.logaddexp.reduce(t, axis=0)           np.add.accumulate(t)
np.multiply.accumulate(t, axis=1)            np.maximum.accumulate(t, axis=1)         np.minimum.accumulate(t)
np.add.outer(t, u[0])                        np.multiply.outer(t[0], u)               np.maximum.outer(t[0], u[1])
np.subtract.outer(t, 2.0)                    np.minimum.outer(t, u)                   np.power.outer(t, [1.0, 2.0])

np.sort(t)                                   np.sort(t, axis=None)                    np.sort(t, axis=0, kind="stable")
np.partition(t, 1)                           np.partition(t.ravel(), kth=2)           np.unique(t)
np.unique(t, return_index=True)              np.unique(t, axis=0, return_counts=True) np.take(t, i)
np.take(t, [1, 1, 0], axis=0)                np.take(t, indices=i, axis=1)            np.take(t, [5], mode="wrap")
np.take_along_axis(t, mask * 1, axis=1)      np.compress([True, False], t, axis=0)    np.extract(mask, t)
np.select([mask, t > 1], [t, u], 0.5)        np.select([mask], [t], default=u)        np.choose(i, [t, u])
np.choose(mask * 1, [t, 0.0], mode="clip")   np.delete(t, 0)                          np.delete(t, [1], axis=1)
np.insert(t, 1, u[0, 0])                     np.insert(t, 1, u[0], axis=1)            np.insert(t, [0, 2], [5.0, 6.0])
np.diagonal(t)                               np.diagonal(t, offset=-1)                np.linalg.diagonal(t)
np.diag(t)                                   np.diag(t[0], k=1)                       np.diagflat(t)
np.tril(t)                                   np.triu(t, k=1)                          np.tril(t[0], -1)

np.reshape(t, -1)                            np.reshape(t, (4, 1), order="F")         np.reshape(t, shape=(1, 4))
np.ravel(t)                                  np.ravel(t, order="F")                   np.transpose(t)
np.transpose(t, axes=(1, 0))                 np.permute_dims(t, (1, 0))               np.matrix_transpose(t)
np.linalg.matrix_transpose(t)                np.swapaxes(t, 0, 1)                     np.swapaxes(t, axis1=0, axis2=1)
np.moveaxis(t, 0, 1)                         np.moveaxis(t, source=0, destination=-1) np.rollaxis(t, 1)
np.expand_dims(t, 0)                         np.expand_dims(t, axis=(0, -1))          np.squeeze(t[:1])
np.squeeze(t[:, :1], axis=1)                 np.broadcast_to(t, (2, 2, 2))
np.broadcast_to(t, shape=(1, 2, 2))
np.broadcast_arrays(t, u[0])                 np.atleast_1d(t[0, 0])                   np.atleast_2d(t[0], 1.0)
np.atleast_3d(t)                             np.flip(t)                               np.flip(t, axis=1)
np.fliplr(t)                                 np.flipud(t)                             np.rot90(t)
np.rot90(t, k=3, axes=(1, 0))                np.roll(t, 1)                            np.roll(t, shift=1, axis=0)
np.roll(t, (1, 3), axis=(0, 1))              np.repeat(t, 2)
np.repeat(t, repeats=[1, 2], axis=1)
np.tile(t, 2)                                np.tile(t, reps=(2, 1, 2))               np.copy(t)
np.concatenate([t, u])                       np.concatenate((t, u), axis=1)           np.concat([t, u], axis=None)
np.concatenate([t, u], dtype=np.float64)     np.stack([t, u])                         np.stack((t, u), axis=-1)
np.vstack([t, u[0]])                         np.hstack((t, u))                        np.dstack([t, u])
np.column_stack([t[0], u])                   np.block([[t, u], [u, t]])               np.append(t, u)
np.append(t, u, axis=0)                      np.append(t, 5.0)                        np.split(t, 2)
np.split(t, [1], axis=1)                     np.split(t, indices_or_sections=2)       np.array_split(t, 3)
np.array_split(t, 2, axis=1)                 np.hsplit(t, 2)                          np.vsplit(t, [1])
np.dsplit(t[None], 2)                        np.unstack(t)                            np.unstack(t, axis=1)
np.meshgrid(t[0], u[0])                      np.meshgrid(t[0], u[0], indexing="ij")
np.meshgrid(t[0], u[0], sparse=True)
np.full_like(t, t[0])                        np.full_like(t, fill_value=u[0, 0])      np.linspace(t[0, 0], 5.0, 4)
np.linspace(t, u, num=3, endpoint=False, axis=-1)                                     np.logspace(t[0], 1, 3, base=2.0)
np.pad(t, 1)                                 np.pad(t, ((1, 0), (0, 2)))              np.pad(t, 1, constant_values=2)
np.pad(t, pad_width=1, mode="edge")          np.pad(t, 1, "reflect")                  np.pad(t, 3, mode="symmetric")
np.pad(t, (1, 2), "wrap")                    np.pad(t, 2, "linear_ramp", end_values=1)
np.pad(t, 1, "mean", stat_length=1)
np.pad(t, 1, "maximum")                      np.pad(t, 1, "minimum")                  np.pad(t, 1, "median")
np.pad(t, 1, "reflect", reflect_type="odd")  np.einsum("ij,jk->ik", t, u)             np.matmul(t, u)
np.dot(t, u)                                 np.linalg.matmul(t, u)
np.inner(t, u)                               np.outer(t, u)                           np.tensordot(t, u)
np.tensordot(t, u, axes=([0], [1]))          np.vdot(t, u)                            np.kron(t, u)
np.cross(np.pad(t, (0, 1)), np.pad(u, 1)[1:, 1:])
np.vecdot(t, u)                              np.vecdot(t, u, axis=0)                  np.matvec(t, u[0])
np.vecmat(u[0], t)                           np.linalg.outer(t[0], u[0])              np.linalg.tensordot(t, u, axes=1)
np.linalg.vecdot(t, u)                       np.linalg.matrix_power(t, 3)             np.linalg.multi_dot([t, u, t])
np.convolve(t[0], u[0])                      np.convolve(t[0], u[0], mode="same")     np.correlate(t[0], u[0], "full")
np.interp([0.5, 1.5], [0.0, 1.0, 2.0], np.append(t[0], u[0, :1]))                     np.einsum(t, [0, 1], u, [1, 2])
np.einsum("ij,jk", t, u, optimize=True)      np.linalg.inv(t)                         np.linalg.solve(t, u)
np.linalg.det(t)                             np.linalg.slogdet(t)                     np.linalg.cholesky(t @ t.T)
np.linalg.qr(t)                              np.linalg.eigh(t + t.T)                  np.linalg.eigvalsh(t + t.T)
np.linalg.svd(t)                             np.linalg.svdvals(t)                     np.linalg.pinv(t)
np.linalg.lstsq(t, u)[0]                     np.linalg.norm(t, "nuc")                 np.linalg.norm(t, ord=2)
np.linalg.norm(t, 3, axis=0)                 np.linalg.matrix_norm(t)                 np.linalg.vector_norm(t, axis=1)
np.linalg.cross(np.pad(t, (0, 1)), np.pad(u, 1)[1:, 1:])

np.exp2(t, where=True)                       np.sqrt(t, casting="same_kind")              np.add(t, u, subok=True)
np.exp(t, order="K")                         np.exp(t, out=None)                          np.floor_divide(t, 2) * t
np.divmod(t, 0.7)                            np.arctan2(1.0, t)                           np.copysign(t, -1.0)
np.nan_to_num(x=t, nan=0.0, posinf=1.0, neginf=-1.0)                                      np.nan_to_num(t, copy=False)
np.round(a=t, decimals=1) * t                np.sum(t, axis=())
np.prod(t, axis=(0, 1), dtype=float)         np.mean(a=t, axis=-1)
np.min(t, where=mask, initial=9.0)           np.std(t, axis=0, ddof=1, keepdims=True)     np.var(t, 0, None, None, 1)
np.cumprod(t, axis=1, dtype=float)           np.cumulative_sum(t, axis=0, dtype=float)
np.median(t, 0, None, False, True)           np.median(a=t, axis=(0, 1))
np.median(t, overwrite_input=True)           np.percentile(t, q=50)
np.percentile(t, 50, axis=0, keepdims=True)  np.quantile(t, 0.4, method="higher")
np.quantile(t, 0.4, method="nearest")        np.quantile(t, 0.4, method="midpoint")
np.quantile(t, 0.4, method="median_unbiased")
np.percentile(t, 30, method="weibull")       np.percentile(t, 30, method="inverted_cdf")
np.average(t, weights=[1.0, 2.0], axis=0)    np.average(t, axis=0, keepdims=True)         np.nansum(t, where=mask)
np.nanstd(t, ddof=1)                         np.diff(t, n=2)                              np.diff(t, 1, -1, 0)
np.sort(t, -1, "mergesort")                  np.partition(t, kth=0, axis=0)               np.partition(t, [0, 1])
np.unique(t, return_index=True, return_inverse=True, return_counts=True)                  np.trace(t, axis1=0, axis2=1)
np.cov(t, ddof=0)                            np.cov(m=t, y=u)                             np.cov(t, fweights=[1, 2])
np.corrcoef(t, rowvar=False)                 np.gradient(t, axis=(0, 1))                  np.gradient(t, u[0], axis=0)
np.gradient(t, 1.0, 2.0)                     np.trapezoid(y=t, dx=2.0)                    np.trapezoid(t, x=u)
np.add.reduce(t, axis=(0, 1))                np.maximum.reduce(t, axis=0, keepdims=True)
np.multiply.reduce(t, axis=None)             np.logaddexp.accumulate(t)                   np.fmax.accumulate(t)
np.fmin.accumulate(t, axis=1)                np.hypot.outer(t, u)                         np.arctan2.outer(t[0], u[0])
np.multiply.outer(2.0, t)                    np.add.outer([1.0, 2.0], t)                  np.vstack(tup=(t, u))
np.hstack((t, u), dtype=float)               np.block([[t, np.zeros((2, 1))], [np.ones((1, 3))]])
np.append(arr=t, values=u, axis=1)           np.array_split(ary=t, indices_or_sections=2)
np.split(t.ravel(), 2)                       np.tile(A=t, reps=2)                         np.repeat(a=t, repeats=2)
np.repeat(t, [1, 2, 0, 3])                   np.roll(a=t, shift=2)
np.rollaxis(t, axis=1, start=0)              np.flip(m=t, axis=(0, 1))                    np.rot90(t, -1)
np.pad(t, ((0, 0), (1, 1)), mode="constant", constant_values=((0, 0), (1, 2)))
np.pad(t, [(1, 0), (0, 1)], mode="wrap")     np.pad(t, 1, mode="symmetric", reflect_type="odd")
np.pad(t, 2, mode="linear_ramp")             np.pad(t, {-1: (1, 2)}, mode="edge")         np.pad(t, 5, "reflect")
np.broadcast_to(t, (3, 2, 2), subok=False)   np.broadcast_to(t[0, 0], 3)                  np.atleast_3d(t[0], t)
np.compress(mask.ravel(), t)                 np.extract(condition=mask, arr=t)
np.delete(t, slice(0, 1), axis=0)            np.delete(t, np.array([True, False]), axis=1)
np.insert(arr=t, obj=1, values=u, axis=1)    np.insert(t, [0, 1], u, axis=0)
np.insert(t, slice(0, 2), 1.0)               np.tril(m=t, k=-1)                           np.diag(v=t, k=1)
np.diagonal(a=t, offset=0, axis1=1, axis2=0)                                              np.diagflat(v=t, k=1)
np.meshgrid(t[0], u[0], t[1])                np.select(condlist=[mask], choicelist=[t], default=0)
np.choose([[0, 1], [1, 0]], (t, u))          np.copy(t, order="F")
np.full_like(t, t[0], shape=(3, 2))          np.reshape(t, (1, 4), "F")                   np.ravel(t, "F")
np.moveaxis(t[None], (0, 1), (-1, 0))        np.expand_dims(a=t, axis=2)
np.squeeze(t[None, :, None], axis=(0, 2))    np.inner(t, 2.0)                             np.tensordot(t, u, 0)
np.tensordot(t, u, axes=[[0, 1], [1, 0]])    np.kron(t[0], u)
np.cross(np.pad(t, (0, 1)).T, np.pad(u, (1, 0)).T, axisa=0, axisb=0)
np.convolve(t.ravel(), [1.0, -1.0], mode="valid")
np.correlate(t.ravel(), u[0], mode="same")
np.interp(x=t, xp=[0.0, 2.0, 4.0], fp=[1.0, 3.0, 2.0], left=0.0, right=9.0)
np.interp(t * 3, [0.0, 1.0], u[0], period=2.5)
np.interp(t - 9, [1.7, 0.3], u[0], period=-2.5)
np.interp(u - 9, t[0], u[1], 5.0, 6.0, 1.3)  np.einsum("ii->i", t)
np.einsum("...ij,...jk", t, u)               np.einsum("ij,jk,kl->il", t, u, t, optimize="greedy")
np.einsum("ij,jk,kl->il", t, u, t, optimize=["einsum_path", (0, 1), (0, 1)])
np.einsum(t, [Ellipsis, 0], u, [0, 1])       np.einsum(t, [0, 1], u, [1, 2], [0, 2], optimize=True)
np.einsum("ij , jk -> ik", t, u)             np.dot(t[None], u[None])                     np.matmul(t, u, dtype=float)
[[1.0, 2.0], [3.0, 4.0]] @ t                 np.linalg.matrix_power(t, -2)
np.linalg.solve(t, [1.0, 2.0])               np.linalg.lstsq(np.vstack([t, u]), np.append(t[0], u[0]), rcond=None)
np.linalg.cholesky(t @ t.T, upper=True)      np.linalg.qr(t, mode="r")                    np.linalg.qr(t, "complete")
np.linalg.eigh(t + t.T, UPLO="U")            np.linalg.eigh(t, "U")[0]                    np.linalg.eigvalsh(t, "U")
np.linalg.svd(t, compute_uv=False)           np.linalg.svd(np.vstack([t, u]), full_matrices=False)
np.linalg.svd(t, hermitian=True)             np.linalg.svd(u, False, True, True)
np.linalg.svd(u, compute_uv=False, hermitian=True)
np.linalg.pinv(t, rcond=1e-10)               np.linalg.pinv(np.vstack([t, u]), rtol=1e-10)
np.linalg.pinv(u, hermitian=True)            np.linalg.norm(t, "fro", axis=(0, 1), keepdims=True)
np.linalg.norm(t, ord=1)                     np.linalg.norm(t, ord=-1)                    np.linalg.norm(t, ord=-2)
np.linalg.norm(t, ord=np.inf)                np.linalg.norm(t, ord=-np.inf)
np.linalg.norm(t, ord=1, axis=0)             np.linalg.norm(t, ord=np.inf, axis=1)
np.linalg.norm(t, ord=-np.inf, axis=1)       np.linalg.norm(t, ord=0, axis=0) + t
np.linalg.norm(t, ord=-1, axis=0)            np.linalg.norm(t, ord=0.5, axis=0, keepdims=True)
np.linalg.matrix_norm(t, ord="nuc", keepdims=True)
np.linalg.vector_norm(t, ord=1, axis=0, keepdims=True)
np.linalg.multi_dot([t[0], u, t[1]])         np.linalg.cond(t)                            np.linalg.cond(t, 1)
np.linalg.cond(t, p="fro")                   np.linalg.cond(t, p=np.inf)
np.linalg.cond(np.vstack([t, u]), -2)        np.linalg.tensorinv(t, ind=1)
np.linalg.tensorinv(np.reshape(np.kron(t, u), (2, 2, 4)))
np.linalg.tensorsolve(t, u[0])
np.linalg.tensorsolve(np.reshape(np.kron(t, u), (2, 2, 2, 2)), t, axes=(1, 0))            np.fft.fftshift(t)
np.fft.fftshift(x=t, axes=1)                 np.fft.fftshift(t.ravel()[:3])
np.fft.ifftshift(t.ravel()[:3])              np.fft.ifftshift(t, axes=(0, 1))             np.take(t, [[0, 1], [2, 3]])
np.take(t, [5, -1], mode="clip")             np.take_along_axis(t, np.array([0, 1, 3]), axis=None)
np.clip(t, a_min=None, a_max=2.0)            np.linspace(t[0, 0], 2.0, num=3, retstep=True)
np.logspace(0, 1, 3, base=t[0, 0])           abs(t)                                       2 ** t
t % 0.7                                      divmod(t, 0.7)                               1 / t
t // 0.7 * t                                 +t                                           t[mask]
t[..., 0]                                    t[[0, 1], [1, 0]]                            t[None, ::-1]
t.flatten(order="F")                         t.ravel("F")                                 t.swapaxes(0, 1)
t.copy()                                     t.dot(u[0])                                  t.repeat([1, 2], axis=0)
t.take(indices=[9], mode="wrap")             t.round(decimals=1) * t                      np.sort(t.copy(), axis=0)
t.argsort(axis=0) * t                        t.any(axis=0) * t                            t.all() * t
t.trace(offset=1)                            t.diagonal(offset=1)                         t.nonzero()[0].size * t
t.cumsum(axis=0)                             t.cumprod()                                  t.cumprod(axis=1)
t.mT                                         t.T.flatten()                                [x * 2 for x in t.flat]
t.flat[[0, 3]]                               t.itemsize * t                               t.nbytes * t
len(t) * t                                   t.sum(axis=1, keepdims=True, where=mask)     t.mean(dtype=float, axis=0)
t.std(ddof=1)                                t.var(axis=0)                                t.max(where=mask, initial=0)
t.min(axis=0, keepdims=True)                 t.prod(axis=0)                               t.reshape(4, order="F")
t.reshape((4, 1))                            t.transpose(1, 0)                            t.transpose((1, 0))
t[None].squeeze(axis=0)                      t.clip(min=1.0, max=2.0)
t.astype(np.float64, copy=False)             t.argmax(axis=1) * t
"""

# Calls whose results have no gradient: of Tensors that require one too, they give NumPy's value. n is [3, 1, 2, 1].
CONSTANT = """
np.argmax(t, axis=0, keepdims=True)          np.argmin(t)                                 np.nanargmax(t, axis=1)
np.argsort(t, axis=None, kind="stable")      np.argpartition(t, 0, axis=0)                np.lexsort((t[0], t[1]))
np.searchsorted([1.0, 2.0], t)               np.searchsorted(u[0], 1.0, side="right")     np.digitize(t, bins=u[0])
np.isclose(t, 1.3)                           np.allclose(t, u, rtol=9.0)                  np.array_equal(t, t)
np.array_equiv(t, t[:1])                     np.isin(t, [1.3], invert=True)               np.nonzero(t > 1)
np.flatnonzero(t)                            np.argwhere(t > 1)                           np.count_nonzero(t, axis=0)
np.where(t > 1)                              np.where(t)                                  np.any(t, axis=0)
np.all(t > 1)                                np.signbit(t)                                np.isnan(t)
np.isfinite(t)                               np.isinf(t)                                  np.isposinf(t)
np.isreal(t)                                 np.iscomplexobj(t)                           np.logical_and(t, u > 1)
np.logical_or.reduce(t > 1)                  np.logical_not(t)                            np.logical_xor(t, 0)
np.less_equal(t, u)                          np.equal(t, 1.3)                             np.greater.outer(t, u)
t > u                                        t == 1.3                                     (t > 1) & (u > 1)
np.shape(t)                                  np.ndim(t)                                   np.size(t, 0)
np.zeros_like(t)                             np.ones_like(t, dtype=int)                   np.full_like(t, 2.0)
np.empty_like(t).shape                       np.result_type(t, 1.0)                       np.linalg.matrix_rank(t)
np.tril_indices_from(t)                      np.diag_indices_from(t)                      np.may_share_memory(t, mask)
np.array_repr(t)                             np.array2string(t, precision=1)              np.array_str(t)
np.einsum_path("ij,jk", t, u)                f"{t[0, 0]:.3f}"
np.unravel_index(t.argmax(), t.shape)
np.savetxt(io.BytesIO(), t)                  np.save(io.BytesIO(), t)
np.savez(io.BytesIO(), t=t, n=n)
np.bincount(n)                               np.bincount(n, minlength=6)                  np.unique(n)
n & 1                                        n | 2                                        2 ^ n
n << 1                                       1 << n                                       9 >> n
~n                                           np.bitwise_and(n, 1)                         np.left_shift(n, 2)
np.gcd(n, 2)                                 np.ix_(n, n)
np.ravel_multi_index((n, n), (4, 4))
np.arange(n[0])                              [*range(n[0])]                               np.zeros((n[0], 2))
"""

# Calls that NumPy computes of Tensors that require no gradient.
DETACHED = """
np.histogram(t, bins=3, weights=u)           np.histogram2d(t[0], u[0])
np.bincount(n, weights=t.ravel())
np.asarray(t)                                np.array([t, u])                             np.ascontiguousarray(t)
np.fft.fft(t)                                np.fft.rfft2(t)                              np.linalg.eig(t)
np.linalg.cond(t * [0, 1])                   np.polyfit([0.0, 1.0], t[0], 1)              np.roots(t[0])
np.nanmedian(t)                              np.i0(t)                                     np.union1d(t, u)
np.intersect1d(n, [1, 5])                    np.setdiff1d(t, 1.3)                         np.trim_zeros(t[0])
np.resize(t, (3, 3))                         np.apply_along_axis(np.sum, 0, t)
np.piecewise(t, [t > 1], [1.0, 0.0])
np.vectorize(abs)(t)                         [*np.ndenumerate(t)]                         np.broadcast(t, 1.0).shape
np.lib.stride_tricks.sliding_window_view(t, 2, 0)                                         np.r_[t, u]
np.c_[t, u]                                  np.nextafter(t, u)                           np.frexp(t)
np.emath.sqrt(t)                             np.ma.masked_less(t, 1).filled(0)            np.float32(t[0, 0])
math.exp(t[0, 0])                            sorted(t.ravel())                            json.dumps(t.tolist())
np.exp(t, out=np.zeros((2, 2)))              np.add.reduceat(t, [0, 1])                   np.hypot.reduce(t)
t.astype(int)                                t.astype(bool)                               np.astype(t, np.int8)
rng.choice(t[0], 3)                          rng.choice(2, 3, p=t[0] / t[0].sum())        rng.permutation(t)
rng.normal(t, u)                             np.testing.assert_allclose(t, t + 1e-9)
np.testing.assert_array_equal(t, t)
np.polynomial.Polynomial([1.0, 2.0])(t)      np.putmask(np.zeros((2, 2)), mask, t)
np.place(np.zeros(2), [True, False], t[0])
"""

# Calls that NumPy has, and Tensors that require a gradient refuse, with words of the message that says what to write.
REFUSED = {
    "np.sum([t, u])": "mg.array",
    "np.linalg.norm([t[0, 0], u[0, 0]])": "mg.array",
    "np.r_[t[0], u[0]]": "mg.array",
    "np.exp(t, where=mask)": "Use mg.where",
    "np.exp(t, out=np.zeros((2, 2)))": r"write y = np.exp\(...\)",
    "np.sum(t, axis=0, out=np.zeros(2))": r"write y = np.sum\(...\)",
    "np.subtract.reduce(t)": "np.subtract of slices",
    "np.add.reduceat(t, [0, 1])": r"t\[i:j\].sum\(\)",
    "np.add.at(np.zeros(2), [0, 1], t[0])": "mg.scatter_add",
    "np.matmul(t, u, axes=[(0, 1), (0, 1), (0, 1)])": "takes no axes=",
    'np.einsum("ij,jk", t, u, dtype=float)': "keyword argument 'dtype'",
    'np.quantile(t, 0.3, weights=u, method="inverted_cdf")': "keyword argument 'weights'",
    "np.nanmedian(t)": r"mg.quantile of t\[~np.isnan\(t\)\]",
    "np.nanquantile(t, 0.3, axis=0)": r"mg.quantile of t\[~np.isnan\(t\)\]",
    "np.bincount([0, 1], weights=t[0])": "mg.scatter_add of weights",
    "np.histogram(t)": "counts are piecewise constant",
    "np.put(t, 0, 1.0)": "mg.where, or mg.scatter_add",
    'np.ravel(t, order="K")': "order 'C' or 'F', which do not depend on the memory",
    'np.pad(t, 1, mode="empty")': "expected a mode of 'constant'",
    "np.pad(t, 1, constant_values=u[0, 0])": "use concatenate",
    "np.lib.stride_tricks.sliding_window_view(t, 2, axis=0)": r"an index, as in t\[i",
    "np.apply_along_axis(np.sum, 0, t)": "mg.stack",
    "np.piecewise(t, [mask], [np.sin, np.cos])": "mg.select or mg.where",
    "np.vectorize(abs)(t)": "would lose it",
    "np.polyval(t[0], u)": "a sum of powers",
    "np.polyfit([0.0, 1.0], t[0], 1)": "a sum of powers",
    "np.geomspace(t[0, 0], 5.0, 4)": "mg.exp of mg.linspace",
    "np.i0(t)": "mg.primitive",
    "np.linalg.qr(np.vstack([t, u]), 'complete')": "expected mode 'reduced' or 'r'",
    "np.linalg.svd(np.vstack([t, u]))": "full_matrices=False",
    "np.linalg.eig(t)": "mg.eigh of a symmetric matrix",
    "np.linalg.eigvals(t)": "mg.eigh of a symmetric matrix",
    "np.emath.sqrt(t)": "its result may be complex.* use np.sqrt",
    "np.fft.fft(t)": "mg.rfft and mg.irfft",
    "np.fft.rfft(t)": "mg.rfft and mg.irfft",
    "np.fft.irfft(t)": "mg.rfft and mg.irfft",
    "t.astype(int)": r"use t.detach\(\).astype",
    "t.sum(0, float)": "cannot be interpreted as an integer",
}

A = np.array([[1.3, 0.6], [2.6, 3.4]])
B = np.array([[0.7, 1.1], [1.9, 0.3]])
MASK = np.array([[True, False], [False, True]])
N = np.array([3, 1, 2, 1])


def listed(table):
    """The calls of a table: two spaces or more are between them, or one behind a bracket."""
    return [call for line in table.splitlines() for call in re.split(r" {2,}|(?<=\)) (?=np\.)", line.strip()) if call]


EXPRESSIONS = listed(CALLS)


def function(expression):
    """The call as a function of t and u, and of n."""
    names = {"np": np, "io": io, "json": json, "math": math, "mask": MASK, "i": np.array([1, 0])}
    return eval(f"lambda t, u, n=N, rng=None: {expression}", {**names, "N": N})


def leaves(result):
    return [v for r in result for v in leaves(r)] if isinstance(result, (list, tuple)) else [result]


def check(expression):
    """AssertionError or TypeError where the call on Tensors has not NumPy's value and the right gradient."""
    f = function(expression)
    t, u = Tensor(A, requires_grad=True), Tensor(B, requires_grad=True)
    got, expected = leaves(f(t, u)), leaves(f(A, B))
    assert any(isinstance(g, Tensor) and g.requires_grad for g in got)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g.data if isinstance(g, Tensor) else g, e, rtol=1e-12, atol=1e-14)
        assert np.shape(g) == np.shape(e)

    def traced(t, u):
        return [y for y, g in zip(leaves(f(t, u)), got, strict=True) if isinstance(g, Tensor)]

    check_vjp(traced, A, B, order=1)
