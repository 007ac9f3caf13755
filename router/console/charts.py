"""Charts of the finance pages as values, and the process beside the worker that draws them.

What draws takes some 65 MB and a second or two to import, more than a worker that serves apps may grow by: a child does it, is kept
for a minute after the last chart, and ends with its worker.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from router.errors import Unavailable

FORMS = {"svg": "image/svg+xml", "png": "image/png"}
MOST_SERIES = 7
"""Colours that people tell apart; what is left over is drawn together."""

OTHERS = "all others"
MOST_BYTES = 8 * 1024 * 1024
DRAWN_IN_SECONDS = 30.0
KEPT_SECONDS = 60.0
INHERITED = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TMPDIR", "MPLCONFIGDIR")
"""What the child sees of the environment: nothing that is secret."""


class Series(msgspec.Struct, frozen=True):
    """One line, or one part of each column, with a value for each label; None: there is none."""

    name: str
    values: tuple[float | None, ...]


class Chart(msgspec.Struct, frozen=True):
    """What is drawn, in dollars. `told` says in a sentence what there is to be seen.

    stacked: a column for each label, of all series; burn: lines, the area between `low` and `high`, and level `limits`; bars: a
    bar for each label; heat: a row for each series, a column for each label.
    """

    kind: Literal["stacked", "burn", "bars", "heat"]
    title: str
    told: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    limits: tuple[tuple[str, float], ...] = ()


class Order(msgspec.Struct, frozen=True):
    """What the child is asked for."""

    chart: Chart
    form: str


def stacked(title: str, told: str, labels: Sequence[str], parts: Mapping[str, Mapping[str, float]]) -> Chart:
    """A chart of parts (name → label → value), the largest first; beyond `MOST_SERIES` they are added up."""
    ranked = sorted(parts, key=lambda name: (-sum(parts[name].values()), name))
    shown = ranked if len(ranked) <= MOST_SERIES else ranked[: MOST_SERIES - 1]
    series = [Series(name, tuple(parts[name].get(label, 0.0) for label in labels)) for name in shown]
    if rest := ranked[len(shown) :]:
        series.append(Series(OTHERS, tuple(sum(parts[name].get(label, 0.0) for name in rest) for label in labels)))
    return Chart("stacked", title, told, tuple(labels), tuple(series))


class Artist:
    """Draws charts, one after the other, in a child that is started for the first and ends a minute after the last."""

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache  # where the child remembers which fonts there are
        self._child: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._end: asyncio.TimerHandle | None = None

    async def draw(self, chart: Chart, form: str) -> bytes:
        """A chart in one of `FORMS`. Raises Unavailable where it cannot be drawn, or not in time."""
        order = msgspec.json.encode(Order(chart, form))
        async with self._lock:
            if self._end is not None:
                self._end.cancel()
            try:
                drawn = await asyncio.wait_for(self._drawn(order), DRAWN_IN_SECONDS)
            except (TimeoutError, OSError, EOFError) as error:
                await self.close()
                raise _failed(type(error).__name__) from None
            except asyncio.CancelledError:  # half an answer is on its way: nobody reads what follows it
                self._kill()
                raise
            self._end = asyncio.get_running_loop().call_later(KEPT_SECONDS, self._kill)
        if not drawn:
            raise _failed("it could not be drawn")
        return drawn

    async def close(self) -> None:
        """End the child, if there is one, and wait for that."""
        if (child := self._kill()) is not None:
            await child.communicate()

    def _kill(self) -> asyncio.subprocess.Process | None:
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            child.kill()
        return child

    async def _drawn(self, order: bytes) -> bytes:
        if self._child is None or self._child.returncode is not None:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "router.console.chart_painter",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=self._environment(),
            )
        orders, pictures = self._child.stdin, self._child.stdout
        if orders is None or pictures is None:
            raise EOFError
        orders.write(len(order).to_bytes(4) + order)
        await orders.drain()
        size = int.from_bytes(await pictures.readexactly(4))
        if size > MOST_BYTES:
            raise EOFError
        return await pictures.readexactly(size)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return kept if self._cache is None else {"MPLCONFIGDIR": str(self._cache), **kept}


def _failed(detail: str) -> Unavailable:
    message = "the chart could not be drawn; the table beside it says the same"
    return Unavailable("store_unavailable", message, detail=detail, retry_after=5.0)
