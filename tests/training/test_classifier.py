"""A trained model in use: what it computes, and what of a file is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import minigraph as mg
from minigraph import data
from minigraph.serialize import CheckpointError
from minigraph.training import Checkpoint, Classifier, predict
from models import airnet, cnn

MODEL = {
    "name": "cnn", "classes": ("cat", "dog", "a fox"), "shape": (8, 8, 3),
    "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25),
}  # fmt: skip
HALVES = {"features": cnn.features, "head": cnn.head}


def checkpoint(model=MODEL, seed=0):
    params, state = cnn.init(np.random.default_rng(seed), image=(8, 8, 3), widths=(4, 6), classes=3)
    return Checkpoint({"epochs": 3}, params, state, {"step": 7}, facts={"dataset": "pets"}, model=model)


def pictures(n=7, *shape):
    return np.random.default_rng(1).integers(0, 256, (n, *(shape or (8, 8, 3))), np.uint8)


def test_it_gives_the_logits_and_probabilities_of_normalised_images():
    saved = checkpoint()
    classifier = Classifier(cnn.apply, saved, "c.safetensors")
    x = ((pictures() / 255 - MODEL["mean"]) / MODEL["std"]).astype(np.float32)
    logits, _ = cnn.apply(saved.params, saved.state, x, train=False)
    np.testing.assert_allclose(classifier.logits(pictures()), logits, rtol=1e-4, atol=1e-5)
    probabilities = classifier(pictures())
    assert probabilities.dtype == np.float32 and probabilities.shape == (7, 3)
    np.testing.assert_allclose(probabilities, mg.softmax(logits), rtol=1e-4, atol=1e-5)
    assert (classifier.classes, classifier.shape, classifier.facts["dataset"]) == (MODEL["classes"], (8, 8, 3), "pets")
    assert repr(classifier) == "Classifier('c.safetensors': cnn of images 8x8x3, 3 classes)"


def test_test_time_augmentation_is_that_of_predict():
    saved = checkpoint()
    classifier = Classifier(cnn.apply, saved, "c")
    loader = data.Loader(pictures(), np.zeros(7, int), 7, mean=MODEL["mean"], std=MODEL["std"])

    def apply(x):
        return cnn.apply(saved.params, saved.state, x, train=False)[0]

    expected = predict(apply, loader, tta="mirror+translate")
    np.testing.assert_allclose(classifier.logits(pictures(), tta="mirror+translate"), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classifier(pictures(), "mirror+translate"), mg.softmax(expected), rtol=1e-5, atol=1e-6)


def test_the_average_of_the_weights_is_used_where_there_is_one():
    saved, other = checkpoint(), checkpoint(seed=5)
    np.testing.assert_array_equal(Classifier(cnn.apply, saved, "c").params["head"]["w"], saved.params["head"]["w"])
    saved.average = {"step": np.array(3), "weights": {"params": other.params, "state": other.state}}
    classifier = Classifier(cnn.apply, saved, "c")
    np.testing.assert_array_equal(classifier(pictures()), Classifier(cnn.apply, other, "c")(pictures()))


@pytest.mark.parametrize("images", [pictures()[0], pictures(2, 8, 9, 3), pictures(2, 8, 8, 1), pictures() / 255])
def test_other_images_are_refused(images):
    with pytest.raises(data.DataError, match=r"expected images .*\(N, .*got (uint8|float64) \("):
        Classifier(cnn.apply, checkpoint(), "c")(images)


# ---------------------------------------------------------------- pictures from files


def test_pictures_of_any_kind_have_the_class_of_their_pixels(tmp_path):
    classifier = Classifier(cnn.apply, checkpoint(), "c")
    images = pictures(12)
    expected = classifier(images).argmax(-1)
    assert len(set(expected.tolist())) > 1
    paths = [tmp_path / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    np.testing.assert_array_equal(classifier.read(paths), images)
    np.testing.assert_array_equal(classifier(classifier.read(paths)).argmax(-1), expected)

    turned = Image.fromarray(np.rot90(images[0]).copy())  # a quarter to the left: 6 says to turn it to the right
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(images[1]).convert("RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(images[2]).resize((80, 80), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    Image.fromarray(images[3]).convert("L").save(tmp_path / "grey.png")
    names = [str(tmp_path / name) for name in ("turned.png", "rgba.png", "large.png", "grey.png")]
    read = classifier.read(names)
    np.testing.assert_array_equal(read[:2], images[:2])
    assert abs(read[2].astype(int) - images[2]).mean() < 25
    grey = np.asarray(Image.fromarray(images[3]).convert("L"))
    np.testing.assert_array_equal(read[3], np.repeat(grey[..., None], 3, -1))
    assert classifier(read).shape == (4, 3)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(data.DataError, match=r"x\.png: not a readable image"):
        Classifier(cnn.apply, checkpoint(), "c").read([tmp_path / "x.png"])

    def apply(params, state, x, *, train):
        return x[:, 0, :, 0], state

    saved = checkpoint({**MODEL, "shape": (8, 3, 1), "mean": (0.5,), "std": (0.5,)})
    with pytest.raises(data.DataError, match=r"^c: the model takes images of shape \(8, 3, 1\), and read gives"):
        Classifier(apply, saved, "c").read([tmp_path / "x.png"])


# ---------------------------------------------------------------- what the net sees


def test_heat_is_grad_cam():
    saved = checkpoint()
    classifier = Classifier(cnn.apply, saved, "c", **HALVES)
    labels = np.array([0, 2, 1, 1])
    x = ((pictures(4) / 255 - MODEL["mean"]) / MODEL["std"]).astype(np.float32)
    maps, _ = cnn.features(saved.params, {}, x, train=False)
    # The head is linear: the gradient of a logit by the maps is the column of its weights.
    gradient = saved.params["head"]["w"].reshape(2, 2, 6, 3)[..., labels]  # (h, w, K, N)
    expected = np.maximum(np.einsum("nhwk,kn->nhw", maps, gradient.mean((0, 1))), 0)
    heat = classifier.heatmaps(pictures(4), labels)
    assert heat.dtype == np.float32 and heat.shape == (4, 2, 2) and (heat > 0).any()
    np.testing.assert_allclose(heat, expected, rtol=1e-4, atol=1e-5)
    likeliest = classifier(pictures(4)).argmax(-1)
    np.testing.assert_array_equal(classifier.heatmaps(pictures(4)), classifier.heatmaps(pictures(4), likeliest))


def test_heat_of_airnet_has_seven_pixels_a_side():
    params, state = airnet.init(np.random.default_rng(0), widths=(4, 5, 6), classes=3)
    saved = replace(checkpoint({**MODEL, "shape": (32, 32, 3)}), params=params, state=state)
    classifier = Classifier(airnet.apply, saved, "c", features=airnet.features, head=airnet.head)
    assert classifier.heatmaps(pictures(2, 32, 32, 3)).shape == (2, 7, 7)


def test_heat_takes_a_model_of_two_halves_and_labels_that_are_classes():
    whole, halves = Classifier(cnn.apply, checkpoint(), "c"), Classifier(cnn.apply, checkpoint(), "c", **HALVES)
    assert (whole.has_heatmaps, halves.has_heatmaps) == (False, True)
    with pytest.raises(ValueError, match=r"^heatmaps: the model cnn has no features and head"):
        whole.heatmaps(pictures())
    for labels, message in (([0] * 6, "7 integer labels"), ([3] * 7, "labels below 3, got 3"), ([-1] * 7, "from 0 on")):
        with pytest.raises(data.DataError, match=message):
            halves.heatmaps(pictures(), np.array(labels))


def test_the_first_filters():
    saved = checkpoint()
    np.testing.assert_array_equal(Classifier(cnn.apply, saved, "c").filters(), saved.params["conv1"]["w"])
    params, state = airnet.init(np.random.default_rng(0), widths=(4, 5, 6), classes=3)
    whitened = replace(checkpoint({**MODEL, "shape": (32, 32, 3)}), params=params, state=state)
    np.testing.assert_array_equal(Classifier(airnet.apply, whitened, "c").filters(), state["whiten"])

    def linear(params, state, x, *, train):
        return x.reshape(len(x), -1) @ params["w"], state

    flat = replace(saved, params={"w": np.zeros((192, 3), np.float32)})
    assert Classifier(linear, flat, "c").filters() is None


# ---------------------------------------------------------------- what a file may say

WRONG = [
    ("name", 3, "a text"),
    ("classes", None, "a tuple of distinct names"),
    ("classes", (), "a tuple of distinct names"),
    ("classes", "abc", "a tuple of distinct names"),
    ("classes", ("a", "b", 3), "a tuple of distinct names"),
    ("classes", ("a", "b", "b"), "a tuple of distinct names"),
    ("classes", ("a", "b", "\x1b[2J"), "a tuple of distinct names"),
    ("shape", (8, 8), "(H, W, C), each from 1 to 4096"),
    ("shape", (8, 8, 0), "(H, W, C), each"),
    ("shape", (8, 4097, 3), "(H, W, C), each"),
    ("shape", (8, 8.0, 3), "(H, W, C), each"),
    ("shape", (8, True, 3), "(H, W, C), each"),
    ("shape", [8, 8, 3], "(H, W, C), each"),
    ("mean", (0.5, 0.5), "3 finite numbers"),
    ("mean", (0.5, 0.5, float("nan")), "3 finite numbers"),
    ("mean", (0.5, 0.5, 1e30), "3 finite numbers"),
    ("mean", (0.5, 0.5, "x"), "3 finite numbers"),
    ("mean", 0.5, "3 finite numbers"),
    ("std", (0.2, 0.2, 0.0), "3 numbers from 1e-6 to 1e6"),
    ("std", (0.2, 0.2, -0.2), "3 numbers from 1e-6 to 1e6"),
    ("std", (0.2, 0.2, float("inf")), "3 numbers from 1e-6 to 1e6"),
    ("std", np.ones(3), "3 numbers from 1e-6 to 1e6"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "expected"), WRONG, ids=lambda v: str(v)[:20])
def test_what_a_file_says_is_checked(field, value, expected):
    message = rf"^some/file: {field} of the model is .*, expected {re.escape(expected)}"
    with pytest.raises(CheckpointError, match=message):
        Classifier(cnn.apply, checkpoint({**MODEL, field: value}), "some/file")


def test_every_field_but_the_name_is_needed():
    for field in ("classes", "shape", "mean", "std"):
        model = {name: value for name, value in MODEL.items() if name != field}
        with pytest.raises(CheckpointError, match=f"^c: {field} of the model is None"):
            Classifier(cnn.apply, checkpoint(model), "c")
    model = {name: value for name, value in MODEL.items() if name != "name"}
    assert repr(Classifier(cnn.apply, checkpoint(model), "c")) == "Classifier('c': a model of images 8x8x3, 3 classes)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("conv2"), "the model does not run with these weights: KeyError: 'conv2'"),
        (lambda p: p["conv1"].update(w=np.zeros((3, 3, 4, 4), np.float32)),
         "the model does not run with these weights: ValueError: conv2d: "),
        (lambda p: p["head"].update(w=np.zeros((24, 4), np.float32), b=np.zeros(4, np.float32)),
         "the model gives float32 (1, 4) for an image, expected logits (1, 3), one for each class"),
        (lambda p: p["head"].update(b="text"), "head.b of params is 'text', expected an array of finite numbers"),
        (lambda p: p["head"].update(b=np.full(3, np.nan, np.float32)), "head.b of params is float32 (3,), expected an"),
    ],
    ids=["missing", "other shape", "other classes", "no array", "NaN"],
)  # fmt: skip
def test_weights_that_do_not_fit_the_model(change, message):
    saved = checkpoint()
    change(saved.params)
    with pytest.raises(CheckpointError, match=f"^c: {re.escape(message)}") as caught:
        Classifier(cnn.apply, saved, "c")
    assert "\n" not in str(caught.value)
