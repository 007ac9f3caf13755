"""Labels that an app declares join by the highest; one that nobody has mapped has an action of its own."""

from __future__ import annotations

import pytest

from router.errors import Refused
from router.stages.read_task import NO_HEADERS, RouterHeaders, read_task
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint
from routing_rules.vocabulary import Sensitivity

GUID = "2096f6a2-d2f7-48be-b329-b73aaa526e5d"
POLICY = SensitivityPolicy(
    labels={"general": Sensitivity.INTERNAL, GUID.upper(): Sensitivity.CONFIDENTIAL},
    unmapped_label=Sensitivity.RESTRICTED,
    label_fields=("class",),
    level_names={"confidential": "Vertraulich"},
)
REFUSING = SensitivityPolicy(labels=POLICY.labels, refuse_unmapped=True, label_fields=("class",))


def declared(policy: SensitivityPolicy, header: str | None = None, **metadata: str) -> Sensitivity | None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "metadata": metadata or None}
    headers = NO_HEADERS if header is None else RouterHeaders(label=header)
    return read_task(Endpoint.CHAT, body, headers, policy.labels, policy.unmapped_label, policy).declared


@pytest.mark.parametrize(
    ("header", "metadata", "expected"),
    [
        (None, {}, None),
        (None, {"note": "restricted"}, None),
        ("General", {}, Sensitivity.INTERNAL),
        ("public", {"class": "general"}, Sensitivity.INTERNAL),
        ("restricted", {"class": "general"}, Sensitivity.RESTRICTED),
        (None, {"class": "vertraulich"}, Sensitivity.CONFIDENTIAL),
        (GUID, {}, Sensitivity.CONFIDENTIAL),
        (None, {f"MSIP_Label_{GUID}_Enabled": "True"}, Sensitivity.CONFIDENTIAL),
        (None, {f"MSIP_Label_{GUID}_Enabled": "false"}, None),
        (None, {f"MSIP_Label_{GUID}_Name": "General"}, None),
        (None, {"class": "of my own making"}, Sensitivity.RESTRICTED),
    ],
)
def test_the_highest_of_all_declared_labels_counts(
    header: str | None, metadata: dict[str, str], expected: Sensitivity | None
) -> None:
    assert declared(POLICY, header, **metadata) is expected


@pytest.mark.parametrize(
    ("header", "metadata", "param"),
    [("odd", {}, "x-router-label"), (None, {"class": "odd"}, "metadata.class"), ("general", {"class": "odd"}, "metadata.class")],
)
def test_an_unmapped_label_is_refused_where_the_organisation_says_so(
    header: str | None, metadata: dict[str, str], param: str
) -> None:
    with pytest.raises(Refused) as refusal:
        declared(REFUSING, header, **metadata)
    assert (refusal.value.code, refusal.value.param) == ("invalid_request", param)
    assert "odd" not in refusal.value.message
