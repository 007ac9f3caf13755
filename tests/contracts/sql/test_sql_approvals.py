"""The history of approvals: each change is entered once, whoever enters it, and is a link of the audit chain."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import msgspec
from sql_records import NOON, admitted, raw, turned
from sqlalchemy import Engine, text

from router.exchange import ApprovalHistory, Record
from router.storage.audit_chain import Checkpoints, public_key, verify
from router.storage.sql.administration import events
from router.storage.sql.approvals import SqlApprovals
from router.storage.sql.records import SqlRecords

MINUTE = timedelta(minutes=1)
PENDING = ApprovalHistory(
    id="apr_00" + "a" * 24,
    kind="call",
    app="desk",
    owner="ana@example.com",
    session="session-1",
    request_id="req_1",
    purpose="support",
    tools=("mail", "calendar"),
    reasons=("act_not_asked",),
    rule="r-1",
    revision="rev-1",
    sensitivity="internal",
    asked=NOON,
    expires=NOON + 10 * MINUTE,
)
APPROVED = msgspec.structs.replace(
    PENDING, status="approved", decided=NOON + MINUTE, decided_by="eve@example.org", via="api", note="as agreed"
)
USED = msgspec.structs.replace(APPROVED, status="used", ended=NOON + 2 * MINUTE)
ACTS = [
    ("approval.asked", "desk", NOON),
    ("approval.approved", "eve@example.org", NOON + MINUTE),
    ("approval.used", "desk", NOON + 2 * MINUTE),
]


def acts(store: Engine) -> list[tuple[str, str, object]]:
    return [(event.act, event.actor, event.at) for event in reversed(events(store, subject=f"approval:{PENDING.id}"))]


def test_each_step_is_entered_once_with_who_took_it(store: Engine) -> None:
    for step in (PENDING, PENDING, APPROVED, USED, USED):
        SqlApprovals(store).enter([step], NOON + 3 * MINUTE)
    assert SqlApprovals(store).one(PENDING.id) == USED
    assert acts(store) == ACTS


def test_steps_that_were_missed_are_entered_with_the_last(store: Engine) -> None:
    assert SqlApprovals(store).enter([USED], NOON + 3 * MINUTE) == 1
    assert acts(store) == ACTS


def test_what_is_older_than_what_is_known_changes_nothing(store: Engine) -> None:
    SqlApprovals(store).enter([USED], NOON)
    assert SqlApprovals(store).enter([PENDING], NOON) == SqlApprovals(store).enter([APPROVED], NOON) == 0
    assert SqlApprovals(store).one(PENDING.id) == USED


def test_of_many_who_enter_the_same_at_once_one_does(store: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: SqlApprovals(store).enter([USED], NOON), range(12))) == 1
    assert acts(store) == ACTS


def test_one_that_nobody_decided_on_expires_by_itself(store: Engine) -> None:
    expired = msgspec.structs.replace(PENDING, status="expired", ended=PENDING.expires)
    SqlApprovals(store).enter([PENDING], NOON)
    SqlApprovals(store).enter([expired], NOON)
    assert [(act, actor) for act, actor, _ in acts(store)] == [("approval.asked", "desk"), ("approval.expired", "router")]


def test_one_that_redis_has_lost_is_closed_long_after_its_time(store: Engine) -> None:
    records = SqlApprovals(store)
    records.enter([PENDING, msgspec.structs.replace(USED, id="apr_01" + "b" * 24)], NOON)
    assert records.close_lost(PENDING.expires + MINUTE) == 0
    late = PENDING.expires + timedelta(hours=2)
    assert records.close_lost(late) == 1
    assert records.close_lost(late) == 0
    assert records.one(PENDING.id) == msgspec.structs.replace(PENDING, status="expired", ended=PENDING.expires)


def test_history_is_found_by_session_app_state_and_time(store: Engine) -> None:
    other = msgspec.structs.replace(PENDING, id="apr_01" + "b" * 24, app="shop", session="session-2", asked=NOON + MINUTE)
    SqlApprovals(store).enter([USED, other], NOON)
    assert SqlApprovals(store).history() == [other, USED]
    assert (
        SqlApprovals(store).history(session="session-1")
        == SqlApprovals(store).history(app="desk")
        == SqlApprovals(store).history(status="used")
        == [USED]
    )
    assert SqlApprovals(store).history(since=NOON + MINUTE) == [other]
    assert SqlApprovals(store).history(until=NOON + MINUTE) == [USED]
    assert SqlApprovals(store).one("unheard of") is None


def test_a_task_counts_once_however_often_it_is_asked_for_and_fetched(store: Engine) -> None:
    records = SqlApprovals(store)
    polled = [msgspec.structs.replace(turned(f"p{n}"), code="approval_required") for n in range(5)]
    # Two ordinary tasks; one with a held call, fetched after its approval; one that was held as a whole, and forwarded after it.
    written: list[Record] = [
        admitted("r1"),
        admitted("r2"),
        admitted("r3"),
        admitted("r3-fetched"),
        *polled,
        admitted("r4-forwarded"),
        turned("r5"),
    ]
    SqlRecords(store).write([(0, raw(record)) for record in written])
    records.enter([USED, msgspec.structs.replace(USED, id="apr_01" + "b" * 24, kind="task")], NOON)
    assert records.tasks(None, None) == 4
    assert records.tasks(NOON + MINUTE, None) == 0


def test_a_decision_that_was_changed_behind_the_programs_back_is_found(store: Engine, tmp_path: Path) -> None:
    SqlApprovals(store).enter([USED], NOON)
    Checkpoints(tmp_path).write(store, NOON)
    assert verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path)).intact
    with store.begin() as connection:
        connection.execute(text("UPDATE approvals SET decided_by = 'mallory@example.org'"))
    report = verify(store, tmp_path / "checkpoints.jsonl", public_key(tmp_path))
    assert [fault.kind for fault in report.faults] == ["administration"]
