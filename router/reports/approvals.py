"""The report on approvals: how often people are asked, how long they take, and whether they still say no."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import median, quantiles

import msgspec

from router.exchange import ApprovalHistory

FORMATS = ("table", "json")
DENIED, EXPIRED, PENDING = "denied", "expired", "pending"
GLANCE_SECONDS = 5.0
"""Whoever approves faster than this has hardly read what they approve."""


class Seconds(msgspec.Struct, frozen=True):
    """How long decisions took, from the asking on, in seconds."""

    median: float
    p90: float
    longest: float


class Figures(msgspec.Struct, frozen=True):
    """What is counted of some approvals. `approved` are those that were approved, used or not; since an approval is bound to what was
    asked, each was approved unchanged. `unused` of them expired before the app came back. `expired` were never decided on.
    `approved_unchanged` is their share of those decided on, `at_a_glance` how many were approved within five seconds.
    """

    held: int
    waiting: int
    approved: int
    denied: int
    expired: int
    unused: int
    at_a_glance: int
    approved_unchanged: float | None
    seconds_to_decision: Seconds | None


class ToolRow(msgspec.Struct, frozen=True):
    """The figures of one tool; an approval of several tools counts for each."""

    tool: str
    figures: Figures


class DeciderRow(msgspec.Struct, frozen=True):
    """The figures of what one person decided on."""

    decided_by: str
    figures: Figures


class ApprovalsReport(msgspec.Struct, frozen=True):
    """Approvals asked for within [since, until), both UTC; None: no bound. `tasks` were let through or held in the same time."""

    since: datetime | None
    until: datetime | None
    tasks: int
    held_per_100_tasks: float | None
    total: Figures
    by_tool: tuple[ToolRow, ...]
    by_decider: tuple[DeciderRow, ...]


def approvals_report(
    rows: Sequence[ApprovalHistory], tasks: int, since: datetime | None = None, until: datetime | None = None
) -> ApprovalsReport:
    """The report on these approvals, the tools and people with most of them first."""
    tools: dict[str, list[ApprovalHistory]] = {}
    deciders: dict[str, list[ApprovalHistory]] = {}
    for row in rows:
        for tool in row.tools or ("(the task itself)",):
            tools.setdefault(tool, []).append(row)
        if row.decided_by is not None:
            deciders.setdefault(row.decided_by, []).append(row)
    return ApprovalsReport(
        since=since,
        until=until,
        tasks=tasks,
        held_per_100_tasks=round(100 * len(rows) / tasks, 2) if tasks else None,
        total=figures(rows),
        by_tool=tuple(ToolRow(tool, figures(some)) for tool, some in _most_first(tools)),
        by_decider=tuple(DeciderRow(name, figures(some)) for name, some in _most_first(deciders)),
    )


def figures(rows: Sequence[ApprovalHistory]) -> Figures:
    """What is counted of these."""
    decided = [row for row in rows if row.decided is not None]
    approved = [row for row in decided if row.status != DENIED]
    took = [seconds(row) for row in decided]
    return Figures(
        held=len(rows),
        waiting=sum(row.status == PENDING for row in rows),
        approved=len(approved),
        denied=len(decided) - len(approved),
        expired=sum(row.status == EXPIRED and row.decided is None for row in rows),
        unused=sum(row.status == EXPIRED for row in approved),
        at_a_glance=sum(seconds(row) < GLANCE_SECONDS for row in approved),
        approved_unchanged=round(len(approved) / len(decided), 4) if decided else None,
        seconds_to_decision=_seconds(took),
    )


def seconds(row: ApprovalHistory) -> float:
    """How long its decision took, in seconds."""
    return (row.decided - row.asked).total_seconds() if row.decided is not None else 0.0


def render(report: ApprovalsReport, form: str) -> str:
    """The report in one of `FORMATS`, ending in a newline. Raises ValueError for another one."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(_flat(report)), indent=2).decode() + "\n"
    if form == "table":
        return _table(report)
    raise ValueError(f"a report is rendered as {', '.join(FORMATS)}, not `{form}`")


def _flat(report: ApprovalsReport) -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(report)
    document["by_tool"] = [{"tool": row.tool, **msgspec.to_builtins(row.figures)} for row in report.by_tool]
    document["by_decider"] = [{"decided_by": row.decided_by, **msgspec.to_builtins(row.figures)} for row in report.by_decider]
    return document


def _table(report: ApprovalsReport) -> str:
    per = "-" if report.held_per_100_tasks is None else f"{report.held_per_100_tasks:g}"
    lines = [f"{report.total.held} held in {report.tasks} tasks: {per} per 100 tasks"]
    columns = ("", "held", "waiting", "approved", "denied", "expired", "at a glance", "approved unchanged", "median s", "p90 s")
    rows = [columns, *(_cells(row.tool, row.figures) for row in report.by_tool)]
    rows += [_cells(row.decided_by, row.figures) for row in report.by_decider]
    rows.append(_cells("total", report.total))
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _cells(name: str, some: Figures) -> tuple[str, ...]:
    share = "-" if some.approved_unchanged is None else f"{100 * some.approved_unchanged:.1f} %"
    took = some.seconds_to_decision
    times = ("-", "-") if took is None else (f"{took.median:.1f}", f"{took.p90:.1f}")
    counts = (some.held, some.waiting, some.approved, some.denied, some.expired, some.at_a_glance)
    return (name, *(str(count) for count in counts), share, *times)


def _seconds(took: Sequence[float]) -> Seconds | None:
    if not took:
        return None
    p90 = quantiles(took, n=10, method="inclusive")[-1] if len(took) > 1 else took[0]
    return Seconds(round(median(took), 3), round(p90, 3), round(max(took), 3))


def _most_first(groups: dict[str, list[ApprovalHistory]]) -> Iterable[tuple[str, list[ApprovalHistory]]]:
    return sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
