"""What an answer that came to no end used, as far as it was seen."""

from __future__ import annotations

import pytest

from router.stages.settle import seen_usage
from router.usage import Basis, Usage
from routing_rules.task import Endpoint, Task


def task(endpoint: Endpoint) -> Task:
    return Task(endpoint=endpoint, wish="auto", parts=(), input_bytes=400)


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES])
def test_without_a_report_the_bytes_sent_and_the_characters_seen_count_four_to_a_token(endpoint: Endpoint) -> None:
    assert seen_usage(task(endpoint), None, 41, complete=False) == Usage(input=100, output=11, basis=Basis.ESTIMATED)


def test_a_message_that_was_cut_costs_what_was_seen_not_what_its_beginning_told() -> None:
    begun = Usage(input=2_000, cached_input=1_500, output=1)
    found = seen_usage(task(Endpoint.MESSAGES), begun, 4_000, complete=False)
    assert (found.input, found.cached_input, found.output, found.basis) == (2_000, 1_500, 1_000, Basis.ESTIMATED)


def test_a_message_that_told_more_than_was_seen_costs_what_it_told() -> None:
    assert seen_usage(task(Endpoint.MESSAGES), Usage(input=10, output=50), 4, complete=False).output == 50


@pytest.mark.parametrize("reported", [Usage(), Usage(input=10, output=1)])
def test_what_is_reported_at_the_end_counts_and_zero_stays_zero(reported: Usage) -> None:
    assert seen_usage(task(Endpoint.MESSAGES), reported, 4_000, complete=True) is reported
    assert seen_usage(task(Endpoint.CHAT), reported, 4_000, complete=False) is reported
