"""Whether arguments keep to an owner's schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routing_rules.constraints import NotUnderstood, keeps_to


@pytest.mark.parametrize(
    ("schema", "kept", "broken"),
    [
        ({"type": "string"}, "a", 1),
        ({"type": ["integer", "null"]}, None, "a"),
        ({"type": "integer"}, 3.0, 3.5),
        ({"type": "number"}, 1, True),
        ({"enum": ["a", 1]}, "a", True),
        ({"const": False}, False, 0),
        ({"maxLength": 2}, "ab", "abc"),
        ({"minLength": 2}, "ab", "a"),
        ({"pattern": "^[a-z]+@example\\.com$"}, "bob@example.com", "bob@evil.org"),
        ({"minimum": 1, "maximum": 3}, 2, 4),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 3}, 2, 3),
        ({"multipleOf": 5}, 10, 11),
        ({"items": {"type": "string"}, "maxItems": 1, "minItems": 1}, ["a"], ["a", "b"]),
        ({"required": ["a"]}, {"a": 1}, {}),
        ({"properties": {"a": {"maximum": 3}}}, {"a": 1, "b": 9}, {"a": 9}),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 9}, {"b": 1}),
        ({"maxProperties": 1, "minProperties": 1}, {"a": 1}, {"a": 1, "b": 1}),
        ({"anyOf": [{"const": 1}, {"const": 2}]}, 2, 3),
        ({"oneOf": [{"minimum": 1}, {"maximum": 1}]}, 2, 1),
        ({"allOf": [{"minimum": 1}, {"maximum": 1}]}, 1, 2),
        ({"not": {"const": 1}}, 2, 1),
        ({"title": "x", "description": "y", "default": 1, "format": "email"}, "a", None),
    ],
)
def test_values_are_checked(schema: dict[str, Any], kept: Any, broken: Any) -> None:
    text = json.dumps(schema)
    assert keeps_to(text, kept)
    if "title" not in schema:
        assert not keeps_to(text, broken)


@pytest.mark.parametrize("schema", ['{"$ref": "#/x"}', '{"if": {}}', "3", "{", '{"pattern": "("}', "[" * 5_000])
def test_what_is_not_understood_is_an_error(schema: str) -> None:
    with pytest.raises(NotUnderstood):
        keeps_to(schema, "a")


def test_a_value_that_is_nested_too_deeply_is_an_error() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(100):
        schema = {"allOf": [schema]}
    with pytest.raises(NotUnderstood):
        keeps_to(json.dumps(schema), 1)
