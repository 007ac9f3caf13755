"""How well the kind of work, the implied acts and the difficulty of asks are told, measured on labelled prompts."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from classifiers.ask.complexity import band_of
from classifiers.assess import Assessor
from classifiers.evaluation import readers
from classifiers.evaluation.marks import Mark, at_least, bootstrap, f1, reported, share
from classifiers.training.corpus import as_task, with_values
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Endpoint, Part, Provenance, Role, Task
from routing_rules.vocabulary import Capability, Complexity, TaskKind

_PLAIN: Mapping[str, frozenset[Capability]] = {
    "read": frozenset({Capability.READS_PRIVATE, Capability.READS_RESTRICTED, Capability.READS_UNTRUSTED}),
    "send": frozenset({Capability.EGRESS}),
    "write": frozenset({Capability.WRITES_STATE}),
    "delete": frozenset({Capability.DESTRUCTIVE}),
    "spend": frozenset({Capability.SPENDS_MONEY}),
    "execute": frozenset({Capability.EXECUTES_CODE}),
    "administer": frozenset({Capability.ADMIN_PRIVILEGE}),
}
"""What a set says that labels in plain words; `delegate` is beside them, for asks that leave the choice to words elsewhere."""

_DELEGATE = "delegate"
_NOTHING = ("", "none")
_KNOWN = frozenset({*_PLAIN, _DELEGATE, *(capability.value for capability in Capability)})
_TASKS = {kind.value: kind for kind in TaskKind} | {"summarization": TaskKind.SUMMARISATION}
_ENDINGS = ("*.jsonl", "*.jsonl.gz")


class Row(msgspec.Struct, frozen=True):
    """One ask: what was said of it and what it is. Implied acts are in the words of its file."""

    file: str
    language: str
    task: TaskKind
    said_task: TaskKind
    intent: frozenset[str]
    said_intent: frozenset[str]
    band: Complexity | None
    said_band: Complexity


def measure(data: Path) -> list[Mark]:
    """The marks on asks, over every file of `data` that holds rows `{text | messages, task, intent, complexity}`.

    Files of other rows are passed over. Raises ValueError, naming file and line, for a label that is none.
    """
    assessor = Assessor(SensitivityPolicy(), b"not a secret: findings are not looked at here")
    paths = sorted({path for ending in _ENDINGS for path in data.glob(ending)})
    rows = [row for path in paths for row in judged(assessor, path.name, read(path))]
    readings = {reader: list(judged(assessor, f"reader {reader}", entries)) for reader, entries in readers.found(data).items()}
    return [*(accuracy(rows) if rows or not readings else ()), *_readings(readings)]


def accuracy(rows: Sequence[Row]) -> list[Mark]:
    """The marks on the kind of work and on implied acts; band, tasks, acts, languages and files as figures without a bound."""
    right = [row.task is row.said_task for row in rows]
    banded = [row.band is row.said_band for row in rows if row.band is not None]
    languages, files = _by(rows, lambda row: row.language), _by(rows, lambda row: row.file)
    return [
        at_least("task accuracy", *share(sum(right), len(rows)), len(rows), 0.88),
        at_least("intent micro-F1", *_micro(rows), len(rows), 0.88),
        reported("intent: all acts of an ask right", *share(sum(r.intent == r.said_intent for r in rows), len(rows)), len(rows)),
        reported("complexity: band accuracy", *share(sum(banded), len(banded)), len(banded)),
        *_tasks(rows),
        *_acts(rows),
        *(mark for name, some in languages.items() if len(languages) > 1 for mark in _part(f"language {name or '?'}", some)),
        *(mark for name, some in files.items() if len(files) > 1 for mark in _part(f"file {name}", some)),
    ]


def _readings(readings: Mapping[str, Sequence[Row]]) -> Iterator[Mark]:
    """How far the readers of the same prompts agree, and how far we agree with each."""
    if not readings:
        return
    first, second = list(readings.values())[:2]
    same = [one.task is other.task for one, other in zip(first, second, strict=True)]
    yield reported("readers: agreement on task", *share(sum(same), len(same)), len(same))
    crossed = [msgspec.structs.replace(one, said_intent=other.intent) for one, other in zip(first, second, strict=True)]
    yield reported("readers: agreement on intent, micro-F1", *_micro(crossed), len(crossed))
    banded = [one.band is other.band for one, other in zip(first, second, strict=True)]
    yield reported("readers: agreement on complexity band", *share(sum(banded), len(banded)), len(banded))
    for reader, rows in readings.items():
        yield from _part(f"reader {reader}", rows)
        right = [row.band is row.said_band for row in rows]
        yield reported(f"reader {reader}: complexity band accuracy", *share(sum(right), len(right)), len(right))


def _part(name: str, rows: Sequence[Row]) -> Iterator[Mark]:
    yield reported(f"{name}: task accuracy", *share(sum(row.task is row.said_task for row in rows), len(rows)), len(rows))
    yield reported(f"{name}: intent micro-F1", *_micro(rows), len(rows))


def _tasks(rows: Sequence[Row]) -> Iterator[Mark]:
    for task, some in _by(rows, lambda row: row.task.value).items():
        taken_for = sum(row.said_task.value == task for row in rows)
        hits = sum(row.task is row.said_task for row in some)
        yield reported(f"task {task}: recall", *share(hits, len(some)), len(some))
        yield reported(f"task {task}: precision", *share(hits, taken_for), taken_for)


def _acts(rows: Sequence[Row]) -> Iterator[Mark]:
    for act in sorted({act for row in rows for act in row.intent}):
        wanted = [row for row in rows if act in row.intent]
        said = [row for row in rows if act in row.said_intent]
        hits = sum(act in row.said_intent for row in wanted)
        yield reported(f"intent {act}: recall", *share(hits, len(wanted)), len(wanted))
        yield reported(f"intent {act}: precision", *share(hits, len(said)), len(said))


def _micro(rows: Sequence[Row]) -> tuple[float, tuple[float, float]]:
    """F1 over all acts of all asks together, and its interval from drawing asks anew."""
    counts = np.array(
        [(len(r.intent & r.said_intent), len(r.said_intent - r.intent), len(r.intent - r.said_intent)) for r in rows]
    ).reshape(len(rows), 3)

    def score(drawn: Any) -> float:
        return f1(*map(int, counts[drawn].sum(axis=0)))

    return score(slice(None)), bootstrap(len(rows) if counts.any() else 0, score)


def _by(rows: Sequence[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    parts: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        parts[key(row)].append(row)
    return dict(sorted(parts.items()))


def judged(assessor: Assessor, name: str, entries: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[Row]:
    """What we say of labelled asks, given by their line numbers. Raises ValueError, naming file and line, for a label that is none."""
    entries = _filled([(number, entry) for number, entry in entries if entry.keys() >= {"task", "intent"}])
    wanted = []
    for number, entry in entries:
        try:
            wanted.append((_TASKS[entry["task"]], _names(entry["intent"]), _band(entry.get("complexity"))))
        except (KeyError, TypeError):
            raise ValueError(f"{name}, line {number}: no label of task, intent or complexity that we know") from None
    plain = any(name in _PLAIN for _, names, _ in wanted for name in names)
    for (_, entry), (task, names, band) in zip(entries, wanted, strict=True):
        said = assessor.assess(_task(entry), ())
        implied = frozenset(capability.value for capability in said.intent.capabilities)
        yield Row(
            file=name,
            language=str(entry.get("language", "")),
            task=task,
            said_task=said.task,
            intent=_in_plain(names) if plain else names,
            said_intent=_in_plain(implied | ({_DELEGATE} if said.intent.delegates else set())) if plain else implied,
            band=band,
            said_band=said.complexity,
        )


def _filled(entries: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
    """The entries with values in the slots of those that are written as our batches are."""
    texts = with_values([entry["text"] if "batch" in entry and "text" in entry else "" for _, entry in entries])
    return [(number, {**entry, "text": text} if text else entry) for (number, entry), text in zip(entries, texts, strict=True)]


def _names(given: Any) -> frozenset[str]:
    """The labels of an entry's intent, which may be one word. Raises KeyError for one that is none."""
    names = frozenset([given] if isinstance(given, str) else given or ()).difference(_NOTHING)
    if not names <= _KNOWN:
        raise KeyError
    return names


def _in_plain(names: frozenset[str]) -> frozenset[str]:
    """The same acts in plain words, which have none for the rarer ones."""
    words = {word for word, meant in _PLAIN.items() if word in names or not meant.isdisjoint(names)}
    return frozenset(words | (names & {_DELEGATE}))


def _band(given: Any) -> Complexity | None:
    if given is None:
        return None
    return band_of(float(given)) if isinstance(given, int | float) else {band.value: band for band in Complexity}[given]


def _task(entry: dict[str, Any]) -> Task:
    if "messages" in entry:
        return as_task(entry["messages"])
    return Task(Endpoint.CHAT, "auto", (Part(Role.USER, Provenance.USER, entry["text"], "text", 0),))


def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a file by their number."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, msgspec.json.decode(line)
