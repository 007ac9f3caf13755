"""`router keys`: app keys, made, listed, rotated and revoked; also while the service runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import msgspec

from router.cli.acting import acting, with_token
from router.cli.data import actor, announce, store
from router.clock import utc_now
from router.exchange import JsonObject
from router.governance import rules as governance
from router.principals import Key
from router.settings import load_settings
from router.storage.sql.directory import NoSuchKey, SqlKeys
from router.storage.sql.people import SqlPeople
from router.storage.sql.rules import RuleStore
from routing_rules.catalogue import App
from routing_rules.load import complete, load
from routing_rules.vocabulary import Sensitivity

LEVELS = [level.value for level in Sensitivity]
DEFAULT_CEILING = "standard"


@click.group()
def keys() -> None:
    """App keys. A key belongs to an app and may only narrow it."""


@keys.command()
@click.option("--app", required=True, help="The app; one the rules do not know is registered, or proposed under four_eyes.")
@click.option("--owner", help="Who answers and pays for a new app (e-mail).")
@click.option("--team", default="unassigned", show_default=True)
@click.option("--cost-center", default="unassigned", show_default=True)
@click.option("--purpose", "purposes", multiple=True, help="A governed purpose; may be repeated.")
@click.option("--clearance", type=click.Choice(LEVELS), help="Highest sensitivity it may send. New app without it: internal.")
@click.option("--ceiling", help="Widest entitlement set it may get. New app without it: standard.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="Last day (UTC) on which the key works.")
@with_token
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def create(
    app: str,
    owner: str | None,
    team: str,
    cost_center: str,
    purposes: tuple[str, ...],
    clearance: str | None,
    ceiling: str | None,
    expires: datetime | None,
    token: str | None,
    as_json: bool,
) -> None:
    """Make a key and show it, this once."""
    settings = load_settings()
    now = utc_now()
    with store(settings) as engine:
        by = acting(engine, token)
        rules_store = RuleStore(engine)
        if rules_store.current() is None:
            governance.seed(rules_store, complete({}, now.date()), governance=settings.governance_mode, at=now)
        rules = load(governance.in_force(rules_store).files)
        level = Sensitivity(clearance) if clearance else None
        known = rules.apps.get(app)
        revision, active = rules.revision, True
        for purpose in purposes:
            if purpose not in rules.purposes:
                raise click.ClickException(f"--purpose: `{purpose}` is not governed; there are {', '.join(rules.purposes)}")
        if ceiling is not None and ceiling not in rules.sets:
            raise click.ClickException(f"--ceiling: there is no entitlement set `{ceiling}`; there are {', '.join(rules.sets)}")
        if known is None:
            if owner is None:
                raise click.ClickException(f"--owner is needed: the app `{app}` is new, and somebody must answer and pay for it")
            registered = App(
                id=app,
                owner=owner,
                team=team,
                cost_center=cost_center,
                clearance=level or Sensitivity.INTERNAL,
                ceiling=ceiling or (DEFAULT_CEILING if DEFAULT_CEILING in rules.sets else next(iter(rules.sets))),
                purposes=purposes or tuple(rules.purposes)[:1],
            )
            try:
                changed, active = governance.register_app(
                    rules_store,
                    registered,
                    by=by,
                    governance=settings.governance_mode,
                    at=now,
                    people=SqlPeople(engine).all(),
                )
            except governance.NotAllowed as error:
                raise click.ClickException(f"the app `{app}` is new: {error}") from None
            revision = changed.revision
        elif owner is not None and owner != known.owner:
            raise click.ClickException(
                f"--owner: the app `{app}` belongs to {known.owner}; a change of owner is a change of the rules"
            )
        made = SqlKeys(engine).create(
            app,
            actor=by.name,
            at=now,
            expires=expires.replace(tzinfo=UTC) + timedelta(days=1) if expires else None,
            clearance=level if known is not None else None,
            ceiling=ceiling if known is not None else None,
            purposes=purposes if known is not None else (),
        )
    announce(settings)
    if as_json:
        document = {**shown(made.key), "key": made.secret, "revision": revision, "app_in_force": active}
        click.echo(msgspec.json.encode(document).decode())
        return
    click.echo(f"{made.secret}\n  id {made.key.id}, app {app}; shown this once: it is stored as a hash")
    if not active:
        click.echo(f"  the app is proposed as revision {revision}: the key works once that is in force")


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_keys(as_json: bool) -> None:
    """Every key there ever was, oldest first, without its secret."""
    now = utc_now()
    with store(load_settings()) as engine:
        rows = [shown(key) | {"state": state_of(key, now)} for key in SqlKeys(engine).all()]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        click.echo(
            f"{row['id']}  {row['prefix']}…  {row['app'] or '(admin)':20}  {row['state']:8}  expires {row['expires'] or 'never'}"
        )


@keys.command()
@click.argument("key_id")
@click.option(
    "--grace-hours", type=click.FloatRange(0, 24 * 90), default=24.0, show_default=True, help="How long the old one still works."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def rotate(key_id: str, grace_hours: float, as_json: bool) -> None:
    """Make a successor; the old key works for a while longer."""
    settings = load_settings()
    with store(settings) as engine:
        try:
            made = SqlKeys(engine).rotate(key_id, actor=actor(), at=utc_now(), grace=timedelta(hours=grace_hours))
        except NoSuchKey as error:
            raise click.ClickException(str(error)) from None
    announce(settings)
    click.echo(msgspec.json.encode({**shown(made.key), "key": made.secret}).decode() if as_json else made.secret)


@keys.command()
@click.argument("key_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def revoke(key_id: str, as_json: bool) -> None:
    """End a key; every worker refuses it within a second."""
    settings = load_settings()
    with store(settings) as engine:
        try:
            key = SqlKeys(engine).revoke(key_id, actor=actor(), at=utc_now())
        except NoSuchKey as error:
            raise click.ClickException(str(error)) from None
    announce(settings, revoked=key.id)
    click.echo(msgspec.json.encode(shown(key)).decode() if as_json else f"revoked {key.id} ({key.prefix}…)")


def shown(key: Key) -> JsonObject:
    """What may be shown of a key."""
    document: JsonObject = msgspec.to_builtins(key)
    del document["sha256"]
    return document


def state_of(key: Key, now: datetime) -> str:
    """active, expired or revoked."""
    if key.revoked is not None:
        return "revoked"
    return "expired" if key.expires is not None and key.expires <= now else "active"
