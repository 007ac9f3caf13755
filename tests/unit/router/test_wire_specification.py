"""The tables of the wire format against the types of the installed official client: a new release shows here what is missing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import openai.types.chat.chat_completion_message
import pytest
from official_client import BASE, NEEDED, bodies, client_fields, examples, is_not_served, is_reference
from openai.types.responses import ResponseOutputItem

from router.api.shapes import AssistantMessage
from router.api.wire import FIELDS, ITEMS, Treatment, parse
from router.errors import Refused
from router.stages.read_task import NO_HEADERS, read_task
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Sensitivity


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_every_field_of_the_official_client_has_a_row(endpoint: Endpoint) -> None:
    assert client_fields(endpoint).keys() - FIELDS[endpoint].keys() == set()


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_every_row_is_a_field_of_the_official_client(endpoint: Endpoint) -> None:
    assert FIELDS[endpoint].keys() - client_fields(endpoint).keys() == set()


@pytest.mark.parametrize(("endpoint", "field"), [(endpoint, field) for endpoint in Endpoint for field in FIELDS[endpoint]])
def test_every_value_that_the_official_client_can_send_is_accepted_unless_its_row_says_refuse(
    endpoint: Endpoint, field: str
) -> None:
    refused = FIELDS[endpoint][field].treatment == (Treatment.REFUSE,)
    base = BASE[endpoint] | NEEDED.get((endpoint, field), {})
    for kind in client_fields(endpoint)[field]:
        for value in examples(kind):
            body = {**base, field: value}
            raw = msgspec.json.encode(body)
            if value is None and FIELDS[endpoint][field].required:
                continue
            not_served = endpoint is Endpoint.MESSAGES and is_not_served(value)
            if value is not None and (refused or not_served or (field == "input" and is_reference(value))):
                with pytest.raises(Refused) as refusal:
                    parse(endpoint, raw)
                assert refusal.value.code in ("invalid_request", "unknown_parameter")
                assert (refusal.value.param or "").startswith(field)
            else:
                assert parse(endpoint, raw) == body


def test_every_item_that_an_answer_may_hold_can_be_sent_back() -> None:
    union = get_args(ResponseOutputItem)[0]
    for model in get_args(union):
        kind = get_args(model.model_fields["type"].annotation)[0]
        accepted = {field.encode_name for field in msgspec.structs.fields(ITEMS[kind])} | {"type"}
        assert model.model_fields.keys() - accepted == set(), kind


def test_every_field_of_an_answered_message_can_be_sent_back() -> None:
    answered = openai.types.chat.chat_completion_message.ChatCompletionMessage.model_fields.keys()
    assert answered - {field.encode_name for field in msgspec.structs.fields(AssistantMessage)} == {"role"}


def test_every_row_gives_a_reason() -> None:
    for table in FIELDS.values():
        for name, row in table.items():
            assert row.why, name
            assert row.treatment, name


def containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for held in value.values() if isinstance(value, dict) else value:
            yield from containers(held)


ODD: list[Any] = [None, True, 3, -1, 2**70, 0.5, "", "word", "x" * 2_000, [], {}, [None], [""], [[]], {"type": "text"}, {"": ""}]


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_a_valid_request_with_anything_in_the_wrong_place_is_refused_or_can_be_read(endpoint: Endpoint) -> None:
    chance = random.Random(f"wrong place in {endpoint}")
    refused = read = 0
    for body in bodies(endpoint):
        for _ in range(3):
            broken = msgspec.json.decode(msgspec.json.encode(body))
            place = chance.choice(list(containers(broken)))
            if isinstance(place, dict) and place and chance.random() < 0.2:
                del place[chance.choice(list(place))]
            elif isinstance(place, dict):
                place[chance.choice([*place, "extra", "type", "name"])] = chance.choice(ODD)
            else:
                place.append(chance.choice(ODD))
            try:
                checked = parse(endpoint, msgspec.json.encode(broken), frozenset({"extra", "messages[].extra", "input[].extra"}))
            except Refused:
                refused += 1
            else:
                read_task(endpoint, checked, NO_HEADERS, {}, Sensitivity.RESTRICTED)
                read += 1
    assert min(refused, read) > 5
