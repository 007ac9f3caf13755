"""Keys, people and rules as one process knows them: read from SQL when something was announced, used on the line without any I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from router import telemetry
from router.clock import utc_now
from router.errors import RouterError, Unavailable
from router.governance.rules_values import CANARY, Proposal
from router.principals import SINGLE, Key, Person
from router.services import InForce, Trial
from router.stages.classify import Classifiers
from router.storage.redis_announce import RedisAnnouncements
from router.storage.sql.directory import load_keys
from router.storage.sql.migrate import store_fact
from router.storage.sql.people import load_people
from router.storage.sql.raises import SqlRaises
from router.storage.sql.registrations import changed_servers
from router.storage.sql.rules import Revision, RuleStore
from routing_rules.budgets import Raise
from routing_rules.faults import RuleFaults
from routing_rules.load import load
from routing_rules.rules import RuleSet


class Snapshot:
    """The Directory port (see ports), with the classifiers of the rules in force.

    SQL down: what was read last stays in force, and a key that was revoked is known from Redis. Both down: what was read last.
    Nothing read yet: Unavailable(`not_ready`).
    """

    def __init__(self, engine: Engine, announcements: RedisAnnouncements, secret: bytes, asked_mode: str = SINGLE) -> None:
        self._engine = engine
        self._announcements = announcements
        self._secret = secret
        self._asked_mode = self._mode = asked_mode
        self._tried: tuple[str, str, int] | None = None
        self._keys: Mapping[str, Key] | None = None
        self._people: Mapping[str, Person] = {}
        self._revoked: frozenset[str] = frozenset()
        self._in_force: InForce | None = None
        self._seen = -1
        self._revoked_seen = -1
        self._sql_fault: str | None = "not read yet"
        self._rules_fault: str | None = "no rules have been read yet"
        self._refreshing = asyncio.Lock()
        self._looks = 0  # how many were begun
        self.epoch: str | None = None
        self.changed_servers: frozenset[str] = frozenset()
        self._raised: Mapping[str, tuple[Raise, ...]] = {}

    def key(self, sha256: str) -> Key | None:
        """See Directory. A key that Redis says is revoked is handed out as revoked, whatever SQL said last."""
        if self._keys is None:
            raise Unavailable("not_ready", "no keys have been read yet: look at /readyz")
        key = self._keys.get(sha256)
        if key is not None and key.revoked is None and key.id in self._revoked:
            return revoked_now(key)
        return key

    def person(self, sha256: str) -> Person | None:
        """The person whose token has this digest. One whom Redis says to be ended is nobody, whatever SQL said last."""
        if self._keys is None:
            raise Unavailable("not_ready", "no people have been read yet: look at /readyz")
        person = self._people.get(sha256)
        return None if person is not None and person.id in self._revoked else person

    def person_of(self, email: str) -> Person | None:
        """The person who has this e-mail address and was not ended."""
        return next(
            (one for one in self._people.values() if one.email == email and one.ended is None and one.id not in self._revoked),
            None,
        )

    def raised(self, owner: str) -> tuple[Raise, ...]:
        """What this owner's limits were raised by; each says until when."""
        return self._raised.get(owner, ())

    def mode(self) -> str:
        """The way of governance in force: once `single` was left, four eyes, whatever the settings say."""
        return self._mode

    def rules(self) -> RuleSet:
        """See Directory."""
        return self.in_force().rules

    def rules_of(self, session_id: str) -> tuple[RuleSet, ...]:
        """See InForce.rules_of."""
        return self.in_force().rules_of(session_id)

    def in_force(self) -> InForce:
        """The rule set in force with what was built from it."""
        if self._in_force is None:
            raise Unavailable("not_ready", "no rules have been read yet: look at /readyz")
        return self._in_force

    async def refresh(self) -> None:
        """See Directory. What cannot be read now is read at the next call."""
        asked_at = self._looks
        async with self._refreshing:
            if self._looks > asked_at:
                return  # another who waited has looked since: where the stores hang, many who ask wait for one look, not each for its own
            self._looks += 1
            await self._refresh()

    async def _refresh(self) -> None:
        try:
            version = (await self._announcements.look()).version
        except RouterError:
            version = self._seen
        if version != self._revoked_seen:
            try:
                self._revoked = await self._announcements.revoked()
                self._revoked_seen = version
            except RouterError:
                pass
        if version == self._seen and self._in_force is not None and self._keys is not None:
            return
        try:
            await asyncio.to_thread(self._read)
            self._seen = version
            self._sql_fault = None
        except SQLAlchemyError as error:
            if self._sql_fault is None:
                telemetry.logger().error("sql_unavailable", error=type(error).__name__)
            self._sql_fault = "the SQL store cannot be read; what was read last stays in force"

    def _read(self) -> None:
        keys, people = load_keys(self._engine), load_people(self._engine)
        store = RuleStore(self._engine)
        revision, self._mode = store.current(), store.mode(self._asked_mode)
        self.epoch = store_fact(self._engine, "epoch")
        self._keys, self._people = keys, people
        self.changed_servers = changed_servers(self._engine)
        self._raised = SqlRaises(self._engine).in_force(utc_now())
        if revision is None:
            self._rules_fault = "no rules are in force: `router rules propose --from DIR`, then `router rules activate`"
            return
        tried = store.tried()
        told = None if tried is None else (tried[0].id, tried[1].revision, tried[0].share)
        before = self._in_force
        if before is not None and before.rules.revision == revision.revision and told == self._tried:
            return
        try:
            same = before is not None and before.rules.revision == revision.revision
            rules = before.rules if same and before is not None else load(revision.files)
            plain = built(rules, self._secret, before)
        except RuleFaults as faults:
            self._rules_fault = f"revision {revision.number} cannot be compiled: {faults}"
            return
        self._in_force, self._tried = plain if tried is None else self._beside(plain, *tried), told
        if same:
            return
        self._rules_fault = None
        telemetry.RULES_AGE.set(utc_now().timestamp())
        telemetry.logger().info("rules_in_force", revision=revision.revision, number=revision.number)

    def _beside(self, plain: InForce, proposal: Proposal, revision: Revision) -> InForce:
        """What is in force with what is tried beside it; alone where that cannot be compiled."""
        try:
            tried = built(load(revision.files), self._secret, plain)
        except RuleFaults as faults:
            telemetry.logger().error(
                "trial_not_compiled", proposal=proposal.id, revision=proposal.revision, faults=len(faults.faults)
            )
            return plain
        trial = Trial(proposal.id, proposal.share if proposal.trial == CANARY else 0, tried)
        deployments = tuple(dict.fromkeys((*plain.deployments, *tried.deployments)))
        return InForce(plain.rules, plain.classifiers, plain.extra_fields | tried.extra_fields, deployments, trial)

    async def sql_fault(self) -> str | None:
        """What is wrong with SQL, asked now."""
        try:
            await asyncio.to_thread(store_fact, self._engine, "epoch")
        except SQLAlchemyError as error:
            return f"the SQL store does not answer ({type(error).__name__}); requests go on, their records wait in Redis"
        return None

    async def rules_fault(self) -> str | None:
        """What is wrong with the rules; a revision that cannot be compiled leaves the one before in force."""
        return self._rules_fault

    async def classifiers_fault(self) -> str | None:
        """What is wrong with the classifiers."""
        return None if self._in_force is not None else "not loaded yet"

    def notes(self) -> dict[str, str]:
        """What readiness tells beside its checks."""
        return {"revision": self._in_force.rules.revision} if self._in_force is not None else {}

    def close(self) -> None:
        """End the classifiers' process."""
        if self._in_force is not None:
            self._in_force.classifiers.close()


def revoked_now(key: Key) -> Key:
    """The key, revoked since before any request that is under way."""
    return Key(**{**{name: getattr(key, name) for name in key.__struct_fields__}, "revoked": key.created})


def built(rules: RuleSet, secret: bytes, before: InForce | None) -> InForce:
    """What the line needs of a rule set. The classifiers are kept where the sensitivity policy has not changed."""
    keep = before is not None and before.rules.sensitivity == rules.sensitivity
    classifiers = before.classifiers if keep and before is not None else Classifiers(rules.sensitivity, secret)
    extra = frozenset().union(*(deployment.allowed_fields for deployment in rules.deployments.values()))
    return InForce(rules, classifiers, extra, tuple(rules.deployments))
