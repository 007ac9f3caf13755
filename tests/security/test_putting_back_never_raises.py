"""Whatever a provider sends to a masked session, putting the values back ends in an answer or in a clear error, and in no value that was
not given out; what was not granted stays out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.stages.enforce import StreamEnforcer, enforce_json
from router.stages.unmask import Placeholders
from routing_rules.decisions import ToolGrant
from routing_rules.task import Endpoint

GRANT = ToolGrant(granted=(("function", "granted"),))
VALUES = Placeholders({"[EMAIL_ADDRESS_1]": "wipe_disk", "[PAYMENT_CARD_12]": "4539 1488 0343 6467"})
TEXTS = st.lists(
    st.sampled_from(["[", "[EMAIL", "_ADDRESS_", "1]", "[PAYMENT_CARD_1", "2]", "]", "a", "\n", '"']), max_size=4
).map("".join)
NAMES = st.sampled_from(
    "type delta content index id name function arguments tool_calls role message item output_index item_id content_index "
    "sequence_number response output text finish_reason".split()
)
KINDS = st.sampled_from(
    "response.output_text.delta response.output_text.done response.function_call_arguments.delta response.output_item.done "
    "response.completed response.created keepalive error function_call".split()
)
SCALARS = st.none() | st.booleans() | st.integers(-1, 3) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | KINDS
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)
CHOICES = st.fixed_dictionaries(
    {}, optional={"index": ANYTHING, "delta": ANYTHING, "message": ANYTHING, "finish_reason": SCALARS}
)
EVENTS = ANYTHING | st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "delta": ANYTHING,
        "output_index": ANYTHING,
        "item_id": ANYTHING,
        "sequence_number": ANYTHING,
        "response": ANYTHING,
    },
)
CHUNKS = ANYTHING | st.fixed_dictionaries({"choices": st.lists(CHOICES, max_size=3) | ANYTHING})


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.RESPONSES])
@given(data=st.data(), named=st.booleans(), network=st.integers(1, 50))
def test_a_stream_of_any_shape(endpoint: Endpoint, data: st.DataObject, named: bool, network: int) -> None:
    events = data.draw(st.lists(EVENTS if endpoint is Endpoint.RESPONSES else CHUNKS, max_size=5))
    enforcer = StreamEnforcer(endpoint, GRANT, strip_usage=True, denial_is_error=False, placeholders=VALUES)
    raw = b"".join((b"event: x\n" if named else b"") + b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
    told = b"".join(enforcer.feed(raw[at : at + network]) for at in range(0, len(raw), network))
    last = enforcer.end()
    assert b'"name":"wipe_disk"' not in told + last.body + last.tail


@pytest.mark.parametrize("endpoint", list(Endpoint))
@given(answer=ANYTHING)
def test_an_answer_of_any_shape(endpoint: Endpoint, answer: Any) -> None:
    enforce_json(endpoint, msgspec.json.encode(answer), GRANT, denial_is_error=False, placeholders=VALUES)


def test_a_tool_whose_name_only_appears_when_a_value_is_put_back_is_judged_by_that_name() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "[EMAIL_ADDRESS_1]", "arguments": "{}"}}
    body = {
        "id": "a",
        "choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "tool_calls"}],
    }
    told = enforce_json(Endpoint.CHAT, msgspec.json.encode(body), GRANT, denial_is_error=False, placeholders=VALUES)
    assert told.refused == ("wipe_disk",)
    assert told.released == ()
