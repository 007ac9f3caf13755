"""JSON Schemas of the governed files, for editors: found by having the files read that there are none of, and noting what is asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, TypeVar, cast

from routing_rules.cases import FIRST_DAY, run_case
from routing_rules.faults import Severity
from routing_rules.layers import INCLUDE
from routing_rules.load import FILES, load, read, shipped
from routing_rules.reading import IDENTIFIER, Entry

T = TypeVar("T")

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
CASES = "cases.yaml"
"""The name under which the schema of the files in `cases/` is found."""

TURNS = 4
"""How often each file is read: where the way depends on a word, another word is answered each time."""

TEXT: Schema = {"type": ["string", "number", "boolean"]}
PARTS: Schema = {"anyOf": [{"type": "array", "items": {"type": "string"}, "uniqueItems": True}, {"type": "string"}]}
ANY_NAME = "*"


class _Open(str):
    """A word that an author chose, so that a list with it in it is not closed."""


class _Asked:
    """Stands for an `Entry` whose every key is there, and notes what is asked for under it."""

    def __init__(self, turn: int) -> None:
        self.file = ""
        self.line = self.column = 0
        self.readable = True
        self.faults: list[object] = []
        self._turn = turn
        self._found: dict[str, list[Schema]] = {}
        self._entries: dict[str, _Asked] = {}
        self._lists: dict[str, _Asked] = {}
        self._optional: set[str] = set()
        self._required: dict[str, None] = {}

    def schema(self) -> Schema:
        """What may stand here."""
        properties = dict(self._found)
        for key, entry in self._entries.items():
            properties.setdefault(key, []).append(entry.schema())
        for key, entry in self._lists.items():
            properties.setdefault(key, []).append({"type": "array", "items": entry.schema()})
        others = properties.pop(ANY_NAME, None)
        made: Schema = {"type": "object", "properties": {key: _either(found) for key, found in properties.items()}}
        made["additionalProperties"] = _either(others) if others else False
        required = [key for key in self._required if key not in self._optional and key != ANY_NAME]
        return made | ({"required": required} if required else {})

    def has(self, key: str) -> bool:
        if key not in self._required:
            self._optional.add(key)
        return True

    def fault(self, key: str | None, code: str, message: str, hint: str = "", severity: Severity = Severity.ERROR) -> None:
        """Nothing is wrong with what is not there."""

    def close(self) -> None:
        """Nothing is left over."""

    def keys(self) -> list[str]:
        return [ANY_NAME]

    def text(self, key: str, default: str | None = None) -> str:
        return self._note(key, TEXT, default is None, _Open(key))

    def maybe_text(self, key: str) -> str | None:
        return self._note(key, TEXT, False, _Open(key))

    def identifier(self, taken: Mapping[str, Any], key: str = "id") -> str:
        return self._note(key, {"type": ["string", "number"], "pattern": f"^{IDENTIFIER.pattern}$"}, True, _Open(key))

    def word(self, key: str, words: Collection[str], default: str | None = None) -> str:
        known = list(words)
        answer = known[self._turn % len(known)] if known else _Open(key)
        return self._note(key, _one_of(words), default is None, answer)

    def words(self, key: str, words: Collection[str] | None = None, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        item = TEXT if words is None else _one_of(words)
        several = {"type": "array", "items": item, "uniqueItems": True}
        answer = (_Open(key),) if not words else (list(words)[self._turn % len(words)],)
        return self._note(key, _either([several, item]), default is None, answer)

    def maybe_integer(self, key: str, least: int = 0) -> int | None:
        return self._note(key, {"type": "integer", "minimum": least}, False, None)

    def maybe_number(self, key: str) -> float | None:
        return self._note(key, {"type": "number", "exclusiveMinimum": 0}, False, None)

    def boolean(self, key: str, default: bool) -> bool:
        return self._note(key, {"type": "boolean", "default": default}, False, default)

    def maybe_nano(self, key: str) -> int | None:
        return self._note(key, {"type": ["number", "string"], "minimum": 0}, False, None)

    def maybe_day(self, key: str) -> date | None:
        return self._note(key, {"type": "string", "format": "date"}, False, None)

    def day(self, key: str) -> date:
        return self._note(key, {"type": "string", "format": "date"}, True, date.max)

    def scalar(self, key: str) -> str:
        return self._note(key, TEXT, True, "")

    def entry(self, key: str) -> _Asked:
        return self._entries.setdefault(key, _Asked(self._turn))

    def is_mapping(self, key: str) -> bool:
        return self._turn % 2 == 1

    def entries(self, key: str, required: bool = True) -> list[_Asked]:
        if required:
            self._required[key] = None
        return [self._lists.setdefault(key, _Asked(self._turn))]

    def _note(self, key: str, schema: Schema, required: bool, answer: T) -> T:
        self._found.setdefault(key, []).append(schema)
        if required:
            self._required[key] = None
        return answer


def schemas() -> dict[str, Schema]:
    """The schema of each governed file, and of the files in `cases/`, by name."""
    found: dict[str, list[Schema]] = {name: [] for name in (*FILES, CASES)}
    rules = load(shipped(FIRST_DAY.date()))
    rules = replace(rules, tiers=tuple(map(_Open, rules.tiers)), categories=(*rules.categories, _Open("")))
    for turn in range(TURNS):
        top = {name: _Asked(turn) for name in FILES}
        read(cast("Mapping[str, Entry]", top))
        for name, asked in top.items():
            found[name].append(asked.schema())
        cases = _Asked(turn)
        for case in cases.entries("cases"):
            run_case(rules, cast("Entry", case), FIRST_DAY)
        found[CASES].append(cases.schema())
    return {name: _published(name, _either(each)) for name, each in found.items()}


def written() -> dict[str, str]:
    """The schemas as files, by the names that the shipped files point to: `schemas/routes.json` for `routes.yaml`."""
    return {
        f"schemas/{name.removesuffix('.yaml')}.json": json.dumps(schema, indent=1) + "\n" for name, schema in schemas().items()
    }


def _published(name: str, schema: Schema) -> Schema:
    """Nothing is required at the top, so that parts and overlays of a file are described as well."""
    properties = schema["properties"]
    if name != CASES:
        properties = {
            INCLUDE: {"anyOf": [{"type": "array", "items": {"type": "string"}, "uniqueItems": True}, {"type": "string"}]}
        } | properties
    return {
        "$schema": DRAFT,
        "title": name,
        "type": "object",
        "properties": properties,
        "additionalProperties": schema["additionalProperties"],
    }


def _one_of(words: Collection[str]) -> Schema:
    closed = [str(word) for word in words if not isinstance(words, Mapping) and not isinstance(word, _Open)]
    if len(closed) == len(words):
        return {"enum": closed}
    return {"anyOf": [{"enum": closed}, TEXT]} if closed else TEXT


def _either(found: list[Schema]) -> Schema:
    """One schema for what was asked for in several ways. Mappings are one mapping with the keys of all."""
    distinct: list[Schema] = []
    for each in (way for schema in found for way in schema.get("anyOf", [schema])):
        same = next((i for i, other in enumerate(distinct) if other.get("type") == each.get("type") in ("object", "array")), None)
        if same is None:
            if each not in distinct:
                distinct.append(each)
        elif each["type"] == "array":
            distinct[same] = each | {"items": _either([distinct[same]["items"], each["items"]])}
        else:
            distinct[same] = _both(distinct[same], each)
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _both(one: Schema, other: Schema) -> Schema:
    if not one["properties"] and one["additionalProperties"] is False:
        return other
    if not other["properties"] and other["additionalProperties"] is False:
        return one
    names = dict.fromkeys([*one["properties"], *other["properties"]])
    properties = {
        name: _either([each["properties"][name] for each in (one, other) if name in each["properties"]]) for name in names
    }
    required = [name for name in one.get("required", ()) if name in other.get("required", ())]
    others = [each["additionalProperties"] for each in (one, other) if each["additionalProperties"] is not False]
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": _either(others) if others else False}
    return made | ({"required": required} if required else {})
