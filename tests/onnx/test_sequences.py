"""The operators of sequences, beside onnxruntime, and their gradients."""

import numpy as np
import pytest

from tests.onnx.cases import check_single_node, ints, normals

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

normal = normals(0)


def recurrent(op_type, gates, ways, more=(), **options):
    x, w, r, b = normal(3, 2, 2), normal(ways, gates * 3, 2), normal(ways, gates * 3, 3), normal(ways, 2 * gates * 3)
    states = 2 if op_type == "LSTM" else 1
    initial = [normal(ways, 2, 3) for _ in range(states)]
    return (op_type, [x, w / 2, r / 2, b, None, *initial, *more], {"hidden_size": 3, **options}, 22, states + 1)


def attention(q, kv, *more, opset=23, **options):
    return ("Attention", [normal(*q), normal(*kv), normal(*kv), *more], options, opset)


MASK = np.array([[1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1]], bool)
NODES = {
    "lstm": recurrent("LSTM", 4, 1),
    "lstm, both ways": recurrent("LSTM", 4, 2, [normal(2, 9)], direction="bidirectional"),
    "gru": recurrent("GRU", 3, 1, direction="reverse"),
    "gru, both ways": recurrent("GRU", 3, 2, direction="bidirectional", linear_before_reset=1),
    "rnn": recurrent("RNN", 1, 1, activations=["Relu"]),
    "attention": attention((2, 3, 4, 5), (2, 3, 6, 5)),
    "attention, causal": attention((2, 3, 4, 5), (2, 3, 4, 5), is_causal=1, scale=0.7),
    "attention, a mask": attention((2, 2, 3, 5), (2, 2, 4, 5), MASK),
    "attention, a bias": attention((2, 2, 3, 5), (2, 2, 4, 5), np.where(MASK, normal(3, 4), -np.inf)),
    "attention, shared heads": attention((2, 4, 12), (2, 6, 6), q_num_heads=4, kv_num_heads=2, softcap=2.0),
    "rotation": ("RotaryEmbedding", [normal(2, 3, 8), normal(5, 2), normal(5, 2), ints([0, 1, 2], [2, 3, 4])],
                 {"num_heads": 2, "interleaved": 1}, 23),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_onnxruntime_agrees_and_differences_with_the_gradient(name, tmp_path):
    check_single_node(*NODES[name], path=tmp_path / "model.onnx")
