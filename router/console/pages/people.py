"""People: who may act, who waits for another admin, and how somebody is added, confirmed and ended."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import msgspec

from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql
from router.console.view_models import People
from router.errors import Refused
from router.governance import people as governance
from router.principals import Person, Role

DONE = {
    "confirmed": "Confirmed: their token works from now on.",
    "ended": "Ended: every worker refuses their token, and their visits are over, within a second.",
}
ORDER = (governance.WAITING, governance.ACTIVE, "expired", "ended")


class PersonShown(msgspec.Struct, frozen=True):
    """A person without their token. `mine`: whoever looks added them, or is them, so that another admin confirms."""

    id: str
    email: str
    roles: tuple[str, ...]
    prefix: str
    state: str
    created: datetime
    expires: datetime | None
    added_by: str
    confirmed_by: str
    mine: bool


async def show(site: Site, asked: Asked) -> Answer:
    """Everybody there ever was; those who wait first."""
    return await _page(site, asked)


async def add(site: Site, asked: Asked) -> Answer:
    """Add a person and show their token, this once."""
    form, actor = asked.form, _actor(asked)
    roles, expires = asked.lists.get("role", ()), _end_of(form.get("expires", ""))

    def work() -> governance.NewPerson:
        return governance.add(
            site.people, form.get("email", ""), roles, actor=actor, at=asked.at, governance=site.mode(), expires=expires
        )

    made = await in_sql(work)
    await site.changed(None)
    return await _page(site, asked, made)


async def confirm(site: Site, asked: Asked) -> Answer:
    """Let in somebody whom another admin has added."""
    await in_sql(lambda: governance.confirm(site.people, asked.names["who"], actor=_actor(asked), at=asked.at))
    await site.changed(None)
    return Move("/people?done=confirmed")


async def end(site: Site, asked: Asked) -> Answer:
    """End somebody at once."""
    person = await in_sql(lambda: governance.end(site.people, asked.names["who"], actor=asked.person.email, at=asked.at))
    await site.changed(person.id)
    return Move("/people?done=ended")


async def _page(site: Site, asked: Asked, made: governance.NewPerson | None = None) -> Page:
    me = asked.person.email
    rows = [_shown(each, me, asked.at) for each in await in_sql(site.people.all)]
    rows.sort(key=lambda row: (ORDER.index(row.state), row.email))
    model = People(
        rows=tuple(rows),
        roles=tuple(Role),
        me=me,
        made=made.token if made is not None else "",
        made_for=made.person.email if made is not None else "",
        made_waits=made is not None and made.person.waits,
        done=DONE.get(asked.query.get("done", ""), ""),
    )
    return Page("people.html", model)


def _shown(person: Person, me: str, now: datetime) -> PersonShown:
    return PersonShown(
        id=person.id,
        email=person.email,
        roles=tuple(role.value for role in person.roles),
        prefix=person.prefix,
        state=governance.state_of(person, now),
        created=person.created,
        expires=person.expires,
        added_by=person.added_by,
        confirmed_by=person.confirmed_by,
        mine=me in (person.added_by, person.email),
    )


def _actor(asked: Asked) -> governance.Actor:
    return governance.Actor(asked.person.email, asked.person)


def _end_of(day: str) -> datetime | None:
    if not day.strip():
        return None
    try:
        return datetime.combine(date.fromisoformat(day.strip()), time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise Refused("invalid_request", "a day is written as 2027-01-31") from None


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/people"): show,
    ("POST", "/people"): add,
    ("POST", "/people/{who}/confirm"): confirm,
    ("POST", "/people/{who}/end"): end,
}
