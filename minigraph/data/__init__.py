"""Image sets and the loader that feeds them to a training loop. Plain NumPy, no Tensor."""

from .dataset import DataError, Dataset, split
from .folder import image_folder, read_image
from .loader import Loader
from .source import SYNTHETIC_NOTICE, load

__all__ = ["SYNTHETIC_NOTICE", "DataError", "Dataset", "Loader", "image_folder", "load", "read_image", "split"]
