"""Products in pieces are products."""

import numpy as np
import pytest

from minigraph.kernels import blas


@pytest.fixture(params=[True, False], ids=["in pieces", "whole"], autouse=True)
def machine(request, monkeypatch):
    """A machine on which products are cut, and one on which they are not."""
    monkeypatch.setattr(blas, "avx512", lambda: request.param)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((96, 64), (64, 256)),  # both sides in pieces
        ((36, 128, 256), (36, 256, 64)),  # rows in pieces
        ((5, 30, 700), (5, 700, 130)),  # columns of 65
        ((3, 2, 101, 512), (2, 512, 128)),  # 101 is prime; leading axes are broadcast
        ((2, 1200, 1000), (2, 1000, 3)),  # too few columns for a piece
        ((64, 3000), (3000, 64)),  # pieces of at least LEAST rows
        ((3, 4, 5), (3, 5, 6)),  # small
        ((2, 0, 5), (2, 5, 6)),
        ((2, 3, 0), (2, 0, 6)),
    ],
)
def test_product(a, b):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(a), rng.standard_normal(b)
    want = a @ b
    out = np.full((*want.shape[:-1], 2 * want.shape[-1]), np.nan)[..., ::2]  # a view, with gaps
    blas.product(a, b, out)
    np.testing.assert_allclose(out, want, rtol=0, atol=1e-11)


def test_transposed_views():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((7, 128, 6, 96)), rng.standard_normal((7, 128, 6, 160))
    out = np.empty((7, 6, 96, 160))
    blas.product(a.transpose(0, 2, 3, 1), b.swapaxes(1, 2), out)
    np.testing.assert_allclose(out, np.einsum("itjc,itjk->ijck", a, b), rtol=0, atol=1e-11)


@pytest.mark.parametrize(("a", "b"), [((6, 128, 256), (6, 256, 192)), ((96, 24), (24, 40)), ((3, 0, 5), (3, 5, 16))])
def test_panels(a, b):
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal(a), rng.standard_normal(b)
    *_, count, _, columns = shape = blas.panels(b.shape)
    in_panels = b.reshape(*b.shape[:-1], count, columns).swapaxes(-3, -2)
    assert in_panels.shape == shape
    out = np.empty((*a.shape[:-1], b.shape[-1]))
    np.matmul(*blas.panels_in_pieces(a, np.ascontiguousarray(in_panels), out))
    np.testing.assert_allclose(out, a @ b, rtol=0, atol=1e-11)
