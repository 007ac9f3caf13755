"""Whether the arguments of a tool call keep to the JSON Schema that the tool's owner wrote for them (pure).

The part of JSON Schema that constrains values is understood; a word that is not understood is an error, never passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec
import re2

MOST_DEPTH = 32
_SAYS_NOTHING = frozenset({"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated", "format"})
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1,
}


class NotUnderstood(ValueError):
    """A schema that cannot be checked here."""


def keeps_to(schema: str, value: Any) -> bool:
    """Whether a decoded JSON value is valid under a schema, given as JSON. Raises NotUnderstood for a schema that uses more
    than is understood, and for one or a value that is nested too deeply."""
    return _valid(_decoded(schema), value, 0)


@lru_cache(maxsize=512)
def _decoded(schema: str) -> Any:
    try:
        return msgspec.json.decode(schema)
    except (ValueError, RecursionError):
        raise NotUnderstood("no JSON") from None


def _valid(schema: Any, value: Any, depth: int) -> bool:
    if depth > MOST_DEPTH:
        raise NotUnderstood("nested too deeply")
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise NotUnderstood("a schema is an object or a truth value")
    return all(_word(word, schema, value, depth) for word in schema)


def _word(word: str, schema: dict[str, Any], value: Any, depth: int) -> bool:
    wanted = schema[word]
    if word in _SAYS_NOTHING:
        return True
    if word == "type":
        return any(_TYPES[name](value) for name in ([wanted] if isinstance(wanted, str) else wanted))
    if word == "enum":
        return any(_same(each, value) for each in wanted)
    if word == "const":
        return _same(wanted, value)
    if word in ("allOf", "anyOf", "oneOf"):
        valid = [_valid(each, value, depth + 1) for each in wanted]
        return all(valid) if word == "allOf" else any(valid) if word == "anyOf" else sum(valid) == 1
    if word == "not":
        return not _valid(wanted, value, depth + 1)
    for kind, checks in _CHECKS.items():
        if word in checks:
            return not _TYPES[kind](value) or checks[word](wanted, value, schema, depth)
    raise NotUnderstood(f"the word `{word[:40]}` is not understood")


def _same(wanted: Any, value: Any) -> bool:
    return isinstance(wanted, bool) == isinstance(value, bool) and bool(wanted == value)


def _additional(wanted: Any, value: dict[str, Any], schema: dict[str, Any], depth: int) -> bool:
    known = schema.get("properties", {})
    return all(_valid(wanted, each, depth + 1) for name, each in value.items() if name not in known)


def _matches(pattern: str, value: str) -> bool:
    try:
        return re2.search(pattern, value) is not None
    except re2.error:
        raise NotUnderstood("a pattern that is not understood") from None


_Check = Callable[[Any, Any, dict[str, Any], int], bool]
_CHECKS: Mapping[str, Mapping[str, _Check]] = {
    "object": {
        "required": lambda wanted, value, schema, depth: all(name in value for name in wanted),
        "properties": lambda wanted, value, schema, depth: all(
            _valid(wanted[name], each, depth + 1) for name, each in value.items() if name in wanted
        ),
        "additionalProperties": _additional,
        "maxProperties": lambda wanted, value, schema, depth: len(value) <= wanted,
        "minProperties": lambda wanted, value, schema, depth: len(value) >= wanted,
    },
    "array": {
        "items": lambda wanted, value, schema, depth: all(_valid(wanted, each, depth + 1) for each in value),
        "maxItems": lambda wanted, value, schema, depth: len(value) <= wanted,
        "minItems": lambda wanted, value, schema, depth: len(value) >= wanted,
    },
    "string": {
        "maxLength": lambda wanted, value, schema, depth: len(value) <= wanted,
        "minLength": lambda wanted, value, schema, depth: len(value) >= wanted,
        "pattern": lambda wanted, value, schema, depth: _matches(wanted, value),
    },
    "number": {
        "minimum": lambda wanted, value, schema, depth: value >= wanted,
        "maximum": lambda wanted, value, schema, depth: value <= wanted,
        "exclusiveMinimum": lambda wanted, value, schema, depth: value > wanted,
        "exclusiveMaximum": lambda wanted, value, schema, depth: value < wanted,
        "multipleOf": lambda wanted, value, schema, depth: value % wanted == 0,
    },
}
