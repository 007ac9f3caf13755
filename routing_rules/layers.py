"""One governed file out of several: its parts (`include`), and what one environment has differently (`overlays/…`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from routing_rules.faults import Fault, Severity, did_you_mean
from routing_rules.reading import MOST_NODES, Entry, document, mapping_of

OVERLAYS = "overlays/"
INCLUDE = "include"
PART = re.compile(r"([a-z]+)/[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.yaml")
OVERLAY = re.compile(r"overlays/([A-Za-z0-9][A-Za-z0-9._-]{0,63})/([a-z]+\.yaml)")

NAMED_BY = ("id", "owner")
"""The key by which a row of an overlay finds the row that it replaces: the id, or of an owner's budget the owner."""
PROHIBITIONS = "prohibitions"


class Layers:
    """The governed files of a revision, read together: `top` gives the mapping of each, with its parts and the overlay in it.

    What is wrong is added to `faults`. Raises RuleFaults where there are too many faults.
    """

    def __init__(self, files: Mapping[str, str], names: Iterable[str], faults: list[Fault]) -> None:
        self._files = files
        self._names = tuple(names)
        self._faults = faults
        self._nodes_left = MOST_NODES
        self.included: set[str] = set()
        self.environment = self._environment()

    def top(self, name: str) -> Entry:
        """The mapping of a file. One that is missing or unreadable is a fault, and reads as an empty mapping."""
        if name not in self._files:
            self._fault(name, "missing_file", f"the file `{name}` is missing")
            return Entry(name, None, self._faults)
        base = self._read(name)
        if base is None:
            return Entry(name, None, self._faults)
        for part in self._parts(name, base):
            base = self._with_part(name, base, part)
        overlay = f"{OVERLAYS}{self.environment}/{name}"
        if self.environment is not None and overlay in self._files:
            base = self._overlaid(base, overlay)
        return Entry(name, base, self._faults)

    def unknown(self, name: str) -> bool:
        """Whether a name is neither an overlay of a governed file nor a part of one."""
        overlay, part = OVERLAY.fullmatch(name), PART.fullmatch(name)
        if overlay is not None:
            return overlay[2] not in self._names
        return part is None or f"{part[1]}.yaml" not in self._names

    def _environment(self) -> str | None:
        found = sorted({match[1] for match in map(OVERLAY.fullmatch, self._files) if match is not None})
        if len(found) > 1:
            message = f"a revision is for one environment, and there are overlays for {', '.join(f'`{each}`' for each in found)}"
            self._fault(f"{OVERLAYS}{found[1]}", "two_environments", message)
        return found[0] if found else None

    def _read(self, name: str) -> MappingNode | None:
        found = document(name, self._files[name], self._nodes_left)
        self._nodes_left -= found.nodes
        return mapping_of(name, found, self._faults)

    def _parts(self, name: str, base: MappingNode) -> tuple[str, ...]:
        """The files that a file includes: each in the directory that is named like it, and read once."""
        stem = name.removesuffix(".yaml")
        known = [each for each in self._files if each.startswith(f"{stem}/")]
        entry = Entry(name, _only(base, INCLUDE), self._faults)
        parts = entry.words(INCLUDE, default=())
        for part in parts:
            if PART.fullmatch(part) is None or not part.startswith(f"{stem}/"):
                entry.fault(
                    INCLUDE,
                    "bad_include",
                    f"`{part[:60]}` is no part of {name}; expected `{stem}/NAME.yaml`",
                    did_you_mean(part, known),
                )
            elif part not in self._files:
                entry.fault(INCLUDE, "missing_file", f"the file `{part}` is missing", did_you_mean(part, known))
        return tuple(part for part in parts if part in known)

    def _with_part(self, name: str, base: MappingNode, part: str) -> MappingNode:
        """The lists of a part follow those of the file that includes it."""
        self.included.add(part)
        top = self._read(part)
        if top is None:
            return base
        entry = Entry(part, top, self._faults)
        rows = dict(_pairs(base))
        found = dict(base.value)
        for key, node in top.value:
            word = str(key.value)
            if word == INCLUDE or not isinstance(node, SequenceNode) or not _are_rows(node):
                entry.fault(word, "bad_include", f"a part of {name} holds lists of entries only, not `{word[:60]}`")
                continue
            held = rows.get(word)
            if held is None:
                found[key] = node
            elif isinstance(held[1], SequenceNode):
                found[held[0]] = _sequence(held[1], [*found[held[0]].value, *node.value])
        return _mapping(base, found)

    def _overlaid(self, base: MappingNode, name: str) -> MappingNode:
        """An entry of the overlay replaces the one of its name where that stands; others come first. Other values replace those of their key."""
        top = self._read(name)
        if top is None:
            return base
        entry = Entry(name, top, self._faults)
        rows = dict(_pairs(base))
        found = dict(base.value)
        for key, node in top.value:
            word = str(key.value)
            if word == INCLUDE:
                entry.fault(INCLUDE, "bad_include", "an overlay includes nothing: its file holds all that is different")
                continue
            held = rows.get(word)
            if held is None:
                found[key] = node
            elif isinstance(node, SequenceNode) and isinstance(held[1], SequenceNode) and _are_rows(node) and _are_rows(held[1]):
                own: dict[str | None, MappingNode] = {}
                for row in node.value:
                    if own.setdefault(_name(row), row) is not row:
                        Entry(name, row, self._faults).fault("id", "duplicate_id", f"`{_name(row)}` is defined twice")
                taken = {_name(row) for row in held[1].value}
                if word == PROHIBITIONS:
                    self._keep_prohibitions(name, [row for each, row in own.items() if each in taken])
                added = [row for row in node.value if _name(row) not in taken]
                found[held[0]] = _sequence(held[1], [*added, *(own.get(_name(row), row) for row in held[1].value)])
            else:
                found[held[0]] = node
        return _mapping(base, found)

    def _keep_prohibitions(self, name: str, rows: Iterable[MappingNode]) -> None:
        for row in rows:
            message = f"an overlay may add prohibitions, not replace `{_name(row)}`: nothing loosens a prohibition"
            Entry(name, row, self._faults).fault("id", "loosens_prohibition", message, "give it an id of its own: both hold then")

    def _fault(self, file: str, code: str, message: str) -> None:
        self._faults.append(Fault(Severity.ERROR, code, file, 0, 0, message))


def layers_of(files: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The files in which an entry of a governed file may stand, what counts first: its overlay, itself, its parts."""
    overlays = [each for each in files if (match := OVERLAY.fullmatch(each)) is not None and match[2] == name]
    parts = [each for each in sorted(files) if (match := PART.fullmatch(each)) is not None and f"{match[1]}.yaml" == name]
    return (*overlays, name, *parts)


def parts_left_out(files: Mapping[str, str]) -> set[str]:
    """The parts that their file does not include."""
    found = set()
    for name in files:
        match = PART.fullmatch(name)
        if match is not None and (head := f"{match[1]}.yaml") in files:
            top = document(head, files[head]).top
            if not isinstance(top, MappingNode) or name not in Entry(head, _only(top, INCLUDE), []).words(INCLUDE, default=()):
                found.add(name)
    return found


def _pairs(node: MappingNode) -> Iterable[tuple[str, tuple[ScalarNode, object]]]:
    return ((str(key.value), (key, value)) for key, value in node.value)


def _only(node: MappingNode, word: str) -> MappingNode:
    return _mapping(node, {key: value for key, value in node.value if key.value == word})


def _are_rows(node: SequenceNode) -> bool:
    return all(isinstance(row, MappingNode) for row in node.value)


def _name(row: MappingNode) -> str | None:
    words = {str(key.value): value for key, value in row.value}
    named = next((words[key] for key in NAMED_BY if key in words), None)
    return str(named.value) if isinstance(named, ScalarNode) else None


def _sequence(like: SequenceNode, rows: list[object]) -> SequenceNode:
    return SequenceNode(like.tag, rows, like.start_mark, like.end_mark)


def _mapping(like: MappingNode, pairs: Mapping[ScalarNode, object]) -> MappingNode:
    return MappingNode(like.tag, list(pairs.items()), like.start_mark, like.end_mark)
