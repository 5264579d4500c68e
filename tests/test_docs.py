"""What the pages say holds: their Python code runs, their links lead somewhere, the names of the reference exist.

A page's Python blocks run in order, in one namespace, in an empty directory.
"""

import html
import importlib
import re
import runpy
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import minigraph as mg
from minigraph.ops import numpy_api

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)[^):]*\)")
ENTRY = re.compile(r"^::: (\S+)\n((?: {4}.*\n)*)", re.MULTILINE)


def name(page):
    return str(page.relative_to(ROOT))


def documented(page):
    """The full names of what a page of the reference shows: `::: name`, or the names under its `members:`."""
    for full, options in ENTRY.findall(page.read_text()):
        members = re.findall(r"^ +- (\w+)$", options, re.MULTILINE)
        for listed in re.findall(r"members: \[(.*)\]", options):
            members += listed.split(", ")
        yield from [f"{full}.{m}" for m in members] or [full]


def resolve(full):
    """The object of a full name; AttributeError where there is none."""
    parts = full.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            found = getattr(found, part)
        return found
    raise AttributeError(full)


@pytest.fixture
def registry(monkeypatch):
    """The primitives that a page defines go when it is done."""
    module = __import__("sys").modules["minigraph.primitive"]
    monkeypatch.setattr(module, "_REGISTRY", dict(mg.primitives()))
    monkeypatch.setattr(numpy_api, "_OURS", dict(numpy_api._OURS))


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=name)
def test_code_runs(page, registry, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    namespace = {"__name__": f"docs_{page.stem}"}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        # blank lines above, so that tracebacks and blame point into the page
        exec(compile("\n" * line + block[1], str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "api").glob("*.md")), ids=name)
def test_the_reference_names_what_there_is(page):
    names = [*documented(page)]
    assert names
    for full in names:
        resolve(full)


def test_the_reference_has_every_operation():
    """The page names the families, and the site shows what their __all__ lists."""
    listed = [name for family in documented(ROOT / "docs" / "api" / "ops.md") for name in resolve(family).__all__]
    assert sorted(listed) == sorted(mg.ops.__all__)


@pytest.fixture(scope="module")
def program():
    """What makes docs/primitives.md: `python docs/primitives_table.py` makes it anew."""
    return runpy.run_path(str(ROOT / "docs" / "primitives_table.py"))


def without_errors(lines):
    return [line.rsplit("|", 5)[0] for line in lines]


def test_each_primitive_says_what_it_computes_and_what_its_rule_does(program):
    for family, ops in program["families"]().items():
        for name, op in ops.items():
            where = f"{name} in {family}.py: see docs/adding-a-primitive.md, and write"
            assert program["definition"](op), f"{where} a docstring with its formula, its domain and its kinks"
            assert program["gradient"](op), (
                f'{where} the mathematics of its rule as the docstring of the rule, such as """g * cos(x)""", '
                f"with a line for each argument if there are several"
            )


def test_the_page_of_primitives_is_of_the_code_as_it_stands(program):
    page = program["PAGE"].read_text()
    written = page[page.index("\n## ") + 1 :].splitlines()
    assert without_errors(written) == without_errors(program["lines"](measured=False))


@pytest.mark.slow
def test_the_errors_on_the_page_of_primitives_hold(program):
    """They differ from machine to machine, so they may be ten times as large, and those next to nothing even more."""
    rows, seen = {row.name: row for row in program["ROWS"]}, set()
    for line in program["PAGE"].read_text().splitlines():
        if line.startswith("| <code>"):
            name = line.split("|")[1].strip().replace("<wbr>", "").removeprefix("<code>").removesuffix("</code>")
            stated = np.array(line.rsplit("|", 5)[1:5], float)
            found = np.array(program["errors"](rows[name], most=2))
            assert (found <= 10 * np.maximum(stated, [1e-14, 1e-14, 1e-8, 1e-8])).all(), (name, found, stated)
            seen.add(name)
    assert len(seen) > 100


def test_the_drawings_are_of_the_code_as_it_stands():
    for name, graph in runpy.run_path(str(ROOT / "docs" / "drawings.py"))["graphs"]().items():
        svg = ElementTree.parse(ROOT / "docs" / "drawings" / f"{name}.svg")
        drawn = Counter(element.text for element in svg.iter("{http://www.w3.org/2000/svg}text"))
        frames = re.findall(r'^\t+color=.* label="?([^"=]*)"? ', graph.source, re.MULTILINE)
        assert drawn == Counter(map(html.unescape, re.findall(r">([^<>]+)</", graph.source))) + Counter(frames)


def test_the_page_in_the_docs_is_of_the_code_as_it_stands():
    (made, _), *_ = runpy.run_path(str(ROOT / "docs" / "drawings.py"))["pages"]().values()
    # Times differ from run to run, and places, which are lists of numbers, from one version of Graphviz to another.
    vary = re.compile(r'"(seconds|rule)":[^,}]*|\[-?[\d.]+(?:,-?[\d.]+)+\]')
    stored = (ROOT / "docs" / "drawings" / "backprop.html").read_text()
    assert vary.sub("", made.html) == vary.sub("", stored)


def test_the_evenings_reading_is_as_long_as_the_readme_says():
    section = (ROOT / "README.md").read_text().partition("## An evening's reading")[2].partition("\n## ")[0]
    files = [ROOT / target for target in LINK.findall(section) if target.endswith(".py")]
    script = (ROOT / "train_cifar.py").read_text()
    lines = sum(len(f.read_text().splitlines()) for f in files if f.name != "train_cifar.py")
    lines += len(script[script.index("def train(") : script.index("the pieces")].splitlines())
    assert abs(lines - int(re.search(r"the ([\d,]+) lines", section)[1].replace(",", ""))) < 50


def test_the_commands_of_the_readme_are_those_of_ci():
    commands = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    for command in ('pip install -e ".[train]"', 'pip install -e ".[test]"'):
        assert command in commands and command.removeprefix("pip ") in script
