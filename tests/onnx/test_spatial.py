"""The operators of maps, beside onnxruntime, and their gradients."""

import numpy as np
import pytest

from tests.onnx.cases import check_single_node, ints, normals

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

normal = normals(0)


def resize(shape, sizes=None, scales=None, **options):
    scales = None if scales is None else np.float32(scales)
    return ("Resize", [normal(*shape), None, scales, *([] if sizes is None else [ints(*sizes)])], options)


NODES = {
    "conv 1": ("Conv", [normal(2, 4, 9), normal(6, 2, 3), normal(6)],
               {"strides": [2], "dilations": [2], "pads": [1, 2], "group": 2}),
    "conv 3": ("Conv", [normal(2, 2, 4, 5, 6), normal(3, 2, 2, 3, 2), normal(3)],
               {"strides": [1, 2, 1], "dilations": [2, 1, 2], "pads": [1, 0, 1, 0, 2, 1]}),
    "conv 3, same": ("Conv", [normal(1, 4, 5, 5, 4), normal(4, 2, 3, 2, 3)], {"auto_pad": "SAME_LOWER", "group": 2}),
    "conv transpose 1": ("ConvTranspose", [normal(2, 4, 5), normal(4, 3, 4), normal(6)],
                         {"strides": [3], "dilations": [2], "pads": [1, 2], "output_padding": [1], "group": 2}),
    "conv transpose 2": ("ConvTranspose", [normal(2, 3, 4, 5), normal(3, 2, 3, 3)],
                         {"strides": [2, 3], "pads": [1, 0, 0, 1], "output_padding": [1, 2]}),
    "conv transpose 2, same": ("ConvTranspose", [normal(1, 3, 4, 3), normal(3, 2, 3, 3)],
                               {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "conv transpose 2, shape": ("ConvTranspose", [normal(1, 3, 4, 3), normal(3, 2, 3, 3)],
                                {"strides": [3, 2], "output_shape": [10, 8], "output_padding": [1, 1]}),
    "conv transpose 3": ("ConvTranspose", [normal(2, 2, 3, 2, 3), normal(2, 3, 3, 2, 2), normal(3)],
                         {"strides": [2, 1, 2], "dilations": [2, 1, 1], "pads": [1, 0, 1, 0, 1, 0]}),
    "max pool 1": ("MaxPool", [normal(2, 3, 9)], {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "max pool 2, dilated": ("MaxPool", [normal(2, 3, 9, 8)],
                            {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 1], "ceil_mode": 1}),
    "max pool 3": ("MaxPool", [normal(2, 3, 5, 6, 5)],
                   {"kernel_shape": [2, 3, 2], "strides": [2, 2, 1], "pads": [0, 1, 1, 1, 1, 0]}),
    "average pool 2": ("AveragePool", [normal(2, 3, 6, 7)],
                       {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1], "ceil_mode": 1}),
    "average pool 3": ("AveragePool", [normal(2, 3, 5, 6, 5)],
                       {"kernel_shape": [2, 3, 2], "strides": [2, 2, 1], "pads": [0, 1, 1, 1, 1, 0], "ceil_mode": 1}),
    "average pool 3, padded": ("AveragePool", [normal(2, 3, 4, 4, 5)],
                               {"kernel_shape": [2, 3, 2], "pads": [1, 1, 0, 1, 1, 1], "count_include_pad": 1}),
    "average pool 2, dilated": ("AveragePool", [normal(2, 3, 9, 8)], {"kernel_shape": [3, 2], "dilations": [2, 3]}),
    "nearest": resize((2, 3, 4, 5), scales=[1, 1, 2, 3]),
    "nearest, floor": resize((2, 3, 4, 5), (2, 3, 7, 3), coordinate_transformation_mode="asymmetric",
                             nearest_mode="floor"),
    "nearest, ceil": resize((2, 3, 4, 5), (2, 3, 7, 3), coordinate_transformation_mode="align_corners",
                            nearest_mode="ceil"),
    "nearest, half up": resize((2, 3, 4, 5), (2, 3, 8, 10), nearest_mode="round_prefer_ceil"),
    "linear": resize((2, 3, 4, 5), (2, 3, 7, 3), mode="linear"),
    "linear, one row": resize((2, 3, 4, 5), (2, 3, 1, 9), mode="linear",
                              coordinate_transformation_mode="pytorch_half_pixel"),
    "linear, corners": resize((2, 3, 4, 5), (2, 3, 7, 3), mode="linear",
                              coordinate_transformation_mode="align_corners"),
    "linear, corners of a scale": resize((1, 1, 2, 4), scales=[1, 1, 0.6, 0.6], mode="linear",
                                         coordinate_transformation_mode="align_corners"),
    "linear, symmetric": resize((1, 2, 5, 4), scales=[1, 1, 1.3, 2.4], mode="linear",
                                coordinate_transformation_mode="half_pixel_symmetric"),
    "linear, asymmetric": resize((2, 3, 4, 5), scales=[1, 1, 2, 1.5], mode="linear",
                                 coordinate_transformation_mode="asymmetric"),
    "linear, 1": resize((2, 3, 6), (2, 3, 4), mode="linear"),
    "linear, 3": resize((1, 2, 3, 4, 3), (1, 2, 5, 3, 4), mode="linear"),
    "linear, antialias": resize((2, 3, 9, 8), (2, 3, 4, 11), mode="linear", antialias=1),
    "linear, a ratio": resize((2, 3, 4, 6), (9, 8), mode="linear", axes=[2, 3],
                              keep_aspect_ratio_policy="not_larger"),
    "linear, a region": ("Resize", [normal(1, 1, 4, 5), np.float32([0, 0, 0.4, -0.2, 1, 1, 1.2, 0.7]), None,
                                    ints(1, 1, 3, 4)],
                         {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize",
                          "extrapolation_value": 7.0}),
    "cubic": resize((2, 3, 5, 6), (2, 3, 8, 4), mode="cubic", cubic_coeff_a=-0.5),
    "cubic, excluding": resize((1, 2, 5, 6), (1, 2, 8, 4), mode="cubic", exclude_outside=1),
    "upsample": ("Upsample", [normal(2, 3, 4, 5), np.float32([1, 1, 2, 3])], {"mode": "linear"}, 9),
    "resize of opset 10": ("Resize", [normal(2, 3, 4, 6), np.float32([1, 1, 2, 0.5])], {}, 10),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_onnxruntime_agrees_and_differences_with_the_gradient(name, tmp_path):
    check_single_node(*NODES[name], path=tmp_path / "model.onnx")
