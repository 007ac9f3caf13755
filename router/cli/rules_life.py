"""`router rules`: the life of a change, one command a step. Each calls the use case that the console and the API call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from sqlalchemy import Engine

from router.cli.acting import acting, with_token
from router.cli.data import announce, store, until_drained
from router.clock import utc_now
from router.errors import Refused
from router.exchange import JsonObject
from router.governance import rules as governance
from router.governance import rules_mode, rules_replay, rules_signed
from router.governance.rules_values import OPEN, TRIALS, Actor, Proposal, Stale, Status
from router.money import usd
from router.principals import Person, Role
from router.settings import Settings, load_settings
from router.storage.audit_chain import CHECKPOINTS, public_key, verify
from router.storage.sql.enrolments import SqlEnrolments
from router.storage.sql.people import SqlPeople
from router.storage.sql.recorded import Recorded
from router.storage.sql.rules import RuleStore
from routing_rules.diff import Diff
from routing_rules.load import read_rules, together
from routing_rules.rules import revision_of

C = TypeVar("C", bound=Callable[..., None])

DIRECTORY = click.Path(path_type=Path, file_okay=False)
MOST_TOLD = 20
STATUSES = [status.value for status in Status]


def with_json(command: C) -> C:
    """Add the option for one JSON document."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document.")(command)


class Desk:
    """The store with whoever sits before it."""

    def __init__(self, settings: Settings, engine: Engine, token: str | None) -> None:
        self.settings = settings
        self.engine = engine
        self.rules = RuleStore(engine)
        self.recorded = Recorded(engine)
        self.mode = self.rules.mode(settings.governance_mode)
        self.by = acting(engine, token)

    def people(self) -> list[Person]:
        """Everybody who is here."""
        return SqlPeople(self.engine).all()


@contextmanager
def desk(token: str | None = None) -> Iterator[Desk]:
    """The store of the settings. What governance objects to is one sentence."""
    settings = load_settings()
    with store(settings) as engine:
        try:
            yield Desk(settings, engine, token)
        except Stale as stale:
            lines = [f"{file.name}: {file.state}" for file in stale.merge.files]
            raise click.ClickException("\n  ".join([str(stale), *lines, "nothing is lost: yours is as you have it"])) from None
        except governance.NotAllowed as error:
            raise click.ClickException(str(error)) from None


@click.command()
@click.option("--from", "directory", type=DIRECTORY, required=True, help="The edited files; what is left out stays as it is.")
@click.option("--note", "--reason", "note", default="", help="Why.")
@click.option("--base", help="The revision that was edited; default: what is in force.")
@click.option("--draft", is_flag=True, help="Keep it although it has errors.")
@click.option(
    "--signature", help="Base64 of an Ed25519 signature over `router rules digest`, by a key pinned in ROUTER_PROPOSERS."
)
@with_token
@with_json
def propose(
    directory: Path, note: str, base: str | None, draft: bool, signature: str | None, token: str | None, as_json: bool
) -> None:
    """Check an edited directory and keep it as a proposal.

    Where ROUTER_PROPOSERS pins the keys of proposers, the directory is a Git working tree at a commit that one of them signed, or it
    comes with a `--signature`; whoever signed is the author.
    """
    files = read_directory_or_fail(directory)
    with desk(token) as here:
        by, signed = signer(here, directory, files, signature)
        now = utc_now()
        before = governance.in_force(here.rules).files if base is None else governance.files_of(here.rules, base)
        whole = together(before, files)
        if not draft:
            governance.checked(whole, now)
        open_now = here.rules.proposals(tuple(OPEN), 1_000)
        there = next((one for one in open_now if one.revision == revision_of(whole) and one.author == by.name), None)
        # A pipeline that runs again has proposed this already.
        made = there or governance.save(
            here.rules,
            {**dict.fromkeys(before.keys() - whole.keys(), ""), **files},  # parts and overlays that the directory has no more
            by=by,
            reason=note or f"the files of {directory.name or directory}",
            governance=here.mode,
            at=now,
            people=here.people(),
            base=base,
            signed=signed,
        )
    if as_json:
        emit(made)
        return
    click.echo(f"{made.id}: {made.revision} is {made.status}; {widening(made)}")
    click.echo(f"  next: router rules show {made.id}, diff, replay, then approve and activate")


def read_directory_or_fail(directory: Path) -> dict[str, str]:
    """The rule files of a directory, or of a starting set by its name. What is wrong with it is told."""
    from routing_rules.faults import RuleFaults

    try:
        return read_rules(directory, utc_now().date(), load_settings().environment)
    except RuleFaults as faults:
        raise click.ClickException(str(faults)) from None


def signer(here: Desk, directory: Path, files: dict[str, str], signature: str | None) -> tuple[Actor, str | None]:
    """Who proposes, and by what that is shown: where keys are pinned, nobody proposes a directory without one."""
    pins = here.settings.proposers
    if pins is None:
        if signature is not None:
            raise click.ClickException("--signature: no keys are pinned: set ROUTER_PROPOSERS")
        return here.by, None
    signed = rules_signed.by_key(files, signature, pins) if signature else rules_signed.by_commit(directory, files, pins)
    # Whose key is pinned may propose, and nothing else: that is not what a token would allow.
    proposer = Person(f"pinned:{signed.by}"[:40], signed.by, (Role.EDITOR,), "", "", utc_now())
    return Actor(signed.by, proposer, "git"), signed.proof


@click.command()
@click.argument("directory", type=DIRECTORY)
def digest(directory: Path) -> None:
    """What a proposer signs: the digest of a directory's rule files, with the words before it."""
    click.echo(f"{rules_signed.SIGNED_TEXT.decode()}{rules_signed.digest_of(read_directory_or_fail(directory))}", nl=False)


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@with_json
def show(proposal_id: str, as_json: bool) -> None:
    """One proposal: what it changes, who said what of it, and what it waits for."""
    with desk() as here:
        found = governance.proposal(here.rules, proposal_id)
        seen = here.rules.differences(proposal_id) if found.trial_since is not None else None
    if as_json:
        emit(found, shadow=seen)
        return
    click.echo("\n".join(told(found)))
    if seen is not None:
        click.echo(f"  shadow    {seen.differing} of {seen.compared} requests would have been decided otherwise")
        for each in seen.differences[:MOST_TOLD]:
            click.echo(f"            {each.request_id}  {each.app}: {each.before} → {each.after}")


@click.command()
@click.argument("one", metavar="PROPOSAL|REVISION")
@click.option("--against", help="A revision to compare with; default: what it is based on, or what is in force.")
@with_json
def diff(one: str, against: str | None, as_json: bool) -> None:
    """Which cells a change touches, which of them it widens, and what it weakens."""
    with desk() as here:
        found = here.rules.proposal(one)
        after = found.revision if found is not None else one
        before = against or (found.base if found is not None else None) or governance.in_force(here.rules).revision
        compared = governance.diff(here.rules, before, after, utc_now())
    if as_json:
        emit(compared, widens=compared.widens)
        return
    click.echo("\n".join(changes(compared)))


@click.command()
@click.argument("proposal_id", metavar="[PROPOSAL]", required=False)
@click.option("--revision", help="Any revision, instead of a proposal's.")
@click.option("--against", help="The revision to compare with; default: what the proposal is based on, or what is in force.")
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="Of how many days.")
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
@with_token
@with_json
def replay(
    proposal_id: str | None, revision: str | None, against: str | None, days: int, wait: bool, token: str | None, as_json: bool
) -> None:
    """What would have been decided otherwise in the last days: requests, sessions, spend and tools, by app."""
    if (proposal_id is None) == (revision is None):
        raise click.UsageError("name a proposal, or --revision")
    if wait:
        until_drained(load_settings())
    with desk(token) as here:
        found = governance.proposal(here.rules, proposal_id) if proposal_id is not None else None
        after = found.revision if found is not None else str(revision)
        before = against or (found.base if found is not None else None) or governance.in_force(here.rules).revision
        figures = rules_replay.replay(here.rules, here.recorded, before, after, days=days, at=utc_now())
        if found is not None and against is None:
            governance.keep_replay(here.rules, found.id, figures, by=here.by, at=utc_now())
    if as_json:
        emit(figures)
        return
    click.echo(f"{figures.changed} of {figures.decisions} requests, {figures.sessions_changed} of {figures.sessions} sessions")
    click.echo(f"spend ${usd(figures.spend_before)} → ${usd(figures.spend_after)}; {figures.seconds:.1f} s")
    for counts in (figures.outcomes, figures.tiers):
        for what, count in counts.items():
            click.echo(f"  {count:8}  {what}")
    for sign, tools in (("+", figures.tools_gained), ("-", figures.tools_lost)):
        for name, count in tools.items():
            click.echo(f"  {count:8}  {sign} {name}")
    for app in figures.apps[:MOST_TOLD]:
        click.echo(f"  {app.app:20} {app.changed} of {app.requests} requests, ${usd(app.spend_before)} → ${usd(app.spend_after)}")


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--note", default="", help="Why, for the record.")
@click.option("--seen", help="The revision of it that you looked at: nothing happens where it is another by now.")
@with_token
@with_json
def approve(proposal_id: str, note: str, seen: str | None, token: str | None, as_json: bool) -> None:
    """Say yes to somebody else's change."""
    with desk(token) as here:
        made = governance.approve(here.rules, proposal_id, by=here.by, at=utc_now(), governance=here.mode, note=note, seen=seen)
    finished(made, as_json)


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--note", default="", help="Why, for the record.")
@click.option("--seen", help="The revision of it that you looked at: nothing happens where it is another by now.")
@with_token
@with_json
def reject(proposal_id: str, note: str, seen: str | None, token: str | None, as_json: bool) -> None:
    """Say no to a change."""
    with desk(token) as here:
        made = governance.reject(here.rules, proposal_id, by=here.by, at=utc_now(), governance=here.mode, note=note, seen=seen)
    announce(here.settings)
    finished(made, as_json)


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@with_token
@with_json
def withdraw(proposal_id: str, token: str | None, as_json: bool) -> None:
    """Take one's own proposal back."""
    with desk(token) as here:
        made = governance.withdraw(here.rules, proposal_id, by=here.by, at=utc_now())
    announce(here.settings)
    finished(made, as_json)


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@click.argument("text")
@with_token
@with_json
def comment(proposal_id: str, text: str, token: str | None, as_json: bool) -> None:
    """Add a word to the discussion."""
    with desk(token) as here:
        made = governance.comment(here.rules, proposal_id, text, by=here.by, at=utc_now())
    finished(made, as_json)


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@with_token
@with_json
def rebase(proposal_id: str, token: str | None, as_json: bool) -> None:
    """Bring a proposal onto what is in force now."""
    with desk(token) as here:
        made = governance.rebase(here.rules, proposal_id, by=here.by, governance=here.mode, at=utc_now(), people=here.people())
    announce(here.settings)
    finished(made, as_json)


@click.command()
@click.argument("named", metavar="[PROPOSAL|REVISION]", required=False)
@click.option(
    "--emergency", is_flag=True, help="At once, on your word alone, if it only narrows; somebody looks at it afterwards."
)
@with_token
@with_json
def activate(named: str | None, emergency: bool, token: str | None, as_json: bool) -> None:
    """Put a change in force everywhere; the newest proposal where none is named."""
    with desk(token) as here:
        if named is None:
            newest = next(iter(here.rules.proposals(tuple(OPEN), 1)), None)
            if newest is None:
                raise click.ClickException("there is no proposal: `router rules propose --from DIR` makes one")
            named = newest.id
        made = governance.activate(here.rules, named, by=here.by, at=utc_now(), governance=here.mode, emergency=emergency)
    announce(here.settings)
    finished(made, as_json)


@click.command()
@click.option("--to", help="A revision that was in force; default: the one before.")
@click.option("--note", "--reason", "note", default="", help="Why.")
@with_token
@with_json
def rollback(to: str | None, note: str, token: str | None, as_json: bool) -> None:
    """Take the last change back, or go back to an earlier revision."""
    with desk(token) as here:
        made = governance.rollback(
            here.rules, by=here.by, at=utc_now(), governance=here.mode, reason=note, to=to, people=here.people()
        )
    announce(here.settings)
    finished(made, as_json)


@click.command("review-emergency")
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--note", default="", help="What you found.")
@with_token
@with_json
def review_emergency(proposal_id: str, note: str, token: str | None, as_json: bool) -> None:
    """Say that you have looked at what took effect on one person's word."""
    with desk(token) as here:
        made = governance.review(here.rules, proposal_id, by=here.by, at=utc_now(), governance=here.mode, note=note)
    finished(made, as_json)


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--end", is_flag=True, help="No longer.")
@with_token
@with_json
def shadow(proposal_id: str, end: bool, token: str | None, as_json: bool) -> None:
    """Let a proposal decide beside what is in force; only differences are kept (`router rules show`)."""
    tried(proposal_id, None if end else TRIALS[0], 0, token, as_json)


@click.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--share", type=click.IntRange(1, 99), default=10, show_default=True, help="Percent of the sessions.")
@click.option("--end", is_flag=True, help="No longer.")
@with_token
@with_json
def canary(proposal_id: str, share: int, end: bool, token: str | None, as_json: bool) -> None:
    """Let an approved proposal decide on a share of the sessions, on each from its first request to its last."""
    tried(proposal_id, None if end else TRIALS[1], share, token, as_json)


def tried(proposal_id: str, kind: str | None, share: int, token: str | None, as_json: bool) -> None:
    """Begin or end a trial."""
    with desk(token) as here:
        made = governance.trial(here.rules, proposal_id, kind, by=here.by, at=utc_now(), governance=here.mode, share=share)
    announce(here.settings)
    finished(made, as_json)


@click.command()
@click.option("--status", type=click.Choice(STATUSES), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@with_json
def log(status: str | None, limit: int, as_json: bool) -> None:
    """Every change: who proposed it, who approved it and put it in force, when and why; newest first."""
    with desk() as here:
        rows = here.rules.proposals((Status(status),) if status else (), limit)
    if as_json:
        click.echo(msgspec.json.encode([row(each) for each in rows]).decode())
        return
    for each in rows:
        by = f", {each.activated_by} {each.activated:%Y-%m-%d %H:%M}" if each.activated is not None else ""
        click.echo(
            f"{each.id:5} {each.revision}  {each.status:10} {each.author} {each.created:%Y-%m-%d %H:%M}{by}"
            f"{'  (one person alone)' if each.lone else ''}  {each.reason}"
        )


@click.command()
@click.option("--days", type=click.IntRange(1, 3660), default=7, show_default=True, help="Of how many days.")
@click.option("--wait", is_flag=True, help="First wait until no record is on its way from Redis to SQL any more.")
@with_json
def reproduce(days: int, wait: bool, as_json: bool) -> None:
    """Make every recorded decision again, and look at every stored fact; exit status 1 where anything differs."""
    settings = load_settings()
    if wait:
        until_drained(settings)
    with desk() as here:
        result = rules_replay.reproduce(
            here.rules, here.recorded, days=days, at=utc_now(), faults=chain_faults(here.engine, settings)
        )
    if as_json:
        emit(result, holds=result.holds)
    else:
        for each in result.differences:
            click.echo(f"{each.request_id or 'the store'}: {each.message}")
        state = "all the same" if result.holds else f"{result.differing} DIFFER"
        click.echo(f"{state}; {result.same} of {result.decisions} decisions of {days} days came out the same")
    sys.exit(0 if result.holds else 1)


@click.command("leave-single")
@with_token
def leave_single(token: str | None) -> None:
    """Let the first approver in: a token that works once, for a day. Once it was used, two people make each change, for good."""
    with desk(token) as here:
        made = rules_mode.offer(
            SqlEnrolments(here.engine), SqlPeople(here.engine), by=here.by, governance=here.mode, at=utc_now()
        )
    click.echo(f"{made}\n  shown this once: hand it to the first approver, who runs `router rules enrol TOKEN EMAIL`")
    click.echo(f"  or sends it to {here.settings.address}/enrolment as JSON: token, email")


@click.command()
@click.argument("enrolment", metavar="TOKEN")
@click.argument("email")
@with_json
def enrol(enrolment: str, email: str, as_json: bool) -> None:
    """Come in as the first approver, with the token that was handed to you."""
    with desk() as here:
        try:
            made = rules_mode.enrol(SqlEnrolments(here.engine), SqlPeople(here.engine), enrolment, email, at=utc_now())
        except Refused as refusal:
            raise click.ClickException(refusal.message) from None
    announce(here.settings)
    if as_json:
        click.echo(msgspec.json.encode({"email": made.person.email, "roles": made.person.roles, "token": made.token}).decode())
        return
    click.echo(f"{made.token}\n  {made.person.email} approves changes from now on; the token is shown this once")


def chain_faults(engine: Engine, settings: Settings) -> list[str]:
    """What of the stored facts is not as it was written."""
    folder = settings.data_dir / "audit"
    try:
        key = public_key(folder)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"no checkpoints can be read in `{folder}`: {error}") from None
    return [f"{fault.kind}: {fault.message}" for fault in verify(engine, folder / CHECKPOINTS, key).faults]


def emit(value: msgspec.Struct, **more: object) -> None:
    """One JSON document."""
    document = msgspec.to_builtins(value)
    click.echo(msgspec.json.encode({**document, **{name: msgspec.to_builtins(each) for name, each in more.items()}}).decode())


def finished(made: Proposal, as_json: bool) -> None:
    """What a step came to."""
    if as_json:
        emit(made)
        return
    state = "in force" if made.status is Status.ACTIVE else str(made.status)
    alone = " by one person alone" if made.lone else " and waits to be looked at" if made.review == governance.PENDING else ""
    trial = f", {made.trial}" + (f" on {made.share} % of the sessions" if made.share else "") if made.trial else ""
    click.echo(f"{made.id}: {made.revision} is {state}{alone}{trial}")


def row(proposal: Proposal) -> JsonObject:
    """A proposal in a list."""
    document: JsonObject = msgspec.to_builtins(proposal)
    document |= {"note": proposal.reason, "faults": len(proposal.faults), "replay": proposal.replay is not None}
    document["diff"] = None if proposal.diff is None else {"changed": proposal.diff.changed, "widened": proposal.diff.widened}
    return document


def widening(proposal: Proposal) -> str:
    """What it changes, in a few words."""
    found = proposal.diff
    if found is None:
        return "it does not load"
    return f"{found.changed} cells change, {found.widened} widen" + (
        f", and {len(found.widenings)} more widenings" if found.widenings else ""
    )


def told(found: Proposal) -> list[str]:
    """A proposal for people."""
    lines = [f"{found.id}: {found.revision} is {found.status}; {found.reason}"]
    lines.append(f"  author    {', '.join(found.authors)}, {found.created:%Y-%m-%d %H:%M} ({found.via}), on {found.base}")
    if found.signed:
        lines.append(f"  signed    {found.signed}")
    lines.append(f"  changes   {', '.join(found.diff.files) if found.diff else ''}; {widening(found)}")
    if found.diff is not None:
        lines += [f"            {each.message}" for each in found.diff.widenings[:MOST_TOLD]]
    lines += [f"  fault     {fault}" for fault in found.faults[:MOST_TOLD]]
    lines += [f"  approved  {each.by} {each.at:%Y-%m-%d %H:%M} {each.note}" for each in found.approvals]
    if found.open:
        lines.append(f"  needs     {', '.join(found.wants()) or 'nobody any more'}")
    if found.activated is not None:
        lines.append(f"  in force  {found.activated:%Y-%m-%d %H:%M} by {found.activated_by}{' alone' if found.lone else ''}")
    lines += [f"  said      {each.by} {each.at:%Y-%m-%d %H:%M}: {each.text}" for each in found.comments]
    return lines


def changes(found: Diff) -> list[str]:
    """A diff for people: what widens first."""
    lines = [f"{found.changed} of {found.cells} cells change, {found.widened} widen; files: {', '.join(found.files) or 'none'}"]
    lines += [f"  wider     {each.message}" for each in found.widenings]
    lines += [f"  dearer    {each}" for each in found.dearer]
    for change in found.changes[:MOST_TOLD]:
        where = "; ".join(f"{name} {', '.join(words)}" for name, words in change.where.items()) or "everywhere"
        lines.append(f"  {'wider' if change.gains else 'changed':9} {change.cells} cells: {where}")
        lines.append(f"            {change.before.effect} {change.before.rule} → {change.after.effect} {change.after.rule}")
        if change.gains:
            lines.append(f"            gains {', '.join(change.gains)}")
    if len(found.changes) > MOST_TOLD:
        lines.append(f"  and {len(found.changes) - MOST_TOLD} more groups: --json tells all")
    return lines


COMMANDS = (
    propose,
    digest,
    show,
    diff,
    replay,
    approve,
    reject,
    withdraw,
    comment,
    rebase,
    activate,
    rollback,
    review_emergency,
    shadow,
    canary,
    log,
    reproduce,
    leave_single,
    enrol,
)
