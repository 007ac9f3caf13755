"""Changes of the rules over HTTP: proposed, compared, replayed, discussed, decided on, put in force and taken back with a person's token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from router.api.people import Who, in_sql, read_body
from router.errors import Refused
from router.exchange import JsonObject
from router.governance import rules as governance
from router.governance import rules_mode, rules_replay
from router.governance.rules_values import Actor, NoSuchProposal, NotAllowed, Proposal, RuleStore, ShadowReport, Stale, Status
from router.principals import Person
from routing_rules.faults import RuleFaults

T = TypeVar("T")

MOST_BYTES = 12 * 1024 * 1024
MOST_LISTED = 500
MOST_DAYS = 366


class Edit(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a new proposal. `files` are those that differ; one whose text is empty is taken out. `base`: the revision that was edited."""

    files: dict[str, str]
    reason: str
    base: str | None = None
    beside: bool = False


class Revision(msgspec.Struct, forbid_unknown_fields=True):
    """Body of another save of a proposal. `seen`: the revision of it that was edited."""

    files: dict[str, str]
    seen: str
    reason: str | None = None


class Look(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a preview: nothing of it is kept."""

    files: dict[str, str]
    base: str | None = None


class Word(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a comment."""

    text: str


class Note(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a decision: why, for the record."""

    note: str = ""


class Vote(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a yes or no to a proposal. `seen`: the revision of it that was looked at; `note`: why, for the record."""

    seen: str
    note: str = ""


class Activation(msgspec.Struct, forbid_unknown_fields=True):
    """Body of an activation. `emergency`: at once, on one person's word, if it only narrows. `seen`: what was looked at, if it is said."""

    emergency: bool = False
    seen: str | None = None


class Trial(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a trial: `shadow`, `canary` with a share in percent, or null to end it."""

    kind: str | None
    share: int = 10


class Back(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a rollback. `to`: a revision that was in force; without it, the one before."""

    reason: str = ""
    to: str | None = None


class Days(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a replay: of how many days."""

    days: int = 7


class Store(RuleStore, Protocol):
    """The rule store, with what a shadow saw."""

    def differences(self, proposal_id: str, limit: int = 100) -> ShadowReport: ...


@dataclass(frozen=True, slots=True)
class Changing:
    """What the routes work with. `changed` tells all workers that the rules have; `people` is everybody who is here."""

    store: Store
    recorded: rules_replay.Recorded
    people: Callable[[], list[Person]]
    changed: Callable[[], Awaitable[None]]
    clock: Callable[[], datetime]
    asked_mode: str

    def mode(self) -> str:
        """The way of governance in force."""
        return self.store.mode(self.asked_mode)


def actor_of(request: Request, via: str = "api") -> Actor:
    """Who uses a route, as the use cases take it."""
    who: Who = request.state.who
    return Actor(who.name, who.person, via)


async def done(work: Callable[[], T]) -> T:
    """Do something with the rules in SQL; what governance objects to is a refusal of the table. Raises Refused."""
    try:
        return await in_sql(work)
    except Stale as stale:
        raise Refused("rules_changed", str(stale), details={"merge": msgspec.to_builtins(stale.merge)}) from None
    except NoSuchProposal as unknown:
        raise Refused("not_found", str(unknown)) from None
    except NotAllowed as refusal:
        raise Refused("change_not_allowed", str(refusal)) from None
    except RuleFaults as faults:
        told = [msgspec.to_builtins(fault) for fault in faults.faults[: governance.MOST_FAULTS]]
        raise Refused("invalid_request", f"the rules cannot be used: {faults.faults[0]}", details={"faults": told}) from None


def shown(proposal: Proposal, *, whole: bool = True) -> JsonObject:
    """A proposal in plain JSON values; without `whole`, a row of a list."""
    document: JsonObject = msgspec.to_builtins(proposal)
    document["wants"] = list(proposal.wants())
    if proposal.diff is not None:
        document["diff"]["widens"] = proposal.diff.widens
    if not whole:
        if document["diff"] is not None:
            document["diff"] = {name: document["diff"][name] for name in ("cells", "changed", "widened", "widens", "files")}
        document["replay"] = None
        document["faults"] = len(proposal.faults)
    return document


ENROLMENT = "/enrolment"


class Enrolment(msgspec.Struct, forbid_unknown_fields=True):
    """Body of what the first approver sends: the token that was handed to them, and their e-mail address."""

    token: str
    email: str


async def enrolled(
    enrolments: rules_mode.Enrolments, people: rules_mode.People, changing: Changing, request: Request
) -> Response:
    """The first approver comes in, with a token that works once; the answer holds the token with which they sign in."""
    asked = await read_body(request, Enrolment)
    made = await done(lambda: rules_mode.enrol(enrolments, people, asked.token, asked.email, at=changing.clock()))
    await changing.changed()
    document = {"email": made.person.email, "roles": made.person.roles, "token": made.token}
    return Response(msgspec.json.encode(document), status_code=201, media_type="application/json")


def add_routes(api: APIRouter, changing: Changing) -> None:
    """The routes under `/api`."""
    store, clock, mode = changing.store, changing.clock, changing.mode

    def answer(document: object, status: int = 200) -> Response:
        return Response(msgspec.json.encode(document), status_code=status, media_type="application/json")

    @api.get("/rules")
    async def in_force() -> Response:
        active = await done(lambda: governance.in_force(store))
        return answer(
            {"revision": active.revision, "number": active.number, "governance": await in_sql(mode), "files": active.files}
        )

    @api.get("/rules/revisions/{revision}")
    async def revision_files(revision: str) -> Response:
        return answer({"revision": revision, "files": await done(lambda: governance.files_of(store, revision))})

    @api.get("/rules/history")
    async def history(limit: int = 100) -> Response:
        rows = await done(lambda: governance.history(store, within(limit, MOST_LISTED, "limit")))
        return answer({"data": [shown(row) for row in rows]})

    @api.get("/rules/diff")
    async def diff(before: str, after: str) -> Response:
        found = await done(lambda: governance.diff(store, before, after, clock()))
        return answer({**msgspec.to_builtins(found), "widens": found.widens})

    @api.get("/rules/replay")
    async def replay_any(before: str, after: str, days: int = 7) -> Response:
        length = within(days, MOST_DAYS, "days")
        return answer(await done(lambda: rules_replay.replay(store, changing.recorded, before, after, days=length, at=clock())))

    @api.post("/rules/preview")
    async def preview(request: Request) -> Response:
        asked = await read_body(request, Look, MOST_BYTES)
        found = await done(lambda: governance.preview(store, asked.files, clock(), asked.base))
        return answer(
            {**msgspec.to_builtins(found), "usable": found.usable, "widens": found.diff is not None and found.diff.widens}
        )

    @api.get("/rules/proposals")
    async def listed(status: str | None = None, limit: int = 100) -> Response:
        try:
            statuses = (Status(status),) if status is not None else ()
        except ValueError:
            raise Refused("invalid_request", f"`status` is one of {', '.join(Status)}", param="status") from None
        rows = await in_sql(lambda: store.proposals(statuses, within(limit, MOST_LISTED, "limit")))
        return answer({"data": [shown(row, whole=False) for row in rows]})

    @api.post("/rules/proposals")
    async def propose(request: Request) -> Response:
        asked = await read_body(request, Edit, MOST_BYTES)
        by = actor_of(request)
        made = await done(
            lambda: governance.save(
                store,
                asked.files,
                by=by,
                reason=asked.reason,
                governance=mode(),
                at=clock(),
                people=changing.people(),
                base=asked.base,
                beside=asked.beside,
            )
        )
        return answer(shown(made), 201)

    @api.get("/rules/proposals/{proposal_id}")
    async def one(proposal_id: str) -> Response:
        return answer(shown(await done(lambda: governance.proposal(store, proposal_id))))

    @api.get("/rules/proposals/{proposal_id}/differences")
    async def differences(proposal_id: str, limit: int = 100) -> Response:
        return answer(await in_sql(lambda: store.differences(proposal_id, within(limit, MOST_LISTED, "limit"))))

    @api.post("/rules/proposals/{proposal_id}/revise")
    async def revise(request: Request, proposal_id: str) -> Response:
        asked = await read_body(request, Revision, MOST_BYTES)
        by = actor_of(request)
        made = await done(
            lambda: governance.revise(
                store,
                proposal_id,
                asked.files,
                by=by,
                seen=asked.seen,
                governance=mode(),
                at=clock(),
                people=changing.people(),
                reason=asked.reason,
            )
        )
        await changing.changed()  # a trial of it has ended
        return answer(shown(made))

    @api.post("/rules/proposals/{proposal_id}/rebase")
    async def rebase(request: Request, proposal_id: str) -> Response:
        by = actor_of(request)
        made = await done(
            lambda: governance.rebase(store, proposal_id, by=by, governance=mode(), at=clock(), people=changing.people())
        )
        await changing.changed()
        return answer(shown(made))

    @api.post("/rules/proposals/{proposal_id}/comment")
    async def comment(request: Request, proposal_id: str) -> Response:
        asked = await read_body(request, Word)
        by = actor_of(request)
        return answer(shown(await done(lambda: governance.comment(store, proposal_id, asked.text, by=by, at=clock()))))

    @api.post("/rules/proposals/{proposal_id}/replay")
    async def replay(request: Request, proposal_id: str) -> Response:
        asked = await read_body(request, Days)
        length, by = within(asked.days, MOST_DAYS, "days"), actor_of(request)

        def work() -> Proposal:
            found = governance.proposal(store, proposal_id)
            base = found.base or governance.in_force(store).revision
            figures = rules_replay.replay(store, changing.recorded, base, found.revision, days=length, at=clock())
            return governance.keep_replay(store, proposal_id, figures, by=by, at=clock())

        return answer(shown(await done(work)))

    @api.post("/rules/proposals/{proposal_id}/approve")
    async def approve(request: Request, proposal_id: str) -> Response:
        asked = await read_body(request, Vote)
        by = actor_of(request)
        made = await done(
            lambda: governance.approve(store, proposal_id, by=by, at=clock(), governance=mode(), note=asked.note, seen=asked.seen)
        )
        return answer(shown(made))

    @api.post("/rules/proposals/{proposal_id}/reject")
    async def reject(request: Request, proposal_id: str) -> Response:
        asked = await read_body(request, Vote)
        by = actor_of(request)
        made = await done(
            lambda: governance.reject(store, proposal_id, by=by, at=clock(), governance=mode(), note=asked.note, seen=asked.seen)
        )
        await changing.changed()
        return answer(shown(made))

    @api.post("/rules/proposals/{proposal_id}/withdraw")
    async def withdraw(request: Request, proposal_id: str) -> Response:
        by = actor_of(request)
        made = await done(lambda: governance.withdraw(store, proposal_id, by=by, at=clock()))
        await changing.changed()
        return answer(shown(made))

    @api.post("/rules/proposals/{proposal_id}/activate")
    async def activate(request: Request, proposal_id: str) -> Response:
        asked = await read_body(request, Activation)
        by = actor_of(request)
        made = await done(
            lambda: governance.activate(
                store, proposal_id, by=by, at=clock(), governance=mode(), emergency=asked.emergency, seen=asked.seen
            )
        )
        await changing.changed()
        return answer(shown(made))

    @api.post("/rules/proposals/{proposal_id}/review")
    async def review(request: Request, proposal_id: str) -> Response:
        asked = await read_body(request, Note)
        by = actor_of(request)
        return answer(
            shown(
                await done(lambda: governance.review(store, proposal_id, by=by, at=clock(), governance=mode(), note=asked.note))
            )
        )

    @api.post("/rules/proposals/{proposal_id}/trial")
    async def trial(request: Request, proposal_id: str) -> Response:
        asked = await read_body(request, Trial)
        by = actor_of(request)
        made = await done(
            lambda: governance.trial(store, proposal_id, asked.kind, by=by, at=clock(), governance=mode(), share=asked.share)
        )
        await changing.changed()
        return answer(shown(made))

    @api.post("/rules/rollback")
    async def rollback(request: Request) -> Response:
        asked = await read_body(request, Back)
        by = actor_of(request)
        made = await done(
            lambda: governance.rollback(
                store,
                by=by,
                at=clock(),
                governance=mode(),
                reason=asked.reason,
                to=asked.to,
                people=changing.people(),
            )
        )
        await changing.changed()
        return answer(shown(made), 201)


def within(number: int, most: int, name: str) -> int:
    """The number. Raises Refused(`invalid_request`) where it lies outside 1 to `most`."""
    if not 1 <= number <= most:
        raise Refused("invalid_request", f"`{name}` is a number from 1 to {most}", param=name)
    return number
