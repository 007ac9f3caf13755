"""Addresses and names of machines."""

from __future__ import annotations

from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.validators import private_address, public_address

_OCTETS = r"(?:^|[^\w.\-])(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(?:[^\w.]|\.\s|\.?$)"

RULES = (
    Rule(
        id="network.private_address",
        category="security",
        kind="internal_host",
        pattern=_OCTETS,
        trigger=r"\d\.\d{1,3}\.\d{1,3}\.\d",
        check=private_address,
        score=0.8,
        specific=1,
    ),
    Rule(
        id="network.public_address",
        category="pii",
        kind="ip_address",
        pattern=_OCTETS,
        trigger=r"\d\.\d{1,3}\.\d{1,3}\.\d",
        check=public_address,
        context=("ip", "ip address", "address", "client", "login", "logged in", "user", "visitor", "host"),
        score=0.75,
        specific=1,
    ),
    Rule(
        id="network.internal_name",
        category="security",
        kind="internal_host",
        pattern=r"(?i)\b(?:[a-z0-9][a-z0-9\-]{0,62}\.){1,5}(?:internal|intranet|corp|lan)\b",
        trigger=r"(?i)[a-z0-9]\.(?:internal|intranet|corp|lan)",
        keywords=(".internal", ".intranet", ".corp", ".lan"),
        score=0.7,
        specific=1,
    ),
)
