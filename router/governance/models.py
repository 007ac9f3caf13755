"""Whether a fitted model that came with the rules can be used."""

from __future__ import annotations

from classifiers.artefacts import ArtefactError
from classifiers.ask.complexity import chosen_by
from routing_rules.faults import Fault, Severity
from routing_rules.load import COMPLEXITY
from routing_rules.rules import RuleSet


def model_faults(rules: RuleSet) -> list[Fault]:
    """A calibrated model whose arrays are not those that were signed for, or that was made for another version of the features."""
    try:
        chosen_by(rules.sensitivity.complexity)
    except ArtefactError as error:
        return [Fault(Severity.ERROR, "bad_model", COMPLEXITY, 0, 0, str(error))]
    return []
