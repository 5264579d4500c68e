"""Weights from and to PyTorch: the same arrays under PyTorch's names, in the order of its axes.

minigraph keeps channels last, and filters as (height, width, input, output); PyTorch keeps channels first, and filters
as (output, input, height, width). A linear layer is `x @ w` here and `x @ weight.T` there. Nothing here imports
PyTorch: a state dict is a dict of names and arrays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import tree
from .blame import describe
from .tree import Tree

Names = Sequence[tuple[str, str]]
Shapes = Mapping[str, tuple[int, int, int]]

_NAMES = (  # of the last part of a path
    (r"(^|\.)w$", r"\1weight"),
    (r"(^|\.)b$", r"\1bias"),
    (r"(^|\.)scale$", r"\1weight"),
    (r"(^|\.)shift$", r"\1bias"),
    (r"(^|\.)mean$", r"\1running_mean"),
    (r"(^|\.)var$", r"\1running_var"),
)


def to_torch(
    *trees: Tree, names: Names = (), flattened: Shapes | None = None, as_they_are: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """A PyTorch state dict, by name, of the arrays of `trees`; as a rule of `(params, state)`.

        arrays = to_torch(params, state, flattened={"head.w": (8, 8, 64)})
        module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})

    The name is the path of the array, in which these last parts change: `w` and `scale` to `weight`, `b` and `shift` to
    `bias`, `mean` to `running_mean`, `var` to `running_var`. By the number of axes of an array:

    | array | here | in PyTorch |
    |---|---|---|
    | linear layer | (input, output) | (output, input) |
    | filters of a convolution in 1, 2, 3 dimensions | (*window, input, output) | (output, input, *window) |
    | anything else | as it is | as it is |

    Args:
        trees: nested dicts, lists or tuples of arrays.
        names: pairs (pattern, replacement) of `re.sub`, for other paths than the above. The first pattern that is found
            in a path makes its name.
        flattened: the (height, width, channels) of the maps that a linear layer reads flat, by its path. PyTorch
            flattens in the order (channels, height, width).
        as_they_are: patterns of `tree.matches` for paths of arrays whose axes stay, such as the table of an embedding.

    Raises:
        TypeError: a leaf is no array.
        ValueError: two arrays have one name, a path of `flattened` or a pattern of `as_they_are` is not there, or the
            shape of a flattened layer does not fit.
    """
    found: dict[str, np.ndarray] = {}
    for name, array, order in _arrays("to_torch", trees, names, flattened, as_they_are):
        found[name] = np.ascontiguousarray(order.there(array))
    return found


def from_torch(
    state_dict: Mapping[str, Any],
    *trees: Tree,
    names: Names = (),
    flattened: Shapes | None = None,
    as_they_are: Sequence[str] = (),
) -> Any:
    """`trees` with the arrays of a PyTorch state dict in the place of their own: the way back from `to_torch`.

        params, state = from_torch(module.state_dict(), *cnn.init(rng), flattened={"head.w": (8, 8, 64)})

    Args:
        state_dict: arrays or tensors by name. Its counters `num_batches_tracked` are left out.
        trees: what `init` of the model gives; the arrays have its shapes and dtypes.
        names, flattened, as_they_are: as in `to_torch`.

    Returns the tree, or a tuple of them where several were given. The arrays are copies.

    Raises:
        TypeError: what stands under a name is no array.
        ValueError: a name is missing, a name belongs to nothing, or a shape does not fit. The message lists the names.
            And as in `to_torch`.
    """
    rows = _arrays("from_torch", trees, names, flattened, as_they_are)
    known = {name for name, _, _ in rows}
    given = [name for name in state_dict if not name.endswith("num_batches_tracked")]
    missing, unknown = sorted(known.difference(given)), sorted(set(given) - known)
    if missing or unknown:
        parts = [f"{what} {', '.join(some)}" for what, some in (("missing:", missing), ("unknown:", unknown)) if some]
        raise ValueError(f"from_torch: the state dict and the model have other names; {'; '.join(parts)}")
    new = []
    for name, like, order in rows:
        array = _as_array(state_dict[name], name)
        expected = order.there(like).shape
        if array.shape != expected:
            raise ValueError(f"from_torch: {name} has the shape {array.shape}, expected {expected}")
        new.append(np.array(order.back(array), like.dtype, order="C"))
    whole = tree.unflatten(trees, new)
    return whole[0] if len(trees) == 1 else whole


class _Order:
    """The order of the axes of an array here and in PyTorch."""

    def __init__(self, array: np.ndarray, maps: tuple[int, int, int] | None, keep: bool):
        self.shape, self.maps = array.shape, maps
        n = array.ndim
        self.axes = (n - 1, n - 2, *range(n - 2)) if n >= 2 and not keep else tuple(range(n))

    def there(self, array: np.ndarray) -> np.ndarray:
        if self.maps is not None:  # (h w c, out) -> (c h w, out)
            array = array.reshape(*self.maps, -1).transpose(2, 0, 1, 3).reshape(self.shape)
        return array.transpose(self.axes)

    def back(self, array: np.ndarray) -> np.ndarray:
        array = array.transpose(np.argsort(self.axes))
        if self.maps is not None:  # (c h w, out) -> (h w c, out)
            height, width, channels = self.maps
            array = array.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(self.shape)
        return array


def _arrays(
    what: str, trees: tuple[Tree, ...], names: Names, flattened: Shapes | None, as_they_are: Sequence[str]
) -> list[tuple[str, np.ndarray, _Order]]:
    """The name, the array here and its order for each leaf."""
    if not trees:
        raise TypeError(f"{what}: expected a tree of arrays, such as the parameters of a model")
    if isinstance(as_they_are, str) or not all(isinstance(pattern, str) for pattern in as_they_are):
        raise TypeError(f"{what}: as_they_are should be a list of patterns, got {describe(as_they_are)}")
    leaves = [item for each in trees for item in tree.items(each)]
    for path, leaf in leaves:
        if not tree.is_array(leaf):
            raise TypeError(f"{what}: {path or 'the top'} is {describe(leaf)}, expected an array")
    shapes = dict(flattened or {})
    for path in shapes.keys() - {path for path, _ in leaves}:
        raise ValueError(f"{what}: flattened names {path}, which is no path of an array")
    for pattern in as_they_are:
        if not any(tree.matches(pattern, path, leaf) for path, leaf in leaves):
            raise ValueError(f"{what}: as_they_are has {pattern!r}, which no path matches")
    rows: dict[str, tuple[str, np.ndarray, _Order]] = {}
    for path, leaf in leaves:
        name = _name(path, names)
        if name in rows:
            raise ValueError(f"{what}: two arrays would have the name {name}, the second is {path}; see names=")
        array, maps = np.asarray(leaf), shapes.get(path)
        if maps is not None and (array.ndim != 2 or len(maps) != 3 or np.prod(maps) != len(array)):
            raise ValueError(f"{what}: {path} has the shape {array.shape}, which does not read maps {maps}")
        keep = any(tree.matches(pattern, path, leaf) for pattern in as_they_are)
        rows[name] = name, array, _Order(array, maps, keep)
    return list(rows.values())


def _name(path: str, names: Names) -> str:
    for pattern, replacement in (*names, *_NAMES):
        name, changed = re.subn(pattern, replacement, path)
        if changed:
            return name
    return path


def _as_array(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, RuntimeError) as error:  # a tensor on another device, or of a dtype that NumPy does not have
        raise TypeError(f"from_torch: {name} is no array that NumPy can read: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"from_torch: {name} is {describe(array)}, expected an array of numbers")
    return array
