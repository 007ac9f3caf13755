"""An illness says something only of somebody: named together they are private, each alone is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from classifiers.sensitivity.combine import level
from classifiers.sensitivity.engine import Scan
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.vocabulary import Sensitivity

PUBLIC, INTERNAL, CONFIDENTIAL = Sensitivity.PUBLIC, Sensitivity.INTERNAL, Sensitivity.CONFIDENTIAL


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What helps against diabetes, and how does it differ from hypertension?", PUBLIC),
        ("Alzheimer's disease is named after a physician who described it in 1906.", PUBLIC),
        ("My name is Ann Other.", INTERNAL),
        ("My name is Ann Other and I have epilepsy.", CONFIDENTIAL),
        ("Mr. Harding was told last week that he has leukaemia.", CONFIDENTIAL),
        ("Patient: Anna Vogel, 45, HIV positive since 2019", CONFIDENTIAL),
        ("Jonas Weber was recently diagnosed with schizophrenia.", CONFIDENTIAL),
        ("Frau Vogel leidet an Depressionen.", CONFIDENTIAL),
        ("My name is Ann Other, date of birth: 12 March 1984.", CONFIDENTIAL),
        ("My name is Ann Other, SSN 219-09-9998.", CONFIDENTIAL),
        ("Is Mr. Harding in the office today? The kidney beans are in the kitchen.", PUBLIC),
    ],
)
def test_linkage_raises_and_a_diagnosis_or_a_name_alone_does_not(
    scan: Callable[..., Scan], policy: SensitivityPolicy, text: str, expected: Sensitivity
) -> None:
    found = scan(text)
    assert level(policy, found.findings, {}, (), found.state).sensitivity is expected
