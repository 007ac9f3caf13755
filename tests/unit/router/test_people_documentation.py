"""What the page on people says of routes and roles is the table that the gate goes by."""

from __future__ import annotations

import re
from pathlib import Path

from router.api.people import ROUTES
from router.principals import Role

PAGE = (Path(__file__).parents[3] / "docs" / "people.md").read_text(encoding="utf-8")


def test_the_table_of_routes_and_roles_is_the_gates_own() -> None:
    header = next(line for line in PAGE.splitlines() if line.startswith("| route |"))
    names = [cell.strip() for cell in header.strip("|").split("|")][1:]
    told = {}
    for line in PAGE.splitlines():
        if found := re.match(r"\| `(GET|POST) (/api/[^`]+)` \|(.*)\|$", line):
            cells = [cell.strip() for cell in found[3].split("|")]
            given = {name for name, cell in zip(names, cells, strict=True) if cell}
            assert "admin key" in given
            told[found[1], found[2]] = frozenset(Role(name) for name in given - {"admin key"})
    assert told == {route: frozenset(allowed) for route, allowed in ROUTES.items()}


def test_the_page_names_every_role() -> None:
    assert {role.value for role in Role} == set(re.findall(r"^\| `([a-z-]+)` \| [^|]*\|$", PAGE, re.MULTILINE))
