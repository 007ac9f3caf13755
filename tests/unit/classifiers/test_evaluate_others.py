"""The other detectors that are scored beside ours find plain values of each kind, and nothing in plain prose."""

from __future__ import annotations

import pytest

from classifiers.evaluation.others import Other, others

CARD = "4539 1488 " + "0343 6467"
MAIL = "maria.keller@" + "kundenwerk.de"
KEY = "gh" + "p_" + "k3Jd9sLq2Wx8" + "Vb6Nm4Pz7Rt1" + "Yc5Hf0Gg2Ta9"

pytestmark = pytest.mark.slow  # importing what is compared takes long


@pytest.fixture(scope="module", params=["Presidio + detect-secrets", "LiteLLM filter"])
def other(request: pytest.FixtureRequest) -> Other:
    found = others()
    if request.param not in found:
        pytest.skip("not installed: the extra `compare`")
    return found[request.param]


@pytest.mark.parametrize(
    ("text", "category"), [(f"my card is {CARD}", "pci"), (f"write to {MAIL}", "pii"), (f"use {KEY} for that", "credentials")]
)
def test_a_plain_value_is_found_in_its_category(other: Other, text: str, category: str) -> None:
    assert {found for found, _ in other(text)} == {category}


def test_prose_holds_nothing_and_a_text_is_read_the_same_twice(other: Other) -> None:
    assert other("Tell me a joke about a fox and a crow.") == frozenset()
    assert other(f"write to {MAIL}") == other(f"write to {MAIL}")
