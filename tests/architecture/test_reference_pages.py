"""The pages are not behind the code: generated ones are as generated now, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from amity.app.cli import cli
from amity.app.reference import pages

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """What the code says now."""
    return pages(cli)


def test_reference_pages_are_as_generated(generated: dict[str, str]) -> None:
    """Each committed page equals the one made now; write them anew with `amity reference`.

    So the pages hang on nothing but the code either: not on ids, times or folders.
    """
    behind = [
        name
        for name, text in generated.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != text
    ]

    assert behind == []


def test_no_page_is_left_over(generated: dict[str, str]) -> None:
    """The folder of generated pages holds nothing else."""
    found = {path.name for path in REFERENCE.iterdir()}

    assert found == set(generated)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_what_exists(page: Path) -> None:
    """Each link to a file names one, and after `#` a name defined in it or one of its headings."""
    targets = [match["target"] for match in LINK.finditer(page.read_text())]
    lost = [target for target in targets if "://" not in target and not leads(page, target)]

    assert lost == []


def leads(page: Path, target: str) -> bool:
    """Whether a relative link leads somewhere."""
    path, _, name = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return False
    if not name:
        return True
    text = file.read_text()
    if file.suffix == ".md":
        return name in {anchor(line) for line in text.splitlines() if line.startswith("#")}
    named = rf"^\s*(?:async def|def|class) {re.escape(name)}\b|^{re.escape(name)}\b.*="
    return re.search(named, text, re.MULTILINE) is not None


def anchor(heading: str) -> str:
    """The anchor of a heading, as code forges make it."""
    words = re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower())
    return words.replace(" ", "-")
