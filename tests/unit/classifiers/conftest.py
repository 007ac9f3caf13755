"""The shipped sensitivity policy, the detectors built from it, and short ways to scan a text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from classifiers.sensitivity.engine import Detector, Scan
from routing_rules.load import load, shipped
from routing_rules.rules import RuleSet
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Part, Provenance, Role


@pytest.fixture(scope="session")
def rules() -> RuleSet:
    return load(shipped(date(2026, 11, 23)))


@pytest.fixture(scope="session")
def policy(rules: RuleSet) -> SensitivityPolicy:
    return rules.sensitivity


@pytest.fixture(scope="session")
def detector(policy: SensitivityPolicy) -> Detector:
    return Detector(policy, b"a key for tests")


@pytest.fixture(scope="session")
def scan(detector: Detector) -> Callable[..., Scan]:
    """Scans texts as one user turn each."""

    def read(*texts: str) -> Scan:
        return detector.scan(
            [Part(Role.USER, Provenance.USER, text, f"messages[{turn}]", turn) for turn, text in enumerate(texts)]
        )

    return read
