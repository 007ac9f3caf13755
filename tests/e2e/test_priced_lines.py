"""What the price book says reaches the ledger: the price of the day, the list price beside it, and the version of the book."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from governed import deployment, rule_files
from inspecting import rows
from running import Running, running
from stub_provider import StubProvider, serving

ASK = {"messages": [{"role": "user", "content": "Translate: the train leaves at nine."}]}
BOOK = """
version: e2e
rates: {EUR: [{from: 2020-01-01, usd: 1.25}]}
prices:
  - {id: old, deployment: m, from: 2020-01-01, until: 2021-12-31, per_million: {input: 99, output: 99}}
  - id: now
    deployment: m
    from: 2022-01-01
    currency: EUR
    per_million: {input: 4, cached_input: 1, output: 8}
discounts:
  - {id: frame, deployment: m, percent: 10, classes: [output], source: contract 7}
"""


@pytest.fixture(scope="module")
def stub() -> Iterator[StubProvider]:
    with serving() as provider:
        yield provider


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, stub: StubProvider) -> Iterator[Running]:
    rules = rule_files([deployment("m", stub.url)], then="wish: honour") | {"prices.yaml": BOOK}
    with running(tmp_path_factory.mktemp("priced") / "data", rules=rules) as started:
        yield started


def asked(service: Running, **more: Any) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {service.key()}"}
    answer = httpx.post(
        f"{service.base_url}/v1/chat/completions", json={"model": "m", **ASK, **more}, headers=headers, timeout=60
    )
    assert answer.status_code == 200, answer.text
    _ = answer.content
    service.settled()
    query = (
        "SELECT * FROM ledger_lines WHERE request_id = (SELECT request_id FROM ledger_entries ORDER BY opened_at DESC LIMIT 1)"
    )
    return rows(service.data_dir, query)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_each_line_has_its_price_its_list_price_and_the_version_of_the_book(service: Running, stream: bool) -> None:
    found = {line["token_class"]: line for line in asked(service, stream=stream)}
    # The stub tells 120 tokens in, 64 of them from a cache, and 20 out, 8 of them reasoning.
    assert {name: line["quantity"] for name, line in found.items()} == {
        "input": 56,
        "cached_input": 64,
        "output": 12,
        "reasoning": 8,
    }
    assert {name: line["unit_price"] for name, line in found.items()} == {
        "input": 5_000_000_000,
        "cached_input": 1_250_000_000,
        "output": 9_000_000_000,
        "reasoning": 9_000_000_000,
    }
    assert {name: line["list_price"] for name, line in found.items()} == {
        "input": 5_000_000_000,
        "cached_input": 1_250_000_000,
        "output": 10_000_000_000,
        "reasoning": 10_000_000_000,
    }
    assert {line["price_book"].partition(".")[0] for line in found.values()} == {"e2e"}
    assert sum(line["cost_nano"] for line in found.values()) == 56 * 5_000 + 64 * 1_250 + 20 * 9_000
