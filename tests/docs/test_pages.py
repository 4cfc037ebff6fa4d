"""The pages agree with the repository: links, lists of sweeps and scripts, and plain words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from repository_files import tracked

from trainers import schema

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "logs/README.md")),
     *tracked(DOCS, "**/*.md")]
)  # fmt: skip

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`]*`")

GENERATED = ("configuration.md", "commands.md", "shipped_sweeps.md", "columns.md")

HELPERS = ("plain", "process_cost", "turns")
"""Files of benchmarks/ that the benchmarks import."""

AVOIDED = (
    "ends well", "ended well", "last word", "by heart", "so many", "in place of", "a turn",
    "short of", "pays", "folded", "starved", "given up on", "as good as", "simply", "obviously",
    "easily", "utilize", "leverage", "seamless", "powerful", "blazing", "note that", "please",
)  # fmt: skip


def text_of(page: Path) -> str:
    """The text of a page without blocks of code."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub and MkDocs name them."""
    names = set()
    for line in text_of(page).splitlines():
        if line.startswith("#"):
            title = line.lstrip("#").strip().replace("`", "").replace("\\", "").lower()
            names.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return names


def relative_links(page: Path) -> list[str]:
    links = LINK.findall(CODE.sub("", text_of(page)))
    return [link for link in links if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_exist(page: Path) -> None:
    for link in relative_links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_pages_of_the_site_link_only_to_the_site() -> None:
    for page in tracked(DOCS, "**/*.md"):
        for link in relative_links(page):
            path = link.partition("#")[0]
            assert (page.parent / path).resolve().is_relative_to(DOCS), f"{page.name}: {link}"


def test_every_page_of_the_four_parts_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for part in ("tutorial", "how-to", "reference", "explanation"):
        for page in tracked(DOCS / part, "*.md"):
            assert page.relative_to(DOCS).as_posix() in navigation


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_use_plain_words(page: Path) -> None:
    text = " ".join(CODE.sub("", text_of(page)).lower().split())
    assert not [words for words in AVOIDED if re.search(rf"\b{words}\b", text)]


def test_the_readme_is_one_screen() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 50
    assert any("`make test`" in line for line in lines)


@pytest.mark.parametrize(
    "word",
    ["censored", "hole", "island", "kappa", "lapse", "n50", "part", "shard", "SID", "store"],
)
def test_the_glossary_has_the_words_of_the_pages(word: str) -> None:
    glossary = DOCS / "reference" / "glossary.md"
    used = re.compile(rf"\b{word}\b", re.IGNORECASE)
    assert any(used.search(page.read_text()) for page in PAGES if page != glossary)
    assert f"\n| {word} | " in glossary.read_text()


def test_every_sweep_is_listed() -> None:
    listed = (DOCS / "reference" / "shipped_sweeps.md").read_text()
    for path in tracked(ROOT / "configs" / "sweep", "*.yaml"):
        assert f"| `{path.stem}` |" in listed


def test_every_figure_script_and_benchmark_is_listed() -> None:
    figures = "".join(page.read_text() for page in tracked(DOCS, "**/*.md"))
    for script in tracked(ROOT / "analysis", "*.py"):
        if script.stem != "__init__":
            assert f"{script.name}`" in figures or f"analysis/{script.name}" in figures
    benchmarks = (DOCS / "reference" / "benchmarks.md").read_text()
    for script in tracked(ROOT / "benchmarks", "*.py"):
        if script.stem not in HELPERS:
            assert f"`benchmarks/{script.name}`" in benchmarks


def test_every_column_of_the_runs_table_is_explained() -> None:
    page = (DOCS / "reference" / "files.md").read_text()
    for column in schema.FACTS:
        assert f"`{column}`" in page
