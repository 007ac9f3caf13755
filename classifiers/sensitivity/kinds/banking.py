"""Bank accounts: IBAN, account and routing numbers, BIC."""

from __future__ import annotations

from stdnum.us import rtn

from classifiers.sensitivity.kinds.rule import SOME_DIGITS, Rule
from classifiers.sensitivity.validators import digits_of, iban, stdnum_check


def _account(value: str) -> bool:
    digits = digits_of(value)
    return 6 <= len(digits) <= 17 and len(set(digits)) > 2


RULES = (
    Rule(
        id="banking.iban",
        category="financial",
        kind="iban",
        pattern=r"\b[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]{4}){2,7}(?:[ \-]?[A-Z0-9]{1,4})?\b",
        trigger=r"[A-Z]{2}\d{2}[ \-]?[A-Z0-9]{4}[ \-]?[A-Z0-9]{4}",
        check=iban,
        score=0.98,
        specific=3,
    ),
    Rule(
        id="banking.iban_lower_case",
        category="financial",
        kind="iban",
        pattern=r"\b[a-z]{2}\d{2}(?:[ \-]?[a-z0-9]{4}){2,7}(?:[ \-]?[a-z0-9]{1,4})?\b",
        trigger=r"[a-z]{2}\d{2}[ \-]?[a-z0-9]{4}",
        check=iban,
        context=("iban", "account", "konto", "transfer", "compte", "cuenta", "conto"),
        score=0.9,
        specific=3,
    ),
    Rule(
        id="banking.bic",
        category="financial",
        kind="bic",
        pattern=r"\b([A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)\b",
        trigger=r"[A-Z]{6}[A-Z0-9]{2}",
        context=("bic", "swift", "swift code", "bic/swift"),
        before=20,
        after=0,
        score=0.7,
        specific=0,
    ),
    Rule(
        id="banking.routing_number",
        category="financial",
        kind="routing_number",
        pattern=r"\b\d{9}\b",
        trigger=SOME_DIGITS,
        check=stdnum_check(rtn),
        context=("routing", "routing number", "aba", "rtn"),
        before=40,
        after=20,
        score=0.85,
    ),
    Rule(
        id="banking.account_number",
        category="financial",
        kind="bank_account",
        pattern=(
            r"(?i)(?:\b(?:bank |checking |savings |deposit )?account (?:number|no\.?|#)|\bacct\.? ?(?:number|no\.?|#)|\bkontonummer|\bsort code \d\d-?\d\d-?\d\d,? account)"
            r"[^0-9\n]{0,12}(\d(?:[ \-]?\d){5,16})\b"
        ),
        keywords=("account", "acct", "kontonummer"),
        check=_account,
        score=0.8,
        specific=1,
    ),
    Rule(
        id="banking.sort_code",
        category="financial",
        kind="bank_account",
        pattern=r"\b(\d{2}-\d{2}-\d{2})\b",
        trigger=SOME_DIGITS,
        context=("sort code",),
        before=30,
        after=0,
        score=0.8,
    ),
)  # fmt: skip
