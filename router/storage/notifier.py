"""Notices when owners' spend reaches a threshold, and delivers what is to be told: by signed webhook, by e-mail, and in the log."""

from __future__ import annotations

import asyncio
import http.client
import secrets
import smtplib
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Engine
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from router import telemetry
from router.governance.notices import (
    LOG,
    MAIL,
    SIGNATURE,
    WAITS,
    WEBHOOK,
    Notice,
    body_of,
    crossed,
    mail_of,
    signature_of,
)
from router.settings import Settings
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.sql.notices import SqlNotices
from router.storage.sql.raises import SqlRaises
from router.storage.sql.rules import RuleStore
from routing_rules.budgets import OwnerBudget, Raise, limit_of
from routing_rules.load import ADDRESS, load
from routing_rules.rules import RuleSet

SECONDS = 10.0
"""How long a server may take for one step of an attempt."""

ATTEMPTS = 3
CLAIMED = timedelta(minutes=5)
OK = range(200, 300)


class Undelivered(Exception):
    """A receiver did not take a webhook."""


class Notifier:
    """Any number of processes may do this at once: each notice is made once and delivered by one of them at a time. A receiver may be
    told twice where the process dies between the delivery and its record: the id of the notice tells it."""

    def __init__(self, engine: Engine, client: RedisClient, settings: Settings, pause: float = 0.5) -> None:
        self._engine = engine
        self._notices = SqlNotices(engine)
        self._budgets = RedisBudgets(client)
        self._announcements = RedisAnnouncements(client)
        self._settings = settings
        self._pause = pause
        self._rules: RuleSet | None = None
        self._raised: Mapping[str, tuple[Raise, ...]] = {}
        self._seen = -1
        self._known: set[tuple[str, str, str, str]] = set()

    async def tell(self, now: datetime) -> int:
        """Notice and deliver; how many were delivered. Raises RouterError, RuleFaults or SQLAlchemyError; what is due then stays due."""
        await self._notice(now)
        delivered = 0
        for notice in await asyncio.to_thread(self._notices.due, now):
            if await asyncio.to_thread(self._notices.claim, notice, now + CLAIMED):
                delivered += await asyncio.to_thread(self._deliver, notice, now)
        return delivered

    async def _notice(self, now: datetime) -> None:
        version = (await self._announcements.look()).version
        if version != self._seen:
            await asyncio.to_thread(self._read, now)
            self._seen = version
        if self._rules is None:
            return
        watched = [
            (owner, budget, self._rules.period(budget.per, now).id)
            for owner in sorted({*self._rules.owner_budgets, *(app.owner for app in self._rules.apps.values())})
            for budget in self._rules.budgets_of(owner)
            if budget.soft_nano is not None or budget.soft_percents
        ]
        balances = await self._budgets.owner_balances([(owner, period) for owner, _, period in watched])
        for (owner, budget, period), balance in zip(watched, balances, strict=True):
            if balance is None:
                continue
            limit = limit_of(budget, now, self._raised.get(owner, ()))
            for threshold, reached in crossed(budget, limit, balance[0]):
                for channel, recipients in self._ways(owner, budget):
                    key = (owner, period, threshold, channel)
                    if key in self._known:
                        continue
                    notice = Notice(
                        f"notice_{secrets.token_hex(8)}", *key, recipients, now, reached, balance[0], limit, next_at=now
                    )
                    await asyncio.to_thread(self._notices.add, notice)
                    self._known.add(key)

    def _read(self, now: datetime) -> None:
        revision = RuleStore(self._engine).current()
        self._rules = None if revision is None else load(revision.files)
        self._raised = SqlRaises(self._engine).in_force(now)
        self._known = self._notices.known()

    def _ways(self, owner: str, budget: OwnerBudget) -> list[tuple[str, str]]:
        """How this budget's notices go out, each with to whom; where there is no other way, the log has them."""
        recipients = budget.notify or ((owner,) if ADDRESS.fullmatch(owner) else ())
        ways = []
        if self._settings.notice_url is not None:
            ways.append((WEBHOOK, ""))
        if self._settings.smtp_host is not None and recipients:
            ways.append((MAIL, ", ".join(recipients)))
        return ways or [(LOG, "")]

    def _deliver(self, notice: Notice, now: datetime) -> bool:
        """One round of attempts, and its record. Runs in a thread."""
        send = {WEBHOOK: self._post, MAIL: self._mail, LOG: _log}[notice.channel]
        done = msgspec.structs.replace(notice, attempts=notice.attempts + 1, next_at=None, delivered_at=now, error=None)
        try:
            self._again(lambda: send(notice, now))
        except (OSError, http.client.HTTPException, smtplib.SMTPException, Undelivered) as error:
            later = now + WAITS[notice.attempts] if notice.attempts < len(WAITS) else None
            what = str(error) if isinstance(error, Undelivered) else type(error).__name__
            done = msgspec.structs.replace(done, delivered_at=None, next_at=later, error=what[:64])
            telemetry.logger().warning(
                "notice_not_delivered", notice=notice.id, channel=notice.channel, error=what, again=later is not None
            )
        self._notices.close(done)
        return done.delivered_at is not None

    def _again(self, send: Callable[[], None]) -> None:
        failures = (OSError, http.client.HTTPException, smtplib.SMTPException, Undelivered)
        pause = wait_exponential(multiplier=self._pause, max=5.0)
        Retrying(stop=stop_after_attempt(ATTEMPTS), wait=pause, retry=retry_if_exception_type(failures), reraise=True)(send)

    def _post(self, notice: Notice, now: datetime) -> None:
        """Redirects are not followed: what is signed goes where the operator said."""
        url, key = self._settings.notice_url, self._settings.notice_key
        if url is None or key is None:
            raise Undelivered("no webhook is set any more")
        parts, body = urlsplit(url), body_of(notice)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {"content-type": "application/json", SIGNATURE: signature_of(key, body, now)}
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
        if status not in OK:
            raise Undelivered(f"status {status}")

    def _mail(self, notice: Notice, _: datetime) -> None:
        settings = self._settings
        if settings.smtp_host is None or settings.smtp_from is None:
            raise Undelivered("no mail server is set any more")
        message = mail_of(notice, settings.smtp_from)
        context = ssl.create_default_context()
        if settings.smtp_security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(settings.smtp_host, settings.smtp_port, timeout=SECONDS, context=context)
        else:
            server = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=SECONDS)
        with server:
            if settings.smtp_security == "starttls":
                server.starttls(context=context)
            if settings.smtp_user is not None and settings.smtp_password is not None:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(message)


def _log(notice: Notice, _: datetime) -> None:
    telemetry.logger().warning(
        "owner_budget_threshold",
        owner=notice.owner,
        period=notice.period,
        threshold=notice.threshold,
        reached_nano=notice.reached_nano,
        spent_nano=notice.spent_nano,
    )
