"""Detectors from a rule file in the format of gitleaks (`gitleaks.toml`), for the same engine as the shipped ones."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import re2

from classifiers.sensitivity.kinds.rule import Rule
from classifiers.sensitivity.validators import Check, entropy

Struck = Callable[[str, str, str], bool]

_TOP = frozenset({"title", "description", "minVersion", "rules", "allowlist", "allowlists"})
_OF_A_RULE = frozenset(
    {"id", "description", "regex", "secretGroup", "entropy", "keywords", "tags", "path", "allowlist", "allowlists"}
)
_OF_AN_ALLOWLIST = frozenset(
    {"description", "condition", "regexes", "regexTarget", "stopwords", "paths", "commits", "targetRules"}
)
_TARGETS = ("secret", "match", "line")


def rules_from(text: str) -> tuple[Rule, ...]:
    """The detectors that a rule file describes. Raises ValueError with the id of the rule and the reason.

    Their category is `credentials`, their kind the rule's id. Paths and commits of allow lists never apply, since a
    request has neither; for the same reason a rule's `path` is ignored, and a rule with nothing but a path is refused.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    _known("the file", document, _TOP)
    entries = _tables("the file", document.get("rules", []))
    identifiers = [_identifier(number, entry) for number, entry in enumerate(entries, 1)]
    for identifier in identifiers:
        if identifiers.count(identifier) > 1:
            raise ValueError(f"rule `{identifier}`: the id is used twice")
    common = _allow_lists("the file", document)
    rules = []
    for identifier, entry in zip(identifiers, entries, strict=True):
        of_all = [lists for lists in common if identifier in lists.get("targetRules", [identifier])]
        rules.append(_rule(identifier, entry, of_all))
    return tuple(rules)


def _identifier(number: int, entry: Mapping[str, Any]) -> str:
    identifier = entry.get("id")
    if not isinstance(identifier, str) or not identifier:
        raise ValueError(f"rule {number}: `id` must be a text")
    return identifier


def _rule(identifier: str, entry: Mapping[str, Any], of_all: list[Mapping[str, Any]]) -> Rule:
    where = f"rule `{identifier}`"
    _known(where, entry, _OF_A_RULE)
    pattern = entry.get("regex")
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"{where}: `regex` must be a text; names of files are not looked at here")
    groups = _compiled(where, pattern).groups
    group, least = entry.get("secretGroup", 0), entry.get("entropy", 0)
    if not isinstance(group, int) or isinstance(group, bool) or not 0 <= group <= groups:
        raise ValueError(f"{where}: `secretGroup` must name one of the {groups} groups of the regex")
    if not isinstance(least, int | float) or isinstance(least, bool):
        raise ValueError(f"{where}: `entropy` must be a number")
    allow_lists = [*of_all, *_allow_lists(where, entry)]
    allowed = [_struck(where, lists) for lists in allow_lists]
    return Rule(
        id=identifier,
        category="credentials",
        kind=identifier,
        pattern=pattern,
        group=group,
        anywhere=tuple(word.lower() for word in _texts(where, "keywords", entry)),
        check=_random_enough(float(least)) if least else None,
        struck=_any_of(allowed) if allowed else None,
        score=0.85,
        specific=3,
        own=True,
        detail=json.dumps([entry, allow_lists], sort_keys=True, default=str),
    )


def _allow_lists(where: str, entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    old = [entry["allowlist"]] if "allowlist" in entry else []
    return [*_tables(where, old), *_tables(where, entry.get("allowlists", []))]


def _struck(where: str, lists: Mapping[str, Any]) -> Struck:
    """Whether an allow list strikes a match off, given the secret, the match and the line it stands on."""
    _known(where, lists, _OF_AN_ALLOWLIST)
    target, condition = lists.get("regexTarget", "secret"), lists.get("condition", "OR")
    if target not in _TARGETS:
        raise ValueError(f"{where}: `regexTarget` must be one of {', '.join(_TARGETS)}")
    if condition not in ("OR", "AND", "||", "&&", "or", "and"):
        raise ValueError(f"{where}: `condition` must be OR or AND")
    regexes = [_compiled(where, pattern) for pattern in _texts(where, "regexes", lists)]
    words = [word.lower() for word in _texts(where, "stopwords", lists)]
    elsewhere = bool(_texts(where, "paths", lists) or _texts(where, "commits", lists))
    every = condition in ("AND", "&&", "and")
    index = _TARGETS.index(target)

    def struck(*given: str) -> bool:
        if every and elsewhere:  # asks for a path or a commit, and there is none
            return False
        by_regex = any(regex.search(given[index]) for regex in regexes)
        by_word = any(word in given[0].lower() for word in words)
        if every:
            return (by_regex or not regexes) and (by_word or not words) and bool(regexes or words)
        return by_regex or by_word

    return struck


def _any_of(allowed: list[Struck]) -> Struck:
    return lambda secret, match, line: any(one(secret, match, line) for one in allowed)


def _random_enough(least: float) -> Check:
    return lambda value: entropy(value) > least


def _compiled(where: str, pattern: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"{where}: a regex does not compile: {reason}") from None


def _known(where: str, entry: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in entry:
        if name not in names:
            raise ValueError(f"{where}: `{name}` is not supported")


def _tables(where: str, value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError(f"{where}: rules and allow lists must be tables")
    return value


def _texts(where: str, name: str, entry: Mapping[str, Any]) -> list[str]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: `{name}` must be a list of texts")
    return value
