"""Draws what was assessed: the reasons for a level, and each text with its findings marked and masked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from classifiers.sensitivity.combine import Evidence
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.task import Part, Task
from routing_rules.vocabulary import Assessment, Finding, Sensitivity

_SHOWN = 240  # characters kept on either side of a finding
_BOLD, _DIM, _END = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_COLOURS = {
    Sensitivity.PUBLIC: "\x1b[32m",
    Sensitivity.INTERNAL: "\x1b[36m",
    Sensitivity.CONFIDENTIAL: "\x1b[33m",
    Sensitivity.RESTRICTED: "\x1b[31m",
}
_MARK = "\x1b[7m"


def drawn(task: Task, result: Assessment, reasons: Sequence[Evidence], policy: SensitivityPolicy, *, colours: bool) -> str:
    """The whole drawing. `task` is what was read: files already stand in it with their text. No value that was found is shown."""
    pen = _Pen(policy, colours)
    lines = [
        f"{pen.level(result.sensitivity)}  {', '.join(sorted(result.categories)) or 'nothing found'}"
        f"  ({result.state}, {result.scanned_bytes:,} bytes read)",
        "",
        "why",
        *(f"  {line}" for line in _reasons(task, reasons, policy, pen)),
    ]
    if result.findings:
        lines += ["", "findings", *(f"  {_about(number, each, task)}" for number, each in enumerate(result.findings, 1))]
    for number, part in enumerate(task.parts):
        mine = [(index, finding) for index, finding in enumerate(result.findings, 1) if finding.part == number]
        if mine or part.unreadable:
            lines += ["", pen.dim(f"── {part.path} ({part.provenance})"), *_text(part, mine, pen).splitlines()]
    return "\n".join(lines) + "\n"


class _Pen:
    def __init__(self, policy: SensitivityPolicy, colours: bool) -> None:
        self._names = policy.level_names
        self._colours = colours

    def level(self, level: Sensitivity, width: int = 0) -> str:
        name = self._names.get(level.value, level.value).ljust(width)
        return f"{_BOLD}{_COLOURS[level]}{name}{_END}" if self._colours else name

    def dim(self, text: str) -> str:
        return f"{_DIM}{text}{_END}" if self._colours else text

    def mark(self, text: str) -> str:
        return f"{_MARK} {text} {_END}" if self._colours else f"[{text}]"


def _reasons(task: Task, reasons: Sequence[Evidence], policy: SensitivityPolicy, pen: _Pen) -> Iterator[str]:
    told = [(reason.level, _why(reason)) for reason in reasons]
    if task.declared is not None:
        told.append((task.declared, "declared by the app"))
    if not told:
        yield f"{pen.level(policy.floor)}  nothing speaks for more"
    width = max((len(policy.level_names.get(level.value, level.value)) for level, _ in told), default=0)
    for level, why in sorted(told, key=lambda each: -each[0].rank):
        yield f"{pen.level(level, width)}  {why}"


def _why(reason: Evidence) -> str:
    about = [f"`{_visible(each)}`" for each in reason.about]
    match reason.why:
        case "finding":
            values = f"{reason.count} distinct values of {about[0]}" if reason.count > 1 else about[0]
            return f"{values}, by rule {about[1]} (score {reason.sure:.2f})"
        case "many":
            return f"so many: {reason.count} distinct values of {about[0]}"
        case "linked":
            return f"linked, as they lead to one person: {', '.join(about)}"
        case "topic":
            return f"it is about {about[0]} (score {reason.sure:.2f})"
        case "label":
            return f"the file at {about[1]} carries the label {about[0]}"
        case "unread":
            return f"unread: {about[0]} at {about[1]}"
    return "not everything could be scanned"


def _about(number: int, finding: Finding, task: Task) -> str:
    path = task.parts[finding.part].path if finding.part < len(task.parts) else str(finding.part)
    place = f"{path} {finding.start}–{finding.end}"
    return f"{number:>2}  {finding.category}/{finding.kind}  {finding.rule}  {place}  score {finding.score:.2f}  {_visible(finding.masked)}"


def _text(part: Part, mine: Sequence[tuple[int, Finding]], pen: _Pen) -> str:
    """The text of a part, each found span replaced by its marks; overlapping spans are one."""
    spans: list[tuple[int, int, list[tuple[int, Finding]]]] = []
    for index, finding in sorted(mine, key=lambda each: (each[1].start, -each[1].end)):
        if spans and finding.start < spans[-1][1]:
            start, end, held = spans[-1]
            spans[-1] = (start, max(end, finding.end), [*held, (index, finding)])
        else:
            spans.append((finding.start, finding.end, [(index, finding)]))
    pieces: list[str] = []
    position = 0
    for start, end, held in spans:
        pieces.append(_between(part.text[position:start], pen, first=position == 0))
        marks = "; ".join(f"{index} {finding.kind} {_visible(finding.masked)}" for index, finding in held)
        pieces.append(pen.mark(marks))
        position = end
    pieces.append(_between(part.text[position:], pen, first=not spans, last=True))
    if part.unreadable:
        pieces.append("\n" + pen.mark(f"{part.unreadable}: not read"))
    return "".join(pieces)


def _between(text: str, pen: _Pen, *, first: bool = False, last: bool = False) -> str:
    """What stands between two findings, shortened where it is long."""
    left, right = 0 if first else _SHOWN, 0 if last else _SHOWN
    if first and last:
        left = _SHOWN
    if len(text) <= left + right + 80:
        return _visible(text)
    gap = pen.dim(f"… {len(text) - left - right:,} characters …")
    return f"{_visible(text[:left])}{gap}{_visible(text[len(text) - right :] if right else '')}"


def _visible(text: str) -> str:
    """The text without what a terminal would obey or a reader not see."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each
        if each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else f"\\u{{{ord(each):x}}}"
        for each in text
    )
