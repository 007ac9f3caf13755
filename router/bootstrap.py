"""What stands between an empty data directory and a service: tables, the first rules, adopted credentials, the first keys."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router.clock import utc_now
from router.errors import RouterError
from router.governance import rules as governance
from router.governance.people import ACTIVE, state_of
from router.governance.rules_mode import has_approver, offer
from router.governance.rules_values import Actor
from router.principals import SINGLE
from router.secret_key import read_secret
from router.settings import Settings, provider_environment
from router.storage.redis_announce import RedisAnnouncements
from router.storage.redis_client import RedisClient, durability_faults
from router.storage.sql.directory import SqlKeys
from router.storage.sql.engine import open_engine
from router.storage.sql.enrolments import SqlEnrolments
from router.storage.sql.migrate import StoreIsNewer, migrate, store_fact
from router.storage.sql.people import SqlPeople
from router.storage.sql.rules import RuleStore
from router.upstream.credentials import deployments_for
from routing_rules.faults import RuleFaults
from routing_rules.load import complete, load, read_rules, starting_set

DEMO_APP = "demo"


class BootstrapError(Exception):
    """The service cannot start; the message says what to put right."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the start found and made. Keys are there when they were made just now only: they are stored as hashes."""

    revision: str
    governance: str
    notes: tuple[str, ...]
    app: str | None  # whose key `app_key` is
    app_key: str | None
    admin_key: str | None
    simulated: bool
    nobody: bool  # is there yet who could sign in

    def greeting(self, address: str) -> list[str]:
        """Lines for the person who started the service."""
        lines = [f"  base URL    {address}/v1"]
        lines += [f"  console     {address}/console"]
        if self.nobody:
            lines += [
                "              the first person gets in by `router people add EMAIL --role admin`: it shows the token to sign in with"
            ]
        if self.app_key:
            lines += [f"  app key     {self.app_key}   (app `{self.app}`; shown this once)"]
        if self.admin_key:
            lines += [f"  admin key   {self.admin_key}   (shown this once)"]
        lines += [f"  rules       revision {self.revision}, governance {self.governance}"]
        if self.simulated:
            lines += [
                "  provider    simulated: no credential was found; set OPENAI_API_KEY, ANTHROPIC_API_KEY or ROUTER_UPSTREAM_URL"
            ]
        lines += [f"  note        {note}" for note in self.notes]
        return [*lines, "  next        make demo   (or swap the base URL of your OpenAI client and ask for the model `auto`)"]


def prepare(settings: Settings, redis_url: str) -> Prepared:
    """Make the stores ready for workers. Safe to run on every start, and by several at once. Raises BootstrapError."""
    now = utc_now()
    read_secret(settings)
    engine = open_engine(settings.sql_url)
    try:
        migrate(engine)
        epoch = store_fact(engine, "epoch")
        notes = asyncio.run(_settle_redis(settings, redis_url, epoch))
        mode = RuleStore(engine).mode(settings.governance_mode)
        notes += _rules(engine, settings, mode, now)
        notes += _first_approver(engine, mode, now)
        app, app_key, admin_key = _first_keys(engine, now)
        asyncio.run(_announce(settings, redis_url))
        active = governance.in_force(RuleStore(engine))
        simulated = any(deployment.provider == "simulated" for deployment in load(active.files).deployments.values())
        nobody = not any(state_of(person, now) == ACTIVE for person in SqlPeople(engine).all())
        return Prepared(active.revision, mode, tuple(notes), app, app_key, admin_key, simulated, nobody)
    except RuleFaults as faults:
        raise BootstrapError(f"the rules cannot be used:\n{faults}") from None
    except StoreIsNewer as error:
        raise BootstrapError(str(error)) from None
    except SQLAlchemyError as error:
        raise BootstrapError(f"the SQL store cannot be used ({type(error).__name__}): look at ROUTER_DATABASE_URL") from None
    finally:
        engine.dispose()


async def _settle_redis(settings: Settings, url: str, epoch: str) -> list[str]:
    """Refuse a Redis that could forget or evict; mark a new one with the store's epoch. Notes for the operator."""
    client = RedisClient(url, cluster=settings.redis_cluster, time_limit=10.0)
    try:
        faults = [] if settings.redis_vouched else await durability_faults(client)
        if faults:
            raise BootstrapError(
                f"this Redis may lose balances: {'; '.join(faults)}. Put it right, or vouch for it with ROUTER_REDIS_VOUCHED=true"
            )
        found = await RedisAnnouncements(client).set_epoch(epoch)
        if found != epoch:
            return [
                "this Redis belongs to another store, or was restored: the service is not ready until `router restore` was run"
            ]
        return ["the operator vouches for this Redis"] if settings.redis_vouched else []
    except RouterError as error:
        raise BootstrapError(f"Redis cannot be used: {error.message}; look at ROUTER_REDIS_URL") from None
    finally:
        await client.aclose()


async def _announce(settings: Settings, url: str) -> None:
    client = RedisClient(url, cluster=settings.redis_cluster, time_limit=10.0)
    try:
        await RedisAnnouncements(client).announce()
    except RouterError as error:
        raise BootstrapError(f"Redis cannot be used: {error.message}") from None
    finally:
        await client.aclose()


def _rules(engine: Engine, settings: Settings, mode: str, now: datetime) -> list[str]:
    """Seed an empty store; propose what a rule directory or found credentials would change. Notes for the operator."""
    store = RuleStore(engine)
    people = SqlPeople(engine).all()
    notes: list[str] = []
    given = read_rules(settings.rules_dir, now.date(), settings.environment) if settings.rules_dir is not None else {}
    named = starting_set(settings.rules_dir) is not None  # where to start: no change, and credentials are still adopted
    if store.current() is None:
        governance.seed(store, complete(given, now.date()), governance=mode, at=now)
    elif given and not named and governance.differs(store, given, now):
        proposal = governance.propose(
            store,
            given,
            by=governance.SERVICE,
            note=f"differs from {settings.rules_dir}",
            governance=mode,
            at=now,
            people=people,
        )
        notes.append(
            f"{settings.rules_dir} differs from the rules in force: proposed as {proposal.revision} (`router rules activate`)"
        )
    adopted = (
        governance.adopt(store, deployments_for(provider_environment(settings)), governance=mode, at=now, people=people)
        if not given or named
        else None
    )
    if adopted is not None:
        revision, active, ids = adopted
        state = "in force" if active else f"proposed as {revision.revision}"
        notes.append(f"credentials found: {', '.join(ids)} at clearance `internal` until somebody reviews them ({state})")
    return notes


def _first_approver(engine: Engine, mode: str, now: datetime) -> list[str]:
    """Where two people make a change and nobody is here who approves: the token with which the first comes in."""
    if mode == SINGLE or has_approver(SqlPeople(engine), now):
        return []
    token = offer(SqlEnrolments(engine), SqlPeople(engine), by=Actor(governance.AT_START), governance=mode, at=now)
    return [f"nobody approves changes yet: `router rules enrol {token} EMAIL` lets the first approver in, once, within a day"]


def _first_keys(engine: Engine, now: datetime) -> tuple[str | None, str | None, str | None]:
    """An app, a key of it, and an admin key; each key only where none of its kind was ever made."""
    keys = SqlKeys(engine)
    made = {key.admin for key in keys.all()}
    apps = load(governance.in_force(RuleStore(engine)).files).apps
    app = DEMO_APP if DEMO_APP in apps else next(iter(apps), None)
    app_key = keys.create(app, actor=governance.AT_START, at=now).secret if app is not None and False not in made else None
    admin_key = keys.create("", actor=governance.AT_START, at=now, admin=True).secret if True not in made else None
    return app, app_key, admin_key
