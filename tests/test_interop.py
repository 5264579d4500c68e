import re

import numpy as np
import pytest

import minigraph as mg
from minigraph import tree
from minigraph.interop import from_torch, to_torch
from models import airnet, cnn

AIRNET = [  # its paths, such as block1.conv1, block1.b1, block1.mean1, in PyTorch's names
    (r"^whiten\.b$", "whiten.bias"),
    (r"^whiten$", "whiten.weight"),
    (r"\.conv(\d)$", r".conv\1.weight"),
    (r"\.b(\d)$", r".norm\1.bias"),
    (r"\.mean(\d)$", r".norm\1.running_mean"),
    (r"\.var(\d)$", r".norm\1.running_var"),
    (r"^head$", "head.weight"),
]


def random_like(value, seed=0):
    rng = np.random.default_rng(seed)
    return tree.map(lambda a: rng.uniform(0.5, 1.5, a.shape).astype(a.dtype), value)


def test_axes_and_names():
    params = {
        "a": {"w": np.zeros((3, 5, 2, 7)), "b": np.zeros(7)},  # height, width, input, output
        "line": {"w": np.zeros((3, 2, 7))},
        "space": {"w": np.zeros((3, 4, 5, 2, 7))},
        "head": [{"w": np.zeros((7, 10))}],
        "norm": {"scale": np.zeros(7), "shift": np.zeros(7)},
        "table": np.zeros((11, 7)),
    }
    state = {"norm": {"mean": np.zeros(7), "var": np.zeros(7)}}
    found = to_torch(params, state, as_they_are=["table"])
    assert {name: array.shape for name, array in found.items()} == {
        "a.weight": (7, 2, 3, 5),
        "a.bias": (7,),
        "line.weight": (7, 2, 3),
        "space.weight": (7, 2, 3, 4, 5),
        "head.0.weight": (10, 7),
        "norm.weight": (7,),
        "norm.bias": (7,),
        "table": (11, 7),
        "norm.running_mean": (7,),
        "norm.running_var": (7,),
    }
    assert all(array.flags.c_contiguous for array in found.values())


@pytest.mark.parametrize("how", ["airnet", "cnn"])
def test_there_and_back(how):
    model, more = {"airnet": (airnet, {"names": AIRNET}), "cnn": (cnn, {"flattened": {"head.w": (8, 8, 64)}})}[how]
    params, state = map(random_like, model.init(np.random.default_rng(0)))
    found = to_torch(params, state, **more)
    found["norm.num_batches_tracked"] = np.array(3)
    back = from_torch(found, *model.init(np.random.default_rng(1)), **more)
    assert tree.leaves(back) and all(map(np.array_equal, tree.leaves(back), tree.leaves((params, state))))
    assert not np.shares_memory(tree.leaves(back)[0], next(iter(found.values())))


def test_a_single_tree_comes_back_as_it_is():
    back = from_torch({"weight": np.ones((2, 3), np.float32)}, {"w": np.zeros((3, 2))})
    assert back.keys() == {"w"} and back["w"].shape == (3, 2) and back["w"].dtype == np.float64


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: to_torch(), TypeError, "to_torch: expected a tree of arrays"),
        (lambda: to_torch({"w": 3.0}), TypeError, "to_torch: w is 3.0, expected an array"),
        (lambda: to_torch({"w": np.ones(1), "scale": np.ones(1)}), ValueError, "the name weight, the second is sc"),
        (lambda: to_torch({"w": np.ones(1)}, flattened={"v": (1, 1, 1)}), ValueError, "flattened names v, which is no"),
        (lambda: to_torch({"w": np.ones(1)}, as_they_are=["v"]), ValueError, "as_they_are has 'v', which no path"),
        (lambda: to_torch({"w": np.ones(1)}, as_they_are="w"), TypeError, "as_they_are should be a list of patterns"),
        (lambda: to_torch({"w": np.ones((5, 2))}, flattened={"w": (2, 2, 1)}), ValueError, "does not read maps"),
        (lambda: from_torch({}, {"w": np.ones(1)}), ValueError, "other names; missing: weight"),
        (lambda: from_torch({"v": np.ones(1)}, {}), ValueError, "other names; unknown: v"),
        (lambda: from_torch({"weight": np.ones((3, 2))}, {"w": np.ones((3, 2))}), ValueError, "expected (2, 3)"),
        (lambda: from_torch({"weight": "x"}, {"w": np.ones(1)}), TypeError, "weight is"),
    ],
)  # fmt: skip
def test_refused(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


# ------------------------------------------------------------------ with PyTorch


def torch_airnet(torch, widths):
    """models/airnet.py as a module of PyTorch."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, c, k):
            super().__init__()
            self.conv1, self.conv2 = (nn.Conv2d(n, k, 3, padding=1, bias=False) for n in (c, k))
            self.norm1, self.norm2 = (nn.BatchNorm2d(k, eps=airnet.EPS) for _ in range(2))

        def forward(self, x):
            x = nn.functional.silu(self.norm1(nn.functional.max_pool2d(self.conv1(x), 2)))
            return nn.functional.silu(self.norm2(self.conv2(x)))

    class Airnet(nn.Module):
        def __init__(self):
            super().__init__()
            self.whiten = nn.Conv2d(3, 24, 2)
            channels = (24, *widths)
            self.blocks = [f"block{i}" for i in range(1, len(channels))]
            for name, c, k in zip(self.blocks, channels, widths, strict=False):
                setattr(self, name, Block(c, k))
            self.head = nn.Linear(widths[-1], 10, bias=False)

        def forward(self, x):
            x = nn.functional.silu(self.whiten(x))
            for name in self.blocks:
                x = getattr(self, name)(x)
            return self.head(x.amax((2, 3))) / 9

    return Airnet().eval()


def test_airnet_has_the_same_logits_in_pytorch_and_back():
    torch = pytest.importorskip("torch")
    widths = (8, 12, 16)
    params, state = airnet.init(np.random.default_rng(0), widths=widths)
    state = {**random_like(state), "whiten": state["whiten"]}
    x = np.random.default_rng(1).standard_normal((3, 32, 32, 3), np.float32)
    logits = np.asarray(airnet.apply(params, state, x, train=False)[0])

    module = torch_airnet(torch, widths)
    arrays = {name: torch.from_numpy(array) for name, array in to_torch(params, state, names=AIRNET).items()}
    rest = module.load_state_dict(arrays, strict=False)
    assert not rest.unexpected_keys and all(re.search(r"norm\d\.weight$", name) for name in rest.missing_keys)
    with torch.no_grad():
        theirs = module(torch.from_numpy(x.transpose(0, 3, 1, 2)))
    assert np.abs(theirs.numpy() - logits).max() < 1e-5

    given = {name: value for name, value in module.state_dict().items() if not re.search(r"norm\d\.weight$", name)}
    back = from_torch(given, *airnet.init(np.random.default_rng(2), widths=widths), names=AIRNET)
    assert np.array_equal(np.asarray(airnet.apply(*back, x, train=False)[0]), logits)


def test_cnn_has_the_same_logits_in_pytorch():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    params, state = cnn.init(np.random.default_rng(0))
    module = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4096, 10),
    )  # fmt: skip
    places = {"conv1": "0", "conv2": "3", "head": "7"}
    names = [(rf"^{ours}\.{short}$", f"{theirs}.{long}") for ours, theirs in places.items()
             for short, long in (("w", "weight"), ("b", "bias"))]  # fmt: skip
    arrays = to_torch(params, names=names, flattened={"head.w": (8, 8, 64)})
    module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    x = np.random.default_rng(1).standard_normal((3, 32, 32, 3), np.float32)
    with torch.no_grad():
        theirs = module(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
    assert np.abs(theirs - np.asarray(cnn.apply(params, state, x, train=False)[0])).max() < 1e-5


def test_a_tensor_that_numpy_cannot_read():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="weight is no array that NumPy can read"):
        from_torch({"weight": torch.zeros(1, dtype=torch.bfloat16)}, {"w": np.ones(1)})


def test_dlpack_shares_memory_with_pytorch():
    torch = pytest.importorskip("torch")
    t = mg.Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    theirs = torch.from_dlpack(t.detach())
    assert theirs.data_ptr() == t.detach().numpy().ctypes.data and theirs.shape == (2, 3)
    with pytest.raises(TypeError, match="requires a gradient"):
        torch.from_dlpack(t)


def test_dlpack_copies_what_pytorch_has_no_strides_for():
    t = mg.Tensor(np.arange(6.0).reshape(2, 3)[:, ::-1])
    shared = np.from_dlpack(t)
    np.testing.assert_array_equal(shared, t)
    assert not np.shares_memory(shared, t.numpy()) and min(shared.strides) > 0
    assert np.shares_memory(np.from_dlpack(mg.Tensor(t.numpy()[:, ::-1])), t.numpy())
    with pytest.raises(BufferError, match="negative strides is handed on as a copy only"):
        np.from_dlpack(t, copy=False)
    torch = pytest.importorskip("torch")
    assert torch.from_dlpack(t).tolist() == [[2, 1, 0], [5, 4, 3]]
