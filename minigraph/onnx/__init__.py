"""ONNX, the format of models that many programs share: functions are exported to it, and models loaded from it."""

from .build import OPSET, UnsupportedError
from .reader import Input, Model, load
from .writer import export

__all__ = ["OPSET", "Input", "Model", "UnsupportedError", "export", "load"]
