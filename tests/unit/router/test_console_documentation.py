"""What the page on the console says of pages and roles is what its doors let through."""

from __future__ import annotations

import re
from pathlib import Path

from router.console.access import NAVIGATION, may_open
from router.principals import Role

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "console.md").read_text(encoding="utf-8")


def test_the_table_of_pages_and_roles_is_what_the_doors_let_through() -> None:
    header = next(line for line in PAGE.splitlines() if line.startswith("| page |"))
    roles = [Role(cell.strip()) for cell in header.strip("|").split("|")[1:]]
    told = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if len(cells) == len(roles) + 1 and re.fullmatch(r"[A-Z][a-z ]+", cells[0]):
            told[cells[0]] = {role for role, cell in zip(roles, cells[1:], strict=True) if cell}
    expected = {
        item.name: {role for role in Role if may_open((role,), "GET", item.path)} for group in NAVIGATION for item in group.items
    }
    assert told == expected


def test_every_picture_of_the_page_is_there() -> None:
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / picture).is_file(), picture
