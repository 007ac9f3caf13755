"""Papers of a person: passports, driving licences, dates of birth."""

from __future__ import annotations

from classifiers.sensitivity.kinds.rule import SOME_DIGITS, Rule


def _has_digits(value: str) -> bool:
    return sum(character.isdigit() for character in value) >= 4


_MONTH = r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"

RULES = (
    Rule(
        id="documents.passport",
        category="pii",
        kind="passport",
        pattern=(
            r"(?i)\b(?:passport|reisepass|passnummer|passeport|pasaporte|passaporto|passaporte|paspoort|paszport)(?:nummer)?"
            r"(?: ?(?:number|no\.?|num\.?|n°|nr\.?|#|id))?[\s:=#\"']{0,4}(?:is |was |ist |est |es )?[\s:\"']{0,2}([A-Z0-9]{1,3}[ \-]?\d[A-Z0-9]{4,8})\b"
        ),
        keywords=("passport", "reisepass", "passnummer", "passeport", "pasaporte", "passaporto", "passaporte", "paspoort", "paszport"),
        check=_has_digits,
        score=0.85,
    ),
    Rule(
        id="documents.passport_russian",
        category="pii",
        kind="passport",
        pattern=r"\b\d{2} ?\d{2} ?(?:№ ?)?\d{6}\b",
        trigger=SOME_DIGITS,
        context=("паспорт", "паспорта", "паспорте"),
        before=40,
        after=0,
        score=0.85,
    ),
    Rule(
        id="documents.driving_licence",
        category="pii",
        kind="driving_licence",
        pattern=(
            r"(?i)\b(?:driv(?:er'?s?|ing)[ _]licen[sc]e|driver'?s? lic\.?|dl\b|führerschein|permis de conduire|licencia de conducir)"
            r"(?: ?(?:number|no\.?|num\.?|nr\.?|#|id))?[\s:=#\"'\-]{0,4}(?:is |was |ist |est )?[\s:\"']{0,2}([A-Z]{0,5}\d[A-Z0-9 \-]{4,18}[A-Z0-9])\b"
        ),
        trigger=r"(?i)driv(?:er|ing)[^\x00]{0,4}lic|\bdl\b[^\x00]{0,24}\d|führerschein|permis de conduire|licencia de conducir",
        keywords=("driv", "dl", "führerschein", "permis de conduire", "licencia de conducir"),
        check=_has_digits,
        score=0.8,
    ),
    Rule(
        id="documents.birth_date",
        category="pii",
        kind="birth_date",
        pattern=rf"(?i)\b(\d{{1,2}}[./\-]\d{{1,2}}[./\-](?:19|20)?\d{{2}}|(?:19|20)\d{{2}}[./\-]\d{{1,2}}[./\-]\d{{1,2}}|\d{{1,2}}(?:st|nd|rd|th)? {_MONTH},? (?:19|20)\d{{2}}|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d{{2}})\b",
        trigger=r"(?i)\d[./\-]\d{1,2}[./\-]\d|[a-zA-Z]{3}[,.]? \d{1,2}(?:st|nd|rd|th)?,? \d{4}|\d(?:st|nd|rd|th)? [a-zA-Z]{3,9},? \d{4}",
        context=(
            "date of birth", "dob", "d.o.b", "birth date", "birthdate", "birthday", "geburtsdatum", "geboren am", "né le", "née le", "date de naissance",
            "fecha de nacimiento", "data di nascita", "data de nascimento", "geboortedatum", "data urodzenia", "出生日期", "born on",
        ),
        before=40,
        after=12,
        score=0.8,
        specific=1,
    ),
)  # fmt: skip
