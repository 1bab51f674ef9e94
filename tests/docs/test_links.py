"""What the docs, the README and the model cards point to exists: pages, headings, files."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "data/*.md", "data/pretrained/*/*.md", "tests/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
GENERATED = ROOT / "docs" / "reference" / "configuration"
PATH = re.compile(
    r"\b((?:radiodiff|scripts|studies|configs|tests|docs)/[\w./-]+\.(?:py|yaml|md)"
    r"|data/[\w-]+/[\w-]+)\b"
)
MADE_BY_USERS = re.compile(
    r"NAME|data/(?:RadioMapSeer|pretrained/(?:vae|radiodiff|imagenet|radiounet|lpips)\b)"
)


def without_code(page: Path) -> str:
    """The text of a page without fenced and indented code."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of headings, as GitHub and MkDocs both make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(without_code(page)):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        if file.parent == GENERATED:  # written when the site is built
            assert (ROOT / "scripts" / f"{file.stem}.py").is_file(), link
            continue
        assert file.exists(), f"{link}: no such file"
        if anchor and file.name != "data.md":  # that page is data/README.md
            assert anchor in anchors(file), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page):
    named = {name for name in PATH.findall(page.read_text()) if not MADE_BY_USERS.search(name)}
    assert not [name for name in named if not (ROOT / name).exists()]


def test_pages_that_code_and_configurations_name_exist():
    folders = ("radiodiff/**/*.py", "studies/*.py", "scripts/*.py", "configs/**/*.yaml")
    sources = [path for pattern in folders for path in ROOT.glob(pattern)]
    named = {
        name for path in sources for name in re.findall(r"docs/[\w./-]+?\.md", path.read_text())
    }
    assert named
    assert not [name for name in named if not (ROOT / name).is_file()]
