"""Links to places that nobody has listed are taken out of an answer's words, however they are written and wherever chunks cut them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.stages.screen import MOST_HELD, NOTE, Screen, ScreenedStream
from routing_rules.task import Endpoint

LISTED = ("https://wiki.example.org/",)
AWAY = [
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
]
KEPT = [
    "See [the page](https://wiki.example.org/a/b?c=d#e), please.",
    "Meet at 10:30, then a/b and/or c; // as in code",
    "http: is what it begins with; www is a word & so on",
    r"a \ b, C:\temp, x && y, &amp; and 5:4",
    "# Title\n\n- [an item](#title)\n- `https` and `://` apart",
    "who, what, half, fine",
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


def test_arguments_of_calls_are_judged_elsewhere() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "open", "arguments": '{"url": "https://quagga.example/"}'}}
    body = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "https://quagga.example/x", "tool_calls": [call]}}]
    }
    told = json.loads(Screen(LISTED).whole(json.dumps(body).encode()))
    assert told["choices"][0]["message"] == {"role": "assistant", "content": NOTE, "tool_calls": [call]}
