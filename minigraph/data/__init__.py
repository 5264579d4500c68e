"""Image sets, texts, and the loaders that feed them to a training loop. Plain NumPy, no Tensor."""

from .dataset import DataError, Dataset, split
from .folder import image_folder, read_image
from .loader import Loader
from .source import SYNTHETIC_NOTICE, load
from .text import alphabet, decode, encode, read_text
from .windows import Windows

__all__ = [
    "SYNTHETIC_NOTICE",
    "DataError",
    "Dataset",
    "Loader",
    "Windows",
    "alphabet",
    "decode",
    "encode",
    "image_folder",
    "load",
    "read_image",
    "read_text",
    "split",
]
