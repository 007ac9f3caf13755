"""The figures by which rules may mask are those that the model card tells."""

from __future__ import annotations

from pathlib import Path

from classifiers.recalls import read_recalls
from routing_rules.sensitivity import LEAST_RECALL

CARD = Path(__file__).parents[3] / "docs" / "models" / "masking.md"


def test_the_card_tells_what_the_check_reads() -> None:
    rows = [line.strip("|").split("|") for line in CARD.read_text().splitlines() if line.startswith("| `")]
    told = {kind.strip(" `"): tuple(cell.strip() for cell in cells) for kind, *cells in rows}

    def figure(value: float) -> str:
        return f"{value:.3f}".removeprefix("0")

    assert told == {
        kind: (
            figure(one.recall),
            f"{figure(one.ci[0])} – {figure(one.ci[1])}",
            str(one.n),
            "yes" if one.recall >= LEAST_RECALL else "no",
        )
        for kind, one in read_recalls().items()
    }
