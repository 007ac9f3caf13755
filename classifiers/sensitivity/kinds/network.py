"""Addresses and names of machines."""

from __future__ import annotations

from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.validators import private_address, public_address

_DOCUMENTED_ACCOUNTS = ("123456789012", "111122223333", "444455556666", "000000000000", "00000000-0000-0000-")


def _of_somebody(value: str) -> bool:
    """Whether a resource belongs to an account that is no example of the provider's documentation."""
    return not any(account in value for account in _DOCUMENTED_ACCOUNTS)


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
        id="network.cloud_metadata",
        category="security",
        kind="internal_host",
        pattern=(
            r"\b(?:169\.254\.169\.254|fd00:ec2::254|100\.100\.100\.200)\b"
            r"|\barn:aws[a-z\-]{0,8}:[a-z0-9\-]{2,24}:[a-z0-9\-]{0,16}:\d{12}:[^\s\"'<>,;]{1,200}"
            r"|/subscriptions/[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
        ),
        trigger=r"169\.254\.169\.254|fd00:ec2::254|100\.100\.100\.200|arn:aws|/subscriptions/[0-9a-fA-F]{8}-",
        check=_of_somebody,
        score=0.8,
        specific=2,
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
