"""`sensitivity.yaml` to the organisation's policy: what evidence counts as, and the detectors of its own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable

import re2

from routing_rules.faults import did_you_mean
from routing_rules.reading import Entry
from routing_rules.sensitivity import COMPLEXITY_TARGETS, CodeNames, ComplexityPolicy, CustomPattern, SensitivityPolicy
from routing_rules.vocabulary import CATEGORIES, Sensitivity

LEVELS = tuple(str(level) for level in Sensitivity)
UNREADABLE = ("image", "audio", "file", "remote", "encrypted")
REFUSE = "refuse"

_HASH = re.compile(r"[0-9a-f]{16}")
_KEY_ID = re.compile(r"[0-9a-f]{8}")


def read_sensitivity(top: Entry, gitleaks: str = "", calibrated: str = "") -> tuple[SensitivityPolicy, tuple[str, ...]]:
    """The policy, and all categories there are. `gitleaks` is the text of the rule file in that format, kept for the detectors,
    `calibrated` that of a model of complexity, which counts only where the policy names its version."""
    own = top.words("own_categories", default=())
    for category in own:
        if category in CATEGORIES:
            top.fault("own_categories", "duplicate_word", f"`{category}` is a category already")
    categories = (*CATEGORIES, *own)
    plain = SensitivityPolicy()
    patterns = _patterns(top, categories)
    many, bulk = top.maybe_integer("many", least=2), top.maybe_integer("bulk", least=2)
    unmapped = top.word("unmapped_label", (*LEVELS, REFUSE), str(plain.unmapped_label))
    examples = top.entry("gitleaks_examples")
    positive, negative = _examples(examples) if examples is not None else ((), ())
    if examples is not None:
        examples.close()
    policy = SensitivityPolicy(
        floor=_level(top, "floor", plain.floor),
        categories=_levels(top, "categories", categories),
        kinds=_levels(top, "kinds"),
        topics=_levels(top, "topics"),
        unreadable=_levels(top, "unreadable", UNREADABLE),
        unscanned=_level(top, "unscanned", plain.unscanned),
        labels=_levels(top, "labels"),
        unmapped_label=plain.unmapped_label if unmapped == REFUSE else _sensitivity(unmapped),
        refuse_unmapped=unmapped == REFUSE,
        label_fields=top.words("label_fields", default=plain.label_fields),
        many=plain.many if many is None else many,
        bulk=plain.bulk if bulk is None else bulk,
        allow_listed=frozenset(top.words("allow_listed", default=())),
        patterns=tuple(patterns.values()),
        thresholds=_scores(top, "thresholds"),
        topic_thresholds=_scores(top, "topic_thresholds"),
        level_names=_names(top),
        code_names=_code_names(top, categories, patterns),
        complexity=_complexity(top, calibrated),
        gitleaks=gitleaks,
        gitleaks_positive=positive,
        gitleaks_negative=negative,
    )
    return policy, categories


def _patterns(top: Entry, categories: tuple[str, ...]) -> dict[str, CustomPattern]:
    found: dict[str, CustomPattern] = {}
    for entry in top.entries("patterns", required=False):
        id = entry.identifier(found)
        pattern, terms = entry.maybe_text("pattern"), entry.words("terms", default=())
        if (pattern is None) == (not terms):
            entry.fault(None, "wrong_type", "expected either `pattern` or `terms`")
        if pattern is not None and (reason := _why_not(pattern)):
            entry.fault(
                "pattern", "bad_pattern", f"RE2, which runs in linear time, does not take the pattern of `{id}`: {reason}"
            )
        score = _score(entry, "score")
        positive, negative = _examples(entry)
        found[id] = CustomPattern(
            id=id,
            category=entry.word("category", categories),
            level=_sensitivity(entry.word("level", LEVELS)),
            pattern=pattern,
            terms=terms,
            score=CustomPattern(id, "", Sensitivity.PUBLIC).score if score is None else score,
            positive=positive,
            negative=negative,
            line=entry.line,
            column=entry.column,
        )
        entry.close()
    return found


def _examples(entry: Entry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return entry.words("positive", default=()), entry.words("negative", default=())


def _code_names(top: Entry, categories: tuple[str, ...], taken: dict[str, CustomPattern]) -> tuple[CodeNames, ...]:
    found: dict[str, CodeNames] = {}
    for entry in top.entries("code_names", required=False):
        id = entry.identifier({**taken, **found})
        key_id, hashes = entry.text("key"), entry.words("hashes")
        if key_id and not _KEY_ID.fullmatch(key_id):
            entry.fault("key", "wrong_type", "expected the eight digits that `router rules hash-names` prints")
        if not all(map(_HASH.fullmatch, hashes)):
            entry.fault("hashes", "wrong_type", "expected hashes as `router rules hash-names` prints them, never the names")
        found[id] = CodeNames(
            id=id,
            category=entry.word("category", categories),
            level=_sensitivity(entry.word("level", LEVELS)),
            key_id=key_id,
            hashes=frozenset(hashes),
            line=entry.line,
            column=entry.column,
        )
        entry.close()
    return tuple(found.values())


def _levels(top: Entry, key: str, names: Iterable[str] | None = None) -> dict[str, Sensitivity]:
    """A mapping from names to sensitivities."""
    entry = top.entry(key)
    if entry is None:
        return {}
    known = None if names is None else list(names)
    found = {}
    for name in entry.keys():
        if known is not None and name not in known:
            hint = did_you_mean(name, known) or f"expected one of {', '.join(f'`{each}`' for each in known)}"
            entry.fault(name, "unknown_word", f"unknown name `{name}` under `{key}`", hint)
        found[name] = _sensitivity(entry.word(name, LEVELS))
    return found


def _scores(top: Entry, key: str) -> dict[str, float]:
    """A mapping from names to scores."""
    entry = top.entry(key)
    if entry is None:
        return {}
    given = {name: _score(entry, name) for name in entry.keys()}
    return {name: score for name, score in given.items() if score is not None}


def _score(entry: Entry, key: str) -> float | None:
    score = entry.maybe_number(key)
    if score is not None and score > 1.0:
        entry.fault(key, "wrong_type", f"`{key}` is above 1; a score lies between 0 and 1")
    return score


def _names(top: Entry) -> dict[str, str]:
    """The organisation's own names of the levels, each another."""
    entry = top.entry("level_names")
    if entry is None:
        return {}
    found: dict[str, str] = {}
    for level in LEVELS:
        if entry.has(level):
            name = entry.text(level)
            if name.lower() in {*map(str.lower, found.values()), *LEVELS} - {level}:
                entry.fault(level, "duplicate_word", f"`{name}` names another level already")
            found[level] = name
    entry.close()
    return found


def _level(top: Entry, key: str, default: Sensitivity) -> Sensitivity:
    return _sensitivity(top.word(key, LEVELS, str(default)))


def _sensitivity(word: str) -> Sensitivity:
    """The level of this name. A word that is none was noted as a fault, so that whatever is given back is thrown away."""
    return Sensitivity(word) if word in LEVELS else Sensitivity.PUBLIC


def _why_not(pattern: str) -> str:
    """Why a pattern cannot be used, with its place where the engine tells it; empty where it can."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        piece = reason.partition(": ")[2]
        place = pattern.find(piece) if piece else -1
        return f"{reason} (character {place + 1})" if place >= 0 else reason
    return ""


def _complexity(top: Entry, calibrated: str) -> ComplexityPolicy:
    """The shipped model, or the calibrated one in `complexity.toml`: never one that nobody named, nor another than was named."""
    held = ""
    if calibrated.strip():
        try:
            held = str(tomllib.loads(calibrated).get("version", ""))
        except tomllib.TOMLDecodeError:
            held = ""
        if not held:
            top.fault("complexity", "bad_model", "complexity.toml is no model of `router calibrate`")
    entry = top.entry("complexity")
    if entry is None:
        if held:
            top.fault(
                None, "unused_model", f"complexity.toml is there, but nothing names it: set `complexity: {{model: {held}}}`"
            )
        return ComplexityPolicy()
    model = entry.maybe_text("model") or ""
    target = entry.word("target", COMPLEXITY_TARGETS, COMPLEXITY_TARGETS[0])
    if model and entry.has("target"):
        entry.fault("target", "wrong_type", "a calibrated model has a target of its own: leave out either `model` or `target`")
    if model != held:
        found = f"complexity.toml holds `{held}`" if held else "there is no complexity.toml"
        entry.fault("model" if model else None, "unknown_model", f"the model named is `{model or 'none'}`, but {found}")
    entry.close()
    return ComplexityPolicy(target=target, model=model, text=calibrated if model else "")
