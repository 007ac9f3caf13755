"""Geometry of drawings that templates turn into SVG: bars over one axis, and boxes in columns with lines between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

BAR, GAP = 16, 6
LABELS = 150
BOX, SPACE = 26, 10
HEAD = 26


class Bar(msgspec.Struct, frozen=True):
    """A bar with its name at the left and its value at its end."""

    label: str
    told: str
    x: float
    y: int
    width: float
    second: bool = False


class Bars(msgspec.Struct, frozen=True):
    """Bars below one another."""

    width: int
    height: int
    bars: tuple[Bar, ...]


class Box(msgspec.Struct, frozen=True):
    """Something with a name. `kind` is a word of the style sheet; `note` stands beside the name."""

    x: int
    y: int
    width: int
    label: str
    note: str = ""
    kind: str = ""


class Edge(msgspec.Struct, frozen=True):
    """A line from one box to another, as an SVG path."""

    path: str
    kind: str = ""


class Graph(msgspec.Struct, frozen=True):
    """Boxes in columns, each with a heading, and the lines between them."""

    width: int
    height: int
    heads: tuple[Box, ...]
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def bars(rows: Sequence[tuple[str, float, str]], width: int = 560, labels: int = LABELS) -> Bars:
    """Bars of (name, value, value as told); the longest takes the whole width."""
    longest = max((value for _, value, _ in rows), default=0.0) or 1.0
    room = width - labels - 80
    made = tuple(
        Bar(name, told, labels, place * (BAR + GAP), round(max(room * value / longest, 1.0), 1))
        for place, (name, value, told) in enumerate(rows)
    )
    return Bars(width, max(len(rows) * (BAR + GAP), 1), made)


def graph(
    columns: Sequence[tuple[str, Sequence[tuple[str, str, str, str]]]], links: Iterable[tuple[str, str, str]], width: int = 1000
) -> Graph:
    """A graph of columns, each (heading, boxes as (id, name, note, kind)), and links as (id, id, kind) from left to right."""
    box_width = int(width / (len(columns) + (len(columns) - 1) * 0.55))
    step = box_width * 1.55
    tallest = max((len(boxes) for _, boxes in columns), default=1) or 1
    height = HEAD + tallest * (BOX + SPACE)
    places: dict[str, tuple[float, float]] = {}
    heads, made = [], []
    for number, (heading, boxes) in enumerate(columns):
        x = int(number * step)
        heads.append(Box(x, 14, box_width, heading))
        room = (height - HEAD) / max(len(boxes), 1)
        for place, (key, name, note, kind) in enumerate(boxes):
            y = int(HEAD + place * room + (room - BOX) / 2)
            places[key] = (x, y + BOX / 2)
            made.append(Box(x, y, box_width, _fitting(name, box_width), note, kind))
    edges = [_edge(places, one, other, box_width, kind) for one, other, kind in links if one in places and other in places]
    return Graph(width, height, tuple(heads), tuple(made), tuple(edges))


def _edge(places: Mapping[str, tuple[float, float]], one: str, other: str, box_width: int, kind: str) -> Edge:
    (x, y), (to_x, to_y) = places[one], places[other]
    start, middle = x + box_width, (x + box_width + to_x) / 2
    return Edge(f"M{start:.0f} {y:.0f}C{middle:.0f} {y:.0f} {middle:.0f} {to_y:.0f} {to_x:.0f} {to_y:.0f}", kind)


def _fitting(name: str, width: int) -> str:
    most = max(int(width / 7), 4)
    return name if len(name) <= most else f"{name[: most - 1]}…"
