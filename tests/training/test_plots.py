"""The pictures of a run, read off their figures; one is rendered."""

import numpy as np
import pytest

from minigraph.training import Stop, plots

MEANS = dict.fromkeys(("train_loss", "train_accuracy", "val_loss", "val_accuracy"), 0.5)


@pytest.fixture
def figures(monkeypatch):
    found = []
    monkeypatch.setattr(plots, "save_figure", lambda path, fig: found.append(fig))
    return found


def test_the_confusion_matrix_is_of_true_rows_and_predicted_columns(tmp_path, figures):
    plots.confusion(tmp_path, np.array([0, 0, 0, 0, 1]), np.array([0, 1, 1, 1, 1]), ["a", "b", "c"], title="t")
    (axes,) = figures[0].axes
    assert axes.images[0].get_array().tolist() == [[25, 75, 0], [0, 100, 0], [0, 0, 0]]
    assert axes.get_ylabel().startswith("true") and axes.get_xlabel().startswith("predicted")


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100])
def test_the_curves_have_whole_epochs_as_ticks(n, tmp_path, figures):
    history = [{"epoch": i + 1, **MEANS} for i in range(n)]
    plots.curves(tmp_path, history, title="t", test={"loss": 0.5, "accuracy": 0.5})
    assert len(figures[0].axes) == 2
    for axes in figures[0].axes:
        assert axes.get_xlim() == (0.5, n + 0.5)
        ticks = [tick for tick in axes.get_xticks() if 0.5 <= tick <= n + 0.5]
        assert ticks and all(tick == round(tick) for tick in ticks)


@pytest.mark.parametrize(
    ("row", "panels", "lines"),
    [
        (MEANS, ["loss", "accuracy"], 2),
        ({**MEANS, "val_loss": None, "val_accuracy": None}, ["loss", "accuracy"], 1),
        ({"train_loss": 1.0}, ["loss"], 1),
    ],
    ids=["all", "no validation", "loss alone"],
)
def test_what_was_not_measured_is_not_drawn(row, panels, lines, tmp_path, figures):
    plots.curves(tmp_path, [{"epoch": 1, **row}], title="t")
    assert [axes.get_title() for axes in figures[0].axes] == panels
    assert [len(axes.lines) for axes in figures[0].axes] == [lines] * len(panels)


def test_a_history_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="at least one epoch"):
        plots.curves(tmp_path, [], title="t")


def test_title_and_notice(tmp_path, figures):
    plots.curves(tmp_path, [{"epoch": 1, **MEANS}], title="the title", notice="the notice")
    plots.confusion(tmp_path, np.array([0]), np.array([0]), ["a"], title="the title")
    assert [fig.get_suptitle() for fig in figures] == ["the title"] * 2
    assert [fig.get_supxlabel() for fig in figures] == ["the notice", ""]


def test_a_picture_is_a_png_or_an_error_that_names_it(tmp_path):
    plots.curves(tmp_path / "c.png", [{"epoch": 1, **MEANS}], title="t")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(Stop, match=r"missing.c\.png was not written"):
        plots.curves(tmp_path / "missing" / "c.png", [{"epoch": 1, **MEANS}], title="t")


def test_other_models_are_lines_beside_the_loss(tmp_path, figures):
    plots.curves(tmp_path, [{"epoch": 1, **MEANS}], title="t", beside={"bigram": 2.0, "5-gram": 0.25})
    loss, accuracy = figures[0].axes
    assert [(line.get_label(), line.get_ydata()[0]) for line in loss.lines[2:]] == [("bigram", 2.0), ("5-gram", 0.25)]
    assert len(accuracy.lines) == 2 and {text.get_text() for text in loss.get_legend().texts} >= {"bigram", "5-gram"}


def test_the_learning_rate_is_a_third_panel(tmp_path, figures):
    history = [{"epoch": i, **MEANS, "lr": 0.1 / i} for i in (1, 2)]
    plots.curves(tmp_path, history, title="t", test={"loss": 0.5, "accuracy": 0.5})
    plots.curves(tmp_path, [{**row, "lr": None} for row in history], title="t")
    assert [[axes.get_title() for axes in fig.axes] for fig in figures] == [
        ["loss", "accuracy", "learning rate"], ["loss", "accuracy"],
    ]  # fmt: skip
    (line,) = figures[0].axes[2].lines
    assert line.get_ydata().tolist() == [0.1, 0.05]


def test_compared_runs_have_a_colour_each(tmp_path, figures):
    a = [{"epoch": i, **MEANS, "lr": 0.1} for i in (1, 2, 3)]
    b = [{"epoch": 1, "train_loss": 2.0, "val_loss": None}]
    plots.compare(tmp_path, {"a": a, "b": b, "c": []}, title="t", notice="n")
    (fig,) = figures
    assert [axes.get_title() for axes in fig.axes] == ["loss", "accuracy", "learning rate"]
    assert [len(axes.lines) for axes in fig.axes] == [3, 2, 1]
    names = {text.get_text(): line.get_color() for legend in fig.legends for text, line in
             zip(legend.get_texts(), legend.get_lines(), strict=True)}  # fmt: skip
    colors = [line.get_color() for line in fig.axes[0].lines]
    assert colors == [names["a"], names["a"], names["b"]] and len(set(names.values())) == 3
    assert [axes.get_xlim() for axes in fig.axes] == [(0.5, 3.5)] * 3
    plots.compare(tmp_path, {f"run {i}": a for i in range(12)}, title="t")
    assert len({line.get_color() for line in figures[1].axes[2].lines}) == 12
    with pytest.raises(ValueError, match=r"^compare: expected a run with at least one epoch"):
        plots.compare(tmp_path, {"c": []}, title="t")


def titles(fig):
    return [axes.get_title() for axes in fig.axes if axes.images]


def test_predictions_have_the_surest_mistakes_first(tmp_path, figures):
    images = np.arange(6, dtype=np.uint8)[:, None, None, None].repeat(3, -1)
    labels = np.array([0, 1, 0, 1, 0, 0])
    first = np.array([0.9, 0.7, 0.3, 0.95, 0.6, 0.2])
    probabilities = np.stack([first, 1 - first], 1)
    classes = ["a", "a class of a long name"]
    plots.predictions(tmp_path, images, labels, probabilities, classes, title="t", rows=2, columns=3)
    (fig,) = figures
    long = "a class of a …"
    assert titles(fig) == [
        f"a 95%\nis {long}", f"{long} 80%\nis a", f"a 70%\nis {long}", f"{long} 70%\nis a",
        "a 90%\nright", "a 60%\nright",
    ]  # fmt: skip
    assert [int(axes.images[0].get_array()[0, 0, 0]) for axes in fig.axes] == [3, 5, 1, 2, 0, 4]
    plots.predictions(tmp_path, images, labels, probabilities, classes, title="t", rows=2, columns=2)
    assert titles(figures[1])[1:] == [f"{long} 80%\nis a", "a 90%\nright", "a 60%\nright"]
    plots.predictions(tmp_path, images[:1], labels[:1], probabilities[:1], classes, title="t")
    assert titles(figures[2]) == ["a 90%\nright"]


def test_filters_are_scaled_each_by_its_largest_weight(tmp_path, figures):
    weights = np.zeros((2, 2, 3, 3))
    weights[..., 0] = -2
    weights[0, 0, 1, 1] = 5
    plots.filters(tmp_path, weights, title="t")
    shown = [np.asarray(axes.images[0].get_array()) for axes in figures[0].axes]
    assert [picture.min() for picture in shown] == [0, 0.5, 0.5] and shown[1][0, 0].tolist() == [0.5, 1, 0.5]
    plots.filters(tmp_path, np.ones((3, 3, 1, 20)), title="t")
    assert sum(bool(axes.images) for axes in figures[1].axes) == 20


def test_heat_lies_over_the_whole_image(tmp_path, figures):
    images = np.full((7, 8, 6, 3), 100, np.uint8)
    heat = np.zeros((7, 2, 2))
    heat[1:] = np.arange(4).reshape(2, 2)
    plots.heatmaps(tmp_path, images, heat, [f"caption {i}" for i in range(7)], title="t")
    axes = [axes for part in figures[0].subfigs for axes in part.axes]
    assert len(axes) == 14 and [part.get_suptitle() for part in figures[0].subfigs[:2]] == ["caption 0", "caption 1"]
    grey, over = axes[3].images
    assert grey.get_array().shape == (8, 6) and over.get_extent() == [-0.5, 5.5, 7.5, -0.5]
    assert over.get_array().max() == 1 and axes[1].images[1].get_array().max() == 0


@pytest.mark.parametrize("k", [2, 100])
def test_few_classes_and_many(k, tmp_path):
    rng = np.random.default_rng(0)
    labels, classes = np.arange(200) % k, [f"class {i}" for i in range(k)]
    images = rng.integers(0, 256, (200, 4, 4, 3), np.uint8)
    probabilities = rng.dirichlet(np.ones(k), 200)
    plots.confusion(tmp_path / "c.png", labels, probabilities.argmax(1), classes, title="t")
    plots.predictions(tmp_path / "p.png", images, labels, probabilities, classes, title="t", rows=2)
    assert {path.read_bytes()[:4] for path in tmp_path.iterdir()} == {b"\x89PNG"}
