"""Charts: what is added up before it is drawn, and what a picture says of itself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from router.console.charts import MOST_SERIES, OTHERS, Artist, Chart, Series, stacked
from router.errors import Unavailable

SVG = "{http://www.w3.org/2000/svg}"
DAYS = ("1 Oct", "2 Oct", "3 Oct")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fonts")


def drawn(chart: Chart, form: str, cache: Path) -> bytes:
    async def run() -> bytes:
        artist = Artist(cache)
        try:
            return await artist.draw(chart, form)
        finally:
            await artist.close()

    return asyncio.run(run())


def test_what_has_no_colour_of_its_own_is_drawn_together_and_nothing_is_lost() -> None:
    parts = {f"team {number}": {DAYS[0]: float(number), DAYS[2]: 1.0} for number in range(1, 12)}
    chart = stacked("Spend", "Spend by team.", DAYS, parts)
    assert [each.name for each in chart.series][:2] == ["team 11", "team 10"]
    assert (len(chart.series), chart.series[-1].name) == (MOST_SERIES, OTHERS)
    total = sum(value or 0.0 for each in chart.series for value in each.values)
    assert total == sum(sum(values.values()) for values in parts.values())


@pytest.mark.parametrize(
    "chart",
    [
        stacked("Spend $5 & <more>", "By team.", DAYS, {"a <b> & $c$ \x00": {DAYS[0]: 2.5}, "taken back": {DAYS[1]: -1.0}}),
        Chart("burn", "Budget", "Spent.", DAYS, (Series("spent", (1.0, 2.0, None)),), (None, 2.0, 2.5), (None, 2.0, 4.0), (("hard limit", 3.0),)),
        Chart("bars", "Saved", "By rule.", ("one", "two"), (Series("saved", (3.0, -1.0)),)),
        Chart("heat", "Where", "By tier.", ("fast", "reasoning"), (Series("public", (1.0, 0.0)), Series("internal", (0.0, 2.0)))),
        stacked("Nothing", "Nothing was spent.", (), {}),
    ],
    ids=lambda chart: chart.kind + str(len(chart.labels)),
)  # fmt: skip
def test_a_picture_says_what_it_is_and_keeps_text_as_text(chart: Chart, cache: Path) -> None:
    root = ElementTree.fromstring(drawn(chart, "svg", cache))  # noqa: S314 - drawn by us
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "t d")
    assert (root.findtext(f"{SVG}title"), root.findtext(f"{SVG}desc")) == (chart.title, chart.told)
    told = [text.text or "" for text in root.iter(f"{SVG}text")]
    if chart.labels:
        assert set(chart.labels) & set(told)
    assert drawn(chart, "png", cache).startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_refused_and_the_next_one_is_drawn(cache: Path) -> None:
    crooked = Chart("stacked", "Crooked", "", DAYS, (Series("a", (1.0,)),))

    async def run() -> bytes:
        artist = Artist(cache)
        try:
            with pytest.raises(Unavailable):
                await artist.draw(crooked, "svg")
            return await artist.draw(stacked("Straight", "", DAYS, {"a": {DAYS[0]: 1.0}}), "svg")
        finally:
            await artist.close()

    assert b"Straight" in asyncio.run(run())


def environments() -> list[bytes]:
    """What the children of this process that draw were given."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        Path(f"/proc/{pid}/environ").read_bytes()
        for pid in children
        if b"chart_painter" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_one_child_draws_for_all_and_sees_nothing_secret(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_SECRET_KEY", "not for it")
    chart = stacked("Spend", "", DAYS, {"a": {DAYS[0]: 1.0}})

    async def run() -> None:
        artist = Artist(cache)
        try:
            await asyncio.gather(*(artist.draw(chart, form) for form in ("svg", "png", "svg")))
            painters = environments()
            assert len(painters) == 1
            assert b"ROUTER_SECRET_KEY" not in painters[0]
        finally:
            await artist.close()

    asyncio.run(run())
