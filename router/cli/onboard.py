"""`router onboard`: have an app only watched, see what it would have been refused, and propose the rules that it needs."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import click
import msgspec

from router.cli.acting import acting, with_token
from router.cli.data import announce, store
from router.clock import utc_now
from router.exchange import JsonObject
from router.governance import onboard as adopting
from router.governance import rules as governance
from router.settings import load_settings
from router.storage.sql.people import SqlPeople
from router.storage.sql.registrations import SqlRegistrations
from router.storage.sql.rules import RuleStore
from router.storage.sql.watched import records_of
from routing_rules.load import MOST_OBSERVED, load

LOOKED_BACK = timedelta(days=30)


@click.command()
@click.argument("app")
@click.option("--observe", "start", is_flag=True, help="Have the app only watched from now on.")
@click.option("--owner", help="Who answers for that (e-mail); with --observe.")
@click.option("--days", type=click.IntRange(1, MOST_OBSERVED.days), default=14, show_default=True, help="For how long.")
@click.option("--enforce", "end", is_flag=True, help="Hold the app to the rules again.")
@click.option("--propose", is_flag=True, help="Keep what is suggested as a proposal: `router rules activate` puts it in force.")
@with_token
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def onboard(
    app: str, start: bool, owner: str | None, days: int, end: bool, propose: bool, token: str | None, as_json: bool
) -> None:
    """What was seen of an app, what it would have been refused, and the catalogue entries and rules that it needs."""
    if start + end + propose > 1:
        raise click.UsageError("--observe, --enforce and --propose exclude each other")
    if start and owner is None:
        raise click.UsageError("--observe needs --owner: somebody answers for an app that is only watched")
    settings = load_settings()
    now = utc_now()
    document: JsonObject
    with store(settings) as engine:
        rules_store, by, people, mode = (
            RuleStore(engine),
            acting(engine, token),
            SqlPeople(engine).all(),
            settings.governance_mode,
        )
        try:
            rules = load(governance.in_force(rules_store).files)
            known = rules.apps.get(app)
            if known is None:
                raise click.ClickException(f"there is no app `{app}`; there are {', '.join(rules.apps)}")
            if start or end:
                if start:
                    revision, active, _ = adopting.observe(
                        rules_store, app, owner or "", days, by=by, governance_mode=mode, at=now, people=people
                    )
                else:
                    revision, active = adopting.enforce(rules_store, app, by=by, governance_mode=mode, at=now, people=people)
                document = {"revision": revision.revision, "in_force": active, "mode": "observe" if start else "enforce"}
                lines = [
                    f"{revision.revision} {'is in force' if active else 'is proposed'}: `{app}` is "
                    + (f"only watched for {days} days" if start else "held to the rules")
                ]
            else:
                since = known.observing.start if known.observing is not None else (now - LOOKED_BACK).date()
                begun = datetime.combine(since, time(), UTC)
                seen, facts = adopting.watched(rules, known, records_of(engine, app, begun), since)
                suggested, files = adopting.proposal(rules, known, seen, facts, SqlRegistrations(engine).all(), now.date())
                document = {"seen": seen, "proposal": suggested, "revision": None}
                if propose:
                    note = f"what the app {app} was seen to need"
                    kept = governance.propose(rules_store, files, by=by, note=note, governance=mode, at=now, people=people)
                    document["revision"] = kept.revision
                lines = told(seen, suggested, document["revision"])
        except governance.NotAllowed as error:
            raise click.ClickException(str(error)) from None
    announce(settings)
    click.echo(msgspec.json.encode(document).decode() if as_json else "\n".join(lines))


def told(seen: adopting.Watched, suggested: adopting.Proposal, revision: str | None) -> list[str]:
    """What was seen and what is suggested, for people."""
    watching = f"watched on the word of {seen.owner} until {seen.until}" if seen.owner is not None else "held to the rules"
    lines = [f"{seen.app}: {watching}; {seen.tasks} tasks since {seen.since}, up to `{seen.highest}`"]
    lines += [f"would be refused  {count:6}  {what}" for what, count in seen.would_refuse.items()]
    lines += [f"was refused       {count:6}  {what}" for what, count in seen.refused.items()]
    lines += [
        f"asked for         {each.tasks:6}  {each.name}" + ("" if each.entry else " (nobody has registered it)")
        for each in seen.tools
    ]
    lines.append("")
    lines += [
        f"entry      {tool.id}: {', '.join(sorted(tool.capabilities))}; approval {tool.approval_boundary}; owner {tool.owner}"
        for tool in suggested.tools
    ]
    own = suggested.entitlement_set
    lines.append(
        f"set        {own.id}: {', '.join(sorted(own.tools)) or 'no tools'}; approver {own.approver}; review by {own.review_by}"
    )
    lines.append(f"route      {suggested.route['id']}: {suggested.route['then']}")
    lines.append(f"replayed   {suggested.passing} of {suggested.replayed} recorded tasks would pass with all their tools")
    lines += [f"still                {count:6}  {what}" for what, count in suggested.still.items()]
    lines.append(
        f"proposed as {revision}: `router rules activate {revision}`"
        if revision is not None
        else "look it over, then keep it: --propose"
    )
    return lines
