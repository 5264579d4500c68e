"""Optimizers, learning-rate schedules and gradient clipping, on trees of NumPy arrays.

    opt = optim.SGD(optim.cosine(0.1, steps), momentum=0.9)
    state = opt.init(params)
    ...
    params, state = opt.step(params, grads, state)

Everything with these two methods is an `Optimizer`. `SGD`, `Adam` and `AdamW` treat every entry of the parameters
alike, `Muon` treats each array as a matrix, and `Groups` gives an optimizer to each group of parameters.
"""

from .clip import clip_by_global_norm, clip_by_value
from .elementwise import SGD, Adam, AdamW, Elementwise
from .groups import Groups
from .muon import Muon
from .protocol import Optimizer, State
from .schedules import Schedule, constant, cosine, linear, step_decay

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Elementwise",
    "Groups",
    "Muon",
    "Optimizer",
    "Schedule",
    "State",
    "clip_by_global_norm",
    "clip_by_value",
    "constant",
    "cosine",
    "linear",
    "step_decay",
]
