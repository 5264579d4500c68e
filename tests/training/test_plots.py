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
