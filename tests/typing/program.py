"""A user's program that has to pass `mypy --strict` and `pyright` as it stands. It also runs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minigraph as mg
from minigraph.testing import check_vjp

Params = dict[str, mg.ArrayLike]  # arrays outside of a transform, Tensors inside
Floats = NDArray[np.float64]


def init(rng: np.random.Generator) -> Params:
    return {"w": rng.normal(size=(3, 3, 3, 4)), "b": np.zeros(4), "head": rng.normal(size=(64, 10))}


def logits(params: Params, x: Floats) -> mg.Tensor:
    h = mg.relu(mg.conv2d(x, params["w"], params["b"], padding=1))
    h = mg.max_pool(h, 2).reshape(len(x), -1)
    return h @ params["head"]


def loss(params: Params, x: Floats, y: NDArray[np.int64]) -> mg.Tensor:
    return mg.cross_entropy(logits(params, x), y, label_smoothing=0.1)


@mg.custom_vjp
def cube(x: mg.ArrayLike, scale: float = 1.0) -> Any:
    return scale * np.asarray(x) ** 3


@cube.vjp
def _(g: Any, _y: Any, x: Any, scale: float = 1.0) -> Any:
    return g * (3 * scale * x * x)


@mg.checkpoint
def block(t: mg.Tensor, times: int) -> mg.Tensor:
    for _ in range(times):
        t = mg.tanh(t) + cube(t, scale=0.1)
    return t


@mg.no_grad()
def accuracy(params: Params, x: Floats, y: NDArray[np.int64]) -> float:
    return float((logits(params, x).argmax(-1) == y).mean())


def main() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 8, 8, 3)), rng.integers(0, 10, 5)
    params = init(rng)

    optimizer = mg.optim.SGD(mg.optim.cosine(0.1, 20), momentum=0.9)
    state = optimizer.init(params)
    step = mg.value_and_grad(loss)
    for _ in range(3):
        value, grads = step(params, x, y)
        params, state = optimizer.step(params, grads, state)
        print(f"loss {value:.3f}, accuracy {accuracy(params, x, y):.0%}")

    parallel = mg.parallel.value_and_grad(loss, microbatch=2)
    value, grads = parallel(params, x, y)
    for path, leaf in mg.tree.items(grads):
        print(path, leaf.shape)

    t = mg.Tensor([1.0, 2.0], requires_grad=True)
    s = mg.sum(block(t, 2) * 2.0, axis=0)
    s.backward()
    if t.grad is not None:
        print(t.grad.numpy() + 1)
    second = mg.hessian(functools.partial(energy, scale=2.0))(np.ones(2))
    print(second.shape, check_vjp(cube, np.array([1.0, 2.0])).order)


def energy(x: Any, scale: float) -> mg.Tensor:  # Any: x is an array to the caller, a Tensor in here
    return (mg.concatenate([x, x * scale]) ** 2).sum() + mg.einsum("i,i->", x, x)


if __name__ == "__main__":
    main()
