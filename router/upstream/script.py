"""What the simulated provider says: words, tool calls, structured values and token counts, made from the ask alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import msgspec

from router.exchange import JsonObject
from routing_rules.task import Endpoint

LABEL = "[simulated] "
BYTES_PER_TOKEN = 4
READ_AT_MOST = 1_000  # characters of an ask that are looked at; the patterns below take quadratic time at worst
SUBJECT_WORDS = 3
MOST_CALLS = 3
DEEPEST_SCHEMA = 8
MOST_ITEMS = 16
MOST_VALUES = 1_000
LONGEST_STRING = 1_000

EFFORT = {"none": 0, "minimal": 10, "low": 30, "medium": 100, "high": 200, "xhigh": 300, "max": 400}
"""Per cent of the usual reasoning tokens, by reasoning effort."""

ANSWERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (
            r"\b(summar|condense|tl;?dr|key points)",
            "In short, about {subject}: the main point comes first, two reasons support it, and one question stays open. "
            "Nothing else in the text changes that picture.",
        ),
        (
            r"\btranslat",
            "Translation (simulated): the text about {subject} is rendered sentence by sentence, with names and figures kept as they are.",
        ),
        (
            r"\b(prove|proof|theorem|lemma|integral|equation|solve)",
            "Proof sketch for {subject}. Assume the opposite. Take the smallest counterexample; it can be made smaller by the same "
            "construction, which contradicts its choice. Hence the claim holds, and the bound is sharp.",
        ),
        (
            r"\b(review|refactor|debug|bug|code|function|unit test|stack trace)",
            "Review of {subject}. First, the error path is not tested. Second, one name says how and not what. Third, the loop does "
            "work that can be done once. The smallest safe change is to test the error path, then rename, then move the work out.",
        ),
        (
            r"\b(plan|roadmap|migrat|schedule|steps to|organi[sz]e)",
            "A plan for {subject}: first find out who depends on it; then do the smallest reversible step; measure; go on in three "
            "stages, each with an owner and a way back; close with a review.",
        ),
        (
            r"\b(extract|list (all|every)|pull out)",
            "Found in the text about {subject}: three entries, each with a name, a date and an amount.",
        ),
        (r"\b(classif|categori[sz]e|sentiment|label)", "Label: neutral. The words about {subject} lean neither way."),
        (
            r"\b(rewrite|rephrase|polish|shorten|tone)",
            "Here is a plainer version about {subject}: shorter sentences, the same facts, a friendly close.",
        ),
        (
            r"\b(brainstorm|ideas|suggest|names for)",
            "Five ideas around {subject}: start small, ask users, reuse what exists, measure early, tell the story.",
        ),
        (
            r"\b(write|draft|compose|e-?mail|letter|essay)",
            "Draft about {subject}: a clear opening, one paragraph of substance, a request, and thanks.",
        ),
        (
            r"\b(compare|analy[sz]e|evaluate|trade-?offs?)",
            "Analysis of {subject}: two options, one cheaper now, one cheaper later; the choice turns on how long it must last.",
        ),
        (r"^\s*(hi|hello|hey|good (morning|evening))\b", "Hello! I am the simulated provider and answer with canned text."),
    )
)
DEFAULT_ANSWER = (
    "On {subject}: the short answer is yes, within limits. The longer one depends on details that a real model would weigh."
)
AFTER_TOOLS = "The tools have answered ({tools}), and that settles the question about {subject}."

COMMON_WORDS = frozenset(
    "about above after again along also because before being below between both could does doing down during each from further have "
    "having here into just more most must need only other over please same should some such than that their them then there these "
    "they this those through under until very want were what when where which while will with would your write give make tell show "
    "explain".split()
)
GENERIC_NAME_WORDS = frozenset("get set the run call fetch make tool function use for and new from all by to do".split())


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the simulated model makes; `arguments` is JSON text, or free text where `custom`."""

    name: str
    arguments: str
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """All of one answer: a text per choice (as tokens) or tool calls, why it ends, and what it used."""

    choices: tuple[tuple[str, ...], ...]
    calls: tuple[ToolCall, ...]
    truncated: bool
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


@dataclass(slots=True)
class _Ask:
    """What the script needs to know of a request, the same for both wire formats."""

    text: str = ""  # the last user turn
    from_user: bool = True  # the last turn is the user's, not a tool result
    tools_used: list[str] = field(default_factory=list)
    tools: list[tuple[str, JsonObject, bool]] = field(default_factory=list)  # name, definition, custom
    choice: object = "auto"
    parallel: bool = True
    schema: JsonObject | None = None
    json_mode: bool = False
    n: int = 1
    limit: int | None = None
    effort: str = "medium"


def script(endpoint: Endpoint, body: JsonObject, *, reasoning: bool, count: int) -> Script:
    """The answer to a chat or responses body. The same body gets the same words; `count` varies the tokens from answer to answer."""
    ask = _READERS[endpoint](body)
    size = len(msgspec.json.encode(body))
    seed = crc32(ask.text.encode()) ^ (count * 2_654_435_761 & 0xFFFFFFFF)
    thought = (40 + seed % 160) * EFFORT.get(ask.effort, 100) // 100 if reasoning else 0
    calls = tuple(_calls(ask))
    if calls:
        choices: tuple[tuple[str, ...], ...] = ((),) * ask.n
        spoken = sum(8 + len(call.arguments) // BYTES_PER_TOKEN for call in calls) * ask.n
    else:
        choices = tuple(tuple(_tokens(_words(ask, index))) for index in range(ask.n))
        spoken = 0
    truncated = False
    if ask.limit is not None:
        thought = min(thought, ask.limit)
        room = ask.limit - thought
        truncated = any(len(tokens) > room for tokens in choices)
        choices = tuple(tokens[:room] for tokens in choices)
        spoken = min(spoken, room * ask.n)
    spoken += sum(len(tokens) for tokens in choices)
    taken = max(size // BYTES_PER_TOKEN - seed % 7, 1)
    return Script(
        choices=choices,
        calls=calls,
        truncated=truncated,
        input_tokens=taken,
        cached_tokens=taken * (seed % 61) // 100,
        output_tokens=spoken + thought,
        reasoning_tokens=thought,
    )


def example(schema: object, ask: str = "") -> Any:
    """A value that satisfies a JSON schema of the kind that tools and structured outputs use; strings come from the ask where they can.

    Raises ValueError where the schema unfolds into too many values.
    """
    return _Maker(schema, ask).make(schema)


class _Maker:
    """Makes one value. A schema may refer to itself, so depth and number of values are bounded."""

    def __init__(self, root: object, ask: str) -> None:
        self._root = root
        self._ask = ask
        self._left = MOST_VALUES

    def make(self, schema: object, name: str = "", depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("the schema unfolds into too many values")
        if not isinstance(schema, dict) or depth > DEEPEST_SCHEMA:
            return None
        if isinstance(reference := schema.get("$ref"), str):
            return self.make(_resolve(self._root, reference), name, depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return _mentioned(schema["enum"], self._ask)
        for several in ("anyOf", "oneOf"):
            if isinstance(options := schema.get(several), list) and options:
                real = [option for option in options if not (isinstance(option, dict) and option.get("type") == "null")]
                return self.make((real or options)[0], name, depth + 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((each for each in kind if each != "null"), "null")
        if kind == "object" or (kind is None and "properties" in schema):
            properties = schema.get("properties") or {}
            wanted = schema.get("required") or (list(properties)[:2] if depth == 0 else [])
            return {key: self.make(properties.get(key, {"type": "string"}), key, depth + 1) for key in wanted}
        if kind == "array":
            count = min(max(int(schema.get("minItems") or 0), 1), MOST_ITEMS)
            return [self.make(schema.get("items", {"type": "string"}), name, depth + 1) for _ in range(count)]
        if kind in ("integer", "number"):
            return _number(schema, whole=kind == "integer")
        if kind == "boolean":
            return True
        if kind == "null":
            return None
        return _string(schema, self._ask, name)


def subject(text: str) -> str:
    """A few plain words of a text; never figures, addresses or anything that could be a secret."""
    words = [word for word in re.findall(r"(?<![\w@./:-])[a-z]{4,12}(?![\w@/:-])", text.lower()) if word not in COMMON_WORDS]
    chosen = list(dict.fromkeys(words))[:SUBJECT_WORDS]
    return ", ".join(chosen) if chosen else "this"


def _words(ask: _Ask, index: int) -> str:
    if ask.schema is not None:
        return msgspec.json.encode(example(ask.schema, ask.text)).decode()
    about = subject(ask.text)
    lower = ask.text.lower()
    if ask.tools_used and not ask.from_user:
        said = AFTER_TOOLS.format(tools=", ".join(dict.fromkeys(ask.tools_used)), subject=about)
    else:
        said = next((text for pattern, text in ANSWERS if pattern.search(lower)), DEFAULT_ANSWER).format(subject=about)
    if ask.json_mode:
        return msgspec.json.encode({"simulated": True, "answer": said}).decode()
    return LABEL + said + (f" (Choice {index + 1}.)" if index else "")


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S{1,8}|\s+$", text)


def _calls(ask: _Ask) -> list[ToolCall]:
    """Every tool whose name or purpose the ask mentions, or whatever `tool_choice` demands."""
    if not ask.tools or ask.choice == "none":
        return []
    offered = {name: (definition, custom) for name, definition, custom in ask.tools}
    demanded = False
    if isinstance(ask.choice, dict):
        allowed = ask.choice.get("allowed_tools", ask.choice) if ask.choice.get("type") == "allowed_tools" else None
        if isinstance(allowed, dict):
            names = [name for tool in allowed.get("tools", ()) if (name := _choice_name(tool)) in offered]
            demanded = allowed.get("mode") == "required"
        else:
            names = [name for name in [_choice_name(ask.choice)] if name in offered]
            demanded = bool(names)
            if names:
                return [_call(names[0], *offered[names[0]], ask)]
    else:
        names = list(offered)
        demanded = ask.choice == "required"
    if not (ask.from_user or demanded):
        return []
    spoken = set(re.findall(r"[a-z]{3,}", ask.text.lower()))
    chosen = [name for name in names if _mentions(spoken, name, offered[name][0])]
    if demanded and not chosen:
        chosen = names[:1]
    return [_call(name, *offered[name], ask) for name in chosen[: MOST_CALLS if ask.parallel else 1]]


def _call(name: str, definition: JsonObject, custom: bool, ask: _Ask) -> ToolCall:
    if custom:
        return ToolCall(name, subject(ask.text), custom=True)
    value = example(definition.get("parameters") or {"type": "object"}, ask.text)
    return ToolCall(name, msgspec.json.encode(value if isinstance(value, dict) else {}).decode())


def _choice_name(choice: object) -> str:
    if not isinstance(choice, dict):
        return ""
    inner = choice.get(str(choice.get("type")), choice)
    return str((inner if isinstance(inner, dict) else choice).get("name", ""))


def _mentions(spoken: set[str], name: str, definition: JsonObject) -> bool:
    parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name) if len(part) >= 3} - GENERIC_NAME_WORDS
    if any(_alike(part, word) for part in parts for word in spoken):
        return True
    purpose = {
        word for word in re.findall(r"[a-z]{4,}", str(definition.get("description", "")).lower()) if word not in COMMON_WORDS
    }
    return len(purpose & spoken) >= 2


def _alike(part: str, word: str) -> bool:
    """Whether two words share their stem, roughly."""
    shared = min(len(part), len(word))
    return part == word or (shared >= 4 and part[:shared] == word[:shared])


def _mentioned(values: Sequence[Any], ask: str) -> Any:
    lower = ask.lower()
    return next((value for value in values if isinstance(value, str) and value.lower() in lower), values[0])


def _number(schema: JsonObject, *, whole: bool) -> int | float:
    low: float | None = schema.get("minimum")
    if low is None and "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + 1
    high: float | None = schema.get("maximum")
    if high is None and "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - 1
    value = 1.0 if low is None else max(low, 1.0)
    if high is not None and value > high:
        value = high
    if step := schema.get("multipleOf"):
        value = -(-value // step) * step
    return int(value) if whole else float(value)


FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:00:00Z",
    "time": "09:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000001",
}

NAMED: tuple[tuple[re.Pattern[str], re.Pattern[str], str], ...] = tuple(
    (re.compile(name), re.compile(found), otherwise)
    for name, found, otherwise in (
        (r"mail|recipient|^to$", r"[\w.+-]+@[\w-]+\.[\w.-]*\w", "someone@example.com"),
        (r"url|link|uri", r"https?://[^\s\"'<>)]+", "https://example.com/"),
        (r"path|file", r"[\w-]*/[\w./-]+|[\w-]+\.[a-z]{2,4}\b", "notes.txt"),
        (r"date|day|when", r"\d{4}-\d\d-\d\d", "2026-01-15"),
        (r"city|location|place|country", r"(?<=[a-z,] )[A-Z][a-z]{2,}", "Paris"),
        (r"(^|_)id$|number", r"\b[A-Z]{0,4}-?\d{2,12}\b", "1001"),
        (r"currency", r"\b(?:USD|EUR|GBP|CHF|JPY)\b", "USD"),
        (r"language|locale", r"\b(?:English|French|German|Spanish|Italian|Japanese)\b", "English"),
    )
)
"""Property name → what to look for in the ask → what to say where it is not there."""


def _string(schema: JsonObject, ask: str, name: str) -> str:
    if isinstance(default := schema.get("default"), str):
        return default
    if (known := FORMATS.get(str(schema.get("format")))) is not None:
        return known
    value = subject(ask) if ask else "simulated"
    for named, found, otherwise in NAMED:
        if named.search(name.lower()):
            match = found.search(ask)
            value = match[0] if match else otherwise
            break
    least, most = min(int(schema.get("minLength") or 0), LONGEST_STRING), schema.get("maxLength")
    value = value.ljust(least, ".")
    return value[: int(most)] if most is not None else value


def _resolve(root: object, reference: str) -> object:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step) if isinstance(found, dict) else None
    return found


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            str(part.get("text", "")) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def _read_chat(body: JsonObject) -> _Ask:
    ask = _Ask()
    names: dict[str, str] = {}
    for message in body.get("messages") or ():
        role = message.get("role")
        if role == "user":
            ask.text, ask.from_user, ask.tools_used = _text_of(message.get("content"))[:READ_AT_MOST], True, []
        elif role == "assistant":
            for call in message.get("tool_calls") or ():
                names[str(call.get("id"))] = str((call.get("function") or call.get("custom") or {}).get("name", "a tool"))
        elif role in ("tool", "function"):
            ask.from_user = False
            ask.tools_used.append(str(message.get("name") or names.get(str(message.get("tool_call_id")), "a tool")))
    for tool in body.get("tools") or ():
        kind = tool.get("type")
        definition = tool.get(kind) if kind in ("function", "custom") else None
        if isinstance(definition, dict):
            ask.tools.append((str(definition.get("name")), definition, kind == "custom"))
    ask.choice = body.get("tool_choice") or "auto"
    for definition in body.get("functions") or ():
        ask.tools.append((str(definition.get("name")), definition, False))
        legacy = body.get("function_call") or "auto"
        ask.choice, ask.parallel = legacy if isinstance(legacy, str) else {"type": "function", **legacy}, False
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        ask.schema = (wanted.get("json_schema") or {}).get("schema") or {"type": "object"}
    _read_common(ask, body, wanted)
    ask.n = int(body.get("n") or 1)
    ask.limit = body.get("max_completion_tokens") or body.get("max_tokens")
    ask.effort = body.get("reasoning_effort") or "medium"
    return ask


def _read_responses(body: JsonObject) -> _Ask:
    ask = _Ask()
    given = body.get("input")
    if isinstance(given, str):
        ask.text = given[:READ_AT_MOST]
        given = []
    names: dict[str, str] = {}
    for item in given or ():
        kind = item.get("type", "message")
        if kind == "message" and item.get("role") == "user":
            ask.text, ask.from_user, ask.tools_used = _text_of(item.get("content"))[:READ_AT_MOST], True, []
        elif kind in ("function_call", "custom_tool_call"):
            names[str(item.get("call_id"))] = str(item.get("name", "a tool"))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            ask.from_user = False
            ask.tools_used.append(names.get(str(item.get("call_id")), "a tool"))
    for tool in body.get("tools") or ():
        if tool.get("type") in ("function", "custom"):
            ask.tools.append((str(tool.get("name")), tool, tool["type"] == "custom"))
    ask.choice = body.get("tool_choice") or "auto"
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        ask.schema = wanted.get("schema") or {"type": "object"}
    _read_common(ask, body, wanted)
    ask.limit = body.get("max_output_tokens")
    ask.effort = (body.get("reasoning") or {}).get("effort") or "medium"
    return ask


def _read_messages(body: JsonObject) -> _Ask:
    ask = _Ask()
    names: dict[str, str] = {}
    for message in body.get("messages") or ():
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        if message.get("role") == "assistant":
            names |= {str(block.get("id")): str(block.get("name")) for block in blocks if block.get("type") == "tool_use"}
            continue
        answered = [names.get(str(block.get("tool_use_id")), "a tool") for block in blocks if block.get("type") == "tool_result"]
        said = _text_of(content)[:READ_AT_MOST]
        if answered and not said.strip():
            ask.from_user = False
            ask.tools_used += answered
        elif message.get("role") == "user":
            ask.text, ask.from_user, ask.tools_used = said, True, []
    for tool in body.get("tools") or ():
        if tool.get("type") in (None, "custom"):
            ask.tools.append((str(tool.get("name")), {**tool, "parameters": tool.get("input_schema")}, False))
    choice = body.get("tool_choice") or {}
    kind = choice.get("type")
    if kind == "tool":
        ask.choice = {"type": "function", "name": choice.get("name")}
    else:
        ask.choice = "required" if kind == "any" else kind or "auto"
    ask.parallel = choice.get("disable_parallel_tool_use") is not True
    options = body.get("output_config") or {}
    wanted = options.get("format") or body.get("output_format") or {}
    if wanted.get("type") == "json_schema":
        ask.schema = wanted.get("schema") or {"type": "object"}
    ask.limit = body.get("max_tokens")
    ask.effort = "none" if (body.get("thinking") or {}).get("type") == "disabled" else options.get("effort") or "medium"
    return ask


def _read_common(ask: _Ask, body: JsonObject, wanted: JsonObject) -> None:
    ask.json_mode = wanted.get("type") == "json_object"
    ask.parallel = ask.parallel and body.get("parallel_tool_calls") is not False


_READERS = {Endpoint.CHAT: _read_chat, Endpoint.RESPONSES: _read_responses, Endpoint.MESSAGES: _read_messages}
