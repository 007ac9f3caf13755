"""Which time zone's days a rule set counts in, read without reading the rest of it."""

from __future__ import annotations

from collections.abc import Mapping

from routing_rules.faults import Fault
from routing_rules.layers import Layers

ROUTES = "routes.yaml"


def time_zone_of(files: Mapping[str, str]) -> str:
    """The `time_zone` of the governed files (name → text) of a revision that was found sound; `UTC` where they name none.

    Raises RuleFaults for files that no revision could be made of.
    """
    faults: list[Fault] = []
    return Layers(files, (ROUTES,), faults).top(ROUTES).text("time_zone", "UTC")
