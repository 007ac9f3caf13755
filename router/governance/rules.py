"""How rules come into force: seeding, proposals, activation, and the changes that keys and credentials make. Every surface calls this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from classifiers.recalls import published
from router.governance.models import model_faults
from router.governance.packs import pack_faults
from router.principals import SINGLE
from routing_rules.cases import run_cases
from routing_rules.catalogue import App
from routing_rules.check import check
from routing_rules.edit import add_app, add_deployment_rows, disable_simulated
from routing_rules.faults import Fault, RuleFaults, Severity
from routing_rules.load import complete, load
from routing_rules.rules import RuleSet

AT_START = "router"
"""Who is named as the author of what the service itself does at start."""


class StoredRevision(Protocol):
    """A revision as the store keeps it."""

    @property
    def number(self) -> int: ...
    @property
    def revision(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...
    @property
    def author(self) -> str: ...
    @property
    def status(self) -> str: ...


class RuleStore(Protocol):
    """Revisions, kept for ever. Each call is one transaction; SQL down: the driver's error, and nothing has changed."""

    def current(self) -> StoredRevision | None: ...
    def get(self, revision: str) -> StoredRevision | None: ...
    def seed(
        self, revision: str, files: Mapping[str, str], *, author: str, note: str, governance: str, at: datetime
    ) -> StoredRevision: ...
    def propose(
        self, revision: str, files: Mapping[str, str], *, author: str, note: str, governance: str, at: datetime
    ) -> StoredRevision: ...
    def activate(self, revision: str, *, actor: str, governance: str, at: datetime) -> StoredRevision: ...


class NotAllowed(Exception):
    """Governance does not let this person make this change; the sentence says who could."""


def checked(files: Mapping[str, str], at: datetime) -> tuple[RuleSet, list[Fault]]:
    """The compiled rule set and its warnings. Raises RuleFaults where anything in it is an error, or a case or an example fails."""
    rules = load(files)
    faults = [*check(rules, at.date(), published()), *run_cases(rules), *pack_faults(rules), *model_faults(rules)]
    errors = [fault for fault in faults if fault.severity is Severity.ERROR]
    if errors:
        raise RuleFaults(errors)
    return rules, faults


def seed(store: RuleStore, files: Mapping[str, str], *, governance: str, at: datetime) -> StoredRevision:
    """Put the first revision in force in an empty store; where there is one already, that one. Raises RuleFaults."""
    rules, _ = checked(files, at)
    return store.seed(rules.revision, files, author=AT_START, note="first start", governance=governance, at=at)


def propose(
    store: RuleStore, files: Mapping[str, str], *, author: str, note: str, governance: str, at: datetime
) -> StoredRevision:
    """Keep a change for somebody to put in force. Files that are left out stay as they are in force. Raises RuleFaults."""
    whole = {**in_force(store).files, **files}
    rules, _ = checked(whole, at)
    return store.propose(rules.revision, whole, author=author, note=note, governance=governance, at=at)


def activate(store: RuleStore, revision: str, *, actor: str, governance: str, at: datetime) -> StoredRevision:
    """Put a proposal in force. Raises NotAllowed where governance asks for two people and this is the proposer, RuleFaults
    where the revision has become invalid since it was proposed."""
    proposal = store.get(revision)
    if proposal is None:
        raise NotAllowed(f"there is no revision `{revision}`: `router rules log` lists them")
    if governance != SINGLE:
        raise NotAllowed("under `four_eyes` a second, enrolled person puts a change in force; no approver is enrolled yet")
    checked(proposal.files, at)
    return store.activate(revision, actor=actor, governance=governance, at=at)


def change(
    store: RuleStore, files: Mapping[str, str], *, author: str, note: str, governance: str, at: datetime
) -> tuple[StoredRevision, bool]:
    """Propose, and under `single` put in force at once: (the revision, whether it is in force)."""
    proposal = propose(store, files, author=author, note=note, governance=governance, at=at)
    if governance != SINGLE:
        return proposal, proposal.status == "active"
    return activate(store, proposal.revision, actor=author, governance=governance, at=at), True


def register_app(store: RuleStore, app: App, *, author: str, governance: str, at: datetime) -> tuple[StoredRevision, bool]:
    """Add an app that the rules do not know yet: (the revision, whether it is in force)."""
    files = add_app(in_force(store).files, app)
    return change(store, files, author=author, note=f"register the app {app.id}", governance=governance, at=at)


def adopt(
    store: RuleStore, rows: Sequence[Mapping[str, Any]], *, governance: str, at: datetime
) -> tuple[StoredRevision, bool, tuple[str, ...]] | None:
    """Add the deployments of credentials that were found, and take the simulated ones out of service.

    (the revision, whether it is in force, ids of what was added), or None where everything is there already. A deployment that
    somebody has edited or switched off since stays as they left it.
    """
    active = in_force(store)
    known = load(active.files)
    listed = set(known.deployments) | _ids_in(active.files.get("models.yaml", ""))
    new = [row for row in rows if row["id"] not in listed]
    if not new:
        return None
    files = disable_simulated(add_deployment_rows(active.files, new))
    ids = tuple(str(row["id"]) for row in new)
    note = f"credentials found at start: {', '.join(ids)}"
    revision, active_now = change(store, files, author=AT_START, note=note, governance=governance, at=at)
    return revision, active_now, ids


def differs(store: RuleStore, files: Mapping[str, str], at: datetime) -> bool:
    """Whether a directory of rule files says something else than what is in force."""
    active = in_force(store).files
    return any(active.get(name) != text for name, text in complete(files, at.date()).items() if name in files)


def in_force(store: RuleStore) -> StoredRevision:
    """The revision in force. Raises NotAllowed in an empty store."""
    active = store.current()
    if active is None:
        raise NotAllowed("no rules are in force: start the service once")
    return active


def _ids_in(text: str) -> set[str]:
    """Every id written in models.yaml, also of deployments that are out of service."""
    return {line.split(":", 1)[1].strip().strip("\"'") for line in text.splitlines() if line.strip().startswith("- id:")}
