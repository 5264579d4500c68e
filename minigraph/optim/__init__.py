"""Optimizers, learning-rate schedules, gradient clipping and averages of weights, on trees of NumPy arrays.

    opt = optim.SGD(optim.cosine(0.1, steps), momentum=0.9)
    state = opt.init(params)
    ...
    params, state = opt.step(params, grads, state)

Everything with these two methods is an `Optimizer`. `SGD`, `Adam` and `AdamW` treat every entry of the parameters
alike, and `Muon` treats each array as a matrix. `Groups` gives an optimizer to each group of parameters. `EMA` and
`Lookahead` average the weights that an optimizer returns.
"""

from .averaging import EMA, Lookahead
from .clip import clip_by_global_norm, clip_by_value
from .elementwise import SGD, Adam, AdamW, Elementwise
from .groups import Groups
from .muon import Muon
from .protocol import Optimizer, State
from .schedules import Schedule, constant, cosine, linear, piecewise_linear, step_decay

__all__ = [
    "EMA",
    "SGD",
    "Adam",
    "AdamW",
    "Elementwise",
    "Groups",
    "Lookahead",
    "Muon",
    "Optimizer",
    "Schedule",
    "State",
    "clip_by_global_norm",
    "clip_by_value",
    "constant",
    "cosine",
    "linear",
    "piecewise_linear",
    "step_decay",
]
