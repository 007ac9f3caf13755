"""`router classify`: standard input → assessments, without forwarding anything."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
import msgspec

from router.cli.data import classifying_key, rules_for
from router.exchange import JsonObject
from router.settings import load_settings
from routing_rules.rules import RuleSet
from routing_rules.task import Endpoint, Part, Provenance, Role, Task


@click.command()
@click.option(
    "--jsonl", is_flag=True, help='One JSON object a line: {"text"}, {"messages"} or a request body, with an optional "id".'
)
@click.option(
    "--explain", is_flag=True, help="Draw each text with its findings marked and masked, and say why it counts as it does."
)
def classify(jsonl: bool, explain: bool) -> None:
    """Assess what stands on standard input: plain text, or with --jsonl one request a line; one JSON line each."""
    from classifiers.assess import Assessor

    settings = load_settings()
    rules = rules_for(settings)
    assessor = Assessor(rules.sensitivity, classifying_key(settings, rules))
    answer = _draw if explain else _tell
    if not jsonl:
        answer(assessor, rules, {"text": sys.stdin.read()})
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        if line.strip():
            try:
                given = msgspec.json.decode(line)
                if not isinstance(given, dict):
                    raise ValueError("an object was expected")
                answer(assessor, rules, given)
            except (msgspec.DecodeError, ValueError) as error:
                raise click.ClickException(f"line {number}: {error}") from None


def _tell(assessor: Any, rules: RuleSet, given: JsonObject) -> None:
    _say(assessed(assessor, rules, given))


def _draw(assessor: Any, rules: RuleSet, given: JsonObject) -> None:
    from router.cli.drawing import drawn
    from routing_rules.entitlements import capabilities_of

    task = task_of(given, rules)
    read, result, reasons = assessor.explain(task, [capabilities_of(rules, ask) for ask in task.tools])
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    click.echo(drawn(read, result, reasons, rules.sensitivity, colours=colours))


def assessed(assessor: Any, rules: RuleSet, given: JsonObject) -> JsonObject:
    """The output object of one input object. Raises ValueError with a sentence where it cannot be read."""
    from routing_rules.entitlements import capabilities_of

    task = task_of(given, rules)
    result = assessor.assess(task, [capabilities_of(rules, ask) for ask in task.tools])
    return {
        "id": given.get("id"),
        "sensitivity": result.sensitivity.value,
        "categories": sorted(result.categories),
        "findings": [
            {
                "category": finding.category,
                "kind": finding.kind,
                "rule": finding.rule,
                "part": task.parts[finding.part].path if finding.part < len(task.parts) else str(finding.part),
                "start": finding.start,
                "end": finding.end,
                "score": round(finding.score, 4),
                "masked": finding.masked,
            }
            for finding in result.findings
        ],
        "access": result.access.value,
        "intent": {
            "capabilities": sorted(result.intent.capabilities),
            "objects": sorted(result.intent.objects),
            "delegates": result.intent.delegates,
        },
        "task": result.task.value,
        "complexity": {"score": round(result.complexity_score, 4), "band": result.complexity.value},
        "confidence": {
            "sensitivity": round(result.confidence.sensitivity, 4),
            "task": round(result.confidence.task, 4),
            "complexity": round(result.confidence.complexity, 4),
            "intent": round(result.confidence.intent, 4),
        },
        "state": result.state.value,
        "scanned_bytes": result.scanned_bytes,
        "versions": result.versions,
    }


def task_of(given: JsonObject, rules: RuleSet) -> Task:
    """The task in an input object. Raises ValueError."""
    from router.api.wire import parse
    from router.errors import Refused
    from router.stages.read_task import NO_HEADERS, read_task

    if "text" in given and not {"messages", "input"} & set(given):
        text = given["text"]
        if not isinstance(text, str):
            raise ValueError("`text` must be a string")
        part = Part(Role.USER, Provenance.USER, text, "text", turn=0)
        return Task(Endpoint.CHAT, "auto", (part,), input_bytes=len(text.encode("utf-8", "replace")))
    body = {name: value for name, value in given.items() if name != "id"}
    endpoint = endpoint_of(body)
    body.setdefault("model", "auto")
    try:
        parsed = parse(endpoint, msgspec.json.encode(body), frozenset())
        policy = rules.sensitivity
        return read_task(endpoint, parsed, NO_HEADERS, policy.labels, policy.unmapped_label, policy)
    except Refused as refusal:
        raise ValueError(f"{refusal.param or 'body'}: {refusal.message}") from None


def endpoint_of(body: JsonObject) -> Endpoint:
    """Which wire format a body is in. Raises ValueError."""
    if "messages" in body:
        return Endpoint.CHAT
    if "input" in body:
        embeds = "embedding" in str(body.get("model", "")) or {"dimensions", "encoding_format"} & set(body)
        return Endpoint.EMBEDDINGS if embeds else Endpoint.RESPONSES
    raise ValueError("an object with `text`, `messages` or `input` was expected")


def _say(document: JsonObject) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
