"""Image sets and the loader that feeds them to a training loop. Plain NumPy, no Tensor."""

from .dataset import DataError, Dataset, split
from .loader import Loader
from .source import SYNTHETIC_NOTICE, load

__all__ = ["SYNTHETIC_NOTICE", "DataError", "Dataset", "Loader", "load", "split"]
