"""What any training script needs around its step: settings, a run and its checkpoints, scores and plots.

The step itself (gradients, optimizer) stays in the script.
"""

from . import plots, use
from .checkpoint import Checkpoint
from .classifier import Classifier
from .errors import Stop, need
from .interruption import Interrupted
from .launch import launch
from .run import Run
from .scoring import accuracy, confusion, predict, score
from .settings import Settings, setting

__all__ = [
    "Checkpoint",
    "Classifier",
    "Interrupted",
    "Run",
    "Settings",
    "Stop",
    "accuracy",
    "confusion",
    "launch",
    "need",
    "plots",
    "predict",
    "score",
    "setting",
    "use",
]
