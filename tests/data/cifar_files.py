"""Small CIFAR-10 files in the official formats, written byte by byte."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np

from minigraph.data import cifar


def python2_pickle(batch: dict) -> bytes:
    """Protocol 2 as Python 2 and the NumPy of 2009 wrote it: byte strings, `numpy.core`."""
    return pickle.PROTO + b"\x02" + _emit(batch) + pickle.STOP


def _emit(value) -> bytes:
    if value is None:
        return pickle.NONE
    if isinstance(value, int):
        return pickle.BININT + struct.pack("<i", value)
    if isinstance(value, bytes):
        return pickle.BINSTRING + struct.pack("<i", len(value)) + value
    if isinstance(value, (list, tuple)):
        items = b"".join(map(_emit, value))
        if isinstance(value, tuple):
            return pickle.MARK + items + pickle.TUPLE
        return pickle.EMPTY_LIST + pickle.MARK + items + pickle.APPENDS
    if isinstance(value, dict):
        items = b"".join(_emit(k) + _emit(v) for k, v in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
    if isinstance(value, np.dtype):
        name, order = value.str[1:].encode(), value.str[:1].encode()
        state = (3, order, None, None, None, -1, -1, 0)
        return b"cnumpy\ndtype\n" + _emit((name, 0, 1)) + pickle.REDUCE + _emit(state) + pickle.BUILD
    assert isinstance(value, np.ndarray)
    arguments = pickle.MARK + b"cnumpy\nndarray\n" + _emit((0,)) + _emit(b"b") + pickle.TUPLE
    state = pickle.MARK + _emit(1) + _emit(value.shape) + _emit(value.dtype) + pickle.NEWFALSE
    state += _emit(value.tobytes()) + pickle.TUPLE
    return b"cnumpy.core.multiarray\n_reconstruct\n" + arguments + pickle.REDUCE + state + pickle.BUILD


def python_batch(data: np.ndarray, labels: list[int]) -> bytes:
    names = [b"some_image.png"] * len(labels)
    return python2_pickle({b"batch_label": b"training batch", b"labels": labels, b"data": data, b"filenames": names})


def binary_batch(data: np.ndarray, labels: list[int]) -> bytes:
    return np.concatenate([np.uint8(labels)[:, None], data], axis=1).tobytes()


WRITERS = {"python": python_batch, "binary": binary_batch}
VERSIONS = {"python": cifar.PYTHON, "binary": cifar.BINARY}


def random_batch(seed: int, n: int = 4) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3072), np.uint8), rng.integers(0, 10, n).tolist()


def small_files(kind: str) -> dict[str, bytes]:
    """The six batch files of one version, of four images each."""
    return {name: WRITERS[kind](*random_batch(i)) for i, name in enumerate(VERSIONS[kind].checksums)}


def small_version(kind: str) -> cifar.Version:
    """`cifar.PYTHON` or `cifar.BINARY` with the checksums of `small_files`."""
    checksums = {name: hashlib.md5(raw).hexdigest() for name, raw in small_files(kind).items()}
    return dataclasses.replace(VERSIONS[kind], checksums=checksums)


def write_folder(kind: str, directory: Path) -> Path:
    folder = directory / VERSIONS[kind].folder
    folder.mkdir(parents=True)
    for name, raw in small_files(kind).items():
        (folder / name).write_bytes(raw)
    return folder


def write_archive(kind: str, directory: Path, prefix: str = "") -> Path:
    """The archive, its members out of order and with others between them, as in the official ones."""
    folder = VERSIONS[kind].folder
    files = {"batches.meta": b"meta", **dict(reversed(small_files(kind).items())), "readme.html": b"<meta>"}
    path = directory / VERSIONS[kind].archive
    with tarfile.open(path, "w:gz") as archive:
        root = tarfile.TarInfo(prefix + folder)
        root.type = tarfile.DIRTYPE
        archive.addfile(root)
        for name, raw in files.items():
            member = tarfile.TarInfo(f"{prefix}{folder}/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def naive_images(data: np.ndarray) -> np.ndarray:
    """Bytes (N, 3072) -> (N, 32, 32, 3), a pixel at a time."""
    images = np.empty((len(data), 32, 32, 3), np.uint8)
    for n, row, column, channel in np.ndindex(images.shape):
        images[n, row, column, channel] = data[n, 1024 * channel + 32 * row + column]
    return images
