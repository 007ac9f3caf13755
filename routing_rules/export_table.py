"""The decision table as rows of texts, for spreadsheets, and such rows back into the governed files (pure).

What a row does not change stays as it was written, to the letter; comments stay with the rule that they stand above.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from routing_rules.decisions import Obligation
from routing_rules.edit import WIDEST_LINE
from routing_rules.faults import Fault, RuleFaults, Severity, did_you_mean
from routing_rules.load import FORBID_CODES, REASONING_EFFORTS, WISHES, load
from routing_rules.reading import IDENTIFIER, Entry, open_file
from routing_rules.rules import DIMENSIONS, GOVERNED_DIMENSIONS, ORDERED_DIMENSIONS, Effect, RuleSet

ROUTES = "routes.yaml"
LISTS = {"prohibitions": Effect.FORBID, "step_ups": Effect.STEP_UP, "routes": Effect.PERMIT}
"""The tables, by the list of the file that holds them."""

MOST_LISTED = 12
NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")
BOUNDS = ("at_least", "at_most")

Row = dict[str, str]
"""One rule: column → text. A column that says nothing is left out, or empty."""

Place = Callable[[str, int, str], str]
"""Table, number of the row from 0, column → where that is, for people."""


class Column(NamedTuple):
    """One column. `kind`: text, word, words, number, day or truth; `words` are the choices of a word, empty where any goes."""

    key: str
    kind: str
    words: tuple[str, ...] = ()
    required: bool = False

    @property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to its value in a rule."""
        return tuple(self.key.split("."))


def columns(rules: RuleSet, table: str) -> tuple[Column, ...]:
    """The columns of a table, with the choices that these rules give."""
    governed = {
        "app": tuple(rules.apps),
        "team": tuple(sorted({app.team for app in rules.apps.values()})),
        "purpose": tuple(rules.purposes),
        "category": rules.categories,
    }
    when = [
        Column(f"when.{name}", "words", DIMENSIONS.get(name) or governed[name]) for name in (*DIMENSIONS, *GOVERNED_DIMENSIONS)
    ]
    found = [
        Column("id", "text", required=True),
        Column("owner", "text", required=True),
        Column("reason", "text", required=True),
        *when,
        *(_then(rules) if LISTS[table] is Effect.PERMIT else ()),
        *([Column("code", "word", FORBID_CODES)] if LISTS[table] is Effect.FORBID else ()),
        Column("from", "day"),
        Column("until", "day"),
        Column("serves", "words"),
        Column("remedy", "text"),
    ]
    return tuple(found)


def _then(rules: RuleSet) -> Iterable[Column]:
    yield Column("then.tier", "word", rules.tiers, required=True)
    yield Column("then.fallback_tiers", "words", rules.tiers)
    yield Column("then.set", "word", tuple(rules.sets), required=True)
    yield Column("then.budget", "word", tuple(rules.session_budgets), required=True)
    for name in (
        "max_output_tokens",
        "min_output_tokens",
        "hosted_calls",
        "request_seconds",
        "connect_seconds",
        "first_token_seconds",
        "inter_token_seconds",
        "drain_seconds",
        "drain_output_tokens",
    ):
        yield Column(f"then.limits.{name}", "number")
    yield Column("then.limits.reasoning_effort", "word", REASONING_EFFORTS)
    yield Column("then.regions", "words", tuple(sorted({slot.deployment.region for slot in rules.slots.values()})))
    yield Column("then.internal_only", "truth", ("true", "false"))
    yield Column("then.wish", "word", WISHES)
    yield Column("then.hints", "truth", ("true", "false"))
    yield Column("then.mask", "words")
    yield Column("then.obligations", "words", tuple(Obligation))


def tables(rules: RuleSet) -> dict[str, list[Row]]:
    """Every table with its rules in the order in which they decide."""
    entries = {name: _entries(name, text) for name, text in rules.files.items() if name.endswith(".yaml")}
    found: dict[str, list[Row]] = {table: [] for table in LISTS}
    by_effect = {effect: table for table, effect in LISTS.items()}
    for rule in rules.rules:
        table = by_effect[rule.effect]
        entry = entries.get(rule.file, {}).get((table, rule.id))
        if entry is not None:
            found[table].append({column.key: text for column in columns(rules, table) if (text := _text(entry, column))})
    return found


def with_tables(rules: RuleSet, given: Mapping[str, Sequence[Row]], place: Place) -> dict[str, str]:
    """The files of `rules` with these tables instead of theirs; a table that is left out stays as it is.

    A rule stays in the file that it is in; a new one joins the one above it. Raises RuleFaults with everything that is wrong with a
    cell, and where it stands; with what `load` says of the files that come of it; and where rules of several files cannot stand in the
    order of the table.
    """
    faults = [fault for table, rows in given.items() for fault in _faults(rules, table, rows, place)]
    if faults:
        raise RuleFaults(faults)
    present = tables(rules)
    file_of = {rule.id: rule.file for rule in rules.rules}
    files = dict(rules.files)
    for table, rows in given.items():
        if [_said(row) for row in rows] == present[table]:
            continue
        before = {row["id"]: row for row in present[table]}
        home = ROUTES
        by_file: dict[str, list[Row]] = {file_of[id]: [] for id in before}
        for row in rows:
            home = file_of.get(row["id"], home) if row["id"] in before else home
            by_file.setdefault(home, []).append(_said(row))
        kinds = {column.key: column for column in columns(rules, table)}
        for name, own in by_file.items():
            files[name] = _with_rows(files.get(name, ""), table, own, before, kinds)
    became = tables(load(files))
    for table, rows in given.items():
        for number, (row, now) in enumerate(zip(rows, became[table], strict=True)):
            if row["id"] != now["id"]:
                message = f"`{row['id']}` cannot stand here: it is in `{file_of.get(row['id'], ROUTES)}`, whose rules follow one another"
                hint = "move it in the files, or keep the rules of a file together"
                raise RuleFaults([Fault(Severity.ERROR, "wrong_order", place(table, number, "id"), 0, 0, message, hint)])
    return files


def joined(words: Iterable[str]) -> str:
    """Words as one cell: `a, b`. A word with a comma or a quotation mark in it is quoted."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(list(words))
    return ", ".join(part for part in csv_parts(out.getvalue()))


def csv_parts(line: str) -> list[str]:
    """The fields of a line as they are written, quotation marks included."""
    parts, quoted, start = [], False, 0
    for at, sign in enumerate(line):
        if sign == '"':
            quoted = not quoted
        elif sign == "," and not quoted:
            parts.append(line[start:at].strip())
            start = at + 1
    return [*parts, line[start:].strip()]


def split(cell: str) -> list[str]:
    """The words of a cell."""
    found = next(csv.reader(io.StringIO(cell.replace("\n", " ")), skipinitialspace=True), [])
    return [word.strip() for word in found if word.strip()]


def _said(row: Row) -> Row:
    """A row without the columns that say nothing."""
    return {key: text for key, text in row.items() if text}


def _entries(name: str, text: str) -> dict[tuple[str, str], Entry]:
    faults: list[Fault] = []
    top = open_file(name, text, faults)
    return {(table, entry.text("id", "")): entry for table in LISTS for entry in top.entries(table, required=False)}


def _text(entry: Entry, column: Column) -> str:
    """What a rule says in a column, as a cell."""
    inner: Entry | None = entry
    for key in column.path[:-1]:
        inner = inner.entry(key) if inner is not None else None
    key = column.path[-1]
    if inner is None or not inner.has(key):
        return ""
    if inner.is_mapping(key):
        bounds = inner.entry(key)
        return ", ".join(f"{word} {bounds.text(word)}" for word in BOUNDS if bounds is not None and bounds.has(word))
    return joined(inner.words(key)) if column.kind == "words" else inner.text(key)


def _faults(rules: RuleSet, table: str, rows: Sequence[Row], place: Place) -> Iterable[Fault]:
    known = {column.key: column for column in columns(rules, table)}
    taken: set[str] = set()
    for number, row in enumerate(rows):

        def fault(column: str, code: str, message: str, hint: str = "", number: int = number) -> Fault:
            return Fault(Severity.ERROR, code, place(table, number, column), 0, 0, message, hint)

        for column in known.values():
            cell = row.get(column.key, "")
            if not cell.strip():
                if column.required:
                    yield fault(column.key, "missing_key", f"`{column.key}` is empty", f"expected {_expected(column)}")
                continue
            yield from (fault(column.key, *problem) for problem in _problems(column, cell))
        id = row.get("id", "")
        if id and not IDENTIFIER.fullmatch(id):
            yield fault("id", "wrong_type", f"`{id[:60]}` is no identifier", "expected up to 64 letters, digits, `.`, `_` or `-`")
        elif id in taken:
            yield fault("id", "duplicate_id", f"`{id}` is defined twice")
        taken.add(id)


def _problems(column: Column, cell: str) -> Iterable[tuple[str, str, str]]:
    """What is wrong with a cell: (code, message, hint)."""
    dimension = column.path[-1]
    if column.kind == "number" and not NUMBER.fullmatch(cell.strip()):
        yield "wrong_type", f"`{cell[:60]}` is no number", "expected one such as `120`"
    elif column.kind == "day" and not _is_day(cell.strip()):
        yield "wrong_type", f"`{cell[:60]}` is no day", "expected one such as `2027-01-31`"
    elif column.kind in ("word", "truth") and cell.strip() not in column.words:
        yield _unknown(column, cell.strip())
    elif column.kind == "words":
        for word in split(cell):
            bound, _, level = word.partition(" ")
            if column.path[0] == "when" and dimension in ORDERED_DIMENSIONS and bound in BOUNDS:
                if level.strip() not in column.words:
                    yield _unknown(column, level.strip())
            elif column.words and word not in column.words:
                yield _unknown(column, word)


def _unknown(column: Column, word: str) -> tuple[str, str, str]:
    close = did_you_mean(word, column.words)
    return "unknown_word", f"unknown word `{word[:60]}`; expected {_expected(column)}", close


def _expected(column: Column) -> str:
    if not column.words:
        return {"words": "words with commas between them", "number": "a number", "day": "a day"}.get(column.kind, "a text")
    listed = ", ".join(f"`{word}`" for word in column.words[:MOST_LISTED]) + (", …" if len(column.words) > MOST_LISTED else "")
    return f"one of {listed}" if column.kind != "words" else f"one or more of {listed}"


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


class _Item(NamedTuple):
    """One rule as it is written: the lines above it that are comments or empty, and its own, and how far they are indented."""

    id: str
    lead: list[str]
    body: list[str]


def _with_rows(text: str, table: str, rows: Sequence[Row], before: Mapping[str, Row], kinds: Mapping[str, Column]) -> str:
    """A file with these rows in one of its lists: in their order, changed where they differ, without those that are gone."""
    found = _items(text, table)
    if found is None:  # a list in brackets, whose lines are no rules
        return _rewritten(text, table, rows, before, kinds)
    head, items, tail, indent = found
    known = {item.id: item for item in items}
    lines = list(head)
    if not items and rows:
        lines = [*lines, f"{table}:\n"]
    for row in rows:
        item = known.get(row["id"])
        if item is None:
            lines += _dumped(_changed(CommentedMap(), row, {}, kinds), indent)
        elif row == before[row["id"]]:
            lines += [*item.lead, *item.body]
        else:
            fragment = "".join(line[indent:] if line.strip() else line for line in item.body)
            (node,) = _yaml().load(fragment)
            lines += [*item.lead, *_dumped(_changed(node, row, before[row["id"]], kinds), indent)]
    if items and not rows:
        lines.append(f"{' ' * indent}[]\n")
    return "".join([*lines, *tail])


def _items(text: str, table: str) -> tuple[list[str], list[_Item], list[str], int] | None:
    """The lines before the items of a list, the items, the lines behind, and their indentation; None where it is written in brackets."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    top = _yaml().compose(text)
    pairs = top.value if isinstance(top, MappingNode) else []
    node: Node | None = next((value for key, value in pairs if key.value == table), None)
    if node is None:
        return lines, [], [], 2
    if not isinstance(node, SequenceNode) or node.flow_style or not node.value:
        return None
    indent = node.value[0].start_mark.column - 2
    starts = [item.start_mark.line for item in node.value]
    if any(not lines[line][indent:].startswith("- ") for line in starts):
        return None
    key_line = next(key.start_mark.line for key, value in pairs if value is node)
    ends = [*starts[1:], min((key.start_mark.line for key, _ in pairs if key.start_mark.line > starts[-1]), default=len(lines))]
    items, above = [], key_line + 1
    for start, end, item in zip(starts, ends, node.value, strict=True):
        last = end
        while last > start + 1 and _is_aside(lines[last - 1], indent):
            last -= 1
        id = next((str(value.value) for key, value in item.value if key.value == "id"), "")
        items.append(_Item(id, lines[above:start], lines[start:last]))
        above = last
    return lines[: key_line + 1], items, lines[above:], indent


def _is_aside(line: str, indent: int) -> bool:
    """Whether a line behind a rule is not its own: empty, or a comment that is not indented below it."""
    bare = line.strip()
    return not bare or (bare.startswith("#") and len(line) - len(line.lstrip()) <= indent)


def _rewritten(text: str, table: str, rows: Sequence[Row], before: Mapping[str, Row], kinds: Mapping[str, Column]) -> str:
    """The same for a list in brackets."""
    yaml = _yaml()
    yaml.indent(mapping=2, sequence=4, offset=2)
    top = yaml.load(text)
    present = {row["id"]: row for row in top[table] or ()}
    items = CommentedSeq(_changed(present.get(row["id"], CommentedMap()), row, before.get(row["id"], {}), kinds) for row in rows)
    items.fa.set_block_style()
    top[table] = items
    out = io.StringIO()
    yaml.dump(top, out)
    return out.getvalue()


def _changed(node: CommentedMap, row: Row, before: Mapping[str, str], kinds: Mapping[str, Column]) -> CommentedMap:
    """A rule with the cells of a row in which it differs from what it was."""
    for place, (key, column) in enumerate(kinds.items()):
        text = row.get(key, "")
        if text == before.get(key, ""):
            continue
        inner = node
        for part in column.path[:-1]:
            if text and not isinstance(inner.get(part), CommentedMap):
                _insert(inner, part, _flow_map(), place, kinds)
            inner = inner.get(part, CommentedMap())
        if text:
            _insert(inner, column.path[-1], _value(column, text, inner.get(column.path[-1])), place, kinds)
        else:
            inner.pop(column.path[-1], None)
    for path in (("then", "limits"), ("when",)):
        outer = node if len(path) == 1 else node.get(path[0], {})
        if isinstance(outer.get(path[-1]), CommentedMap) and not outer[path[-1]]:
            del outer[path[-1]]
    return node


def _insert(node: CommentedMap, key: str, value: Any, place: int, kinds: Mapping[str, Column]) -> None:
    """Set a key; a new one goes where the columns have it."""
    if key in node:
        node[key] = value
        return
    order = list(dict.fromkeys(part for column in list(kinds.values())[: place + 1] for part in column.path))
    earlier = [at for at, other in enumerate(node) if other in order]
    node.insert(max(earlier) + 1 if earlier else 0, key, value)


def _value(column: Column, text: str, present: Any) -> Any:
    """A cell as a value of YAML."""
    text = text if column.kind == "text" else text.strip()
    if column.kind == "number":
        return float(text) if "." in text else int(text)
    if column.kind == "day":
        return date.fromisoformat(text)
    if column.kind == "truth":
        return text == "true"
    if column.kind != "words":
        return text
    words = split(text)
    bounds = {bound: level.strip() for bound, _, level in (word.partition(" ") for word in words) if bound in BOUNDS and level}
    if bounds and column.path[-1] in ORDERED_DIMENSIONS and len(bounds) == len(words):
        found = _flow_map()
        found.update(bounds)
        return found
    if len(words) == 1 and not isinstance(present, CommentedSeq) and column.path[-1] in DIMENSIONS:
        return words[0]
    listed = CommentedSeq(words)
    listed.fa.set_flow_style()
    return listed


def _flow_map() -> CommentedMap:
    found = CommentedMap()
    found.fa.set_flow_style()
    return found


def _dumped(node: CommentedMap, indent: int) -> list[str]:
    """The lines of one rule of a list."""
    out = io.StringIO()
    _yaml().dump(CommentedSeq([node]), out)
    return [" " * indent + line if line.strip() else line for line in out.getvalue().splitlines(keepends=True)]


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDEST_LINE
    return yaml
