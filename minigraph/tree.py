"""Nested dicts, lists and tuples of arrays, such as the parameters of a model.

A *tree* is a dict with string keys, a list or a tuple of trees; or a leaf, which is anything else. None is a tree
without leaves. The leaves come in a fixed order, in which dicts are read in the order of insertion. Where a function
takes several trees, the others are read by the keys of the first, so that their own order does not matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

Tree = Any
Path = tuple[Any, ...]  # keys and indices


def items(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `(path, leaf)` for each leaf. A path is the keys and indices joined by dots, as in `blocks.0.w`.

    `path` is that of `tree` itself, and comes before those of its leaves.
    """
    if tree is None:
        return
    if isinstance(tree, dict):
        children: Any = tree.items()
    elif isinstance(tree, (list, tuple)):
        children = enumerate(tree)
    else:
        yield path, tree
        return
    for key, child in children:
        yield from items(child, f"{path}.{key}" if path else str(key))


def leaves(tree: Tree) -> list[Any]:
    """The leaves of `tree`, in the order of `items`."""
    found: list[Any] = []
    _collect(tree, found)
    return found


def _collect(tree: Tree, found: list[Any]) -> None:
    if type(tree) is np.ndarray:  # most leaves are arrays: this spares them the two questions below
        found.append(tree)
    elif isinstance(tree, dict):
        for child in tree.values():
            _collect(child, found)
    elif isinstance(tree, (list, tuple)):
        for child in tree:
            _collect(child, found)
    elif tree is not None:
        found.append(tree)


def map(f: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """A tree like the first that holds `f(leaf, *leaves_of_rest)` in place of each leaf.

    Raises ValueError, naming the path, where one of `rest` has another structure than `tree`.
    """
    if not rest:
        return _map(f, tree)
    columns = [leaves(tree)]
    for other in rest:
        columns.append([])
        _collect_like(tree, other, columns[-1])
    return unflatten(tree, [f(*row) for row in zip(*columns, strict=True)])


def _map(f: Callable[[Any], Any], tree: Tree) -> Tree:
    if type(tree) is np.ndarray:
        return f(tree)
    if isinstance(tree, dict):
        return {k: _map(f, v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        children = [_map(f, v) for v in tree]
        # A namedtuple takes its fields one by one, a plain list or tuple takes them together.
        return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    return None if tree is None else f(tree)


def _collect_like(tree: Tree, other: Tree, found: list[Any], path: Path = ()) -> None:
    """Add the leaves of `other` in the order of `tree`. Raises ValueError where their structures differ."""
    if type(tree) is np.ndarray and type(other) is np.ndarray:
        found.append(other)
    elif isinstance(tree, dict):
        if not isinstance(other, dict) or other.keys() != tree.keys():
            raise ValueError(_mismatch(tree, other, path))
        for k, child in tree.items():
            _collect_like(child, other[k], found, (*path, k))
    elif isinstance(tree, (list, tuple)):
        if type(other) is not type(tree) or len(other) != len(tree):
            raise ValueError(_mismatch(tree, other, path))
        for i, child in enumerate(tree):
            _collect_like(child, other[i], found, (*path, i))
    elif (tree is None) != (other is None) or isinstance(other, (dict, list, tuple)):
        raise ValueError(_mismatch(tree, other, path))
    elif tree is not None:
        found.append(other)


def unflatten(tree: Tree, leaves: Sequence[Any]) -> Tree:
    """A tree like `tree` that holds `leaves` in place of its own, in the order of `items`.

    Raises ValueError unless there are as many.
    """
    rest = iter(leaves)
    try:
        new = _map(lambda _: next(rest), tree)
        fits = next(rest, rest) is rest  # none is left
    except StopIteration:
        fits = False
    if not fits:
        raise ValueError(f"unflatten: the tree has {len([*items(tree)])} leaves, got {len(leaves)}")
    return new


def check_like(expected: Tree, tree: Tree, what: str) -> Tree:
    """`tree` with its keys in the order of `expected`, after a check that it has the same structure, shapes and dtypes.

    Raises ValueError for another structure or shape, TypeError for another dtype or a leaf that is not an array. The
    message begins with `what` and names the first path where the two differ.
    """
    found: list[Any] = []
    try:
        _collect_like(expected, tree, found)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    for i, (want, got) in enumerate(zip(leaves(expected), found, strict=True)):
        same_dtype = is_array(got) and got.dtype == want.dtype
        if not same_dtype or got.shape != want.shape:
            path, _ = next(itertools.islice(items(expected), i, None))
            kind = ValueError if same_dtype else TypeError
            raise kind(f"{what} at {_at(path)}: expected {_kind(want)}, got {_kind(got)}")
    return unflatten(expected, found)


def is_array(leaf: Any) -> bool:
    """Whether `leaf` is an array, or a NumPy scalar, which NumPy's arithmetic returns in place of 0-d arrays."""
    return isinstance(leaf, (np.ndarray, np.generic))


# Parts of a tree, picked by patterns.


def matches(pattern: str, path: str, leaf: Any) -> bool:
    """Whether a pattern picks the leaf at this path.

    A pattern is one of a shell (`fnmatch`) for the whole path, with upper and lower case distinct; `*` stands for any
    characters, dots included. The pattern `ndim >= 2` picks all arrays of at least 2 dimensions instead: the weights of
    convolutions and dense layers, but neither biases nor the scales of norms.
    """
    return np.ndim(leaf) >= 2 if pattern == "ndim >= 2" else fnmatchcase(path, pattern)


def partition(tree: Tree, *patterns: str) -> tuple[Tree, Tree]:
    """The leaves that some pattern picks, and the others: two trees like `tree`, each with None in place of the rest.

    `merge` puts them together again. Raises ValueError for a pattern that picks no leaf; see `matches`.
    """
    named = list(items(tree))
    for pattern in patterns:
        if not any(matches(pattern, path, leaf) for path, leaf in named):
            paths = [path for path, _ in named]
            raise ValueError(f"partition: {pattern!r} picks none of the leaves, whose paths are {paths}")
    picked = [any(matches(pattern, path, leaf) for pattern in patterns) for path, leaf in named]
    first = [leaf if yes else None for yes, (_, leaf) in zip(picked, named, strict=True)]
    rest = [None if yes else leaf for yes, (_, leaf) in zip(picked, named, strict=True)]
    return unflatten(tree, first), unflatten(tree, rest)


def merge(first: Tree, second: Tree) -> Tree:
    """One tree with the leaves of both, such as `partition` has made: where one tree has None, what the other one has.

    Raises ValueError, naming the path, where both have a leaf or their structures differ.
    """
    return _merge(first, second, ())


def _merge(first: Tree, second: Tree, path: Path) -> Tree:
    if first is None or second is None:
        return second if first is None else first
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return {k: _merge(v, second[k], (*path, k)) for k, v in first.items()}
    if isinstance(first, (list, tuple)) and type(first) is type(second) and len(first) == len(second):
        children = [_merge(a, b, (*path, i)) for i, (a, b) in enumerate(zip(first, second, strict=True))]
        return type(first)(*children) if hasattr(first, "_fields") else type(first)(children)
    if not isinstance(first, (dict, list, tuple)) and not isinstance(second, (dict, list, tuple)):
        raise ValueError(f"merge: both trees have a leaf at {_at(path)}")
    raise ValueError(f"merge: {_mismatch(first, second, path)}")


# Trees whose leaves are views of one flat array: what is done to all leaves can be done to that array, in one pass.


def flatten(tree: Tree) -> tuple[np.ndarray, Tree]:
    """Copy all leaves into one new 1-D array. Returns it, and a tree like `tree` whose leaves are views of it.

    Raises TypeError if a leaf is not an array or if dtypes differ, ValueError if there is no leaf.
    """
    named = list(items(tree))
    if not named:
        raise ValueError("expected a tree of arrays, got one without a leaf")
    for path, leaf in named:
        if not is_array(leaf):
            raise TypeError(f"expected an array at {_at(path)}, got {_kind(leaf)}")
        if leaf.dtype != named[0][1].dtype:
            raise TypeError(f"expected one dtype, got {named[0][1].dtype} at {named[0][0]} and {leaf.dtype} at {path}")
    flat = np.concatenate([leaf.reshape(-1) for _, leaf in named])
    return flat, unravel(tree, flat)


def unravel(tree: Tree, flat: np.ndarray) -> Tree:
    """A tree like `tree` whose leaves are views of the 1-D array `flat`, one after the other, in the same shapes.

    Raises ValueError unless `flat` has as many entries as all leaves together.
    """
    ends = [*itertools.accumulate((leaf.size for leaf in leaves(tree)), initial=0)]
    if flat.shape != (ends[-1],):
        raise ValueError(f"unravel: the tree holds {ends[-1]} elements, flat has shape {flat.shape}")
    stops = iter(ends[1:])

    def view(leaf: np.ndarray) -> np.ndarray:
        stop = next(stops)
        return flat[stop - leaf.size : stop].reshape(leaf.shape)

    return map(view, tree)


def flat_view(tree: Tree) -> np.ndarray | None:
    """The 1-D array that the leaves of `tree` are views of, one after the other; None if there is no such array.

    Nothing is copied: writing to the array writes to the leaves. Trees from `flatten` and `unravel` have such an array.
    """
    arrays = leaves(tree)
    if not all(isinstance(array, np.ndarray) for array in arrays):
        return None
    arrays = [array for array in arrays if array.size]  # where an empty array lies means nothing
    base = arrays[0].base if arrays else None
    if type(base) is not np.ndarray or not base.flags.c_contiguous:
        return None
    start = stop = _address(arrays[0])
    for array in arrays:
        if not (
            array.base is base and array.dtype == base.dtype and array.flags.c_contiguous and _address(array) == stop
        ):
            return None
        stop += array.nbytes
    origin, size = _address(base), base.itemsize
    return base.reshape(-1)[(start - origin) // size : (stop - origin) // size]


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _mismatch(tree: Tree, other: Tree, path: Path) -> str:
    if isinstance(tree, dict) and isinstance(other, dict):
        missing = [k for k in tree if k not in other]
        unexpected = [k for k in other if k not in tree]
        detail = f"missing keys {missing}, unexpected keys {unexpected}"
    else:
        detail = f"expected {_kind(tree)}, got {_kind(other)}"
    return f"trees differ at {_at(path)}: {detail}"


def _at(path: str | Path) -> str:
    return (path if isinstance(path, str) else ".".join([str(key) for key in path])) or "the top"


def _kind(tree: Tree) -> str:
    if isinstance(tree, dict):
        return f"a dict with keys {[*tree]}"
    if isinstance(tree, (list, tuple)):
        return f"a {type(tree).__name__} of length {len(tree)}"
    if is_array(tree):
        return f"{tree.dtype} {tree.shape}"
    return "None" if tree is None else f"a leaf ({type(tree).__name__})"
