"""Strict YAML with places: each value is read as what it must be, and everything that is wrong is collected."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from routing_rules.faults import LONGEST_ECHO, MOST_FAULTS, Fault, RuleFaults, Severity, did_you_mean

Scalar = str | int | float | bool

IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NANO_DIGITS = 9
NANO_PER_USD = 1_000_000_000
LARGEST_NANO = 2**53 - 1
LONGEST_NUMBER = 16

BRACKETS = re.compile(r"[\[\]{}]")
DEEPEST = 200
"""Brackets in brackets. Nobody writes more, and reading them takes longer the more there are."""

MOST_BYTES = 256 * 1024
"""Of one file. What is larger is refused unread."""

MOST_NODES = 24_000
"""Keys, values, lists and mappings of all files together: five hundred rules have about half as many. Reading them takes a second or two."""


def nano_usd(text: str) -> int:
    """Nano-USD of a decimal dollar amount such as `0.15`, exactly. Raises ValueError, also for anything finer or below zero."""
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if not (whole + fraction).isascii() or not (whole + fraction or "-").isdigit() or not whole:
        raise ValueError("expected an amount in dollars such as `2.50`")
    if len(fraction) > NANO_DIGITS:
        raise ValueError("an amount cannot be finer than a nano-dollar (nine digits after the point)")
    amount = int(whole) * NANO_PER_USD + int(fraction.ljust(NANO_DIGITS, "0"))
    if amount > LARGEST_NANO:
        raise ValueError("an amount cannot be above 9007199.254740991 dollars")
    return amount


class Document(NamedTuple):
    """What a text holds: the node at its top, or why it cannot be read; and how many nodes there are."""

    top: Any
    fault: Fault | None
    nodes: int


def document(file: str, text: str, most_nodes: int = MOST_NODES) -> Document:
    """The nodes of a file, whose marks say its name. A text of more than `most_nodes` is not read to its end."""
    size = len(text.encode("utf-8", "replace"))
    if size > MOST_BYTES:
        message = f"{size} bytes are too many: a file of rules has at most {MOST_BYTES}"
        return Document(
            None, Fault(Severity.ERROR, "too_large", file, 0, 0, message, "split it, and name the parts under `include`"), 0
        )
    if text.count("[") + text.count("{") > MOST_NODES or text.count(": ") + text.count(", ") > 2 * MOST_NODES:
        return Document(None, _too_much(file), MOST_NODES)
    if _depth(text) > DEEPEST:
        return Document(None, Fault(Severity.ERROR, "syntax", file, 0, 0, "not valid YAML: nested too deeply"), 0)
    found = _composed(file, text)
    return found if found.nodes <= most_nodes else Document(None, _too_much(file), found.nodes)


def open_file(file: str, text: str, faults: list[Fault]) -> Entry:
    """The mapping at the top of a file. A file that is empty or no YAML is a fault, and reads as an empty mapping."""
    found = document(file, text)
    return Entry(file, mapping_of(file, found, faults), faults)


def mapping_of(file: str, found: Document, faults: list[Fault]) -> MappingNode | None:
    """The mapping at the top of a document; None, with a fault, where there is none."""
    node = found.top
    if found.fault is not None:
        faults.append(found.fault)
    elif isinstance(node, MappingNode):
        return node
    else:
        line, column = (node.start_mark.line + 1, node.start_mark.column + 1) if node is not None else (1, 1)
        faults.append(Fault(Severity.ERROR, "wrong_type", file, line, column, "expected a mapping at the top of the file"))
    return None


def _depth(text: str) -> int:
    """How many brackets are open at once at most, without looking at what is quoted."""
    depth = deepest = 0
    for bracket in BRACKETS.findall(text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(depth, deepest)
    return deepest


class _Stream(io.StringIO):
    """A text that says of which file it is, for the marks of its nodes."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class _TooMuch(Exception):
    """More nodes than anybody writes."""


class _Composer(Composer):
    """Counts the nodes, and reads no aliases: what is in force stands there in words, and a few lines cannot stand for millions."""

    nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise _TooMuch
        if self.parser.check_event(AliasEvent):
            event = self.parser.peek_event()
            raise ComposerError(
                None, None, f"an alias `*{_short(event.anchor)}` is not read here; write out what it stands for", event.start_mark
            )
        return super().compose_node(parent, index)


@lru_cache(maxsize=64)
def _composed(file: str, text: str) -> Document:
    """The node graph of a text, kept because a new revision repeats most files."""
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Composer = _Composer
        yaml.composer.warn_double_anchors = False  # YAML allows an anchor to be set anew, and a warning has no place to go
        top = yaml.compose(_Stream(file, text))
        return Document(top, None, yaml.composer.nodes)
    except _TooMuch:
        return Document(None, _too_much(file), MOST_NODES + 1)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        message = " ".join(filter(None, (error.problem, error.context)))
    except RecursionError:
        line, column, message = 0, 0, "nested too deeply"
    except ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = (
            f"the character #x{ord(text[error.position]):04x} is not allowed"
            if error.position < len(text)
            else "a character is not allowed"
        )
    except (YAMLError, ValueError) as error:
        line, column, message = 0, 0, str(error).partition("\n")[0][:LONGEST_ECHO]
    return Document(None, Fault(Severity.ERROR, "syntax", file, line, column, f"not valid YAML: {message}"), 0)


def _too_much(file: str) -> Fault:
    message = f"the files of rules hold too much: at most {MOST_NODES} keys and values together"
    return Fault(
        Severity.ERROR, "too_large", file, 0, 0, message, "lists of names belong into fewer rules, each for a group of them"
    )


class Entry:
    """A mapping that is read key by key. A required key that is missing, a value that is something else, and (at `close`)
    a key that nobody asked for are faults; a harmless value is then given back, so that reading goes on."""

    def __init__(self, file: str, node: MappingNode | None, faults: list[Fault]) -> None:
        self.file = file if node is None else node.start_mark.name
        self.faults = faults
        self._node = node
        self._asked: dict[str, None] = {}
        self._values: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        for key, value in node.value if node is not None else ():
            if not isinstance(key, ScalarNode):
                self._fault_at(key, "wrong_type", "expected a plain word as a key")
            elif key.value in self._values:
                self._fault_at(key, "duplicate_key", f"the key `{_short(key.value)}` is given twice")
            else:
                self._values[key.value] = value
                self._keys[key.value] = key

    @property
    def readable(self) -> bool:
        """Whether there is a mapping at all; where there is none, that has been told and nothing is missing from it."""
        return self._node is not None

    @property
    def line(self) -> int:
        """Line of the first key, from 1."""
        return self._node.start_mark.line + 1 if self._node is not None else 0

    @property
    def column(self) -> int:
        """Column of the first key, from 1."""
        return self._node.start_mark.column + 1 if self._node is not None else 0

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        self._asked[key] = None
        value = self._values.get(key)
        return value is not None and not (isinstance(value, ScalarNode) and value.tag == "tag:yaml.org,2002:null")

    def fault(self, key: str | None, code: str, message: str, hint: str = "", severity: Severity = Severity.ERROR) -> None:
        """Note a fault at the value of `key`; without it, or where it is missing, at the start of the mapping."""
        node = self._values.get(key) if key is not None else None
        self._fault_at(node if node is not None else self._node, code, message, hint, severity)

    def close(self) -> None:
        """Say that every key that may be here has been asked for; what is left over is unknown."""
        for key, node in self._keys.items():
            if key not in self._asked:
                known = list(self._asked)
                expected = did_you_mean(key, known) or f"expected one of {_listed(known)}"
                self._fault_at(node, "unknown_key", f"unknown key `{_short(key)}`", expected)

    def keys(self) -> list[str]:
        """All keys, counted as asked for: for a mapping whose keys are names."""
        self._asked.update(dict.fromkeys(self._keys))
        return list(self._keys)

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty; required unless there is a default."""
        node = self._scalar(key, required=default is None, expected="a text")
        if node is None:
            return default or ""
        if not node.value.strip():
            self.fault(key, "wrong_type", f"`{key}` is empty; expected a text")
        return str(node.value)

    def maybe_text(self, key: str) -> str | None:
        """A text, or None where the key is missing."""
        return self.text(key) if self.has(key) else None

    def identifier(self, taken: Mapping[str, Any], key: str = "id") -> str:
        """A name of letters, digits, `.`, `_` and `-` that is not taken yet."""
        name = self.text(key)
        if name and not IDENTIFIER.fullmatch(name):
            self.fault(
                key, "wrong_type", f"`{_short(name)}` is no identifier; expected up to 64 letters, digits, `.`, `_` or `-`"
            )
        elif name in taken:
            self.fault(key, "duplicate_id", f"`{name}` is defined twice")
        return name

    def word(self, key: str, words: Collection[str], default: str | None = None) -> str:
        """One of `words`; required unless there is a default."""
        node = self._scalar(key, required=default is None, expected=f"one of {_listed(words)}")
        if node is None:
            return default if default is not None else ""
        self._check_word(key, node, words)
        return str(node.value)

    def words(self, key: str, words: Collection[str] | None = None, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of words (one word alone is a list of one), each one of `words` where they are given."""
        if not self._there(key, required=default is None, expected="a list of words"):
            return default or ()
        value = self._values[key]
        items = value.value if isinstance(value, SequenceNode) else [value]
        found: dict[str, None] = {}
        for item in items:
            if not isinstance(item, ScalarNode):
                self._fault_at(item, "wrong_type", f"expected a word in `{key}`")
                continue
            if words is not None:
                self._check_word(key, item, words)
            if item.value in found:
                self._fault_at(item, "duplicate_word", f"`{_short(item.value)}` is listed twice in `{key}`")
            found[str(item.value)] = None
        return tuple(found)

    def maybe_integer(self, key: str, least: int = 0) -> int | None:
        """A whole number of at least `least`, or None where the key is missing."""
        node = self._scalar(key, required=False, expected="a whole number")
        if node is None:
            return None
        text = node.value.replace("_", "")
        if not (text.isascii() and text.isdigit()) or len(text) > LONGEST_NUMBER or not least <= int(text) <= LARGEST_NANO:
            self.fault(key, "wrong_type", f"`{key}` is `{_short(node.value)}`; expected a whole number of at least {least}")
            return None
        return int(text)

    def maybe_number(self, key: str) -> float | None:
        """A number above zero, or None where the key is missing."""
        node = self._scalar(key, required=False, expected="a number")
        if node is None:
            return None
        try:
            number = nano_usd(node.value) / NANO_PER_USD
        except ValueError:
            number = 0.0
        if number <= 0:
            self.fault(key, "wrong_type", f"`{key}` is `{_short(node.value)}`; expected a number above zero such as `2.5`")
            return None
        return number

    def boolean(self, key: str, default: bool) -> bool:
        """`true` or `false`."""
        return self.word(key, ("true", "false"), str(default).lower()) == "true"

    def maybe_nano(self, key: str) -> int | None:
        """An amount in dollars as nano-USD, or None where the key is missing."""
        node = self._scalar(key, required=False, expected="an amount in dollars")
        if node is None:
            return None
        try:
            return nano_usd(node.value)
        except ValueError as error:
            self.fault(key, "bad_amount", f"`{key}` is `{_short(node.value)}`: {error}")
            return None

    def maybe_day(self, key: str) -> date | None:
        """A day such as `2027-01-31`, or None where the key is missing."""
        node = self._scalar(key, required=False, expected="a day")
        if node is None:
            return None
        try:
            return date.fromisoformat(node.value)
        except ValueError:
            self.fault(key, "wrong_type", f"`{key}` is `{_short(node.value)}`; expected a day such as `2027-01-31`")
            return None

    def day(self, key: str) -> date:
        """A day that must be given."""
        if not self._there(key, required=True, expected="a day such as `2027-01-31`"):
            return date.max
        return self.maybe_day(key) or date.max

    def scalar(self, key: str) -> Scalar:
        """A text, number, true or false, as YAML reads it."""
        node = self._scalar(key, required=True, expected="a text, a number, `true` or `false`")
        if node is None:
            return ""
        kind = str(node.tag).rpartition(":")[2]
        try:
            if kind == "int":
                return int(node.value.replace("_", ""))
            if kind == "float":
                return float(node.value)
        except ValueError:
            return str(node.value)
        return node.value.lower() == "true" if kind == "bool" else str(node.value)

    def entry(self, key: str) -> Entry | None:
        """A mapping, or None where the key is missing or is something else."""
        if not self._there(key, required=False, expected="a mapping"):
            return None
        value = self._values[key]
        if not isinstance(value, MappingNode):
            self.fault(key, "wrong_type", f"expected a mapping under `{key}`")
            return None
        return Entry(self.file, value, self.faults)

    def is_mapping(self, key: str) -> bool:
        """Whether the value is a mapping, for keys that may be written in two ways."""
        return isinstance(self._values.get(key), MappingNode)

    def entries(self, key: str, required: bool = True) -> list[Entry]:
        """A list of mappings."""
        if not self._there(key, required=required, expected="a list"):
            return []
        value = self._values[key]
        if not isinstance(value, SequenceNode):
            self.fault(key, "wrong_type", f"expected a list under `{key}`")
            return []
        found = []
        for item in value.value:
            if isinstance(item, MappingNode):
                found.append(Entry(self.file, item, self.faults))
            else:
                self._fault_at(item, "wrong_type", f"expected a mapping as an item of `{key}`")
        return found

    def _there(self, key: str, required: bool, expected: str) -> bool:
        if self.has(key):
            return True
        if required and self.readable:
            self.fault(None, "missing_key", f"the key `{key}` is missing", f"expected {expected}")
        return False

    def _scalar(self, key: str, required: bool, expected: str) -> Any:
        if not self._there(key, required, expected):
            return None
        node = self._values[key]
        if isinstance(node, ScalarNode):
            return node
        self.fault(key, "wrong_type", f"expected {expected} under `{key}`")
        return None

    def _check_word(self, key: str, node: Any, words: Collection[str]) -> None:
        if node.value not in words:
            hint = did_you_mean(node.value, words)
            expected = f"expected one of {_listed(words)}" if words else "there is none to choose from"
            self._fault_at(node, "unknown_word", f"unknown {key} `{_short(node.value)}`; {expected}", hint)

    def _fault_at(self, node: Any, code: str, message: str, hint: str = "", severity: Severity = Severity.ERROR) -> None:
        mark = node.start_mark if node is not None else None
        file, line, column = (mark.name, mark.line + 1, mark.column + 1) if mark is not None else (self.file, 0, 0)
        self.faults.append(Fault(severity, code, file, line, column, message, hint))
        if len(self.faults) >= MOST_FAULTS:
            more = Fault(Severity.ERROR, "too_many_faults", file, line, column, "and more: after so many faults nobody reads on")
            raise RuleFaults([*self.faults, more])


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_ECHO else text[:LONGEST_ECHO] + "…"


def _listed(words: Collection[str]) -> str:
    shown = [f"`{word}`" for word in words][:24]
    return ", ".join(shown) + (", …" if len(words) > len(shown) else "")
