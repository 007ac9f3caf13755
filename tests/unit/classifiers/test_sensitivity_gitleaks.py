"""A rule file in the format of gitleaks runs on the engine, and what it asks for beyond that is refused by name."""

from __future__ import annotations

import pytest

from classifiers.sensitivity.engine import Detector
from classifiers.sensitivity.kinds.gitleaks import rules_from
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Part, Provenance, Role

FILE = r'''
title = "ours"

[allowlist]
description = "paths never apply"
paths = ["vendor/.*"]
stopwords = ["Sample"]

[[allowlists]]
targetRules = ["acme-key"]
regexes = ["^acme_0+$"]

[[rules]]
id = "acme-key"
description = "Acme API key"
regex = '''+"'''"+r'''\b(acme)_([a-z0-9]{12})\b'''+"'''"+r'''
secretGroup = 2
keywords = ["ACME"]
entropy = 2.5
tags = ["acme"]

[[rules.allowlists]]
regexTarget = "line"
regexes = ["do not flag"]

[[rules.allowlists]]
condition = "AND"
regexes = ["^k"]
stopwords = ["9z"]

[[rules]]
id = "widget"
regex = '(?i)widget-(?:a(\d{4})|b(\d{4}))'
keywords = ["shop"]
path = '\.env$'
'''  # fmt: skip


def found(text: str, file: str = FILE, engine: str | None = None) -> list[tuple[str, str]]:
    detector = Detector(SensitivityPolicy(), b"key", engine, rules_from(file))
    findings = detector.scan([Part(Role.USER, Provenance.USER, text, "text", 0)]).findings
    return [(finding.rule, text[finding.start : finding.end]) for finding in findings]


@pytest.mark.parametrize("engine", [None, "aho-corasick"])
@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("use acme_q7w3e9r1t5y2 now", [("acme-key", "q7w3e9r1t5y2")]),
        ("use acme_aaaaaaaaaaab now", []),  # not random enough
        ("acme_q7w3e9r1t5y2 # do not flag", []),
        ("do not flag\nacme_q7w3e9r1t5y2", [("acme-key", "q7w3e9r1t5y2")]),  # another line
        ("acme_q7sample1t5y", []),  # a stop word of the whole file
        ("acme_k7w3e9zr1t5y", []),  # both conditions hold
        ("acme_k7w3e9r1t5y2", [("acme-key", "k7w3e9r1t5y2")]),  # one of two
        ("in the shop: WIDGET-a1234 and widget-b5678", [("widget", "1234"), ("widget", "5678")]),
        ("in the store: widget-a1234", []),  # its keyword is nowhere
    ],
)
def test_rules_of_a_file_find_what_they_describe(text: str, values: list[tuple[str, str]], engine: str | None) -> None:
    assert found(text, engine=engine) == values


def test_findings_of_a_rule_file_are_credentials_of_the_rules_name() -> None:
    (first, second) = rules_from(FILE)
    assert (first.category, first.kind, second.kind) == ("credentials", "acme-key", "widget")


def test_the_version_changes_with_an_allow_list() -> None:
    other = FILE.replace("do not flag", "never flag")
    versions = {Detector(SensitivityPolicy(), b"key", more=rules_from(file)).version for file in (FILE, other)}
    assert len(versions) == 2


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("not [toml", "not TOML"),
        ("[extend]\nuseDefault = true", "the file: `extend` is not supported"),
        ("[[rules]]\nregex = 'a'", "rule 1: `id`"),
        ("[[rules]]\nid = 'one'", "rule `one`: `regex`"),
        ("[[rules]]\nid = 'one'\npath = 'a'", "rule `one`: `regex`"),
        ("[[rules]]\nid = 'one'\nregex = '(?=a)'", "rule `one`: a regex does not compile"),
        ("[[rules]]\nid = 'one'\nregex = '(a'", "rule `one`: a regex does not compile"),
        ("[[rules]]\nid = 'one'\nregex = 'a'\nsecretGroup = 1", "rule `one`: `secretGroup`"),
        ("[[rules]]\nid = 'one'\nregex = 'a'\nentropy = 'high'", "rule `one`: `entropy`"),
        ("[[rules]]\nid = 'one'\nregex = 'a'\nkeywords = 'a'", "rule `one`: `keywords`"),
        ("[[rules]]\nid = 'one'\nregex = 'a'\nrequired = []", "rule `one`: `required` is not supported"),
        ("[[rules]]\nid = 'one'\nregex = 'a'\n[[rules]]\nid = 'one'\nregex = 'b'", "rule `one`: the id is used twice"),
        ("[[rules]]\nid = 'one'\nregex = 'a'\n[rules.allowlist]\nregexes = ['(?<b)']", "rule `one`: a regex does not compile"),
        ("[[rules]]\nid = 'one'\nregex = 'a'\n[rules.allowlist]\nregexTarget = 'file'", "rule `one`: `regexTarget`"),
        ("[[rules]]\nid = 'one'\nregex = 'a'\n[rules.allowlist]\ncondition = 'XOR'", "rule `one`: `condition`"),
        ("rules = 3", "tables"),
    ],
)
def test_what_a_file_asks_for_and_cannot_have_is_refused_with_the_rule_and_the_reason(file: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rules_from(file)


def test_an_empty_file_has_no_rules() -> None:
    assert rules_from("") == ()
