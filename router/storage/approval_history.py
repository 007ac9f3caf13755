"""Keeps the history of approvals in SQL up to what Redis knows, and lets those expire that were not used in time."""

from __future__ import annotations

import asyncio
from datetime import datetime

from router.storage.redis_approvals import RedisApprovals
from router.storage.sql.approvals import SqlApprovals


async def keep_history(approvals: RedisApprovals, records: SqlApprovals, now: datetime) -> int:
    """One round; how many approvals had changed. May run anywhere, several at once: each change is entered once.

    Raises RouterError (Redis) or SQLAlchemyError; what was not entered is entered by the next round.
    """
    await approvals.expire(now)
    news = await approvals.news()
    if not news:
        return 0
    changed = await asyncio.to_thread(records.enter, news, now)
    await approvals.heard(news)
    return changed
