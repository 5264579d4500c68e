"""`value_and_grad` and `map`: how a batch is cut into parts, and what is done with each."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from .. import modes, random, tape, tree
from ..blame import describe
from ..tensor import Tensor
from ..transforms import name_of, one_number, pulled_back, traced
from ..tree import Tree
from .executor import Executor
from .partial import GradientTask, Partial, combine
from .threads import Threads

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_MICROBATCH = 64  # examples in a part, where the caller does not say
# The least work in a part, in the operations that `_work` counts, where the caller does not say how large a part is. A
# core of 64 GFLOP/s takes a quarter of a millisecond for it. To hand less to another thread costs more than it gives.
LEAST = 16_000_000
SHOWN = 6  # arrays of a wrong batch, in an error


def value_and_grad(
    loss_fn: Callable[P, Any],
    *,
    executor: Executor | None = None,
    microbatch: int | None = None,
    has_aux: bool = False,
) -> Callable[P, tuple[Any, Any]]:
    """`minigraph.value_and_grad` for the mean loss of a batch, computed in parts that run in parallel.

    Args:
        loss_fn: is called as `loss_fn(params, *batch, **batch)` with a part of the batch. It returns the mean loss of
            the examples in the part, or `(loss, aux)` with `has_aux`.
        executor: what runs the parts; by default `Threads()`, on all available cores.
        microbatch: the most examples in a part. By default 64, or the batch divided by the number of workers if that is
            less, or more where there would be too little work in a part. There are as few parts as this allows, and
            they are balanced: their sizes differ by one at most. To know the work, loss_fn is called once more with a
            part of the batch, whenever the shapes are new. What counts is the arithmetic by the definition of the
            operations, not the time, so that the same shapes have the same parts in every run. If the work depends on
            more than the shapes, such as a loop over a number of the batch, give microbatch: otherwise the first batch
            of each shape decides.
        has_aux: whether loss_fn returns a tree of arrays beside the loss.

    Returns:
        a function of `(params, *batch)`, where batch is trees of arrays that all have the same length N along their
        first axis. They may be given by name, as in `step(params, x=x, y=y)`, and are split all the same; what should
        not be split goes into loss_fn by `functools.partial`. The function returns `(loss, gradients)`, or
        `((loss, aux), gradients)` with `has_aux`. The gradients are a tree like params. If params have one dtype and
        there are several parts, the gradients are views of one flat array, which an optimizer reads in one pass.

    The results of the parts become one as follows. Losses and floating aux (running statistics of batch normalisation,
    an accuracy) are averaged, weighted by the number of examples; other aux (counts) are summed. An aux that every part
    hands back unchanged, as the same array, stays that array (frozen weights in a model's state).

    If loss_fn is a mean over examples, the result equals that of the whole batch up to rounding. Batch normalisation is
    not such a mean: it sees the statistics of each part only ("ghost batch norm", Hoffer et al. 2017).

    For a given microbatch the result has the same bits in every run, for any number of threads: the parts are summed in
    a fixed binary tree (`parallel.pairwise`), and random operations in part i draw from a generator that is seeded with
    i and with one number drawn from the caller's generator.

    Raises:
        ValueError: microbatch is below 1; the arrays of the batch differ in length or are empty; the aux of the parts
            differ in structure or shape.
        TypeError: executor is not an `Executor`; params are not given by position; the loss is not one floating number;
            the function is called inside another transform or with Tensors that require a gradient, since its result
            cannot be differentiated again.
        Exception: whatever loss_fn raises; of several parts that fail, the first one counts.
    """
    executor = _checked("value_and_grad", executor, microbatch)
    enough: dict[Any, int] = {}  # by the shapes of all arrays: the largest number of parts that have LEAST work each

    @functools.wraps(loss_fn)
    def step(*args: Tree, **named: Tree) -> tuple[Any, Tree]:
        if not args:
            raise TypeError("parallel.value_and_grad: params should be given first and without a name, got none")
        params, *batch = args
        leaves = tree.leaves((params, batch, named))
        if modes.flags.get() & modes.DIFFERENTIATED or any(type(x) is Tensor and x.requires_grad for x in leaves):
            raise TypeError(
                "parallel.value_and_grad cannot be differentiated, inside a transform or through a Tensor that "
                "requires a gradient: use minigraph.value_and_grad"
            )
        n, parts = _parts("value_and_grad", batch, named, executor, microbatch)
        use_generator = _generators()

        def loss_of(i: int) -> tuple[Callable[[Tree], Any], float]:
            """The loss of part i as a function of the parameters, and its share of the examples."""
            start, stop = _bounds(i, n, parts)
            examples, examples_by_name = split((batch, named), start, stop)

            def loss(p: Tree) -> Any:
                return cast(Any, loss_fn)(p, *examples, **examples_by_name)

            loss.__name__ = name_of(loss_fn)
            return loss, (stop - start) / n

        if microbatch is None and parts > 1:
            shapes = tuple([np.shape(a) for a in leaves])
            if shapes not in enough:
                f, share = loss_of(0)
                with use_generator(0):
                    enough[shapes] = max(1, int(_work(f, params) / share / LEAST))
            parts = min(parts, enough[shapes])

        def part(i: int, ready: Callable[[int, Any], None] | None) -> Partial:
            f, share = loss_of(i)
            with use_generator(i):
                loss, pullback, *aux = pulled_back(f, (params,), has_aux=has_aux, own=parts == 1)
                one_number("loss_fn", loss)
                # These are the gradients of share * loss, so that those of the parts need only be added.
                (grads,) = pullback(np.asarray(share, loss.dtype), retain_graph=False, ready=ready)
            # The gradients of an even part are copied, since those of the odd part after it are added to them.
            return Partial.of_part(share, loss, aux[0] if aux else None, grads, copied=parts > 1 and i % 2 == 0)

        loss, aux, grads = executor.reduce(GradientTask(part, params), parts, combine).finish()
        return ((loss, aux) if has_aux else loss), grads

    return cast(Callable[P, tuple[Any, Any]], step)


def map(f: Callable[..., R], *batch: Tree, executor: Executor | None = None, microbatch: int | None = None) -> R:
    """`f(*batch)`, computed in parts that run in parallel: calls f with each part and concatenates the results.

    This is for inference.

    Args:
        f: a function of trees of arrays. Its result is a tree of arrays whose first axis has one entry for each
            example that f was given.
        batch, executor, microbatch: as in `value_and_grad`, and random operations draw as they do there.

    Raises:
        ValueError: as `value_and_grad`, and where the first axis of a result is not as long as its part.
        TypeError: executor is not an `Executor`.
        Exception: whatever f raises; of several parts that fail, the first one counts.
    """
    executor = _checked("map", executor, microbatch)
    n, parts = _parts("map", batch, {}, executor, microbatch)
    use_generator = _generators()

    def part(i: int) -> R:
        start, stop = _bounds(i, n, parts)
        with use_generator(i):
            result = f(*split(batch, start, stop))
        expected = stop - start
        for path, a in tree.items(result):
            if np.shape(a)[:1] != (expected,):
                at = f" at {path}" if path else ""
                raise ValueError(f"parallel.map: f gave {describe(a)}{at} for a part of {expected} examples")
        return result

    results = executor.run(part, parts)
    return cast(R, tree.map(lambda *arrays: np.concatenate(arrays), *results))


def split(batch: Tree, start: int, stop: int) -> Tree:
    """The examples from `start` to `stop` of every array of the batch, as views."""
    return tree.map(lambda a: a[start:stop], batch)


def _checked(name: str, executor: Executor | None, microbatch: int | None) -> Executor:
    """The executor to use, after checking the options of the function `name`."""
    if microbatch is not None and (not isinstance(microbatch, (int, np.integer)) or microbatch < 1):
        raise ValueError(f"parallel.{name}: microbatch should be an int of at least 1, got {microbatch!r}")
    if executor is None:
        return Threads()
    if not isinstance(executor, Executor):
        raise TypeError(
            f"parallel.{name}: executor should have workers, run and reduce, as Threads() has, got {executor!r}"
        )
    return executor


def _generators() -> Callable[[int], AbstractContextManager[None]]:
    """A function from the number of a part to a context in which random operations draw from a generator of its own.

    The generator is made by the first of them, since most losses draw nothing, and it takes 15 us.
    """
    seed = int(random.drawing_from(None).integers(1 << 63))
    return lambda i: random.use_made(lambda: np.random.default_rng([seed, i]))


def _parts(
    name: str, batch: Sequence[Tree], named: Tree, executor: Executor, microbatch: int | None
) -> tuple[int, int]:
    """The length of the batch's arrays, and the number of parts."""
    lengths = {path: np.shape(a)[:1] for path, a in (*tree.items(batch), *tree.items(named))}
    sizes = set(lengths.values())
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        got = {path: shape[0] if shape else "no axis" for path, shape in itertools.islice(lengths.items(), SHOWN)}
        more = f" and {len(lengths) - SHOWN} more" if len(lengths) > SHOWN else ""
        lists = next((x for x in (*batch, *named.values()) if isinstance(x, list) and len(x) > 1), None)
        hint = "; a list is a tree of its entries, np.asarray makes one array of it" if lists else ""
        hint = hint or "; what is no batch, such as a model's state, goes into the function by a closure"
        raise ValueError(
            f"parallel.{name}: the batch's arrays should have one leading length of at least 1, got {got}{more}{hint}"
        )
    ((n,),) = sizes
    return n, -(-n // (microbatch or min(DEFAULT_MICROBATCH, -(-n // executor.workers))))


def _work(f: Callable[[Tree], Any], params: Tree) -> int:
    """The work of `f(params)`: the floating-point operations by their definition, and 16 for each entry of a result.

    An entry has to go through memory, which takes about as long as 16 operations of a matrix product do.
    """
    inputs = traced(params, f"{name_of(f)}: argument 0")
    with modes.mode(modes.RECORD | modes.WHOLE):
        results = tree.leaves(f(inputs))
    nodes = tape.ancestors([y.node for y in results if type(y) is Tensor and y.node is not None])
    return sum(node.op.operations(node) + 16 * node.size for node in nodes if node.op is not None)


def _bounds(i: int, n: int, parts: int) -> tuple[int, int]:
    """Where part i of n examples begins and ends: the first parts have one example more than the others, if need be.

    A last part of what is left over could be a single example, which batch normalisation cannot work with.
    """
    size, longer = divmod(n, parts)
    start = i * size + min(i, longer)
    return start, start + size + (i < longer)
