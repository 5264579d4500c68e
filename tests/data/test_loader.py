import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigraph.data import DataError, Loader
from minigraph.data.loader import _reflect

AUGMENTED = {"shuffle": True, "padding": 2, "flip": True}


def examples(n=50, height=8, width=8, channels=3):
    """Random images, and labels that number them."""
    images = np.random.default_rng(0).integers(0, 256, (n, height, width, channels), np.uint8)
    return images, np.arange(n)


def assert_same(got, expected):
    got, expected = list(got), list(expected)
    assert len(got) == len(expected)
    for (x, y), (x2, y2) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)


def pixels(x):
    """Undo a normalisation by mean 0 and std 1."""
    return np.rint(x * 255).astype(np.uint8)


def raw_loader(images, labels, batch_size, **options):
    channels = images.shape[-1]
    return Loader(images, labels, batch_size, mean=[0] * channels, std=[1] * channels, **options)


def test_normalisation():
    images, labels = examples()
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    x = np.concatenate([x for x, _ in Loader(images, labels, 16, mean=mean, std=std)])
    np.testing.assert_allclose(x, (images / 255 - mean) / std, rtol=0, atol=1e-6)


def test_the_default_normalisation_is_that_of_cifar10():
    images, labels = examples()
    x, _ = next(iter(Loader(images, labels, 50)))
    expected = (images / 255 - (0.4914, 0.4822, 0.4465)) / (0.2470, 0.2435, 0.2616)
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{}, AUGMENTED])
@pytest.mark.parametrize("label_dtype", [np.uint8, np.int32, np.int64])
def test_dtypes_and_layout(options, label_dtype):
    images, labels = examples()
    for x, y in Loader(images, labels.astype(label_dtype), 16, **options):
        assert x.dtype == np.float32 and x.flags.c_contiguous and y.dtype == np.int64


def test_evaluation_keeps_the_order_and_the_last_partial_batch():
    images, labels = examples(50)
    loader = raw_loader(images, labels, 16)
    batches = list(loader)
    assert len(loader) == len(batches) == 4
    assert [len(y) for _, y in batches] == [16, 16, 16, 2]
    np.testing.assert_array_equal(np.concatenate([pixels(x) for x, _ in batches]), images)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), labels)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(n=st.integers(1, 40), batch_size=st.integers(1, 50), epoch=st.integers(0, 5))
def test_every_example_exactly_once_an_epoch(n, batch_size, epoch):
    images, labels = examples(n)
    loader = Loader(images, labels, batch_size, **AUGMENTED)
    batches = list(loader.epoch(epoch))
    assert len(batches) == len(loader)
    assert all(len(x) == len(y) <= batch_size for x, y in batches)
    assert sorted(np.concatenate([y for _, y in batches])) == list(range(n))


def naive_crop(image, padding, top, left, flip):
    """One image, one pixel at a time; index -1 reflects to 1, and H to H - 2."""
    height, width, _ = image.shape
    out = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            r, c = abs(row + top - padding), abs(column + left - padding)
            r, c = (2 * height - 2 - r if r >= height else r), (2 * width - 2 - c if c >= width else c)
            out[row, width - 1 - column if flip else column] = image[r, c]
    return out


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("height", "width", "padding"), [(5, 6, 1), (6, 7, 2), (8, 9, 3), (5, 5, 0)])
def test_each_image_is_one_crop_of_its_own_and_every_crop_occurs(height, width, padding, flip, channels):
    images, labels = examples(8, height, width, channels)
    shifts, flips = range(2 * padding + 1), range(2 if flip else 1)
    crops = [
        {naive_crop(image, padding, t, l, f).tobytes(): (t, l, f) for t in shifts for l in shifts for f in flips}
        for image in images
    ]
    assert len(crops[0]) == len(shifts) ** 2 * len(flips)  # all different
    loader = raw_loader(images, labels, 3, shuffle=True, padding=padding, flip=flip)
    counts = {}
    for epoch in range(60):
        for x, y in loader.epoch(epoch):
            for image, number in zip(pixels(x), y, strict=True):
                crop = crops[number][image.tobytes()]
                counts[crop] = counts.get(crop, 0) + 1
    assert set(counts) == set(crops[0].values())
    flipped = sum(count for (_, _, f), count in counts.items() if f) / (60 * 8)
    assert flipped == (pytest.approx(0.5, abs=0.1) if flip else 0)


@settings(deadline=None, derandomize=True)
@given(height=st.integers(2, 8), width=st.integers(2, 8), data=st.data())
def test_reflect_is_numpys(height, width, data):
    p = data.draw(st.integers(1, min(height, width) - 1))
    x = np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)
    expected = np.pad(x, ((0, 0), (p, p), (p, p)), "reflect")
    np.testing.assert_array_equal(_reflect(x, p), expected)


def test_a_run_repeats_bit_for_bit():
    images, labels = examples()
    np.random.seed(1)  # the global state must not matter
    first = list(Loader(images, labels, 16, **AUGMENTED, seed=3).epoch(2))
    np.random.seed(2)
    assert_same(Loader(images, labels, 16, **AUGMENTED, seed=3).epoch(2), first)


def test_iterating_starts_at_epoch_0():
    loader = Loader(*examples(), 16, **AUGMENTED)
    assert_same(loader, loader.epoch(0))


@pytest.mark.parametrize("start", range(5))
def test_an_epoch_continues_at_any_batch(start):
    loader = Loader(*examples(), 16, **AUGMENTED)
    assert_same(loader.epoch(7, start), list(loader.epoch(7))[start:])


def test_two_iterators_do_not_disturb_each_other():
    loader = Loader(*examples(), 16, **AUGMENTED)
    pairs = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    assert_same([first for first, _ in pairs], loader.epoch(0))
    assert_same([second for _, second in pairs], loader.epoch(1))


def test_epochs_and_seeds_differ_in_order_and_in_crops():
    images, labels = examples()
    order = {
        (seed, epoch): np.concatenate([y for _, y in Loader(images, labels, 16, **AUGMENTED, seed=seed).epoch(epoch)])
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({o.tobytes() for o in order.values()}) == 4
    same = np.repeat(images[:1], 4, axis=0)  # one image four times, so only the crops can differ
    batches = [
        next(Loader(same, labels[:4], 4, padding=2, seed=seed).epoch(epoch))[0] for seed in (0, 1) for epoch in (0, 1)
    ]
    assert len({x.tobytes() for x in batches}) == 4


def test_a_batch_is_the_callers_own():
    images, labels = examples()
    kept, kept_labels = images.copy(), labels.copy()
    loader = Loader(images, labels, 16, padding=2, flip=True)
    expected = list(loader.epoch(0))
    for x, y in loader.epoch(0):
        x[:] = 0
        y[:] = 0
    np.testing.assert_array_equal(images, kept)
    np.testing.assert_array_equal(labels, kept_labels)
    assert_same(loader.epoch(0), expected)


@pytest.mark.parametrize("again", [lambda x: x, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_each_pass_is_a_new_epoch(again):
    loader = Loader(*examples(), 16, **AUGMENTED)
    for epoch in range(3):
        assert_same(loader, loader.epoch(epoch))
        loader = again(loader)
    first, second = (np.concatenate([y for _, y in loader]) for _ in range(2))
    assert (first != second).any() and set(first) == set(second)
    plain = Loader(*examples(), 16)  # for evaluation: every pass is the same
    assert_same(plain, plain.epoch(0))
    assert_same(plain, plain.epoch(0))


def test_images_of_any_memory_layout():
    images, labels = examples()
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert_same(Loader(channels_first, labels, 16, **AUGMENTED), Loader(images, labels, 16, **AUGMENTED))


IMAGES, LABELS = examples(4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES.astype(np.float32)}, r"expected images uint8 \(N, H, W, C\), got float32"),
        ({"images": IMAGES[0]}, r"got uint8 \(8, 8, 3\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"got uint8 \(0, 8, 8, 3\)"),
        ({"labels": LABELS[:3]}, r"expected 4 integer labels, got int64 \(3,\)"),
        ({"labels": LABELS / 2}, "expected 4 integer labels, got float64"),
        ({"batch_size": 0}, "batch_size is 0, expected an int >= 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5, expected an int >= 1"),
        ({"padding": -1}, "padding is -1, expected an int from 0 to 7"),
        ({"padding": 8}, "padding is 8, expected an int from 0 to 7"),
        ({"seed": -1}, "seed is -1, expected an int >= 0"),
        ({"mean": (0.5,)}, "for each of 3 channels"),
        ({"std": (1, 1, 0)}, "for each of 3 channels"),
        ({"std": (1, 1, float("nan"))}, "for each of 3 channels"),
        ({"mean": (0, float("inf"), 0)}, "for each of 3 channels"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(DataError, match=f"^Loader: .*{message}"):
        Loader(**({"images": IMAGES, "labels": LABELS, "batch_size": 2} | change))


@pytest.mark.parametrize(
    ("position", "message"),
    [((-1, 0), "epoch is -1"), ((0, -1), "start is -1"), ((0, 3), "start is 3, expected an int from 0 to 2")],
)
def test_a_position_out_of_range_is_an_error_at_once(position, message):
    with pytest.raises(DataError, match=message):
        Loader(IMAGES, LABELS, 2).epoch(*position)


def test_the_repr_is_one_line_of_what_it_does():
    images, labels = examples(50)
    assert repr(Loader(images, labels, 20)) == "Loader(50 images of 8x8x3, 3 batches of 20)"
    loader = Loader(images, labels, 20, shuffle=True, padding=2, flip=True)
    assert repr(loader) == "Loader(50 images of 8x8x3, 3 batches of 20, shuffle, padding=2, flip)"


def test_float_images_are_told_what_to_become():
    images, labels = examples()
    with pytest.raises(DataError, match=r"got float64 .*; for values from 0 to 1: \(255 \* images\)"):
        Loader(images / 255, labels, 16)
