"""What any training script needs around its step: settings, a run and its checkpoints, scores and plots.

The step itself (gradients, optimizer) stays in the script.
"""

from . import plots
from .checkpoint import Checkpoint, freeze, warm_start
from .classifier import Classifier
from .errors import Stop, need
from .interruption import Interrupted
from .launch import launch, saved_config
from .recipe import ImageRecipe, Recipe, presets, work
from .run import Run
from .scoring import accuracy, confusion, predict, score
from .settings import Settings, setting
from .use import classify, compare, evaluate

__all__ = [
    "Checkpoint",
    "Classifier",
    "ImageRecipe",
    "Interrupted",
    "Recipe",
    "Run",
    "Settings",
    "Stop",
    "accuracy",
    "classify",
    "compare",
    "confusion",
    "evaluate",
    "freeze",
    "launch",
    "need",
    "plots",
    "predict",
    "presets",
    "saved_config",
    "score",
    "setting",
    "warm_start",
    "work",
]
