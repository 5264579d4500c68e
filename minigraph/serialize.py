"""Checkpoints: trees of arrays and plain values in one file, written whole or not at all.

A file is in the safetensors format, which other programs read: the arrays stand under their paths, as in
`params.conv1.w`. Everything else, and where the arrays belong, is JSON in the file's metadata. Nothing is pickled, so
that a file from a stranger cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import tree as trees
from .tree import Tree

FORMAT = "minigraph checkpoint 2"

StrPath = str | os.PathLike[str]


class CheckpointError(OSError):
    """A checkpoint that cannot be written or read, or that belongs to another model."""


def save(path: StrPath, tree: Tree) -> None:
    """Write `tree` to `path`; a kill at any moment leaves the old file or the new one, whole.

    Leaves are arrays (or NumPy scalars) of booleans and numbers, and str, bool, int of any size, float; `load` returns
    each with its type and bits, arrays in the byte order of the machine and in C order. The permissions of an old file
    stay. Where `path` is a symbolic link, the file that it leads to is written.

    Raises:
        TypeError: there is another kind of leaf, a key that is not a string, or an array of a dtype that the format
            does not have (complex128, longdouble). The message names its path.
        CheckpointError: the file cannot be written. The old one is then intact.
    """
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(_encode(tree, arrays, ""))
    content = to_bytes(arrays, {"format": FORMAT, "tree": structure, "sha256": _digest(structure, arrays)})
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint was not written: {error.strerror or error}") from error


def load(path: StrPath) -> Tree:
    """The tree that `save` wrote to `path`.

    No file can run code here, or take more memory than a small multiple of its own size.

    Raises CheckpointError when there is no such file, or it is truncated, corrupt or of another kind.
    """
    from safetensors import safe_open

    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # to open a pipe would wait for ever
            raise ValueError("not a regular file")
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"expected format {FORMAT!r} in its metadata, got {metadata.get('format')!r}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        if _digest(metadata["tree"], arrays) != metadata["sha256"]:
            raise ValueError("its checksum is wrong, so it was damaged or changed after it was written")
        tree = _decode(json.loads(metadata["tree"]), arrays)
        if arrays:
            raise ValueError(f"there is no place for the arrays {[*arrays][:3]}")
        return tree
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such checkpoint") from error
    except Exception as error:  # a corrupt file can raise SafetensorError, KeyError, RecursionError, ...
        reason = getattr(error, "strerror", None) or str(error) or repr(error)
        raise CheckpointError(f"{path}: not a readable checkpoint: {_cut(reason)}") from error


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

    It is written to a temporary file beside `path`, synced to the disk and renamed: at any moment `path` is the old
    file or the new one, whole. The new file has the permissions of the old one. Where `path` is a symbolic link, all
    this is done to the file that it leads to. Raises OSError, `path` unchanged, when that fails.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    mode = path.stat().st_mode if path.exists() else None
    if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(f"{path} is not a regular file")  # renaming would put a file in the place of a device or a pipe
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            if mode is not None:
                with suppress(OSError):  # a file system without permissions
                    os.chmod(temporary, stat.S_IMODE(mode))
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

_DTYPES = {np.dtype(code) for code in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8")}


def _encode(tree: Tree, arrays: dict[str, np.ndarray], path: str) -> Any:
    """The JSON for `tree`; its arrays are added to `arrays` under their paths."""
    kind = type(tree)
    if tree is None or kind in (str, bool, int, float):
        return tree
    if kind is list:
        return [_encode(child, arrays, f"{path}.{i}") for i, child in enumerate(tree)]
    if kind is tuple:
        return {"tuple": _encode([*tree], arrays, path)}
    if kind is dict and all(type(key) is str for key in tree):
        return {"dict": {k: _encode(child, arrays, f"{path}.{k}") for k, child in tree.items()}}
    if (kind is np.ndarray or isinstance(tree, np.generic)) and tree.dtype.newbyteorder("=") in _DTYPES:
        name = path[1:].encode("utf-8", "backslashreplace").decode() or "array"
        while name in arrays or name == "__metadata__":  # {"a.b": x, "a": {"b": y}} has two arrays at a.b
            name += "'"
        # The library writes the bytes as they lie in memory, whatever the strides are.
        arrays[name] = np.asarray(tree, tree.dtype.newbyteorder("="), order="C")
        return {"array" if kind is np.ndarray else "scalar": name}
    got = f"an array of {tree.dtype}" if isinstance(tree, np.ndarray) else f"a {kind.__name__}"
    key = next((key for key in tree if type(key) is not str), None) if kind is dict else None
    raise TypeError(
        f"save: expected dicts with string keys, lists, tuples, None, str, bool, int, float and arrays of booleans or "
        f"numbers, got {got} at {path[1:] or 'the top'}"
        + ("" if key is None else f", whose key {_cut(repr(key))} is no string")
    )


def _decode(node: Any, arrays: dict[str, np.ndarray]) -> Tree:
    """The tree of a piece of JSON; it takes its arrays out of `arrays`."""
    if isinstance(node, list):
        return [_decode(child, arrays) for child in node]
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    if kind == "dict":
        return {key: _decode(child, arrays) for key, child in value.items()}
    if kind == "tuple":
        return tuple(_decode(child, arrays) for child in value)
    if kind == "array":
        return arrays.pop(value)
    if kind == "scalar":
        return arrays.pop(value).reshape(())[()]
    raise ValueError(f"expected a dict, tuple, array or scalar, got {_cut(repr(kind))}")


def _digest(structure: str, arrays: dict[str, np.ndarray]) -> str:
    """The SHA-256 of all that a file says."""
    digest = hashlib.sha256(structure.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name!r} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _cut(text: str) -> str:
    """The text, short enough for an error."""
    return text if len(text) <= 200 else f"{text[:197]}..."
