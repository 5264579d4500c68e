"""Checkpoints: trees of arrays and plain values in one file, written whole or not at all.

A file is a zip archive, as NumPy's `.npz`: the arrays as `0.npy`, `1.npy`, ... and `tree.json`,
which holds everything else and says where the arrays belong. Nothing in it is pickled.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import tree as trees
from .tree import Tree

_FORMAT = "minigraph checkpoint 1"

StrPath = str | os.PathLike[str]


class CheckpointError(OSError):
    """A checkpoint that cannot be written or read, or that belongs to another model."""


def save(path: StrPath, tree: Tree) -> None:
    """Write `tree` to `path`; a kill at any moment leaves the old file or the new one, whole.

    Leaves are arrays (or NumPy scalars) of booleans and numbers, and str, bool, int of any size,
    float; `load` returns each with its type and bits. Raises TypeError, naming the path, for
    anything else, and CheckpointError when the file cannot be written: the old one is then intact.
    """
    import json
    import zipfile

    arrays: list[Any] = []
    structure = json.dumps({"format": _FORMAT, "tree": _encode(tree, arrays, "")})
    try:
        with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr("tree.json", structure)
            for i, array in enumerate(arrays):
                with archive.open(f"{i}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{path}: the checkpoint was not written: {reason}") from error


def load(path: StrPath) -> Tree:
    """The tree that `save` wrote to `path`.

    Raises CheckpointError when there is no such file, or it is truncated, corrupt or of another
    kind: every entry's CRC is checked.
    """
    import io
    import json
    import zipfile

    def array(index: int) -> np.ndarray:
        # All of the entry is read first: the CRC is checked only once its end is reached.
        entry = io.BytesIO(archive.read(f"{index}.npy"))
        return np.lib.format.read_array(entry, allow_pickle=False)

    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("tree.json"))
            if content["format"] != _FORMAT:
                raise ValueError(f"expected format {_FORMAT!r}, got {content['format']!r}")
            return _decode(content["tree"], array)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such checkpoint") from error
    except Exception as error:  # what a corrupt archive raises: zlib.error, KeyError, ...
        reason = getattr(error, "strerror", None) or str(error) or repr(error)
        raise CheckpointError(f"{path}: not a readable checkpoint: {reason}") from error


def check_like(expected: Tree, loaded: Tree, what: str = "params") -> Tree:
    """`loaded` in the key order of `expected`, if structures, shapes and dtypes are equal.

    Both are trees of arrays. Raises CheckpointError naming the first path where they differ.
    """
    try:
        return trees.check_like(expected, loaded, what)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint is of another model: {error}") from None


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` when the block ends, and leaves no trace if it raises.

    Written to a temporary file beside `path`, synced to the disk and renamed: at any moment `path`
    is the old file or the new one, whole. Raises OSError, `path` unchanged, when that fails.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the rename itself reaches the disk with its directory
        directory = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def remove_leftovers(directory: StrPath) -> None:
    """Remove the temporary files that `atomic_write` left in `directory` when its process was killed.

    The caller makes sure that no process is writing there.
    """
    for path in Path(directory).iterdir():
        if re.fullmatch(r"\..+\.[0-9a-f]{8}\.tmp", path.name):
            path.unlink(missing_ok=True)


# The structure as JSON: a list is itself; a dict, tuple, array or NumPy scalar is {its kind: ...}.


def _encode(tree: Tree, arrays: list[Any], path: str) -> Any:
    """The JSON for `tree`; its arrays are appended to `arrays`."""
    kind = type(tree)
    if tree is None or kind in (str, bool, int, float):
        return tree
    if kind is list:
        return [_encode(child, arrays, f"{path}.{i}") for i, child in enumerate(tree)]
    if kind is tuple:
        return {"tuple": _encode([*tree], arrays, path)}
    if kind is dict and all(type(key) is str for key in tree):
        return {"dict": {k: _encode(child, arrays, f"{path}.{k}") for k, child in tree.items()}}
    if (kind is np.ndarray or isinstance(tree, np.generic)) and tree.dtype.kind in "biufc":
        arrays.append(tree)
        return {"array" if kind is np.ndarray else "scalar": len(arrays) - 1}
    got = f"an array of {tree.dtype}" if isinstance(tree, np.ndarray) else f"a {kind.__name__}"
    raise TypeError(
        f"save: expected dicts with string keys, lists, tuples, None, str, bool, int, float and "
        f"arrays of booleans or numbers, got {got} at {path[1:] or 'the top'}"
    )


def _decode(node: Any, array: Callable[[int], np.ndarray]) -> Tree:
    if isinstance(node, list):
        return [_decode(child, array) for child in node]
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    if kind == "dict":
        return {key: _decode(child, array) for key, child in value.items()}
    if kind == "tuple":
        return tuple(_decode(child, array) for child in value)
    if kind == "array":
        return array(value)
    if kind == "scalar":
        return array(value)[()]
    raise ValueError(f"expected a dict, tuple, array or scalar, got {kind!r}")
