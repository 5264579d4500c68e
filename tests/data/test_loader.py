import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigraph.data import DataError, Dataset, Loader, split
from minigraph.data.augment import resize

AUGMENTED = {"shuffle": True, "padding": 2, "flip": True}
EVERYTHING = {
    "shuffle": True, "padding": 2, "flip": "alternate", "brightness": 0.1, "contrast": 0.2, "cutout": 3,
    "resolution": (5, 8, 6), "drop_last": True,
}  # fmt: skip
each_way = pytest.mark.parametrize("options", [AUGMENTED, EVERYTHING], ids=["augmented", "everything"])


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


@pytest.mark.parametrize("options", [{}, AUGMENTED, EVERYTHING])
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


def mirrored(loader, images, epoch):
    """Which of the images `(N,)` an epoch shows mirrored; it must show each of them."""
    sides = np.full(len(images), -1)
    for x, y in loader.epoch(epoch):
        for image, number in zip(pixels(x), y, strict=True):
            sides[number] = np.array_equal(image, images[number][:, ::-1])
            assert sides[number] or np.array_equal(image, images[number])
    return sides


def test_the_alternating_flip_shows_each_image_from_both_sides_in_any_two_epochs():
    images, labels = examples(400)
    loader = raw_loader(images, labels, 64, shuffle=True, flip="alternate", seed=3)
    first = mirrored(loader, images, 0)
    assert first.mean() == pytest.approx(0.5, abs=0.1)
    for epoch in range(1, 5):
        np.testing.assert_array_equal(mirrored(loader, images, epoch), first ^ (epoch % 2))
    # The side of an image depends on the seed, its number and the epoch, and on nothing else.
    other_batches = raw_loader(images, labels, 7, flip="alternate", padding=0, seed=3)
    np.testing.assert_array_equal(mirrored(other_batches, images, 2), first)
    assert (mirrored(raw_loader(images, labels, 64, flip="alternate", seed=4), images, 0) != first).any()


def test_the_alternating_flip_of_a_part_of_the_images():
    images, labels = examples(60)
    dataset = Dataset("mine", images, labels % 3, images, labels, ("a", "b", "c"))
    (kept, _), _ = split(dataset, 20)
    loader = raw_loader(kept, np.arange(40), 16, shuffle=True, flip="alternate")
    np.testing.assert_array_equal(mirrored(loader, kept, 1), 1 - mirrored(loader, kept, 0))


@pytest.mark.parametrize(("brightness", "contrast"), [(0.2, 0), (0, 0.3), (0.2, 0.3)])
def test_brightness_shifts_and_contrast_scales_each_image_of_normalised_values(brightness, contrast):
    images, labels = examples(300)
    plain = np.concatenate([x for x, _ in Loader(images, labels, 100)]).reshape(300, -1)
    loader = Loader(images, labels, 100, brightness=brightness, contrast=contrast)
    x = np.concatenate([x for x, _ in loader]).reshape(300, -1)
    c = x.std(1) / plain.std(1)
    b = x.mean(1) / c - plain.mean(1)
    np.testing.assert_allclose(x, (plain + b[:, None]) * c[:, None], rtol=0, atol=1e-5)
    for drawn, middle, width in ((b, 0, brightness), (c, 1, contrast)):
        assert (abs(drawn - middle) <= width + 1e-5).all()
        assert drawn.mean() == pytest.approx(middle, abs=0.1 * width + 1e-5)
        assert drawn.std() == pytest.approx(width / np.sqrt(3), rel=0.1, abs=1e-5)  # of a uniform distribution
    if brightness and contrast:
        assert abs(np.corrcoef(b, c)[0, 1]) < 0.2


def test_cutout_is_one_square_of_the_mean_colour_and_every_place_occurs():
    images, labels = examples(16, 6, 7)
    plain = np.concatenate([x for x, _ in Loader(images, labels, 16)])
    places = {}
    for epoch in range(60):
        ((x, _),) = Loader(images, labels, 16, cutout=4).epoch(epoch)
        for changed, image in zip(x, plain, strict=True):
            zero = (changed == 0).all(-1)
            np.testing.assert_array_equal(changed[~zero], image[~zero])
            rows, columns = np.flatnonzero(zero.any(1)), np.flatnonzero(zero.any(0))
            assert len(rows) == len(columns) == 4 and zero.sum() == 16
            place = rows[0], columns[0]
            places[place] = places.get(place, 0) + 1
    assert set(places) == {(top, left) for top in range(3) for left in range(4)}
    assert min(places.values()) > 40  # of 80 expected


def test_cutout_is_exactly_zero_beside_other_changes():
    ((x, _),) = Loader(*examples(20), 20, brightness=0.5, contrast=0.5, cutout=5).epoch(0)
    assert ((x == 0).all(-1).sum((1, 2)) == 25).all()


def test_resolution_resizes_the_augmented_images_by_epoch():
    images, labels = examples(20)
    options = {"shuffle": True, "padding": 2, "flip": True, "cutout": 3}
    plain = Loader(images, labels, 16, **options)
    loader = Loader(images, labels, 16, **options, resolution=[5, 6, 8])
    for epoch, size in enumerate((5, 6, 8, 8, 8)):
        assert_same(loader.epoch(epoch), [(resize(x, size), y) for x, y in plain.epoch(epoch)])
    assert_same(loader.epoch(3), plain.epoch(3))  # at their own size they stay as they are, bit for bit
    assert next(iter(Loader(images, labels, 16, resolution=7)))[0].shape == (16, 7, 7, 3)


def test_drop_last_leaves_out_the_partial_batch_alone():
    images, labels = examples(50)
    for batch_size, batches in ((16, 3), (25, 2), (50, 1)):
        loader = Loader(images, labels, batch_size, drop_last=True, **AUGMENTED)
        assert len(loader) == batches
        assert_same(loader, list(Loader(images, labels, batch_size, **AUGMENTED))[:batches])


@each_way
def test_a_run_repeats_bit_for_bit(options):
    images, labels = examples()
    np.random.seed(1)  # the global state must not matter
    first = list(Loader(images, labels, 16, **options, seed=3).epoch(2))
    np.random.seed(2)
    assert_same(Loader(images, labels, 16, **options, seed=3).epoch(2), first)


@each_way
def test_iterating_starts_at_epoch_0(options):
    loader = Loader(*examples(), 16, **options)
    assert_same(loader, loader.epoch(0))


@each_way
@pytest.mark.parametrize("start", range(4))
def test_an_epoch_continues_at_any_batch(start, options):
    loader = Loader(*examples(), 16, **options)
    assert_same(loader.epoch(7, start), list(loader.epoch(7))[start:])


@each_way
def test_an_epoch_may_stop_at_any_batch(options):
    loader = Loader(*examples(), 16, **options)
    first = itertools.islice(loader.epoch(1), 2)
    assert_same(itertools.chain(first, loader.epoch(1, 2)), loader.epoch(1))


@each_way
def test_two_iterators_do_not_disturb_each_other(options):
    loader = Loader(*examples(), 16, **options)
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
    for options in ({"padding": 2, "flip": True}, EVERYTHING):
        loader = Loader(images, labels, 16, **options)
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


@each_way
def test_images_of_any_memory_layout(options):
    images, labels = examples()
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    assert_same(Loader(channels_first, labels, 16, **options), Loader(images, labels, 16, **options))


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
        ({"flip": "random"}, "flip is 'random', expected True, False or \"alternate\""),
        ({"flip": 1}, "flip is 1, expected True, False"),
        ({"brightness": -0.1}, "brightness is -0.1, expected a number from 0 on"),
        ({"brightness": float("inf")}, "brightness is inf, expected a number"),
        ({"contrast": 1.0}, "contrast is 1.0, expected a number from 0 on, below 1"),
        ({"contrast": float("nan")}, "contrast is nan"),
        ({"contrast": "0.1"}, "contrast is '0.1'"),
        ({"cutout": 9}, "cutout is 9, expected an int from 0 to 8"),
        ({"resolution": 0}, "resolution is 0, expected an int >= 1"),
        ({"resolution": (6, 8.5)}, "resolution is 8.5, expected an int >= 1"),
        ({"resolution": ()}, "resolution is \\(\\), expected an int"),
        ({"resolution": "24"}, "resolution is '24', expected an int"),
        ({"drop_last": True, "batch_size": 5}, "drop_last leaves no batch of 5 of 4 images"),
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
    assert repr(Loader(images, labels, 20, **EVERYTHING)) == (
        "Loader(50 images of 8x8x3, 2 batches of 20, shuffle, padding=2, flip='alternate', brightness=0.1, "
        "contrast=0.2, cutout=3, resolution=(5, 8, 6), drop_last)"
    )


def test_float_images_are_told_what_to_become():
    images, labels = examples()
    with pytest.raises(DataError, match=r"got float64 .*; for values from 0 to 1: \(255 \* images\)"):
        Loader(images / 255, labels, 16)


def test_how_many_images_so_many_steps_take():
    images, labels = np.zeros((10, 4, 6, 3), np.uint8), np.zeros(10, int)
    loader = Loader(images, labels, 4)
    assert [loader.examples_in(step) for step in range(8)] == [0, 4, 8, 10, 14, 18, 20, 24]
    loader = Loader(images, labels, 4, drop_last=True)
    assert [loader.examples_in(step) for step in range(5)] == [0, 4, 8, 12, 16]
    assert [Loader(images, labels, 40).examples_in(step) for step in range(3)] == [0, 10, 20]


def test_the_shape_of_the_images_of_an_epoch():
    images, labels = np.zeros((10, 4, 6, 3), np.uint8), np.zeros(10, int)
    assert Loader(images, labels, 4).shape(3) == (4, 6, 3)
    loader = Loader(images, labels, 4, resolution=(2, 3))
    assert [loader.shape(epoch) for epoch in range(3)] == [(2, 2, 3), (3, 3, 3), (3, 3, 3)]
    assert all(next(loader.epoch(epoch))[0].shape[1:] == loader.shape(epoch) for epoch in range(3))
