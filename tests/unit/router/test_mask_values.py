"""Which values of a request are masked, and which stay because they cannot be masked safely."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from classifiers.sensitivity.engine import Detector
from router.api.wire import parse
from router.stages.mask import Masked, Value, mask, numbered
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Sensitivity

EMAIL, CARD = "anna.sommer@northwind-trading.com", "4539 1488 0343 6467"
WANTED = ("email_address", "payment_card", "us_ssn", "iban")
DETECTOR = Detector(SensitivityPolicy(), b"a key of the tests")


class OneSession:
    def __init__(self, known: dict[str, str]) -> None:
        self.known = known

    async def assign(self, app: str, session_id: str, values: Sequence[tuple[str, str]]) -> dict[str, str]:
        self.known = numbered([Value(*value) for value in values], self.known)
        return self.known


def masked(messages: Any, wanted: Sequence[str] = WANTED, known: dict[str, str] | None = None, **more: Any) -> Masked:
    raw = json.dumps({"model": "auto", "messages": messages, **more}).encode()
    body = parse(Endpoint.CHAT, raw, frozenset())
    task = read_task(Endpoint.CHAT, body, NO_HEADERS, {}, Sensitivity.RESTRICTED)
    findings = DETECTOR.scan(task.parts).findings
    return asyncio.run(mask(OneSession(known or {}), "app", "s", body, task, findings, wanted))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def said(text: str, **more: Any) -> Any:
    return masked([user(text)], **more).body["messages"][0]["content"]


def test_a_category_masks_all_of_its_kinds_and_a_kind_only_itself() -> None:
    text = f"Mail {EMAIL} about card {CARD}"
    assert said(text, wanted=("pci",)) == f"Mail {EMAIL} about card [PAYMENT_CARD_1]"
    assert said(text, wanted=("email_address",)) == f"Mail [EMAIL_ADDRESS_1] about card {CARD}"
    result = masked([user(text)], wanted=("iban",))
    assert (result.placeholders, result.counts) == ({}, {})


def test_a_value_is_masked_in_every_way_it_is_written_also_where_nothing_tells_what_it_is() -> None:
    told = said("My SSN is 536-22-8145. Later: 536228145, 536 22 8145. ANNA.Sommer@Northwind-Trading.com and " + EMAIL)
    assert told == ("My SSN is [US_SSN_1]. Later: [US_SSN_2], [US_SSN_3]. [EMAIL_ADDRESS_1] and [EMAIL_ADDRESS_2]")


@pytest.mark.parametrize(
    "text",
    [
        "in base64: " + base64.b64encode(f"my card is {CARD}".encode()).decode(),
        "my card is ４５３９ １４８８ ０３４３ ６４６７",
        "my card is 4539 1488\n0343 6467",
    ],
)
def test_what_was_read_in_another_form_than_it_is_written_stays(text: str) -> None:
    body, placeholders, _ = masked([user(text)])
    left = body["messages"][0]["content"]
    task = read_task(Endpoint.CHAT, body, NO_HEADERS, {}, Sensitivity.RESTRICTED)
    assert left == text or not DETECTOR.scan(task.parts).findings
    assert left == text or text in left.replace("[PAYMENT_CARD_1]", placeholders["[PAYMENT_CARD_1]"])


def test_what_runs_from_one_part_into_the_next_stays() -> None:
    parts = [{"type": "text", "text": "my card is 4539 1488"}, {"type": "text", "text": " 0343 6467 thanks"}]
    result = masked([user(parts)])
    assert result.placeholders == {}


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": {CARD: "x"}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {CARD: {"type": "string"}}}}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"pattern": CARD}}}}}]},
    ],
)
def test_a_value_that_also_stands_where_nothing_may_be_replaced_stays_everywhere(more: dict[str, Any]) -> None:
    result = masked([user(f"card {CARD} of {EMAIL}")], **more)
    assert result.body["messages"][0]["content"] == f"card {CARD} of [EMAIL_ADDRESS_1]"
    assert CARD not in result.placeholders.values()


def test_structure_is_untouched_and_what_is_no_content_stays_as_it_is() -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "write",
            "description": f"as {EMAIL} does",
            "parameters": {
                "type": "object",
                "properties": {"to": {"type": "string", "enum": [EMAIL, "nobody"]}},
                "required": ["to"],
            },
        },
    }
    result = masked([user(f"write to {EMAIL}")], tools=[tool], metadata={"name": EMAIL}, temperature=0.25, user=EMAIL)
    body = result.body
    assert body["tools"][0]["function"]["name"] == "write"
    assert body["tools"][0]["function"]["parameters"]["properties"]["to"] == {
        "type": "string",
        "enum": ["[EMAIL_ADDRESS_1]", "nobody"],
    }
    assert body["metadata"] == {"name": "[EMAIL_ADDRESS_1]"}
    assert (body["user"], body["temperature"], body["model"]) == ("[EMAIL_ADDRESS_1]", 0.25, "auto")


def test_json_in_texts_stays_json() -> None:
    number = CARD.replace(" ", "")
    given = {"card": int(number), "text": f"card {number}", "mail": "müller@northwind-trading.com", "line": "a\nb", "n": 1.50}
    for ascii_only in (True, False):
        text = json.dumps({"inner": json.dumps(given, ensure_ascii=ascii_only), "n": 1.5}, ensure_ascii=ascii_only)
        told = masked([user("about müller@northwind-trading.com"), user(text)]).body["messages"][1]["content"]
        inner = json.loads(json.loads(told)["inner"])
        assert inner == {**given, "card": "[PAYMENT_CARD_1]", "text": "card [PAYMENT_CARD_1]", "mail": "[EMAIL_ADDRESS_1]"}


def test_an_escape_is_never_taken_for_the_beginning_of_a_value() -> None:
    known = {"tom@northwind-trading.com": "[EMAIL_ADDRESS_1]"}
    text = '{"a": "\\tom@northwind-trading.com", "b": "tom@northwind-trading.com"}'
    told = said(text, known=known)
    assert (
        json.loads(told) == {"a": "\t[EMAIL_ADDRESS_2]", "b": "[EMAIL_ADDRESS_1]"} or json.loads(told)["b"] == "[EMAIL_ADDRESS_1]"
    )
    assert json.loads(told)["a"].startswith("\t")


def test_what_the_session_has_masked_before_is_masked_without_being_found_again() -> None:
    assert said("call him back: 536-22-8145", known={"536-22-8145": "[US_SSN_1]"}) == "call him back: [US_SSN_1]"


def test_many_parts_with_a_value_each_take_no_time() -> None:
    parts = [{"type": "text", "text": f"user{n}@northwind-trading.com"} for n in range(1_500)]
    assert len(masked([user(parts)]).placeholders) == 1_500
