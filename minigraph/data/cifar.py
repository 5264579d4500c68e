"""CIFAR-10 (Krizhevsky 2009) as published: the Python or the binary version, unpacked or as tar.gz.

A batch file holds 10,000 images, each stored channel by channel: 1,024 red bytes, row by row, then
green, then blue. The format is described at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import DataError, Dataset

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

# Mean and standard deviation of the training pixels, scaled to 0..1: red, green, blue.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)

# Nothing larger than this is ever read as one batch file (the official ones have 31 MB).
_READ_LIMIT = 1 << 25


@dataclass(frozen=True)
class Version:
    """One published version: its folder, its archive, its parser, and the MD5 of each batch file.

    `checksums` lists the training batches in order, then the test batch.
    """

    folder: str
    archive: str
    parse: Callable[[bytes, str], tuple[np.ndarray, np.ndarray]]
    checksums: dict[str, str]


def parse_binary(raw: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `(N, 32, 32, 3)` and labels int64 `(N,)` of a binary batch file's bytes.

    A record is the label's byte and 3,072 pixel bytes. `where` names the file in a DataError.
    """
    if not raw or len(raw) % 3073:
        raise DataError(f"{where}: expected records of 3073 bytes, got {len(raw)} bytes")
    records = np.frombuffer(raw, np.uint8).reshape(-1, 3073)
    return _check(records[:, 1:], records[:, 0], where)


def parse_python(raw: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `(N, 32, 32, 3)` and labels int64 `(N,)` of a pickled batch file's bytes.

    The pickle is a dict with b"data", uint8 `(N, 3072)`, and b"labels", a list of N ints. A pickle
    that names any global other than those of a NumPy array is refused, and nothing in it is run.
    `where` names the file in a DataError.
    """
    try:
        batch = _ArrayUnpickler(io.BytesIO(raw), where).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{where}: not a readable pickle: {_describe(error)}") from error
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise DataError(f"{where}: expected a dict with b'data' and b'labels', got {type(batch).__name__}")
    return _check(batch[b"data"], batch[b"labels"], where)


# The globals that the official files name, under the names of their time: how an array is pickled.
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, where: str) -> None:
        super().__init__(file, encoding="bytes")  # written by Python 2: str is bytes
        self.where = where

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise DataError(f"{self.where}: the pickle asks for {module}.{name}, which no CIFAR-10 file needs; refused")
        return _ADMITTED[module, name]


def _check(data: Any, labels: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The batch as NHWC images and int64 labels, or a DataError."""
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
        got = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{where}: expected data of uint8 (N, 3072), got {got}")
    try:
        labels = np.asarray(labels)
    except ValueError as error:
        raise DataError(f"{where}: expected a list of labels: {error}") from error
    if labels.dtype.kind not in "iu" or labels.shape != (len(data),):
        raise DataError(f"{where}: expected {len(data)} integer labels, got {labels.dtype} {labels.shape}")
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if len(wrong):
        raise DataError(f"{where}: expected labels 0 to 9, got {labels[wrong[0]]} for image {wrong[0]}")
    images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # NCHW -> NHWC
    return np.ascontiguousarray(images), labels.astype(np.int64)


PYTHON = Version(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    parse=parse_python,
    checksums={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)
BINARY = Version(
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    parse=parse_binary,
    checksums={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
)
VERSIONS = (BINARY, PYTHON)


ARCHIVES = (".tar.gz", ".tgz", ".tar")  # browsers and unpackers leave the last two


def locate(path: Path) -> list[tuple[Version, Path]]:
    """Every CIFAR-10 that `path` is or holds, the likeliest one first: whole folders, archives, incomplete folders.

    `path` is an archive under any name, a folder of batch files, or a folder that holds one of these, itself or in a
    folder in it (programs that unpack like to add one).
    """
    if path.is_file():
        if any(path.name in version.checksums for version in VERSIONS):
            return locate(path.parent)
        version = _version(path)
        return [] if version is None else [(version, path)]
    parents = [path, *_children(path, os.path.isdir)]
    whole: list[tuple[Version, Path]] = []
    archives: list[tuple[Version, Path]] = []
    incomplete: list[tuple[Version, Path]] = []
    for version in VERSIONS:
        for folder in dict.fromkeys(f for parent in parents for f in (parent, parent / version.folder)):
            found = [os.path.isfile(folder / name) for name in version.checksums]
            if any(found):
                (whole if all(found) else incomplete).append((version, folder))
        stem = version.archive.removesuffix(".tar.gz")
        for parent in parents:
            files = _children(parent, os.path.isfile)
            named = [file for file in files if file.name.startswith(stem) and file.name.endswith(ARCHIVES)]
            archives += [(version, file) for file in sorted(named, key=lambda file: file.name != version.archive)]
    return whole + archives + incomplete


def _children(folder: Path, kind: Callable[[Path], bool]) -> list[Path]:
    """What is of that kind in `folder` and not hidden, in the order of the names."""
    try:
        return [child for child in sorted(folder.iterdir()) if not child.name.startswith(".") and kind(child)]
    except OSError:  # not a folder, or not ours to read
        return []


def _version(archive: Path) -> Version | None:
    """The version that an archive holds, by its name or, after it was renamed, by its first members."""
    for version in VERSIONS:
        if archive.name.startswith(version.archive.removesuffix(".tar.gz")):
            return version
    try:
        with _open_archive(archive) as file:
            members = [member.name for member in itertools.islice(file, 10)]
    except Exception:  # no archive: this can raise almost anything
        return None
    return next((v for v in VERSIONS if any(v.folder in name.split("/") for name in members)), None)


def _open_archive(path: Path) -> tarfile.TarFile:
    with open(path, "rb") as file:
        return tarfile.open(path, "r:gz" if file.read(2) == b"\x1f\x8b" else "r:")


def read_first(found: list[tuple[Version, Path]]) -> Dataset:
    """Read the first of these that is whole, such as an archive beside a folder that was unpacked only in part.

    Raises the DataError of the first one if none is.
    """
    errors = []
    for version, path in found:
        try:
            dataset = read(version, path)
        except DataError as error:
            errors.append(error)
            continue
        if errors:
            logging.getLogger(__name__).warning("%s; took %s", errors[0], path)
        return dataset
    raise errors[0]


def read(version: Version, path: Path) -> Dataset:
    """Read CIFAR-10 from `path`, a folder of batch files or an archive of that version.

    Raises DataError for a file that is missing, unreadable, or not the official one by its MD5.
    """
    try:
        files = _read_archive(version, path) if path.is_file() else _read_folder(version, path)
    except Exception as error:  # a damaged archive can raise almost anything, too
        raise DataError(f"{path}: cannot be read: {_describe(error)}") from error
    batches = []
    for name, expected in version.checksums.items():
        where = str(path / name)
        if name not in files:
            raise DataError(f"{where}: missing")
        raw = files.pop(name)
        got = hashlib.md5(raw, usedforsecurity=False).hexdigest()
        if got != expected:
            raise DataError(
                f"{where}: truncated, corrupt or not the official file: "
                f"expected MD5 {expected}, got {got} ({len(raw)} bytes)"
            )
        batches.append(version.parse(raw, where))
    images, labels = zip(*batches, strict=True)
    return Dataset(
        name="cifar10",
        train_images=np.concatenate(images[:-1]),
        train_labels=np.concatenate(labels[:-1]),
        test_images=images[-1],
        test_labels=labels[-1],
        classes=CLASSES,
    )


def _read_folder(version: Version, folder: Path) -> dict[str, bytes]:
    files = {}
    for name in version.checksums:
        if (folder / name).is_file():
            with open(folder / name, "rb") as file:
                files[name] = file.read(_READ_LIMIT)
    return files


def _read_archive(version: Version, path: Path) -> dict[str, bytes]:
    """The batch files of an archive, in one pass over it: nothing is unpacked to disk."""
    files = {}
    with _open_archive(path) as archive:
        for member in archive:
            folder, _, name = member.name.removeprefix("./").rpartition("/")
            if folder == version.folder and name in version.checksums and member.isreg():
                stream = archive.extractfile(member)
                assert stream is not None  # a regular file has content
                files[name] = stream.read(_READ_LIMIT)
    return files


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
