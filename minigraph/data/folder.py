"""A user's own images: PNG and JPEG files, in one folder a class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import DataError, Dataset, check_int

SUFFIXES = (".png", ".jpg", ".jpeg")


def image_folder(path: str | Path, size: int = 32, *, test: float = 0.2, seed: int = 0) -> Dataset:
    """Read the images in `path`, which holds a folder for each class: `path/cat/1.jpg`, `path/dog/x.png`, ...

    An image may have any size and mode. It is turned upright as its EXIF data say, transparent parts become white, and
    grey becomes RGB. Then it is scaled until its shorter side has `size` pixels, and the middle of it is cut out.

    Args:
        path: the folder of folders. The classes are their names in alphabetical order. Hidden folders, and files of
            other kinds than PNG and JPEG, are passed over.
        size: height and width of the result, in pixels.
        test: the share of each class that goes to the test part. Unless it is 0, a class of two images or more gives at
            least one. Each class keeps one image to train on.
        seed: which images these are, and the order of the images. Both depend on nothing else.

    Returns:
        a Dataset of images uint8 `(N, size, size, 3)`, named after the folder.

    Raises:
        DataError: there is no such folder, no folder in it, a class without images, or a file that cannot be read,
            which the message names; or Pillow is missing.
    """
    check_int("image_folder", "size", size, 1)
    check_int("image_folder", "seed", seed, 0)
    if not 0 <= test < 1:
        raise DataError(f"image_folder: test is {test!r}, expected a share from 0 to below 1")
    path = Path(os.path.expanduser(path))
    files = _find(path)
    rng = np.random.default_rng(seed)
    chosen: dict[bool, list[tuple[Path, int]]] = {False: [], True: []}
    for label, paths in enumerate(files.values()):
        held_out = min(max(round(test * len(paths)), test > 0), len(paths) - 1)
        for i, n in enumerate(rng.permutation(len(paths))):
            chosen[i < held_out].append((paths[n], label))
    parts: list[np.ndarray] = []
    for part in chosen.values():
        order = rng.permutation(len(part))
        images = np.empty((len(part), size, size, 3), np.uint8)
        for i, n in enumerate(order):
            images[i] = read_image(part[n][0], size)
        parts += [images, np.array([part[n][1] for n in order], np.int64)]
    train_images, train_labels, test_images, test_labels = parts
    name = path.resolve().name
    return Dataset(name, train_images, train_labels, test_images, test_labels, classes=tuple(files))


def read_image(path: str | Path, size: int) -> np.ndarray:
    """One image file as uint8 `(size, size, 3)`, as `image_folder` reads it. Raises DataError."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise DataError("to read images needs Pillow: pip install -e '.[train]'") from error
    try:
        with Image.open(os.path.expanduser(path)) as image:
            # A JPEG is decoded at a half, a quarter or an eighth of its size if that is enough, which is much faster.
            image.draft("RGB", (2 * size, 2 * size))
            upright = ImageOps.exif_transpose(image)
            return np.asarray(ImageOps.fit(_rgb(upright), (size, size), Image.Resampling.BICUBIC))
    except Exception as error:  # a damaged file can raise almost anything
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else error.strerror or error
        raise DataError(f"{path}: not a readable image: {reason}") from error


def _rgb(image: Any) -> Any:
    """A Pillow image of any mode as RGB, over white where it is transparent."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _find(root: Path) -> dict[str, list[Path]]:
    """The image files of each class, both in alphabetical order."""
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a folder that holds one folder of images for each class")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise DataError(f"{root}: there are no folders in it; expected one folder of images for each class")
    found = {}
    for folder in folders:
        files = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        found[folder.name] = [p for p in files if p.suffix.lower() in SUFFIXES]
        if not found[folder.name]:
            other = f"; it holds {files[0].name}" if files else ""
            raise DataError(f"{folder}: no images in this class; expected {', '.join(SUFFIXES)} files{other}")
    return found
