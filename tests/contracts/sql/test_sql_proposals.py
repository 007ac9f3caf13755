"""The life of a change of the rules on a real store: nobody can skip a step of it, and nothing that was saved is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import Engine, text

from router.governance import rules as governance
from router.governance.rules_values import Actor, Kind, NoSuchProposal, NotAllowed, Proposal, Stale, Status
from router.principals import Person, Role
from router.storage.sql.rules import RuleStore
from routing_rules.catalogue import App
from routing_rules.faults import RuleFaults
from routing_rules.load import shipped
from routing_rules.rules import revision_of
from routing_rules.vocabulary import Sensitivity

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
FILES = shipped(date(2026, 11, 23))
FOUR_EYES, SINGLE = "four_eyes", "single"


def person(name: str, *roles: Role) -> Person:
    return Person(f"person_{name}", f"{name}@example.org", roles, "rp-", name, NOON)


def acting(name: str, *roles: Role) -> Actor:
    return Actor(f"{name}@example.org", person(name, *roles), via="api")


EDITOR = acting("ed", Role.EDITOR)
OTHER_EDITOR = acting("olga", Role.EDITOR)
APPROVER = acting("eve", Role.APPROVER)
BOTH = acting("ann", Role.EDITOR, Role.APPROVER)
VIEWER = acting("vic", Role.VIEWER)
NOBODY = Actor("root")


def edited(old: str, new: str, name: str = "routes.yaml", files: dict[str, str] = FILES) -> dict[str, str]:
    assert old in files[name]
    return {name: files[name].replace(old, new, 1)}


WIDER = edited("clearance: internal", "clearance: confidential", "models.yaml")
BROKEN = edited("task: [mathematics, analysis, planning, agentic]", "task: [mathematic]")
FAILING = {"cases/own.yaml": "cases:\n  - {name: no, facts: {task: summarisation}, expect: {rule: deliberation}}\n"}
NARROWER = {
    "routes.yaml": FILES["routes.yaml"].replace(
        "prohibitions:\n",
        "prohibitions:\n  - {id: no-brainstorming, owner: o@example.org, reason: a test, when: {task: brainstorming}}\n",
        1,
    )
}


@pytest.fixture
def rules(store: Engine) -> RuleStore:
    made = RuleStore(store)
    governance.seed(made, FILES, governance=FOUR_EYES, at=NOON)
    return made


@pytest.fixture
def alone(new_store: Callable[[], Engine]) -> RuleStore:
    """A store in which one person decides."""
    made = RuleStore(new_store())
    governance.seed(made, FILES, governance=SINGLE, at=NOON)
    return made


@pytest.fixture
def saved(rules: RuleStore) -> Callable[..., Proposal]:
    def save(files: dict[str, str] = WIDER, by: Actor = EDITOR, mode: str = FOUR_EYES, **more: object) -> Proposal:
        return governance.save(rules, files, by=by, reason="a test", governance=mode, at=NOON, **more)  # type: ignore[arg-type]

    return save


def active(rules: RuleStore) -> str:
    return governance.in_force(rules).revision


def approved(rules: RuleStore, proposal: Proposal, by: Actor = APPROVER) -> Proposal:
    return governance.approve(rules, proposal.id, by=by, at=NOON, governance=FOUR_EYES)


def activate(rules: RuleStore, named: str, by: Actor = APPROVER, mode: str = FOUR_EYES, *, emergency: bool = False) -> Proposal:
    return governance.activate(rules, named, by=by, at=NOON, governance=mode, emergency=emergency)


class TestAChange:
    def test_goes_from_its_author_over_somebody_else_into_force_and_into_the_history(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        before = active(rules)
        made = saved()
        assert (made.id, made.status, made.base, made.author) == ("p1", Status.CHECKED, before, "ed@example.org")
        assert made.diff is not None
        assert made.diff.widens
        assert made.needs == ("approver",)
        assert active(rules) == before
        done = approved(rules, made)
        assert (done.status, done.approvals[0].by) == (Status.APPROVED, "eve@example.org")
        assert activate(rules, made.id).status is Status.ACTIVE
        assert active(rules) == made.revision
        latest, first = governance.history(rules)
        assert (latest.reason, latest.activated_by, latest.lone, latest.diff) == ("a test", "eve@example.org", False, made.diff)
        assert (first.kind, first.status, first.ended) == (Kind.START, Status.SUPERSEDED, NOON)

    def test_of_one_person_alone_says_so(self, alone: RuleStore) -> None:
        made = governance.save(alone, WIDER, by=NOBODY, reason="a test", governance=SINGLE, at=NOON)
        done = activate(alone, made.id, NOBODY, SINGLE)
        assert (done.lone, done.governance) == (True, SINGLE)

    def test_needs_whom_the_set_in_force_names_where_that_is_somebody_here(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        named = person("security", Role.VIEWER)
        files = edited(
            "task: [mathematics, analysis, planning, agentic]}", "task: [mathematics, analysis, planning, agentic, coding]}"
        )
        made = saved(files, people=(named,))
        assert made.needs == ("approver", "security@example.org")
        assert approved(rules, made).status is Status.CHECKED
        with pytest.raises(NotAllowed, match=r"it takes|approved it already"):
            approved(rules, made, acting("otto", Role.VIEWER))
        assert approved(rules, made, Actor(named.email, named)).status is Status.APPROVED

    def test_is_told_in_the_discussion(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        made = saved()
        governance.comment(rules, made.id, "why this one?", by=VIEWER, at=NOON)
        done = governance.comment(rules, made.id, "because", by=EDITOR, at=NOON)
        assert [(each.by, each.text) for each in done.comments] == [
            ("vic@example.org", "why this one?"),
            ("ed@example.org", "because"),
        ]


class TestWhatIsNotReady:
    def test_never_takes_effect_unchecked_or_failing(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        before = active(rules)
        for files in (BROKEN, FAILING):
            made = saved(files)
            assert made.status is Status.DRAFT
            assert made.faults
            for emergency in (False, True):
                with pytest.raises(NotAllowed):
                    activate(rules, made.id, emergency=emergency)
            with pytest.raises(NotAllowed):
                approved(rules, made)
            for kind in ("shadow", "canary"):
                with pytest.raises((NotAllowed, RuleFaults)):
                    governance.trial(rules, made.id, kind, by=APPROVER, at=NOON, governance=FOUR_EYES)
        assert active(rules) == before

    def test_never_takes_effect_without_a_second_person(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        before = active(rules)
        made = saved(by=BOTH)
        for who in (BOTH, NOBODY, VIEWER, EDITOR, Actor("ANN@example.org ", person("x", Role.APPROVER))):
            with pytest.raises(NotAllowed):
                approved(rules, made, who)
        for who in (BOTH, NOBODY, VIEWER, APPROVER, EDITOR):
            with pytest.raises(NotAllowed):
                activate(rules, made.id, who)
            with pytest.raises(NotAllowed):
                activate(rules, made.revision, who)
            with pytest.raises(NotAllowed):
                governance.trial(rules, made.id, "canary", by=who, at=NOON, governance=FOUR_EYES)
        assert active(rules) == before

    def test_never_takes_effect_past_the_use_case_either(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        before = active(rules)
        made = saved()
        with pytest.raises(NotAllowed):
            rules.step(
                made.id,
                "rules.activated",
                lambda now, _: msgspec.structs.replace(now, status=Status.ACTIVE, governance=FOUR_EYES),
                actor="mallory",
                at=NOON,
            )
        assert active(rules) == before

    def test_is_not_approved_by_those_who_changed_it_meanwhile(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        made = saved()
        now = governance.revise(
            rules,
            made.id,
            edited("internal", "confidential", "models.yaml"),
            by=BOTH,
            seen=made.revision,
            governance=FOUR_EYES,
            at=NOON,
        )
        assert now.authors == ("ed@example.org", "ann@example.org")
        with pytest.raises(NotAllowed, match="you proposed it"):
            approved(rules, now, BOTH)

    def test_is_what_was_approved_and_not_what_it_became(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        made = approved(rules, saved(NARROWER))
        now = governance.revise(rules, made.id, WIDER, by=EDITOR, seen=made.revision, governance=FOUR_EYES, at=NOON)
        assert (now.status, now.approvals) == (Status.CHECKED, ())
        with pytest.raises(NotAllowed):
            activate(rules, made.id)

    def test_is_not_what_was_rejected_or_taken_back(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        made = approved(rules, saved())
        governance.reject(rules, made.id, by=APPROVER, at=NOON, governance=FOUR_EYES, note="no")
        with pytest.raises(NotAllowed):
            activate(rules, made.id)
        with pytest.raises(NotAllowed):
            activate(rules, made.revision)
        with pytest.raises(NotAllowed, match="never in force"):
            governance.rollback(rules, by=APPROVER, at=NOON, governance=FOUR_EYES, to=made.revision)
        again = saved()
        assert (again.id, again.status) == ("p2", Status.CHECKED)

    def test_is_checked_again_when_it_takes_effect(self, rules: RuleStore, saved: Callable[..., Proposal], store: Engine) -> None:
        made = approved(rules, saved())
        with store.begin() as connection:  # somebody edits the store itself
            connection.execute(text("UPDATE revisions SET files = '{}' WHERE revision = :r"), {"r": made.revision})
        with pytest.raises(RuleFaults):
            activate(rules, made.id)


def test_one_person_alone_puts_nothing_in_force_that_fails(alone: RuleStore) -> None:
    before = active(alone)
    for files in (BROKEN, FAILING):
        made = governance.save(alone, files, by=NOBODY, reason="a test", governance=SINGLE, at=NOON)
        with pytest.raises(NotAllowed):
            activate(alone, made.id, NOBODY, SINGLE)
        with pytest.raises(NotAllowed):
            governance.approve(alone, made.id, by=NOBODY, at=NOON, governance=SINGLE)
        with pytest.raises(NotAllowed):
            governance.rollback(alone, by=NOBODY, at=NOON, governance=SINGLE, to=made.revision)
        with pytest.raises(RuleFaults):
            governance.change(alone, files, by=NOBODY, note="a test", governance=SINGLE, at=NOON)
    assert active(alone) == before


class TestOnlyWhatNarrows:
    def test_takes_effect_on_one_persons_word_in_an_emergency_and_is_looked_at_afterwards(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        made = saved(NARROWER)
        assert made.diff is not None
        assert made.diff.narrows_only
        with pytest.raises(NotAllowed):
            activate(rules, made.id, EDITOR)
        done = activate(rules, made.id, EDITOR, emergency=True)
        assert (done.status, done.emergency, done.review) == (Status.ACTIVE, True, "pending")
        with pytest.raises(NotAllowed):
            governance.review(rules, made.id, by=acting("ed", Role.APPROVER), at=NOON, governance=FOUR_EYES)
        looked = governance.review(rules, made.id, by=APPROVER, at=NOON, governance=FOUR_EYES)
        assert (looked.review, looked.reviewed_by) == ("done", "eve@example.org")

    def test_and_nothing_that_widens(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        made = saved(WIDER)
        with pytest.raises(NotAllowed, match="widens"):
            activate(rules, made.id, EDITOR, emergency=True)

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("tools.yaml", "owner: workplace@example.org", "owner: ed@example.org"),
            ("apps.yaml", "owner: demo@example.org", "owner: nobody@example.org"),
            ("routes.yaml", "owner: compliance@example.org", "owner: ed@example.org"),
            ("entitlements.yaml", "approver: security@example.org", "approver: ed@example.org"),
            ("models.yaml", "input_usd_per_million: 0.15", "input_usd_per_million: 0.000001"),
            ("models.yaml", "    tier: fast\n", "    tier: fast\n    fixed_params: {store: true}\n"),
            ("sensitivity.yaml", "many: 10", "level_names: {public: Streng Geheim}\nmany: 10"),
        ],
    )
    def test_nor_what_changes_who_decides_what_a_label_means_what_a_call_costs_or_what_is_sent_along(
        self, rules: RuleStore, saved: Callable[..., Proposal], name: str, old: str, new: str
    ) -> None:
        made, before = saved(edited(old, new, name)), active(rules)
        with pytest.raises(NotAllowed, match="widens"):
            activate(rules, made.id, BOTH, emergency=True)
        assert active(rules) == before


class TestTwoAtOnce:
    def test_the_second_save_on_a_stale_base_is_refused_and_nothing_is_lost(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        base = active(rules)
        activate(rules, approved(rules, saved(WIDER)).id)
        with pytest.raises(Stale) as refused:
            saved(NARROWER, OTHER_EDITOR, base=base)
        both = refused.value.merge
        assert both.conflicts == ()
        assert {each.name: each.state for each in both.files} == {"models.yaml": "theirs", "routes.yaml": "yours"}
        made = saved(both.merged_files(), OTHER_EDITOR, base=active(rules))
        assert governance.files_of(rules, made.revision) == {**FILES, **WIDER, **NARROWER}

    def test_the_second_save_beside_somebody_elses_is_refused_unless_both_shall_stand(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        base = active(rules)
        first = saved(NARROWER, base=base)
        other = edited("a person answers", "somebody answers")
        with pytest.raises(Stale) as refused:
            saved(other, OTHER_EDITOR, base=base)
        both = refused.value.merge
        assert (both.proposal, both.by, both.conflicts) == (first.id, "ed@example.org", ())
        assert "no-brainstorming" in both.merged_files()["routes.yaml"]
        assert "somebody answers" in both.merged_files()["routes.yaml"]
        assert saved(other, OTHER_EDITOR, base=base, beside=True).status is Status.CHECKED

    def test_the_same_line_is_shown_from_both_sides(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        base = active(rules)
        saved(edited("a person answers", "one answers"), base=base)
        with pytest.raises(Stale) as refused:
            saved(edited("a person answers", "all answer"), OTHER_EDITOR, base=base)
        assert refused.value.merge.conflicts == ("routes.yaml",)
        merged = refused.value.merge.files[0].merged
        assert merged is not None
        assert "one answers" in merged
        assert "all answer" in merged

    def test_of_one_proposal_the_second_save_is_refused(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        made = saved()
        governance.revise(rules, made.id, NARROWER, by=EDITOR, seen=made.revision, governance=FOUR_EYES, at=NOON)
        with pytest.raises(Stale) as refused:
            governance.revise(rules, made.id, FAILING, by=OTHER_EDITOR, seen=made.revision, governance=FOUR_EYES, at=NOON)
        assert set(refused.value.merge.merged_files()) == {"routes.yaml", "cases/own.yaml"}

    def test_what_another_change_overtook_is_brought_onto_it_and_approved_anew(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        late = approved(rules, saved(NARROWER))
        activate(rules, approved(rules, saved(WIDER, OTHER_EDITOR)).id)
        with pytest.raises(Stale):
            activate(rules, late.id)
        now = governance.rebase(rules, late.id, by=EDITOR, governance=FOUR_EYES, at=NOON)
        assert (now.status, now.base, now.approvals) == (Status.CHECKED, active(rules), ())
        activate(rules, approved(rules, now).id)
        assert governance.in_force(rules).files == {**FILES, **WIDER, **NARROWER}

    def test_of_many_activations_at_the_same_time_each_is_based_on_the_one_before(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        made = [approved(rules, saved({"cases/own.yaml": f"# {n}\ncases: []\n"}, beside=True)) for n in range(4)]

        def attempt(each: Proposal) -> bool:
            try:
                activate(rules, each.id)
            except Stale:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(attempt, made)) == 1
        assert [each.status for each in rules.proposals()].count(Status.ACTIVE) == 1


class TestGoingBack:
    def test_is_one_act_and_itself_a_change(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        before = active(rules)
        activate(rules, approved(rules, saved(WIDER)).id)
        done = governance.rollback(rules, by=APPROVER, at=NOON + timedelta(hours=1), governance=FOUR_EYES)
        assert (done.kind, done.status, done.revision, done.review) == (Kind.ROLLBACK, Status.ACTIVE, before, "pending")
        assert active(rules) == before
        assert governance.history(rules)[0].revision == before
        assert len(governance.history(rules)) == 3

    def test_waits_for_approval_where_it_widens(self, rules: RuleStore, saved: Callable[..., Proposal]) -> None:
        before = active(rules)
        activate(rules, approved(rules, saved(NARROWER)).id)
        made = governance.rollback(rules, by=BOTH, at=NOON, governance=FOUR_EYES)
        assert made.status is Status.CHECKED
        activate(rules, approved(rules, made, APPROVER).id)
        assert active(rules) == before

    def test_takes_new_files_out_again(self, alone: RuleStore) -> None:
        own = {"cases/own.yaml": "cases:\n  - {name: yes, facts: {task: summarisation}, expect: {rule: routine-work}}\n"}
        governance.change(alone, own, by=NOBODY, note="cases", governance=SINGLE, at=NOON)
        made = governance.rollback(alone, by=NOBODY, at=NOON, governance=SINGLE)
        assert made.status is Status.ACTIVE
        assert dict(governance.in_force(alone).files) == FILES

    def test_there_is_nothing_before_the_first(self, rules: RuleStore) -> None:
        with pytest.raises(NoSuchProposal, match="no change to take back"):
            governance.rollback(rules, by=APPROVER, at=NOON, governance=FOUR_EYES)


class TestATrial:
    def test_is_one_at_a_time_and_ends_with_what_becomes_of_the_proposal(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        first, second = saved(WIDER), approved(rules, saved(NARROWER, OTHER_EDITOR))
        governance.trial(rules, first.id, "shadow", by=EDITOR, at=NOON, governance=FOUR_EYES)
        tried = rules.tried()
        assert tried is not None
        assert (tried[0].id, tried[0].trial) == (first.id, "shadow")
        canary = governance.trial(rules, second.id, "canary", by=EDITOR, at=NOON, governance=FOUR_EYES, share=25)
        assert (canary.trial, canary.share) == ("canary", 25)
        assert governance.proposal(rules, first.id).trial is None
        activate(rules, second.id)
        assert rules.tried() is None

    def test_ends_where_other_rules_come_into_force_than_it_was_made_beside(
        self, rules: RuleStore, saved: Callable[..., Proposal]
    ) -> None:
        canary = approved(rules, saved(WIDER))
        governance.trial(rules, canary.id, "canary", by=EDITOR, at=NOON, governance=FOUR_EYES, share=25)
        activate(rules, saved(NARROWER, OTHER_EDITOR).id, OTHER_EDITOR, emergency=True)
        assert rules.tried() is None


def test_every_revision_stays_and_any_two_are_compared(rules: RuleStore, saved: Callable[..., Proposal]) -> None:
    first = active(rules)
    activate(rules, approved(rules, saved(WIDER)).id)
    second = saved(NARROWER)
    assert governance.files_of(rules, first) == FILES
    found = governance.diff(rules, second.revision, first, NOON)
    assert (found.before, found.after) == (second.revision, revision_of(FILES))
    assert set(found.files) == {"routes.yaml", "models.yaml"}


def test_a_change_of_the_service_waits_under_four_eyes_and_takes_effect_under_single(rules: RuleStore, alone: RuleStore) -> None:
    revision, in_force = governance.change(rules, WIDER, by=governance.SERVICE, note="found", governance=FOUR_EYES, at=NOON)
    assert (in_force, revision.status) == (False, "proposed")
    again, _ = governance.change(rules, WIDER, by=governance.SERVICE, note="found", governance=FOUR_EYES, at=NOON)
    assert again == revision
    assert len(rules.proposals()) == 2
    _, in_force = governance.change(alone, WIDER, by=governance.SERVICE, note="found", governance=SINGLE, at=NOON)
    assert in_force
    assert alone.mode(SINGLE) == SINGLE


def test_whoever_has_the_command_line_is_not_taken_for_the_service(rules: RuleStore) -> None:
    app = App("new", "new@example.org", "t", "c", Sensitivity.INTERNAL, "standard", ("general",))
    for nobody in (NOBODY, Actor("router"), Actor("ed@example.org", via="service")):
        with pytest.raises(NotAllowed, match="under `four_eyes` a person may propose"):
            governance.register_app(rules, app, by=nobody, governance=FOUR_EYES, at=NOON)
        with pytest.raises(NotAllowed, match="under `four_eyes` a person may propose"):
            governance.propose(rules, WIDER, by=nobody, note="mine", governance=SINGLE, at=NOON)
    with pytest.raises(NotAllowed, match="role `editor`"):
        governance.register_app(rules, app, by=APPROVER, governance=FOUR_EYES, at=NOON)
    assert len(rules.proposals()) == 1
    revision, in_force = governance.register_app(rules, app, by=BOTH, governance=FOUR_EYES, at=NOON)
    assert not in_force
    made = rules.proposals(limit=1)[0]
    assert (made.revision, made.authors) == (revision.revision, (BOTH.name,))
    with pytest.raises(NotAllowed, match="you proposed it"):
        approved(rules, made, BOTH)


def test_who_says_single_where_two_people_decide_is_not_believed(rules: RuleStore, saved: Callable[..., Proposal]) -> None:
    with pytest.raises(NotAllowed):
        saved(by=NOBODY, mode=SINGLE)
    made = saved()
    with pytest.raises(NotAllowed):
        activate(rules, made.id, NOBODY, SINGLE)
    assert not governance.change(rules, NARROWER, by=governance.SERVICE, note="found", governance=SINGLE, at=NOON)[1]
    assert rules.mode(SINGLE) == FOUR_EYES


def test_what_was_saved_when_nobody_had_to_say_who_they_are_is_saved_again_before_it_is_decided(alone: RuleStore) -> None:
    made = governance.save(alone, NARROWER, by=NOBODY, reason="a test", governance=SINGLE, at=NOON)
    steps: tuple[Callable[[], Proposal], ...] = (
        lambda: governance.approve(alone, made.id, by=APPROVER, at=NOON, governance=FOUR_EYES),
        lambda: activate(alone, made.id),
        lambda: activate(alone, made.id, emergency=True),
        lambda: governance.trial(alone, made.id, "shadow", by=APPROVER, at=NOON, governance=FOUR_EYES),
    )
    for step in steps:
        with pytest.raises(NotAllowed, match="under `single`"):
            step()
    again = governance.revise(alone, made.id, WIDER, by=EDITOR, seen=made.revision, governance=FOUR_EYES, at=NOON)
    assert approved(alone, again).status is Status.APPROVED
    assert activate(alone, made.id).revision == active(alone)


def test_a_yes_is_to_what_was_looked_at(rules: RuleStore, saved: Callable[..., Proposal]) -> None:
    made = saved(NARROWER)
    later = governance.revise(rules, made.id, WIDER, by=EDITOR, seen=made.revision, governance=FOUR_EYES, at=NOON)
    for step in (governance.approve, governance.reject):
        with pytest.raises(Stale, match="since you looked at it"):
            step(rules, made.id, by=APPROVER, at=NOON, governance=FOUR_EYES, seen=made.revision)
    assert governance.proposal(rules, made.id).status is Status.CHECKED
    governance.approve(rules, made.id, by=APPROVER, at=NOON, governance=FOUR_EYES, seen=later.revision)
    with pytest.raises(Stale, match="since you looked at it"):
        governance.activate(rules, made.id, by=APPROVER, at=NOON, governance=FOUR_EYES, seen=made.revision)
