"""A folder of images: what of it is read, how, and what is said when something is wrong with it."""

import numpy as np
import pytest
from PIL import Image

from minigraph import data
from minigraph.data import DataError, image_folder, read_image

RED, WHITE = (255, 0, 0), (255, 255, 255)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.new("RGB", (8, 8), image)).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Ten images of three classes; the red value of each is its number."""
    for i in range(10):
        save(tmp_path / "photos" / "cba"[i % 3] / f"{i}.png", (i, 0, 0))
    return tmp_path / "photos"


def test_classes_sizes_and_types(folder):
    dataset = image_folder(folder, 16)
    assert dataset.name == "photos" and dataset.classes == ("a", "b", "c")
    assert dataset.train_images.shape == (7, 16, 16, 3) and dataset.test_images.shape == (3, 16, 16, 3)
    assert dataset.train_images.dtype == np.uint8 and dataset.train_labels.dtype == np.int64
    numbers = np.concatenate([dataset.train_images, dataset.test_images])[:, 0, 0, 0]
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    assert sorted(numbers) == list(range(10))
    assert ["abc"[label] for label in labels] == ["cba"[n % 3] for n in numbers]


def test_a_share_of_each_class_is_held_out(folder):
    for test, counts in ((0, [0, 0, 0]), (0.4, [1, 1, 2]), (0.5, [2, 2, 2]), (0.99, [2, 2, 3])):
        assert np.bincount(image_folder(folder, 1, test=test).test_labels, minlength=3).tolist() == counts


@pytest.mark.parametrize(("n", "test", "held_out"), [(1, 0.2, 0), (2, 0.2, 1), (2, 0, 0), (3, 0.01, 1), (30, 0.2, 6)])
def test_a_small_class_is_tested_too(n, test, held_out, tmp_path):
    for i in range(n):
        save(tmp_path / "a" / f"{i}.png", (i, 0, 0))
    dataset = image_folder(tmp_path, 1, test=test)
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (n - held_out, held_out)


def test_the_training_images_are_in_random_order(tmp_path):
    for i in range(40):
        save(tmp_path / "ab"[i // 20] / f"{i}.png", (i, 0, 0))
    labels = image_folder(tmp_path, 1).train_labels
    assert 0 < labels[-8:].sum() < 8  # what `split` holds out has both classes


def test_the_same_seed_gives_the_same_arrays(folder):
    a, b, c = image_folder(folder, 2), image_folder(str(folder), 2), image_folder(folder, 2, seed=1)
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        assert np.array_equal(getattr(a, part), getattr(b, part))
    assert not np.array_equal(a.train_images, c.train_images)


def test_what_it_reads_can_be_split_and_loaded(folder):
    training, validation = data.split(image_folder(folder, 8), 2)
    x, y = next(iter(data.Loader(*training, 5)))
    assert x.shape == (5, 8, 8, 3) and y.shape == (5,) and len(validation[1]) == 2


def test_hidden_folders_and_other_files_are_passed_over(folder):
    (folder / ".cache").mkdir()
    (folder / "list.txt").write_text("")
    (folder / "a" / "notes.txt").write_text("")
    (folder / "a" / ".hidden.png").write_text("")
    save(folder / "a" / "UPPER.JPG", RED)
    assert sum(map(len, (image_folder(folder, 1).train_labels, image_folder(folder, 1).test_labels))) == 11


def grey16():
    return Image.fromarray(np.full((8, 8), 128 << 8, np.uint16))


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("rgb.png", Image.new("RGB", (8, 8), RED), RED),
        ("grey.png", Image.new("L", (8, 8), 7), (7, 7, 7)),
        ("bits.png", Image.new("1", (8, 8), 1), WHITE),
        ("palette.png", Image.new("RGB", (8, 8), RED).convert("P", palette=Image.Palette.ADAPTIVE), RED),
        ("16 bits.png", grey16(), (128, 128, 128)),
        ("opaque.png", Image.new("RGBA", (8, 8), (*RED, 255)), RED),
        ("transparent.png", Image.new("RGBA", (8, 8), (0, 0, 0, 0)), WHITE),
        ("grey transparent.png", Image.new("LA", (8, 8), (0, 0)), WHITE),
        ("grey.jpg", Image.new("L", (8, 8), 7), (7, 7, 7)),
        ("cmyk.jpeg", Image.new("CMYK", (8, 8), (0, 0, 0, 255)), (0, 0, 0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_modes(name, image, expected, tmp_path):
    save(tmp_path / name, image)
    pixels = read_image(tmp_path / name, 4)
    assert pixels.shape == (4, 4, 3) and pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.broadcast_to(np.uint8(expected), (4, 4, 3)))


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (50, 3), (33, 32), (300, 200)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_sizes(size, name, tmp_path):
    save(tmp_path / name, Image.new("RGB", size, WHITE))
    assert np.array_equal(read_image(tmp_path / name, 32), np.full((32, 32, 3), 255))


def test_the_middle_is_cut_out(tmp_path):
    image = Image.new("RGB", (90, 30))
    image.paste(RED, (30, 0, 60, 30))
    save(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png", 30), np.broadcast_to(np.uint8(RED), (30, 30, 3)))


def test_an_image_is_turned_as_its_exif_says(tmp_path):
    image = Image.new("RGB", (8, 8))
    image.paste(WHITE, (0, 0, 8, 4))  # the upper half
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate it clockwise to see it upright
    save(tmp_path / "a.png", image, exif=exif)
    pixels = read_image(tmp_path / "a.png", 8)
    assert pixels[:, 4:].min() == 255 and pixels[:, :4].max() == 0


def test_a_large_jpeg_is_read_as_well_as_a_png(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 255, 800).astype(np.uint8)[:, None, None], (800, 800, 3))
    save(tmp_path / "a.png", Image.fromarray(ramp))
    save(tmp_path / "a.jpg", Image.fromarray(ramp), quality=95)
    a, b = (read_image(tmp_path / name, 32).astype(int) for name in ("a.png", "a.jpg"))
    assert abs(a - b).max() <= 3


def test_a_tilde_is_the_users_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))  # Windows
    assert image_folder("~/photos", 8).name == "photos"
    assert read_image("~/photos/a/2.png", 8).shape == (8, 8, 3)


def test_no_such_folder_and_no_folders(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; expected a folder that holds one folder"):
        image_folder(tmp_path / "nowhere")
    save(tmp_path / "a.png", RED)
    with pytest.raises(DataError, match=f"{tmp_path}: there are no folders in it"):
        image_folder(tmp_path)


@pytest.mark.parametrize(("files", "other"), [([], ""), (["x.webp"], "; it holds x.webp")])
def test_a_class_without_images(files, other, folder):
    (folder / "empty").mkdir()
    for name in files:
        (folder / "empty" / name).write_text("")
    expected = rf"empty: no images in this class; expected \.png, \.jpg, \.jpeg files{other}$"
    with pytest.raises(DataError, match=expected):
        image_folder(folder)


@pytest.mark.parametrize("damage", ["text", "truncated", "empty", "bomb"])
def test_a_file_that_cannot_be_read_is_named(damage, folder, monkeypatch):
    path = folder / "b" / "broken.png"
    save(path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    content = path.read_bytes()
    if damage == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 // 3)
    else:
        path.write_bytes({"text": b"text", "truncated": content[: len(content) // 2], "empty": b""}[damage])
    with pytest.raises(DataError, match=r"b.broken\.png: not a readable image: ."):
        image_folder(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is 0, expected an int >= 1"),
        ({"size": 1.5}, "size is 1.5"),
        ({"seed": -1}, "seed is -1, expected an int >= 0"),
        ({"test": 1}, "test is 1, expected a share from 0 to below 1"),
        ({"test": -0.1}, "test is -0.1"),
    ],
)
def test_bad_arguments(options, message, folder):
    with pytest.raises(DataError, match=message):
        image_folder(folder, **options)


def test_pillow_is_named_when_it_is_missing(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(DataError, match=r"Pillow: pip install -e '\.\[train\]'"):
        image_folder(folder)
