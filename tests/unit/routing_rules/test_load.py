"""Governed files are read strictly: every fault is told, with its place, what was expected and the nearest valid word."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from routing_rules.budgets import OwnerBudget, OwnerLimits
from routing_rules.calendars import Per
from routing_rules.catalogue import Observing
from routing_rules.faults import Fault, RuleFaults
from routing_rules.load import complete, load, read_directory, shipped
from routing_rules.reading import nano_usd
from routing_rules.rules import RuleSet, revision_of
from routing_rules.task import Feature
from routing_rules.vocabulary import Sensitivity

TODAY = date(2026, 11, 23)

Rules = Callable[..., RuleSet]


def faults_of(**own: str) -> tuple[Fault, ...]:
    with pytest.raises(RuleFaults) as raised:
        load(complete({f"{name}.yaml": text for name, text in own.items()}, TODAY))
    return raised.value.faults


def only(faults: tuple[Fault, ...]) -> Fault:
    assert len(faults) == 1, faults
    return faults[0]


ONE = 'deployments: [{id: one, base_url: "https://llm.example.org/v1", clearance: internal, tier: fast%s}]'


def test_the_shipped_files_load(files: dict[str, str]) -> None:
    rules = load(files)
    assert {"sim-fast", "sim-reasoning", "sim-embed"} <= rules.deployments.keys()
    assert rules.new_sessions_per_hour is None


def test_the_revision_is_a_hash_over_all_files_in_any_order(files: dict[str, str]) -> None:
    revision = load(files).revision
    assert revision == revision_of(dict(reversed(files.items())))
    assert revision.startswith("r-")
    assert len(revision) == 14
    assert revision != revision_of({**files, "cases/routes.yaml": files["cases/routes.yaml"] + "\n"})


def test_a_review_date_counts_from_the_first_run() -> None:
    rules = load(shipped(date(2030, 1, 1)))
    assert rules.sets["standard"].review_by == date(2030, 6, 30)


def test_an_unknown_word_is_told_with_its_place_and_the_nearest_word() -> None:
    text = """routes:
  - id: one
    owner: o@example.org
    reason: because
    when: {task: [summarisation, planing]}
    then: {tier: fast, set: none, budget: default}
"""
    fault = only(faults_of(routes=text))
    assert (fault.code, fault.file, fault.line, fault.column) == ("unknown_word", "routes.yaml", 5, 34)
    assert "unknown task `planing`" in fault.message
    assert fault.hint == "did you mean `planning`?"
    assert str(fault).startswith("routes.yaml:5:34: error: unknown task `planing`; expected one of `summarisation`")


def test_all_faults_are_told_at_once() -> None:
    text = """routes:
  - id: one
    ownr: o@example.org
    reason: because
    then: {tier: fasst, set: nothing, budget: defualt, limits: {max_output_tokens: many}}
  - id: one
    owner: o@example.org
    reason: because
    then: {tier: fast, set: none, budget: default}
"""
    told = {(fault.line, fault.code, fault.hint) for fault in faults_of(routes=text)}
    assert told == {
        (2, "missing_key", "expected a text"),
        (3, "unknown_key", "did you mean `owner`?"),
        (5, "unknown_word", "did you mean `fast`?"),
        (5, "unknown_word", "did you mean `none`?"),
        (5, "unknown_word", "did you mean `default`?"),
        (5, "wrong_type", ""),
        (6, "duplicate_id", ""),
    }


def test_faults_of_several_files_come_together() -> None:
    faults = faults_of(purposes="purposes: [{id: x}]", models="deployments: {}")
    assert {"purposes.yaml", "models.yaml", "apps.yaml"} <= {fault.file for fault in faults}


def test_broken_yaml_is_told_with_its_place_and_without_what_follows_from_it() -> None:
    fault = only(faults_of(tools="tools:\n  - id: [one\n    owner: o\n"))
    assert (fault.code, fault.file, fault.line) == ("syntax", "tools.yaml", 3)


@pytest.mark.parametrize("text", ["", "- a list", "just words", "a: 1\n---\nb: 2", "a: \x07", "a: *nowhere"])
def test_what_is_no_mapping_is_a_fault(text: str) -> None:
    assert only(faults_of(budgets=text)).file == "budgets.yaml"


def test_a_key_that_is_given_twice_is_a_fault() -> None:
    fault = next(fault for fault in faults_of(models=ONE % ", tier: reasoning"))
    assert (fault.code, "`tier`" in fault.message) == ("duplicate_key", True)


def test_a_file_nobody_knows_is_a_fault(files: dict[str, str]) -> None:
    with pytest.raises(RuleFaults) as raised:
        load({**files, "route.yaml": "routes: []"})
    assert only(raised.value.faults).hint == "did you mean `routes.yaml`?"


def test_a_missing_file_is_a_fault(files: dict[str, str]) -> None:
    with pytest.raises(RuleFaults) as raised:
        load({name: text for name, text in files.items() if name != "tools.yaml"})
    assert only(raised.value.faults).message == "the file `tools.yaml` is missing"


def test_a_key_in_plain_text_is_refused_and_never_repeated() -> None:
    fault = only(faults_of(models=ONE % ", api_key: sk-very-secret-1234"))
    assert fault.code == "literal_secret"
    assert "env:NAME" in fault.hint
    assert "sk-very" not in str(fault)
    fault = only(faults_of(models=ONE.replace("https://", "https://me:hunter2@") % ""))
    assert (fault.code, "hunter2" in str(fault)) == ("literal_secret", False)


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (", price: {input_usd_per_million: 0.0000000001, output_usd_per_million: 1}", "bad_amount"),
        (", price: {input_usd_per_million: -1, output_usd_per_million: 1}", "bad_amount"),
        (", price: {input_usd_per_million: 1e3, output_usd_per_million: 1}", "bad_amount"),
        (", price: {input_usd_per_million: .nan, output_usd_per_million: 1}", "bad_amount"),
        (", price: {input_usd_per_million: 0, output_usd_per_million: 1}", "zero_price"),
        (", price: {input: 1}", "unknown_key"),
        (", context_window: 0", "wrong_type"),
        (", context_window: 1.5", "wrong_type"),
        (", internal: yes", "unknown_word"),
        (", features: [vison]", "unknown_word"),
        (", access_review: {reviewer: r, expires: 2026-02-30}", "wrong_type"),
        (", access_review: {reviewer: r}", "missing_key"),
        (", model_names: [[nested]]", "wrong_type"),
        (", clearence: internal", "unknown_key"),
    ],
)
def test_a_bad_value_of_a_deployment_is_told(extra: str, code: str) -> None:
    assert code in {fault.code for fault in faults_of(models=ONE % extra)}


def test_one_short_file_puts_a_provider_behind_the_router(rules_with: Rules) -> None:
    rules = rules_with(
        models=ONE % ", api_key: env:LLM_KEY, price: {input_usd_per_million: 0.15, output_usd_per_million: 2.000000001}"
    )
    one = rules.deployments["one"]
    assert (one.provider, one.model, one.base_url, one.api_key) == (
        "openai_compatible",
        "one",
        "https://llm.example.org/v1",
        "env:LLM_KEY",
    )
    assert (one.price.input, one.price.output) == (150_000_000, 2_000_000_001)
    assert one.clearance is Sensitivity.INTERNAL
    assert Feature.RESPONSES_API in one.features
    assert Feature.EMBEDDINGS not in one.features
    assert list(rules.models) == ["one"]


def test_a_compatible_provider_needs_an_address() -> None:
    assert "base_url" in only(faults_of(models="deployments: [{id: one, clearance: internal, tier: fast}]")).message


def test_a_disabled_deployment_is_left_out(rules_with: Rules) -> None:
    assert not rules_with(models=ONE % ", enabled: false").deployments


def test_an_organisation_may_name_its_own_tiers_and_categories(rules_with: Rules) -> None:
    rules = rules_with(
        models="tiers: [fast, reasoning, frontier]\n" + (ONE % "").replace("tier: fast", "tier: frontier"),
        sensitivity="own_categories: [roadmap]\ncategories: {roadmap: restricted}\npatterns: [{id: p, category: roadmap, level: internal, terms: [Project Iris]}]",
    )
    assert rules.deployments["one"].tier == "frontier"
    assert rules.sensitivity.categories["roadmap"] is Sensitivity.RESTRICTED


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("categories: {pi: internal}", "unknown_word"),
        ("floor: secret", "unknown_word"),
        ("patterns: [{id: p, category: pii, level: internal, pattern: '(a'}]", "bad_pattern"),
        ("patterns: [{id: p, category: pii, level: internal, pattern: '(?=a)'}]", "bad_pattern"),
        ("patterns: [{id: p, category: pii, level: internal}]", "wrong_type"),
        ("many: 1", "wrong_type"),
        ("own_categories: [pii]", "duplicate_word"),
    ],
)
def test_a_bad_sensitivity_policy_is_told(text: str, code: str) -> None:
    assert code in {fault.code for fault in faults_of(sensitivity=text)}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("when: {sensitivity: []}", "wrong_type"),
        ("when: {sensitivity: {at_lest: internal}}", "unknown_key"),
        ("when: {sensitivity: {at_least: interna}}", "unknown_word"),
        ("when: {task: {at_least: coding}}", "wrong_type"),
        ("when: {app: nobody}", "unknown_word"),
        ("when: {category: [pii, pii]}", "duplicate_word"),
        ("from: 2027-02-01, until: 2027-01-01", "wrong_type"),
        ("serves: []", None),
    ],
)
def test_a_bad_condition_is_told(text: str, code: str | None) -> None:
    table = f"routes: [{{id: one, owner: o, reason: r, {text}, then: {{tier: fast, set: none, budget: default}}}}]"
    if code is None:
        load(complete({"routes.yaml": table}, TODAY))
    else:
        assert code in {fault.code for fault in faults_of(routes=table)}


@pytest.mark.parametrize(
    "then",
    [
        "then: {tier: fast, fallback_tiers: [fast], set: none, budget: default}",
        "then: {tier: fast, set: none, budget: default, obligations: [drain, cancel]}",
        "then: {tier: fast, set: none, budget: default, limits: {max_output_tokens: 5, min_output_tokens: 6}}",
        "then: {tier: fast, set: none, budget: default, limits: {request_seconds: 0}}",
        "then: {tier: fast, set: none, budget: default, regions: [mars]}",
        "then: fast",
        "remedy: none",
    ],
)
def test_a_route_that_contradicts_itself_is_told(then: str) -> None:
    assert faults_of(routes=f"routes: [{{id: one, owner: o, reason: r, {then}}}]")


def test_limits_of_a_route_override_those_of_its_budget(rules_with: Rules) -> None:
    rules = rules_with(
        routes="routes: [{id: one, owner: o, reason: r, then: {tier: fast, set: none, budget: tiny, limits: {max_output_tokens: 99, reasoning_effort: low}}}]"
    )
    then = rules.rules[0].then
    assert then is not None
    assert (then.limits.max_output_tokens, then.limits.request_seconds, then.limits.reasoning_effort) == (99, 60.0, "low")


def test_an_owner_without_a_budget_of_its_own_has_the_default(rules: RuleSet) -> None:
    assert rules.budgets_of("o@example.org") == (OwnerBudget("default", 100_000_000_000, 500_000_000_000),)


BUDGETS = "session_budgets: []\ndefault_owner_budget: {hard_usd: 500}\n"


def test_an_owner_may_have_a_budget_for_each_kind_of_period_and_keeps_the_default_for_the_others(rules_with: Rules) -> None:
    rules = rules_with(
        budgets=rules_with()
        .files["budgets.yaml"]
        .replace(
            "owner_budgets: []",
            "owner_budgets: [{owner: ann, per: year, hard_usd: 900, soft_percents: [90, 50], notify: bob@example.org}]",
        )
    )
    year = OwnerBudget("ann", hard_nano=900 * 10**9, per=Per.YEAR, soft_percents=(50, 90), notify=("bob@example.org",))
    assert rules.budgets_of("ann") == (year, rules.default_owner_budget)
    limits = rules.limits_of("ann", datetime(2026, 8, 14, tzinfo=UTC))
    assert limits == OwnerLimits("2026-08", 500 * 10**9, (("2026", 900 * 10**9),))


@pytest.mark.parametrize(
    "budget",
    [
        "per: week",
        "on_hard: degrade",
        "on_hard: stop, hard_usd: 1",
        "hard_usd: 2, stop_usd: 3",
        "hard_usd: 2, stop_usd: 1, on_hard: degrade",
        "soft_percents: [50]",
        "hard_usd: 2, soft_percents: [0]",
        "hard_usd: 2, soft_percents: [half]",
        "hard_usd: 2, notify: ann",
        "hard_usd: 2}, {owner: ann",
    ],
)
def test_an_owners_budget_that_contradicts_itself_is_told(budget: str) -> None:
    assert faults_of(budgets=f"session_budgets: []\nowner_budgets: [{{owner: ann, {budget}}}]")


def test_a_fiscal_year_begins_where_the_rules_say(rules_with: Rules) -> None:
    text = (
        rules_with()
        .files["budgets.yaml"]
        .replace(
            "owner_budgets: []", "owner_budgets: [{owner: ann, per: fiscal_quarter, hard_usd: 9}]\nfiscal_year: {first_month: 4}"
        )
    )
    limits = rules_with(budgets=text).limits_of("ann", datetime(2026, 8, 14, tzinfo=UTC))
    assert limits.others == (("fq2026-07-01", 9 * 10**9),)


def test_months_of_budgets_begin_in_the_time_zone_of_the_rules(rules_with: Rules) -> None:
    routes = rules_with().files["routes.yaml"] + "\ntime_zone: Europe/Berlin\n"
    rules = rules_with(routes=routes)
    assert rules.limits_of("ann", datetime(2026, 8, 31, 21, 59, tzinfo=UTC)).month == "2026-08"
    assert rules.limits_of("ann", datetime(2026, 8, 31, 22, 0, tzinfo=UTC)).month == "2026-09"


OBSERVED = "apps: [{id: a, owner: o, clearance: %s, ceiling: none, purposes: [general], mode: %s, observe: {%s}}]"
DAYS = "owner: ann@example.org, from: 2026-08-03, until: %s"


def test_an_app_may_be_observed_for_some_days_by_somebody(rules_with: Rules) -> None:
    app = rules_with(apps=OBSERVED % ("confidential", "observe", DAYS % "2026-09-02")).apps["a"]
    assert app.observing == Observing("ann@example.org", date(2026, 8, 3), date(2026, 9, 2))
    days = (date(2026, 8, 2), date(2026, 8, 3), date(2026, 9, 2), date(2026, 9, 3))
    assert [app.observed_on(day) for day in days] == [False, True, True, False]


@pytest.mark.parametrize(
    ("app", "code"),
    [
        (OBSERVED % ("confidential", "observe", DAYS % "2026-09-03"), "wrong_type"),  # 31 days
        (OBSERVED % ("confidential", "observe", DAYS % "2026-08-02"), "wrong_type"),
        (OBSERVED % ("restricted", "observe", DAYS % "2026-08-09"), "wrong_type"),
        (OBSERVED % ("internal", "enforce", DAYS % "2026-08-09"), "missing_key"),
        (OBSERVED % ("internal", "observe", "from: 2026-08-03, until: 2026-08-09"), "missing_key"),
        ("apps: [{id: a, owner: o, clearance: internal, ceiling: none, purposes: [general], mode: observe}]", "missing_key"),
    ],
)
def test_an_app_is_not_observed_for_longer_nor_by_nobody_nor_with_restricted_data(app: str, code: str) -> None:
    assert only(faults_of(apps=app)).code == code


def test_a_directory_may_hold_only_some_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "models.yaml").write_text(ONE % "", encoding="utf-8")
    (tmp_path / "cases" / "own.yaml").write_text("cases: []", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not governed", encoding="utf-8")
    assert set(read_directory(tmp_path)) == {"models.yaml", "cases/own.yaml"}
    assert list(load(complete(read_directory(tmp_path), TODAY)).deployments) == ["one"]


def test_a_directory_without_files_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuleFaults, match="no YAML files"):
        read_directory(tmp_path)
    with pytest.raises(RuleFaults, match="no such directory"):
        read_directory(tmp_path / "nowhere")


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_bytes(b"deployments: \xff")
    with pytest.raises(RuleFaults, match="byte 13"):
        read_directory(tmp_path)


@pytest.mark.parametrize(
    ("text", "nano"), [("2.50", 2_500_000_000), ("0.15", 150_000_000), ("7", 7_000_000_000), ("0.000000001", 1), ("0", 0)]
)
def test_dollars_are_read_exactly(text: str, nano: int) -> None:
    assert nano_usd(text) == nano


@pytest.mark.parametrize("text", ["", ".", ".5", "-1", "1,5", "1e3", "0.0000000001", "nan", "١", "99999999999", "1.2.3", " 1"])
def test_what_is_no_amount_in_dollars_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        nano_usd(text)
