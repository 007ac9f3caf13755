"""Signing in and out: a password (at first the token that came with the person), a second factor, and what follows from failing."""

from __future__ import annotations

import hmac
from hashlib import sha256

from router.console import passwords
from router.console.access import BASE, CODE, ENROL, IN, PASSWORD
from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql
from router.console.view_models import Code, SignIn
from router.governance.people import state_of
from router.principals import Person

MOST_FAILURES = 5
LOCKED_SECONDS = 900
WRONG = "The address or the password is wrong."
LOCKED = "Too many attempts: this name is locked for a quarter of an hour."
USED_SECONDS = 4 * passwords.STEP_SECONDS


async def show(site: Site, asked: Asked) -> Answer:
    """The sign-in page; whoever is signed in goes on."""
    if asked.signed_in is not None and asked.signed_in.step == IN:
        return Move(onward(asked.query.get("next", "")))
    return _page(site, asked.query.get("next", ""))


async def sign_in(site: Site, asked: Asked) -> Answer:
    """Check address and password, and begin a visit."""
    email, password = asked.form.get("email", "").strip().lower()[:254], asked.form.get("password", "")
    onto = asked.form.get("next", "")
    if await site.visits.failed(f"name:{email}", LOCKED_SECONDS, MOST_FAILURES) > MOST_FAILURES:
        return _page(site, onto, email, LOCKED, 429)
    person = site.directory.person_of(email)
    if person is None:
        await site.directory.refresh()  # they may have been added a moment ago
        person = site.directory.person_of(email)
    if person is not None and state_of(person, asked.at) != "active":
        person = None
    step = await _next_step(site, person, password)
    if person is None or step is None:
        return _page(site, onto, email, WRONG, 403)
    await site.visits.succeeded(f"name:{email}")
    if asked.signed_in is not None:
        await site.visits.end(asked.token)
    token = await site.visits.begin(person.id, person.email, step, asked.at)
    return Move(onward(onto) if step == IN else f"/{_PATHS[step]}", token=token)


_PATHS = {PASSWORD: "password", CODE: "code", ENROL: "second-factor"}


async def _next_step(site: Site, person: Person | None, password: str) -> str | None:
    """Where signing in goes on; None: the password is wrong."""
    account = await in_sql(lambda: site.accounts.get(person.id)) if person is not None else None
    right = await passwords.fits(password, account.password if account is not None else None)  # as long for whoever is not there
    if person is not None and account is None:
        # Nobody has chosen a password yet: the token that was shown once opens the page on which one is chosen, and nothing else.
        first = hmac.compare_digest(sha256(password.strip().encode()).hexdigest(), person.sha256)
        return PASSWORD if first else None
    if not right or account is None:
        return None
    if account.secret is not None:
        return CODE
    return ENROL if site.second_factor else IN


async def show_code(_: Site, asked: Asked) -> Answer:
    """The page that asks for the second factor."""
    return Page("code.html", Code(fault=""))


async def check_code(site: Site, asked: Asked) -> Answer:
    """Check a code of the authenticator app, or a recovery code."""
    visit, said = asked.visit, asked.form.get("code", "").strip()[:40]
    name = f"code:{visit.person}"
    if await site.visits.failed(name, LOCKED_SECONDS, MOST_FAILURES) > MOST_FAILURES:
        return Page("code.html", Code(fault=LOCKED), 429)
    if not await code_fits(site, asked, said):
        return Page("code.html", Code(fault="This is not the code of now, or it was used before."), 403)
    await site.visits.succeeded(name)
    token, _ = await site.visits.go_on(asked.token, visit, IN, asked.at)
    return Move("/", token=token)


async def code_fits(site: Site, asked: Asked, said: str) -> bool:
    """Whether somebody has their second factor at hand: each code counts once."""
    person = asked.visit.person
    account = await in_sql(lambda: site.accounts.get(person))
    if account is None or account.secret is None:
        return False
    step = passwords.matching_step(account.secret, said, asked.at)
    if step is not None:
        return await site.visits.first_time(f"step:{person}:{step}", USED_SECONDS)
    code = passwords.recovery_hash(site.secret, person, said)
    return await in_sql(lambda: site.accounts.use_recovery(person, code, actor=asked.visit.email, at=asked.at))


async def sign_out(site: Site, asked: Asked) -> Answer:
    """End the visit."""
    await site.visits.end(asked.token)
    return Move("/sign-in", token="")


def onward(to: str) -> str:
    """Where to go after signing in: a page of the console, and nowhere else."""
    path = to.removeprefix(BASE)
    fine = to.startswith(f"{BASE}/") and not path.startswith(("//", "/sign", "/\\")) and to.isprintable() and "\\" not in to
    return path if fine else "/"


def _page(site: Site, onto: str, email: str = "", fault: str = "", status: int = 200) -> Page:
    return Page("sign_in.html", SignIn(email, onto if onward(onto) != "/" else "", fault, site.provider), status)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/sign-in"): show,
    ("POST", "/sign-in"): sign_in,
    ("GET", "/code"): show_code,
    ("POST", "/code"): check_code,
    ("POST", "/sign-out"): sign_out,
}
