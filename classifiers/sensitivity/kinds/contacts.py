"""How to reach a person: e-mail, telephone, postal address, the name somebody gives."""

from __future__ import annotations

import re

from classifiers.sensitivity.kinds.rule import SOME_DIGITS, Rule
from classifiers.sensitivity.validators import Check, digits_of, fictitious_us_telephone, mail_address, telephone

TELEPHONE_WORDS = (
    "phone", "telephone", "tel", "mobile", "cell", "call", "fax", "sms", "text me", "text him", "text her", "text us", "whatsapp", "dial", "number is", "reach", "message", "answering", "voicemail", "hotline",
    "telefon", "telefonnummer", "handy", "mobil", "rufnummer", "téléphone", "telephone", "portable", "teléfono", "telefono", "móvil",
    "movil", "celular", "telefone", "cellulare", "telefoon", "telefoonnummer", "puhelin", "tlf", "numer telefonu", "komórka", "il mio numero", "mi número", "mein nummer", "meine nummer", "mon numéro", "meu número", "mijn nummer", "mitt nummer", "mój numer",
    "τηλέφωνο", "κινητό", "мобильный", "номер", "携帯", "휴대폰", "연락처", "هاتفي", "جوال", "טלפון", "điện thoại",
    "電話", "电话", "手机", "电话号码", "फ़ोन", "फोन", "मोबाइल", "телефон", "هاتف", "전화", "โทร",
)  # fmt: skip


_AT, _DOT = re.compile(r" ?[\[({]at[\])}] ?", re.IGNORECASE), re.compile(r" ?[\[({]?\bdot\b[\])}]? ?| ?\. ?", re.IGNORECASE)


def _spelled_address(value: str) -> bool:
    return mail_address(_DOT.sub(".", _AT.sub("@", value)))


def _said_address(value: str) -> bool:
    return mail_address(value.lower().replace(" dot ", ".").replace(" at ", "@"))


def _american(value: str) -> bool:
    return not fictitious_us_telephone(value) and _dialled_in_america(value)


def _international(value: str) -> bool:
    return _dialled_anywhere(_without_extension(value))


def _without_extension(value: str) -> str:
    return value.partition("x")[0].removesuffix(" e").removesuffix("e")


def _worded(value: str) -> bool:
    digits = digits_of(_without_extension(value))
    return 7 <= len(digits) <= 15 and len(set(digits)) > 2 and not fictitious_us_telephone(value)


def _national(value: str) -> bool:
    digits = digits_of(value)
    return 9 <= len(digits) <= 12 and len(set(digits)) > 2 and digits[1] != "0"


_dialled_in_america: Check = telephone("US")
_dialled_anywhere: Check = telephone(None)

RULES = (
    Rule(
        id="contacts.email",
        category="pii",
        kind="email_address",
        pattern=r"[\pL\d][\pL\d._%+\-]*@(?:[\pL\d\-]+\.)+\pL{2,}",
        trigger=r"[^\s]@[^\s]",
        keywords=("@",),
        check=mail_address,
        score=0.95,
        specific=1,
    ),
    Rule(
        id="contacts.email_spelled",
        category="pii",
        kind="email_address",
        pattern=(
            r"(?i)\b[a-z0-9][a-z0-9._%+\-]*(?: ?[\[({]?\bdot\b[\])}]? ?[a-z0-9_\-]+)* ?[\[({]at[\])}] ?"
            r"[a-z0-9\-]+(?:(?: ?[\[({]?\bdot\b[\])}]? ?| ?\. ?)[a-z0-9\-]+)+\b"
        ),
        trigger=r"(?i)[\[({]at[\])}]",
        keywords=("[at", "(at", "{at"),
        check=_spelled_address,
        score=0.85,
        specific=1,
    ),
    Rule(
        id="contacts.email_said",
        category="pii",
        kind="email_address",
        pattern=r"(?i)\b[a-z0-9][a-z0-9._+\-]*(?: dot [a-z0-9_\-]+)* at [a-z0-9\-]+(?: dot [a-z0-9\-]+)* dot [a-z]{2,10}\b",
        trigger=r"(?i) at [a-z0-9\-]+ dot [a-z0-9\-]",
        keywords=(" dot ",),
        check=_said_address,
        context=("mail", "email", "e-mail", "reach", "contact", "write", "address", "message"),
        before=40,
        after=0,
        score=0.75,
        specific=1,
    ),
    Rule(
        id="contacts.telephone_international",
        category="pii",
        kind="phone_number",
        pattern=r"\+\d{1,3}[ .\-/]{0,2}(?:\(\d{1,5}\))?(?:[ .\-/]{0,2}\(?\d+\)?){1,7}(?: ?(?:x|ext\.?) ?\d{1,6})?\b",
        trigger=r"\+\d{1,3}[ .\-/(]{0,5}\d",
        keywords=("+",),
        check=_international,
        score=0.9,
        specific=1,
    ),
    Rule(
        id="contacts.telephone_american",
        category="pii",
        kind="phone_number",
        pattern=r"(?:^|^ |[^\d] |[^\d.\- ])((?:1[ .\-])?(?:\([2-9]\d{2}\)[ \-.]?|[2-9]\d{2}[ .\-])[2-9]\d{2}[ .\-]\d{4}(?: ?(?:x|ext\.?) ?\d{1,6})?)\b",
        trigger=r"\d{3}\)?[ .\-]?\d{3}[ .\-]\d{4}",
        check=_american,
        score=0.8,
        specific=1,
    ),
    Rule(
        id="contacts.telephone_named",
        category="pii",
        kind="phone_number",
        pattern=r"(?:^|[^\w.\-+])(\(?\d(?:[ .\-/()]{0,2}\d){6,14}(?: ?x ?\d{1,6})?)\b",
        trigger=SOME_DIGITS,
        check=_worded,
        context=TELEPHONE_WORDS,
        before=30,
        after=0,
        score=0.75,
        specific=0,
    ),
    Rule(
        id="contacts.telephone_labelled",
        category="pii",
        kind="phone_number",
        pattern=r"(?i)(?:^|[^\w.\-+])(\(?\d(?:[ .\-/()]{0,2}\d){6,14}(?: ?x ?\d{1,6})?) \(?(?:office|fax|mobile|cell|desk|work|home|direct)\b",
        trigger=r"(?i)\d \(?(?:office|fax|mobile|cell|desk|work|home|direct)",
        keywords=("office", "fax", "mobile", "cell", "desk", "work", "home", "direct"),
        check=_worded,
        score=0.75,
        specific=0,
    ),
    Rule(
        id="contacts.telephone_trunk",
        category="pii",
        kind="phone_number",
        pattern=r"(?:^|[^\w.\-+/])(\(?0\d{1,4}\)?[ \-/]\d{2,4}(?:[ \-]\d{2,4}){1,4}|0\d{2,4}[\-/]\d{6,8})\b",
        trigger=r"0\d{1,4}\)?[ \-/]\d{2}",
        check=_national,
        score=0.65,
        specific=0,
    ),
    Rule(
        id="contacts.street_address",
        category="pii",
        kind="postal_address",
        pattern=(
            r"\b\d{1,5}[A-Za-z]?,? (?:(?:[NSEW]|North|South|East|West)\.? )?(?:[A-Z][A-Za-z'.\-]{1,20} ){1,3}"
            r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Terrace|Square|Place|Pl|Parkway|Pkwy|Close|Crescent)\b"
        ),
        trigger=r"\d[A-Za-z]?,? [A-Z][A-Za-z'. \-]{2,64}(?:St|Av|R[od]|Bo?[ul]|L[an]|Dr|C[otrl]|Wa|Te|Sq|P[lak])",
        keywords=("st", "av", "rd", "road", "bl", "bo", "lane", "ln", "dr", "court", "ct", "way", "terrace", "square", "pl", "pa", "pkwy", "cl", "cr"),
        score=0.7,
        specific=0,
    ),
    Rule(
        id="contacts.name_given",
        category="pii",
        kind="person_name",
        pattern=(
            r"(?:[Mm]y name is|[Ii] am called|[Mm]ein Name ist|[Jj]e m'appelle|[Mm]e llamo|[Mm]i chiamo|[Mm]eu nome é|[Nn]azywam się|[Mm]ijn naam is|[Jj]ag heter)"
            r" (\p{Lu}[\pL'.\-]+(?: \p{Lu}[\pL'.\-]+){1,3})"
        ),
        trigger=r"(?i)name i|m called|appelle|llamo|chiamo|meu nome|nazywam|naam is|jag heter",
        keywords=("name is", "am called", "name ist", "appelle", "llamo", "chiamo", "meu nome", "nazywam", "naam is", "jag heter"),
        score=0.7,
        specific=0,
    ),
)  # fmt: skip
