"""Governed files to a rule set: strictly, with every fault and its place; the only reading of files in this package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, timedelta, tzinfo
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from routing_rules.budgets import DEGRADE, FAST_TIER, ON_HARD, REFUSE, CallLimits, OwnerBudget, SessionBudget
from routing_rules.calendars import CALENDAR_YEAR, PATTERNS, WEEKDAYS, FiscalYear, Per
from routing_rules.catalogue import App, Deployment, EntitlementSet, Grace, Observing, Price, Purpose, Review, Tool
from routing_rules.combinations import SHIPPED as SHIPPED_COMBINATIONS
from routing_rules.combinations import Combination
from routing_rules.combinations import Effect as CallEffect
from routing_rules.decisions import Obligation
from routing_rules.faults import LONGEST_ECHO, Fault, RuleFaults, Severity, did_you_mean
from routing_rules.layers import INCLUDE, OVERLAYS, Layers
from routing_rules.prices import priced
from routing_rules.read_deliveries import REPORTS, read_deliveries
from routing_rules.read_prices import read_prices
from routing_rules.read_sensitivity import LEVELS, read_sensitivity
from routing_rules.reading import MOST_BYTES, Entry
from routing_rules.rules import (
    DIMENSIONS,
    GOVERNED_DIMENSIONS,
    ORDERED_DIMENSIONS,
    Effect,
    Rule,
    RuleSet,
    Then,
    revision_of,
)
from routing_rules.task import Feature
from routing_rules.vocabulary import BusinessImpact, Capability, LatencyClass, Sensitivity

E = TypeVar("E", bound=Enum)

POLICIES = Path(__file__).parent / "policies"
STARTING_SETS = {
    "default": POLICIES,
    **{name: Path(__file__).parent / "sets" / name for name in ("cautious-company", "developer-laboratory")},
}
"""Rule sets to start with, by name; a file that one leaves out is that of the default."""

FILES = (
    "apps.yaml",
    "purposes.yaml",
    "models.yaml",
    "tools.yaml",
    "entitlements.yaml",
    "budgets.yaml",
    "sensitivity.yaml",
    "routes.yaml",
    "prices.yaml",
)
OPTIONAL = frozenset({"prices.yaml"})
"""Of the governed files those that a rule set may do without."""

CASES = "cases/"
GITLEAKS = "gitleaks.toml"
"""May be left out: detectors of credentials in the format of gitleaks."""

COMPLEXITY = "complexity.toml"
"""May be left out: a model of complexity that `router calibrate` made."""

MOST_FILES = 500
MOST_BYTES_TOGETHER = 2 * MOST_BYTES

TIERS = ("fast", "reasoning")
APPROVAL_BOUNDARIES = ("none", "first_use", "every_call")
WISHES = ("override", "honour", "refuse")
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FORBID_CODES = (
    "not_permitted_by_rule",
    "sensitivity_not_permitted",
    "purpose_not_permitted",
    "tool_not_entitled",
    "tool_combination_prohibited",
)
UNASSIGNED = "unassigned"
MODES = ("enforce", "observe")
MOST_OBSERVED = timedelta(days=30)
MOST_GRACE = timedelta(days=14)
GRACE_APPROVERS = 2

UNPINNED = frozenset(
    {Capability.READS_PRIVATE, Capability.READS_UNTRUSTED, Capability.EGRESS, Capability.WRITES_STATE},
)
"""What an MCP server is taken to do, whatever is said of it, as long as nobody has looked at its tools one by one."""

MESSAGES_FEATURES = frozenset(
    {
        Feature.MESSAGES_API,
        Feature.SERVER_TOOLS,
        Feature.TOOLS,
        Feature.PARALLEL_TOOLS,
        Feature.VISION,
        Feature.FILES,
        Feature.JSON_SCHEMA,
        Feature.STREAMING,
        Feature.STORED_STATE,
    }
)
"""What a deployment that speaks Anthropic's format is taken to do where models.yaml does not say."""
RARE_FEATURES = frozenset({Feature.EMBEDDINGS, Feature.AUDIO, Feature.MESSAGES_API, Feature.SERVER_TOOLS})
COMPATIBLE_FEATURES = frozenset(Feature) - RARE_FEATURES
"""What a deployment that speaks OpenAI's formats is taken to do where models.yaml does not say."""
TRANSLATED_FEATURES = COMPATIBLE_FEATURES - {
    Feature.RESPONSES_API,
    Feature.HOSTED_TOOLS,
    Feature.STORED_STATE,
    Feature.PREDICTION,
    Feature.BACKGROUND,
}
"""The same for a provider whose format is translated."""
USUAL_FEATURES = {
    "openai_compatible": COMPATIBLE_FEATURES,
    "simulated": COMPATIBLE_FEATURES | MESSAGES_FEATURES,
    "anthropic_compatible": MESSAGES_FEATURES,
    "anthropic": TRANSLATED_FEATURES | MESSAGES_FEATURES,  # its own format goes there untranslated
}
WITH_ADDRESS = ("openai_compatible", "anthropic_compatible")
"""Providers that are only a format, so that the address has to be said."""

FINDING_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
SECRET_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
SERVER_ADDRESS = re.compile(r"(?:https?://[^\s@?#/]+(?:/[^\s@?#]*)?|(?:connector|tunnel):[A-Za-z0-9._:-]{1,128})")
TOOL_DIGEST = re.compile(r"[0-9a-f]{32}")
RELATIVE_DAY = re.compile(r": \+(\d+)d\b")
"""In the shipped files a date is written as days after the first run: `: +180d`."""

SESSION_LIMITS = (
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "requests",
    "tool_calls",
    "identical_calls",
    "idle_seconds",
    "total_seconds",
    "reasoning_growth_tokens",
)
MOST_PERCENT = 100
MOST_SOFT_PERCENT = 100_000
MONTHS = 12
ADDRESS = re.compile(r"[^\s@<>\"',;:()\\]{1,64}@[^\s@<>\"',;:()\\]{1,180}")
CALL_COUNTS = ("max_output_tokens", "min_output_tokens", "hosted_calls", "drain_output_tokens")
CALL_SECONDS = ("request_seconds", "connect_seconds", "first_token_seconds", "inter_token_seconds", "drain_seconds")


def load(files: Mapping[str, str]) -> RuleSet:
    """The rule set that these files (name → text) describe. Raises RuleFaults with everything that is wrong.

    Cases are not run here: `routing_rules.cases.run_cases` does.
    """
    faults: list[Fault] = []
    _check_sizes(files)
    layers = Layers(files, FILES, faults)
    top = {name: layers.top(name) if name in files or name not in OPTIONAL else Entry(name, None, faults) for name in FILES}
    for entry in top.values():
        entry.has(INCLUDE)  # read already
    for name in files:
        known = name in (*FILES, GITLEAKS, COMPLEXITY, REPORTS) or (name.startswith(CASES) and name.endswith(".yaml"))
        if not known and layers.unknown(name):
            expected = did_you_mean(name, FILES) or "expected the files of docs/rules.md"
            faults.append(Fault(Severity.ERROR, "unknown_file", name, 0, 0, f"unknown file `{name}`", expected))

    if REPORTS in files:
        read_deliveries(files[REPORTS], faults)
    content = read(top, files.get(GITLEAKS, ""), files.get(COMPLEXITY, ""))
    for entry in top.values():
        entry.close()
    if not all(
        entry.readable for name, entry in top.items() if name in files or name not in OPTIONAL
    ):  # what an unreadable file defines is not known, so it is not missed
        faults = [fault for fault in faults if fault.code != "unknown_word"]
    if any(fault.severity is Severity.ERROR for fault in faults):
        raise RuleFaults(sorted(set(faults), key=lambda fault: (fault.file, fault.line, fault.column, fault.message)))
    return RuleSet(revision=revision_of(files), files=dict(files), **content)


def read(top: Mapping[str, Entry], gitleaks: str = "", calibrated: str = "") -> dict[str, Any]:
    """What the governed files say, by the names of `RuleSet`. `routing_rules.schema` reads by it what they may say."""
    purposes = _purposes(top["purposes.yaml"])
    sensitivity, categories = read_sensitivity(top["sensitivity.yaml"], gitleaks, calibrated)
    tiers, deployments = _deployments(top["models.yaml"])
    budgets = _Budgets(top["budgets.yaml"], tiers)
    tools = _tools(top["tools.yaml"])
    sets = _sets(top["entitlements.yaml"], tools)
    apps = _apps(top["apps.yaml"], purposes, sets)
    words: dict[str, Iterable[str]] = {
        "app": apps,
        "team": sorted({app.team for app in apps.values()}),
        "purpose": purposes,
        "category": categories,
    }
    regions = sorted({deployment.region for deployment, _ in deployments.values()})
    rules = _rules(top["routes.yaml"], words, tiers, regions, sets, budgets)
    book = read_prices(top["prices.yaml"], [deployment for deployment, _ in deployments.values()])
    return {
        "apps": apps,
        "purposes": purposes,
        "deployments": {id: priced(deployment, book) for id, (deployment, enabled) in deployments.items() if enabled},
        "tools": tools,
        "sets": sets,
        "session_budgets": budgets.sessions,
        "owner_budgets": budgets.owners,
        "default_owner_budget": budgets.default_owner,
        "sensitivity": sensitivity,
        "new_sessions_per_hour": budgets.new_sessions_per_hour,
        "tiers": tiers,
        "categories": categories,
        "rules": rules,
        "time_zone": _time_zone(top["routes.yaml"]),
        "price_book": book,
        "fiscal_year": budgets.fiscal_year,
    }


def read_directory(directory: Path, environment: str | None = None) -> dict[str, str]:
    """The governed files in a directory, name → text; only those that are there, and of the overlays only that of the environment.

    Raises RuleFaults where there is no file, where one cannot be read, is too large or leads out of the directory, and where there are
    overlays, but none for this environment.
    """
    if not directory.is_dir():
        hint = f"expected a directory, or a starting set: {', '.join(f'`{name}`' for name in STARTING_SETS)}"
        raise RuleFaults([Fault(Severity.ERROR, "missing_file", str(directory), 0, 0, "there is no such directory", hint)])
    patterns = [
        "*.yaml",
        "*.yml",
        f"{CASES}*.yaml",
        GITLEAKS,
        COMPLEXITY,
        *(f"{name.removesuffix('.yaml')}/*.yaml" for name in FILES),
    ]
    if environment is not None:
        known = sorted(path.name for path in directory.glob(f"{OVERLAYS}*") if path.is_dir())
        if environment in known:
            patterns.append(f"{OVERLAYS}{environment}/*.yaml")
        elif known:
            message = f"there is no overlay for the environment `{environment[:LONGEST_ECHO]}`"
            hint = did_you_mean(environment, known) or f"expected one of {', '.join(f'`{each}`' for each in known)}"
            raise RuleFaults([Fault(Severity.ERROR, "unknown_environment", OVERLAYS, 0, 0, message, hint)])
    found: dict[str, str] = {}
    faults: list[Fault] = []
    root = directory.resolve()
    for path in sorted({path for pattern in patterns for path in directory.glob(pattern)}):
        name = path.relative_to(directory).as_posix()
        text = _read(path, root, name)
        if isinstance(text, Fault):
            faults.append(text)
        else:
            found[name] = text
        if len(found) > MOST_FILES:
            faults.append(Fault(Severity.ERROR, "too_large", str(directory), 0, 0, f"there are more than {MOST_FILES} files"))
            break
    if faults:
        raise RuleFaults(faults)
    if not found:
        raise RuleFaults(
            [Fault(Severity.ERROR, "missing_file", str(directory), 0, 0, "there are no YAML files in the directory")]
        )
    return found


def _read(path: Path, root: Path, name: str) -> str | Fault:
    """The text of a file, or why it is not read."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            return Fault(
                Severity.ERROR, "outside", name, 0, 0, "the file leads out of the directory of rules", "put the file itself there"
            )
        if not real.is_file():
            return Fault(Severity.ERROR, "missing_file", name, 0, 0, "this is no file")
        if real.stat().st_size > MOST_BYTES:
            return Fault(Severity.ERROR, "too_large", name, 0, 0, f"a file of rules has at most {MOST_BYTES} bytes")
        return real.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return Fault(Severity.ERROR, "syntax", name, 0, 0, f"not UTF-8: byte {error.start} cannot be read")
    except (OSError, RuntimeError) as error:  # a link that leads to itself is either, by the version of Python
        return Fault(Severity.ERROR, "missing_file", name, 0, 0, f"the file cannot be read ({type(error).__name__})")


def _check_sizes(files: Mapping[str, str]) -> None:
    """Refuse what is too large unread. Raises RuleFaults."""
    large = [name for name, text in files.items() if len(text) > MOST_BYTES]
    if large or len(files) > MOST_FILES or sum(map(len, files.values())) > MOST_BYTES_TOGETHER:
        message = f"a file of rules has at most {MOST_BYTES} bytes, and there are at most {MOST_FILES} of {MOST_BYTES_TOGETHER} together"
        hint = "split it, and name the parts under `include`"
        raise RuleFaults(
            [Fault(Severity.ERROR, "too_large", name[:LONGEST_ECHO], 0, 0, message, hint) for name in large[:1] or ["."]]
        )


def shipped(today: date, name: str = "default") -> dict[str, str]:
    """The files of a starting set, their review dates counted from `today`."""

    def dated(match: re.Match[str]) -> str:
        return f": {today + timedelta(days=int(match[1]))}"

    return {file: RELATIVE_DAY.sub(dated, text) for file, text in read_directory(STARTING_SETS[name]).items()}


def starting_set(given: Path | None) -> str | None:
    """The starting set that is meant by what somebody gave as a directory: one of that name, where there is no such directory."""
    return given.name if given is not None and str(given) in STARTING_SETS and not given.is_dir() else None


def read_rules(given: Path, today: date, environment: str | None = None) -> dict[str, str]:
    """The files of a directory, or of a starting set by its name. Raises RuleFaults as `read_directory` does."""
    name = starting_set(given)
    return read_directory(given, environment) if name is None else shipped(today, name)


def complete(files: Mapping[str, str], today: date) -> dict[str, str]:
    """These files, with the shipped ones where a file is missing. The shipped cases test the shipped routes and tools, so
    they come along only with those."""
    base = shipped(today)
    if "routes.yaml" in files or "tools.yaml" in files:
        base = {name: text for name, text in base.items() if not name.startswith(CASES)}
    return together(base, files)


def together(base: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The files of `own`, and those of `base` that it says nothing of: a file brings its parts along, an overlay its environment."""
    heads = tuple(f"{name.removesuffix('.yaml')}/" for name in own if name in FILES)
    brings_overlay = any(name.startswith(OVERLAYS) for name in own)
    dropped = (*heads, OVERLAYS) if brings_overlay else heads
    return {name: text for name, text in base.items() if not name.startswith(dropped)} | dict(own)


def _purposes(top: Entry) -> dict[str, Purpose]:
    found: dict[str, Purpose] = {}
    for entry in _items(top, "purposes"):
        id = entry.identifier(found)
        found[id] = Purpose(
            id=id,
            owner=entry.text("owner"),
            business_impact=_member(BusinessImpact, entry.word("business_impact", DIMENSIONS["business_impact"], "normal")),
            latency_class=_member(LatencyClass, entry.word("latency_class", DIMENSIONS["latency_class"], "interactive")),
        )
        entry.close()
    return found


class _Budgets:
    """Session budgets with the call limits that go with them, and what owners may spend."""

    def __init__(self, top: Entry, tiers: tuple[str, ...]) -> None:
        self.sessions: dict[str, SessionBudget] = {}
        self.limits: dict[str, dict[str, Any]] = {}
        self.owners: dict[str, tuple[OwnerBudget, ...]] = {}
        for entry in _items(top, "session_budgets"):
            id = entry.identifier(self.sessions)
            limits: dict[str, Any] = {key: entry.maybe_integer(key, least=1) for key in SESSION_LIMITS}
            self.sessions[id] = SessionBudget(
                name=id, cost_nano=entry.maybe_nano("cost_usd"), **limits, **_warnings(entry), **_drift(entry)
            )
            self.limits[id] = _call_limits(entry)
            entry.close()
        default = top.entry("default_owner_budget")
        self.default_owner = OwnerBudget(owner="default") if default is None else _owner_budget(default, "default", tiers)
        for entry in top.entries("owner_budgets", required=False):
            owner = entry.text("owner")
            budget = _owner_budget(entry, owner, tiers)
            if any(other.per is budget.per for other in self.owners.get(owner, ())):
                entry.fault("owner", "duplicate_id", f"the owner has two budgets for each {budget.per.replace('_', ' ')}")
            self.owners[owner] = (*self.owners.get(owner, ()), budget)
        for owner, own in self.owners.items():
            if all(budget.per is not self.default_owner.per for budget in own):
                self.owners[owner] = (*own, self.default_owner)
        self.fiscal_year = _fiscal_year(top)
        self.new_sessions_per_hour = top.maybe_integer("new_sessions_per_hour", least=1)


def _warnings(entry: Entry) -> dict[str, Any]:
    percent = entry.maybe_integer("warn_percent", least=1)
    if percent is None:
        return {}
    if percent > MOST_PERCENT:
        entry.fault("warn_percent", "wrong_type", "a warning above 100 percent of a limit would come after it")
    return {"warn_percent": percent}


def _drift(parent: Entry) -> dict[str, Any]:
    """From which drift on a call is noted, held and refused."""
    entry = parent.entry("drift")
    if entry is None:
        return {}
    found = {f"drift_{key}": entry.maybe_number(key) for key in ("warn", "hold", "stop")}
    given = [limit for limit in found.values() if limit is not None]
    if given != sorted(given) or any(limit > 1 for limit in given):
        entry.fault(None, "wrong_type", "expected `warn`, `hold` and `stop` above 0 and up to 1, none above the next")
    entry.close()
    return {key: limit for key, limit in found.items() if limit is not None}


def _owner_budget(entry: Entry, owner: str, tiers: tuple[str, ...]) -> OwnerBudget:
    per = entry.word("per", tuple(Per), Per.MONTH)
    soft, hard, stop = entry.maybe_nano("soft_usd"), entry.maybe_nano("hard_usd"), entry.maybe_nano("stop_usd")
    if soft is not None and hard is not None and soft > hard:
        entry.fault("soft_usd", "bad_amount", "`soft_usd` is above `hard_usd`")
    on_hard = entry.word("on_hard", ON_HARD, REFUSE)
    if on_hard == DEGRADE and hard is None:
        entry.fault("on_hard", "missing_key", "without `hard_usd` there is no limit from which on to degrade")
    if on_hard == DEGRADE and FAST_TIER not in tiers:
        entry.fault("on_hard", "unknown_word", f"models.yaml has no tier `{FAST_TIER}` to degrade to")
    if stop is not None and (on_hard != DEGRADE or hard is None or stop < hard):
        entry.fault("stop_usd", "bad_amount", "`stop_usd` goes with `on_hard: degrade`, and is not below `hard_usd`")
    percents = _percents(entry, hard)
    notify = entry.words("notify", default=())
    if any(not ADDRESS.fullmatch(each) for each in notify):
        entry.fault("notify", "wrong_type", "expected e-mail addresses such as `ann@example.org`")
    entry.close()
    return OwnerBudget(
        owner=owner,
        soft_nano=soft,
        hard_nano=hard,
        per=Per(per) if per in tuple(Per) else Per.MONTH,
        soft_percents=percents,
        on_hard=on_hard,
        stop_nano=stop,
        notify=notify,
    )


def _percents(entry: Entry, hard: int | None) -> tuple[int, ...]:
    """Percents of the hard limit at which somebody is told."""
    words = entry.words("soft_percents", default=())
    if not words:
        return ()
    if hard is None:
        entry.fault("soft_percents", "missing_key", "without `hard_usd` there is nothing to take percents of")
    if any(not (word.isascii() and word.isdigit() and 1 <= int(word[:6]) <= MOST_SOFT_PERCENT) for word in words):
        entry.fault("soft_percents", "wrong_type", f"expected whole numbers from 1 to {MOST_SOFT_PERCENT}")
        return ()
    return tuple(sorted({int(word) for word in words}))


def _fiscal_year(top: Entry) -> FiscalYear:
    """When fiscal years begin; without it, with the calendar's."""
    entry = top.entry("fiscal_year")
    if entry is None:
        return CALENDAR_YEAR
    month = entry.maybe_integer("first_month", least=1) or 1
    if month > MONTHS:
        entry.fault("first_month", "wrong_type", "expected a month from 1 to 12")
        month = 1
    weeks = entry.word("weeks", tuple(PATTERNS), "")
    weekday = entry.word("weekday", WEEKDAYS, WEEKDAYS[0])
    entry.close()
    return FiscalYear(month, weeks if weeks in PATTERNS else "", WEEKDAYS.index(weekday) if weekday in WEEKDAYS else 0)


def _call_limits(parent: Entry) -> dict[str, Any]:
    """The limits of one call that are set here; what is not set comes from elsewhere."""
    entry = parent.entry("limits")
    if entry is None:
        return {}
    found: dict[str, Any] = {key: entry.maybe_integer(key, least=1) for key in CALL_COUNTS}
    found |= {key: entry.maybe_number(key) for key in CALL_SECONDS}
    if entry.has("reasoning_effort"):
        found["reasoning_effort"] = entry.word("reasoning_effort", REASONING_EFFORTS)
    entry.close()
    return {key: value for key, value in found.items() if value is not None}


def _tools(top: Entry) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for entry in _items(top, "tools"):
        id = entry.identifier(found)
        functions, hosted, servers = (entry.words(key, default=()) for key in ("functions", "hosted", "servers"))
        if not (functions or hosted or servers):
            entry.fault(None, "missing_key", "nothing recognises this tool", "expected `functions`, `hosted` or `servers`")
        capabilities = entry.words("capabilities", DIMENSIONS["capability"])
        if not capabilities and entry.has("capabilities"):
            entry.fault("capabilities", "wrong_type", "a tool has at least one capability", "a tool that only computes is `pure`")
        urls, pinned = _server(entry, servers)
        unpinned = servers and not pinned
        schema = entry.maybe_text("arguments_schema")
        if schema is not None and not _is_json_object(schema):
            entry.fault("arguments_schema", "wrong_type", "expected a JSON Schema, written as JSON in a text")
        found[id] = Tool(
            id=id,
            owner=entry.text("owner"),
            capabilities=frozenset(_member(Capability, word) for word in capabilities) | (UNPINNED if unpinned else frozenset()),
            functions=functions,
            hosted=hosted,
            servers=servers,
            highest_read=_level(entry.word("highest_read", LEVELS, "internal")),
            approval_boundary=entry.word("approval_boundary", APPROVAL_BOUNDARIES, "none"),
            arguments_schema=schema,
            destination_arguments=entry.words("destination_arguments", default=()),
            server_urls=urls,
            pinned=pinned,
            internal=entry.boolean("internal", False),
        )
        if found[id].internal and not urls:
            hint = "a label is the app's own word: say in `server_urls` where the server is"
            entry.fault("internal", "missing_key", "only a server whose address is known can be ours", hint)
        entry.close()
    return found


def _server(parent: Entry, labels: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Where an MCP server may be, and the digests of its tools that somebody has looked at."""
    urls = parent.words("server_urls", default=())
    for url in urls:
        if not SERVER_ADDRESS.fullmatch(url):
            hint = "expected `https://…` without a user, a query or a fragment, or `connector:ID`"
            parent.fault("server_urls", "wrong_type", "a server's address is one that anybody may read", hint)
    entry = parent.entry("pinned")
    pinned: dict[str, str] = {} if entry is None else {name: entry.text(name) for name in entry.keys()}
    if entry is not None and not all(TOOL_DIGEST.fullmatch(digest) for digest in pinned.values()):
        parent.fault("pinned", "wrong_type", "expected the digests that `router tools import` writes")
    if not labels and (urls or pinned):
        parent.fault(
            None, "missing_key", "`server_urls` and `pinned` say something of an MCP server", "add its label as `servers`"
        )
    return urls, tuple(sorted(pinned.items()))


def _sets(top: Entry, tools: Mapping[str, Tool]) -> dict[str, EntitlementSet]:
    found: dict[str, EntitlementSet] = {}
    for entry in _items(top, "sets"):
        id = entry.identifier(found)
        review_by = entry.day("review_by")
        found[id] = EntitlementSet(
            id=id,
            owner=entry.text("owner"),
            business_purpose=entry.text("business_purpose"),
            approver=entry.text("approver"),
            review_by=review_by,
            grace=_grace(entry, review_by),
            tools=frozenset(entry.words("tools", tools)),
            prohibited=_combinations(entry, "prohibited", CallEffect.FORBID),
            step_ups=_combinations(entry, "step_ups", CallEffect.STEP_UP),
            allowed_destinations=_destinations(entry),
        )
        entry.close()
    return found


def _combinations(parent: Entry, key: str, effect: CallEffect) -> tuple[Combination, ...]:
    """Combinations of capabilities that a set adds to the shipped ones; one under the name of another would hide it in the records."""
    found: dict[str, Combination] = {}
    taken = {combination.id: combination for combination in SHIPPED_COMBINATIONS}
    for entry in parent.entries(key, required=False):
        id = entry.identifier({**taken, **found})
        held = _capabilities(entry, "capabilities")
        brought_by = _capabilities(entry, "brought_by") if entry.has("brought_by") else held
        if entry.has("capabilities") and not held:
            entry.fault("capabilities", "wrong_type", "a combination without capabilities would meet every call")
        if not brought_by <= held:
            entry.fault("brought_by", "unknown_word", "a combination is brought about by one of its own capabilities")
        found[id] = Combination(
            id=id,
            capabilities=held,
            brought_by=brought_by,
            effect=effect,
            vouched=entry.boolean("vouched", False),
            asked=entry.boolean("asked", False),
            serves=entry.words("serves", default=()),
        )
        entry.close()
    return tuple(found.values())


def _capabilities(entry: Entry, key: str) -> frozenset[Capability]:
    return frozenset(_member(Capability, word) for word in entry.words(key, DIMENSIONS["capability"]))


def _destinations(entry: Entry) -> tuple[str, ...]:
    found = entry.words("allowed_destinations", default=())
    if any(not each.strip() or each == "@" or each.endswith("://") for each in found):
        hint = "expected an address, `@domain`, or a URL that ends in `/` for all below it"
        entry.fault("allowed_destinations", "wrong_type", "a destination that names nothing would vouch for everything", hint)
    return found


def _apps(top: Entry, purposes: Mapping[str, Purpose], sets: Mapping[str, EntitlementSet]) -> dict[str, App]:
    found: dict[str, App] = {}
    for entry in _items(top, "apps", may_be_empty=True):
        id = entry.identifier(found)
        held = entry.words("purposes", purposes)
        if not held and entry.has("purposes"):
            entry.fault("purposes", "wrong_type", "an app holds at least one purpose")
        mode = entry.word("mode", MODES, MODES[0])
        found[id] = App(
            id=id,
            owner=entry.text("owner"),
            team=entry.text("team", UNASSIGNED),
            cost_center=entry.text("cost_center", UNASSIGNED),
            clearance=_level(entry.word("clearance", LEVELS)),
            ceiling=entry.word("ceiling", sets),
            purposes=held,
            mode=mode,
            observing=_observing(entry, mode),
            provider_state=entry.words("provider_state", default=()),
        )
        entry.close()
    return found


def _observing(parent: Entry, mode: str) -> Observing | None:
    """Who has an app only watched, and for which days."""
    entry = parent.entry("observe")
    if mode != "observe":
        if entry is not None:
            parent.fault(
                "observe", "missing_key", "`observe` has no effect on an app that is held to the rules", "add `mode: observe`"
            )
        return None
    if entry is None:
        parent.fault(
            "mode",
            "missing_key",
            "an app is watched for some days and by somebody",
            "add `observe: {owner: …, from: …, until: …}`",
        )
        return None
    observing = Observing(owner=entry.text("owner"), start=entry.day("from"), end=entry.day("until"))
    if not timedelta(0) <= observing.end - observing.start <= MOST_OBSERVED:
        entry.fault("until", "wrong_type", f"an app is watched for at most {MOST_OBSERVED.days} days")
    if parent.word("clearance", LEVELS) == Sensitivity.RESTRICTED.value:
        parent.fault("clearance", "wrong_type", "an app that is only watched is cleared for `confidential` at most")
    entry.close()
    return observing


def _deployments(top: Entry) -> tuple[tuple[str, ...], dict[str, tuple[Deployment, bool]]]:
    tiers = top.words("tiers", default=TIERS)
    found: dict[str, tuple[Deployment, bool]] = {}
    for entry in _items(top, "deployments", may_be_empty=True):
        id = entry.identifier(found)
        provider = entry.text("provider", "openai_compatible")
        base_url = entry.maybe_text("base_url")
        _check_url(entry, provider, base_url)
        api_key = entry.maybe_text("api_key")
        if api_key is not None and not SECRET_REFERENCE.fullmatch(api_key):
            hint = "put the key into an environment variable and write `env:NAME`"
            entry.fault("api_key", "literal_secret", "`api_key` must be a reference, never the key itself", hint)
        usual = USUAL_FEATURES.get(provider, TRANSLATED_FEATURES)
        features = entry.words("features", tuple(Feature), tuple(sorted(usual)))
        only_embeds = tuple(features) == (Feature.EMBEDDINGS,)
        context_window = entry.maybe_integer("context_window", least=1)
        max_output_tokens = entry.maybe_integer("max_output_tokens", least=1)
        plain = Deployment(id="", provider="", model="", tier="", clearance=Sensitivity.PUBLIC)
        deployment = Deployment(
            id=id,
            provider=provider,
            model=entry.text("model", id),
            tier=entry.word("tier", tiers),
            clearance=_level(entry.word("clearance", LEVELS)),
            region=entry.text("region", plain.region),
            base_url=base_url.rstrip("/") if base_url is not None else None,
            api_key=api_key,
            params={key: str(value) for key, value in _scalars(entry, "params").items()},
            model_names=entry.words("model_names", default=()),
            features=frozenset(_member(Feature, word) for word in features),
            allowed_fields=frozenset(entry.words("allowed_fields", default=())),
            context_window=plain.context_window if context_window is None else context_window,
            max_output_tokens=plain.max_output_tokens if max_output_tokens is None else max_output_tokens,
            reasoning_model=entry.boolean("reasoning_model", False),
            fixed_params=_scalars(entry, "fixed_params"),
            price=_price(entry, only_embeds),
            internal=entry.boolean("internal", False),
            capability_review=_review(entry, "capability_review"),
            access_review=_review(entry, "access_review"),
        )
        found[id] = (deployment, entry.boolean("enabled", True))
        entry.close()
    return tiers, found


def _check_url(entry: Entry, provider: str, base_url: str | None) -> None:
    if base_url is None:
        if provider in WITH_ADDRESS:
            entry.fault(
                None,
                "missing_key",
                "the key `base_url` is missing",
                "expected the address of the provider, such as `https://llm.example.org/v1`",
            )
        return
    scheme, _, rest = base_url.partition("://")
    if scheme not in ("http", "https") or not rest:
        entry.fault("base_url", "wrong_type", "`base_url` is no address; expected one such as `https://llm.example.org/v1`")
    elif "@" in rest.partition("/")[0]:
        entry.fault("base_url", "literal_secret", "`base_url` must not carry a user or password", "use `api_key: env:NAME`")


def _price(parent: Entry, only_embeds: bool) -> Price:
    """`price`, or `assumed_price` where no full price is given. Embeddings have no output to pay for."""
    prices = [_price_entry(parent, key, source) for key, source in (("price", "catalogue"), ("assumed_price", "assumed"))]
    if only_embeds:
        prices = [
            Price(input=price.input, cached_input=price.cached_input, output=price.output or 0, source=price.source)
            for price in prices
        ]
    price, assumed = prices
    return price if price.known or not assumed.known else assumed


def _price_entry(parent: Entry, key: str, source: str) -> Price:
    entry = parent.entry(key)
    if entry is None:
        return Price(source=source)
    classes: dict[str, Any] = {
        name: entry.maybe_nano(f"{name}_usd_per_million")
        for name in ("input", "cached_input", "cache_write", "output", "reasoning")
    }
    if 0 in (classes["input"], classes["output"]) and not entry.has("source"):
        entry.fault(
            None, "zero_price", "a price of zero needs a reason", "say in `source` who pays, such as `internal: own hardware`"
        )
    price = Price(**classes, source=entry.text("source", source))
    entry.close()
    return price


def _review(parent: Entry, key: str) -> Review | None:
    entry = parent.entry(key)
    if entry is None:
        return None
    expires = entry.day("expires")
    review = Review(reviewer=entry.text("reviewer"), expires=expires, grace=_grace(entry, expires))
    entry.close()
    return review


def _grace(parent: Entry, due: date) -> Grace | None:
    """For how long two people let something count after its review was due."""
    entry = parent.entry("grace")
    if entry is None:
        return None
    grace = Grace(until=entry.day("until"), approved_by=entry.words("approved_by"))
    if not timedelta(0) < grace.until - due <= MOST_GRACE:
        entry.fault(
            "until", "wrong_type", f"a grace ends after the day of the review, and at most {MOST_GRACE.days} days after it"
        )
    if len({name.strip().lower() for name in grace.approved_by}) < GRACE_APPROVERS:
        entry.fault(
            "approved_by", "wrong_type", "a grace is given by two people", "expected two different names in `approved_by`"
        )
    entry.close()
    return grace


def _rules(
    top: Entry,
    words: Mapping[str, Iterable[str]],
    tiers: tuple[str, ...],
    regions: list[str],
    sets: Mapping[str, EntitlementSet],
    budgets: _Budgets,
) -> tuple[Rule, ...]:
    taken: dict[str, Rule] = {}
    for key, effect in (("prohibitions", Effect.FORBID), ("step_ups", Effect.STEP_UP), ("routes", Effect.PERMIT)):
        for entry in top.entries(key, required=effect is Effect.PERMIT):
            id = entry.identifier(taken)
            valid_from, valid_until = entry.maybe_day("from"), entry.maybe_day("until")
            if valid_from and valid_until and valid_until < valid_from:
                entry.fault("until", "wrong_type", "`until` is before `from`")
            taken[id] = Rule(
                id=id,
                effect=effect,
                owner=entry.text("owner"),
                reason=entry.text("reason"),
                when=_when(entry, words),
                then=_then(entry, tiers, regions, sets, budgets) if effect is Effect.PERMIT else None,
                serves=entry.words("serves", default=()),
                remedy=entry.text("remedy", ""),
                code=entry.word("code", FORBID_CODES, FORBID_CODES[0]) if effect is Effect.FORBID else FORBID_CODES[0],
                valid_from=valid_from,
                valid_until=valid_until,
                file=entry.file,
                line=entry.line,
                column=entry.column,
            )
            entry.close()
    return tuple(taken.values())


def _time_zone(top: Entry) -> tzinfo:
    """Where the days of rules begin: `UTC`, or a place such as `Europe/Berlin`, with its summer time."""
    name = top.text("time_zone", "UTC")
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        hint = did_you_mean(name, available_timezones()) or "expected a name such as `Europe/Berlin`"
        top.fault("time_zone", "unknown_word", f"unknown time zone `{name[:LONGEST_ECHO]}`", hint)
        return UTC


def _when(parent: Entry, words: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    entry = parent.entry("when")
    if entry is None:
        return {}
    found = {}
    for dimension in (*DIMENSIONS, *GOVERNED_DIMENSIONS):
        if entry.has(dimension):
            known = tuple(DIMENSIONS.get(dimension) or words[dimension])
            found[dimension] = frozenset(_admitted(entry, dimension, known))
            if not found[dimension]:
                entry.fault(
                    dimension, "wrong_type", f"an empty `{dimension}` admits nothing", "leave the key out to admit everything"
                )
    entry.close()
    return found


def _admitted(entry: Entry, dimension: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The words that a condition admits: a word, a list, or for an ordered dimension `{at_least: …}` or `{at_most: …}`."""
    if not (entry.is_mapping(dimension) and dimension in ORDERED_DIMENSIONS):
        return entry.words(dimension, known)
    bounds = entry.entry(dimension)
    if bounds is None:
        return known
    least, most = bounds.word("at_least", known, known[0]), bounds.word("at_most", known, known[-1])
    bounds.close()
    if least not in known or most not in known:
        return known
    return known[known.index(least) : known.index(most) + 1]


def _then(
    parent: Entry, tiers: tuple[str, ...], regions: list[str], sets: Mapping[str, EntitlementSet], budgets: _Budgets
) -> Then | None:
    entry = parent.entry("then")
    if entry is None:
        parent.fault(None, "missing_key", "the key `then` is missing", "expected what the route gives: tier, set and budget")
        return None
    tier = entry.word("tier", tiers)
    fallback = entry.words("fallback_tiers", tiers, ())
    if tier in fallback:
        entry.fault("fallback_tiers", "duplicate_word", f"`{tier}` is the tier of the route already")
    budget = entry.word("budget", budgets.sessions)
    limits = CallLimits(**{**budgets.limits.get(budget, {}), **_call_limits(entry)})
    if limits.min_output_tokens > limits.max_output_tokens:
        entry.fault("limits", "wrong_type", "`min_output_tokens` is above `max_output_tokens`")
    obligations = frozenset(_member(Obligation, word) for word in entry.words("obligations", tuple(Obligation), ()))
    mask = entry.words("mask", default=())
    if mask:
        obligations |= {Obligation.MASK}
    elif entry.has("mask"):
        entry.fault("mask", "wrong_type", "an empty `mask` orders nothing", "leave the key out to mask nothing")
    elif Obligation.MASK in obligations:
        entry.fault(
            "obligations",
            "missing_key",
            "`mask` does not say what is masked",
            "add a line such as `mask: [email_address, payment_card]`",
        )
    for word in mask:
        if not FINDING_NAME.fullmatch(word):
            entry.fault(
                "mask", "unknown_word", "a kind of finding is named by small letters, digits and `_`, such as `email_address`"
            )
    if obligations >= {Obligation.DRAIN, Obligation.CANCEL}:
        entry.fault("obligations", "wrong_type", "`drain` and `cancel` contradict each other")
    then = Then(
        tiers=(tier, *fallback),
        entitlement_set=entry.word("set", sets),
        budget=budget,
        limits=limits,
        obligations=obligations,
        regions=frozenset(entry.words("regions", regions, ())),
        internal_only=entry.boolean("internal_only", False),
        wish=entry.word("wish", WISHES, WISHES[0]),
        hints=entry.boolean("hints", False),
        mask=tuple(sorted(mask)),
    )
    entry.close()
    return then


def _items(top: Entry, key: str, *, may_be_empty: bool = False) -> list[Entry]:
    found = top.entries(key)
    if not found and not may_be_empty and top.has(key):
        top.fault(key, "wrong_type", f"`{key}` is empty")
    return found


def _scalars(parent: Entry, key: str) -> dict[str, str | int | float | bool]:
    entry = parent.entry(key)
    return {} if entry is None else {name: entry.scalar(name) for name in entry.keys()}


def _level(word: str) -> Sensitivity:
    return _member(Sensitivity, word)


def _member(kind: type[E], word: str) -> E:
    """The member of this name. A word that is none was noted as a fault, so that whatever is given back is thrown away."""
    try:
        return kind(word)
    except ValueError:
        return next(iter(kind))


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
