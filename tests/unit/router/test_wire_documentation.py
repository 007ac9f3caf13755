"""The page on the wire format says what the tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.api.shapes import MAX_CONTENT_PARTS, MAX_TOOLS
from router.api.wire import FIELDS, MAX_BODY_BYTES, MAX_DEPTH, MAX_EMBEDDING_INPUTS, MAX_ENTRIES, MAX_MESSAGES, MAX_TOKEN_NUMBERS
from router.stages.read_task import HEADERS
from routing_rules.task import Endpoint

PAGE = (Path(__file__).parents[3] / "docs" / "wire.md").read_text()
PATHS = {
    Endpoint.CHAT: "/v1/chat/completions",
    Endpoint.RESPONSES: "/v1/responses",
    Endpoint.EMBEDDINGS: "/v1/embeddings",
    Endpoint.MESSAGES: "/v1/messages",
}


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_every_field_stands_in_the_table_of_its_endpoint(endpoint: Endpoint) -> None:
    section = PAGE.partition(f"## `POST {PATHS[endpoint]}`")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}` | {', '.join(row.treatment)} | {row.why} |" for name, row in sorted(FIELDS[endpoint].items())]


def test_every_header_is_described_with_its_form() -> None:
    for name, (_, form) in HEADERS.items():
        assert f"| `{name}` | {form} |" in PAGE


def test_the_limits_are_those_in_force() -> None:
    for limit in (
        MAX_BODY_BYTES // 1024 // 1024,
        MAX_ENTRIES,
        MAX_TOKEN_NUMBERS,
        MAX_MESSAGES,
        MAX_CONTENT_PARTS,
        MAX_TOOLS,
        MAX_DEPTH,
        MAX_EMBEDDING_INPUTS,
    ):
        assert f" {limit:,} " in PAGE
