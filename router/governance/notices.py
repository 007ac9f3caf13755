"""What is told when an owner's spend reaches a soft threshold: once for each period, threshold and way of telling, and never any text of
a request (pure)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage

import msgspec

from router.money import usd
from routing_rules.budgets import OwnerBudget

WEBHOOK, MAIL, LOG = "webhook", "mail", "log"
SIGNATURE = "x-router-signature"
SOFT = "soft"
WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 30, 60, 120, 240, 480, 480))
"""How long after each round that failed the next one is; after the last it is given up."""


class Notice(msgspec.Struct, frozen=True):
    """One message by one way. Money in nano-USD: `reached_nano` is the threshold, `spent_nano` what was spent when it was noticed,
    `limit_nano` the hard limit with what it was raised by. `next_at` is when it is to be tried; None: delivered, or given up."""

    id: str
    owner: str
    period: str
    threshold: str
    channel: str
    recipients: str
    at: datetime
    reached_nano: int
    spent_nano: int
    limit_nano: int | None
    attempts: int = 0
    next_at: datetime | None = None
    delivered_at: datetime | None = None
    error: str | None = None


class Letter(msgspec.Struct, frozen=True):
    """The body of a webhook; amounts in dollars, exact."""

    id: str
    type: str
    at: datetime
    owner: str
    period: str
    threshold: str
    reached_usd: str
    spent_usd: str
    limit_usd: str | None


def crossed(budget: OwnerBudget, limit_nano: int | None, spent_nano: int) -> Iterator[tuple[str, int]]:
    """The thresholds that were reached, each with its amount: `soft`, or percents of the limit such as `80%`."""
    if budget.soft_nano is not None and spent_nano >= budget.soft_nano:
        yield SOFT, budget.soft_nano
    for percent in budget.soft_percents if limit_nano is not None else ():
        reached = (limit_nano or 0) * percent // 100
        if spent_nano >= reached:
            yield f"{percent}%", reached


def body_of(notice: Notice) -> bytes:
    """What a webhook is sent: the same bytes at every attempt."""
    letter = Letter(
        notice.id,
        "owner_budget.threshold",
        notice.at,
        notice.owner,
        notice.period,
        notice.threshold,
        usd(notice.reached_nano),
        usd(notice.spent_nano),
        None if notice.limit_nano is None else usd(notice.limit_nano),
    )
    return msgspec.json.encode(letter)


def signature_of(secret: bytes, body: bytes, now: datetime) -> str:
    """The value of the header `x-router-signature`: HMAC-SHA256 over `SECONDS.BODY`."""
    seconds = str(int(now.timestamp()))
    return f"t={seconds},v1={hmac.new(secret, seconds.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def mail_of(notice: Notice, sender: str) -> EmailMessage:
    """The same as an e-mail."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, notice.recipients
    what = "its soft limit" if notice.threshold == SOFT else f"{notice.threshold} of its limit"
    mail["Subject"] = _line(f"Budget of {notice.owner}: {what} in {notice.period}")
    mail["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2]}>"
    limit = "" if notice.limit_nano is None else f" The hard limit is ${usd(notice.limit_nano)}."
    mail.set_content(
        f"{_line(notice.owner)} has spent ${usd(notice.spent_nano)} in {notice.period}, and so reached {what} (${usd(notice.reached_nano)})."
        f"{limit}\n\nThis is told once in the period.\n"
    )
    return mail


def _line(text: str) -> str:
    """One line: what comes from rules shall break no header."""
    return " ".join(text.split())[:200]
