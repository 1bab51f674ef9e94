"""Every equation of the papers that is implemented is cited where the docs say it is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "equations.md"
CITATION = re.compile(r"RadioDiff(?:-Inverse)?, eq\. \(\d+\)")
ROWS = re.findall(
    r"^\| (RadioDiff\S*, eq\. \(\d+\)) \|.*\| `([^`]+)`", PAGE.read_text(), re.MULTILINE
)
SOURCES = [*(ROOT / "radiodiff").rglob("*.py"), *(ROOT / "studies").glob("*.py")]


@pytest.mark.parametrize(("citation", "file"), ROWS, ids=[citation for citation, _ in ROWS])
def test_a_search_finds_the_equation_in_its_file(citation, file):
    assert CITATION.fullmatch(citation)
    assert citation in (ROOT / file).read_text()


def test_the_table_lists_every_equation_that_code_cites():
    cited = {found for path in SOURCES for found in CITATION.findall(path.read_text())}
    assert cited <= {citation for citation, _ in ROWS}


@pytest.mark.parametrize(("paper", "count"), [("RadioDiff", 31), ("RadioDiff-Inverse", 45)])
def test_every_equation_has_a_row_or_is_said_to_have_no_code(paper, count):
    """The papers number their equations to 31 and to 45."""
    section = PAGE.read_text().split(f"\n## {paper}\n")[1].split("\n## ")[0]
    rows = [int(n) for n in re.findall(rf"^\| {paper}, eq\. \((\d+)\)", section, re.MULTILINE)]
    others = section.rpartition("|\n")[2]
    named = [
        number
        for first, last in re.findall(r"\((\d+)\)(?: to \((\d+)\))?", others)
        for number in range(int(first), int(last or first) + 1)
    ]
    assert sorted(rows + named) == list(range(1, count + 1))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_equations_are_cited_one_by_one_with_their_source(path):
    """Neither "eqs." nor a number without a paper before it in the same sentence part."""
    text = path.read_text()
    assert not re.search(r"\b[Ee]qs\.", text)
    for found in re.finditer(r"\beq\. ?\(?\d", text):
        before = text[: found.start()].rstrip()
        assert before.endswith(","), text[found.start() - 60 : found.end()]
