"""A small ResNet-18 in PyTorch, and `resnet.onnx`, which is what `python -m tests.onnx.resnet` has made of it.

The file was written by torch.onnx.export of PyTorch 2.13, with random weights; it stands in for PyTorch where that is
not installed. Its 8 blocks have 2, 4, 8 and 16 channels.
"""

import itertools
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

PATH = Path(__file__).with_suffix(".onnx")


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation, and a connection around them."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        around = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.around = nn.Sequential(*around if inputs != outputs else [])

    def forward(self, x):
        h = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(h)) + self.around(x))


class ResNet(nn.Module):
    """He et al. 2015 (arXiv 1512.03385), table 1, with `width` channels in the place of 64."""

    def __init__(self, width, classes=10):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        blocks = []
        for inputs, outputs in itertools.pairwise(widths):
            blocks += [Block(inputs, outputs, 1 if inputs == outputs else 2), Block(outputs, outputs, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x):
        h = self.blocks(self.pool(torch.relu(self.bn(self.stem(x)))))
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(h, 1), 1))


def random_net(width=2):
    """A net in evaluation whose weights and running statistics are random."""
    torch.manual_seed(0)
    net = ResNet(width).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
            m.weight.data.uniform_(0.5, 1.5)
            m.bias.data.normal_(0, 0.1)
    return net


def export(module, example, path, **options):
    """Write the module as ONNX with a batch of any length, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), path, verbose=False, **options)


def strip(path):
    """Take PyTorch's notes out of a file, such as the lines of its source."""
    model = onnx.load(path)
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        part.ClearField("metadata_props")
    onnx.save(model, path)
    print(f"{path} has {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    batch = ({0: torch.export.Dim("batch")},)
    export(random_net(), torch.zeros(2, 3, 32, 32), PATH, external_data=False, dynamic_shapes=batch)
    strip(PATH)
