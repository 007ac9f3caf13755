"""The organisation's own detectors: names that are listed only as hashes, a rule file, examples that are tried, a dry run."""

from __future__ import annotations

from datetime import date
from itertools import count
from pathlib import Path

import pytest

from classifiers.assess import Assessor
from classifiers.evaluation.pool import pool_of
from classifiers.sensitivity.code_names import Names, hashed
from classifiers.sensitivity.dictionaries import Dictionaries
from router.governance.packs import dry_run, pack_faults
from routing_rules.faults import Fault
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet
from routing_rules.sensitivity import CodeNames, CustomPattern, SensitivityPolicy
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import Finding, ScanState, Sensitivity
from tests.benchmarks.cpu_time import within

KEY = b"k" * 32
LISTED = ["Blue Heron", "Zürich-Süd 7", "Quartz", "The Long Way Home Again"]
PACK = """
patterns:
  - id: case-number
    category: legal
    level: confidential
    pattern: '\\bCASE-\\d{6}\\b'
    positive: [CASE-123456, 'see CASE-000001.', 'CASE-999999 is closed']
    negative: [case closed, CASE-12, CASE-1234567]
"""
RULE_FILE = """
[[rules]]
id = "acme-token"
regex = '''\\bacme_[a-z0-9]{16}\\b'''
keywords = ["acme_"]
"""


def listed(*names: str, key: bytes = KEY) -> CodeNames:
    fill = (f"{number:016x}" for number in count())
    made = hashed(names or LISTED, key, fill)
    return CodeNames("projects", "financial", Sensitivity.RESTRICTED, made.key_id, frozenset(made.hashes))


def found(text: str, *lists: CodeNames) -> tuple[Finding, ...]:
    return Names(lists or [listed()], KEY).findings([Part(Role.USER, Provenance.USER, text, "text", 0)])


def user(text: str) -> Task:
    return Task(Endpoint.CHAT, "auto", (Part(Role.USER, Provenance.USER, text, "text", 0),))


def rules_with(sensitivity: str, **more: str) -> RuleSet:
    return load(complete({"sensitivity.yaml": sensitivity, **more}, date(2026, 11, 23)))


def codes(faults: list[Fault]) -> list[str]:
    return [fault.code for fault in faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("What of Blue Heron?", "Blue Heron"),
        ("the blue-heron budget", "blue-heron"),
        ("BLUEHERON", "BLUEHERON"),
        ("blue_heron.xlsx", "blue_heron"),
        ("In Zurich Sud 7 wird gebaut", "Zurich Sud 7"),
        ("quartz", "quartz"),
        ("on the long way home again", "the long way home"),
    ],
)
def test_a_listed_name_is_found_however_it_is_written(text: str, value: str) -> None:
    (finding,) = found(text)
    assert text[finding.start : finding.end] == value
    assert (finding.category, finding.kind, finding.rule, finding.masked) == ("financial", "projects", "projects", "****")


@pytest.mark.parametrize("text", ["blue", "heron blue", "a blue grey heron", "quartzite", "Zürich Süd", "", "…"])
def test_parts_of_a_name_are_no_name(text: str) -> None:
    assert found(text) == ()


def test_a_list_tells_neither_its_names_nor_how_many_there_are_nor_which_begin_alike() -> None:
    one, other = listed("Blue Heron"), listed(*LISTED, "Blue Whale")
    assert len(one.hashes) == len(other.hashes) == 64
    assert not one.hashes & listed("Blue Heron", key=b"another").hashes - {f"{number:016x}" for number in range(64)}
    assert "heron" not in repr(one).lower()


def test_a_list_of_another_installation_finds_nothing_and_says_so(policy: SensitivityPolicy) -> None:
    foreign = SensitivityPolicy(code_names=(listed(key=b"another"),))
    assert not Names(foreign.code_names, KEY).usable
    result = Assessor(foreign, KEY).assess(user("What is the capital of Peru?"), [])
    assert (result.state, result.sensitivity) == (ScanState.UNSCANNED, foreign.unscanned)


def test_a_listed_name_counts_as_its_list_says() -> None:
    own = SensitivityPolicy(code_names=(listed(),))
    result = Assessor(own, KEY).assess(user("Summarise the plans for Blue Heron."), [])
    assert (result.sensitivity, result.state) == (Sensitivity.RESTRICTED, ScanState.COMPLETE)
    assert "Heron" not in repr(result)


def test_a_rule_file_finds_like_the_shipped_detectors() -> None:
    policy = rules_with("floor: public", **{"gitleaks.toml": RULE_FILE}).sensitivity
    result = Assessor(policy, KEY).assess(user("use acme_" + "a1b2c3d4" * 2), [])
    assert [(finding.category, finding.rule) for finding in result.findings] == [("credentials", "acme-token")]


# Dictionaries


def terms_in(text: str, *terms: str, allowed: tuple[str, ...] = ()) -> list[str]:
    pattern = CustomPattern("terms", "legal", Sensitivity.CONFIDENTIAL, terms=terms)
    parts = [Part(Role.USER, Provenance.USER, text, "text", 0)]
    findings = Dictionaries([pattern], frozenset(allowed), KEY).findings(parts)
    assert all((finding.rule, finding.kind, finding.category) == ("terms", "terms", "legal") for finding in findings)
    return [text[finding.start : finding.end] for finding in findings]


@pytest.mark.parametrize(
    ("text", "terms", "expected"),
    [
        ("the Blue Heron and the BLUE\nHERON", ("blue heron",), ["Blue Heron", "BLUE\nHERON"]),
        ("bluebird, blue_bird, 7blue", ("blue",), []),
        ("C++ and R&D, not RnD", ("c++", "R&D"), ["C++", "R&D"]),
        ("Straße İzmir ÜBERGABE", ("übergabe",), ["ÜBERGABE"]),
        ("关于蓝鹭项目的预算", ("蓝鹭",), ["蓝鹭"]),
        ("Blue Heron East", ("Blue Heron", "Blue Heron East", "Heron"), ["Blue Heron East"]),
        ("Bl\u200bue Her\u200bon", ("Blue Heron",), ["Bl\u200bue Her\u200bon"]),
        ("QmVyaWNodCDDvGJlciBCbHVlIEhlcm9u", ("Blue Heron",), ["QmVyaWNodCDDvGJlciBCbHVlIEhlcm9u"]),
    ],
)
def test_terms_are_found_as_whole_words_whatever_their_case(text: str, terms: tuple[str, ...], expected: list[str]) -> None:
    assert terms_in(text, *terms) == expected


def test_terms_that_are_allowed_are_no_findings() -> None:
    assert terms_in("Blue Heron and Quartz", "Blue Heron", "Quartz", allowed=("blue heron",)) == ["Quartz"]


@pytest.mark.hostile
def test_one_of_many_thousand_terms_is_found() -> None:
    terms = tuple(f"project {number:05}x" for number in range(20_000))
    pattern = CustomPattern("terms", "legal", Sensitivity.CONFIDENTIAL, terms=terms)
    text = "we spoke of this and that " * 80 + "Project 00042X"
    with within(1.0):
        dictionaries = Dictionaries([pattern], frozenset(), KEY)
        (finding,) = dictionaries.findings([Part(Role.USER, Provenance.USER, text, "text", 0)])
    assert text[finding.start : finding.end] == "Project 00042X"


def test_a_dictionary_counts_as_it_says_and_its_examples_are_tried() -> None:
    pack = "patterns: [{id: deals, category: financial, level: restricted, terms: [Blue Heron], positive: [Blue Heron, BLUE HERON, a Blue Heron b], negative: [blue, heron, bluer heron]}]"
    rules = rules_with(pack)
    assert pack_faults(rules) == []
    assert Assessor(rules.sensitivity, KEY).assess(user("What of Blue Heron?"), []).sensitivity is Sensitivity.RESTRICTED


# Examples


def test_a_pack_whose_examples_hold_has_no_faults() -> None:
    assert pack_faults(rules_with(PACK)) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("CASE-123456, ", "CASE-12345, ", ["example_failed"]),
        ("[case closed, ", "[CASE-111111, ", ["example_failed"]),
        ("[case closed, CASE-12, CASE-1234567]", "[case closed]", ["few_examples"]),
        ("    positive: [CASE-123456, 'see CASE-000001.', 'CASE-999999 is closed']\n", "", ["few_examples"]),
    ],
)
def test_an_example_that_fails_or_lacks_is_told_with_its_place(old: str, new: str, expected: list[str]) -> None:
    assert old in PACK
    faults = pack_faults(rules_with(PACK.replace(old, new)))
    assert codes(faults) == expected
    assert (faults[0].file, faults[0].line, faults[0].column) == ("sensitivity.yaml", 3, 5)
    assert "111111" not in str(faults[0])


def test_a_rule_file_comes_with_examples_too() -> None:
    token = "acme_" + "a1b2c3d4" * 2
    examples = f"gitleaks_examples: {{positive: [{token}, 'x {token}', '{token} y'], negative: [acme, acme_1, acme_ABC]}}"
    assert pack_faults(rules_with(examples, **{"gitleaks.toml": RULE_FILE})) == []
    assert codes(pack_faults(rules_with("floor: public", **{"gitleaks.toml": RULE_FILE}))) == ["few_examples"] * 2


@pytest.mark.parametrize(
    ("text", "line"), [("[[rules]\n", 1), (RULE_FILE.replace("[a-z0-9]", "(?=a)"), 3), (RULE_FILE + "path = 'x'\nodd = 1\n", 3)]
)
def test_a_rule_file_that_cannot_be_used_is_told_with_its_place(text: str, line: int) -> None:
    (fault,) = pack_faults(rules_with("floor: public", **{"gitleaks.toml": text}))
    assert (fault.code, fault.file, fault.line) == ("bad_pattern", "gitleaks.toml", line)


def test_a_pattern_that_the_engine_does_not_take_is_refused_with_reason_and_place() -> None:
    with pytest.raises(Exception, match=r"sensitivity.yaml:6:14: error: .*case-number.*invalid perl operator: .*character 1"):
        rules_with(PACK.replace("'\\bCASE", "'(?=x)CASE"))


# Dry run


def test_a_dry_run_counts_what_is_flagged_and_tells_what_it_costs(tmp_path: Path) -> None:
    pool = tmp_path / "pool.txt"
    pool.write_text('{"text": "CASE-123456 again"}\n{"text": "a secret", "sensitive": true}\nnothing here\n\nnor here\n')
    texts = pool_of(pool)
    assert texts == ["CASE-123456 again", "nothing here", "nor here"]
    ticks = count()
    (trial,) = dry_run(rules_with(PACK).sensitivity, texts, lambda: float(next(ticks)))
    assert (trial.rule, trial.hits, trial.texts, trial.cost_us) == ("case-number", 1, 3, 0.0)


def test_the_pool_of_ours_is_large_and_harmless() -> None:
    texts = pool_of()
    assert len(texts) > 1_000
    with pytest.raises(ValueError, match="no text"):
        pool_of(Path("/dev/null"))
