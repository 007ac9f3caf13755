"""The decision table as rows that can be edited one by one: routes.yaml in and out, with its comments and what nobody touched kept."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import date, timedelta
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from router.errors import Refused
from routing_rules.edit import WIDEST_LINE
from routing_rules.faults import Fault
from routing_rules.rules import DIMENSIONS, ORDERED_DIMENSIONS

FILE = "routes.yaml"
PARTS = ("prohibitions", "step_ups", "routes")
EFFECTS = {"prohibitions": "forbid", "step_ups": "step up", "routes": "route"}
CODES = (
    "not_permitted_by_rule",
    "sensitivity_not_permitted",
    "purpose_not_permitted",
    "tool_not_entitled",
    "tool_combination_prohibited",
)
WISHES = ("override", "honour", "refuse")
OBLIGATIONS = ("drain", "cancel", "no_store", "screen_output")


class Cell(msgspec.Struct, frozen=True):
    """One condition of a rule: the words it admits, and all it could."""

    dimension: str
    chosen: tuple[str, ...]
    words: tuple[str, ...]
    ordered: bool


class Row(msgspec.Struct, frozen=True):
    """One rule as the table shows it. `place` counts through all three parts; `faults` are those of its lines."""

    place: int
    part: str
    effect: str
    id: str
    owner: str
    reason: str
    when: tuple[tuple[str, str], ...]
    tier: str
    fallback: tuple[str, ...]
    entitlement_set: str
    budget: str
    obligations: tuple[str, ...]
    code: str
    first_day: str
    last_day: str
    ended: bool
    faults: tuple[Fault, ...] = ()


class Editor(msgspec.Struct, frozen=True):
    """The row that is being edited, with the choices of each of its cells."""

    row: Row
    remedy: str
    wish: str
    internal_only: bool
    hints: bool
    cells: tuple[Cell, ...]


class Table:
    """The table in the text of routes.yaml. Raises Refused(`invalid_request`) for a text that is no such file."""

    def __init__(self, text: str) -> None:
        self._yaml = YAML(typ="rt")
        self._yaml.preserve_quotes = True
        self._yaml.width = WIDEST_LINE
        self._yaml.indent(mapping=2, sequence=4, offset=2)
        try:
            top = self._yaml.load(text)
        except (YAMLError, ValueError, RecursionError):
            raise Refused("invalid_request", f"{FILE} is not valid YAML: put the text right first") from None
        self._top = top if isinstance(top, CommentedMap) else CommentedMap()

    def text(self) -> str:
        """The file as it is now."""
        out = io.StringIO()
        self._yaml.dump(self._top, out)
        return out.getvalue()

    def rows(self, today: date, faults: Sequence[Fault] = ()) -> tuple[Row, ...]:
        """The table. Faults in a rule's lines stand in its row."""
        of_row = _by_row(self.text(), faults)
        return tuple(_row(place, part, rule, today, of_row.get(place, ())) for place, (part, _, rule) in enumerate(self._all()))

    def editor(self, place: int, governed: Mapping[str, tuple[str, ...]], today: date, faults: Sequence[Fault]) -> Editor:
        """One row with all its choices. `governed` are the words of the dimensions that the organisation owns."""
        row = self.rows(today, faults)[place]
        rule = self._at(place)
        when, then = _mapping(rule.get("when")), _mapping(rule.get("then"))
        words = {**DIMENSIONS, **governed}
        cells = [
            Cell(name, _chosen(when.get(name), each), each, name in ORDERED_DIMENSIONS) for name, each in words.items() if each
        ]
        cells.sort(key=lambda cell: not cell.chosen)
        return Editor(
            row=row,
            remedy=str(rule.get("remedy") or ""),
            wish=str(then.get("wish") or "override"),
            internal_only=bool(then.get("internal_only")),
            hints=bool(then.get("hints")),
            cells=tuple(cells),
        )

    def apply(
        self, place: int, form: Mapping[str, str], lists: Mapping[str, Sequence[str]], governed: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Take over what the fields of a row say. What they do not change stays as it is written."""
        rule = self._at(place)
        for name, field in (("id", "id"), ("owner", "owner"), ("reason", "reason_of_rule"), ("remedy", "remedy")):
            _put(rule, name, " ".join(form.get(field, "").split()))
        for name in ("from", "until"):
            _put(rule, name, _day(form.get(name, "")))
        when = rule.get("when")
        if not isinstance(when, CommentedMap):
            when = CommentedMap()
            when.fa.set_flow_style()
        for name, words in {**DIMENSIONS, **governed}.items():
            chosen = tuple(word for word in words if word in lists.get(f"when.{name}", ()))
            if chosen == _chosen(when.get(name), words):
                continue
            if not chosen or len(chosen) == len(words):
                when.pop(name, None)
            else:
                when[name] = str(chosen[0]) if len(chosen) == 1 else _flow(chosen)
        if when:
            if "when" not in rule:
                rule.insert(min(3, len(rule)), "when", when)
        else:
            rule.pop("when", None)
        part = self._all()[place][0]
        if part == "prohibitions":
            _put(rule, "code", form.get("code", ""))
        if part == "routes":
            self._then(rule, form, lists)

    def move(self, place: int, by: int) -> int:
        """Move a rule up or down within its part; where it is now."""
        part, index, _ = self._all()[place]
        items = self._top[part]
        to = index + by
        if not 0 <= to < len(items):
            return place
        items[index], items[to] = items[to], items[index]
        return place + by

    def copy(self, place: int) -> int:
        """Put a copy of a rule below it; where the copy is."""
        part, index, rule = self._all()[place]
        twin = deepcopy(rule)
        twin["id"] = self._free(f"{rule.get('id', 'rule')}-copy")
        self._top[part].insert(index + 1, twin)
        return place + 1

    def add(self, part: str, owner: str, like: Mapping[str, str]) -> int:
        """Put a new rule first in a part, so that it is asked before the others; where it is."""
        rule = CommentedMap({"id": self._free("new-rule"), "owner": owner, "reason": "why this rule is there"})
        if part == "routes":
            then = CommentedMap(dict(like))
            then.fa.set_flow_style()
            rule["then"] = then
        items = self._top.get(part)
        if not isinstance(items, CommentedSeq):
            items = self._top[part] = CommentedSeq()
        items.insert(0, rule)
        return next(each for each, (name, index, _) in enumerate(self._all()) if (name, index) == (part, 0))

    def remove(self, place: int) -> None:
        """Take a rule out."""
        part, index, _ = self._all()[place]
        del self._top[part][index]

    def end(self, place: int, today: date) -> None:
        """Disable a rule: its last day was yesterday. Once more: it is in force again."""
        rule = self._at(place)
        last = rule.get("until")
        if isinstance(last, date) and last < today:
            rule.pop("until")
        else:
            rule["until"] = today - timedelta(days=1)

    def _then(self, rule: CommentedMap, form: Mapping[str, str], lists: Mapping[str, Sequence[str]]) -> None:
        then = rule.get("then")
        if not isinstance(then, CommentedMap):
            then = rule["then"] = CommentedMap()
            then.fa.set_flow_style()
        for name in ("tier", "set", "budget"):
            _put(then, name, form.get(name, ""))
        for name in ("fallback_tiers", "obligations"):
            # What the form has no box for (an order of tiers, an obligation that follows from another key) is left alone.
            chosen = [word for word in lists.get(name, ()) if word and word != form.get("tier")]
            present = [str(word) for word in then.get(name) or ()]
            if set(chosen) != set(present):
                _put(
                    then,
                    name,
                    _flow([*(word for word in present if word in chosen), *(word for word in chosen if word not in present)])
                    if chosen
                    else None,
                )
        wish = form.get("wish", "override")
        if wish != str(then.get("wish") or "override"):
            _put(then, "wish", wish if wish != "override" else None)
        for name in ("internal_only", "hints"):
            if bool(form.get(name)) != bool(then.get(name)):
                _put(then, name, True if form.get(name) else None)

    def _free(self, id: str) -> str:
        taken = {str(rule.get("id")) for _, _, rule in self._all()}
        return next(each for each in (id, *(f"{id}-{number}" for number in range(2, 10_000))) if each not in taken)

    def _at(self, place: int) -> CommentedMap:
        rules = self._all()
        if not 0 <= place < len(rules):
            raise Refused("invalid_request", "there is no such row")
        return rules[place][2]

    def _all(self) -> list[tuple[str, int, CommentedMap]]:
        return [
            (part, index, rule)
            for part in PARTS
            for index, rule in enumerate(_list(self._top.get(part)))
            if isinstance(rule, CommentedMap)
        ]


def _by_row(text: str, faults: Sequence[Fault]) -> dict[int, tuple[Fault, ...]]:
    """Which faults stand in which row: a row reaches from the line of its id to the next one's. Rows follow one another in the order of
    the table, whatever the order of the parts in the file."""
    starts: dict[str, list[int]] = {part: [] for part in PARTS}
    part = ""
    for number, line in enumerate(text.splitlines(), 1):
        head = line.partition(":")[0]
        if head in starts:
            part = head
        elif part and re.match(r"^\s*- ", line) and len(line) - len(line.lstrip()) <= 4:
            starts[part].append(number)
    lines = sorted((line, place) for place, line in enumerate(line for each in PARTS for line in starts[each]))
    found: dict[int, list[Fault]] = {}
    for fault in faults:
        if fault.file == FILE and fault.line:
            before = [place for line, place in lines if line <= fault.line]
            if before:
                found.setdefault(before[-1], []).append(fault)
    return {place: tuple(each) for place, each in found.items()}


def _row(place: int, part: str, rule: CommentedMap, today: date, faults: tuple[Fault, ...]) -> Row:
    then = _mapping(rule.get("then"))
    last = rule.get("until")
    return Row(
        place=place,
        part=part,
        effect=EFFECTS[part],
        id=str(rule.get("id", "")),
        owner=str(rule.get("owner", "")),
        reason=str(rule.get("reason", "")),
        when=tuple((str(name), _told(value)) for name, value in _mapping(rule.get("when")).items()),
        tier=str(then.get("tier", "")),
        fallback=_words(then.get("fallback_tiers")),
        entitlement_set=str(then.get("set", "")),
        budget=str(then.get("budget", "")),
        obligations=(
            *_words(then.get("obligations")),
            *(("mask " + ", ".join(_words(then.get("mask"))),) if then.get("mask") else ()),
        ),
        code=str(rule.get("code", CODES[0])),
        first_day=str(rule.get("from") or ""),
        last_day=str(last or ""),
        ended=isinstance(last, date) and last < today,
        faults=faults,
    )


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{str(name).replace('_', ' ')} {word}" for name, word in value.items())
    return ", ".join(_words(value))


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(word) for word in value) if isinstance(value, list | tuple) else (str(value),)


def _chosen(value: Any, words: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        first, last = value.get("at_least"), value.get("at_most")
        low = words.index(str(first)) if str(first) in words else 0
        high = words.index(str(last)) if str(last) in words else len(words) - 1
        return tuple(words[low : high + 1])
    named = _words(value)
    return tuple(word for word in words if word in named)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _put(mapping: CommentedMap, name: str, value: Any) -> None:
    if value in (None, ""):
        mapping.pop(name, None)
    elif mapping.get(name) != value:
        mapping[name] = value


def _day(text: str) -> date | str | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError:
        return text.strip()  # the check says what is wrong with it


def _flow(words: Sequence[str]) -> CommentedSeq:
    found = CommentedSeq([str(word) for word in words])
    found.fa.set_flow_style()
    return found
