"""ONNX, the format of models that many programs share: functions are exported to it, and models loaded from it."""

from .build import OPSET, UnsupportedError
from .export import export
from .load import Input, Model, load
