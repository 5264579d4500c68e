"""One line of a Config is an option, its help, its default and its check."""

import math
from dataclasses import dataclass, replace

import pytest

from minigraph.training import Settings, Stop, setting
from minigraph.training.settings import may_change, parser, plain

names = ["cnn", "mlp"]


@dataclass(frozen=True, repr=False)
class Config(Settings):
    preset: str = setting("default", "named settings")
    model: str = setting("cnn", "100% of the model", choices=lambda: names)
    data: str | None = setting(None, "a directory", metavar="DIR", shown="a cache", may_change=True)
    epochs: int = setting(10, "passes", at_least=1)
    batch_size: int = 128
    lr: float = setting(0.05, "rate", above=0)
    momentum: float = setting(0.9, "share", at_least=0, below=1)
    val: int | None = setting(None, "held out", at_least=0)
    flip: bool = setting(True, "mirror")


def parse(*argv):
    return vars(parser(Config(), ["default", "quick"]).parse_args(argv))


def test_only_the_options_that_are_given_are_parsed():
    assert parse() == {}
    assert parse("--batch-size", "5", "--lr", "1", "--no-flip", "--data", "d", "--val", "3", "--preset", "quick") == {
        "batch_size": 5, "lr": 1.0, "flip": False, "data": "d", "val": 3, "preset": "quick",
    }  # fmt: skip
    assert parse("--flip") == {"flip": True}


def test_the_help_has_every_option_with_its_words_and_its_default(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    for line in (
        "--preset {default,quick} named settings (default)", "--model {cnn,mlp} 100% of the model (cnn)",
        "--data DIR a directory (a cache)", "--epochs N passes (10)", "--batch-size N (128)", "--lr X rate (0.05)",
        "--val N held out (none)", "--flip, --no-flip mirror (yes)",
    ):  # fmt: skip
        assert line in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--lr", "fast"], "--lr: invalid float value: 'fast'"),
        (["--epochs", "1.5"], "--epochs: invalid int value: '1.5'"),
        (["--model", "lstm"], "--model: invalid choice: 'lstm'"),
        (["--preset", "slow"], "--preset: invalid choice: 'slow'"),
        (["--learning-rate", "1"], "--learning-rate"),
        (["--epoch", "1"], "--epoch"),  # no abbreviations
        (["--lr"], "--lr: expected one argument"),
    ],
)
def test_what_cannot_be_parsed(argv, message):
    with pytest.raises(Stop, match=message):
        parse(*argv)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "--epochs is 0, expected a whole number of at least 1"),
        ("epochs", 2.0, "--epochs is 2.0, expected a whole number"),
        ("epochs", True, "--epochs is True, expected a whole number"),
        ("epochs", None, "--epochs is None, expected a whole number"),
        ("lr", 0.0, "--lr is 0.0, expected a finite number above 0"),
        ("lr", math.nan, "--lr is nan, expected"),
        ("lr", math.inf, "--lr is inf, expected"),
        pytest.param("lr", 10**400, r"--lr is 10\*\*50 or more, expected", id="lr beyond floats"),
        ("lr", "1", "--lr is 1, expected a finite number above 0"),
        ("momentum", 1, "--momentum is 1, expected a finite number of at least 0 and below 1"),
        ("momentum", -0.1, "--momentum is -0.1"),
        ("momentum", math.nan, "--momentum is nan"),
        ("val", -1, "--val is -1, expected a whole number of at least 0"),
        ("model", "lstm", "--model is lstm, expected one of cnn, mlp"),
        ("model", None, "--model is None, expected one of"),
        ("data", 3, "--data is 3, expected a text"),
        ("flip", "no", "--flip is no, expected true or false"),
        ("flip", 1, "--flip is 1, expected true or false"),
        ("batch_size", "5", "--batch-size is 5, expected a whole number"),
    ],
)
def test_a_value_that_a_field_does_not_admit(name, value, message):
    with pytest.raises(Stop, match=message):
        Config(**{name: value})
    with pytest.raises(Stop, match=message):
        replace(Config(), **{name: value})


@pytest.mark.parametrize(
    "values", [{"lr": 1}, {"momentum": 0}, {"momentum": 0.999}, {"val": 0}, {"val": None}, {"epochs": 1}, {"data": ""}]
)
def test_values_at_the_border(values):
    config = Config(**values)
    assert all(getattr(config, name) == value for name, value in values.items())


def test_paths_are_absolute_in_what_a_run_saves(tmp_path, monkeypatch):
    @dataclass(frozen=True, repr=False)
    class Paths(Settings):
        data: str | None = setting("photos", path=True)
        other: str | None = setting(None, path=True)
        model: str = setting("cnn")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for given, saved in (("photos", tmp_path / "photos"), ("../x", tmp_path.parent / "x"), ("/x", "/x")):
        assert plain(Paths(given)) == {"data": str(saved), "other": None, "model": "cnn"}
    assert plain(Paths("a", "~/b"))["other"] == "/home/me/b"
    assert Paths().data == "photos"


def test_choices_are_read_when_they_are_needed(monkeypatch):
    monkeypatch.setitem(globals(), "names", ["cnn", "lstm"])
    assert parse("--model", "lstm") == {"model": "lstm"}
    assert Config(model="lstm").model == "lstm"


def test_the_repr_shows_what_differs_from_the_defaults():
    assert repr(Config()) == "Config()"
    assert repr(Config(lr=0.1, data="d")) == "Config(data='d', lr=0.1)"


def test_what_may_change():
    assert may_change(Config) == {"data"}


def test_a_field_of_a_type_that_no_option_can_have():
    @dataclass(frozen=True, repr=False)
    class Wrong(Settings):
        widths: tuple[int, ...] = setting((1, 2))

    with pytest.raises(TypeError, match=r"Wrong\.widths is tuple\[int, \.\.\.\], expected str, int, float or bool"):
        Wrong()
