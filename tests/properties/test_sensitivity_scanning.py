"""Whatever is sent: both engines find the same, a growing conversation reads like a new one, and nothing makes a scan fail."""

from __future__ import annotations

import base64
import gzip
from datetime import date
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from classifiers.sensitivity.engine import Detector
from classifiers.sensitivity.kinds.rule import Rule
from routing_rules.load import load, shipped
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import ScanState

CARD = "4539 1488 " + "0343 6467"
MAIL = "maria.keller@" + "kundenwerk.de"
KEY = "gh" + "p_" + "k3Jd9sLq2Wx8" + "Vb6Nm4Pz7Rt1" + "Yc5Hf0Gg2Ta9"
PIECES = st.sampled_from(
    [
        CARD, CARD.replace(" ", ""), CARD[:9], CARD[9:], MAIL, MAIL[:8], MAIL[8:], KEY, KEY[:20], KEY[20:], "DE12 5001 0517 " + "0648 4898 90", "SSN ", "536 22 " + "8412",
        "password: ", "pa55!wordX9", "token = ", "my card is ", "Thanks.", "ok", "\n", "\r\n", " ", ".", "@", "é", "№", "\u200b", "\u202e", "**", "%40", "&#64;", "\\u0040", "🎉", "а",
        "one two three four five six seven", "4111 1111 1111 1111", "Basic ", "=", "==", "/", "\x00", "\ud83d", "date of birth ", "12/04/1987", "-----BEGIN PRIVATE " + "KEY-----",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=8), max_size=8).map("".join)
ROLES = st.sampled_from(
    [
        (Role.USER, Provenance.USER),
        (Role.ASSISTANT, Provenance.MODEL),
        (Role.TOOL, Provenance.TOOL_RESULT),
        (Role.SYSTEM, Provenance.APP),
        None,
    ]
)
CONVERSATIONS = st.lists(st.tuples(ROLES, TEXTS), max_size=6)


def parts_of(conversation: list[tuple[tuple[Role, Provenance] | None, str]]) -> list[Part]:
    """One part a turn; where there is no role, a string that belongs to no turn."""
    parts = []
    for turn, (speaker, text) in enumerate(conversation):
        role, provenance = speaker or (Role.SYSTEM, Provenance.TOOL_DEFINITION)
        parts.append(Part(role, provenance, text, f"messages[{turn}]", turn if speaker else -1))
    return parts


@pytest.fixture(scope="module")
def policy() -> SensitivityPolicy:
    return load(shipped(date(2026, 11, 23))).sensitivity


@pytest.fixture(scope="module")
def seasoned(policy: SensitivityPolicy) -> Detector:
    """A detector that knows the parts of all earlier examples again."""
    return Detector(policy, b"key")


@settings(max_examples=150, deadline=None)
@given(CONVERSATIONS)
@example([((Role.USER, Provenance.USER), "token = k3Jd9\u017fLq2" + "Wx8Vb6Nm4Pz7Rt1")])
@example([((Role.USER, Provenance.USER), "secret: 3Jd9\u212aLq2" + "Wx8Vb6Nm4Pz7Rt1")])
@example([((Role.USER, Provenance.USER), "of ZTAwMB/DlMKAwq10b2tlbiA9IA== and so on")])
def test_both_engines_find_the_same_in_any_conversation(
    policy: SensitivityPolicy, conversation: list[tuple[tuple[Role, Provenance] | None, str]]
) -> None:
    pytest.importorskip("hyperscan")
    parts = parts_of(conversation)
    assert Detector(policy, b"key", "hyperscan").scan(parts) == Detector(policy, b"key", "aho-corasick").scan(parts)


USER = (Role.USER, Provenance.USER)
ANSWER = (Role.ASSISTANT, Provenance.MODEL)


@settings(max_examples=200, deadline=None)
@given(CONVERSATIONS)
@example([(USER, "my card is " + CARD[:9]), (USER, CARD[9:])])
@example([(USER, "my card is " + CARD[:9]), (ANSWER, "Go on."), (USER, CARD[9:])])
@example([(USER, "it is 4111 1111"), (USER, "1111 1111 as printed")])
@example([(USER, "What is your SSN?"), (ANSWER, "it is 536 22 " + "8412")])
def test_a_conversation_reads_the_same_turn_by_turn_and_at_once(
    policy: SensitivityPolicy, seasoned: Detector, conversation: list[tuple[tuple[Role, Provenance] | None, str]]
) -> None:
    parts = parts_of(conversation)
    for length in range(1, len(parts) + 1):
        assert seasoned.scan(parts[:length]) == Detector(policy, b"key").scan(parts[:length])
    assert seasoned.scan(parts[1:]) == Detector(policy, b"key").scan(parts[1:])  # the same parts under other numbers


def disguised(text: str, way: int) -> str:
    data = text.encode("utf-8", "replace")
    return (
        text,
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(base64.b64encode(data)).decode().rstrip("="),
        data.hex(),
        quote(data),
        "".join(f"&#{ord(character)};" for character in text),
        "".join(f"\\u{ord(character) & 0xFFFF:04x}" for character in text),
        base64.b64encode(gzip.compress(data, mtime=0)).decode(),
        "\u202e" + text[::-1] + "\u202c",
        "\u200b".join(text),
        "**".join(text),
    )[way]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.integers(0, 10), st.integers(0, 10)), max_size=4))
def test_no_disguise_in_a_disguise_makes_a_scan_fail_or_point_outside_its_part(
    seasoned: Detector, given: list[tuple[str, int, int]]
) -> None:
    texts = [disguised(disguised(text, inner), outer) for text, inner, outer in given]
    parts = parts_of([(USER, text) for text in texts])
    scan = seasoned.scan(parts)
    assert scan.state is ScanState.COMPLETE
    assert scan.scanned_bytes == sum(len(text.encode("utf-8", "replace")) for text in texts)
    for finding in scan.findings:
        assert 0 <= finding.start < finding.end <= len(texts[finding.part])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([base64.b64encode, base64.b16encode, lambda data: quote(data).encode()]))
def test_bytes_that_are_no_text_are_read_without_fault(seasoned: Detector, data: bytes, encode: object) -> None:
    text = encode(gzip.compress(data, mtime=0)).decode() + " " + encode(data).decode()  # type: ignore[operator]
    assert seasoned.scan(parts_of([(USER, text)])).state is ScanState.COMPLETE


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_a_detector_that_fails_leaves_its_part_unscanned_however_often_it_is_read(policy: SensitivityPolicy, text: str) -> None:
    def fails(_value: str) -> bool:
        raise RuntimeError("this check is broken")

    broken = Rule(id="broken", category="pii", kind="broken", pattern="zebra", check=fails, own=True)
    detector = Detector(policy, b"key", more=[broken])
    parts = parts_of([(USER, text + " zebra")])
    without = set(Detector(policy, b"key").scan(parts).findings)
    for _ in range(2):
        scan = detector.scan(parts)
        assert scan.state is ScanState.UNSCANNED
        assert set(scan.findings) == without
    assert Detector(policy, b"key").scan(parts).state is ScanState.COMPLETE
