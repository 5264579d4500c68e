"""Graphs that several tests trace."""

import functools

import numpy as np

import minigraph as mg
from minigraph.graph.trace import trace
from models import airnet

IMAGES = np.ones((2, 32, 32, 3), np.float32)


def traced_airnet(train=True):
    params, state = airnet.init(np.random.default_rng(0), widths=(8, 8, 8))
    return trace(functools.partial(airnet.apply, train=train), params, state, IMAGES)


def residual(p, x):
    h = mg.relu(mg.conv2d(x, p["a"]))
    h = mg.conv2d(mg.relu(mg.conv2d(h, p["b"], padding=1)), p["c"])
    return mg.relu((mg.conv2d(x, p["shortcut"]) if "shortcut" in p else x) + h)


def resnet(params, x):
    h = mg.conv2d(x, params["stem"], padding=1)
    for stage in params["stages"]:
        for p in stage:
            h = residual(p, h)
    return h.mean((1, 2)) @ params["head"]


def resnet50():
    """The parameters of 16 blocks of three convolutions, with few channels."""
    stages, before = [], 4
    for n, k in ((3, 4), (4, 8), (6, 16), (3, 32)):
        stages.append([])
        for _ in range(n):
            shapes = {"a": (1, 1, before, k), "b": (3, 3, k, k), "c": (1, 1, k, 2 * k)}
            shapes |= {"shortcut": (1, 1, before, 2 * k)} if before != 2 * k else {}
            before = 2 * k
            stages[-1].append({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return {"stem": np.zeros((3, 3, 3, 4), np.float32), "stages": stages, "head": np.zeros((before, 10), np.float32)}
