"""What fuzzing found, kept as the inputs that showed it: none of them may break an invariant, or hide a value, again."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from urllib.parse import quote

import pytest

from classifiers.sensitivity import normalise
from classifiers.sensitivity.engine import Scan
from tests.fuzz.invariants import CHECKS

CARD = "4539 1488 " + "0343 6467"
MAIL = "maria.keller@" + "kundenwerk.de"
CODES: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64url": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
    "hexadecimal": lambda data: data.hex().encode(),
    "percent": lambda data: quote(data).encode(),
    "percent throughout": lambda data: b"".join(b"%%%02x" % byte for byte in data),
    "entities": lambda data: b"".join(b"&#%d;" % byte for byte in data),
    "escapes": lambda data: b"".join(b"\\u%04x" % byte for byte in data),
    "gzip": lambda data: base64.b64encode(gzip.compress(data, mtime=0)),
}


@pytest.mark.parametrize(
    ("check", "data"),
    [
        ("undisguising", b"\xe2\x80\xaeabc\xc5\xbf"),
        ("undisguising", b"\xe2\x80\xae" + b"a" * 399 + b"\xef\xbc\x94\xef\xbc\x95"),
        ("decoding", b"\\ud83d\\ude00 %26%2364%3B"),
        ("decoding", b"bX**kgY2FyZCBpcyA0NTM5"),
    ],
)
def test_an_input_that_once_broke_an_invariant_keeps_it(check: str, data: bytes) -> None:
    CHECKS[check](data)


def test_disguises_inside_turned_text_are_taken_off_too(scan: Callable[..., Scan]) -> None:
    wide = CARD.translate({ord(digit): chr(ord(digit) - ord("0") + ord("\uff10")) for digit in "0123456789"})
    assert {finding.kind for finding in scan(f"my card is \u202e{wide[::-1]}\u202c").findings} == {"payment_card"}


def test_a_run_of_disguises_that_goes_on_after_turned_text_is_taken_off_to_its_end() -> None:
    text = "\u202e" + "a" * 399 + "\uff14" * 3
    found, complete = normalise.undisguised(text, text.encode())
    view = normalise.view_of(text, found)
    assert (complete, view and view.text) == (True, "4" + "a" * 399 + "44")


@pytest.mark.parametrize("outer", CODES)
@pytest.mark.parametrize("inner", CODES)
def test_a_code_inside_any_other_code_is_read(scan: Callable[..., Scan], inner: str, outer: str) -> None:
    coded = CODES[outer](CODES[inner](f"my card is {CARD}, thank you".encode())).decode()
    findings = scan(f"Köln: {coded} und so weiter").findings
    assert {finding.kind for finding in findings} == {"payment_card"}
    assert all(6 <= finding.start < finding.end <= 6 + len(coded) for finding in findings)


def test_three_codes_in_one_another_are_read(scan: Callable[..., Scan]) -> None:
    coded = f"my card is {CARD}".encode()
    for code in ("entities", "gzip", "escapes"):
        coded = CODES[code](coded)
    assert "payment_card" in {finding.kind for finding in scan(coded.decode()).findings}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (MAIL.replace("@", "&#64;"), "email_address"),
        (MAIL.replace("@", "\\u0040"), "email_address"),
        (f"https://shop.example/pay?card={quote(CARD)}&next=1", "payment_card"),
        (base64.b64encode(f"https://shop.example/pay?card={quote(CARD)}&next=1".encode()).decode(), "payment_card"),
    ],
)
def test_one_escaped_character_in_a_value_does_not_hide_it(scan: Callable[..., Scan], text: str, kind: str) -> None:
    assert kind in {finding.kind for finding in scan(text).findings}
