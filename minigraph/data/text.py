"""Texts as arrays: every character is the number of its place in an alphabet."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .dataset import DataError


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file in UTF-8, its lines ending in "\\n". Raises DataError where there is no file, or no text."""
    try:
        return Path(os.path.expanduser(path)).read_text(encoding="utf-8-sig")  # a byte order mark is no part of a text
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected a text") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(f"{path}: not a text in UTF-8: byte {byte:#04x} at place {error.start:,}") from None
    except OSError as error:
        raise DataError(f"{path}: not a readable text: {error.strerror or error}") from None


def alphabet(text: str) -> str:
    """The characters of a text, each once, in the order of Unicode."""
    return "".join(sorted(set(text)))


def encode(text: str, alphabet: str) -> np.ndarray:
    """The places of the characters of a text in `alphabet`, int64 `(len(text),)`.

    Raises DataError for a character that is not in the alphabet, or one that is twice in it.
    """
    known = _code_points(alphabet)
    order = np.argsort(known, kind="stable")
    if (np.diff(known[order]) == 0).any():
        raise DataError(f"encode: expected an alphabet of different characters, got {alphabet[:100]!r}")
    points = _code_points(text)
    places = np.searchsorted(known, points, sorter=order)
    found = order[np.minimum(places, len(order) - 1)] if len(order) else np.zeros_like(places)
    wrong = np.flatnonzero(known[found] != points) if len(order) else np.arange(len(points))
    if len(wrong):
        raise DataError(f"encode: {text[wrong[0]]!r}, at place {wrong[0]:,} of the text, is not in the alphabet")
    return found


def decode(codes: np.ndarray, alphabet: str) -> str:
    """The text of such numbers `(N,)`. Raises DataError for a number that is no place in the alphabet."""
    codes = np.asarray(codes)
    if codes.ndim != 1 or (codes.size and codes.dtype.kind not in "iu"):
        raise DataError(f"decode: expected codes (N,) of integers, got {codes.dtype} {codes.shape}")
    wrong = codes[(codes < 0) | (codes >= len(alphabet))]
    if len(wrong):
        raise DataError(f"decode: code {wrong[0]} is outside [0, {len(alphabet)}), the alphabet")
    return "".join(alphabet[code] for code in codes)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
