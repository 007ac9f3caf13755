"""The shipped rule set, and facts of one ordinary request from which tests vary what they are about."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import msgspec
import pytest

from routing_rules.facts import Caller, Facts, Labels
from routing_rules.load import complete, load, shipped
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, ToolAsk
from routing_rules.vocabulary import Access, Complexity, Integrity, ScanState, Sensitivity, TaskKind

TODAY = date(2026, 11, 23)


@pytest.fixture(scope="session")
def files() -> dict[str, str]:
    return shipped(TODAY)


@pytest.fixture(scope="session")
def rules(files: dict[str, str]) -> RuleSet:
    return load(files)


@pytest.fixture
def rules_with() -> Callable[..., RuleSet]:
    """A rule set in which some files are the test's own: `rules_with(**{"models.yaml": ...})`, `.yaml` may be left out."""

    def build(**own: str) -> RuleSet:
        return load(complete({f"{name}.yaml": text for name, text in own.items()}, TODAY))

    return build


@pytest.fixture
def facts() -> Callable[..., Facts]:
    """An ordinary request; `sensitivity`, `integrity`, `tools` (function names) and fields of the caller are short cuts."""

    def build(
        *,
        sensitivity: Sensitivity = Sensitivity.PUBLIC,
        integrity: Integrity = Integrity.TRUSTED,
        functions: tuple[str, ...] = (),
        caller: dict[str, object] | None = None,
        **values: object,
    ) -> Facts:
        plain = Facts(
            now=datetime(2026, 11, 24, 12, tzinfo=UTC),
            endpoint=Endpoint.CHAT,
            caller=Caller(
                app="demo",
                owner="demo@example.org",
                team="platform",
                cost_center="cc-demo",
                key_id="k1",
                clearance=Sensitivity.RESTRICTED,
                ceiling="agentic",
                purpose="general",
            ),
            wish="auto",
            wish_known=True,
            detected=sensitivity,
            declared=None,
            labels=Labels(integrity, sensitivity),
            categories=frozenset(),
            access=Access.NONE,
            intent=frozenset(),
            task=TaskKind.SUMMARISATION,
            complexity=Complexity.SIMPLE,
            complexity_score=0.1,
            state=ScanState.COMPLETE,
            tools=tuple(ToolAsk(name, "function", f"tools[{i}]") for i, name in enumerate(functions)),
            input_bytes=400,
        )
        changed = msgspec.structs.replace(plain, **values)
        return msgspec.structs.replace(changed, caller=msgspec.structs.replace(plain.caller, **(caller or {})))

    return build
