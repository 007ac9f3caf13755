"""What the console works with, and what a page is asked and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from router.console.charts import Chart
from router.errors import Refused, Unavailable
from router.exchange import ApprovalHistory, JsonObject
from router.governance.approvals import Decider, Waiting
from router.governance.months import Months
from router.governance.people import People
from router.governance.raises import Raises
from router.governance.rules_replay import Recorded
from router.governance.rules_values import RuleStore, ShadowReport
from router.governance.tools import Registrations
from router.principals import Key, Person, Visit
from router.reports.burn import BudgetRow
from router.reports.requests import BookingsPage
from router.reports.savings import Medians
from router.reports.spend import SpendReport
from router.reports.statement import Statement
from routing_rules.rules import RuleSet
from routing_rules.vocabulary import Sensitivity

T = TypeVar("T")


class Visits(Protocol):
    """Who is signed in. Down: Unavailable, and nobody is."""

    async def begin(self, person: str, email: str, step: str, now: datetime, *, way: str = "password") -> str: ...
    async def find(self, token: str, now: datetime) -> Visit | None: ...
    async def go_on(self, token: str, visit: Visit, step: str, now: datetime) -> tuple[str, Visit]: ...
    async def end(self, token: str) -> None: ...
    async def end_all(self, person: str, token: str, visit: Visit, now: datetime) -> None: ...
    async def failed(self, name: str, seconds: int, most: int) -> int: ...
    async def succeeded(self, name: str) -> None: ...
    async def first_time(self, what: str, seconds: int) -> bool: ...
    async def keep_once(self, what: str, value: bytes, seconds: int) -> None: ...
    async def take_once(self, what: str) -> bytes | None: ...


class Account(Protocol):
    """How one person signs in with a password."""

    @property
    def password(self) -> str: ...
    @property
    def changed(self) -> datetime: ...
    @property
    def secret(self) -> str | None: ...
    @property
    def secret_since(self) -> datetime | None: ...
    @property
    def recovery(self) -> tuple[str, ...]: ...


class Accounts(Protocol):
    """Passwords and second factors. Each change is an administrative act."""

    def get(self, person: str) -> Account | None: ...
    def set_password(self, person: str, password: str, *, actor: str, at: datetime) -> None: ...
    def set_second_factor(
        self, person: str, secret: str | None, recovery: Sequence[str], *, actor: str, at: datetime
    ) -> None: ...
    def use_recovery(self, person: str, code: str, *, actor: str, at: datetime) -> bool: ...


class Directory(Protocol):
    """People and rules as this worker knows them, without I/O; `refresh` reads them anew."""

    def person_of(self, email: str) -> Person | None: ...
    def rules(self) -> RuleSet: ...
    async def refresh(self) -> None: ...


class Rules(RuleStore, Protocol):
    """The rule store, with what a shadow saw."""

    def differences(self, proposal_id: str, limit: int = 100) -> ShadowReport: ...


class Decisions(Protocol):
    """Decisions as they are recorded."""

    def search(
        self,
        where: Mapping[str, str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 50,
    ) -> Sequence[Any]: ...
    def story(self, request_id: str) -> Any | None: ...
    def sessions(self, where: Mapping[str, str], *, limit: int = 50) -> Sequence[Any]: ...
    def last_use(self, keys: Mapping[str, str]) -> dict[str, datetime]: ...


class UnderWay(Protocol):
    """What is under way on all replicas."""

    async def looked_at(self, app: str | None = None, session_id: str | None = None) -> Sequence[Any]: ...


class Looking(Protocol):
    """Looks at sessions, and ends them; the API uses the same."""

    @property
    def running(self) -> UnderWay: ...
    async def account(self, session_id: str, app: str | None, limit: int) -> JsonObject: ...
    async def end(self, session_id: str, app: str | None, *, by: str, why: str) -> JsonObject: ...
    async def end_one(self, request_id: str, *, by: str, why: str) -> JsonObject: ...


class Waited(Protocol):
    """What waits for a person."""

    async def waiting(self, approval_id: str) -> Waiting | None: ...
    async def pending(self, now: datetime) -> Sequence[Waiting]: ...


class Remembered(Protocol):
    """What is remembered of approvals for good."""

    def history(self, *, session: str | None, app: str | None, status: str | None, limit: int) -> list[ApprovalHistory]: ...
    def one(self, approval_id: str) -> ApprovalHistory | None: ...


class Deciding(Protocol):
    """Decides on what waits; the API uses the same."""

    @property
    def approvals(self) -> Waited: ...
    @property
    def records(self) -> Remembered: ...
    async def decide(self, approval_id: str, who: Decider, *, approve: bool, via: str, note: str) -> Waiting: ...


class NewKey(Protocol):
    """A key as it was made, with the secret that is shown this once."""

    @property
    def secret(self) -> str: ...


class Keys(Protocol):
    """Keys of apps. Each change is an administrative act."""

    def all(self) -> list[Key]: ...
    def create(
        self, app: str, *, actor: str, at: datetime, expires: datetime | None = None, clearance: Sensitivity | None = None
    ) -> NewKey: ...
    def rotate(self, key_id: str, *, actor: str, at: datetime, grace: timedelta) -> NewKey: ...
    def revoke(self, key_id: str, *, actor: str, at: datetime) -> Key: ...


class Books(Protocol):
    """The ledger as finance reads it. Asks SQL."""

    def zone(self) -> ZoneInfo: ...
    def spend(
        self,
        by: Sequence[str],
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, Sequence[str]] | None = None,
    ) -> SpendReport: ...
    def bookings(
        self,
        where: Mapping[str, Sequence[str]],
        since: datetime | None,
        until: datetime | None,
        after: tuple[datetime, str] | None,
        limit: int,
    ) -> BookingsPage: ...
    def upstream_medians(self, since: datetime | None = None, until: datetime | None = None) -> Medians: ...
    def request(self, request_id: str) -> tuple[JsonObject, Sequence[JsonObject]] | None: ...


class Budgets(Protocol):
    """Every budget in the period that runs, or those of one owner. Asks SQL."""

    def __call__(self, now: datetime, owner: str | None = None) -> Sequence[BudgetRow]: ...


class Statements(Protocol):
    """Statements of cost centres. Asks SQL."""

    def cost_centers(self, month: str) -> Sequence[Any]: ...
    def statement(self, cost_center: str, month: str, at: datetime) -> Statement: ...


class Drawing(Protocol):
    """Draws charts. Raises Unavailable."""

    async def draw(self, chart: Chart, form: str) -> bytes: ...


class Oidc(Protocol):
    """An OpenID provider."""

    async def begin(self, onto: str) -> tuple[str, str]: ...
    async def finish(self, state: str, code: str, browser: str) -> tuple[str, str]: ...


@dataclass(frozen=True, slots=True)
class Site:
    """The collaborators of every page. `secure`: cookies are for HTTPS only. `second_factor`: everybody must have one.

    `known_prices` looks models up whose prices are publicly known.
    `export` answers with a file of the ledger, by the parameters of `/api/reports/export`. `undrained` names records that were written before a moment and are not in SQL yet (None: nobody
    knows). `mode` is the way of governance in force, `rules_of` compiles a revision that is stored (None: it is not), `changed` tells all workers
    that keys or rules have changed, or that the key with this id was revoked. `mode`, `people` and `rules_of` ask SQL.
    """

    visits: Visits
    accounts: Accounts
    directory: Directory
    clock: Callable[[], datetime]
    secret: bytes
    mode: Callable[[], str]
    people: People
    rules: Rules
    recorded: Recorded
    rules_of: Callable[[str], RuleSet | None]
    decisions: Decisions
    looking: Looking
    deciding: Deciding
    keys: Keys
    registrations: Registrations
    changed: Callable[[str | None], Awaitable[None]]
    books: Books
    export: Callable[[Sequence[tuple[str, str]]], Awaitable[Response]]
    statements: Statements
    budgets: Budgets
    raises: Raises
    known_prices: Callable[[Iterable[str]], Mapping[str, Any]]
    months: Months
    undrained: Callable[[datetime], Awaitable[Sequence[str] | None]]
    artist: Drawing
    secure: bool
    second_factor: bool
    provider: str = ""  # how the identity provider is called, where one is set up
    oidc: Oidc | None = None

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the visit."""
        return "__Secure-router-console" if self.secure else "router-console"

    @property
    def oidc_cookie(self) -> str:
        """The name of the cookie that ties a sign-in by the identity provider to one browser."""
        return f"{self.cookie}-oidc"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page is asked. `query` and `form` hold the last value of each name, `lists` all values of the form's.

    `visit`, `person` and `token` are there on every page that is not open.
    """

    method: str
    path: str  # as in the table of routes
    at: datetime
    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    pairs: Sequence[tuple[str, str]] = ()  # the query with every value of each name
    form: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    upload: bytes = b""  # the file of a form that has one
    cookies: Mapping[str, str] = field(default_factory=dict)
    here: str = ""  # the address itself, with its query
    governance: str = ""
    token: str = ""
    signed_in: Visit | None = None
    who: Person | None = None

    @property
    def visit(self) -> Visit:
        """The visit. Raises RuntimeError on an open page."""
        if self.signed_in is None:
            raise RuntimeError("nobody is signed in here")
        return self.signed_in

    @property
    def person(self) -> Person:
        """Who is signed in. Raises RuntimeError on an open page."""
        if self.who is None:
            raise RuntimeError("nobody is signed in here")
        return self.who


@dataclass(frozen=True, slots=True)
class Page:
    """A view model and the template that shows it."""

    template: str
    model: msgspec.Struct
    status: int = 200
    token: str | None = None  # a new one for the browser, of the visit `moved`
    moved: Visit | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """On to another page. `token`: a new one for the browser; an empty one takes the cookie away."""

    to: str
    token: str | None = None
    cookies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are."""

    body: bytes
    kind: str
    cached: bool = False
    name: str = ""  # under which a browser saves it, instead of showing it


@dataclass(frozen=True, slots=True)
class Sent:
    """An answer that is made elsewhere and sent as it is, with the headers of all."""

    response: Response


Answer = Page | Move | Raw | Sent
Handler = Callable[[Site, Asked], Awaitable[Answer]]


async def in_sql(work: Callable[[], T]) -> T:
    """Do something with the SQL store beside the event loop. Raises Unavailable where it is down."""
    try:
        return await asyncio.to_thread(work)
    except SQLAlchemyError as error:
        message = "the SQL store is not available: try again shortly"
        raise Unavailable("store_unavailable", message, detail=type(error).__name__, retry_after=1.0) from None


def not_found(what: str) -> Refused:
    """There is none, or it is not this person's business."""
    return Refused("not_found", f"there is no such {what}")
