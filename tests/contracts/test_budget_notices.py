"""A soft threshold is told once in a period, over all replicas, to a real webhook receiver and a real mail server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from receivers import Hooks, Mails, mail_server, webhooks
from sqlalchemy import Engine

from router.governance import rules as governance
from router.governance.notices import WAITS
from router.settings import Settings
from router.storage.notifier import Notifier
from router.storage.redis_budget import RedisBudgets
from router.storage.redis_client import RedisClient
from router.storage.sql.engine import open_engine
from router.storage.sql.migrate import migrate
from router.storage.sql.notices import SqlNotices
from router.storage.sql.rules import RuleStore
from routing_rules.load import complete

OWNER = "ana@example.com"
NOW = datetime(2026, 8, 14, 12, tzinfo=UTC)
SECRET = "5e" * 32
SESSIONS = "session_budgets: [{id: default}, {id: reasoning}, {id: tiny}]\n"
BUDGETS = SESSIONS + (
    f"owner_budgets: [{{owner: {OWNER}, hard_usd: 10, soft_usd: 2, soft_percents: [50, 100], notify: [fin@example.com]}}]\n"
)


class Store(Protocol):
    client: Callable[..., AbstractAsyncContextManager[RedisClient]]


@pytest.fixture
def sql(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'router.db'}")
    migrate(engine)
    governance.seed(RuleStore(engine), complete({"budgets.yaml": BUDGETS}, date(2026, 1, 1)), governance="single", at=NOW)
    yield engine
    engine.dispose()


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with webhooks() as found:
        yield found


@pytest.fixture
def mails() -> Iterator[Mails]:
    with mail_server() as found:
        yield found


def settings_for(tmp_path: Path, hooks: Hooks | None, mails: Mails | None) -> Settings:
    told: dict[str, Any] = {"data_dir": tmp_path}
    if hooks is not None:
        told |= {"notice_url": hooks.url, "notice_secret": SECRET}
    if mails is not None:
        told |= {"smtp_host": "127.0.0.1", "smtp_port": mails.port, "smtp_security": "none", "smtp_from": "router@example.com"}
    return Settings(**told)


async def test_each_threshold_is_told_once_however_many_replicas_look(
    single: Store, sql: Engine, tmp_path: Path, hooks: Hooks, mails: Mails
) -> None:
    async with single.client() as one, single.client() as other:
        replicas = [Notifier(sql, client, settings_for(tmp_path, hooks, mails), pause=0) for client in (one, other)]
        await asyncio.gather(*(each.tell(NOW) for each in replicas))
        assert hooks.got == []
        await RedisBudgets(one).set_owner_spent(OWNER, "2026-08", 5 * 10**9)
        for _ in range(3):
            await asyncio.gather(*(each.tell(NOW) for each in replicas))

        bodies = [msgspec.json.decode(body) for _, body in hooks.got]
        assert sorted(body["threshold"] for body in bodies) == ["50%", "soft"]
        assert {(body["owner"], body["period"], body["spent_usd"], body["limit_usd"]) for body in bodies} == {
            (OWNER, "2026-08", "5", "10")
        }
        for headers, body in hooks.got:
            seconds, _, signed = headers["x-router-signature"].removeprefix("t=").partition(",v1=")
            assert signed == hmac.new(bytes.fromhex(SECRET), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
        assert sorted(mail["subject"] for _, mail in mails.got) == [
            f"Budget of {OWNER}: 50% of its limit in 2026-08",
            f"Budget of {OWNER}: its soft limit in 2026-08",
        ]
        assert {tuple(recipients) for recipients, _ in mails.got} == {("fin@example.com",)}
        notices = SqlNotices(sql).all()
        assert len(notices) == 4
        assert all(each.delivered_at == NOW and each.next_at is None for each in notices)

        later = datetime(2026, 9, 2, tzinfo=UTC)  # another period: told anew
        await RedisBudgets(one).set_owner_spent(OWNER, "2026-09", 2 * 10**9)
        await replicas[0].tell(later)
        assert len(hooks.got) == len(mails.got) == 3


async def test_a_receiver_that_fails_is_tried_again_and_what_became_of_it_is_written_down(
    single: Store, sql: Engine, tmp_path: Path, hooks: Hooks
) -> None:
    async with single.client() as client:
        notifier = Notifier(sql, client, settings_for(tmp_path, hooks, None), pause=0)
        await RedisBudgets(client).set_owner_spent(OWNER, "2026-08", 2 * 10**9)
        hooks.answers = [500, 302, 204]  # within one round; a redirect is not followed
        assert await notifier.tell(NOW) == 1
        assert len(hooks.got) == 1

        await RedisBudgets(client).set_owner_spent(OWNER, "2026-08", 6 * 10**9)
        hooks.answers = [503] * 3
        assert await notifier.tell(NOW) == 0
        (failed,) = [each for each in SqlNotices(sql).all() if each.delivered_at is None]
        assert (failed.error, failed.attempts, failed.next_at) == ("status 503", 1, NOW + WAITS[0])
        assert await notifier.tell(NOW + WAITS[0] / 2) == 0
        assert await notifier.tell(NOW + WAITS[0]) == 1
        assert len({body for _, body in hooks.got}) == 2


async def test_a_mail_server_that_is_busy_or_gone_is_tried_again(
    single: Store, sql: Engine, tmp_path: Path, mails: Mails
) -> None:
    async with single.client() as client:
        notifier = Notifier(sql, client, settings_for(tmp_path, None, mails), pause=0)
        await RedisBudgets(client).set_owner_spent(OWNER, "2026-08", 2 * 10**9)
        mails.busy = 4
        assert await notifier.tell(NOW) == 0
        assert await notifier.tell(NOW + WAITS[0]) == 1
        assert len(mails.got) == 1


async def test_what_is_never_delivered_is_given_up_in_the_end(single: Store, sql: Engine, tmp_path: Path) -> None:
    async with single.client() as client:
        with webhooks() as gone:
            pass
        notifier = Notifier(sql, client, settings_for(tmp_path, gone, None), pause=0)
        await RedisBudgets(client).set_owner_spent(OWNER, "2026-08", 2 * 10**9)
        now = NOW
        for wait in (timedelta(0), *WAITS):
            now += wait
            assert await notifier.tell(now) == 0
        (given_up,) = SqlNotices(sql).all()
        assert (given_up.next_at, given_up.delivered_at, given_up.error) == (None, None, "ConnectionRefusedError")


async def test_where_nothing_else_is_set_the_log_has_it(single: Store, sql: Engine, tmp_path: Path) -> None:
    async with single.client() as client:
        await RedisBudgets(client).set_owner_spent(OWNER, "2026-08", 2 * 10**9)
        assert await Notifier(sql, client, settings_for(tmp_path, None, None)).tell(NOW) == 1
        (notice,) = SqlNotices(sql).all()
        assert (notice.channel, notice.threshold) == ("log", "soft")
