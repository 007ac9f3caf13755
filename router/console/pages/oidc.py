"""Signing in by the organisation's identity provider: there and back. Roles stay ours: whom nobody added here does not get in."""

from __future__ import annotations

from router.console.access import IN
from router.console.pages.sign_in import onward
from router.console.site import Answer, Asked, Handler, Move, Site
from router.errors import Refused
from router.governance.people import state_of


async def begin(site: Site, asked: Asked) -> Answer:
    """On to the provider."""
    if site.oidc is None:
        raise Refused("unknown_path", "no identity provider is set up here")
    url, browser = await site.oidc.begin(asked.query.get("next", ""))
    return Move(url, cookies={"oidc": browser})


async def back(site: Site, asked: Asked) -> Answer:
    """Back from the provider: whom it vouches for begins a visit, if they are one of our people."""
    if site.oidc is None:
        raise Refused("unknown_path", "no identity provider is set up here")
    if asked.query.get("error"):
        raise Refused("role_required", "your identity provider did not let you in")
    email, onto = await site.oidc.finish(
        asked.query.get("state", ""), asked.query.get("code", ""), asked.cookies.get(site.oidc_cookie, "")
    )
    person = site.directory.person_of(email)
    if person is None:
        await site.directory.refresh()
        person = site.directory.person_of(email)
    if person is None or state_of(person, asked.at) != "active":
        raise Refused("role_required", "you are known to your organisation, but nobody has given you a role here")
    if asked.signed_in is not None:
        await site.visits.end(asked.token)
    token = await site.visits.begin(person.id, person.email, IN, asked.at, way="oidc")
    return Move(onward(onto), token=token, cookies={"oidc": ""})


HANDLERS: dict[tuple[str, str], Handler] = {("GET", "/oidc"): begin, ("GET", "/oidc/back"): back}
