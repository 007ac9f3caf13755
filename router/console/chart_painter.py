"""Draws charts for a worker, as its child: orders come in on standard input, pictures go out on standard output."""

from __future__ import annotations

import io
import sys
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from router.console.charts import OTHERS, Chart, Order

INK, SOFT, LINE, PAPER = "#1b2430", "#4d5a6b", "#d9dee6", "#ffffff"
DARK = {INK: "#e4e9f0", SOFT: "#a6b2c1", LINE: "#2b3440", PAPER: "#181e26"}
"""The ink of the console by day, and what stands for it by night."""

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00")
"""Told apart by people who see red and green alike, and in grey by their order."""

GREY = "#8a94a3"
BAD = "#d55e00"
STROKES = (("-", COLOURS[0], 2.0), ("--", COLOURS[0], 2.0), (":", GREY, 1.4))
"""Of the lines of a burn-down: what was, what will be, and an even pace."""

WIDTH, HEIGHT, ROW = 9.0, 3.1, 0.34
MOST_COLUMNS = 92
"""Beyond, columns are drawn as an area."""

LABELS_WIDE = 104
"""So many letters stand beside each other below a chart."""

FONTS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'DejaVu Sans', sans-serif"

mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "chart",
        "text.parse_math": False,  # a name may hold a dollar sign
        "font.size": 8.5,
        "text.color": INK,
        "axes.edgecolor": LINE,
        "axes.labelcolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "grid.color": LINE,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
    }
)


def draw(chart: Chart, form: str) -> bytes:
    """The picture of a chart as `svg` or `png`."""
    tall = len(chart.labels) if chart.kind == "bars" else len(chart.series) if chart.kind == "heat" else 0
    height = max(ROW * tall + 0.8, 1.4) if tall else HEIGHT
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    {"stacked": _stacked, "burn": _burn, "bars": _bars, "heat": _heat}[chart.kind](axes, chart)
    axes.tick_params(length=0)
    out = io.BytesIO()
    if form == "png":
        figure.set_facecolor(PAPER)
        axes.set_title(_plain(chart.title), loc="left", fontsize=10)
        FigureCanvasAgg(figure).print_png(out, metadata={"Title": _plain(chart.title), "Description": _plain(chart.told)})  # type: ignore[no-untyped-call]
        return out.getvalue()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})  # type: ignore[no-untyped-call]
    return _told(out.getvalue().decode(), chart).encode()


def _stacked(axes: Axes, chart: Chart) -> None:
    places = range(len(chart.labels))
    below = [0.0] * len(chart.labels)
    under = [0.0] * len(chart.labels)  # what was taken back hangs below the line
    if len(chart.labels) > MOST_COLUMNS and all((value or 0) >= 0 for each in chart.series for value in each.values):
        axes.stackplot(
            list(places),
            [[value or 0.0 for value in each.values] for each in chart.series],
            labels=[_plain(each.name) for each in chart.series],
            colors=[_colour(place, each.name) for place, each in enumerate(chart.series)],
        )
    else:
        for place, each in enumerate(chart.series):
            values = [value or 0.0 for value in each.values]
            bottom = [low if value >= 0 else down for value, low, down in zip(values, below, under, strict=True)]
            axes.bar(
                places,
                values,
                bottom=bottom,
                width=0.82,
                label=_plain(each.name),
                color=_colour(place, each.name),
                edgecolor=PAPER,
                linewidth=0.4,
            )
            below = [low + max(value, 0.0) for low, value in zip(below, values, strict=True)]
            under = [down + min(value, 0.0) for down, value in zip(under, values, strict=True)]
    _money_up(axes)
    _labelled(axes, chart.labels)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles[::-1], names[::-1], loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, handlelength=1.0)


def _burn(axes: Axes, chart: Chart) -> None:
    places = list(range(len(chart.labels)))
    if chart.low and chart.high:
        span = [
            (at, low, high)
            for at, low, high in zip(places, chart.low, chart.high, strict=True)
            if low is not None and high is not None
        ]
        if span:
            at, lows, highs = zip(*span, strict=True)
            axes.fill_between(at, lows, highs, color=COLOURS[0], alpha=0.18, linewidth=0, label="interval of the forecast")
    for each, (style, colour, width) in zip(chart.series, STROKES, strict=False):
        points = [(at, value) for at, value in zip(places, each.values, strict=True) if value is not None]
        if points:
            at, values = zip(*points, strict=True)
            axes.plot(at, values, color=colour, linestyle=style, linewidth=width, label=_plain(each.name))
    for place, (name, value) in enumerate(chart.limits):
        colour = BAD if place == len(chart.limits) - 1 else COLOURS[1]
        axes.axhline(value, color=colour, linewidth=1.4, linestyle="-" if colour == BAD else "-.", label=_plain(name))
    if axes.get_ylim()[0] > 0 or not chart.limits:
        axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    _money_up(axes)
    _labelled(axes, chart.labels)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, handlelength=1.6)


def _bars(axes: Axes, chart: Chart) -> None:
    places = range(len(chart.labels))
    many = len(chart.series)
    for number, each in enumerate(chart.series):
        values = [value or 0.0 for value in each.values]
        shift = (number - (many - 1) / 2) * 0.76 / many
        held = axes.barh(
            [at + shift for at in places], values, height=0.72 / many, color=COLOURS[number], label=_plain(each.name)
        )
        axes.bar_label(held, [_dollars(value) for value in values], padding=4, color=SOFT)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.set_yticks(list(places), [_short(name, 34) for name in chart.labels])
    axes.tick_params(axis="y", colors=INK)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(lambda value, _: _dollars(value))
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6))
    axes.grid(axis="x", linewidth=0.7)
    axes.set_axisbelow(True)
    if many > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, handlelength=1.0)


def _heat(axes: Axes, chart: Chart) -> None:
    rows = [[value or 0.0 for value in each.values] for each in chart.series]
    most = max((value for row in rows for value in row), default=0.0) or 1.0
    for down, row in enumerate(rows):
        for across, value in enumerate(row):
            depth = (max(value, 0.0) / most) ** 0.5
            axes.add_patch(
                mpl.patches.Rectangle(
                    (across + 0.02, down + 0.05), 0.96, 0.9, facecolor=_mixed(depth), edgecolor=LINE, linewidth=0.6
                )
            )
            axes.text(
                across + 0.5,
                down + 0.5,
                _dollars(value),
                ha="center",
                va="center",
                color="#fffffe" if depth > 0.62 else "#1b2431",
            )
    axes.set_xlim(0, len(chart.labels))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks([place + 0.5 for place in range(len(chart.labels))], [_short(name, 22) for name in chart.labels])
    axes.set_yticks([place + 0.5 for place in range(len(rows))], [_short(each.name, 22) for each in chart.series])
    axes.xaxis.tick_top()
    axes.tick_params(colors=INK)
    axes.spines["bottom"].set_visible(False)


def _mixed(depth: float) -> str:
    """From almost white to a deep blue: light and dark say it, not the hue."""
    low, high = (0xEE, 0xF4, 0xFA), (0x08, 0x45, 0x7E)
    return "#" + "".join(f"{round(one + (other - one) * depth):02x}" for one, other in zip(low, high, strict=True))


def _money_up(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(lambda value, _: _dollars(value))
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)


def _labelled(axes: Axes, labels: tuple[str, ...]) -> None:
    longest = max((len(label) for label in labels), default=1)
    step = max(1, -(-len(labels) * (longest + 3) // LABELS_WIDE))
    places = list(range(0, len(labels), step))
    axes.set_xticks(places, [_plain(labels[place]) for place in places])
    if labels:
        axes.set_xlim(-0.6, len(labels) - 0.4)


def _colour(place: int, name: str) -> str:
    return GREY if name == OTHERS else COLOURS[place % len(COLOURS)]


def _dollars(value: float) -> str:
    sign, value = ("−", -value) if value < 0 else ("", value)
    if value == 0:
        return "$0"
    if value >= 1000:
        return f"{sign}${value:,.0f}"
    return f"{sign}${value:,.2f}" if value >= 0.1 else f"{sign}${value:.4f}" if value >= 0.0001 else f"{sign}${value:.1e}"


def _short(name: str, most: int) -> str:
    text = _plain(name)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plain(text: str) -> str:
    """Without what cannot stand in a picture."""
    return "".join(each if each.isprintable() else "�" for each in text)


def _told(svg: str, chart: Chart) -> str:
    """The picture with its title and description, and with a night form."""
    head, _, rest = svg.partition("<svg ")
    attributes, _, body = rest.partition(">")
    night = "".join(
        f'[style*="fill: {day}"]{{fill:{night}!important}}[style*="stroke: {day}"]{{stroke:{night}!important}}'
        for day, night in DARK.items()
    )
    style = f"text{{font-family:{FONTS}!important}}@media (prefers-color-scheme:dark){{{night}}}"
    told = f'<title id="t">{escape(_plain(chart.title))}</title><desc id="d">{escape(_plain(chart.told))}</desc>'
    return f'{head}<svg role="img" aria-labelledby="t d" {attributes}>{told}<style>{style}</style>{body}'


def serve(orders: BinaryIO, pictures: BinaryIO) -> None:
    """Draw what is ordered until nobody orders any more. An empty picture: it could not be drawn."""
    decoder = msgspec.json.Decoder(Order)
    while len(head := orders.read(4)) == 4:
        order = decoder.decode(orders.read(int.from_bytes(head)))
        try:
            drawn: Any = draw(order.chart, order.form)
        except (ValueError, TypeError, IndexError, RuntimeError):
            drawn = b""
        pictures.write(len(drawn).to_bytes(4) + drawn)
        pictures.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
