"""The engine reads everything whatever its prefilter, sees through disguises, ends on any input, and says what it left out."""

from __future__ import annotations

import base64
import gzip
import inspect
import threading
from collections.abc import Callable
from types import ModuleType
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.evaluation.cost import hostile
from classifiers.sensitivity import bank, decode, engine, normalise, prefilter, seams, validators
from classifiers.sensitivity.engine import Detector, Scan
from classifiers.sensitivity.kinds.rule import Rule
from routing_rules.sensitivity import CustomPattern, SensitivityPolicy
from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import ScanState, Sensitivity
from tests.benchmarks.cpu_time import within

Scanning = Callable[..., Scan]

CARD = "4539 1488 " + "0343 6467"
DIGITS = CARD.replace(" ", "")
MAIL = "maria.keller@" + "kundenwerk.de"
IBAN = "DE12 5001 0517 " + "0648 4898 90"
KEY = "gh" + "p_" + "k3Jd9sLq2Wx8" + "Vb6Nm4Pz7Rt1" + "Yc5Hf0Gg2Ta9"
OWN = (
    CustomPattern("project", "secret_projects", Sensitivity.RESTRICTED, terms=("Blue Heron", "Müllerstraße", "青鷺計画")),
    CustomPattern("ticket", "internal_ids", Sensitivity.INTERNAL, pattern=r"\bTCK-\d{6}\b"),
    CustomPattern("line", "internal_ids", Sensitivity.INTERNAL, pattern=r"^CASE [A-ZÄÖÜ]+$"),
    CustomPattern("word", "internal_ids", Sensitivity.INTERNAL, pattern=r"(?i)\bgrößenwahn\w*"),
)


def turns(*texts: str, role: Role = Role.USER) -> list[Part]:
    return [Part(role, Provenance.USER, text, f"messages[{turn}]", turn) for turn, text in enumerate(texts)]


def own(*patterns: CustomPattern) -> Detector:
    return Detector(SensitivityPolicy(patterns=patterns), b"a key for tests")


@pytest.fixture(scope="module")
def engines(policy: SensitivityPolicy) -> tuple[Detector, Detector]:
    """The same detectors behind both prefilters."""
    pytest.importorskip("hyperscan")
    policy = msgspec.structs.replace(policy, patterns=OWN)
    return Detector(policy, b"key", engine="hyperscan"), Detector(policy, b"key", engine="aho-corasick")


# Both prefilters

FRAGMENTS = [
    CARD, DIGITS, MAIL, IBAN, IBAN.lower(), KEY, KEY.upper(), "536-22-" + "8412", "536 22 " + "8412", "social security", "SSN", "+49 30 " + "23125 4678",
    "(212) " + "736-5934", "Téléphone 01 44 " + "55 66 77", "TÉLÉPHONE", "電話 03-" + "5253-4111", "password: ", "Contraseña=", "CONTRASEÑA = ", "pa55!wordX9",
    "PASSWORT ist ", "postgres://app:", "s3cretPw9", "@db.internal", "PESEL ", "44051401" + "359", "αμκα ", "ΑΜΚΑ ", "егн ", "ЕГН ", "IBAN ", "card ",
    "Authorization: Bearer ", "curl -u ", "-----BEGIN PRIVATE " + "KEY-----\n", "MIIEvQIBADANBgkqhkiG9w0B" + "AQEFAASCBKcwggSj", "10.11.12.13", "192.168.1.77",
    "blue heron", "BLUE HERON", "müllerstraße", "MÜLLERSTRASSE", "MÜLLERSTRAßE", "青鷺計画", "TCK-123456", "\nCASE ÄPFEL\n", "Größenwahnsinn", "GRÖSSENWAHN",
    "GRÖßENWAHN", " ", "\n", ",", ".", "é", "\u200b", "🎉", "ſ", "\u212a", "İ", "%40", base64.b64encode(MAIL.encode()).decode(), "key = ", "token ", "sk-",
    "date of birth ", "12/04/1987", "patient ", "MRN 4452871", "passport ", "C01X00T47",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=6), max_size=9).map("".join), min_size=1, max_size=3))
def test_both_prefilters_give_the_same_findings(engines: tuple[Detector, Detector], texts: list[str]) -> None:
    hyperscan, keywords = engines
    assert (hyperscan.engine, keywords.engine) == ("hyperscan", "aho-corasick")
    assert hyperscan.scan(turns(*texts)) == keywords.scan(turns(*texts))


@pytest.mark.parametrize("fragment", [fragment for fragment in FRAGMENTS if len(fragment) > 3])
def test_both_prefilters_agree_on_each_fragment_alone_and_after_each_other(
    engines: tuple[Detector, Detector], fragment: str
) -> None:
    hyperscan, keywords = engines
    for before in ("", *FRAGMENTS):
        parts = turns(f"{before}{fragment} ")
        assert hyperscan.scan(parts) == keywords.scan(parts), parts[0].text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=30) | st.sampled_from(FRAGMENTS), max_size=5))
def test_any_text_is_scanned_and_every_finding_lies_in_its_part(detector: Detector, texts: list[str]) -> None:
    result = detector.scan(turns(*texts))
    assert result.scanned_bytes == sum(len(text.encode("utf-8", "replace")) for text in texts)
    assert result.state is ScanState.COMPLETE
    for finding in result.findings:
        assert 0 <= finding.start < finding.end <= len(texts[finding.part])


@pytest.mark.parametrize("number", [0, 1], ids=["hyperscan", "aho-corasick"])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("password", "CONTRASEÑA = pa55!wordX9"),
        ("gr_amka", "ΑΜΚΑ " + "01013099997"),
        ("phone_number", "ТЕЛЕФОН " + "123-45-67"),
        ("phone_number", "TÉLÉPHONE " + "44 55 66 77"),
    ],
)
def test_words_of_other_alphabets_count_in_both_cases(
    engines: tuple[Detector, Detector], number: int, kind: str, text: str
) -> None:
    assert kind in {finding.kind for finding in engines[number].scan(turns(text)).findings}


def test_an_escaped_address_in_a_link_is_found(scan: Scanning) -> None:
    text = f"https://shop.kundenwerk.de/?mail={MAIL.replace('@', '%40')}&page=2"
    assert [finding.kind for finding in scan(text).findings] == ["email_address"]


# Disguises

FULLWIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
BOLD = str.maketrans("0123456789", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗")


@pytest.mark.parametrize(
    ("kind", "disguised"),
    [
        ("payment_card", CARD.translate(FULLWIDTH)),
        ("payment_card", CARD.translate(ARABIC)),
        ("payment_card", CARD.translate(BOLD)),
        ("payment_card", "\u200b".join(DIGITS)),
        ("payment_card", CARD.replace(" ", "\u00a0")),
        ("payment_card", CARD.replace(" ", "\u2011")),
        ("payment_card", "\u202e" + DIGITS[::-1] + "\u202c"),
        ("payment_card", " ".join(DIGITS)),
        ("payment_card", "".join(f"&#{ord(digit)};" for digit in DIGITS)),
        ("payment_card", "".join(f"\\u{ord(digit):04x}" for digit in DIGITS)),
        ("payment_card", "".join(chr(0xE0000 + ord(digit)) for digit in DIGITS)),
        ("email_address", MAIL.replace("@", "\u2060@")),
        ("email_address", MAIL.replace("@", "＠")),
        ("email_address", MAIL.replace("a", "а")),  # Cyrillic
        ("email_address", quote(MAIL, safe="")),
        ("email_address", base64.b64encode(MAIL.encode()).decode()),
        ("email_address", base64.b64encode(base64.b64encode(MAIL.encode())).decode()),
        ("email_address", MAIL.encode().hex()),
        ("email_address", base64.b64encode(gzip.compress(f"write to {MAIL} at once".encode(), mtime=0)).decode()),
        ("github_token", KEY.replace("p_", "p\u200b_")),
        ("github_token", base64.b64encode(f"the key is {KEY} as agreed".encode()).decode()),
        ("iban", IBAN.translate(FULLWIDTH)),
        ("github_token", "\u202e" + KEY[::-1] + "\u202c"),
    ],
)  # fmt: skip
def test_a_disguised_value_is_found_where_the_disguise_stands(scan: Scanning, kind: str, disguised: str) -> None:
    text = f"für Sie: {disguised} – danke"
    (finding,) = [finding for finding in scan(text).findings if finding.kind == kind]
    shown = disguised.strip("\u202e\u202c")  # the marks that turn the direction are no part of the value
    assert text[finding.start : finding.end] == shown


@pytest.mark.parametrize("cut", range(1, len(DIGITS)))
def test_a_card_that_runs_from_one_part_into_the_next_is_found_in_both(scan: Scanning, cut: int) -> None:
    left, right = f"my card is {DIGITS[:cut]}", f"{DIGITS[cut:]} until 12/29"
    findings = scan(left, right).findings
    assert [(finding.kind, finding.part) for finding in findings] == [("payment_card", 0), ("payment_card", 1)]
    assert left[findings[0].start : findings[0].end] + right[findings[1].start : findings[1].end] == DIGITS


def test_a_card_that_an_answer_interrupts_is_found(scan: Scanning, detector: Detector) -> None:
    parts = turns(f"it begins {DIGITS[:8]}", "Go on, please.", f"{DIGITS[8:]} that is all")
    parts[1] = Part(Role.ASSISTANT, Provenance.MODEL, "Go on, please.", "messages[1]", 1)
    assert {finding.kind for finding in detector.scan(parts).findings} == {"payment_card"}


def test_whole_numbers_in_neighbouring_parts_are_not_joined(scan: Scanning) -> None:
    assert scan(f"{DIGITS[:8]}!", DIGITS[8:]).findings == ()


# Hostile inputs


@pytest.mark.hostile
@pytest.mark.parametrize("made", hostile().values(), ids=list(hostile()))
def test_a_megabyte_of_anything_is_read(scan: Scanning, made: Callable[[], str]) -> None:
    text = made()
    with within(4.0):  # a pattern that backtracks would take hours
        result = scan(text)
    assert result.scanned_bytes == len(text.encode("utf-8", "replace"))


def test_what_is_compressed_beyond_measure_makes_the_scan_incomplete(scan: Scanning) -> None:
    bomb = base64.b64encode(gzip.compress(b"0" * 50_000_000, mtime=0)).decode()
    assert scan(bomb).state is ScanState.UNSCANNED


def test_more_disguises_than_any_writing_has_make_the_scan_incomplete(scan: Scanning) -> None:
    assert scan("A%41" * 100_000).state is ScanState.UNSCANNED
    assert scan("\uff11 " * 100_000).state is ScanState.UNSCANNED


def test_a_value_after_a_megabyte_of_nothing_is_found(scan: Scanning) -> None:
    text = "words and words " * 60_000 + CARD
    assert [text[finding.start : finding.end] for finding in scan(text).findings] == [CARD]


def test_more_candidates_than_can_be_checked_make_the_scan_incomplete(scan: Scanning) -> None:
    result = scan("a@b.xx " * 30_000)
    assert result.state is ScanState.UNSCANNED
    assert result.findings


def test_many_parts_are_all_read(scan: Scanning) -> None:
    result = scan(*["nothing here"] * 2_000, f"write to {MAIL}", *["nor here"] * 2_000)
    assert [(finding.kind, finding.part) for finding in result.findings] == [("email_address", 2_000)]


def test_parts_without_text_keep_their_numbers(detector: Detector) -> None:
    parts = [Part(Role.USER, Provenance.USER, "", "messages[0]", 0, unreadable="image"), *turns("", f"to {MAIL}")]
    assert [finding.part for finding in detector.scan(parts).findings] == [2]


def test_nothing_sent_is_a_complete_scan_without_findings(detector: Detector) -> None:
    assert detector.scan([]) == Scan((), ScanState.COMPLETE, 0, detector.version)


# An organisation's own patterns


def test_the_organisations_own_patterns_and_terms_are_found_with_their_category() -> None:
    text = "TCK-123456 belongs to blue  Blue Heron, MÜLLERSTRAßE 4.\nCASE ÄPFEL\nand 青鷺計画です"
    found = [
        (finding.rule, finding.category, text[finding.start : finding.end]) for finding in own(*OWN).scan(turns(text)).findings
    ]
    assert found == [
        ("ticket", "internal_ids", "TCK-123456"),
        ("project", "secret_projects", "Blue Heron"),
        ("project", "secret_projects", "MÜLLERSTRAßE"),
        ("line", "internal_ids", "CASE ÄPFEL"),
        ("project", "secret_projects", "青鷺計画"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["xTCK-123456", "TCK-1234567", "Blue Herons", "blueheron", "a CASE ÄPFEL", "CASE ÄPFEL."])
def test_an_own_pattern_keeps_to_its_borders(text: str) -> None:
    assert own(*OWN).scan(turns(text)).findings == ()


@pytest.mark.parametrize("pattern", [r"(unclosed", r"(a)\1", r"(?=ahead)", r"a{2000}", "[z-a]", "*"])
def test_a_pattern_that_does_not_compile_is_refused_by_its_id(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern `odd-one`"):
        own(CustomPattern("odd-one", "internal_ids", Sensitivity.INTERNAL, pattern=pattern))


@pytest.mark.parametrize("given", [{}, {"pattern": "a", "terms": ("b",)}])
def test_a_pattern_needs_a_pattern_or_terms_and_not_both(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="pattern `odd-one`"):
        own(CustomPattern("odd-one", "internal_ids", Sensitivity.INTERNAL, **given))


def test_a_pattern_that_matches_nothing_or_everything_finds_only_what_has_a_length() -> None:
    detector = own(CustomPattern("empty", "internal_ids", Sensitivity.INTERNAL, pattern="x*"))
    result = detector.scan(turns("axxb"))
    assert all(finding.end > finding.start for finding in result.findings)


def test_the_version_changes_with_the_detectors_and_with_nothing_else(policy: SensitivityPolicy, detector: Detector) -> None:
    assert Detector(policy, b"another key").version == detector.version
    assert Detector(msgspec.structs.replace(policy, patterns=OWN), b"a key for tests").version != detector.version


@pytest.mark.parametrize("module", [bank, decode, normalise, prefilter, seams, validators])
def test_the_version_changes_with_the_code_that_reads_a_text(
    monkeypatch: pytest.MonkeyPatch, policy: SensitivityPolicy, detector: Detector, module: ModuleType
) -> None:
    sources = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda read: sources(read) + ("# other" if read is module else ""))
    engine._code.cache_clear()
    try:
        assert Detector(policy, b"a key for tests").version != detector.version
    finally:
        monkeypatch.undo()
        engine._code.cache_clear()


def test_digests_depend_on_the_key(policy: SensitivityPolicy, scan: Scanning) -> None:
    other = Detector(policy, b"another key").scan(turns(MAIL)).findings[0]
    assert other.digest != scan(MAIL).findings[0].digest


def test_what_the_policy_allows_is_no_finding_in_any_spelling(policy: SensitivityPolicy) -> None:
    allowed = msgspec.structs.replace(policy, allow_listed=policy.allow_listed | {CARD, MAIL})
    detector = Detector(allowed, b"key")
    assert detector.scan(turns(f"{DIGITS} and {CARD.replace(' ', '-')}, {MAIL.upper()}")).findings == ()


# Parts that were read before


def counted(calls: list[str]) -> Detector:
    def check(value: str) -> bool:
        calls.append(value)
        return True

    return Detector(
        SensitivityPolicy(), b"key", more=[Rule(id="zebra", category="pii", kind="zebra", pattern="zebra", check=check, own=True)]
    )


def test_what_was_read_once_is_not_read_again_when_the_conversation_grows() -> None:
    calls: list[str] = []
    detector = counted(calls)
    conversation = turns("a zebra.", "two zebras.", "no more.")
    first = detector.scan(conversation)
    calls.clear()
    second = detector.scan([*conversation, *turns("", "", "", "one more zebra.")[3:]])
    assert calls == ["zebra"]
    assert second.findings[:2] == first.findings
    assert [finding.part for finding in second.findings] == [0, 1, 3]


def test_the_same_text_after_another_one_is_read_anew_because_that_may_say_what_it_is() -> None:
    calls: list[str] = []
    detector = counted(calls)
    detector.scan(turns("Yes.", "a zebra."))
    detector.scan(turns("No.", "a zebra."))
    assert len(calls) == 2


def test_only_so_many_parts_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MOST_KNOWN", 50)
    calls: list[str] = []
    detector = counted(calls)
    for number in range(400):
        detector.scan(turns(f"zebra {number}."))
    known = detector._known
    assert len(known.young) + len(known._old) <= 2 * 51
    detector.scan(turns("zebra 399."))
    assert len(calls) == 400
    detector.scan(turns("zebra 0."))
    assert len(calls) == 401


# Failures


def fails(_value: str) -> bool:
    raise RuntimeError("this check is broken")


def test_a_detector_that_fails_makes_the_scan_incomplete_and_silences_no_other(
    monkeypatch: pytest.MonkeyPatch, policy: SensitivityPolicy
) -> None:
    broken = Rule(id="broken", category="pii", kind="broken", pattern=r"\bwords\b", check=fails)
    monkeypatch.setattr(engine, "RULES", (broken, *engine.RULES))
    detector = Detector(policy, b"key")
    result = detector.scan(turns(f"words and {MAIL}"))
    assert result.state is ScanState.UNSCANNED
    assert [finding.kind for finding in result.findings] == ["email_address"]
    assert detector.scan(turns(f"other ones and {MAIL}")).state is ScanState.COMPLETE


def test_one_detector_may_be_used_by_several_threads(detector: Detector) -> None:
    texts = [f"{number} {MAIL} and {CARD}" for number in range(200)]
    wanted = [detector.scan(turns(text)) for text in texts]
    answers: dict[int, list[Scan]] = {}

    def work(worker: int) -> None:
        answers[worker] = [detector.scan(turns(text)) for text in texts]

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [answers[number] for number in range(4)] == [wanted] * 4
