"""Rules: the decision table as a table, edited row by row with the words of the vocabulary, and saved as a proposal with a reason.

The page keeps the whole draft in its form: nothing is stored before somebody saves, and it works without script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import unified_diff
from importlib import import_module
from typing import Any

import msgspec

from router.console.access import EDITING
from router.console.site import Answer, Asked, Handler, Move, Page, Raw, Site, in_sql
from router.console.table import CODES, FILE, OBLIGATIONS, WISHES, Table
from router.console.view_models import Rules, RulesEdit
from router.errors import Refused
from router.governance import rules as governance
from router.governance.rules_values import Actor, Merge, NotAllowed, Stale
from routing_rules.diff import grid
from routing_rules.faults import Fault, RuleFaults, Severity
from routing_rules.rules import GOVERNED_DIMENSIONS, RuleSet

MOST_TEXT = 700_000
MOST_CHANGES = 12
MOST_LINES = 400
MOST_FAULTS = 40
MOST_UNPACKED = 10_000_000
"""Bytes of an unpacked workbook: reading one takes the worker's time."""

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


async def show(site: Site, asked: Asked) -> Answer:
    """The table in force."""
    return await _shown(site, asked)


async def _shown(site: Site, asked: Asked, faults: Sequence[Fault] = (), reason: str = "") -> Page:
    active = await in_sql(lambda: governance.in_force(site.rules))
    preview = await in_sql(lambda: governance.preview(site.rules, {}, asked.at))
    table = Table(active.files.get(FILE, ""))
    rows = table.rows(asked.at.date(), preview.faults)
    shown = {id(fault) for row in rows for fault in row.faults}
    others = tuple(fault for fault in preview.faults if id(fault) not in shown)
    model = Rules(rows, asked.person.holds(*EDITING), others, tuple(faults[:MOST_FAULTS]), reason)
    return Page("rules.html", model, 422 if faults else 200)


async def download(site: Site, asked: Asked) -> Answer:
    """The table in force as a workbook."""
    rules = site.directory.rules()
    try:
        made = await in_sql(lambda: workbooks().workbook(rules))
    except RuleFaults as faults:
        raise Refused("invalid_request", f"the table cannot stand in a workbook: {faults}") from None
    return Raw(made, XLSX, name=f"decision-table-{rules.revision}.xlsx")


async def upload(site: Site, asked: Asked) -> Answer:
    """A proposal from an edited workbook, compared with the revision from which it was made."""
    reason = asked.form.get("reason", "").strip()[:2000]
    if len(reason) < 3:
        return await _shown(site, asked, [_about_upload("say in a few words why: whoever approves it reads that first")], reason)
    by = Actor(asked.person.email, asked.person, "console")

    def read() -> tuple[str, dict[str, str]]:
        base = workbooks().made_from(asked.upload, most_unpacked=MOST_UNPACKED) or site.directory.rules().revision
        rules = site.rules_of(base)
        if rules is None:
            raise RuleFaults([_about_upload("the revision from which it was made is not here: download the workbook again")])
        files = workbooks().files_of(asked.upload, rules)
        changed = {name: text for name, text in files.items() if rules.files.get(name) != text}
        if not changed:
            raise RuleFaults([_about_upload("it says what the rules say already: nothing would change")])
        return base, changed

    try:
        base, changed = await in_sql(read)
    except RuleFaults as faults:
        return await _shown(site, asked, faults.faults, reason)

    def save() -> str:
        mode, people = site.mode(), site.people.all()
        return governance.save(
            site.rules, changed, by=by, reason=reason, governance=mode, at=asked.at, people=people, base=base
        ).id

    try:
        return Move(f"/proposals/{await in_sql(save)}?done=saved")
    except Stale as stale:
        if set(changed) != {FILE}:  # the merge view is one of the table's own file
            raise Refused("rules_changed", f"{stale}; download the workbook again") from None
        return await _page(site, asked, Draft(changed[FILE], base, reason=reason), str(stale), 409, stale.merge)
    except NotAllowed as error:
        raise Refused("role_required", str(error)) from None


def workbooks() -> Any:
    """What reads and writes workbooks, imported when somebody first has one."""
    return import_module("router.governance.workbooks")


def _about_upload(message: str) -> Fault:
    return Fault(Severity.ERROR, "upload", "workbook", 0, 0, message)


async def open_editor(site: Site, asked: Asked) -> Answer:
    """The table to be edited: of what is in force, or of an open proposal."""
    proposal_id = asked.query.get("proposal", "")
    if proposal_id:
        found = await governed(lambda: governance.proposal(site.rules, proposal_id))
        files = await governed(lambda: governance.files_of(site.rules, found.revision))
        draft = Draft(files.get(FILE, ""), found.base or found.revision, found.id, found.revision, reason=found.reason)
    else:
        active = await in_sql(lambda: governance.in_force(site.rules))
        draft = Draft(active.files.get(FILE, ""), active.revision)
    return await _page(site, asked, draft)


class Draft(msgspec.Struct, frozen=True):
    """What the form carries from page to page."""

    text: str
    base: str
    proposal: str = ""
    seen: str = ""
    row: int = -1
    reason: str = ""
    as_text: bool = False


async def edit(site: Site, asked: Asked) -> Answer:
    """One step of editing, or the end of it: the proposal."""
    form = asked.form
    rules = site.directory.rules()
    draft = Draft(
        text=form.get("text", "").replace("\r\n", "\n")[:MOST_TEXT],
        base=form.get("base", ""),
        proposal=form.get("proposal", ""),
        seen=form.get("seen", ""),
        row=_number(form.get("row", "")),
        reason=form.get("reason", "").strip()[:2000],
        as_text=form.get("as_text") == "yes",
    )
    verb, _, place = form.get("action", "check").partition(":")
    if verb == "both":  # go on with what somebody else saved and mine, brought together
        text = form.get("both", "").replace("\r\n", "\n")[:MOST_TEXT]
        draft = Draft(
            text, form.get("both_base", ""), form.get("both_proposal", ""), form.get("both_seen", ""), reason=draft.reason
        )
        return await _page(site, asked, draft)
    if draft.as_text and verb != "table":
        return await (_save(site, asked, draft) if verb in ("save", "beside") else _page(site, asked, draft))
    table = Table(draft.text)
    if draft.row >= 0 and not draft.as_text:
        table.apply(draft.row, form, asked.lists, _governed(rules))
    row = draft.row
    number = _number(place)
    if verb == "open":
        row = number
    elif verb == "close":
        row = -1
    elif verb in ("up", "down"):
        row = table.move(number, -1 if verb == "up" else 1)
    elif verb == "copy":
        row = table.copy(number)
    elif verb == "remove":
        table.remove(number)
        row = -1
    elif verb == "end":
        table.end(number, asked.at.date())
        row = number
    elif verb == "add" and place in ("prohibitions", "step_ups", "routes"):
        like = {"tier": rules.tiers[0], "set": next(iter(rules.sets)), "budget": next(iter(rules.session_budgets))}
        row = table.add(place, asked.person.email, like)
    # A text that nothing has changed stays as it was written, to the letter.
    draft = msgspec.structs.replace(draft, text=_unchanged(draft.text, table.text()), row=row, as_text=verb == "text")
    return await (_save(site, asked, draft) if verb in ("save", "beside") else _page(site, asked, draft))


async def _save(site: Site, asked: Asked, draft: Draft) -> Answer:
    by = Actor(asked.person.email, asked.person, "console")
    if len(draft.reason) < 3:
        return await _page(site, asked, draft, "Say in a few words why: whoever approves it reads that first.", 422)
    beside = asked.form.get("action") == "beside"

    def work() -> str:
        files, mode, people = {FILE: draft.text}, site.mode(), site.people.all()
        if draft.proposal:
            saved = governance.revise(
                site.rules,
                draft.proposal,
                files,
                by=by,
                seen=draft.seen,
                governance=mode,
                at=asked.at,
                people=people,
                reason=draft.reason,
            )
        else:
            saved = governance.save(
                site.rules,
                files,
                by=by,
                reason=draft.reason,
                governance=mode,
                at=asked.at,
                people=people,
                base=draft.base,
                beside=beside,
            )
        return saved.id

    try:
        return Move(f"/proposals/{await in_sql(work)}?done=saved")
    except Stale as stale:
        return await _page(site, asked, draft, str(stale), 409, stale.merge)
    except NotAllowed as error:
        return await _page(site, asked, draft, str(error), 403)


async def governed(work: Any) -> Any:
    """Something with the rules in SQL; what governance objects to is a refusal. Raises Refused."""
    try:
        return await in_sql(work)
    except Stale as stale:
        raise Refused("rules_changed", str(stale)) from None
    except NotAllowed as error:
        raise Refused("not_found" if type(error).__name__ == "NoSuchProposal" else "role_required", str(error)) from None


async def _page(site: Site, asked: Asked, draft: Draft, fault: str = "", status: int = 200, merge: Merge | None = None) -> Page:
    rules, today = site.directory.rules(), asked.at.date()
    preview = await governed(lambda: governance.preview(site.rules, {FILE: draft.text}, asked.at, draft.base))
    try:
        table = Table(draft.text)
        rows = table.rows(today, preview.faults)
        editor = (
            table.editor(draft.row, _governed(rules), today, preview.faults)
            if merge is None and 0 <= draft.row < len(rows)
            else None
        )
    except Refused:
        rows, editor, draft = (), None, msgspec.structs.replace(draft, as_text=True)
    in_rows = {id(each) for row in rows for each in row.faults}
    others = tuple(
        each for each in preview.faults if id(each) not in in_rows and (each.severity is Severity.ERROR or each.file == FILE)
    )
    model = RulesEdit(
        text=draft.text,
        base=draft.base,
        proposal=draft.proposal,
        seen=draft.seen,
        rows=rows,
        editor=editor,
        tiers=rules.tiers,
        sets=tuple(rules.sets),
        budgets=tuple(rules.session_budgets),
        codes=CODES,
        wishes=WISHES,
        obligations=OBLIGATIONS,
        faults=others,
        errors=sum(each.severity is Severity.ERROR for each in preview.faults),
        diff=_told(preview.diff),
        reason=draft.reason,
        as_text=draft.as_text,
        fault=fault,
        merge=_both(merge),
    )
    return Page("rules_edit.html", model, status)


def _both(merge: Merge | None) -> Any:
    """What two people did to the table since they began, line by line, and both together where their lines do not meet."""
    file = next((each for each in merge.files if each.name == FILE), None) if merge is not None else None
    if merge is None or file is None:
        return None
    return {
        "by": merge.by or "",
        "proposal": merge.proposal or "",
        "conflict": file.state == "conflict",
        "theirs": changed_lines(file.base or "", file.theirs or ""),
        "yours": changed_lines(file.base or "", file.yours or ""),
        "both": file.merged or "",
        "base": merge.base if merge.proposal else merge.theirs,
        "seen": merge.theirs,
    }


def changed_lines(before: str, after: str) -> tuple[tuple[str, str], ...]:
    """The lines that differ, with those around them: (added, removed, place or kept; the line)."""
    lines = list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))[2:MOST_LINES]
    kinds = {"+": "added", "-": "removed", "@": "place"}
    return tuple((kinds.get(line[:1], "kept"), line) for line in lines)


def _told(found: Any) -> Any:
    if found is None:
        return None
    changes = sorted(found.changes, key=lambda change: (not change.widens, -change.cells))
    squares = grid(found)
    return {
        "map_changed": len(squares),
        "map_widened": sum(squares.values()),
        "changed": found.changed,
        "widened": found.widened,
        "changes": changes[:MOST_CHANGES],
        "more": max(len(changes) - MOST_CHANGES, 0),
        "widenings": found.widenings,
        "files": found.files,
    }


def _governed(rules: RuleSet) -> Mapping[str, tuple[str, ...]]:
    teams = tuple(dict.fromkeys(app.team for app in rules.apps.values()))
    words = {"app": tuple(rules.apps), "team": teams, "purpose": tuple(rules.purposes), "category": rules.categories}
    return {name: words[name] for name in GOVERNED_DIMENSIONS}


def _unchanged(before: str, after: str) -> str:
    return before if Table(before).text() == after else after


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/rules"): show,
    ("GET", "/rules/workbook"): download,
    ("POST", "/rules/workbook"): upload,
    ("GET", "/rules/edit"): open_editor,
    ("POST", "/rules/edit"): edit,
}
