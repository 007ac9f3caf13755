"""What each page shows, as frozen values: a template reads these fields and no others."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from router.console.access import Group


class Chrome(msgspec.Struct, frozen=True):
    """What stands around every page. `form` is what each form must bring back."""

    navigation: tuple[Group, ...]
    here: str
    who: str
    roles: tuple[str, ...]
    governance: str
    revision: str
    form: str
    signed_in: bool


class Failure(msgspec.Struct, frozen=True):
    """Why there is no page."""

    status: int
    code: str
    message: str
    sign_in: bool


class SignIn(msgspec.Struct, frozen=True):
    """The sign-in page. `next` is where to go afterwards; `provider` the name of an identity provider, if one is set up."""

    email: str
    next: str
    fault: str
    provider: str


class Code(msgspec.Struct, frozen=True):
    """The second factor is asked for."""

    fault: str


class NewPassword(msgspec.Struct, frozen=True):
    """A password is chosen. `first`: there was none, so that the old one is not asked for."""

    first: bool
    fault: str
    shortest: int


class SecondFactor(msgspec.Struct, frozen=True):
    """A second factor is set up. `picture` is a data URL of a QR code; `secret` the same for hands, in groups of four."""

    picture: str
    secret: str
    fault: str
    required: bool


class RecoveryCodes(msgspec.Struct, frozen=True):
    """The codes that stand in for the second factor, shown this once."""

    codes: tuple[str, ...]


class Account(msgspec.Struct, frozen=True):
    """One's own account. `recovery_left`: how many codes are left; `way`: how one signed in."""

    email: str
    roles: tuple[str, ...]
    way: str
    changed: str
    second_factor_since: str
    recovery_left: int
    required: bool
    done: str


class Home(msgspec.Struct, frozen=True):
    """Somebody who may open nothing yet."""

    email: str


class Filter(msgspec.Struct, frozen=True):
    """One field of a search: a choice where there are `words`, else free text."""

    name: str
    label: str
    value: str
    words: tuple[str, ...] = ()
    kind: str = "text"


class Decisions(msgspec.Struct, frozen=True):
    """Decisions that were found. `older` is the address of those that come after, `fault` what is wrong with the search."""

    filters: tuple[Filter, ...]
    rows: tuple[Any, ...]
    older: str
    searched: bool
    fault: str


class Decision(msgspec.Struct, frozen=True):
    """One decision's whole story. `about` and `facts` are (name, value) pairs; `explanation` as `routing_rules.explain` tells it, as
    does `masking` of the decision that ordered masking, where one did."""

    request_id: str
    at: datetime
    decision: str
    code: str
    message: str
    rule: str
    revision: str
    about: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    findings: tuple[tuple[str, int], ...]
    granted: tuple[str, ...]
    withheld: tuple[tuple[str, str], ...]
    calls: tuple[Any, ...]
    limits: tuple[tuple[str, str], ...]
    timings: Any
    total_us: int
    lines: tuple[Any, ...]
    cost_nano: int | None
    outcome: str
    basis: str
    session: str
    app: str
    explanation: Any
    masking: Any
    same: bool | None
    case: str
    case_fault: str
    may_propose: bool


class Sessions(msgspec.Struct, frozen=True):
    """Sessions with their latest decision, and what is under way now."""

    filters: tuple[Filter, ...]
    rows: tuple[Any, ...]
    running: tuple[Any, ...]
    may_end: bool
    done: str


class Session(msgspec.Struct, frozen=True):
    """One session: what it holds, what is left of its budget, its timeline."""

    id: str
    app: str
    ended: str
    state: tuple[tuple[str, str], ...]
    budget: tuple[tuple[str, str, str, int], ...]
    running: tuple[Any, ...]
    events: tuple[Any, ...]
    may_end: bool
    done: str


class Approvals(msgspec.Struct, frozen=True):
    """What waits for a person, or what became of it. `waiting` can be decided on, `rows` are only remembered."""

    status: str
    statuses: tuple[str, ...]
    waiting: tuple[Any, ...]
    rows: tuple[Any, ...]
    may_decide: bool
    done: str


class Approval(msgspec.Struct, frozen=True):
    """One approval."""

    approval: Any
    waits: bool
    may_decide: bool


class Catalogue(msgspec.Struct, frozen=True):
    """Deployments with their reviews, tools with who answers for them, tools that wait, apps. `due`: the reviews somebody is reminded of,
    the most pressing first."""

    due: tuple[Any, ...]
    deployments: tuple[Any, ...]
    tools: tuple[Any, ...]
    waiting: tuple[Any, ...]
    sets: tuple[Any, ...]
    apps: tuple[Any, ...]
    owner: str
    may_register: bool
    done: str


class Reach(msgspec.Struct, frozen=True):
    """Everything that an app or an entitlement set can reach, drawn and told."""

    reach: Any
    graph: Any
    identities: tuple[str, ...]


class People(msgspec.Struct, frozen=True):
    """Everybody who may act. `made` is the token of somebody who was just added, shown this once; `made_waits`: it is of no use until
    another admin has confirmed them."""

    rows: tuple[Any, ...]
    roles: tuple[str, ...]
    me: str
    made: str
    made_for: str
    made_waits: bool
    done: str


class Keys(msgspec.Struct, frozen=True):
    """The keys of apps. `made` is a new key with its secret, shown this once."""

    rows: tuple[Any, ...]
    apps: tuple[str, ...]
    app: str
    levels: tuple[str, ...]
    made: str
    made_for: str
    done: str


class Map(msgspec.Struct, frozen=True):
    """The rules as a picture. `rows` are (name, cells), each cell some bands; `compared` is the proposal beside what is in force."""

    filters: tuple[Filter, ...]
    axes: tuple[tuple[str, str], ...]
    row_axis: str
    column_axis: str
    columns: tuple[str, ...]
    rows: tuple[Any, ...]
    split: str
    tiers: tuple[str, ...]
    compared: str
    changed: int
    widened: int
    only: bool


class Finance(msgspec.Struct, frozen=True):
    """What was spent in a span of days. `months` are (name, query, whether it is this), `kept` the filters as fields of a form, `narrowed`
    (dimension, value, query without it), `headlines` (name, amount, what to know of it),
    `requests` the query of its single requests."""

    title: str
    span: str
    zone: str
    months: tuple[tuple[str, str, bool], ...]
    month: str
    first: str
    last: str
    by: str
    choices: tuple[tuple[str, str], ...]
    grain: str
    grains: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    narrowed: tuple[tuple[str, str, str], ...]
    headlines: tuple[tuple[str, str, str], ...]
    panels: tuple[Any, ...]
    requests: str


class FinanceRequests(msgspec.Struct, frozen=True):
    """Single requests of a span. `up` is the query of the page they are the requests of, `following` that of the next ones."""

    subject: str
    span: str
    months: tuple[tuple[str, str, bool], ...]
    month: str
    kept: tuple[tuple[str, str], ...]
    narrowed: tuple[tuple[str, str, str], ...]
    up: str
    panel: Any
    following: str


class Raised(msgspec.Struct, frozen=True):
    """A raise of a budget for a while. `more` is an amount or a percentage, `state` one of waiting, in force, over."""

    id: str
    owner: str
    per: str
    more: str
    reason: str
    asked_by: str
    approved_by: str
    ends: str
    state: str


class FinanceBudgets(msgspec.Struct, frozen=True):
    """All budgets of owners; those who are `over` theirs, and those who will be by the end. `owners` have a limit that can be raised;
    `asked` is what a form brought that was not taken."""

    over: tuple[str, ...]
    ahead: tuple[str, ...]
    panel: Any
    raises: tuple[Raised, ...]
    owners: tuple[str, ...]
    periods: tuple[str, ...]
    me: str
    asked: dict[str, str]
    done: str
    fault: str


class FinanceBudget(msgspec.Struct, frozen=True):
    """One budget, day by day. `query` is that of the page of its spend."""

    owner: str
    period: str
    query: str
    headlines: tuple[tuple[str, str, str], ...]
    panel: Any


class FinanceSavings(msgspec.Struct, frozen=True):
    """What routing saved in a span, and the `assumptions` that this rests on."""

    subject: str
    span: str
    months: tuple[tuple[str, str, bool], ...]
    month: str
    by: str
    choices: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]
    panels: tuple[Any, ...]
    assumptions: tuple[str, ...]


class FinanceExports(msgspec.Struct, frozen=True):
    """What can be taken along of a span. `forms` are (format, version of FOCUS, in words), `spans` and `where` the parameters of all."""

    span: str
    months: tuple[tuple[str, str, bool], ...]
    month: str
    kept: tuple[tuple[str, str], ...]
    spans: tuple[tuple[str, str], ...]
    where: tuple[str, ...]
    forms: tuple[tuple[str, str, str], ...]


class FinanceMovers(msgspec.Struct, frozen=True):
    """What changed in a span, and which days stand out."""

    subject: str
    span: str
    months: tuple[tuple[str, str, bool], ...]
    month: str
    by: str
    choices: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]
    panels: tuple[Any, ...]


class FinanceRequest(msgspec.Struct, frozen=True):
    """What was booked for one request, and nothing of what was said in it."""

    request_id: str
    opened: str
    closed: str
    settled: bool
    cost: str
    held: str
    outcome: str
    facts: tuple[tuple[str, str], ...]
    panel: Any


class FinanceMonths(msgspec.Struct, frozen=True):
    """Months. `next` is the one that is closed next, with what holds it up as (what, how many, examples); `last` the last closed one, for
    which `asked_by` wants it open again; `may`: this person may close and open, `mine`: they asked."""

    next: str
    begins: str
    ends: str
    spent: str
    ended: bool
    hindrances: tuple[tuple[str, int, tuple[str, ...]], ...]
    last: str
    asked_by: str
    mine: bool
    may: bool
    panel: Any
    done: str
    fault: str


class FinanceMonth(msgspec.Struct, frozen=True):
    """The cost centres of a month. `state` in the words of FOCUS."""

    month: str
    state: str
    panel: Any


class FinanceStatement(msgspec.Struct, frozen=True):
    """What a cost centre pays for in a month. `final`: the month is closed; `facts` are (name, value); `query` that of its downloads."""

    cost_center: str
    month: str
    final: bool
    facts: tuple[tuple[str, str], ...]
    panels: tuple[Any, ...]
    rounding: str
    query: str
    forms: tuple[str, ...]


class Rules(msgspec.Struct, frozen=True):
    """The decision table in force. `faults` are those of a workbook that was not taken."""

    rows: tuple[Any, ...]
    may_edit: bool
    warnings: tuple[Any, ...]
    faults: tuple[Any, ...]
    reason: str


class RulesEdit(msgspec.Struct, frozen=True):
    """The table while it is edited. `text` is the whole file as it would be saved, `base` the revision it started from; `editor` the row
    that is open. `faults` belong to no row. `merge` is there where somebody else was faster: nothing of anybody is lost."""

    text: str
    base: str
    proposal: str
    seen: str
    rows: tuple[Any, ...]
    editor: Any
    tiers: tuple[str, ...]
    sets: tuple[str, ...]
    budgets: tuple[str, ...]
    codes: tuple[str, ...]
    wishes: tuple[str, ...]
    obligations: tuple[str, ...]
    faults: tuple[Any, ...]
    errors: int
    diff: Any
    reason: str
    as_text: bool
    fault: str
    merge: Any


class Proposals(msgspec.Struct, frozen=True):
    """Changes of the rules: those that are open, and those that are history."""

    open: tuple[Any, ...]
    history: tuple[Any, ...]
    may_roll_back: bool
    done: str


class Proposal(msgspec.Struct, frozen=True):
    """One change with all that happened to it. `why_not` is why this person may not approve it, empty where they may."""

    proposal: Any
    why_not: str
    wants: str
    grid: tuple[Any, ...]
    map_changed: int
    map_widened: int
    changes: tuple[Any, ...]
    levels: tuple[str, ...]
    plot: Any
    outcomes: Any
    spend: Any
    shadow: Any
    may_edit: bool
    may_approve: bool
    may_activate: bool
    may_talk: bool
    cases: int
    files: tuple[Any, ...]
    done: str
    fault: str
