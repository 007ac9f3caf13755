"""Suggests a class for a tool that nobody registered, from its name, description and schema, for an owner to confirm (pure).

Where words leave a doubt the suggestion errs towards more capabilities. What a server says of its own tool (MCP annotations)
can only add to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from routing_rules.catalogue import Tool
from routing_rules.provenance import ACTS
from routing_rules.vocabulary import Capability, Sensitivity

_C = Capability
MOST_CHARACTERS = 2_000
"""Of a description; what a tool does is said at its start."""
_MOST_ARGUMENTS = 200

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_SENTENCE_END = re.compile(r"[.!?\n](?:\s|$)")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_VERBS: Mapping[Capability, frozenset[str]] = {
    _C.EGRESS: _words(
        "send sends email emails emailing post posts publish publishes share shares sharing forward forwards reply replies notify"
        " notifies notifying message messages invite invites upload uploads submit submits tweet broadcast dispatch deliver call dial"
        " comment comments fork webhook announce ping dm sms"
    ),
    _C.WRITES_STATE: _words(
        "create creates add adds update updates write writes edit edits append appends set sets insert inserts put rename renames"
        " move moves save saves store stores modify modifies change changes schedule schedules reschedule reschedules reserve"
        " reserves book books cancel cancels assign assigns unassign close closes open reopen mark marks mark_as lock unlock star"
        " unstar subscribe unsubscribe import sync push commit merge merges patch replace register enable disable start stop pause"
        " resume request requests rerun submit upload tag label archive restore copy duplicate clone resolve dismiss manage manages"
        " toggle draft generate attach link unlink complete comment reply fork attachs deploy configure turn apply invite add_user"
        " transition convert reprioritize configures initialize init load loads dismisses record records increment"
    ),
    _C.DESTRUCTIVE: _words(
        "delete deletes remove removes drop drops purge purges destroy destroys wipe erase erases truncate clear clears overwrite"
        " overwrites terminate terminates kill kills uninstall reset flush revoke discard unpublish cancel cancels expire prune"
    ),
    _C.EXECUTES_CODE: _words(
        "execute executes exec run runs eval evaluate shell bash terminal command script python javascript interpreter sandbox"
        " compile rerun trigger triggers"
    ),
    _C.SPENDS_MONEY: _words(
        "pay pays payment payments purchase purchases buy buys transfer refund refunds checkout charge charges invoice wire donate"
        " withdraw deposit trade sell transaction transactions money subscribe order orders payout payouts"
    ),
    _C.ADMIN_PRIVILEGE: _words(
        "grant grants revoke revokes permission permissions role roles password passwords credential credentials admin privilege"
        " privileges policy firewall deploy deploys token tokens secret secrets key keys collaborator collaborators member members"
        " membership user_role owner sudo acl"
    ),
    _C.COMPUTER_CONTROL: _words(
        "click clicks keyboard mouse browser screenshot drag scroll desktop tap hover type press key_press"
    ),
    _C.DELEGATES_MODEL: _words("agent agents subagent llm model copilot delegate delegates prompt assistant chatgpt gpt claude"),
    _C.LOADS_TOOLS: _words("plugin plugins toolset toolsets tools mcp extension extensions"),
    _C.MEMORY_PERSIST: _words(
        "remember memory memories memorize memorise knowledge_graph observations entity entities relations"
    ),
    _C.HUMAN_HANDOFF: _words("handoff escalate human operator"),
}

_READS = _words(
    "get gets list lists search searches read reads find finds fetch fetches lookup query queries show shows describe describes view"
    " views check checks retrieve retrieves returns return browse summarize status info details count counts calculate convert"
    " compare validate parse format inspect explore scan analyze analyse download downloads extract finds identify track monitor"
    " discover recommend rates rating ratings is has"
)
_PURE = _words(
    "calculate calculator compute convert math time timezone date day clock arithmetic sum add_numbers parse format hash uuid"
)
_OUTSIDE = _words(
    "web webpage website webpages url urls http https internet page pages browse crawl scrape news google wikipedia duckduckgo bing rss"
    " link youtube twitter reddit arxiv papers paper article articles weather flight flights hotel hotels restaurant restaurants"
    " review reviews rating ratings market stock public"
)
_SHARED = _words(
    "email emails mail inbox message messages chat channel channels calendar event events appointment appointments meeting issue issues"
    " comment comments ticket tickets document documents file files transcript note notes attachment pull review discussion"
    " discussions thread threads repository repositories commit commits code gist transaction transactions feedback contact contacts"
    " notification notifications log logs post posts page pages wiki record records database table alert alerts advisory advisories"
    " workflow release releases project projects user users invitation profile team teams content text body subject description"
)
"""Things of ours into which people outside may have written."""
_OURS = _words("balance account iban schedule customer order orders employee salary profile information")

_MONEY = _words("money transaction transactions payment payments order orders invoice purchase subscription account price card")
_MONEY_VERBS = _words(
    "send sends make makes schedule schedules create creates update updates place places issue issues execute set"
)
_KEY_THINGS = _words(
    "password passwords credential credentials permission permissions role roles secret secrets privilege privileges"
)
_KEY_VERBS = _words(
    "update updates change changes set sets reset create creates add adds grant grants rotate modify delete remove revoke"
)
_TO_OTHERS = _words("participants recipient recipients attendees invitees cc bcc subscribers followers")

_DESTINATION = _words(
    "url urls uri uris link href webhook endpoint host hostname domain address addresses email emails recipient recipients to cc bcc"
    " participants attendees invitees channel channels destination dest target account iban beneficiary payee phone number_to user"
    " username path filepath directory bucket repo repository owner receiver"
)
_CREDENTIAL = _words("password passphrase secret token key role permission permissions")
_TARGET_ENDINGS = ("id", "ids", "identifier", "uuid")
_NO_DESTINATION = _words(
    "subject title body content text description query message comment date time start end amount format type"
)

_OBJECTS: Mapping[str, frozenset[str]] = {
    "email": _words("email emails mail inbox mailbox draft"),
    "calendar": _words("calendar event events appointment appointments meeting meetings"),
    "file": _words("file files document documents folder drive directory attachment spreadsheet sheet"),
    "customer": _words("customer customers client clients lead crm"),
    "payment": _words("transaction transactions payment payments money invoice bill balance iban refund order"),
    "ticket": _words("ticket tickets issue issues case incident"),
    "database": _words("database table sql query record records row rows"),
    "web": _words("web webpage website url page browser internet"),
    "code": _words("code repository repositories branch commit pull gist workflow"),
    "message": _words("message messages channel channels chat slack sms dm thread"),
    "contact": _words("contact contacts person people"),
    "account": _words("user users account profile password credentials role permission member"),
    "booking": _words("booking reservation hotel hotels flight flights restaurant car rental"),
    "memory": _words("memory memories observations"),
}


_BY_ANY_WORD = frozenset(
    {_C.ADMIN_PRIVILEGE, _C.SPENDS_MONEY, _C.DELEGATES_MODEL, _C.LOADS_TOOLS, _C.COMPUTER_CONTROL, _C.EXECUTES_CODE}
)
"""What is grave enough that a noun in a name suggests it, unless the verb only reads."""
_ALL_VERBS = _READS.union(*_VERBS.values())
_NOUNS = _VERBS[_C.LOADS_TOOLS] | _VERBS[_C.DELEGATES_MODEL]
_OPENING = 4


class Suggestion(msgspec.Struct, frozen=True):
    """A class for an unregistered tool: what it probably can do, where it can send to, what it is about, and by which words."""

    capabilities: frozenset[Capability]
    destination_arguments: tuple[str, ...] = ()
    objects: frozenset[str] = frozenset()
    highest_read: Sensitivity = Sensitivity.PUBLIC
    because: tuple[str, ...] = ()

    def tool(self, name: str, owner: str) -> Tool:
        """The catalogue entry that an owner would confirm; how often it needs an approval is theirs to say."""
        return Tool(
            id=name,
            owner=owner,
            capabilities=self.capabilities,
            functions=(name,),
            highest_read=self.highest_read,
            destination_arguments=self.destination_arguments,
        )


def suggest(
    name: str, description: str = "", schema: Mapping[str, Any] | None = None, annotations: Mapping[str, Any] | None = None
) -> Suggestion:
    """The class that name, description and schema suggest; `annotations` are MCP's hints, which can only add. Never raises."""
    named = _in_order(name)
    head, all_told = _told(description)
    opening = _in_order(description[:MOST_CHARACTERS]) if isinstance(description, str) else []
    arguments = _arguments(schema)
    because: list[str] = []
    found = _acts(named, opening, head, all_told, because)
    found |= _hinted(annotations, because)
    about = frozenset(named) | head | all_told
    found |= _looks(named, about, found, arguments)
    return Suggestion(
        capabilities=frozenset(found),
        destination_arguments=_destinations(arguments, found),
        objects=objects_of(name, description),
        highest_read=_highest(found),
        because=tuple(dict.fromkeys(because)),
    )


def objects_of(name: str, description: str = "") -> frozenset[str]:
    """Kinds of object that a tool is about, by its name, else by the first sentence of its description."""
    for words in (frozenset(_in_order(name)), _told(description)[0]):
        found = frozenset(kind for kind, signs in _OBJECTS.items() if words & signs)
        if found:
            return found
    return frozenset()


def _in_order(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text[:MOST_CHARACTERS])]


def _told(description: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Words of the first sentence, and of the first sentences, of a description."""
    if not isinstance(description, str):
        return frozenset(), frozenset()
    text = description[:MOST_CHARACTERS].strip()
    end = _SENTENCE_END.search(text)
    return frozenset(_in_order(text[: end.start()] if end else text)), frozenset(_in_order(text[:600]))


def _arguments(schema: Any) -> dict[str, str]:
    """The names of the arguments, each with the words that are said of it."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    found = {}
    for name, each in list(properties.items())[:_MOST_ARGUMENTS]:
        told = each.get("description") if isinstance(each, Mapping) else None
        found[str(name)] = told[:MOST_CHARACTERS] if isinstance(told, str) else ""
    return found


def _leading(words: list[str]) -> frozenset[str]:
    """The first verb, and those that `and` or `or` join to it: `get_or_create` creates."""
    found: set[str] = set()
    for place, word in enumerate(words):
        if word in _ALL_VERBS and (not found or words[place - 1] in ("and", "or")):
            found.add(word)
    return frozenset(found)


def _acts(
    named: list[str], opening: list[str], head: frozenset[str], told: frozenset[str], because: list[str]
) -> set[Capability]:
    """What the tool changes. Its leading verbs say it, in the name and at the start of the description; where neither has one,
    any word of the first sentence may."""
    found: set[Capability] = set()
    words = frozenset(named)
    verbs = _leading(named)
    says = _leading([word for word in opening[:_OPENING] if word not in _NOUNS])
    reads = bool(verbs | says) and verbs | says <= _READS
    for capability, signs in _VERBS.items():
        shown = (verbs | says) & signs
        if capability in _BY_ANY_WORD and not reads:
            shown |= words & signs
        if not shown and not verbs | says:
            shown = head & signs
        if shown:
            found.add(capability)
            because += sorted(shown)
    if reads:
        return found
    everything = words | head
    if everything & _KEY_THINGS and everything & _KEY_VERBS:
        found.add(_C.ADMIN_PRIVILEGE)
    if everything & {"money", "transaction", "payment", "refund", "purchase"} and everything & _MONEY_VERBS:
        found.add(_C.SPENDS_MONEY)
        found.discard(_C.EGRESS)
    told_others = told & (_VERBS[_C.EGRESS] - {"call", "comment", "comments", "post", "message", "messages", "share", "submit"})
    if found and told & {"email", "emails", "notify", "notifies", "notifying", "sms"} and told_others and told & _TO_OTHERS:
        found.add(_C.EGRESS)
        because.append("tells others")
    if not found and not verbs | says:
        found |= {_C.WRITES_STATE, _C.EGRESS}  # nothing says that it only reads
        because.append("nothing is said")
    return found


def _hinted(annotations: Any, because: list[str]) -> set[Capability]:
    """What a server admits of its tool. That it only reads, or stays inside, is not believed."""
    found: set[Capability] = set()
    if not isinstance(annotations, Mapping):
        return found
    if annotations.get("destructiveHint") is True:
        found |= {_C.DESTRUCTIVE, _C.WRITES_STATE}
        because.append("destructiveHint")
    if annotations.get("readOnlyHint") is False:
        found.add(_C.WRITES_STATE)
        because.append("readOnlyHint")
    if annotations.get("openWorldHint") is True:
        found.add(_C.READS_UNTRUSTED)
        because.append("openWorldHint")
    return found


def _looks(named: list[str], about: frozenset[str], acts: set[Capability], arguments: Mapping[str, str]) -> set[Capability]:
    """What comes back from the tool, and whether the look itself goes out of the house."""
    found: set[Capability] = set()
    words = frozenset(named)
    reads = not acts or bool(_leading(named) & _READS)
    has_url = any(frozenset(_in_order(name)) & {"url", "urls", "uri"} for name in arguments)
    asks_outside = has_url or bool(words & {"web", "internet", "webpage", "website", "http", "url", "crawl", "scrape", "browse"})
    if not reads and not acts & {_C.COMPUTER_CONTROL, _C.DELEGATES_MODEL, _C.EXECUTES_CODE}:
        return found
    if reads and not acts and words & _PURE and not about & (_SHARED | _OUTSIDE | _OURS):
        return {_C.PURE}
    if reads and not acts and words & _PURE and not arguments:
        return {_C.PURE}
    if asks_outside:
        found |= {_C.READS_UNTRUSTED, _C.EGRESS}
    if about & _OUTSIDE:
        found.add(_C.READS_UNTRUSTED)
    if about & _SHARED and not has_url:
        found |= {_C.READS_PRIVATE, _C.READS_UNTRUSTED}
    if about & _OURS or not found or (asks_outside and not has_url and words & {"get", "list", "read", "show"}):
        found.add(_C.READS_PRIVATE)
    if about & _KEY_THINGS & words:
        found.add(_C.READS_RESTRICTED)
    if acts & {_C.COMPUTER_CONTROL}:
        found |= {_C.READS_UNTRUSTED, _C.EGRESS, _C.WRITES_STATE}
    return found


def _destinations(arguments: Mapping[str, str], capabilities: Iterable[Capability]) -> tuple[str, ...]:
    """Arguments that say where to, or on what. To administer, every credential is one."""
    held = frozenset(capabilities)
    acts = bool(held & ACTS)
    found = []
    for name, told in arguments.items():
        words = _in_order(name)
        url = bool(frozenset(words) & {"url", "urls", "uri", "uris", "href", "link", "webhook", "endpoint"})
        if not acts and not url:
            continue
        at = frozenset(words)
        if (
            url
            or (at & _DESTINATION and not at & (_NO_DESTINATION - {"message", "type"}))
            or (words and words[-1] in _TARGET_ENDINGS)
        ):
            found.append(name)
        elif _C.ADMIN_PRIVILEGE in held and at & _CREDENTIAL:
            found.append(name)
        elif not at & _NO_DESTINATION and frozenset(_in_order(told[:80])) & {
            "url",
            "iban",
            "addresses",
            "recipient",
            "recipients",
        }:
            found.append(name)
    return tuple(found)


def _highest(capabilities: Iterable[Capability]) -> Sensitivity:
    held = frozenset(capabilities)
    if _C.READS_RESTRICTED in held:
        return Sensitivity.RESTRICTED
    if held & {_C.READS_PRIVATE, _C.EXECUTES_CODE, _C.COMPUTER_CONTROL}:
        return Sensitivity.CONFIDENTIAL
    return Sensitivity.PUBLIC
