"""Evidence only ever raises the level: the highest counts, many values and linked identifiers count more, unread counts too."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.sensitivity.combine import Level, evidence, level
from classifiers.sensitivity.topics import TOPICS
from routing_rules.sensitivity import CustomPattern, SensitivityPolicy
from routing_rules.task import Part, Provenance, Role
from routing_rules.vocabulary import CATEGORIES, Finding, ScanState, Sensitivity

PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED = Sensitivity
COMPLETE, UNSCANNED = ScanState.COMPLETE, ScanState.UNSCANNED
UNREADABLE = ("image", "audio", "file", "remote", "encrypted", "tokens")


def finding(category: str, kind: str, value: str = "a", score: float = 0.9, rule: str = "rule") -> Finding:
    return Finding(category, kind, rule, 0, 0, 1, score, "****", value)


def unread(what: str) -> Part:
    return Part(Role.USER, Provenance.USER, "", "messages[0]", 0, unreadable=what)


CARD = finding("pci", "payment_card")
NAME = finding("pii", "person_name")
MAIL = finding("pii", "email_address")
SSN = finding("pii", "us_ssn")
RECORD = finding("phi", "medical_record_number")


def reached(
    policy: SensitivityPolicy,
    *findings: Finding,
    topics: dict[str, float] | None = None,
    parts: tuple[Part, ...] = (),
    state: ScanState = COMPLETE,
) -> Level:
    return level(policy, findings, topics or {}, parts, state)


def test_nothing_found_counts_as_the_floor(policy: SensitivityPolicy) -> None:
    assert reached(policy) == Level(PUBLIC, frozenset(), 1.0)
    higher = msgspec.structs.replace(policy, floor=CONFIDENTIAL)
    assert reached(higher, MAIL).sensitivity is CONFIDENTIAL


def test_the_highest_evidence_counts_and_every_category_is_named(policy: SensitivityPolicy) -> None:
    answer = reached(policy, MAIL, CARD, topics={"legal": 0.8, "hr": 0.2})
    assert (answer.sensitivity, answer.categories) == (RESTRICTED, {"pii", "pci", "legal"})
    assert answer.confidence == CARD.score


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (MAIL, INTERNAL),
        (NAME, INTERNAL),
        (SSN, CONFIDENTIAL),
        (RECORD, CONFIDENTIAL),
        (finding("financial", "iban"), CONFIDENTIAL),
        (CARD, RESTRICTED),
        (finding("credentials", "github_token"), RESTRICTED),
        (finding("of_a_category_without_a_row", "odd"), CONFIDENTIAL),
    ],
)
def test_one_finding_counts_as_the_shipped_policy_says(policy: SensitivityPolicy, found: Finding, expected: Sensitivity) -> None:
    assert reached(policy, found).sensitivity is expected


def test_a_kind_goes_before_its_category_and_an_own_pattern_has_its_own_level() -> None:
    policy = SensitivityPolicy(
        categories={"pii": CONFIDENTIAL, "codes": PUBLIC},
        kinds={"email_address": PUBLIC},
        patterns=(CustomPattern("project", "codes", RESTRICTED, terms=("Blue Heron",)),),
    )
    assert reached(policy, MAIL).sensitivity is PUBLIC
    assert reached(policy, finding("codes", "project", rule="project")).sensitivity is RESTRICTED
    assert reached(policy, finding("codes", "other")).sensitivity is PUBLIC


@pytest.mark.parametrize(("distinct", "expected"), [(9, INTERNAL), (10, CONFIDENTIAL), (99, CONFIDENTIAL)])
def test_many_distinct_values_of_a_kind_raise_it_by_one_level(
    policy: SensitivityPolicy, distinct: int, expected: Sensitivity
) -> None:
    found = [finding("pii", "email_address", f"digest {number}") for number in range(distinct)]
    assert reached(policy, *found).sensitivity is expected


def test_a_hundred_values_about_people_raise_by_two_levels_and_addresses_of_machines_by_one(policy: SensitivityPolicy) -> None:
    rows = [finding("pii", "email_address", f"digest {number}") for number in range(100)]
    hosts = [finding("pii", "ip_address", f"digest {number}") for number in range(100)]
    assert reached(policy, *rows).sensitivity is RESTRICTED
    assert reached(policy, *hosts).sensitivity is CONFIDENTIAL
    assert reached(msgspec.structs.replace(policy, bulk=101), *rows).sensitivity is CONFIDENTIAL


def test_an_order_in_what_was_read_is_a_category_and_no_level(policy: SensitivityPolicy) -> None:
    sure, quoted = finding("injection", "override", score=0.85), finding("injection", "override", score=0.4)
    assert reached(policy, sure) == Level(PUBLIC, frozenset({"injection"}), 1.0)
    assert reached(policy, quoted) == Level(PUBLIC, frozenset(), 1.0)
    asked_for = msgspec.structs.replace(policy, categories={**policy.categories, "injection": INTERNAL})
    assert reached(asked_for, sure).sensitivity is INTERNAL


def test_evidence_below_the_thresholds_of_the_organisation_does_not_count(policy: SensitivityPolicy) -> None:
    stricter = msgspec.structs.replace(
        policy, thresholds={"pci": 0.95, "us_ssn": 0.5}, topic_thresholds={"legal": 0.9, "hr": 0.3}
    )
    assert reached(stricter, CARD) == Level(PUBLIC, frozenset(), 1.0)
    assert reached(stricter, SSN).sensitivity is CONFIDENTIAL
    assert reached(stricter, topics={"legal": 0.8}).categories == frozenset()
    assert reached(stricter, topics={"hr": 0.4}).categories == {"hr"}


def test_a_label_that_a_file_carries_counts_as_the_policy_says(policy: SensitivityPolicy) -> None:
    known, unknown = "2096f6a2-d2f7-48be-b329-b73aaa526e5d", "0f1a2b3c-0000-4000-8000-aaaaaaaaaaaa"
    mapped = msgspec.structs.replace(policy, labels={known: CONFIDENTIAL}, unmapped_label=RESTRICTED)
    file = Part(Role.USER, Provenance.ATTACHMENT, "text", "messages[0]", 0)
    assert reached(mapped, parts=(msgspec.structs.replace(file, labels=(known,)),)).sensitivity is CONFIDENTIAL
    assert reached(mapped, parts=(msgspec.structs.replace(file, labels=(known, unknown)),)).sensitivity is RESTRICTED


def test_every_reason_is_told_and_none_tells_a_value(policy: SensitivityPolicy) -> None:
    found = [finding("pii", "person_name", "Ann Other"), finding("pii", "birth_date", "1970-01-01")]
    reasons = evidence(policy, found, {"legal": 0.7}, [unread("file")], UNSCANNED)
    assert [(reason.why, reason.about[0] if reason.about else "") for reason in reasons] == [
        ("finding", "person_name"),
        ("finding", "birth_date"),
        ("linked", "birth_date"),
        ("topic", "legal"),
        ("unread", "file"),
        ("unscanned", ""),
    ]
    assert "Other" not in repr(reasons)


def test_one_value_many_times_is_not_many(policy: SensitivityPolicy) -> None:
    assert reached(policy, *[MAIL] * 50).sensitivity is INTERNAL


def test_many_of_the_highest_level_stay_there(policy: SensitivityPolicy) -> None:
    found = [finding("pci", "payment_card", f"digest {number}") for number in range(50)]
    assert reached(policy, *found).sensitivity is RESTRICTED


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((NAME, MAIL), CONFIDENTIAL),
        ((MAIL, RECORD), CONFIDENTIAL),
        ((MAIL, finding("pii", "email_address", "other")), INTERNAL),  # two of one kind are two people as well
        ((MAIL, finding("source_code", "internal_host")), INTERNAL),
    ],
)
def test_two_kinds_of_identifier_of_a_person_link(
    policy: SensitivityPolicy, found: tuple[Finding, ...], expected: Sensitivity
) -> None:
    assert reached(policy, *found).sensitivity is expected


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_counts_from_a_half_and_never_beyond_confidential(policy: SensitivityPolicy, topic: str) -> None:
    strict = msgspec.structs.replace(policy, topics=dict.fromkeys(TOPICS, RESTRICTED))
    assert reached(strict, topics={topic: 1.0}).sensitivity is CONFIDENTIAL
    assert reached(policy, topics={topic: 0.5}) == Level(policy.topics[topic], frozenset({topic}), 0.5)
    assert reached(policy, topics={topic: 0.499}).sensitivity is PUBLIC


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_part_that_cannot_be_read_counts_as_the_policy_says(policy: SensitivityPolicy, what: str) -> None:
    expected = policy.unreadable.get(what, policy.unscanned)
    assert reached(policy, parts=(unread(what),)).sensitivity is expected
    assert expected > PUBLIC


def test_what_is_unread_or_unscanned_is_internal_at_least_whatever_the_policy_says() -> None:
    lax = SensitivityPolicy(unreadable={"image": PUBLIC}, unscanned=PUBLIC)
    assert reached(lax, parts=(unread("image"),)).sensitivity is INTERNAL
    assert reached(lax, state=UNSCANNED).sensitivity is INTERNAL


def test_an_unscanned_task_counts_as_the_policy_says(policy: SensitivityPolicy) -> None:
    assert reached(policy, state=UNSCANNED).sensitivity is policy.unscanned is CONFIDENTIAL
    assert reached(policy, CARD, state=UNSCANNED).sensitivity is RESTRICTED


FINDINGS = st.builds(
    finding,
    category=st.sampled_from(CATEGORIES),
    kind=st.sampled_from(["email_address", "person_name", "us_ssn", "payment_card", "iban", "ip_address", "api_key"]),
    value=st.sampled_from(["", "a", "b", "c"]),
    score=st.floats(0.0, 1.0),
)
LEVELS = st.sampled_from(Sensitivity)
POLICIES = st.builds(
    SensitivityPolicy,
    floor=LEVELS,
    categories=st.dictionaries(st.sampled_from(CATEGORIES), LEVELS),
    kinds=st.dictionaries(st.sampled_from(["email_address", "us_ssn", "payment_card"]), LEVELS),
    topics=st.dictionaries(st.sampled_from(TOPICS), LEVELS),
    unreadable=st.dictionaries(st.sampled_from(UNREADABLE), LEVELS),
    unscanned=LEVELS,
    many=st.integers(1, 4),
)
SCORES = st.dictionaries(st.sampled_from(TOPICS), st.floats(0.0, 1.0))
PARTS = st.lists(st.sampled_from(UNREADABLE).map(unread), max_size=3)


@given(POLICIES, st.lists(FINDINGS), SCORES, PARTS, st.sampled_from(ScanState), st.lists(FINDINGS), SCORES, PARTS, st.booleans())
def test_more_evidence_never_lowers_the_level(
    policy: SensitivityPolicy,
    findings: list[Finding],
    topics: dict[str, float],
    parts: list[Part],
    state: ScanState,
    more_findings: list[Finding],
    more_topics: dict[str, float],
    more_parts: list[Part],
    fails: bool,
) -> None:
    before = level(policy, findings, topics, parts, state)
    higher = {topic: max(topics.get(topic, 0.0), more_topics.get(topic, 0.0)) for topic in topics.keys() | more_topics.keys()}
    after = level(policy, findings + more_findings, higher, parts + more_parts, UNSCANNED if fails else state)
    assert policy.floor <= before.sensitivity <= after.sensitivity
    assert before.categories <= after.categories
    assert 0.0 <= before.confidence <= 1.0


@given(POLICIES, st.lists(FINDINGS), SCORES, st.randoms())
def test_the_order_of_findings_does_not_matter(
    policy: SensitivityPolicy, findings: list[Finding], topics: dict[str, float], random: object
) -> None:
    other = sorted(findings, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert level(policy, findings, topics, [], COMPLETE) == level(policy, other, topics, [], COMPLETE)
