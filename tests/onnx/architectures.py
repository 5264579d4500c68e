"""Networks of common kinds in PyTorch, small and with random weights, whose exports `mg.onnx.load` is to read.

`vit.onnx` and `unet.onnx` are what `python -m tests.onnx.architectures` has made of two of them, by torch.onnx.export
of PyTorch 2.13; they stand in for PyTorch where that is not installed.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from tests.onnx import resnet


class Squeeze(nn.Module):
    """Hu et al. 2018 (arXiv 1709.01507)."""

    def __init__(self, n):
        super().__init__()
        self.pool, self.down, self.up = nn.AdaptiveAvgPool2d(1), nn.Conv2d(n, 4, 1), nn.Conv2d(4, n, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.up(F.relu(self.down(self.pool(x)))))


def inverted(inputs, outputs, stride, act, n=24):
    return nn.Sequential(
        nn.Conv2d(inputs, n, 1, bias=False), nn.BatchNorm2d(n), act(),
        nn.Conv2d(n, n, 5, stride, 2, groups=n, bias=False), nn.BatchNorm2d(n), act(), Squeeze(n),
        nn.Conv2d(n, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
    )  # fmt: skip


def mobile():
    """In the manner of MobileNetV3: Howard et al. 2019 (arXiv 1905.02244)."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish(), inverted(8, 16, 2, nn.Hardswish),
        inverted(16, 16, 1, nn.ReLU6), inverted(16, 24, 2, nn.SiLU), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(24, 32), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(32, 10),
    )  # fmt: skip


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Dosovitskiy et al. 2020 (arXiv 2010.11929)."""

    def __init__(self, d=32):
        super().__init__()
        self.patch, self.first = nn.Conv2d(3, d, 8, 8), nn.Parameter(torch.randn(1, 1, d))
        self.places, self.blocks = nn.Parameter(torch.randn(1, 17, d)), nn.Sequential(Block(d, 4), Block(d, 4))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Mixer(nn.Module):
    """Tolstikhin et al. 2021 (arXiv 2105.01601), one block."""

    def __init__(self, d=32):
        super().__init__()
        self.patch, self.norm1, self.norm2 = nn.Conv2d(3, d, 8, 8), nn.LayerNorm(d), nn.LayerNorm(d)
        self.tokens = nn.Sequential(nn.Linear(16, 24), nn.GELU(approximate="tanh"), nn.Linear(24, 16))
        self.channels = nn.Sequential(nn.Linear(d, 48), nn.GELU(), nn.Linear(48, d))
        self.head = nn.Linear(d, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.channels(self.norm2(x))).mean(1))


def double(inputs, outputs):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(2, outputs), nn.LeakyReLU(0.1),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.InstanceNorm2d(outputs, affine=True), nn.PReLU(),
    )  # fmt: skip


class UNet(nn.Module):
    """Ronneberger et al. 2015 (arXiv 1505.04597), with both ways of growing a map."""

    def __init__(self, n=8):
        super().__init__()
        self.a, self.b, self.c = double(3, n), double(n, 2 * n), double(2 * n, 2 * n)
        self.up, self.d, self.e = nn.ConvTranspose2d(2 * n, 2 * n, 2, 2), double(4 * n, n), double(2 * n, n)
        self.out = nn.Conv2d(n, 4, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.d(torch.cat([self.up(self.c(F.avg_pool2d(b, 2))), b], 1))
        c = F.interpolate(c, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(self.e(torch.cat([c, a], 1)))


class Sounds(nn.Module):
    """Convolutions over one axis, an LSTM in both directions and a GRU."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 6, 5, 2, 2), nn.BatchNorm1d(6)
        self.lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.gru, self.up = nn.GRU(10, 4, batch_first=True), nn.ConvTranspose1d(4, 3, 4, 2, 1)

    def forward(self, x):
        h = F.max_pool1d(F.relu(self.norm(self.conv(x))), 2)
        return self.up(self.gru(self.lstm(h.transpose(1, 2))[0])[0].transpose(1, 2))


class Film(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv3d(3, 4, 3, (1, 2, 2), 1), nn.BatchNorm3d(4), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool3d(F.max_pool3d(F.relu(self.norm(self.conv(x))), 2), 1).flatten(1))


IMAGE = (3, 32, 32)
MODELS = {  # what makes it, and the shape of one input
    "mobile": (mobile, IMAGE), "vit": (ViT, IMAGE), "mixer": (Mixer, IMAGE), "unet": (UNet, IMAGE),
    "sounds": (Sounds, (2, 40)), "film": (Film, (3, 4, 8, 8)),
}  # fmt: skip


OPSETS = {"vit": 23}  # the first one that has attention


def make(name):
    torch.manual_seed(0)
    net = MODELS[name][0]().eval()
    for m in net.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
    return net


def export(name, net, path, dynamo=True):
    """With a batch of any length, by the exporter that is PyTorch's default since 2.9 or by that before it."""
    options = {"dynamo": False, "opset_version": 17, "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    if dynamo:
        batch = ({0: torch.export.Dim("batch")},)
        options = {"external_data": False, "dynamic_shapes": batch, "opset_version": OPSETS.get(name, 20)}
    resnet.export(net, torch.zeros(2, *MODELS[name][1]), path, **options)


if __name__ == "__main__":
    for name in ("vit", "unet"):
        path = Path(__file__).with_name(f"{name}.onnx")
        export(name, make(name), path)
        resnet.strip(path)
