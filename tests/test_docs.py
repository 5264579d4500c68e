"""The code in README.md and docs/ runs: each page's Python blocks in order, in one namespace."""

import re
import runpy
from collections import Counter
from pathlib import Path

import pytest

import minigraph as mg

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)[^):]*\)")


@pytest.fixture
def registry(monkeypatch):
    """The primitives that a page defines go when it is done."""
    module = __import__("sys").modules["minigraph.primitive"]
    monkeypatch.setattr(module, "_REGISTRY", dict(mg.primitives()))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_runs(page, registry, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    namespace = {"__name__": f"docs_{page.stem}"}
    for block in BLOCK.finditer(text):
        line = text[: block.start(1)].count("\n")
        # blank lines above, so that tracebacks and blame point into the page
        exec(compile("\n" * line + block[1], str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_drawings_are_of_the_code_as_it_stands():
    for name, graph in runpy.run_path(str(ROOT / "docs" / "drawings.py"))["graphs"]().items():
        drawn = re.findall(r"<text[^>]*>([^<]+)</text>", (ROOT / "docs" / "drawings" / f"{name}.svg").read_text())
        assert drawn and Counter(drawn) == Counter(re.findall(r">([^<>]+)</", graph.source))


def test_the_commands_of_the_readme_are_those_of_ci():
    commands = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    for command in ('pip install -e ".[train]"', 'pip install -e ".[test]"'):
        assert command in commands and command.removeprefix("pip ") in script
