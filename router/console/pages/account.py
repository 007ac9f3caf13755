"""One's own account: the password, the second factor, and where somebody goes first."""

from __future__ import annotations

from router.console import passwords
from router.console.access import ENROL, IN, PASSWORD, navigation
from router.console.pages.sign_in import LOCKED, LOCKED_SECONDS, MOST_FAILURES, code_fits
from router.console.shown import moment
from router.console.site import Answer, Asked, Handler, Move, Page, Site, in_sql
from router.console.view_models import Account, Home, NewPassword, RecoveryCodes, SecondFactor
from router.errors import Refused

DONE = {
    "password": "The password is changed; all other visits of yours have ended.",
    "off": "The second factor is gone.",
}


async def home(_: Site, asked: Asked) -> Answer:
    """The first page that somebody may open."""
    groups = navigation(asked.person.roles)
    if groups:
        return Move(groups[0].items[0].path)
    return Page("home.html", Home(asked.person.email))


async def show(site: Site, asked: Asked) -> Answer:
    """The account."""
    account = await in_sql(lambda: site.accounts.get(asked.visit.person))
    model = Account(
        email=asked.person.email,
        roles=tuple(role.value for role in asked.person.roles),
        way=asked.visit.way,
        changed=moment(account.changed) if account is not None else "",
        second_factor_since=moment(account.secret_since) if account is not None and account.secret_since is not None else "",
        recovery_left=len(account.recovery) if account is not None else 0,
        required=site.second_factor,
        done=DONE.get(asked.query.get("done", ""), ""),
    )
    return Page("account.html", model)


async def show_password(_: Site, asked: Asked) -> Answer:
    """The page on which a password is chosen."""
    return _password(asked)


async def set_password(site: Site, asked: Asked) -> Answer:
    """Keep a new password, and end all other visits of this person."""
    visit, form = asked.visit, asked.form
    first = visit.step == PASSWORD
    if not first:
        if await site.visits.failed(f"password:{visit.person}", LOCKED_SECONDS, MOST_FAILURES) > MOST_FAILURES:
            return _password(asked, LOCKED, 429)
        account = await in_sql(lambda: site.accounts.get(visit.person))
        if not await passwords.fits(form.get("old", ""), account.password if account is not None else None):
            return _password(asked, "The present password is wrong.", 403)
        await site.visits.succeeded(f"password:{visit.person}")
    fault = passwords.fault_of(form.get("new", ""), form.get("again", ""), visit.email)
    if fault is not None:
        return _password(asked, fault, 422)
    kept = await passwords.hashed(form["new"])
    await in_sql(lambda: site.accounts.set_password(visit.person, kept, actor=visit.email, at=asked.at))
    await site.visits.end_all(visit.person, asked.token, visit, asked.at)
    if not first:
        return Move("/account?done=password")
    current = await site.visits.find(asked.token, asked.at)
    token, _ = await site.visits.go_on(asked.token, current or visit, ENROL if site.second_factor else IN, asked.at)
    return Move("/second-factor" if site.second_factor else "/", token=token)


async def show_second_factor(site: Site, asked: Asked) -> Answer:
    """The page on which an authenticator app is set up."""
    return await _enrolment(site, asked)


async def set_second_factor(site: Site, asked: Asked) -> Answer:
    """Keep the second factor once it has shown that it works, and show the recovery codes."""
    visit = asked.visit
    await _none_yet(site, asked)
    secret = passwords.draft_secret(site.secret, visit.form)
    step = passwords.matching_step(secret, asked.form.get("code", ""), asked.at)
    if step is None:
        return await _enrolment(site, asked, "This is not the code of now: look again, it changes every 30 seconds.", 422)
    await site.visits.first_time(f"step:{visit.person}:{step}", 4 * passwords.STEP_SECONDS)
    codes = passwords.new_recovery_codes()
    kept = [passwords.recovery_hash(site.secret, visit.person, code) for code in codes]
    await in_sql(lambda: site.accounts.set_second_factor(visit.person, secret, kept, actor=visit.email, at=asked.at))
    token, moved = await site.visits.go_on(asked.token, visit, IN, asked.at)
    return Page("recovery_codes.html", RecoveryCodes(codes), token=token, moved=moved)


async def drop_second_factor(site: Site, asked: Asked) -> Answer:
    """Do without the second factor, for whoever has it at hand."""
    if site.second_factor:
        raise Refused("role_required", "everybody has a second factor here")
    if await site.visits.failed(f"code:{asked.visit.person}", LOCKED_SECONDS, MOST_FAILURES) > MOST_FAILURES:
        raise Refused("rate_limit_exceeded", LOCKED)
    if not await code_fits(site, asked, asked.form.get("code", "").strip()[:40]):
        raise Refused("invalid_request", "this is not the code of now, or it was used before")
    await site.visits.succeeded(f"code:{asked.visit.person}")
    who = asked.visit.person
    await in_sql(lambda: site.accounts.set_second_factor(who, None, (), actor=asked.visit.email, at=asked.at))
    return Move("/account?done=off")


async def _enrolment(site: Site, asked: Asked, fault: str = "", status: int = 200) -> Page:
    await _none_yet(site, asked)
    secret = passwords.draft_secret(site.secret, asked.visit.form)
    groups = " ".join(secret[place : place + 4] for place in range(0, len(secret), 4))
    picture = passwords.qr_code(secret, asked.visit.email)
    return Page("second_factor.html", SecondFactor(picture, groups, fault, site.second_factor), status)


async def _none_yet(site: Site, asked: Asked) -> None:
    account = await in_sql(lambda: site.accounts.get(asked.visit.person))
    if account is None:
        raise Refused("not_found", "a second factor goes with a password of ours, and there is none")
    if account.secret is not None:
        raise Refused("invalid_request", "there is a second factor already: take it away first, with a code of it")


def _password(asked: Asked, fault: str = "", status: int = 200) -> Page:
    return Page("password.html", NewPassword(asked.visit.step == PASSWORD, fault, passwords.SHORTEST), status)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("GET", "/"): home,
    ("GET", "/account"): show,
    ("GET", "/password"): show_password,
    ("POST", "/password"): set_password,
    ("GET", "/second-factor"): show_second_factor,
    ("POST", "/second-factor"): set_second_factor,
    ("POST", "/second-factor/off"): drop_second_factor,
}
