"""Payment cards and what is printed on them."""

from __future__ import annotations

from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.validators import cards_in, named_cards_in

RULES = (
    Rule(
        id="payments.card_number",
        category="pci",
        kind="payment_card",
        pattern=r"\b\d(?:[ .\-_/\x{2013}]{0,3}\d){11,80}\b",
        trigger=r"\d(?:[^A-Za-z0-9]{0,3}\d){11}",
        locate=cards_in,
        score=0.95,
        specific=3,
    ),
    Rule(
        id="payments.card_number_named",
        category="pci",
        kind="payment_card",
        pattern=r"\b\d(?:[ .\-_/]{0,3}\d){11,40}\b",
        trigger=r"\d(?:[^A-Za-z0-9]{0,3}\d){11}",
        locate=named_cards_in,
        context=(
            "card",
            "credit card",
            "debit card",
            "visa",
            "mastercard",
            "amex",
            "american express",
            "discover",
            "diners",
            "jcb",
            "maestro",
            "pan",
        ),
        score=0.8,
        specific=2,
    ),
    Rule(
        id="payments.security_code",
        category="pci",
        kind="card_security_code",
        pattern=r"(?i)\b(?:cvv2?|cvc2?|cid|security code|card verification (?:code|value|number))\b(?: is| code| number|:|=|#|\s){1,4}(\d{3,4})\b",
        keywords=("cvv", "cvc", "cid", "security code", "card verification"),
        context=(
            "card",
            "visa",
            "mastercard",
            "amex",
            "american express",
            "discover",
            "debit",
            "credit",
            "exp",
            "expiry",
            "cvv",
            "cvc",
        ),
        before=120,
        after=80,
        score=0.8,
    ),
)
