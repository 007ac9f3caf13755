"""Identifiers of patients and insured persons."""

from __future__ import annotations

from classifiers.sensitivity.kinds.rule import SOME_DIGITS, Rule
from classifiers.sensitivity.validators import luhn, weighted_mod11_nhs


def _npi(value: str) -> bool:
    return luhn("80840" + value)


def _mixed(value: str) -> bool:
    return sum(character.isdigit() for character in value) >= 4 and len(set(value)) > 2


RULES = (
    Rule(
        id="health.record_number",
        category="phi",
        kind="medical_record_number",
        pattern=r"(?i)\b(?:mrn|medical record(?: number| no\.?| #)?|patient (?:id|number|no\.?|#)|chart (?:number|no\.?|#))[\s:=#\"'.\-]{0,4}(?:is )?([A-Z]{0,4}[ \-]?\d[A-Z0-9\-]{3,14})\b",
        keywords=("mrn", "medical record", "patient", "chart"),
        check=_mixed,
        score=0.9,
    ),
    Rule(
        id="health.nhs_number",
        category="phi",
        kind="nhs_number",
        pattern=r"\b\d{3}[ \-]?\d{3}[ \-]?\d{4}\b",
        trigger=SOME_DIGITS,
        check=weighted_mod11_nhs,
        context=("nhs", "nhs number", "nhs no"),
        before=40,
        after=20,
        score=0.95,
    ),
    Rule(
        id="health.insurance_member",
        category="phi",
        kind="health_insurance_id",
        pattern=(
            r"(?i)\b(?:(?:health )?insurance (?:id|number|no\.?|policy(?: number)?)|member (?:id|number)|subscriber (?:id|number)|medicare (?:id|number|no\.?)|medicaid (?:id|number)"
            r"|krankenversicherten(?:nummer|nr\.?)|versichertennummer)[\s:=#\"'.]{0,4}(?:is )?([A-Z]{0,5}[ \-]?\d[A-Z0-9\-]{4,16})\b"
        ),
        keywords=("insurance", "member", "subscriber", "medicare", "medicaid", "krankenversicherten", "versichertennummer"),
        check=_mixed,
        score=0.8,
    ),
    Rule(
        id="health.npi",
        category="phi",
        kind="provider_npi",
        pattern=r"\b[12]\d{9}\b",
        trigger=SOME_DIGITS,
        check=_npi,
        context=("npi", "national provider"),
        before=30,
        after=10,
        score=0.85,
    ),
    Rule(
        id="health.dea",
        category="phi",
        kind="dea_number",
        pattern=r"\b[A-Z][A-Z9]\d{7}\b",
        trigger=SOME_DIGITS,
        context=("dea", "dea number"),
        before=30,
        after=10,
        score=0.8,
    ),
)  # fmt: skip
