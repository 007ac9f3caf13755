"""Server-sent events as bytes, held against a reader that follows the specification line by line."""

from __future__ import annotations

import re
from itertools import pairwise

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseErrorEvent

from router import sse
from router.errors import Refused, UpstreamFailed

PIECES = st.lists(
    st.sampled_from(
        [
            b"data: {}",
            b"data:x",
            b"data",
            b"event: tick",
            b": keep-alive",
            b"id: 1",
            b"\n",
            b"\n\n",
            b"\r\n",
            b"\r",
            b" ",
            b"\xc3\xa9",
        ]
    ),
    max_size=30,
).map(b"".join)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in fragments."""
    bounds = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(bounds)]


def split(fragments: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = sse.SseSplitter()
    events = [event for fragment in fragments for event in splitter.feed(fragment)]
    return events, splitter.end()


def data_by_the_book(stream: bytes) -> list[bytes]:
    """Every dispatched event's data, read line by line; events without a data line are left out."""
    found: list[bytes] = []
    data: list[bytes] = []
    lines = re.sub(rb"\r\n?", b"\n", stream).split(b"\n")
    for line in lines[:-1]:
        if not line:
            if data:
                found.append(b"\n".join(data))
            data = []
        elif line.split(b":", 1)[0] == b"data":
            value = line.split(b":", 1)[1] if b":" in line else b""
            data.append(value[1:] if value.startswith(b" ") else value)
    return found


@given(stream=PIECES, places=st.lists(st.integers(0, 500), max_size=8))
def test_events_do_not_depend_on_where_the_fragments_break(stream: bytes, places: list[int]) -> None:
    assert split(cut(stream, places)) == split([stream])


@given(stream=PIECES, places=st.lists(st.integers(0, 500), max_size=8))
def test_no_byte_is_lost_or_changed(stream: bytes, places: list[int]) -> None:
    events, rest = split(cut(stream, places))
    assert b"".join(events) + rest == stream


@given(stream=PIECES)
def test_data_is_what_the_specification_says(stream: bytes) -> None:
    stream += b"\n\n"
    events, rest = split([stream])
    assert [data for event in [*events, rest] if (data := sse.data_of(event))] == [
        data for data in data_by_the_book(stream) if data
    ]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\n\n", b"\n\r\n"], ids=repr)
def test_an_event_is_given_as_soon_as_its_blank_line_is_whole(end: bytes) -> None:
    splitter = sse.SseSplitter()
    assert splitter.feed(b"data: a" + end) == [b"data: a" + end]


def test_a_blank_line_of_carriage_returns_waits_for_the_line_feed_that_may_belong_to_it() -> None:
    splitter = sse.SseSplitter()
    assert splitter.feed(b"data: a\r\r") == []
    assert splitter.feed(b"data: b\r\r") == [b"data: a\r\r"]
    assert splitter.end() == b"data: b\r\r"


def test_a_byte_order_mark_hides_no_data() -> None:
    assert sse.data_of(b"\xef\xbb\xbfdata: x\n\n") == b"x"


def test_an_event_beyond_the_limit_is_an_error_and_not_a_growing_buffer() -> None:
    splitter = sse.SseSplitter(limit=100)
    with pytest.raises(UpstreamFailed) as failure:
        splitter.feed(b"data: " + b"x" * 100)
    assert failure.value.code == "upstream_error"


def sdk_client(stream: bytes) -> openai.OpenAI:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    return openai.OpenAI(
        api_key="test", base_url="http://provider.test/v1", http_client=httpx.Client(transport=httpx.MockTransport(answer))
    )


def test_the_sdk_raises_what_a_chat_stream_ends_with() -> None:
    error = Refused("tool_not_entitled", "the answer calls `wipe`", param="tools")
    with sdk_client(sse.chat_error(error)) as client, pytest.raises(openai.APIError, match="wipe") as raised:
        list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True))
    assert raised.value.code == "tool_not_entitled"
    assert raised.value.param == "tools"


def test_the_sdk_reads_what_a_responses_stream_ends_with() -> None:
    error = UpstreamFailed("upstream_truncated", "the provider broke off")
    with sdk_client(sse.responses_error(error, 7)) as client:
        (event,) = list(client.responses.create(model="m", input="hi", stream=True))
    assert isinstance(event, ResponseErrorEvent)
    assert (event.code, event.message, event.sequence_number) == ("upstream_truncated", "the provider broke off", 7)
