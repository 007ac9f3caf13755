"""Read a checked body into the one normal form: parts, tools, features, wishes and references.

Everything that is sent is read: a string of the body either stands in the text of a part, makes a part that says it cannot be
read, or is a control field (a model name, a role, a type, a word of the specification). Ids are text: an app may write anything there.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from router.errors import Refused
from router.exchange import JsonObject
from router.stages import read_messages
from router.stages.conversation import chat_message, response_item, spoken_by_model
from router.stages.sealed import seal_of
from routing_rules.catalogue import searches_by_itself
from routing_rules.sensitivity import SensitivityPolicy
from routing_rules.server_lists import address_digest, address_of, brings_credentials, list_digests
from routing_rules.task import Endpoint, Feature, Part, Provenance, Role, Task, ToolAsk, ToolChoice
from routing_rules.vocabulary import Sensitivity


class RouterHeaders(msgspec.Struct, frozen=True):
    """The router's own request headers, checked. `retry_count` is how often the client has already tried."""

    purpose: str | None = None
    label: str | None = None
    session_id: str | None = None
    approval: str | None = None
    debug: bool = False
    retry_count: int = 0


NO_HEADERS = RouterHeaders()

HEADERS: dict[str, tuple[re.Pattern[str], str]] = {
    "x-router-purpose": (re.compile(r"\A[A-Za-z0-9._-]{1,64}\Z"), "1 to 64 of A-Z a-z 0-9 . _ -"),
    "x-router-label": (re.compile(r"\A[\x20-\x7e]{1,256}\Z"), "1 to 256 printable characters"),
    "x-session-id": (re.compile(r"\A[A-Za-z0-9._:-]{1,128}\Z"), "1 to 128 of A-Z a-z 0-9 . _ : -"),
    "x-router-approval": (re.compile(r"\A[A-Za-z0-9._:-]{1,256}\Z"), "1 to 256 of A-Z a-z 0-9 . _ : -"),
    "x-router-debug": (re.compile(r"\A(?:0|1|true|false)\Z"), "0, 1, true or false"),
    "x-stainless-retry-count": (re.compile(r"\A[0-9]{1,3}\Z"), "a number from 0 to 999"),
    "anthropic-version": (re.compile(r"\A(?:2023-06-01|2026-10-21)\Z"), "2023-06-01 or 2026-10-21"),
    "anthropic-beta": (re.compile(r"\A[A-Za-z0-9._, -]{0,4096}\Z"), "names of features, with commas between them"),
}
"""Request header → what its value must match, and the same in words. All are optional; but for the last two, none is forwarded."""


# Upper bounds in tokens of what is not text. A byte-level tokenizer never makes more tokens than there are bytes, so bytes
# bound the text; roles, separators and the frame that providers put around messages and tools come on top.
_BASE = 64
_PER_MESSAGE = 16
_PER_TOOL = 64
_IMAGE = 3_000  # the common vision models charge 85 to 2,500 for an image at `auto`, `low` or `high` detail
_IMAGE_ORIGINAL = 12_000  # `original` detail is cut into at most 10,000 patches
_AUDIO_BYTES_PER_TOKEN = 32  # at 8 kbit/s and 20 tokens a second a token still stands for 66 characters of base64


_ROLES: dict[str, tuple[Role, Provenance]] = {
    "system": (Role.SYSTEM, Provenance.APP),
    "developer": (Role.SYSTEM, Provenance.APP),
    "user": (Role.USER, Provenance.USER),
    "assistant": (Role.ASSISTANT, Provenance.MODEL),
    "tool": (Role.TOOL, Provenance.TOOL_RESULT),
    "function": (Role.TOOL, Provenance.TOOL_RESULT),
}

_CONTROL = frozenset(
    {
        "type",
        "role",
        "status",
        "phase",
        "detail",
        "execution",
        "prompt_cache_breakpoint",
        "button",
        "memory_limit",
        "media_type",
        "index",
        "start_index",
        "end_index",
    }
)
"""Fields inside items and parts whose values are positions or words of the specification."""

_IDS = frozenset({"id", "call_id", "caller_id", "approval_request_id", "container_id"})
"""Fields inside items and parts whose values are ids."""

_SPECIFIED = frozenset(
    """
    acknowledged_safety_checks action actions allowed_domains annotations approve authorization background caller city code command
    commands content country created_by data description diff domain domain_secrets encrypted_content environment exit_code
    file_data file_id file_ids file_url filename fingerprint image_url input keys logs max_output_length message name namespace
    network_policy operation outcome output output_format outputs path pattern pending_safety_checks quality queries query reason
    refusal region result results revised_prompt score scroll_x scroll_y server_label size skill_id skills source sources stderr
    stdout summary text timeout_ms timezone title url url_citation user value version working_directory x y
    """.split()
)
"""Fields inside items and parts whose shape the specification fixes, so that their own names are no content."""

_FREE = frozenset({"arguments", "attributes", "env", "error", "logprobs", "parsed", "parsed_arguments"})
"""Fields inside items and parts that hold JSON of any shape: all of it is content, names included."""

_RESULT_FIELDS = frozenset({"output", "outputs", "results", "result", "error"})
"""Fields of items that hold what a tool answered, whoever sent the item."""

_MESSAGE_FIELDS = frozenset({"role", "content", "tool_call_id"})
_MESSAGE_ITEM_FIELDS = frozenset({"type", "role", "content", "status", "phase"})
_TOOL_ITEM_FIELDS = frozenset({"type", "role", "tools", "status", "execution"})
_CHOICE_FIELDS = frozenset({"type", "name", "server_label"})
_CALL_FIELDS = frozenset({"id", "type", "index", "function", "custom"})
_PART_FIELDS: dict[str, frozenset[str]] = {
    kind: frozenset({"type", "prompt_cache_breakpoint", *fields})
    for kind, fields in {
        "text": ("text",),
        "input_text": ("text",),
        "image_url": ("image_url",),
        "input_image": ("image_url", "file_id", "detail"),
        "input_audio": ("input_audio",),
        "file": ("file",),
        "input_file": ("file_data", "file_id", "file_url", "filename", "detail"),
    }.items()
}
"""Fields that have a reader of their own, by the kind of message, item or part."""

_NESTED = {"code_interpreter": "container", "shell": "environment", "image_generation": "input_image_mask"}
"""Hosted tool → its field whose shape the specification fixes, where files may be named."""

_LONG_TEXT = 262_144  # characters
_LONG_FILE = 65_536  # characters; decoding more would hold up every other request
_INDEX = re.compile(r"\[[0-9]+\]")

_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/yaml", "application/x-", "application/javascript")
_DATA_HEAD = re.compile(r"data:(?P<media>[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64})(?:;charset=[A-Za-z0-9-]{1,32})?;base64,")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_PNG = "data:image/png;base64,"
_PICTURE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
_BINARY_STARTS = (b"%PDF", b"PK\x03\x04", b"\x89PNG", b"\xff\xd8\xff")


def read_headers(headers: Mapping[str, str]) -> RouterHeaders:
    """The router's own headers out of `headers` (lower-case names; others are ignored).

    Raises Refused(`invalid_request`) naming a header whose value is malformed, or an `x-router-` header that does not exist: a
    label that is misspelt must not go unheeded.
    """
    values: dict[str, str] = {}
    for name, value in headers.items():
        rule = HEADERS.get(name)
        if rule is not None:
            if not rule[0].match(value):
                raise Refused("invalid_request", f"the header `{name}` must be {rule[1]}", param=name)
            values[name] = value
        elif name.startswith("x-router-"):
            near = get_close_matches(name, HEADERS, n=1) or list(HEADERS)
            raise Refused("invalid_request", f"there is no such `x-router-` header; did you mean `{near[0]}`?")
    if not values:
        return NO_HEADERS
    return RouterHeaders(
        purpose=values.get("x-router-purpose"),
        label=values.get("x-router-label"),
        session_id=values.get("x-session-id"),
        approval=values.get("x-router-approval"),
        debug=values.get("x-router-debug") in ("1", "true"),
        retry_count=int(values.get("x-stainless-retry-count", "0")),
    )


def read_task(
    endpoint: Endpoint,
    body: JsonObject,
    headers: RouterHeaders,
    labels: Mapping[str, Sensitivity],
    unmapped: Sensitivity,
    policy: SensitivityPolicy | None = None,
    own: frozenset[str] = frozenset(),
) -> Task:
    """What an app asks, out of a body that `wire.parse` has checked. `own` names what of it is encrypted and was given to this app by us.

    `labels` maps the organisation's labels to levels; a declared label that is neither there nor a level counts as `unmapped`. With
    a `policy` its own words hold instead, also for labels that `metadata` declares, and it may have an unmapped label refused:
    Refused(`invalid_request`).
    """
    policy = policy or SensitivityPolicy(labels=dict(labels), unmapped_label=unmapped)
    reading = _Reading(own)
    readers = _READERS[endpoint]
    reading.features.add(_API[endpoint])
    for field, value in body.items():
        if value is None:
            continue
        try:
            read = readers[field]
        except KeyError:
            reading.extra_fields.add(field)
            reading.free(value, Role.USER, Provenance.METADATA, field)
        else:
            if read is not None:
                read(reading, value)
    if searches_by_itself(body["model"]) and endpoint is not Endpoint.EMBEDDINGS:
        reading.tools.append(ToolAsk("web_search", "web_search", "model"))
    return Task(
        endpoint=endpoint,
        wish=body["model"],
        parts=tuple(reading.parts),
        tools=tuple(reading.tools),
        tool_choice=reading.chosen(),
        features=frozenset(reading.features),
        extra_fields=frozenset(reading.extra_fields),
        declared=_declared(headers.label, body.get("metadata"), policy),
        purpose=headers.purpose,
        session_header=headers.session_id,
        end_user=_end_user(endpoint, body),
        stream=body.get("stream") is True,
        choices=body.get("n") or 1,
        max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens"),
        reasoning_effort=reading.reasoning_effort,
        input_bytes=reading.bound,
        input_unbounded=reading.unbounded,
        conversation=tuple(reading.conversation),
        assistant_turns=tuple(reading.assistant_turns),
        issued_ids=tuple(reading.issued),
        previous_response_id=body.get("previous_response_id"),
    )


def _end_user(endpoint: Endpoint, body: JsonObject) -> str | None:
    """Whom the app names as its end user."""
    if endpoint is Endpoint.MESSAGES:
        return (body.get("metadata") or {}).get("user_id")
    return body.get("safety_identifier") or body.get("user")


def _declared(header: str | None, metadata: Mapping[str, str] | None, policy: SensitivityPolicy) -> Sensitivity | None:
    """The highest of the labels that an app declares, in its header, in fields of `metadata`, or as a labelling product writes them."""
    if header is None and not metadata:
        return None
    labels = [] if header is None else [("x-router-label", header)]
    for name, value in (metadata or {}).items():
        if name in policy.label_fields:
            labels.append((f"metadata.{name}", value))
        elif name.startswith("MSIP_Label_") and name.endswith("_Enabled") and value.lower() == "true":
            labels.append((f"metadata.{name}", name[len("MSIP_Label_") : -len("_Enabled")]))
    highest = None
    for place, label in labels:
        level = policy.label_level(label)
        if level is None:
            if policy.refuse_unmapped:
                raise Refused("invalid_request", "the declared label is none that the organisation has mapped", param=place)
            level = policy.unmapped_label
        highest = level if highest is None else max(highest, level)
    return highest


class _Reading:
    """What has been read so far of one body."""

    __slots__ = (
        "assistant_turns",
        "bound",
        "conversation",
        "extra_fields",
        "features",
        "issued",
        "own",
        "parts",
        "reasoning_effort",
        "tool_choice",
        "tools",
        "unbounded",
    )

    def __init__(self, own: frozenset[str]) -> None:
        self.own = own
        self.parts: list[Part] = []
        self.tools: list[ToolAsk] = []
        self.tool_choice = ToolChoice()
        self.features: set[Feature] = set()
        self.extra_fields: set[str] = set()
        self.reasoning_effort: str | None = None
        self.bound = _BASE
        self.unbounded = False
        self.conversation: list[bytes] = []
        self.assistant_turns: list[int] = []
        self.issued: dict[str, None] = {}  # a set that keeps its order

    # Parts

    def text(self, text: str, role: Role, provenance: Provenance, path: str, turn: int = -1, call_id: str | None = None) -> None:
        """A text that is sent. JSON inside it is read once more with its escapes resolved, at `path#json`."""
        if not text:
            return
        self.parts.append(Part(role, provenance, text, path, turn, call_id))
        self.bound += len(text) if text.isascii() else len(text.encode())
        if "\\" in text and text.lstrip()[:1] in ("{", "[", '"'):
            try:
                value = msgspec.json.decode(text)
                # Walking a long text would hold up every other request; printing it anew resolves all but the short escapes.
                plain = "\n".join(_strings(value, [])) if len(text) < _LONG_TEXT else msgspec.json.encode(value).decode()
            except (msgspec.MsgspecError, ValueError, RecursionError):
                return  # not JSON after all
            if plain:
                self.parts.append(Part(role, provenance, plain, f"{path}#json", turn, call_id))

    def unreadable(self, kind: str, role: Role, path: str, turn: int = -1, call_id: str | None = None, payload: str = "") -> None:
        """What is not read here. `payload`: a file, for whoever can read its text away from the event loop."""
        self.parts.append(Part(role, Provenance.ATTACHMENT, "", path, turn, call_id, kind, payload))

    def sealed(self, data: str, role: Role, path: str, turn: int, call_id: str | None = None) -> None:
        """What only its provider can read. It leads back to the session that it was given in, and is no more than that holds."""
        seal = seal_of(data)
        self.issued_id(seal)
        if seal not in self.own:
            self.unreadable("encrypted", role, path, turn, call_id)
        self.bound += len(data)

    def image(self, url: str | None, detail: str | None, role: Role, path: str, turn: int, call_id: str | None = None) -> None:
        self.features.add(Feature.VISION)
        if url and url.startswith("data:") and not _is_picture(url):
            text = _decoded(url)
            # What stands there for a picture is one only for its sender: it may be a file with a text.
            self.unreadable("image", role, path, turn, call_id, "" if text is not None else url)
            self.text(url if text is None else text, role, Provenance.ATTACHMENT, path, turn, call_id)
        else:
            self.unreadable("image", role, path, turn, call_id)
            if url and not url.startswith("data:"):
                self.text(url, role, Provenance.ATTACHMENT, path, turn, call_id)
        self.bound += _IMAGE_ORIGINAL if detail == "original" else _IMAGE

    def audio(self, data: str | None, role: Role, path: str, turn: int) -> None:
        self.features.add(Feature.AUDIO)
        self.unreadable("audio", role, path, turn)
        if data is None:
            self.unbounded = True
        else:
            self.bound += len(data) // _AUDIO_BYTES_PER_TOKEN + 1
            self.undecodable(data, role, path, turn)

    def undecodable(self, data: str, role: Role, path: str, turn: int, call_id: str | None = None) -> None:
        """What stands where base64 should, and is none: plain text that is sent all the same."""
        if not _is_base64(data):
            self.text(data, role, Provenance.ATTACHMENT, path, turn, call_id)

    def file(self, file: JsonObject, role: Role, path: str, turn: int, call_id: str | None = None) -> None:
        """A file by its data, its id at the provider, or its address."""
        self.features.add(Feature.FILES)
        if filename := file.get("filename"):
            self.text(filename, role, Provenance.ATTACHMENT, f"{path}.filename", turn, call_id)
        if data := file.get("file_data"):
            self.file_data(data, role, f"{path}.file_data", turn, call_id)
        if file_id := file.get("file_id"):
            self.elsewhere("file", file_id, role, f"{path}.file_id", turn, call_id)
        if url := file.get("file_url"):
            self.elsewhere("remote", url, role, f"{path}.file_url", turn, call_id)

    def file_data(self, data: str, role: Role, path: str, turn: int, call_id: str | None = None) -> None:
        """A file that is sent along."""
        self.features.add(Feature.FILES)
        text = _decoded(data)
        if text is None:
            self.unreadable("file", role, path, turn, call_id, data)
            if len(data) <= _LONG_FILE:  # else whoever reads the file looks at that too
                self.undecodable(data, role, path, turn, call_id)
            self.unbounded = True  # a page of a few bytes may unfold to any number of tokens
        else:
            self.text(text, role, Provenance.ATTACHMENT, path, turn, call_id)

    def elsewhere(self, kind: str, where: str, role: Role, path: str, turn: int, call_id: str | None = None) -> None:
        """A file that the provider gets from somewhere else, by its id or its address."""
        self.features.add(Feature.FILES)
        self.unreadable(kind, role, path, turn, call_id)
        self.text(where, role, Provenance.ATTACHMENT, path, turn, call_id)
        self.unbounded = True

    def leaves(
        self, value: Any, role: Role, provenance: Provenance, path: str, turn: int = -1, call_id: str | None = None
    ) -> None:
        """Every string inside a value that has no reader of its own."""
        kind = type(value)
        if kind is str:
            self.text(value, role, provenance, path, turn, call_id)
        elif kind is list:
            for index, held in enumerate(value):
                self.leaves(held, role, provenance, f"{path}[{index}]", turn, call_id)
        elif kind is dict:
            for name, held in value.items():
                if held is None or name in _CONTROL:
                    continue
                of = (Role.TOOL, Provenance.TOOL_RESULT) if name in _RESULT_FIELDS else (role, provenance)
                if name in _IDS:
                    self.leaves(held, role, Provenance.METADATA, f"{path}.{name}", turn, call_id)
                elif name in _SPECIAL:
                    for place, one in ((f"{path}.{name}", held),) if type(held) is str else _places(held, f"{path}.{name}"):
                        _SPECIAL[name](self, one, role, place, turn, call_id)
                elif name in _SPECIFIED:
                    self.leaves(held, *of, f"{path}.{name}", turn, call_id)
                elif name in _FREE:
                    self.free(held, *of, f"{path}.{name}", turn, call_id)
                else:
                    self.stranger(name, held, *of, path, turn, call_id)

    def free(self, value: Any, role: Role, provenance: Provenance, path: str, turn: int = -1, call_id: str | None = None) -> None:
        """JSON of any shape."""
        if value or type(value) is int or type(value) is float:
            self.text(value if type(value) is str else _json_text(value), role, provenance, path, turn, call_id)

    def stranger(
        self, name: str, value: Any, role: Role, provenance: Provenance, path: str, turn: int, call_id: str | None = None
    ) -> None:
        """A field that the specification does not know and some deployment takes. Its own name is content too."""
        self.extra_fields.add(f"{_INDEX.sub('[]', path)}.{name}")
        self.text(name, role, provenance, path, turn, call_id)
        self.free(value, role, provenance, path, turn, call_id)

    def issued_id(self, issued: Any) -> None:
        if type(issued) is str and issued:
            self.issued[issued] = None

    def said(self, canonical: bytes | None, by_model: bool) -> None:
        if canonical is None:
            return
        if by_model:
            self.assistant_turns.append(len(self.conversation))
        self.conversation.append(canonical)
        self.bound += _PER_MESSAGE

    # Chat

    def messages(self, messages: list[JsonObject]) -> None:
        for turn, message in enumerate(messages):
            role, provenance = _ROLES[message["role"]]
            call_id = None
            if role is Role.TOOL:
                self.features.add(Feature.TOOLS)
                call_id = message.get("tool_call_id")
                self.issued_id(call_id)
            content = message.get("content")
            path = f"messages[{turn}]"
            if call_id:
                self.text(call_id, role, Provenance.METADATA, f"{path}.tool_call_id", turn, call_id)
            if type(content) is str:
                self.text(content, role, provenance, f"{path}.content", turn, call_id)
            elif content:
                for index, part in enumerate(content):
                    self.content_part(part, role, provenance, f"{path}.content[{index}]", turn, call_id)
            if len(message) > 2 or "content" not in message:
                self.rest_of_message(message, role, provenance, path, turn)
            self.said(chat_message(message), role is Role.ASSISTANT)

    def rest_of_message(self, message: JsonObject, role: Role, provenance: Provenance, path: str, turn: int) -> None:
        for field, value in message.items():
            if value is None or field in _MESSAGE_FIELDS:
                continue
            if field == "tool_calls":
                for index, call in enumerate(value):
                    self.chat_call(call, f"{path}.tool_calls[{index}]", turn)
            elif field == "function_call":
                self.called(value, None, f"{path}.function_call", turn)
            elif field == "name":
                self.text(value, role, Provenance.METADATA, f"{path}.name", turn)
            elif field == "audio":
                self.audio(value.get("data"), role, f"{path}.audio", turn)
                self.text(value["id"], role, Provenance.METADATA, f"{path}.audio.id", turn)
                self.features.add(Feature.STORED_STATE)
                self.text(value.get("transcript") or "", role, provenance, f"{path}.audio.transcript", turn)
            elif field == "refusal" or field == "annotations":
                self.leaves(value, role, provenance, f"{path}.{field}", turn)
            elif field == "parsed":
                self.free(value, role, provenance, f"{path}.parsed", turn)
            else:
                self.stranger(field, value, role, provenance, path, turn)

    def chat_call(self, call: JsonObject, path: str, turn: int) -> None:
        self.features.add(Feature.TOOLS)
        self.issued_id(call["id"])
        self.text(call["id"], Role.ASSISTANT, Provenance.METADATA, f"{path}.id", turn, call["id"])
        if call["type"] == "custom":
            self.features.add(Feature.CUSTOM_TOOLS)
            self.called(call["custom"], call["id"], f"{path}.custom", turn)
        else:
            self.called(call["function"], call["id"], f"{path}.function", turn)
        if not call.keys() <= _CALL_FIELDS:
            for field, value in call.items():
                if field not in _CALL_FIELDS:
                    self.stranger(field, value, Role.ASSISTANT, Provenance.MODEL, path, turn, call["id"])

    def called(self, call: JsonObject, call_id: str | None, path: str, turn: int) -> None:
        for field, value in call.items():
            if value is not None:
                self.free(value, Role.ASSISTANT, Provenance.MODEL, f"{path}.{field}", turn, call_id)

    def content_part(
        self, part: JsonObject, role: Role, provenance: Provenance, path: str, turn: int, call_id: str | None
    ) -> None:
        """One part of a content, of either format."""
        kind = part["type"]
        if kind in ("text", "input_text"):
            self.text(part["text"], role, provenance, f"{path}.text", turn, call_id)
        elif kind == "image_url":
            image = part["image_url"]
            self.image(image["url"], image.get("detail"), role, f"{path}.image_url.url", turn, call_id)
        elif kind == "input_image":
            name = "image_url" if part.get("image_url") else "file_id"
            self.image(part.get("image_url"), part.get("detail"), role, f"{path}.{name}", turn, call_id)
            if file_id := part.get("file_id"):
                self.text(file_id, role, Provenance.ATTACHMENT, f"{path}.file_id", turn, call_id)
                if name == "image_url":
                    self.unreadable("image", role, f"{path}.file_id", turn, call_id)
        elif kind == "input_audio":
            self.audio(part["input_audio"]["data"], role, f"{path}.input_audio.data", turn)
        elif kind == "file":
            self.file(part["file"], role, f"{path}.file", turn, call_id)
        elif kind == "input_file":
            self.file(part, role, path, turn, call_id)
        else:  # output_text with its citations, refusal
            cited = part.get("annotations")
            if cited and provenance is Provenance.USER:  # words of what is cited, not of who cites it
                part = {name: value for name, value in part.items() if name != "annotations"}
                self.leaves(cited, role, Provenance.ATTACHMENT, f"{path}.annotations", turn, call_id)
            self.leaves(part, role, provenance, path, turn, call_id)
            return
        if not part.keys() <= _PART_FIELDS[kind]:
            for field, value in part.items():
                if field not in _PART_FIELDS[kind]:
                    self.stranger(field, value, role, provenance, path, turn, call_id)

    def chat_tools(self, tools: list[JsonObject]) -> None:
        for index, tool in enumerate(tools):
            path = f"tools[{index}]"
            kind = tool["type"]
            if kind in ("function", "custom"):
                self.tool(tool[kind], kind, path)
            else:
                self.hosted_tool(tool, path, {})

    def functions(self, functions: list[JsonObject]) -> None:
        for index, function in enumerate(functions):
            self.tool(function, "function", f"functions[{index}]")

    def chat_tool_choice(self, choice: Any) -> None:
        if type(choice) is str:
            self.tool_choice = ToolChoice(choice)
        elif choice["type"] == "allowed_tools":
            allowed = choice["allowed_tools"]
            names = tuple(tool[tool["type"]]["name"] for tool in allowed["tools"])
            self.tool_choice = ToolChoice("allowed", names, allowed["mode"] == "required")
        else:
            self.tool_choice = ToolChoice("named", (choice[choice["type"]]["name"],), True)

    def function_call(self, choice: Any) -> None:
        self.tool_choice = ToolChoice(choice) if type(choice) is str else ToolChoice("named", (choice["name"],), True)

    def web_search_options(self, options: JsonObject) -> None:
        self.features.add(Feature.HOSTED_TOOLS)
        self.tools.append(ToolAsk("web_search", "web_search", "web_search_options"))
        if location := options.get("user_location"):
            path = "web_search_options.user_location.approximate"
            self.leaves(location["approximate"], Role.SYSTEM, Provenance.METADATA, path)

    def response_format(self, wanted: JsonObject) -> None:
        self.format(wanted, wanted.get("json_schema") or {}, "response_format")

    def format(self, wanted: JsonObject, schema: JsonObject, path: str) -> None:
        if wanted["type"] == "json_object":
            self.features.add(Feature.JSON_MODE)
        elif wanted["type"] == "json_schema":
            self.features.add(Feature.JSON_SCHEMA)
            self.text(_definition(schema), Role.SYSTEM, Provenance.METADATA, path)

    # Tools

    def tool(self, tool: JsonObject, kind: str, path: str, namespace: str = "") -> None:
        """A function or custom tool, flat or as it stands inside its chat wrapper."""
        self.features.add(Feature.TOOLS if kind == "function" else Feature.CUSTOM_TOOLS)
        self.tools.append(ToolAsk(f"{namespace}{tool['name']}", kind, path))
        self.text(_definition(tool), Role.SYSTEM, Provenance.TOOL_DEFINITION, path)
        self.bound += _PER_TOOL

    def responses_tools(self, tools: list[JsonObject], under: str = "") -> None:
        for index, tool in enumerate(tools):
            path = f"{under}tools[{index}]"
            kind = tool["type"]
            if kind in ("function", "custom"):
                self.tool(tool, kind, path)
            elif kind == "namespace":
                self.text(f"{tool['name']}\n{tool['description']}", Role.SYSTEM, Provenance.TOOL_DEFINITION, path)
                for place, inner in enumerate(tool["tools"]):
                    self.tool(inner, inner["type"], f"{path}.tools[{place}]", f"{tool['name']}.")
            else:
                self.hosted_tool(tool, path)

    def hosted_tool(self, tool: JsonObject, path: str, nested: Mapping[str, str] = _NESTED) -> None:
        """A tool that the provider runs, or of a type that nobody knows. `nested`: the fields of a known shape, by the tool's type."""
        self.features.add(Feature.HOSTED_TOOLS)
        kind = tool["type"]
        self.tools.append(_server_ask(tool, path) if kind == "mcp" else ToolAsk(kind, kind, path))
        rest = {}
        for field, value in tool.items():
            if field in ("authorization", "headers"):  # apart from the definition, so that a finding says where it is
                self.free(value, Role.SYSTEM, Provenance.TOOL_DEFINITION, f"{path}.{field}")
            elif field == nested.get(kind):
                self.leaves(value, Role.SYSTEM, Provenance.TOOL_DEFINITION, f"{path}.{field}")
            elif field != "type" and value is not None:
                rest[field] = value
        self.text(f"{kind}\n{_json_text(rest)}" if rest else kind, Role.SYSTEM, Provenance.TOOL_DEFINITION, path)
        self.bound += _PER_TOOL

    # Responses

    def responses_input(self, given: Any) -> None:
        if type(given) is str:
            self.text(given, Role.USER, Provenance.USER, "input", 0)
            self.said(response_item({"role": "user", "content": given}), False)
            return
        for turn, item in enumerate(given):
            self.item(item, f"input[{turn}]", turn)

    def item(self, item: JsonObject, path: str, turn: int) -> None:
        kind = item.get("type") or "message"
        if kind == "message":
            role, provenance = _ROLES[item["role"]]
            content = item["content"]
            if type(content) is str:
                self.text(content, role, provenance, f"{path}.content", turn)
            else:
                for index, part in enumerate(content):
                    self.content_part(part, role, provenance, f"{path}.content[{index}]", turn, None)
            self.rest_of_item(item, _MESSAGE_ITEM_FIELDS, role, provenance, path, turn)
        elif kind in ("additional_tools", "tool_search_output"):
            self.responses_tools(item["tools"], f"{path}.")
            self.issued_id(item.get("call_id"))
            self.rest_of_item(item, _TOOL_ITEM_FIELDS, Role.SYSTEM, Provenance.TOOL_DEFINITION, path, turn)
        else:
            self.other_item(item, kind, path, turn)
        self.said(response_item(item), spoken_by_model(item))

    def rest_of_item(
        self, item: JsonObject, known: frozenset[str], role: Role, provenance: Provenance, path: str, turn: int
    ) -> None:
        if not item.keys() <= known:
            self.leaves({field: value for field, value in item.items() if field not in known}, role, provenance, path, turn)

    def other_item(self, item: JsonObject, kind: str, path: str, turn: int) -> None:
        call_id = item.get("call_id")
        self.issued_id(call_id)
        self.issued_id(item.get("approval_request_id"))
        role, provenance = Role.ASSISTANT, Provenance.MODEL
        if kind.endswith("_output"):
            role, provenance = Role.TOOL, Provenance.TOOL_RESULT
        elif kind == "mcp_list_tools":
            role, provenance = Role.SYSTEM, Provenance.TOOL_DEFINITION
            self.tools.append(ToolAsk("mcp", "mcp", path, item["server_label"], listed=list_digests(item["tools"])))
            self.features.add(Feature.HOSTED_TOOLS)
            for index, tool in enumerate(item["tools"]):
                self.text(_definition(tool), role, provenance, f"{path}.tools[{index}]", turn)
                self.bound += _PER_TOOL
            item = {field: value for field, value in item.items() if field != "tools"}
        elif kind == "mcp_approval_response":
            role, provenance = Role.USER, Provenance.USER
        elif kind == "reasoning":
            self.issued_id(item.get("id"))
        output = item.get("output")
        if type(output) is list and kind in ("function_call_output", "custom_tool_call_output"):
            for index, part in enumerate(output):
                self.content_part(part, role, provenance, f"{path}.output[{index}]", turn, call_id)
            item = {field: value for field, value in item.items() if field != "output"}
        if kind == "image_generation_call":
            if item.get("result"):
                self.image(f"{_PNG}{item['result']}", None, role, f"{path}.result", turn)
            else:  # the provider may know by its id what it is
                self.image(None, None, role, f"{path}.result", turn)
            item = {field: value for field, value in item.items() if field != "result"}
        if kind in ("function_call", "function_call_output"):
            self.features.add(Feature.TOOLS)
        elif kind in ("custom_tool_call", "custom_tool_call_output"):
            self.features.add(Feature.CUSTOM_TOOLS)
        self.leaves(item, role, provenance, path, turn, call_id)

    def responses_tool_choice(self, choice: Any) -> None:
        if type(choice) is str:
            self.tool_choice = ToolChoice(choice)
        elif choice["type"] == "allowed_tools":
            names = tuple(_chosen(tool) for tool in choice["tools"])
            for index, tool in enumerate(choice["tools"]):
                if not tool.keys() <= _CHOICE_FIELDS or tool["type"] == "mcp":
                    self.free(tool, Role.SYSTEM, Provenance.METADATA, f"tool_choice.tools[{index}]")
            self.tool_choice = ToolChoice("allowed", names, choice["mode"] == "required")
        else:
            self.tool_choice = ToolChoice("named", (_chosen(choice),), True)
            if choice["type"] == "mcp":  # may name one of the server's tools, which only the server knows
                self.text(choice.get("name") or "", Role.SYSTEM, Provenance.METADATA, "tool_choice.name")

    def chosen(self) -> ToolChoice:
        """The choice with names as the asks have them: a tool inside a namespace may be chosen by its own name, a hosted tool by
        another variant of its type."""
        choice = self.tool_choice
        if not choice.names:
            return choice
        known = {name for ask in self.tools for name in (ask.name, ask.server)}
        return msgspec.structs.replace(
            choice, names=tuple(name if name in known else self.asked_as(name) for name in choice.names)
        )

    def asked_as(self, name: str) -> str:
        for ask in self.tools:
            if ask.kind in ("function", "custom"):
                if ask.name.endswith(f".{name}"):
                    return ask.name
            elif ask.kind.startswith(name) or name.startswith(ask.kind):
                return ask.kind
        return name

    def text_options(self, options: JsonObject) -> None:
        if wanted := options.get("format"):
            self.format(wanted, wanted, "text.format")

    def reasoning(self, options: JsonObject) -> None:
        self.reasoning_effort = options.get("effort")

    def include(self, wanted: list[str]) -> None:
        if "message.output_text.logprobs" in wanted:
            self.features.add(Feature.LOGPROBS)

    def background(self, wanted: bool) -> None:
        if wanted:
            self.features.add(Feature.BACKGROUND)

    def previous_response_id(self, issued: str) -> None:
        self.issued_id(issued)
        self.features.add(Feature.STORED_STATE)
        self.unbounded = True

    # Embeddings

    def embeddings_input(self, given: Any) -> None:
        if type(given) is str:
            self.text(given, Role.USER, Provenance.USER, "input", 0)
        elif type(given[0]) is str:
            for index, text in enumerate(given):
                self.text(text, Role.USER, Provenance.USER, f"input[{index}]", index)
        else:
            self.unreadable("tokens", Role.USER, "input", 0)
            self.bound += sum(len(tokens) if type(tokens) is list else 1 for tokens in given)

    # Either

    def effort(self, wanted: str) -> None:
        self.reasoning_effort = wanted

    def metadata(self, pairs: dict[str, str]) -> None:
        lines = "\n".join(f"{name}: {value}" for name, value in pairs.items())
        self.text(lines, Role.USER, Provenance.METADATA, "metadata")

    def stop(self, stop: Any) -> None:
        for text in (stop,) if type(stop) is str else stop:
            self.text(text, Role.USER, Provenance.METADATA, "stop")

    def prediction(self, prediction: JsonObject) -> None:
        self.features.add(Feature.PREDICTION)
        content = prediction["content"]
        if type(content) is str:
            self.text(content, Role.ASSISTANT, Provenance.METADATA, "prediction.content")
            return
        for index, part in enumerate(content):
            self.text(part["text"], Role.ASSISTANT, Provenance.METADATA, f"prediction.content[{index}].text")

    def spoken(self, options: JsonObject) -> None:
        voice = options.get("voice")
        if type(voice) is dict:
            self.text(voice["id"], Role.SYSTEM, Provenance.METADATA, "audio.voice.id")

    def modalities(self, wanted: list[str]) -> None:
        if "audio" in wanted:
            self.features.add(Feature.AUDIO)


def _strings(value: Any, into: list[str]) -> list[str]:
    """`into`, with every string and number of a JSON value, names included, in the order they stand in."""
    kind = type(value)
    if kind is dict:
        for name, held in value.items():
            into.append(name)
            _strings(held, into)
    elif kind is list:
        for held in value:
            _strings(held, into)
    elif kind is str:
        into.append(value)
    elif kind is int or kind is float:
        into.append(str(value))
    return into


def _places(values: list[str], path: str) -> Iterator[tuple[str, str]]:
    return ((f"{path}[{index}]", value) for index, value in enumerate(values))


def _json_text(value: Any) -> str:
    """JSON as text, with its strings repeated plainly where the notation escapes them."""
    text = msgspec.json.encode(value).decode()
    return text if "\\" not in text else "\n".join(_strings(value, [text]))


def _server_ask(tool: JsonObject, path: str) -> ToolAsk:
    """The ask for an MCP server."""
    label = tool.get("server_label")
    address = address_of(tool)
    return ToolAsk(
        "mcp",
        "mcp",
        path,
        label if type(label) is str else None,
        None if address is None else address_digest(address),
        brings_credentials(tool),
    )


def _definition(tool: JsonObject) -> str:
    """What a model reads of a function, custom tool or answer schema: name, description, and the rest as JSON."""
    rest = {
        field: value
        for field, value in tool.items()
        if value is not None and field not in ("name", "description", "type", "strict")
    }
    name, description = tool["name"], tool.get("description") or ""
    return f"{name}\n{description}\n{_json_text(rest)}" if rest else f"{name}\n{description}"


def _decoded(data: str) -> str | None:
    """The text of a short file sent as base64 or as a data URI; None where it is not text, or too long to be decoded here."""
    if len(data) > _LONG_FILE:
        return None
    if data.startswith("data:"):
        head = _DATA_HEAD.match(data)
        if head is None or not (head["media"].startswith(_TEXT_TYPES) or head["media"].endswith(("+json", "+xml"))):
            return None
        data = data[head.end() :]
    try:
        content = b64decode(data, validate=True)
        if content.startswith(_BINARY_STARTS) or b"\0" in content:
            return None
        return content.decode()
    except ValueError:
        return None


def _is_base64(data: str) -> bool:
    """Whether nothing but base64 stands there, after the head of a data URI where there is one."""
    head = _DATA_HEAD.match(data)
    return not data[head.end() if head else 0 :].encode().translate(None, _BASE64)


def _is_picture(url: str) -> bool:
    """Whether an address is a data URI that holds a picture, of which no text can be read."""
    head = _DATA_HEAD.match(url)
    if head is None or not head["media"].startswith("image/"):
        return False
    try:
        start = b64decode(url[head.end() : head.end() + 16].rstrip("=") + "==")
    except ValueError:
        return False
    return (start.startswith(_PICTURE_STARTS) or start[4:8] == b"ftyp") and _is_base64(url)


def _chosen(choice: JsonObject) -> str:
    """The name by which a tool choice of the responses format picks: a function's, an MCP server's label, or the hosted type."""
    key = {"function": "name", "custom": "name", "mcp": "server_label"}.get(choice["type"], "type")
    return str(choice[key])


def _wants(feature: Feature) -> Callable[[_Reading, Any], None]:
    def reader(reading: _Reading, value: Any) -> None:
        if value:
            reading.features.add(feature)

    return reader


def _several(reading: _Reading, count: int) -> None:
    if count > 1:
        reading.features.add(Feature.SEVERAL_CHOICES)


def _seed(reading: _Reading, seed: int) -> None:
    reading.features.add(Feature.SEED)
    if not -(2**31) <= seed < 2**32:  # as long as the number of a card can be
        reading.text(str(seed), Role.USER, Provenance.METADATA, "seed")


def _plain(path: str, role: Role = Role.USER, provenance: Provenance = Provenance.METADATA) -> Callable[[_Reading, Any], None]:
    def reader(reading: _Reading, value: str) -> None:
        reading.text(value, role, provenance, path)

    return reader


def _image_leaf(reading: _Reading, url: str, role: Role, path: str, turn: int, call_id: str | None) -> None:
    reading.image(url, None, role, path, turn, call_id)


def _file_leaf(reading: _Reading, file_id: str, role: Role, path: str, turn: int, call_id: str | None) -> None:
    reading.unreadable("file", role, path, turn, call_id)
    reading.text(file_id, role, Provenance.ATTACHMENT, path, turn, call_id)
    reading.unbounded = True


def _data_leaf(reading: _Reading, data: str, role: Role, path: str, turn: int, call_id: str | None) -> None:
    reading.unreadable("file", role, path, turn, call_id, data)
    if len(data) <= _LONG_FILE:
        reading.undecodable(data, role, path, turn, call_id)
    reading.unbounded = True


def _encrypted_leaf(reading: _Reading, text: str, role: Role, path: str, turn: int, call_id: str | None) -> None:
    reading.sealed(text, role, path, turn, call_id)


_SPECIAL: dict[str, Callable[[_Reading, str, Role, str, int, str | None], None]] = {
    "image_url": _image_leaf,
    "file_id": _file_leaf,
    "file_ids": _file_leaf,
    "data": _data_leaf,
    "encrypted_content": _encrypted_leaf,
}
"""Strings inside items that are no text."""

Reader = Callable[[_Reading, Any], None]

_COMMON: dict[str, Reader | None] = {
    "model": None,
    "metadata": _Reading.metadata,
    "moderation": None,
    "parallel_tool_calls": _wants(Feature.PARALLEL_TOOLS),
    "prompt_cache_key": _plain("prompt_cache_key"),
    "prompt_cache_options": None,
    "prompt_cache_retention": None,
    "safety_identifier": _plain("safety_identifier"),
    "service_tier": None,
    "stream": _wants(Feature.STREAMING),
    "stream_options": None,
    "temperature": None,
    "top_logprobs": _wants(Feature.LOGPROBS),
    "top_p": None,
    "user": _plain("user"),
}

_READERS: dict[Endpoint, dict[str, Reader | None]] = {
    Endpoint.CHAT: _COMMON
    | {
        "messages": _Reading.messages,
        "audio": _Reading.spoken,
        "frequency_penalty": None,
        "function_call": _Reading.function_call,
        "functions": _Reading.functions,
        "logit_bias": None,
        "logprobs": _wants(Feature.LOGPROBS),
        "max_completion_tokens": None,
        "max_tokens": None,
        "modalities": _Reading.modalities,
        "n": _several,
        "prediction": _Reading.prediction,
        "presence_penalty": None,
        "reasoning_effort": _Reading.effort,
        "response_format": _Reading.response_format,
        "seed": _seed,
        "stop": _Reading.stop,
        "store": None,
        "tool_choice": _Reading.chat_tool_choice,
        "tools": _Reading.chat_tools,
        "verbosity": None,
        "web_search_options": _Reading.web_search_options,
    },
    Endpoint.RESPONSES: _COMMON
    | {
        "input": _Reading.responses_input,
        "background": _Reading.background,
        "context_management": None,
        "include": _Reading.include,
        "instructions": _plain("instructions", Role.SYSTEM, Provenance.APP),
        "max_output_tokens": None,
        "max_tool_calls": None,
        "previous_response_id": _Reading.previous_response_id,
        "reasoning": _Reading.reasoning,
        "store": _wants(Feature.STORED_STATE),
        "text": _Reading.text_options,
        "tool_choice": _Reading.responses_tool_choice,
        "tools": _Reading.responses_tools,
        "truncation": None,
    },
    Endpoint.EMBEDDINGS: {
        "model": None,
        "input": _Reading.embeddings_input,
        "dimensions": None,
        "encoding_format": None,
        "user": _plain("user"),
    },
    Endpoint.MESSAGES: read_messages.READERS,
}
"""Field → what reads it; None for what holds no text and asks for nothing that this stage keeps. A field that is not here is an
extra one, which is read for its text and filters the candidates."""

_API = {
    Endpoint.CHAT: Feature.CHAT_API,
    Endpoint.RESPONSES: Feature.RESPONSES_API,
    Endpoint.EMBEDDINGS: Feature.EMBEDDINGS,
    Endpoint.MESSAGES: Feature.MESSAGES_API,
}
